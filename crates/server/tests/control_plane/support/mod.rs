//! The control plane under test and its peers.

pub mod agent;
pub mod control_plane;
pub mod documents;
pub mod faulty_store;
pub mod http;
pub mod proxy;

use std::time::Duration;

pub use agent::Agent;
pub use control_plane::ControlPlane;
pub use proxy::Proxy;

/// How long a test waits for what must come; far more than it takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

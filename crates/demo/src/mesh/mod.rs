//! A mesh over several zones: a global control plane, and for each zone a control plane, an ingress and workloads.
//!
//! ```no_run
//! use meshspan_demo::{Deployment, Network, Program, WorkloadSpec};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let mut mesh = Deployment::start(Network::lab().await?, Program::new("meshspan"), &["east", "west"]).await?;
//! let redis = mesh.workload(WorkloadSpec::redis("west", "redis")).await?;
//! let client = mesh.workload(WorkloadSpec::client("east", "client")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Everything is the real binary, started as users start it, with tokens and verified TLS. All waiting is for a state.

mod application;
mod control_plane;
mod deployment;
mod documents;
mod proxy;
mod workload;
mod zone;

pub use application::{Application, ApplicationKind};
pub use control_plane::ControlPlane;
pub use deployment::{Deployment, DeploymentOptions};
pub use documents::Outbound;
pub use proxy::Proxy;
pub use workload::{Workload, WorkloadPort, WorkloadSpec};
pub use zone::Zone;

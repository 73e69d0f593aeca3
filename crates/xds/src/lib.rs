//! Delta ADS for Envoy and the agent's own stream: pure state machines, and the thin servers that move their bytes.
//!
//! This crate serves **named, versioned, already encoded** resources. It does not know meshes, services or policies, it
//! never decodes a body, and it decides nothing about who may connect: that is the [`ControlPlane`]'s word.
//!
//! Where to start:
//! * what is served: [`Resource`], [`ResourceSet`], [`Snapshot`];
//! * how a new snapshot reaches a connected stream: [`feed`];
//! * the protocol, without a socket: [`Subscriber`];
//! * the gRPC services: [`ads`] for Envoy, [`agent`] for the data plane agent;
//! * the other end of the wire, for tests and load generators: [`client`].

pub mod ads;
pub mod agent;
pub mod client;
pub mod dns_parts;
pub mod feed;
pub mod proto;

mod changes;
mod resource;
mod resource_type;
mod subscriber;

pub use ads::{AdsService, ControlPlane, EventSink, Session, StreamEvent};
pub use agent::{AgentEvent, AgentPlane, AgentService, AgentSession};
pub use changes::Changes;
pub use feed::{FeedCloser, FeedReceiver, ProxyFeed};
pub use resource::{Resource, ResourceSet, Snapshot};
pub use resource_type::ResourceType;
pub use subscriber::{Action, Holdings, Rejection, Subscriber};

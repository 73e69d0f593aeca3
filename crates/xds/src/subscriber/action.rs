//! What the state machine wants done.

use std::fmt;
use std::sync::Arc;

use tonic::Status;

use super::type_state::{Holdings, Rejection};
use crate::proto::ads::DeltaDiscoveryResponse;
use crate::resource_type::ResourceType;

/// One thing to do for, or to report about, a stream; in the order given.
#[derive(Clone)]
pub enum Action {
    /// Send this response to the client.
    Send(DeltaDiscoveryResponse),
    /// The client accepted the response with this nonce.
    Acked {
        /// The type of the response.
        ty: ResourceType,
        /// The nonce of the response.
        nonce: String,
    },
    /// The client refused the response with this nonce. With one resource named, that one is at fault; with several,
    /// they follow again in parts until it is found.
    Nacked {
        /// The type of the response.
        ty: ResourceType,
        /// The nonce of the response.
        nonce: String,
        /// The client's words, shortened if very long.
        message: String,
        /// The resources that were in the response.
        resources: Vec<Arc<str>>,
    },
    /// What the client refuses of a type has changed: all of it, by name, each found to be at fault on its own. Empty
    /// when it has accepted, or lost, the last one.
    Rejections {
        /// The type.
        ty: ResourceType,
        /// The refused resources; their last accepted versions, if any, stay in use.
        rejected: Vec<(Arc<str>, Rejection)>,
    },
    /// What the client runs of listeners has changed.
    Listeners(Holdings),
    /// The client has, for the first time on this stream, every listener that it should have, or has refused it.
    CaughtUp,
    /// End the stream: the client broke the protocol or a limit.
    Reject(Status),
}

/// Names and versions only: bodies are long and may be private keys.
impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(response) => {
                let ty = ResourceType::from_type_url(&response.type_url);
                let ty = ty.map_or(response.type_url.as_str(), |ty| ty.short_name());
                write!(f, "send {ty} {}:", response.nonce)?;
                for resource in &response.resources {
                    write!(f, " +{}@{}", resource.name, resource.version)?;
                }
                response
                    .removed_resources
                    .iter()
                    .try_for_each(|name| write!(f, " -{name}"))
            }
            Self::Acked { ty, nonce } => write!(f, "acked {ty} {nonce}"),
            Self::Nacked {
                ty,
                nonce,
                message,
                resources,
            } => {
                write!(f, "nacked {ty} {nonce} [{}]: {message}", resources.join(" "))
            }
            Self::Rejections { ty, rejected } => {
                let names: Vec<_> = rejected
                    .iter()
                    .map(|(name, at)| format!("{name}@{}", at.version))
                    .collect();
                write!(f, "rejections {ty} [{}]", names.join(" "))
            }
            Self::Listeners(holdings) => {
                write!(f, "listeners{}:", if holdings.first { " at first" } else { "" })?;
                holdings.added.iter().try_for_each(|name| write!(f, " +{name}"))?;
                holdings.removed.iter().try_for_each(|name| write!(f, " -{name}"))
            }
            Self::CaughtUp => f.write_str("caught up"),
            Self::Reject(status) => write!(f, "reject: {}", status.message()),
        }
    }
}

//! What policies mean together: translated to the newest form, matched, ordered, merged.

pub mod backend;
pub mod client_match;
pub mod destination;
pub mod effective;
pub mod fingerprint;
pub mod inbound;
pub mod matching;
pub mod merge;
pub mod outbound;
pub mod policy;
pub mod precedence;
pub mod proxy;
pub mod report;
pub mod set;
mod translate;

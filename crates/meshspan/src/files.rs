//! How many files this process, and what it starts, may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit to the highest that this user may set: each connection is a file, and the usual limit of 1,024 is for
/// programs that serve nobody. An Envoy inherits it.
pub fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is; raise it with `ulimit -n`");
    }
}

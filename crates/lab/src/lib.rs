//! Hosts in network namespaces on this machine, for `meshspan demo` and for end-to-end tests.
//!
//! What this is: a [`Lab`] is a network of [`Host`]s. Each has its own network namespace, address, default route, loopback interface,
//! host name, `/etc/hosts` and `/etc/resolv.conf`; processes run in it, and the current process opens connections from inside it.
//! Links can be cut, delayed and made lossy.
//!
//! Nothing is left behind. Everything exists only inside namespaces that belong to one tree of processes: a network namespace (so no
//! interface, address or rule reaches the machine), a mount namespace with a private `/run` (so files vanish), and a process namespace
//! whose first process is the program itself (so that the kernel ends every process when it ends, however it ends). No root is needed:
//! for a plain user a user namespace comes first.
//!
//! Where to start:
//! * a test: [`isolated`], one line around its body;
//! * a program: [`isolate`], first thing in `main`, then [`Lab::new`].
//!
//! What it does not do: know anything of the mesh. Interception is installed by running `meshspan install transparent-proxy` on a
//! host. Source of facts: `spec/dataplane.md` §12.

mod host;
mod http_client;
mod isolated;
mod isolation;
mod lab;
mod namespace;
mod network;
mod process;
mod process_table;
mod redis_client;
mod relay;
mod resp;
mod wait;

pub mod workload;

pub use host::{Host, HostOptions};
pub use http_client::{HttpConnection, HttpVersion, http_get, http_request};
pub use isolated::{LIMIT as ISOLATED_LIMIT, isolated, isolated_for};
pub use isolation::{Isolation, isolate, outside_listener};
pub use lab::Lab;
pub use network::GATEWAY;
pub use process::Proc;
pub use redis_client::RedisConnection;
pub use relay::relay;
pub use resp::Value;
pub use wait::eventually;

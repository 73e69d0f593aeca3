//! `meshspan demo`: a mesh of two zones on this machine, and a story about what it does when a zone breaks.
//!
//! Two layers:
//! * the topology, which end-to-end tests use as well: [`Deployment`] starts control planes, ingresses and workloads as processes of the
//!   real binary on hosts ([`Machine`]) of a [`Network`], module `mesh` has an example; [`Traffic`] is an application that notes what it
//!   sees;
//! * the demo: [`DemoArgs`], [`isolate`] and [`run`]; module `demo::story` tells what is shown and checked.
//!
//! It knows the mesh only from outside: command lines, documents, the REST API and what applications see. Namespaces and workloads
//! are the matter of `meshspan-lab`.

mod api;
mod demo;
mod logs;
mod machine;
mod mesh;
mod process;
mod program;
mod traffic;

pub use api::Api;
pub use demo::{DemoArgs, isolate, run};
pub use logs::{log_ends, log_files};
pub use machine::{Machine, Network};
pub use mesh::{
    Application, ApplicationKind, ControlPlane, Deployment, DeploymentOptions, Outbound, Proxy, Workload, WorkloadPort,
    WorkloadSpec, Zone,
};
pub use process::Process;
pub use program::Program;
pub use traffic::{Question, Seen, Traffic};

//! Applications to put into the mesh: small, without dependencies, and each says which zone it is in.
//!
//! They are hidden commands of the `meshspan` binary ([`WorkloadCommand`]), so that the demo and the tests need nothing else installed.

mod echo;
mod redis;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use tokio::net::TcpListener;

pub use echo::{Echo, echo};
pub use redis::redis;

/// Hidden commands, to be flattened into the command line of a binary.
#[derive(Debug, Clone, Subcommand)]
pub enum WorkloadCommand {
    /// A stand-in for redis-server that names its zone
    #[command(hide = true)]
    LabRedis(WorkloadArgs),
    /// An HTTP service that answers with what it was asked and its zone
    #[command(hide = true)]
    LabEcho(WorkloadArgs),
}

/// Where a workload listens and who it says it is.
#[derive(Debug, Clone, Args)]
pub struct WorkloadArgs {
    /// Port; 0 takes a free one
    #[arg(long)]
    pub port: u16,
    /// Zone that it names
    #[arg(long)]
    pub zone: String,
    /// Instance that it names
    #[arg(long, default_value = "1")]
    pub instance: String,
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0")]
    pub address: IpAddr,
}

impl WorkloadCommand {
    /// Runs the workload until the process ends. Writes `listening on <address>` to the standard output once it accepts connections.
    ///
    /// # Errors
    /// The address is in use, or the listener fails.
    pub async fn run(self) -> Result<()> {
        let (Self::LabRedis(args) | Self::LabEcho(args)) = &self;
        let address = SocketAddr::new(args.address, args.port);
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {address}"))?;
        println!("listening on {}", listener.local_addr()?);
        match &self {
            Self::LabRedis(args) => redis(listener, &args.zone).await,
            Self::LabEcho(args) => echo(listener, &args.zone, &args.instance).await,
        }
    }
}

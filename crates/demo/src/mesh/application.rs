//! What runs behind a proxy.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use meshspan_lab::{RedisConnection, eventually};

use crate::machine::Machine;
use crate::process::Process;
use crate::program::Program;

const START: Duration = Duration::from_secs(20);

/// The sorts of applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplicationKind {
    /// A stand-in for Redis that is built in and names its zone under the key `zone`.
    Redis,
    /// `redis-server` of this machine, told its zone under the key `zone` once it runs.
    RealRedis,
    /// An HTTP service that answers with what it was asked and names its zone. Speaks HTTP/1.1, HTTP/2 and gRPC.
    Echo,
}

/// An application, running or not.
#[derive(Debug)]
pub struct Application {
    program: Program,
    machine: Machine,
    kind: ApplicationKind,
    listen: SocketAddr,
    zone: String,
    instance: String,
    process: Option<Process>,
}

impl Application {
    /// Starts an application and waits until it accepts connections.
    pub(super) async fn start(
        program: &Program,
        machine: &Machine,
        kind: ApplicationKind,
        listen: (Ipv4Addr, u16),
        zone: &str,
        instance: &str,
    ) -> Result<Self> {
        let mut application = Self {
            program: program.clone(),
            machine: machine.clone(),
            kind,
            listen: listen.into(),
            zone: zone.to_owned(),
            instance: instance.to_owned(),
            process: None,
        };
        application.start_again().await?;
        Ok(application)
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    /// The system cannot tell how it ended.
    pub async fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Starts it after its end and waits until it accepts connections.
    ///
    /// # Errors
    /// It cannot be started, or does not answer in time.
    pub async fn start_again(&mut self) -> Result<()> {
        let name = format!("application-{}", self.listen.port());
        let process = self.machine.spawn(&name, self.command()).await?;
        let process = std::cell::RefCell::new(process);
        // By loopback, which is never intercepted.
        let dial = if self.listen.ip().is_unspecified() {
            SocketAddr::from((Ipv4Addr::LOCALHOST, self.listen.port()))
        } else {
            self.listen
        };
        let (machine, kind, zone) = (&self.machine, self.kind, self.zone.as_str());
        eventually(&format!("{kind:?} on {}", machine.name()), START, || async {
            process.borrow_mut().check()?;
            let stream = machine.connect(dial).await?;
            if kind == ApplicationKind::RealRedis {
                let mut redis = RedisConnection::over(stream);
                redis
                    .command(&["SET", "zone", zone])
                    .await?
                    .text()?
                    .context("redis did not take its zone")?;
            }
            Ok(())
        })
        .await?;
        self.process = Some(process.into_inner());
        Ok(())
    }

    /// Its process, if it runs.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    fn command(&self) -> Command {
        let (address, port) = (self.listen.ip().to_string(), self.listen.port().to_string());
        let stand_in = |name: &str| {
            self.program.command(&[
                name,
                "--address",
                &address,
                "--port",
                &port,
                "--zone",
                &self.zone,
                "--instance",
                &self.instance,
            ])
        };
        match self.kind {
            ApplicationKind::Redis => stand_in("lab-redis"),
            ApplicationKind::Echo => stand_in("lab-echo"),
            ApplicationKind::RealRedis => {
                let mut command = Command::new("redis-server");
                command
                    .args([
                        "--bind",
                        &address,
                        "--port",
                        &port,
                        "--save",
                        "",
                        "--appendonly",
                        "no",
                        "--protected-mode",
                        "no",
                    ])
                    .current_dir(self.machine.directory());
                command
            }
        }
    }
}

//! From the flags to the exit code.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use meshspan_lab::{Isolation, outside_listener, relay};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::DemoArgs;
use super::envoy;
use super::screen::Screen;
use super::story::{self, Stage};
use crate::logs::{keep_logs, log_ends};
use crate::machine::Network;
use crate::mesh::{ApplicationKind, ControlPlane};
use crate::program::Program;
use crate::traffic::Traffic;

/// How many lines of each log an error shows.
const SHOWN_LINES: usize = 3;
/// After SIGINT, as shells count it.
const INTERRUPTED: u8 = 130;

/// Obtains Envoy if it is missing, and moves the program into namespaces of its own where the machine allows it. To be called before any
/// thread exists; see [`meshspan_lab::isolate`].
///
/// # Errors
/// Envoy cannot be obtained, or `--api-port` is in use.
pub fn isolate(args: &DemoArgs) -> Result<Isolation> {
    envoy::obtain()?;
    if args.no_interception {
        return Ok(Isolation::Unavailable("--no-interception was given".to_owned()));
    }
    meshspan_lab::isolate(args.outside())
}

/// Runs the demo. `isolation` is what [`isolate`] returned.
///
/// The exit code is 0 if everything that was printed was observed, 1 if not, 130 if it was interrupted before the end of the story.
///
/// # Errors
/// The network cannot be made, or logs cannot be kept. What goes wrong in the story is printed.
pub async fn run(args: DemoArgs, isolation: Isolation) -> Result<ExitCode> {
    let mut stop = Stop::new()?;
    println!("Meshspan demo: one name across two zones");
    let mut screen = Screen::new();
    let network = match &isolation {
        Isolation::Root | Isolation::UserNamespace => {
            screen.heading(
                "Starting. Each host has a network namespace of its own; its traffic and DNS are intercepted.",
            );
            Network::lab().await?
        }
        Isolation::Unavailable(reason) => {
            screen.heading(&format!(
                "No network namespaces, so no interception and no names ({reason})."
            ));
            screen.heading("Starting, with explicit outbounds, on loopback addresses of this machine.");
            Network::loopback()?
        }
    };
    let program = Program::new(std::env::current_exe().context("finding the running program")?);
    let real = !args.no_redis_server && is_in_path("redis-server");
    let redis = if real {
        ApplicationKind::RealRedis
    } else {
        ApplicationKind::Redis
    };
    // Who wants it for the length of the story must have it from the start.
    let mut early = None;
    let open_early = |global: &ControlPlane| {
        if args.once && args.api_port.is_some() {
            let (address, relay) = open_api(global)?;
            println!("  The API of the global control plane is http://{address} until the end of the story.");
            early = Some(relay);
        }
        Ok(())
    };
    let outcome = tokio::select! {
        told = story::tell(network.clone(), program, redis, &mut screen, open_early) => Some(told),
        () = stop.asked() => None,
    };
    let code = match outcome {
        Some(Ok(stage)) => {
            println!("\nEverything above was observed.");
            if !args.once {
                stay(stage, &mut stop).await?;
            }
            ExitCode::SUCCESS
        }
        Some(Err(error)) => {
            println!(
                "\n  ✗ {error:#}\n\nEnds of the logs:\n{}",
                log_ends(network.directory(), SHOWN_LINES)
            );
            if args.keep_logs.is_none() {
                println!("All of them: meshspan demo --keep-logs <folder>");
            }
            ExitCode::FAILURE
        }
        None => ExitCode::from(INTERRUPTED),
    };
    drop(early);
    if let Some(folder) = &args.keep_logs {
        keep_logs(network.directory(), folder).with_context(|| format!("keeping logs in {}", folder.display()))?;
        println!("\nLogs are in {}", folder.display());
    }
    Ok(code)
}

/// Keeps the mesh up until Ctrl-C, and shows when another zone answers.
async fn stay(stage: Stage, stop: &mut Stop) -> Result<()> {
    let (address, _relay) = open_api(&stage.deployment.global)?;
    println!(
        "\nThe mesh stays up until Ctrl-C. The API of its global control plane is http://{address}. Try in another shell:\n"
    );
    let program = program_name();
    let flag = if address.port() == super::args::API_PORT {
        String::new()
    } else {
        format!(" --address http://{address}")
    };
    for command in [
        "inspect services",
        "get meshmultizoneservice redis -o yaml",
        "delete meshmultizoneservice redis",
    ] {
        println!("    {program} {command}{flag}");
    }
    println!("\nThe requests go on; what changes is shown here.");
    tokio::select! {
        () = watch("redis", &stage.redis) => {}
        () = watch("echo", &stage.echo) => {}
        () = stop.asked() => println!("\nStopping."),
    }
    Ok(())
}

async fn watch(name: &str, traffic: &Traffic) {
    loop {
        match traffic.change().await {
            Ok(zone) => println!("  {name}: answered by {zone}"),
            Err(error) => println!("  {name}: {error}"),
        }
    }
}

/// Makes the API reachable for the user's shell, and says where. What is returned keeps it so.
fn open_api(global: &ControlPlane) -> Result<(SocketAddr, tokio::task::JoinSet<()>)> {
    let mut tasks = tokio::task::JoinSet::new();
    let inside = global.api().address();
    let (Some(listener), Some(host)) = (outside_listener()?, global.machine().host().cloned()) else {
        return Ok((inside, tasks));
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr()?.port()));
    tasks.spawn(async move {
        if let Err(error) = relay(listener, host, inside).await {
            println!("  the API is not reachable any more: {error:#}");
        }
    });
    Ok((address, tasks))
}

/// How the user would call this program from where he is.
fn program_name() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_else(|_| "meshspan".into());
    program.strip_prefix(&here).unwrap_or(&program).display().to_string()
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}

/// The signals that ask the demo to end.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("handling signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

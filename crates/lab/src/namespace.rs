//! A thread that lives in a network, mount and host-name namespace of its own.
//!
//! Namespaces belong to threads: what the thread starts or opens (processes, sockets) is inside them. They are anonymous and end with
//! the last thread, process or socket in them.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use rustix::thread::UnshareFlags;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Handle on the thread; dropping it ends the thread.
#[derive(Debug)]
pub struct Namespace {
    jobs: mpsc::Sender<Job>,
    network: PathBuf,
}

impl Namespace {
    /// Starts the thread and moves it into new namespaces.
    pub async fn new(name: &str) -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, entered) = oneshot::channel();
        let host_name = name.to_owned();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let result = enter(&host_name);
                let failed = result.is_err();
                if ready.send(result).is_err() || failed {
                    return;
                }
                for job in queue {
                    job();
                }
            })
            .context("starting a thread")?;
        let network = entered.await.context("the thread of the namespace ended")??;
        Ok(Self { jobs, network })
    }

    /// What the kernel calls the network namespace: `net:[<number>]`.
    pub fn network(&self) -> &PathBuf {
        &self.network
    }

    /// Runs `work` on the thread. It must be short: everything of this host waits for it.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let job: Job = Box::new(move || {
            // Starting a process registers it with the runtime of the caller.
            let _entered = runtime.enter();
            // The caller may have lost interest meanwhile.
            let _ = sender.send(work());
        });
        self.jobs
            .send(job)
            .map_err(|_| anyhow!("the thread of the namespace has ended"))?;
        receiver.await.context("the thread of the namespace ended")
    }
}

/// Returns the name of the new network namespace.
fn enter(host_name: &str) -> Result<PathBuf> {
    let flags = UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWUTS;
    // SAFETY: only UnshareFlags::FILES could make descriptors of one thread invalid in another, and it is not given.
    #[allow(unsafe_code, reason = "the safe form is deprecated")]
    unsafe { rustix::thread::unshare_unsafe(flags) }.context("making namespaces for a host")?;
    rustix::system::sethostname(host_name.as_bytes()).context("setting the host name")?;
    std::fs::read_link("/proc/thread-self/ns/net").context("reading the name of a namespace")
}

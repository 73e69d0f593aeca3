//! The long-lived tasks of the process, by name. Each is watched: one that ends before the process stops, or panics, is started
//! again or stops the process, and meanwhile the process does not say that it is ready.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause before a component is started again.
const RESTART: Duration = Duration::from_secs(1);

/// The components of one process; clones are the same.
#[derive(Clone, Default)]
pub struct Components(Arc<Shared>);

#[derive(Default)]
struct Shared {
    stop: CancellationToken,
    tasks: TaskTracker,
    known: Mutex<BTreeMap<&'static str, Component>>,
    failure: Mutex<Option<String>>,
}

/// What is known of one component; several tasks of one name are one component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Component {
    tasks: u32,
    running: u32,
    restarts: u32,
}

impl Components {
    /// Nothing runs yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the process is to stop, by whomever.
    pub fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// All tasks, those of single connections among them: the process waits for them when it stops.
    pub fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Why the process stops, if a component made it.
    pub fn failure(&self) -> Option<String> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True if every component runs.
    pub fn all_run(&self) -> bool {
        self.known()
            .values()
            .all(|component| component.running == component.tasks)
    }

    /// Shows the components among the metrics of the process.
    pub fn register(&self, registry: &mut Registry) {
        let (up, restarts) = (
            Family::<[(&str, &str); 1], Gauge>::default(),
            Family::<[(&str, &str); 1], Gauge>::default(),
        );
        for (name, component) in self.known().iter() {
            let label = [("component", *name)];
            up.get_or_create(&label)
                .set(i64::from(component.running == component.tasks));
            restarts.get_or_create(&label).set(i64::from(component.restarts));
        }
        registry.register("component_up", "1 if the component runs", up);
        registry.register(
            "component_restarts",
            "How often the component was started again",
            restarts,
        );
    }

    /// Runs a component without which the process cannot go on: if it ends or panics before the process stops, the process
    /// stops.
    pub(crate) fn essential(&self, name: &'static str, run: impl Future<Output = ()> + Send + 'static) {
        self.watch_essential(name, self.0.tasks.spawn(run));
    }

    /// As [`Components::essential`], on other threads.
    pub(crate) fn essential_on(
        &self,
        name: &'static str,
        run: impl Future<Output = ()> + Send + 'static,
        tasks: &TaskTracker,
        threads: &Handle,
    ) {
        self.watch_essential(name, tasks.spawn_on(run, threads));
    }

    fn watch_essential(&self, name: &'static str, task: JoinHandle<()>) {
        self.begins(name);
        let components = self.clone();
        self.0.tasks.spawn(async move {
            let end = task.await;
            components.edit(name, |component| component.running -= 1);
            if components.0.stop.is_cancelled() {
                return;
            }
            let what = match end {
                Ok(()) => "ended",
                Err(_) => "panicked",
            };
            let failure = format!("{name} {what}, and the control plane cannot go on without it");
            tracing::error!(
                component = name,
                "{failure}; it stops, proxies keep their configuration"
            );
            let mut known = components.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
            known.get_or_insert(failure);
            drop(known);
            components.0.stop.cancel();
        });
    }

    /// Runs a component that is started again if it ends or panics before the process stops.
    pub(crate) fn restarted<F>(&self, name: &'static str, mut run: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.begins(name);
        let components = self.clone();
        self.0.tasks.spawn(async move {
            loop {
                let end = components.0.tasks.spawn(run()).await;
                components.edit(name, |component| component.running -= 1);
                if components.0.stop.is_cancelled() {
                    return;
                }
                let panicked = end.is_err();
                tracing::error!(component = name, panicked, "the component ended; it is started again");
                tokio::select! {
                    () = components.0.stop.cancelled() => return,
                    () = tokio::time::sleep(RESTART) => {}
                }
                components.edit(name, |component| {
                    component.running += 1;
                    component.restarts += 1;
                });
            }
        });
    }

    fn begins(&self, name: &'static str) {
        self.edit(name, |component| {
            component.tasks += 1;
            component.running += 1;
        });
    }

    fn edit(&self, name: &'static str, edit: impl FnOnce(&mut Component)) {
        edit(self.known().entry(name).or_default());
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<&'static str, Component>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_panic_in_what_is_essential_stops_the_process_and_is_the_reason() {
        let components = Components::new();
        components.essential("quiet", std::future::pending());
        assert!(components.all_run());
        components.essential("engine", async { panic!("a bug") });
        components.stop().cancelled().await;
        assert!(!components.all_run());
        let failure = components.failure().unwrap_or_default();
        assert!(failure.starts_with("engine panicked"), "{failure}");
    }

    #[tokio::test]
    async fn what_ends_too_early_is_a_failure_and_what_ends_with_the_process_is_none() {
        let components = Components::new();
        let stop = components.stop().clone();
        components.essential("quiet", async move { stop.cancelled().await });
        components.stop().cancel();
        components.tasks().close();
        components.tasks().wait().await;
        assert_eq!(components.failure(), None);

        let components = Components::new();
        components.essential("engine", std::future::ready(()));
        components.stop().cancelled().await;
        assert!(
            components
                .failure()
                .is_some_and(|failure| failure.starts_with("engine ended"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn others_are_started_again_and_the_process_is_not_ready_meanwhile() {
        let components = Components::new();
        let (starts, second) = (Arc::new(AtomicU32::new(0)), Arc::new(tokio::sync::Notify::new()));
        let (counted, started) = (starts.clone(), second.clone());
        components.restarted("insights", move || {
            let (first, started) = (counted.fetch_add(1, Ordering::Relaxed) == 0, started.clone());
            async move {
                if first {
                    panic!("a bug");
                }
                started.notify_one();
                std::future::pending().await
            }
        });
        while components.all_run() {
            tokio::task::yield_now().await;
        }
        second.notified().await;
        assert!(components.all_run() && !components.stop().is_cancelled());
        let mut registry = Registry::default();
        components.register(&mut registry);
        let mut text = String::new();
        assert!(prometheus_client::encoding::text::encode(&mut text, &registry).is_ok());
        assert!(text.contains("component_up{component=\"insights\"} 1"), "{text}");
        assert!(text.contains("component_restarts{component=\"insights\"} 1"), "{text}");
    }
}

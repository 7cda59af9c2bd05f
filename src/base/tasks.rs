//! The supervisor: every task has a name and an end.

use std::{
    any::Any,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

use crate::{Backoff, CounterFamily, GaugeFamily, Metrics, Random};

/// Starts, counts and stops tasks. Cheap to clone; clones are the same supervisor.
///
/// A process may have several, stopped one after the other: the edges first, the store last.
#[derive(Clone)]
pub struct Tasks(Arc<Inner>);

struct Inner {
    tracker: TaskTracker,
    /// Asks tasks to end by themselves.
    shutdown: CancellationToken,
    /// Ends those that did not.
    kill: CancellationToken,
    panics: CounterFamily,
    running: GaugeFamily,
}

/// A task did not come to its result: it panicked or was stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {name} gave no result: {reason}")]
pub struct TaskFailed {
    /// The task's name.
    pub name: &'static str,
    /// What happened to it.
    pub reason: String,
}

impl Tasks {
    /// A supervisor without tasks.
    pub fn new(metrics: &Metrics) -> Tasks {
        Tasks(Arc::new(Inner {
            tracker: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            kill: CancellationToken::new(),
            panics: metrics.counter_family("yakuba_base_task_panics", "Tasks that panicked"),
            running: metrics.gauge_family("yakuba_base_tasks_running", "Tasks that run now"),
        }))
    }

    /// Starts a task. A panic in it is counted, logged and ends that task only.
    ///
    /// Dropping the returned handle lets the task run on.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let inner = self.0.clone();
        let running = self.0.running.with(&[("task", name)]);
        running.inc();
        let handle = self.0.tracker.spawn(async move {
            let outcome = inner.guarded(name, future).await;
            running.dec();
            outcome
        });
        Task { name, handle }
    }

    /// Starts a task that is started again, after a growing wait, whenever it panics. It ends when
    /// it returns, or at shutdown.
    pub fn spawn_restarting<S, F>(&self, name: &'static str, start: S) -> Task<()>
    where
        S: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let inner = self.0.clone();
        self.spawn(name, async move {
            let random = Random::os();
            let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(30));
            while inner.guarded(name, start()).await.is_err() && !inner.shutdown.is_cancelled() {
                // Real time on purpose: a steered clock must not keep a broken task down.
                let wait = tokio::time::sleep(backoff.next(&random));
                if inner.shutdown.run_until_cancelled(wait).await.is_none() {
                    return;
                }
            }
        })
    }

    /// Runs work that keeps a processor busy, or waits for a file, away from the async threads.
    ///
    /// # Errors
    /// [`TaskFailed`] when it panicked.
    pub async fn spawn_blocking<T, W>(&self, name: &'static str, work: W) -> Result<T, TaskFailed>
    where
        W: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let inner = self.0.clone();
        let handle = self.0.tracker.spawn_blocking(move || {
            std::panic::catch_unwind(AssertUnwindSafe(work))
                .map_err(|panic| inner.panicked(name, panic.as_ref()))
        });
        Task { name, handle }.await
    }

    /// Cancelled when the process shall end. Every loop that waits, waits for this too.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.0.shutdown.clone()
    }

    /// Asks all tasks to end, waits for them up to `deadline`, then ends the rest where they wait.
    ///
    /// Returns how many had to be ended.
    pub async fn stop(&self, deadline: Duration) -> usize {
        self.0.shutdown.cancel();
        self.0.tracker.close();
        if tokio::time::timeout(deadline, self.0.tracker.wait()).await.is_ok() {
            return 0;
        }
        let left = self.0.tracker.len();
        self.0.kill.cancel();
        // Work on blocking threads cannot be ended; it must not hold up the rest.
        tokio::time::timeout(Duration::from_secs(1), self.0.tracker.wait()).await.ok();
        left
    }
}

impl Inner {
    async fn guarded<F: Future>(&self, name: &'static str, future: F) -> Result<F::Output, TaskFailed> {
        let caught = AssertUnwindSafe(future).catch_unwind();
        match self.kill.run_until_cancelled(caught).await {
            Some(Ok(output)) => Ok(output),
            Some(Err(panic)) => Err(self.panicked(name, panic.as_ref())),
            None => Err(TaskFailed { name, reason: "stopped".to_owned() }),
        }
    }

    fn panicked(&self, name: &'static str, panic: &(dyn Any + Send)) -> TaskFailed {
        let reason = panic
            .downcast_ref::<&'static str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "panicked".to_owned());
        self.panics.with(&[("task", name)]).inc();
        error!(task = name, error = %reason, "task panicked");
        TaskFailed { name, reason }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("running", &self.0.tracker.len()).finish_non_exhaustive()
    }
}

/// A started task; a future of its result.
#[derive(Debug)]
pub struct Task<T> {
    name: &'static str,
    handle: JoinHandle<Result<T, TaskFailed>>,
}

impl<T> Task<T> {
    /// Ends the task where it waits next. What it holds is dropped.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Whether it has come to its end.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskFailed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        self.handle
            .poll_unpin(cx)
            .map(|joined| joined.unwrap_or_else(|error| Err(TaskFailed { name, reason: error.to_string() })))
    }
}

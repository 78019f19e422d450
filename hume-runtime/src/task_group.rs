//! Every task has a name, an owner and an end: a group runs until one of them fails or somebody asks it to stop.
//!
//! A task that fails, panics or returns before the stop ends the whole group with an error that names it, because a
//! daemon that has lost a room must not look healthy. After the stop all get `grace` to finish; who does not is named
//! and dropped. Children (one per connection, say) are bounded by their [`Spawner`]; a panic in one is logged and ends
//! only that child. No other file starts a task.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::notify::{self, Watchdog};
use crate::turns::{Looks, Watched};

/// The word "stop", said once to all tasks of a group. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    /// A stop of its own, for tests and for tools that run a part without a group.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Completes when the group has been told to stop; at once if it was told before.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Whether the group has been told to stop.
    pub fn is_set(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Says stop.
    pub fn set(&self) {
        self.0.cancel();
    }
}

/// Why a group ended other than by request.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A task returned an error.
    #[error("task {task} failed")]
    Failed {
        /// Its name.
        task: &'static str,
        /// What it returned.
        #[source]
        source: anyhow::Error,
    },
    /// A task panicked.
    #[error("task {task} panicked: {message}")]
    Panicked {
        /// Its name.
        task: &'static str,
        /// The panic's text.
        message: String,
    },
    /// A task ended although nobody asked it to.
    #[error("task {task} returned before the stop")]
    ReturnedEarly {
        /// Its name.
        task: &'static str,
    },
    /// Some were still running at the end of the grace period.
    #[error("still running {} ms after the stop: {tasks}", grace.as_millis())]
    StillRunning {
        /// Their names, separated by commas.
        tasks: String,
        /// How long they were given.
        grace: Duration,
    },
}

/// The tasks of one process. Dropping it drops them.
#[derive(Debug, Default)]
pub struct TaskGroup {
    stop: Stop,
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
    children: Children,
    watchdog: Option<Watchdog>,
}

impl TaskGroup {
    /// An empty group.
    pub fn new() -> TaskGroup {
        TaskGroup::default()
    }

    /// The stop of this group, for what is wired before it is spawned.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Starts a task; `run` gets the stop and must end soon after it is set, and not before.
    pub fn spawn<F, Fut>(&mut self, name: &'static str, run: F)
    where
        F: FnOnce(Stop) -> Fut,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let counted = self.children.watched.count(name, run(self.stop.clone()));
        let handle = self.tasks.spawn(counted);
        self.names.insert(handle.id(), name);
    }

    /// Starts a thread under the same rules, for work that blocks (the one writer of a database). It cannot be dropped
    /// at the end of the grace period, only named.
    pub fn spawn_thread<F>(&mut self, name: &'static str, run: F) -> std::io::Result<()>
    where
        F: FnOnce(Stop) -> anyhow::Result<()> + Send + 'static,
    {
        let (done, ended) = oneshot::channel();
        let stop = self.stop.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let result = run(stop);
            // Nobody listens when the group has gone already.
            let _ = done.send(result);
        })?;
        self.spawn(name, |_| async {
            ended
                .await
                .unwrap_or_else(|_| Err(anyhow::anyhow!("the thread panicked; its message is on stderr")))
        });
        Ok(())
    }

    /// Tells the service manager again and again that this group lives, from [`run`](TaskGroup::run) until the stop: by a timer of
    /// the runtime that runs it, so a runtime that hangs says nothing, and only while no task and no child of the group is stuck
    /// in one poll.
    pub fn keep_watch(&mut self, watchdog: Option<Watchdog>) {
        self.watchdog = watchdog;
    }

    /// A handle that starts at most `running_max` children at a time.
    pub fn spawner(&self, running_max: usize) -> Spawner {
        Spawner {
            stop: self.stop.clone(),
            children: self.children.clone(),
            room: Arc::new(Semaphore::new(running_max.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Runs until `until` completes or a task ends, says stop, and waits at most `grace` for all.
    /// # Errors
    /// The first [`TaskError`]; later ones are logged.
    pub async fn run(mut self, until: impl Future<Output = ()>, grace: Duration) -> Result<(), TaskError> {
        let signs = signs_of_life(self.watchdog.take(), self.children.watched.clone());
        let first = tokio::select! {
            () = until => None,
            early = self.next_end() => Some(early),
            never = signs => match never {},
        };
        self.stop.set();
        let first = first.map(|(task, ended)| ended.err().unwrap_or(TaskError::ReturnedEarly { task }));
        let later = self.drain(grace).await;
        match (first, later) {
            (Some(first), Some(later)) => {
                tracing::warn!(error = %later, "another task did not end well");
                Err(first)
            }
            (Some(error), None) | (None, Some(error)) => Err(error),
            (None, None) => Ok(()),
        }
    }

    /// The next task to end; never completes when there is none.
    async fn next_end(&mut self) -> (&'static str, Result<(), TaskError>) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.judge(ended),
            None => std::future::pending().await,
        }
    }

    fn judge(
        &mut self,
        ended: Result<(Id, anyhow::Result<()>), JoinError>,
    ) -> (&'static str, Result<(), TaskError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let task = self.names.remove(&id).unwrap_or("unnamed");
        let result = match ended {
            Ok((_, result)) => result.map_err(|source| TaskError::Failed { task, source }),
            Err(error) => Err(TaskError::Panicked { task, message: panic_text(error) }),
        };
        (task, result)
    }

    /// Waits for tasks and children until the end of `grace`; the first thing that went wrong.
    async fn drain(mut self, grace: Duration) -> Option<TaskError> {
        let deadline = Instant::now() + grace;
        self.children.tracker.close();
        let mut first = None;
        while !self.tasks.is_empty() {
            let Ok((_, ended)) = tokio::time::timeout_at(deadline, self.next_end()).await else { break };
            if let Err(error) = ended {
                keep_first(&mut first, error);
            }
        }
        let children = self.children.tracker.wait();
        let _ = tokio::time::timeout_at(deadline, children).await;
        let mut names: Vec<String> = self.names.values().map(|name| (*name).to_owned()).collect();
        names.extend(self.children.running());
        self.children.abandon.cancel();
        if !names.is_empty() {
            names.sort_unstable();
            keep_first(&mut first, TaskError::StillRunning { tasks: names.join(", "), grace });
        }
        first
    }
}

async fn signs_of_life(watchdog: Option<Watchdog>, watched: Watched) -> Infallible {
    let Some(watchdog) = watchdog else { return std::future::pending().await };
    let mut looks = Looks::default();
    let mut rest = watchdog.every.min(notify::FIRST_SIGN);
    loop {
        tokio::time::sleep(rest).await;
        watchdog.tell(&looks.look(&watched));
        rest = watchdog.every;
    }
}

fn keep_first(first: &mut Option<TaskError>, error: TaskError) {
    if first.is_none() {
        *first = Some(error);
    } else {
        tracing::warn!(%error, "another task did not end well");
    }
}

fn panic_text(error: JoinError) -> String {
    if !error.is_panic() {
        return "cancelled".to_owned();
    }
    let payload = error.into_panic();
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else {
        payload.downcast_ref::<String>().cloned().unwrap_or_else(|| "no message".to_owned())
    }
}

/// No child was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// As many as allowed are running.
    #[error("too many are running")]
    Full,
    /// The group is stopping.
    #[error("stopping")]
    Stopping,
}

/// Starts the children of a task, a bounded number at a time. Cheap to clone; clones share the bound.
#[derive(Clone, Debug)]
pub struct Spawner {
    stop: Stop,
    children: Children,
    room: Arc<Semaphore>,
}

impl Spawner {
    /// The stop of the group: children end soon after it is set.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// How many more may be started now.
    pub fn room(&self) -> usize {
        self.room.available_permits()
    }

    /// Starts a child as soon as there is room, or not at all once the group stops.
    /// # Errors
    /// [`SpawnError::Stopping`].
    pub async fn spawn<Fut>(&self, name: &'static str, child: Fut) -> Result<(), SpawnError>
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let permit = tokio::select! {
            biased;
            () = self.stop.wait() => return Err(SpawnError::Stopping),
            permit = Arc::clone(&self.room).acquire_owned() => permit.map_err(|_| SpawnError::Stopping)?,
        };
        self.children.start(name, child, permit);
        Ok(())
    }

    /// Starts a child now, or says why not.
    /// # Errors
    /// [`SpawnError::Full`] or [`SpawnError::Stopping`]; the child was dropped.
    pub fn try_spawn<Fut>(&self, name: &'static str, child: Fut) -> Result<(), SpawnError>
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        if self.stop.is_set() {
            return Err(SpawnError::Stopping);
        }
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| SpawnError::Full)?;
        self.children.start(name, child, permit);
        Ok(())
    }
}

#[derive(Clone, Debug, Default)]
struct Children {
    tracker: TaskTracker,
    /// Set at the end of the grace period: those still running are dropped.
    abandon: CancellationToken,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    watched: Watched,
}

impl Children {
    fn start<Fut, P>(&self, name: &'static str, child: Fut, permit: P)
    where
        Fut: Future<Output = ()> + Send + 'static,
        P: Send + 'static,
    {
        *lock(&self.running).entry(name).or_default() += 1;
        let mark = Running { name, running: Arc::clone(&self.running) };
        let abandon = self.abandon.clone();
        let tracked = self.tracker.track_future(async move {
            let _held = (mark, permit);
            tokio::select! {
                biased;
                () = abandon.cancelled() => {}
                () = child => {}
            }
        });
        detached(self.watched.count(name, tracked));
    }

    /// The names of running children, with their number when there are several.
    fn running(&self) -> Vec<String> {
        let running = lock(&self.running);
        let counted = running.iter().filter(|(_, count)| **count > 0);
        counted
            .map(|(name, count)| if *count == 1 { (*name).to_owned() } else { format!("{name} ×{count}") })
            .collect()
    }
}

/// Starts a future that nobody waits for: a tracked child, or the watch for the second stop signal.
pub(crate) fn detached(future: impl Future<Output = ()> + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "this is the file that owns tasks")]
    drop(tokio::spawn(future));
}

/// Counts a child as running for as long as it lives, also when it panics.
struct Running {
    name: &'static str,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "a child task panicked; its message is on stderr");
        }
        if let Some(count) = lock(&self.running).get_mut(self.name) {
            *count = count.saturating_sub(1);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The counts are whole after every statement, so a poisoned lock is still right.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "task_group_tests.rs"]
mod tests;

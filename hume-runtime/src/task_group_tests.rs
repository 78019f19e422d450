//! The rules of a task group, one test each.

use super::*;
use std::future::{pending, ready};
use tokio::sync::mpsc;

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_group_whose_tasks_heed_the_stop_ends_well() {
    let mut group = TaskGroup::new();
    for name in ["intake", "uplink"] {
        group.spawn(name, |stop| async move {
            stop.wait().await;
            assert!(stop.is_set());
            Ok(())
        });
    }
    group.run(ready(()), GRACE).await.unwrap();
}

#[tokio::test]
async fn a_group_without_tasks_runs_until_asked() {
    TaskGroup::new().run(ready(()), GRACE).await.unwrap();
}

#[tokio::test]
async fn a_failing_task_stops_the_group_and_is_named() {
    let mut group = TaskGroup::new();
    group.spawn("spool", |_| async { Err(anyhow::anyhow!("disk on fire")) });
    group.spawn("uplink", |stop| async move {
        stop.wait().await;
        Ok(())
    });
    let error = group.run(pending(), GRACE).await.unwrap_err();
    assert_eq!(format!("{:#}", anyhow::Error::from(error)), "task spool failed: disk on fire");
}

#[tokio::test]
async fn a_panicking_task_stops_the_group_and_is_named() {
    let mut group = TaskGroup::new();
    group.spawn("runs", |_| async { panic!("impossible run {}", 7) });
    let error = group.run(pending(), GRACE).await.unwrap_err();
    assert_eq!(error.to_string(), "task runs panicked: impossible run 7");
}

#[tokio::test]
async fn a_task_that_returns_before_the_stop_is_an_error() {
    let mut group = TaskGroup::new();
    group.spawn("web", |_| async { Ok(()) });
    let error = group.run(pending(), GRACE).await.unwrap_err();
    assert_eq!(error.to_string(), "task web returned before the stop");
}

#[tokio::test(start_paused = true)]
async fn who_outlives_the_grace_period_is_named_and_dropped() {
    struct Dropped(mpsc::UnboundedSender<&'static str>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut group = TaskGroup::new();
    let (of_task, of_child) = (Dropped(sender.clone()), Dropped(sender));
    group.spawn("deaf", |_| async move {
        let _held = of_task;
        pending().await
    });
    group
        .spawner(4)
        .try_spawn("connection", async move {
            let _held = of_child;
            pending::<()>().await;
        })
        .unwrap();
    let started = Instant::now();
    let error = group.run(ready(()), GRACE).await.unwrap_err();
    assert_eq!(error.to_string(), "still running 10000 ms after the stop: connection, deaf");
    assert_eq!(started.elapsed(), GRACE);
    assert_eq!(receiver.recv().await, Some("dropped"));
    assert_eq!(receiver.recv().await, Some("dropped"));
}

#[tokio::test]
async fn the_first_failure_is_the_one_returned() {
    let mut group = TaskGroup::new();
    group.spawn("first", |_| async { Err(anyhow::anyhow!("a")) });
    group.spawn("second", |stop| async move {
        stop.wait().await;
        Err(anyhow::anyhow!("b"))
    });
    let error = group.run(pending(), GRACE).await.unwrap_err();
    assert!(matches!(error, TaskError::Failed { task: "first", .. }), "{error}");
}

#[tokio::test]
async fn a_failure_while_stopping_is_reported() {
    let mut group = TaskGroup::new();
    group.spawn("store", |stop| async move {
        stop.wait().await;
        Err(anyhow::anyhow!("could not checkpoint"))
    });
    assert!(matches!(group.run(ready(()), GRACE).await, Err(TaskError::Failed { task: "store", .. })));
}

#[tokio::test]
async fn a_spawner_never_runs_more_than_its_bound() {
    let group = TaskGroup::new();
    let spawner = group.spawner(2);
    let (release, released) = tokio::sync::watch::channel(false);
    for _ in 0..2 {
        let mut released = released.clone();
        spawner
            .try_spawn("connection", async move {
                let _ = released.wait_for(|open| *open).await;
            })
            .unwrap();
    }
    assert_eq!(spawner.try_spawn("connection", pending()), Err(SpawnError::Full));
    let mut third = std::pin::pin!(spawner.spawn("connection", ready(())));
    assert!(tokio::time::timeout(Duration::from_millis(1), &mut third).await.is_err());
    release.send(true).unwrap();
    third.await.unwrap();
    group.run(ready(()), GRACE).await.unwrap();
    assert_eq!(spawner.try_spawn("connection", pending()), Err(SpawnError::Stopping));
    assert_eq!(spawner.spawn("connection", pending()).await, Err(SpawnError::Stopping));
}

#[tokio::test]
async fn a_panicking_child_ends_only_itself_and_gives_its_room_back() {
    let group = TaskGroup::new();
    let spawner = group.spawner(1);
    spawner.try_spawn("connection", async { panic!("bad frame") }).unwrap();
    spawner.spawn("connection", ready(())).await.unwrap();
    group.run(ready(()), GRACE).await.unwrap();
}

#[tokio::test]
async fn children_are_drained_before_the_group_ends() {
    let group = TaskGroup::new();
    let spawner = group.spawner(1);
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let stop = spawner.stop();
    spawner
        .try_spawn("connection", async move {
            stop.wait().await;
            tokio::task::yield_now().await;
            let _ = sender.send(());
        })
        .unwrap();
    group.run(ready(()), GRACE).await.unwrap();
    assert_eq!(receiver.try_recv(), Ok(()));
}

#[tokio::test]
async fn a_thread_obeys_the_same_rules() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let mut group = TaskGroup::new();
    group
        .spawn_thread("writer", move |_| {
            while receiver.recv().is_ok() {}
            Ok(())
        })
        .unwrap();
    group.spawn("customer", |stop| async move {
        stop.wait().await;
        drop(sender);
        Ok(())
    });
    group.run(ready(()), GRACE).await.unwrap();

    let mut group = TaskGroup::new();
    group.spawn_thread("writer", |_| panic!("torn page")).unwrap();
    let error = group.run(pending(), GRACE).await.unwrap_err();
    assert!(matches!(error, TaskError::Failed { task: "writer", .. }), "{error}");
}

//! The registry over a real database: what is changed is kept, seen and told, and its log is nobody's to change.

use hume_core::{AgentId, HostName, Timestamp};
use hume_runtime::sqlite::{self, SqliteOptions};
use hume_runtime::task_group::TaskGroup;

use super::*;

const A: AgentId = AgentId::from_bytes([1; 16]);
const B: AgentId = AgentId::from_bytes([2; 16]);

fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

fn root() -> Actor {
    Actor { name: "uid 0".to_owned(), address: "socket".to_owned() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// Runs `test` with a registry in this folder.
async fn with_registry<F: Future<Output = ()>>(dir: &Path, test: impl FnOnce(Registry) -> F) {
    let (registry, thread) = Registry::open(&dir.join(FILE), Strangers::Welcome).unwrap();
    let mut tasks = TaskGroup::new();
    let runtime = tokio::runtime::Handle::current();
    tasks.spawn_thread("registry", move |stop| thread.run(&runtime, &stop)).unwrap();
    tasks.run(test(registry), std::time::Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_agent_is_known_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    with_registry(dir.path(), |registry| async move {
        let mut changes = registry.view().changes();
        assert_eq!(registry.view().check(A), Ok(()), "a stranger of another CA");
        let entry = registry.change(A, host("web1"), Wish::Suspend, root(), at(1)).await.unwrap();
        assert_eq!((entry.state, entry.entered_at), (AgentState::Suspended, at(1)));
        assert_eq!(registry.view().check(A), Err(Denial::Suspended));
        changes.changed().await.unwrap();
        registry.change(A, host("web1"), Wish::Approve, root(), at(2)).await.unwrap();
        assert_eq!(registry.view().check(A), Ok(()));
        registry.change(A, host("web1"), Wish::Revoke, root(), at(3)).await.unwrap();
        registry.change(B, host("db1"), Wish::Approve, root(), at(3)).await.unwrap();
    })
    .await;
    with_registry(dir.path(), |registry| async move {
        assert_eq!(registry.view().check(A), Err(Denial::Revoked));
        let error = registry.change(A, host("web1"), Wish::Approve, root(), at(4)).await.unwrap_err();
        assert!(error.to_string().contains("which is for good"), "{error}");
        let hosts: Vec<String> =
            registry.agents().await.unwrap().into_iter().map(|entry| entry.host).collect();
        assert_eq!(hosts, ["db1", "web1"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_and_every_refusal_is_in_the_audit_log() {
    let dir = tempfile::tempdir().unwrap();
    with_registry(dir.path(), |registry| async move {
        registry.change(A, host("web1"), Wish::Revoke, root(), at(1)).await.unwrap();
        registry.change(A, host("web1"), Wish::Suspend, root(), at(2)).await.unwrap_err();
        let lines = registry.audit_lines(10).await.unwrap();
        let told: Vec<_> = lines.iter().map(|line| (line.number, line.action.as_str())).collect();
        assert_eq!(told, [(2, "suspend"), (1, "revoke")]);
        assert_eq!((lines[1].outcome.as_str(), lines[1].detail.as_str()), ("done", "web1"));
        assert_eq!(lines[1].subject, A.to_string());
        assert!(lines[0].outcome.contains("for good"), "{lines:?}");
        assert_eq!(lines[0].actor, root());
    })
    .await;
    let connection = sqlite::open_writer(&dir.path().join(FILE), &SqliteOptions::default()).unwrap();
    for sql in ["UPDATE audit SET outcome = 'x'", "DELETE FROM audit WHERE number = 1"] {
        let error = connection.execute(sql, []).unwrap_err().to_string();
        assert!(error.contains("only appended to"), "{error}");
    }
}

//! Through the router: every answer and every failure has its shape, the same as at the master.

use axum::body::{Body, to_bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use hume_core::event::{Command, Correlation, EventKind, Process, RunRef};
use hume_core::{Event, EventId, Level, RunId, TaskName, Timestamp};
use hume_proto::rest::{AgentList, Count, EventList, HostList, Problem, RunList, StatusReport, TaskList};
use hume_runtime::task_group::TaskGroup;
use hume_transfer::Board;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;
use crate::spool::{self, Spool, Viewer};

/// The user whose events these are, unless said otherwise.
pub(super) const UID: u32 = 1000;

/// An agent's web room over a spool of its own.
pub(super) struct Site {
    pub(super) spool: Spool,
    shared: Shared,
    _tasks: TaskGroup,
    _folder: TempDir,
}

pub(super) fn site() -> Site {
    site_with(&spool::Config::default())
}

pub(super) fn site_with(config: &spool::Config) -> Site {
    let folder = TempDir::new().unwrap();
    let mut tasks = TaskGroup::new();
    let spool = Spool::open(folder.path(), config, None, Board::default(), &mut tasks).unwrap();
    let shared = Shared::new(
        HostName::parse("web1").unwrap(),
        spool.questions.clone(),
        spool.writer.clone(),
        Arc::new(Metrics::default()),
        Arc::new(Policies::default()),
        Followers::new(FOLLOWERS_MAX, tasks.stop()),
    );
    Site { spool, shared, _tasks: tasks, _folder: folder }
}

impl Site {
    /// A site with one run of three events, still going on.
    pub(super) async fn with_a_run() -> Site {
        let site = site();
        site.append((1..=3).map(event)).await;
        site
    }

    pub(super) async fn append(&self, events: impl IntoIterator<Item = Event>) {
        self.spool.writer.append(events.into_iter().collect(), Vec::new()).await.unwrap();
    }

    pub(super) fn as_viewer(&self, viewer: Viewer) -> Router {
        routes(self.shared.clone()).layer(Extension(Caller::new(viewer)))
    }

    pub(super) fn administrator(&self) -> Router {
        self.as_viewer(Viewer::Administrator)
    }
}

pub(super) fn event(number: u64) -> Event {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    Event {
        id: EventId::from_bytes(id),
        kind: EventKind::Reported,
        time: Timestamp::from_micros(number as i64 * 1_000_000),
        received_at: Timestamp::from_micros(number as i64 * 1_000_000),
        boot_clock: None,
        host: HostName::parse("web1").unwrap(),
        task: TaskName::parse("BACKUP").unwrap(),
        tags: Vec::new(),
        level: if number == 2 { Level::Error } else { Level::Info },
        command: (number == 1).then_some(Command::CounterStart),
        flag: None,
        message: format!("message {number}"),
        truncated_from: None,
        extra: Vec::new(),
        exit: None,
        line: None,
        process: Process { uid: Some(UID), ..Process::default() },
        run: Some(RunRef { id: RunId::from_bytes([9; 16]), correlation: Correlation::Ancestry }),
        finding: None,
        not_before: None,
        flags: Vec::new(),
    }
}

async fn ask(router: &Router, method: Method, uri: &str) -> (StatusCode, HeaderMap, String) {
    let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, headers, String::from_utf8(body.to_vec()).unwrap())
}

pub(super) async fn get<T: DeserializeOwned>(router: &Router, uri: &str) -> T {
    let (status, headers, body) = ask(router, Method::GET, uri).await;
    assert_eq!(status, StatusCode::OK, "{uri}: {body}");
    assert_eq!(
        (&headers[CONTENT_TYPE], &headers[CACHE_CONTROL]),
        (&"application/json".parse().unwrap(), &"no-store".parse().unwrap())
    );
    serde_json::from_str(&body).unwrap()
}

pub(super) async fn problem(router: &Router, method: Method, uri: &str) -> Problem {
    let (status, headers, body) = ask(router, method, uri).await;
    assert_eq!(headers[CONTENT_TYPE], "application/problem+json", "{uri}: {body}");
    let problem: Problem = serde_json::from_str(&body).unwrap();
    assert_eq!(problem.status, status.as_u16());
    problem
}

#[tokio::test]
async fn every_path_answers_in_its_shape() {
    let site = Site::with_a_run().await;
    let router = &site.administrator();
    let events: EventList = get(router, "/api/v1/events?limit=2").await;
    assert_eq!(events.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [3, 2]);
    let next = events.next.unwrap();
    let rest: EventList = get(router, &format!("/api/v1/events?limit=2&cursor={next}")).await;
    assert_eq!((rest.events.len(), rest.next), (1, None));
    let count: Count = get(router, "/api/v1/events?level=error&task=BACKUP&count=true").await;
    assert_eq!(count.count, 1);
    let runs: RunList = get(router, "/api/v1/runs").await;
    assert_eq!((runs.runs.len(), runs.runs[0].events.len()), (1, 0));
    let count: Count = get(router, "/api/v1/runs?count=true").await;
    assert_eq!(count.count, 1);
    let latest: RunList = get(router, "/api/v1/latest?task=BACKUP&host=web1&events=true").await;
    assert_eq!(latest.runs[0].events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3]);
    let tasks: TaskList = get(router, "/api/v1/tasks").await;
    assert_eq!((tasks.tasks[0].status.as_str(), tasks.tasks[0].errors), ("running", 1));
    let hosts: HostList = get(router, "/api/v1/hosts").await;
    assert_eq!((hosts.hosts[0].state.as_str(), hosts.hosts[0].events), ("local", 3));
    let agents: AgentList = get(router, "/api/v1/agents").await;
    assert_eq!(agents.agents[0].state, "alone");
    let status: StatusReport = get(router, "/api/v1/status").await;
    assert_eq!((status.state.as_str(), status.events, status.agents.len()), ("ready", 3, 1));
}

#[tokio::test]
async fn a_wrong_question_is_a_problem_that_names_the_parameter() {
    let site = site();
    for (uri, field) in [
        ("/api/v1/events?levle=error", "levle"),
        ("/api/v1/events?level=loud", "level"),
        ("/api/v1/events?limit=many", "limit"),
        ("/api/v1/events?limit=0", "limit"),
        ("/api/v1/events?limit=1&limit=2", "limit"),
        ("/api/v1/events?cursor=r1.1.x", "cursor"),
        ("/api/v1/events?count=perhaps", "count"),
        ("/api/v1/runs?since=noon", "since"),
        ("/api/v1/latest?run=1", "run"),
        ("/api/v1/tasks?x=1", "x"),
        ("/api/v1/hosts?x=1", "x"),
        ("/api/v1/agents?x=1", "x"),
        ("/api/v1/status?x=1", "x"),
    ] {
        let problem = problem(&site.administrator(), Method::GET, uri).await;
        assert_eq!((problem.status, problem.code.as_str()), (400, "invalid"), "{uri}");
        assert_eq!(problem.field.as_deref(), Some(field), "{uri}: {}", problem.detail);
    }
}

#[tokio::test]
async fn a_wrong_path_method_or_length_is_a_problem_too() {
    let site = site();
    let router = &site.administrator();
    assert_eq!(problem(router, Method::GET, "/api/v1/nothing").await.code, "not_found");
    let wrong = problem(router, Method::POST, "/api/v1/events").await;
    assert_eq!((wrong.status, wrong.detail.as_str()), (405, "/api/v1/events takes GET, not POST"));
    let long = format!("/api/v1/events?grep={}", "x".repeat(20_000));
    assert_eq!(problem(router, Method::GET, &long).await.status, 414);
}

#[tokio::test]
async fn a_user_sees_no_event_of_others_in_any_answer() {
    let site = site();
    let own = |number| Event { process: Process { uid: Some(7), ..Process::default() }, ..event(number) };
    for event in [own(1), event(2), own(3)] {
        site.append([event]).await;
    }
    let router = &site.as_viewer(Viewer::User(7));
    for uri in ["/api/v1/events", "/api/v1/events?after=start"] {
        let list: EventList = get(router, uri).await;
        assert!(list.events.len() == 2 && list.events.iter().all(|event| event.uid == Some(7)), "{list:?}");
    }
    for uri in ["/api/v1/latest?events=true", "/api/v1/runs?events=true"] {
        let list: RunList = get(router, uri).await;
        let run = &list.runs[0];
        assert_eq!(run.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 3]);
        assert_eq!((run.summary.by_level.error, &run.summary.first_error, run.complete), (1, &None, true));
    }
    let all: RunList = get(&site.administrator(), "/api/v1/latest").await;
    assert_eq!(all.runs[0].summary.first_error.as_ref().unwrap().message, "message 2");
    let nobody: RunList = get(&site.as_viewer(Viewer::User(8)), "/api/v1/runs").await;
    assert_eq!(nobody.runs, []);
}

#[tokio::test]
async fn whoever_follows_is_woken_by_a_commit_and_a_foreign_cursor_is_a_conflict() {
    let site = Site::with_a_run().await;
    let router = &site.administrator();
    let now: EventList = get(router, "/api/v1/events?after=now&wait=30").await;
    assert!(now.events.is_empty(), "`now` answers at once");
    let (task, next) = ("BACKUP", now.next.unwrap());
    let waiting = format!("/api/v1/events?after={next}&wait=30&task={task}");
    let commit = async {
        tokio::task::yield_now().await;
        let other = Event { task: TaskName::parse("OTHER").unwrap(), run: None, ..event(4) };
        site.append([other]).await;
        site.append([event(5)]).await;
    };
    let (found, ()) = tokio::join!(get::<EventList>(router, &waiting), commit);
    assert_eq!(found.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [5]);
    // The listing meets it there.
    let next = found.next.unwrap();
    let listed: EventList = get(router, &format!("/api/v1/events?cursor={next}&limit=1")).await;
    assert_eq!(listed.events, found.events);
    let beyond = problem(router, Method::GET, "/api/v1/events?after=e1.9000000000000").await;
    assert_eq!((beyond.status, beyond.field.as_deref()), (409, Some("after")));
    let both = problem(router, Method::GET, &format!("/api/v1/events?after=now&cursor={next}")).await;
    assert_eq!((both.status, both.field.as_deref()), (400, Some("cursor")));
}

#[tokio::test]
async fn a_list_without_pages_says_when_it_is_cut() {
    let site = site();
    let task = |number: u64| Event {
        task: TaskName::parse(&format!("T{number}")).unwrap(),
        run: Some(RunRef { id: RunId::from_bytes([number as u8; 16]), correlation: Correlation::Ancestry }),
        ..event(number)
    };
    site.append((1..=8).map(task)).await;
    let whole: TaskList = get(&site.administrator(), "/api/v1/tasks").await;
    assert_eq!((whole.tasks.len(), whole.truncated), (8, false));
    site.append([task(9)]).await;
    let cut: TaskList = get(&site.administrator(), "/api/v1/tasks").await;
    assert_eq!((cut.tasks.len(), cut.truncated), (8, true));
    let hosts: HostList = get(&site.administrator(), "/api/v1/hosts").await;
    assert!(hosts.truncated);
}

#[tokio::test]
async fn a_run_that_does_not_fit_says_how_many_events_are_left_out() {
    let site = site();
    site.append((1..=spool::RUN_EVENTS_MAX as u64 + 3).map(event)).await;
    let run: RunList = get(&site.administrator(), "/api/v1/runs?events=true").await;
    assert_eq!((run.runs[0].events.len(), run.runs[0].more_events), (spool::RUN_EVENTS_MAX, 3));
    assert!(run.runs[0].complete, "all of them are there");
}

#[tokio::test]
async fn a_full_spool_is_a_state() {
    let site = site_with(&spool::Config { bytes_max: 400 * 1024, ..spool::Config::default() });
    let large = |number| Event { message: "x".repeat(8_000), run: None, ..event(number) };
    let mut number = 0;
    while site.spool.writer.append(vec![large(number)], Vec::new()).await.is_ok() {
        number += 1;
        assert!(number < 1_000, "it never fills");
    }
    let status: StatusReport = get(&site.administrator(), "/api/v1/status").await;
    assert_eq!(status.state, "the spool is full, new events are refused");
}

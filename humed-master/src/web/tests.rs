//! Through the router: every answer and every failure has its shape.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use hume_core::event::{Command, Correlation, EventKind, Process, RunRef};
use hume_core::policy::Policies;
use hume_core::{AgentId, Epoch, Event, EventId, HostName, Level, RunId, Seq, TaskName, Timestamp};
use hume_proto::event::EventBytes;
use hume_proto::rest::{AgentList, Count, EventList, HostList, Problem, RunList, StatusReport, TaskList};
use hume_runtime::task_group::Stop;
use hume_runtime::{clock, tls};
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

use super::{Guard, MetricsAccess, WebConfig, WebState, router};
use crate::metrics::Metrics;
use crate::registry::{self, Passes, Registry, Strangers};
use crate::store::{
    Admission, Content, Entrance, Entry, EpochClaim, EventWriter as _, HostWord, QueueStatus, SessionNo,
    Sessions as _, Sighting, SqliteStore,
};

const AGENT: [u8; 16] = [1; 16];
const EPOCH: [u8; 16] = [2; 16];
const TOKEN: &str = "hume_test";
/// Of a viewer of tasks UPD*.
const UPDATES: &str = "hume_updates";
/// Of an operator of hosts db*.
const DB: &str = "hume_db";

struct Site {
    tls: Router,
    socket: Router,
    store: SqliteStore,
    metrics: Metrics,
    stop: Stop,
    session: SessionNo,
    /// Events of the agent until now.
    sent: AtomicU64,
    _folder: tempfile::TempDir,
}

impl Site {
    /// The agent sends what comes next.
    async fn send(&self, events: &[Event]) {
        let first = self.sent.fetch_add(events.len() as u64, Ordering::Relaxed) + 1;
        let entry =
            |event: &Event| Entry::Event { body: EventBytes::encode(event), event: Box::new(event.clone()) };
        let admission = Admission {
            agent: AgentId::from_bytes(AGENT),
            session: self.session,
            epoch: Epoch::from_bytes(EPOCH),
            first: Seq::new(first).unwrap(),
            arrived_at: clock::now(),
            content: Content::Entries(events.iter().map(entry).collect()),
        };
        self.store.commit(vec![admission]).await.unwrap();
    }
}

/// A site whose agent was last heard at `seen_at`, with one run of three events, still going on.
async fn site(seen_at: Timestamp) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new(clock::now());
    let (store, writer) = SqliteStore::open(&folder.path().join("store.db"), metrics.clone()).unwrap();
    std::thread::spawn(|| writer.run());
    let agent = AgentId::from_bytes(AGENT);
    let entrance = Entrance {
        agent,
        host: HostName::parse("web1").unwrap(),
        version: "0.1.0".to_owned(),
        address: "192.0.2.1:1".to_owned(),
        certificate_expires_at: Timestamp::from_micros(1),
        epochs: vec![EpochClaim::fresh(Epoch::from_bytes(EPOCH))],
        queue: QueueStatus::default(),
        about: HostWord::default(),
        behind_us: 0,
        at: seen_at,
    };
    let session = store.enter(entrance).await.unwrap().session;
    let entries = (1..=3).map(|number| {
        let event = event(number);
        Entry::Event { body: EventBytes::encode(&event), event: Box::new(event) }
    });
    let admission = Admission {
        agent,
        session,
        epoch: Epoch::from_bytes(EPOCH),
        first: Seq::new(1).unwrap(),
        arrived_at: seen_at,
        content: Content::Entries(entries.collect()),
    };
    store.commit(vec![admission]).await.unwrap();
    let stop = Stop::new();
    let file = folder.path().join(registry::FILE);
    let (registry, thread) = Registry::open(&file, Strangers::Welcome).unwrap();
    let (runtime, end) = (tokio::runtime::Handle::current(), stop.clone());
    std::thread::spawn(move || thread.run(&runtime, &end));
    let state = WebState::new(
        Arc::new(store.clone()),
        registry,
        metrics.clone(),
        Policies::default(),
        "m1",
        stop.clone(),
    );
    let config: WebConfig = hume_runtime::config::parse(
        std::path::Path::new("m.toml"),
        &format!(
            "metrics = \"token\"\n[[token]]\nname = \"admin\"\nsha256 = \"{}\"\n\
             [[token]]\nname = \"updates\"\nsha256 = \"{}\"\nrole = \"viewer\"\ntasks = [\"UPD*\"]\n\
             [[token]]\nname = \"db\"\nsha256 = \"{}\"\nrole = \"operator\"\nhosts = [\"db*\"]\n",
            tls::sha256_hex(TOKEN.as_bytes()),
            tls::sha256_hex(UPDATES.as_bytes()),
            tls::sha256_hex(DB.as_bytes())
        ),
    )
    .unwrap();
    assert_eq!(config.metrics, MetricsAccess::Token);
    Site {
        tls: router(state.clone(), &Guard::of_network(&config, Passes::default(), metrics.clone())),
        socket: router(state, &Guard::of_socket(metrics.clone())),
        store,
        metrics,
        stop,
        session,
        sent: AtomicU64::new(3),
        _folder: folder,
    }
}

fn event(number: u8) -> Event {
    Event {
        id: EventId::from_bytes([number; 16]),
        kind: EventKind::Reported,
        time: Timestamp::from_micros(i64::from(number) * 1_000_000),
        received_at: Timestamp::from_micros(i64::from(number) * 1_000_000),
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
        process: Process::default(),
        run: Some(RunRef { id: RunId::from_bytes([9; 16]), correlation: Correlation::Ancestry }),
        finding: None,
        not_before: None,
        flags: Vec::new(),
    }
}

async fn ask(
    router: &Router,
    method: Method,
    uri: &str,
    token: Option<&str>,
) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn get<T: DeserializeOwned>(router: &Router, uri: &str) -> T {
    get_as(TOKEN, router, uri).await
}

async fn get_as<T: DeserializeOwned>(token: &str, router: &Router, uri: &str) -> T {
    let (status, headers, body) = ask(router, Method::GET, uri, Some(token)).await;
    assert_eq!(status, StatusCode::OK, "{uri}: {body}");
    assert_eq!(
        (&headers[CONTENT_TYPE], &headers[CACHE_CONTROL]),
        (&"application/json".parse().unwrap(), &"no-store".parse().unwrap())
    );
    serde_json::from_str(&body).unwrap()
}

async fn problem(router: &Router, method: Method, uri: &str) -> Problem {
    let (status, headers, body) = ask(router, method, uri, Some(TOKEN)).await;
    assert_eq!(headers[CONTENT_TYPE], "application/problem+json", "{uri}: {body}");
    let problem: Problem = serde_json::from_str(&body).unwrap();
    assert_eq!(problem.status, status.as_u16());
    problem
}

#[tokio::test]
async fn every_path_answers_in_its_shape() {
    let site = site(clock::now()).await;
    for router in [&site.tls, &site.socket] {
        let events: EventList = get(router, "/api/v1/events?limit=2").await;
        assert_eq!(events.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [3, 2]);
        let next = events.next.unwrap();
        let rest: EventList = get(router, &format!("/api/v1/events?limit=2&cursor={next}")).await;
        assert_eq!((rest.events.len(), rest.next), (1, None));
        assert_eq!(rest.source.name, "m1");
        let count: Count = get(router, "/api/v1/events?level=error&task=BACKUP&count=true").await;
        assert_eq!(count.count, 1);
        let runs: RunList = get(router, "/api/v1/runs").await;
        assert_eq!((runs.runs.len(), runs.runs[0].events.len()), (1, 0));
        let count: Count = get(router, "/api/v1/runs?count=true").await;
        assert_eq!(count.count, 1);
        let latest: RunList = get(router, "/api/v1/latest?task=BACKUP&host=web1&events=true").await;
        assert_eq!(latest.runs[0].events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((latest.runs[0].status.as_str(), latest.runs[0].summary.by_level.error), ("running", 1));
        let tasks: TaskList = get(router, "/api/v1/tasks").await;
        assert_eq!((tasks.tasks[0].status.as_str(), tasks.tasks[0].errors), ("running", 1));
        let hosts: HostList = get(router, "/api/v1/hosts").await;
        assert_eq!((hosts.hosts[0].state.as_str(), hosts.hosts[0].events), ("connected", 3));
        let agents: AgentList = get(router, "/api/v1/agents").await;
        assert_eq!((agents.agents[0].state.as_str(), agents.agents[0].acked_events), ("connected", 3));
        let status: StatusReport = get(router, "/api/v1/status").await;
        assert_eq!((status.state.as_str(), status.events, status.agents.len()), ("ready", 3, 1));
    }
}

#[tokio::test]
async fn a_run_is_lost_when_its_agent_was_not_heard_for_too_long() {
    let long_ago = clock::now().plus_micros(-301_000_000);
    let site = site(long_ago).await;
    let latest: RunList = get(&site.tls, "/api/v1/latest").await;
    assert_eq!((latest.runs[0].status.as_str(), latest.runs[0].severity), ("lost", 3));
    let agents: AgentList = get(&site.tls, "/api/v1/agents").await;
    assert_eq!(agents.agents[0].state, "silent");
}

#[tokio::test]
async fn a_lost_run_is_shown_as_it_is_once_its_agent_is_heard_again() {
    let site = site(clock::now().plus_micros(-301_000_000)).await;
    let latest = || async { get::<RunList>(&site.tls, "/api/v1/latest").await.runs.remove(0) };
    let lost = latest().await;
    assert_eq!((lost.status.as_str(), lost.phase.as_str()), ("lost", "running"));
    let agent = AgentId::from_bytes(AGENT);
    site.store.seen(Sighting {
        tails: Vec::new(),
        agent,
        session: site.session,
        queue: None,
        behind_us: None,
        watermark: None,
        at: clock::now(),
    });
    let heard = latest().await;
    assert_eq!((heard.status.as_str(), heard.severity), ("running", 0));
    assert_eq!((heard.id, heard.summary), (lost.id, lost.summary), "silence changed nothing in it");
    let stop = Event { command: Some(Command::CounterStop), level: Level::Ok, ..event(4) };
    site.send(&[stop]).await;
    let ended = latest().await;
    assert_eq!((ended.phase.as_str(), ended.summary.events), ("ended", 4));
}

#[tokio::test]
async fn without_a_valid_token_nothing_is_told_not_even_what_there_is() {
    let site = site(clock::now()).await;
    for (uri, token) in [
        ("/api/v1/events", None),
        ("/api/v1/events", Some("hume_wrong")),
        ("/api/v1/nothing", None),
        ("/api/v1/events?nonsense=1", None),
        ("/metrics", None),
    ] {
        let (status, headers, body) = ask(&site.tls, Method::GET, uri, token).await;
        assert_eq!(
            (status, &headers[WWW_AUTHENTICATE]),
            (StatusCode::UNAUTHORIZED, &"Bearer".parse().unwrap()),
            "{uri}"
        );
        let problem: Problem = serde_json::from_str(&body).unwrap();
        assert_eq!((problem.code.as_str(), problem.field), ("unauthenticated", None));
    }
    let (status, _, _) = ask(&site.socket, Method::GET, "/api/v1/events", None).await;
    assert_eq!(status, StatusCode::OK);
    let (_, _, figures) = ask(&site.tls, Method::GET, "/metrics", Some(TOKEN)).await;
    assert!(figures.contains("hume_master_refused_total{reason=\"token\"} 5"), "{figures}");
    assert!(figures.contains("hume_master_agents{state=\"connected\"} 1"), "{figures}");
    assert!(figures.contains("hume_master_ingested_events_total 3"), "{figures}");
}

#[tokio::test]
async fn who_may_see_a_part_is_told_of_that_part_alone_in_every_answer() {
    let site = site(clock::now()).await;
    let update = |number| Event {
        task: TaskName::parse("UPDATE").unwrap(),
        run: Some(RunRef { id: RunId::from_bytes([8; 16]), correlation: Correlation::Ancestry }),
        ..event(number)
    };
    site.send(&[update(4), event(5), update(6)]).await;
    let (updates, db) = (async |uri: &str| ask(&site.tls, Method::GET, uri, Some(UPDATES)).await, DB);
    let events: EventList = get_as(UPDATES, &site.tls, "/api/v1/events?limit=1").await;
    assert_eq!(events.events[0].seq, 6);
    let next = format!("/api/v1/events?limit=1&cursor={}", events.next.unwrap());
    let rest: EventList = get_as(UPDATES, &site.tls, &next).await;
    assert_eq!(rest.events[0].seq, 4, "a page holds what may be seen, and not what is left of one");
    let followed: EventList = get_as(UPDATES, &site.tls, "/api/v1/events?after=start&limit=9").await;
    assert_eq!(followed.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [4, 6]);
    for (uri, count) in [
        ("/api/v1/events?count=true", 2),
        ("/api/v1/events?count=true&task=BACKUP", 0),
        ("/api/v1/events?count=true&run=09090909-0909-0909-0909-090909090909", 0),
        ("/api/v1/runs?count=true", 1),
        ("/api/v1/runs?count=true&run=09090909-0909-0909-0909-090909090909", 0),
        ("/api/v1/latest?count=true", 1),
    ] {
        assert_eq!(get_as::<Count>(UPDATES, &site.tls, uri).await.count, count, "{uri}");
        assert_eq!(get_as::<Count>(db, &site.tls, uri).await.count, 0, "{uri}");
    }
    let tasks: TaskList = get_as(UPDATES, &site.tls, "/api/v1/tasks").await;
    assert_eq!(tasks.tasks.iter().map(|task| task.task.as_str()).collect::<Vec<_>>(), ["UPDATE"]);
    let hosts: HostList = get_as(UPDATES, &site.tls, "/api/v1/hosts").await;
    assert_eq!((hosts.hosts.len(), hosts.hosts[0].tasks, hosts.hosts[0].events), (1, 1, 2));
    // The site is not a viewer's, and an operator of some hosts sees these.
    assert_eq!(ask(&site.tls, Method::GET, "/api/v1/audit", Some(DB)).await.0, StatusCode::FORBIDDEN);
    for uri in ["/api/v1/agents", "/api/v1/status", "/metrics"] {
        let (status, _, body) = updates(uri).await;
        let problem: Problem = serde_json::from_str(&body).unwrap();
        assert_eq!((status, problem.code.as_str()), (StatusCode::FORBIDDEN, "denied"), "{uri}");
        assert!(problem.detail.contains("takes the role operator"), "{}", problem.detail);
    }
    assert!(get_as::<HostList>(DB, &site.tls, "/api/v1/hosts").await.hosts.is_empty());
    assert!(get_as::<AgentList>(DB, &site.tls, "/api/v1/agents").await.agents.is_empty());
    let status: StatusReport = get_as(DB, &site.tls, "/api/v1/status").await;
    assert_eq!((status.events, status.agents.len()), (0, 0));
    assert_eq!(ask(&site.tls, Method::GET, "/metrics", Some(DB)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn who_shows_too_many_wrong_tokens_is_told_to_wait() {
    let site = site(clock::now()).await;
    let shown = async |token| ask(&site.tls, Method::GET, "/api/v1/tasks", Some(token)).await;
    for _ in 0..10 {
        assert_eq!(shown("hume_guess").await.0, StatusCode::UNAUTHORIZED);
    }
    let (status, headers, body) = shown(TOKEN).await;
    let problem: Problem = serde_json::from_str(&body).unwrap();
    assert_eq!((status, problem.code.as_str()), (StatusCode::TOO_MANY_REQUESTS, "busy"));
    assert_eq!(headers[RETRY_AFTER], "60");
    // Whoever shows none guesses nothing.
    assert_eq!(ask(&site.tls, Method::GET, "/api/v1/tasks", None).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_wrong_question_is_a_problem_that_names_the_parameter() {
    let site = site(clock::now()).await;
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
        ("/api/v1/status?x=1", "x"),
    ] {
        let problem = problem(&site.tls, Method::GET, uri).await;
        assert_eq!((problem.status, problem.code.as_str()), (400, "invalid"), "{uri}");
        assert_eq!(problem.field.as_deref(), Some(field), "{uri}: {}", problem.detail);
    }
}

#[tokio::test]
async fn a_wrong_path_method_or_length_is_a_problem_too() {
    let site = site(clock::now()).await;
    for uri in ["/", "/api", "/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v2/events"] {
        let found = problem(&site.tls, Method::GET, uri).await;
        assert_eq!((found.status, found.code.as_str()), (404, "not_found"), "{uri}");
    }
    for uri in ["/api/v1/events", "/healthz", "/metrics"] {
        let (status, headers, body) = ask(&site.tls, Method::POST, uri, Some(TOKEN)).await;
        assert_eq!(
            (status, &headers[CONTENT_TYPE]),
            (StatusCode::METHOD_NOT_ALLOWED, &"application/problem+json".parse().unwrap())
        );
        assert!(headers[ALLOW].to_str().unwrap().contains("GET"), "{uri}: {headers:?} {body}");
    }
    let long = format!("/api/v1/events?grep={}", "x".repeat(20_000));
    assert_eq!(problem(&site.tls, Method::GET, &long).await.status, 414);
}

#[tokio::test]
async fn ready_means_that_the_store_answers() {
    let site = site(clock::now()).await;
    assert_eq!(ask(&site.tls, Method::GET, "/healthz", None).await.0, StatusCode::OK);
    assert_eq!(ask(&site.tls, Method::GET, "/readyz", None).await.0, StatusCode::OK);
    site.store.close().await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while ask(&site.tls, Method::GET, "/readyz", None).await.0 == StatusCode::OK {
        assert!(tokio::time::Instant::now() < deadline, "a closed store seems ready");
        tokio::task::yield_now().await;
    }
    let problem = problem(&site.tls, Method::GET, "/readyz").await;
    assert_eq!((problem.status, problem.code.as_str()), (503, "unavailable"));
    assert_eq!(ask(&site.tls, Method::GET, "/healthz", None).await.0, StatusCode::OK);
}

#[tokio::test]
async fn whoever_follows_is_woken_by_a_commit_and_a_foreign_cursor_is_a_conflict() {
    let site = site(clock::now()).await;
    let now: EventList = get(&site.tls, "/api/v1/events?after=now&wait=30").await;
    assert!(now.events.is_empty(), "`now` answers at once");
    let waiting = format!("/api/v1/events?after={}&wait=30&level=error", now.next.unwrap());
    let commit = async {
        tokio::task::yield_now().await;
        // Number 5 is no error and wakes nobody for good.
        site.send(&[Event { level: Level::Info, ..event(5) }]).await;
        site.send(&[Event { level: Level::Error, ..event(6) }]).await;
    };
    let (found, ()) = tokio::join!(get::<EventList>(&site.socket, &waiting), commit);
    assert_eq!(found.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [5]);
    // The listing meets it there.
    let next = found.next.unwrap();
    let listed: EventList = get(&site.tls, &format!("/api/v1/events?cursor={next}&limit=1")).await;
    assert_eq!(listed.events, found.events);
    let all: EventList = get(&site.tls, "/api/v1/events?after=start&limit=2").await;
    assert_eq!(all.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2]);

    let beyond = problem(&site.tls, Method::GET, "/api/v1/events?after=e1.1000").await;
    assert_eq!(
        (beyond.status, beyond.code.as_str(), beyond.field.as_deref()),
        (409, "conflict", Some("after"))
    );
    for (uri, field) in [
        ("/api/v1/events?after=later", "after"),
        ("/api/v1/events?wait=3", "wait"),
        ("/api/v1/events?after=now&wait=31", "wait"),
        ("/api/v1/events?after=now&cursor=e1.3", "cursor"),
        ("/api/v1/events?after=now&count=true", "count"),
    ] {
        let problem = problem(&site.tls, Method::GET, uri).await;
        assert_eq!((problem.status, problem.field.as_deref()), (400, Some(field)), "{uri}");
    }
}

#[tokio::test]
async fn the_stop_lets_those_who_wait_go_at_once() {
    let site = site(clock::now()).await;
    let waiting = "/api/v1/events?after=start&wait=30&task=NONE";
    let started = std::time::Instant::now();
    let stop = async {
        tokio::task::yield_now().await;
        site.stop.set();
    };
    let (found, ()) = tokio::join!(get::<EventList>(&site.tls, waiting), stop);
    assert!(found.events.is_empty() && found.next.is_some());
    assert!(started.elapsed().as_secs() < 20, "it was not waited for");
}

#[tokio::test]
async fn the_state_says_when_the_store_refuses_events() {
    let site = site(clock::now()).await;
    site.metrics.store_refuses(Some("the store is full".to_owned()));
    let status: StatusReport = get(&site.tls, "/api/v1/status").await;
    assert_eq!(status.state, "the store is full");
    site.send(&[event(4)]).await;
    let status: StatusReport = get(&site.tls, "/api/v1/status").await;
    assert_eq!(status.state, "ready");
}

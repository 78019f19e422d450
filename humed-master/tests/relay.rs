//! The real master over loopback TLS: events in by the relay, answers out by the API, strangers refused and counted.

#[cfg(test)]
mod site;

use std::time::{Duration, Instant};

use hume_core::event::Command;
use hume_core::{Epoch, Timestamp};
use hume_proto::event::EventBytes;
use hume_proto::relay::{
    AgentFrame, Batch, Codec, Gap, GapReason, GoAwayReason, Heartbeat, Hello, MasterFrame, PROTOCOL_MAJOR,
    SpoolStatus, Verdict,
};
use hume_proto::rest::{AgentList, EventList, RunList, StatusReport};
use hume_runtime::pki::Authority;
use hume_runtime::{clock, tls};
use site::{EPOCH, Site, clock_sample, event, hello, identity, parse, seq, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(0xa1);

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_sends_is_acked_and_answered() {
    let site = Site::new();
    let master = site.start().await;
    let (mut agent, welcome) = master.enter(&site, ID, 6).await;
    assert_eq!(
        (welcome.session, welcome.resume[0].cursor, welcome.resume[0].verdict),
        (1, seq(0), Verdict::Continue)
    );
    agent.send(1, &[event(1, Some(Command::CounterStart)), event(2, None)]).await;
    agent.acked(2).await;
    // Again, overlapping, and beyond.
    agent.send(1, &[event(1, Some(Command::CounterStart)), event(2, None)]).await;
    agent.acked(2).await;
    agent.send(2, &[event(2, None), event(3, None)]).await;
    agent.acked(3).await;
    agent.send(5, &[event(5, None)]).await;
    let Some(MasterFrame::Resync(resync)) = agent.hear().await else { panic!("no Resync") };
    assert_eq!(resync.cursor, seq(3));
    // Poison takes its place, a gap too.
    let poison = Batch {
        codec: Codec::Identity,
        epoch: Epoch::from_bytes(EPOCH),
        first: seq(4),
        events: vec![EventBytes::from_raw(vec![0xff])],
    };
    agent.say(AgentFrame::Batch(poison)).await;
    let Some(MasterFrame::Quarantined(set_aside)) = agent.hear().await else {
        panic!("no word of the quarantine")
    };
    assert_eq!((set_aside.seq, set_aside.code.as_str()), (seq(4), "shape"));
    agent.acked(4).await;
    let gap = Gap { epoch: Epoch::from_bytes(EPOCH), from: seq(5), to: seq(5), reason: GapReason::Evicted };
    agent.say(AgentFrame::Gap(gap)).await;
    agent.acked(5).await;
    agent.send(6, &[event(6, Some(Command::CounterStop))]).await;
    agent.acked(6).await;
    let beat = Heartbeat {
        clock: clock_sample(),
        tails: Vec::new(),
        watermark: Timestamp::EPOCH,
        spool: SpoolStatus { unacked_events: 9, ..SpoolStatus::default() },
        certificate_expires_at: Timestamp::EPOCH,
    };
    agent.say(AgentFrame::Heartbeat(beat)).await;
    let Some(MasterFrame::HeartbeatReply(reply)) = agent.hear().await else {
        panic!("no reply to the heartbeat")
    };
    assert_eq!(reply.echo_boottime_us, 42);

    let events: EventList = parse(master.ask(&site, "/api/v1/events").await);
    assert_eq!(events.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [6, 3, 2, 1]);
    assert!(
        events
            .events
            .iter()
            .all(|event| event.agent == Some(site::agent_id(ID)) && event.arrived_at.is_some())
    );
    let latest: RunList = parse(master.ask(&site, "/api/v1/latest?events=true").await);
    let run = &latest.runs[0];
    assert_eq!((run.phase.as_str(), run.status.as_str(), run.complete), ("ended", "unknown", false));
    assert_eq!((run.gaps[0].from, run.gaps[0].reason.as_str(), run.events.len()), (5, "evicted", 4));
    let agents: AgentList = parse(master.ask_socket("/api/v1/agents").await);
    assert_eq!((agents.agents[0].state.as_str(), agents.agents[0].queued_events), ("connected", 9));
    let (status, _) = master.ask(&site, "/api/v1/nothing").await;
    assert_eq!(status, 404);
    drop(agent);
    master.wait_for("/api/v1/agents", "the end of the session", |body| body.contains("disconnected")).await;
    master.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_goodbye_and_the_next_start_goes_on_from_the_cursor() {
    let site = Site::new();
    let master = site.start().await;
    let (mut agent, first) = master.enter(&site, ID, 3).await;
    agent.send(1, &[event(1, None), event(2, None)]).await;
    agent.acked(2).await;
    let started = Instant::now();
    master.ask_to_stop();
    let Some(MasterFrame::GoAway(away)) = agent.hear().await else { panic!("no goodbye") };
    assert_eq!(away.reason, GoAwayReason::Shutdown);
    assert!(away.reconnect_min_ms < away.reconnect_max_ms);
    assert_eq!(agent.hear().await, None);
    master.ended().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());

    let master = site.start().await;
    let (_agent, again) = master.enter(&site, ID, 3).await;
    assert_eq!((again.session, again.store_id), (first.session + 1, first.store_id));
    assert_eq!((again.resume[0].cursor, again.resume[0].cursor_event), (seq(2), Some(event(2, None).id)));
    let status: StatusReport = parse(master.ask(&site, "/api/v1/status").await);
    assert_eq!(status.events, 2);
    master.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_session_of_an_agent_supersedes_the_older() {
    let site = Site::new();
    let master = site.start().await;
    let (mut older, _) = master.enter(&site, ID, 3).await;
    let (mut newer, _) = master.enter(&site, ID, 3).await;
    let Some(MasterFrame::GoAway(away)) = older.hear().await else { panic!("no goodbye") };
    assert_eq!(away.reason, GoAwayReason::Superseded);
    newer.send(1, &[event(1, None)]).await;
    newer.acked(1).await;
    master.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_knows_more_than_the_store_is_told_so_and_one_that_forked_too() {
    let site = Site::new();
    let master = site.start().await;
    let config = tls::relay_client(&site.agent(ID), &site.roots(), None).unwrap();
    let verdict_of = async |hello: Hello| {
        let mut agent = master.say_hello(config.clone(), hello).await.unwrap();
        let Some(MasterFrame::Welcome(welcome)) = agent.hear().await else { panic!("no Welcome") };
        (agent, welcome.resume[0].verdict)
    };
    let mut ahead = hello(9);
    ahead.epochs[0].acked = seq(4);
    let (mut agent, verdict) = verdict_of(ahead).await;
    assert_eq!(verdict, Verdict::MasterBehind);
    agent.send(1, &[event(1, None), event(2, None)]).await;
    agent.acked(2).await;
    assert_eq!(verdict_of(hello(1)).await.1, Verdict::Forked);
    let mut other = hello(9);
    (other.epochs[0].acked, other.epochs[0].acked_event) = (seq(2), Some(event(8, None).id));
    assert_eq!(verdict_of(other).await.1, Verdict::Forked);
    master.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_major_version_is_told_what_to_upgrade() {
    let site = Site::new();
    let master = site.start().await;
    let config = tls::relay_client(&site.agent(ID), &site.roots(), None).unwrap();
    let newer = Hello { protocol_major: PROTOCOL_MAJOR + 1, ..hello(1) };
    let mut agent = master.say_hello(config, newer).await.unwrap();
    let Some(MasterFrame::GoAway(away)) = agent.hear().await else { panic!("no goodbye") };
    assert!(away.detail.ends_with("upgrade the master"), "{}", away.detail);
    master
        .wait_for("/metrics", "the count", |text| {
            text.contains("hume_master_refused_total{reason=\"protocol\"} 1")
        })
        .await;
    master.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_and_counted_and_agents_go_on() {
    let site = Site::new();
    let master = site.start().await;
    let (mut agent, _) = master.enter(&site, ID, 3).await;

    let other_ca = Authority::create("hume", clock::now()).unwrap();
    let stranger = identity(&other_ca.issue_agent(ID, "web1", clock::now()).unwrap());
    let long_ago = clock::now().plus_micros(-3 * 366 * 86_400 * 1_000_000);
    let outdated_ca_now = site.ca.issue_agent(ID, "web1", long_ago).unwrap();
    let nameless = site.ca.issue_server(&["x".to_owned()], &[], clock::now()).unwrap();
    for identity in [stranger, identity(&outdated_ca_now), identity(&nameless)] {
        let config = tls::relay_client(&identity, &site.roots(), None).unwrap();
        let refused = master.say_hello(config, hello(1)).await;
        assert!(refused.is_err(), "a stranger was let in");
    }
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls::pki_types::pem::PemObject::pem_slice_iter(site.ca.certificate_pem().as_bytes())
    {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut bare = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    bare.alpn_protocols = vec![b"h2".to_vec()];
    assert!(master.say_hello(std::sync::Arc::new(bare), hello(1)).await.is_err());
    let mut garbage = TcpStream::connect(master.relay).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    // How the connection ends does not matter.
    let _ = within("the end of the connection", garbage.read_to_end(&mut rest)).await;

    for reason in ["unknown_issuer", "expired", "bad_certificate", "no_certificate", "not_tls"] {
        // The client tries again by itself, so there may be more than one.
        let none = format!("hume_master_refused_total{{reason=\"{reason}\"}} 0\n");
        master.wait_for("/metrics", reason, |text| !text.contains(&none)).await;
    }
    agent.send(1, &[event(1, None)]).await;
    agent.acked(1).await;
    master.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_does_not_hold_up_the_stop() {
    let site = Site::new();
    let master = site.start().await;
    let mut slow = tokio::net::UnixStream::connect(&master.socket).await.unwrap();
    slow.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let silent = TcpStream::connect(master.web).await.unwrap();
    let (_agent, _) = master.enter(&site, ID, 3).await;
    let started = Instant::now();
    master.ended().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    drop((slow, silent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_has_one_master() {
    let site = Site::new();
    let master = site.start().await;
    let file = site.folder.path().join("master.toml");
    let second = humed_master::master::Master::bind(&file, humed_master::config::load(&file).unwrap()).await;
    let Err(error) = second else { panic!("two masters on one store") };
    assert_eq!(error.exit_code(), hume_runtime::exit::TEMPORARY);
    master.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_vanishes_is_said_in_words_of_ours() {
    let site = Site::new();
    let master = site.start().await;
    let vanish = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let agent = runtime.block_on(master.enter(&site, ID, 0));
        // Whoever drives the connection is gone first: no goodbye, and no end of the TLS stream.
        drop(runtime);
        drop(agent);
    };
    tokio::task::block_in_place(|| std::thread::scope(|scope| scope.spawn(vanish).join().unwrap()));
    // That it is gone is known before the reason is on disk.
    let is_gone = |body: &str| body.contains("disconnected") && !body.contains("\"last_error\":null");
    let body = master.wait_for("/api/v1/agents", "the end of the session", is_gone).await;
    let agents: AgentList = serde_json::from_str(&body).unwrap();
    assert_eq!(agents.agents[0].last_error.as_deref(), Some("the connection broke off"));
    master.ended().await.unwrap();
}

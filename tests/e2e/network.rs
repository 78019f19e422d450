//! Bad networks (faults 27, 29 to 33): agent and master live in network namespaces of their own, and the wire between them does what
//! it is told. Every event that was confirmed is at the master once, in order, when the network is well again or still is not.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hume_tests::events::{json_lines, messages};
use hume_tests::wire::{End, Weather};
use hume_tests::{Agent, Output, SOON, Site, Wire, process, skip, wait_until};
use serde_json::json;

const TASK: &str = "NET";
const RELAY_PORT: u16 = 4863;
const NAME: &str = "master.hume.test";
/// Keepalives end a session whose peer is gone within 50 s, and this machine may be slow.
const KEEPALIVE: Duration = Duration::from_mins(2);

/// A site on both sides of a wire. The agent reaches the master as `configure` says.
struct Net {
    site: Site,
    agent: Agent,
    wire: Wire,
    /// Events that were confirmed.
    confirmed: u32,
}

impl Net {
    /// The agent knows the master by its address. None, and says so, where the machine cannot.
    fn new() -> Option<Net> {
        let mut net = Net::prepare()?;
        net.start();
        Some(net)
    }

    /// Nothing was started yet.
    fn prepare() -> Option<Net> {
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, 4864));
        let relay = SocketAddr::from((Wire::address(End::Master), RELAY_PORT));
        let site = Site::with_master_at(relay, http, &[NAME]);
        let wire = match Wire::new(site.folder().path()) {
            Ok(wire) => wire,
            Err(why) => {
                skip(&why);
                return None;
            }
        };
        let agent = site.prepare_agent("web1");
        site.master().within(&wire.at(End::Master));
        agent.within(&wire.at(End::Agent));
        Some(Net { site, agent, wire, confirmed: 0 })
    }

    fn start(&mut self) {
        self.start_master();
        self.agent.start();
        self.report(1);
        self.agent.wait_until_drained(SOON);
    }

    /// Nobody outside of its namespace reaches its ports, but its socket is a file.
    fn start_master(&self) {
        self.site.master().spawn();
        wait_until("the master is ready", SOON, || {
            self.site.master().query_socket(&["status"]).code == Some(0)
        });
    }

    /// From its next start on the master listens at this address.
    fn listen_at(&self, address: &str) {
        self.site.master().configure(|toml| {
            let relay = toml.get_mut("relay").and_then(toml::Value::as_table_mut).unwrap();
            relay.insert("listen".to_owned(), format!("{address}:{RELAY_PORT}").into());
        });
    }

    /// So many events are confirmed by the agent.
    #[track_caller]
    fn report(&mut self, count: u32) {
        let numbers = self.confirmed..self.confirmed + count;
        self.confirmed = numbers.end;
        let lines = numbers.map(|number| json!({"task": TASK, "message": number.to_string()}));
        let answers = self.agent.socket_lines(json_lines(lines).as_bytes());
        assert!(answers.iter().all(|answer| answer["ok"] == true), "{answers:?}");
    }

    /// The same of one event, by `hume`.
    #[track_caller]
    fn report_by_hume(&mut self) {
        let message = self.confirmed.to_string();
        self.confirmed += 1;
        self.agent.hume(&["--strict", "-t", TASK, "-m", &message]).ok();
    }

    /// Every confirmed event is at the master, once and in order.
    #[track_caller]
    fn judge(&self) {
        self.agent.wait_until_drained(KEEPALIVE);
        let events = self.site.master().query_socket(&["-t", TASK, "--format", "ndjson"]).ok().json_lines();
        let found: Vec<&str> = messages(&events).into_iter().rev().collect();
        let expected: Vec<String> = (0..self.confirmed).map(|number| number.to_string()).collect();
        assert_eq!(found, expected);
    }

    fn figure(&self, name: &str) -> u64 {
        self.agent.metrics()[name]
    }

    /// Sessions that the agent has had.
    fn sessions(&self) -> u64 {
        self.figure("hume_agent_uplink_sessions_total")
    }

    fn is_connected(&self) -> bool {
        self.figure("hume_agent_uplink_connected") == 1
    }

    /// Runs a command at one end.
    #[track_caller]
    fn run_at(&self, end: End, words: &[&str]) -> Output {
        let within = self.wire.at(end);
        let mut command = Command::new(&within[0]);
        process::run(command.args(&within[1..]).args(words))
    }
}

#[test]
fn a_network_that_is_cut_both_ways_or_one_way_or_flaps_costs_no_event_and_doubles_none() {
    let Some(mut net) = Net::new() else { return };
    // Fault 27, both ways.
    net.wire.set_both(Weather::CUT);
    net.report(50);
    net.report_by_hume();
    let lost = net.wire.figures().to_master.lost;
    wait_until("the agent tries again", SOON, || net.wire.figures().to_master.lost > lost + 1);
    net.wire.set_both(Weather::default());
    net.judge();
    // The master hears the agent, and its acks are lost.
    net.wire.set(End::Agent, Weather::CUT);
    net.report(50);
    net.report_by_hume();
    let lost = net.wire.figures().to_agent.lost;
    wait_until("acks are lost", SOON, || net.wire.figures().to_agent.lost > lost + 1);
    net.wire.set_both(Weather::default());
    net.judge();
    // The agent hears the master, and nothing of it arrives.
    net.wire.set(End::Master, Weather::CUT);
    net.report(50);
    let lost = net.wire.figures().to_master.lost;
    wait_until("batches are lost", SOON, || net.wire.figures().to_master.lost > lost + 1);
    net.wire.set_both(Weather::default());
    net.judge();
    for _ in 0..5 {
        net.wire.set_both(Weather::CUT);
        net.report(5);
        let before = net.wire.figures().to_master;
        wait_until("something is lost", SOON, || net.wire.figures().to_master.lost > before.lost);
        net.wire.set_both(Weather::default());
        net.report_by_hume();
        wait_until("something passes", SOON, || net.wire.figures().to_master.passed > before.passed);
    }
    net.judge();
}

#[test]
fn over_a_network_that_loses_delays_and_reorders_packets_everything_arrives_in_order() {
    let Some(mut net) = Net::new() else { return };
    // Fault 29: a third is lost, half a second there and back, and packets overtake each other.
    net.wire.set_both(Weather { lost_per_mille: 300, delay_ms: 200, jitter_ms: 100, ..Weather::default() });
    for _ in 0..20 {
        net.report(20);
    }
    net.report_by_hume();
    net.judge();
    let figures = net.wire.figures();
    assert!(figures.to_master.lost > 0 && figures.to_agent.lost > 0, "{figures:?}");
}

#[test]
fn over_a_network_of_a_thousand_bytes_a_second_everything_arrives() {
    let Some(mut net) = Net::new() else { return };
    // Fault 29.
    net.wire.set_both(Weather { bytes_per_second: 1_000, ..Weather::default() });
    net.report(20);
    net.report_by_hume();
    net.judge();
}

#[test]
fn what_is_changed_on_the_way_ends_the_session_and_is_sent_again() {
    let Some(mut net) = Net::new() else { return };
    // Fault 32: TCP does not notice, TLS does.
    for end in [End::Master, End::Agent] {
        let (sessions, before) = (net.sessions(), net.wire.figures());
        net.wire.set(end, Weather { changed_per_mille: 1_000, ..Weather::default() });
        net.report(30);
        wait_until("the session has ended", SOON, || !net.is_connected() || net.sessions() > sessions);
        net.wire.set_both(Weather::default());
        net.report_by_hume();
        net.judge();
        let figures = net.wire.figures();
        let changed =
            |figures: &hume_tests::wire::Figures| figures.to_agent.changed + figures.to_master.changed;
        assert!(changed(&figures) > changed(&before), "{figures:?}");
        assert!(net.sessions() > sessions, "a changed packet costs the session");
    }
}

#[test]
fn a_box_on_the_way_that_forgets_idle_connections_after_twenty_seconds_never_finds_one() {
    let Some(mut net) = Net::new() else { return };
    // Fault 31, with a box that is three times as impatient as usual.
    net.wire.forget_after_ms(20_000);
    let (sessions, silences) = (net.sessions(), net.wire.figures().silences);
    wait_until("the connection was idle several times", KEEPALIVE, || {
        net.wire.figures().silences >= silences + 3
    });
    net.report(5);
    net.judge();
    let figures = net.wire.figures();
    assert_eq!((net.sessions(), figures.forgotten), (sessions, 0), "{figures:?}");
}

#[test]
fn both_ends_notice_a_peer_that_is_gone_without_a_word_and_go_on_when_it_is_back() {
    let Some(mut net) = Net::new() else { return };
    // Fault 30: no FIN, no RST, nothing.
    net.wire.set_both(Weather::CUT);
    wait_until("the agent has noticed", KEEPALIVE, || !net.is_connected());
    let master = net.site.master();
    wait_until("the master has noticed", KEEPALIVE, || {
        let agents = master.query_socket(&["agents", "--format", "json"]).ok().json();
        agents["agents"][0]["state"] != "connected"
    });
    net.report(20);
    net.wire.set_both(Weather::default());
    net.report_by_hume();
    net.judge();
}

#[test]
fn a_name_that_resolves_wrongly_or_to_another_address_later_is_resolved_at_every_attempt() {
    let Some(mut net) = Net::prepare() else { return };
    // Fault 33. The agent sees a hosts file of its own.
    let hosts: PathBuf = net.site.folder().path().join("hosts");
    let say = |address: &str| fs::write(&hosts, format!("127.0.0.1 localhost\n{address}\n")).unwrap();
    say("");
    let mut within = net.wire.at(End::Agent);
    let mount = format!("mount --bind {} /etc/hosts && exec \"$0\" \"$@\"", hosts.display());
    within.extend(["unshare", "--mount", "sh", "-c", &mount].map(str::to_owned));
    net.agent.within(&within);
    net.agent.configure(|toml| {
        let master = toml.get_mut("master").and_then(toml::Value::as_table_mut).unwrap();
        master.insert("address".to_owned(), format!("{NAME}:{RELAY_PORT}").into());
    });
    net.start_master();
    net.agent.start();
    net.report(10);
    wait_until("the agent says that there is no such name", SOON, || {
        net.agent.state()["last_error"].is_string()
    });
    // Where nobody listens.
    say(&format!("10.63.0.1 {NAME}"));
    wait_until("the agent says that nobody listens there", SOON, || {
        net.agent.state()["last_error"].as_str().is_some_and(|text| text.contains("refused"))
    });
    say(&format!("10.63.0.2 {NAME}"));
    net.judge();
    // The master moves, and nobody listens at its old address.
    net.run_at(End::Master, &["ip", "address", "add", "10.63.0.3/24", "dev", "wire"]).ok();
    net.site.master().kill9();
    net.listen_at("10.63.0.3");
    say(&format!("10.63.0.3 {NAME}"));
    net.start_master();
    net.report(10);
    net.report_by_hume();
    net.judge();
}

//! Every fail point (faults 1, 2, 28, 36, 55): the daemon is killed there under a load, starts again, and the oracle judges.
//!
//! A round counts only when the daemon has really killed itself there, so every name is reached by somebody; what a round needs to
//! get there is said for each point by [`round`], which the compiler holds to all of them.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use hume_runtime::points::Point;
use hume_tests::disk::copy_folder;
use hume_tests::oracle::{self, Excuses, Revert, Verdict};
use hume_tests::reporter::{About, Load, Reporter, Stage, Way};
use hume_tests::{Agent, Daemon, Evidence, Ledger, Master, SOON, Site, let_pass, wait_until};
use rustix::process::Signal;

/// Events that are confirmed in each round after the daemon is back.
const CONFIRMED_MIN: u64 = 30;

/// What leads to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// The agent reaches it while events come.
    Agent,
    /// The agent reaches it when it starts and finds events in the drop folder.
    Folder,
    /// The agent reaches it when its spool is full.
    Full,
    /// The agent reaches it when its spool was put back to an earlier state.
    Fork,
    /// The master reaches it while events come.
    Master,
    /// The master reaches it when it forgets.
    Retention,
    /// Either reaches it when it stops.
    Stop,
}

fn round(point: Point) -> Round {
    match point {
        Point::AgentBeforeInsert
        | Point::AgentBeforeCommit
        | Point::AgentAfterCommit
        | Point::AgentAfterReply
        | Point::AgentBeforeCursor
        | Point::AgentAfterCursor => Round::Agent,
        Point::AgentBeforeRemove => Round::Folder,
        Point::AgentInTrim => Round::Full,
        Point::AgentBeforeSuccession | Point::AgentAfterSuccession => Round::Fork,
        Point::MasterReceived
        | Point::MasterBeforeCommit
        | Point::MasterAfterCommit
        | Point::MasterBeforeAck => Round::Master,
        Point::MasterInRetention => Round::Retention,
        Point::Checkpoint | Point::AfterCheckpoint => Round::Stop,
    }
}

fn points(wanted: &[Round]) -> impl Iterator<Item = Point> {
    Point::ALL.iter().copied().filter(move |point| wanted.contains(&round(*point)))
}

/// A site, and what was reported there.
struct Scene {
    site: Site,
    agent: Agent,
    ledger: Ledger,
    rng: Rng,
    load: Load,
    /// Names of senders are used once.
    senders: usize,
}

impl Scene {
    fn new(load: Load) -> Scene {
        let seed = std::env::var("HUME_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        say(&format!("HUME_TEST_SEED={seed}"));
        let site = Site::new();
        let agent = site.agent("web1");
        Scene { site, agent, ledger: Ledger::default(), rng: Rng::with_seed(seed), load, senders: 0 }
    }

    fn master(&self) -> &Master {
        self.site.master()
    }

    /// Does this while a script calls `hume` and another writes lines; ends when enough was confirmed after it.
    fn under_load(&mut self, act: impl FnOnce(&Scene)) {
        let stage = Stage::default();
        self.senders += 1;
        let names = [Way::Hume, Way::Socket].map(|way| (way, format!("{way:?}{}", self.senders)));
        let rngs: Vec<Rng> = names.iter().map(|_| self.rng.fork()).collect();
        let scene = &*self;
        thread::scope(|scope| {
            let _curtain = stage.curtain();
            for ((way, name), rng) in names.iter().zip(rngs) {
                let Scene { agent, ledger, load, .. } = scene;
                let reporter = Reporter { agent, ledger, stage: &stage, load: *load, name };
                scope.spawn(move || reporter.run(*way, rng));
            }
            act(scene);
            let before = scene.ledger.tally().confirmed;
            wait_until("events are confirmed again", SOON, || {
                scene.ledger.tally().confirmed >= before + CONFIRMED_MIN
            });
        });
    }

    /// Waits until all is at the master, and judges it.
    fn judge(&self, excuses: &Excuses) -> Verdict {
        self.drain();
        let evidence = Evidence::gather(self.master());
        let verdict = oracle::judge(&self.ledger.snapshot(), &evidence, excuses);
        say(&verdict.to_string());
        assert!(verdict.is_clean(), "{verdict}");
        self.master().start();
        verdict
    }

    fn drain(&self) {
        self.agent.wait_until_folder_is_empty(SOON);
        self.agent.wait_until_drained(SOON);
    }
}

#[test]
fn an_agent_that_is_killed_at_any_point_of_an_append_or_an_ack_keeps_all_it_confirmed() {
    let mut scene = Scene::new(Load::default());
    for point in points(&[Round::Agent, Round::Folder]) {
        let count = scene.rng.u64(1..=3);
        scene.under_load(|scene| {
            assert_eq!(scene.agent.stop(), 0);
            wait_until("something is in the drop folder", SOON, || !scene.agent.waiting().is_empty());
            let count = if round(point) == Round::Folder { 1 } else { count };
            assert!(killed(&scene.agent, point, &format!("kill@{count}"), || {}));
            scene.agent.start();
        });
        scene.judge(&Excuses::default());
    }
}

#[test]
fn a_master_that_is_killed_at_any_point_of_a_commit_has_every_event_once() {
    let mut scene = Scene::new(Load::default());
    for point in points(&[Round::Master]) {
        let count = scene.rng.u64(1..=3);
        scene.under_load(|scene| {
            assert_eq!(scene.master().stop(), 0);
            assert!(killed(scene.master(), point, &format!("kill@{count}"), || {}));
            scene.master().start();
        });
        scene.judge(&Excuses::default());
    }
}

#[test]
fn a_daemon_that_is_killed_before_within_or_after_a_checkpoint_has_lost_nothing() {
    let mut scene = Scene::new(Load::default());
    for point in points(&[Round::Stop]) {
        // The second one dies in the middle of what follows the point, if that takes so long.
        for action in ["kill".to_owned(), format!("kill({})", scene.rng.u32(1..1_000))] {
            scene.under_load(|scene| {
                let daemons: [(&Daemon, &dyn Fn() -> bool); 2] = [
                    (&scene.agent, &|| scene.agent.is_ready()),
                    (scene.master(), &|| scene.master().is_ready()),
                ];
                for (daemon, is_ready) in daemons {
                    assert_eq!(daemon.stop(), 0);
                    let is_killed = killed(daemon, point, &action, || {
                        let before = scene.ledger.tally().confirmed;
                        // A stop that met a reader left the log to the next start, which comes to the point at once.
                        wait_until("it takes events", SOON, || {
                            !daemon.is_running() || (is_ready() && scene.ledger.tally().confirmed > before)
                        });
                        if daemon.is_running() {
                            daemon.signal(Signal::TERM);
                        }
                    });
                    assert!(is_killed || action != "kill", "it never came to {}", point.name());
                    daemon.spawn();
                    wait_until("it is ready", SOON, is_ready);
                }
            });
        }
        scene.judge(&Excuses::default());
    }
}

#[test]
fn an_agent_that_is_killed_while_it_makes_room_in_a_full_spool_has_forgotten_nothing_that_was_confirmed() {
    let load = Load { pipelined_max: 50, message_max: 6_000, pause_ms_max: 5, ..Load::default() };
    let mut scene = Scene::new(load);
    scene.agent.configure(|toml| {
        let spool = toml.get_mut("spool").and_then(toml::Value::as_table_mut).unwrap();
        spool.insert("bytes_max".to_owned(), (2 * 1024 * 1024).into());
    });
    for point in points(&[Round::Full]) {
        for action in ["kill", "error"] {
            scene.under_load(|scene| {
                assert_eq!(scene.agent.stop(), 0);
                if action == "kill" {
                    assert!(killed(&scene.agent, point, action, || {}));
                    return scene.agent.start();
                }
                scene.agent.ask_for(&format!("{}={action}", point.name()));
                scene.agent.start();
                scene
                    .agent
                    .wait_for_log("a fault that HUME_FAULTS asks for point=\"agent.in_trim\" action=Error");
            });
            scene.agent.ask_for("");
            scene.judge(&Excuses::default());
        }
    }
    scene.agent.wait_for_log("the spool is full: new events are refused");
}

#[test]
fn an_agent_that_is_killed_while_a_new_epoch_takes_over_swallows_and_doubles_nothing() {
    let mut scene = Scene::new(Load::default());
    let (state, copy) = (scene.agent.dir().join("state"), scene.agent.dir().join("copy"));
    let mut excuses = Excuses::default();
    for point in points(&[Round::Fork]) {
        scene.under_load(|_| {});
        scene.drain();
        assert_eq!(scene.agent.stop(), 0);
        let copied_at = Instant::now();
        copy_folder(&state, &copy).unwrap();
        scene.agent.start();
        scene.under_load(|_| {});
        scene.drain();
        let ended_at = Instant::now();
        assert_eq!(scene.agent.stop(), 0);
        fs::remove_dir_all(&state).unwrap();
        fs::rename(&copy, &state).unwrap();
        let host = scene.agent.host().to_owned();
        excuses.reverts.push(Revert { host, copied_at, waiting: BTreeSet::new(), ended_at });
        scene.under_load(|scene| {
            assert!(killed(&scene.agent, point, "kill", || {}));
            scene.agent.start();
        });
        let verdict = scene.judge(&excuses);
        // All of it was at the master before the spool was put back.
        assert_eq!((verdict.excused_lost, verdict.excused_doubled), (0, 0), "{verdict}");
    }
}

#[test]
fn a_master_that_is_killed_while_it_forgets_has_forgotten_no_more_than_it_may() {
    // What is in an open run stays.
    let mut scene = Scene::new(Load { about: About::Nothing, ..Load::default() });
    // The newest block stays as well, and what comes together may be one.
    scene.under_load(|_| {});
    scene.drain();
    scene.under_load(|_| {});
    scene.judge(&Excuses::default());
    let old: BTreeSet<String> = scene.ledger.snapshot().into_keys().collect();
    let stored = || scene.master().count(&["--kind", "all"]);
    let before = stored();
    assert_eq!(scene.master().stop(), 0);
    scene.master().configure(|toml| {
        toml.insert("retention".to_owned(), toml::Table::from_iter([("age".to_owned(), "1s".into())]).into());
    });
    // So that all of it is old.
    let_pass(Duration::from_secs(1), || false);
    for point in points(&[Round::Retention]) {
        assert!(killed(scene.master(), point, "kill", || {}));
    }
    scene.master().start();
    wait_until("the old ones are forgotten", SOON, || stored() < before);
    scene.under_load(|_| {});
    let verdict = scene.judge(&Excuses { forgotten: old, ..Excuses::default() });
    assert!(verdict.stored < verdict.confirmed, "{verdict}");
}

#[test]
fn a_commit_that_fails_is_told_and_a_connection_that_is_cut_before_the_ack_costs_nothing() {
    let mut scene = Scene::new(Load::default());
    for point in [Point::AgentBeforeCommit, Point::MasterBeforeCommit, Point::MasterBeforeAck] {
        scene.under_load(|scene| {
            let daemon: &Daemon = if round(point) == Round::Agent { &scene.agent } else { scene.master() };
            assert_eq!(daemon.stop(), 0);
            daemon.ask_for(&format!("{}=error@2", point.name()));
            daemon.spawn();
            daemon.wait_for_log(&format!("point=\"{}\" action=Error", point.name()));
            daemon.ask_for("");
        });
        scene.judge(&Excuses::default());
    }
}

/// One round: the daemon is started with this fault, dies of it, and may be started without. False if it ended before.
fn killed(daemon: &Daemon, point: Point, action: &str, then: impl FnOnce()) -> bool {
    let fault = format!("{}={action}", point.name());
    say(&fault);
    daemon.ask_for(&fault);
    daemon.spawn();
    then();
    let is_killed = daemon.wait_until_killed(SOON);
    daemon.ask_for("");
    is_killed
}

#[expect(clippy::print_stdout, reason = "what a test that fails was about")]
fn say(what: &str) {
    println!("{what}");
}

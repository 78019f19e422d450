//! The custodian under clocks that go, jump and end, and under orders; with real certificates, files and a real registry.

use std::path::Path;
use std::time::Duration;

use hume_core::Timestamp;
use hume_runtime::secret::SecretText;
use hume_runtime::task_group::TaskGroup;
use hume_runtime::{clock, tls};

use super::*;
use crate::metrics::{AgentCounts, Metrics, Reading};
use crate::registry::{AuditFilter, AuditLine, Registry, Strangers};

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

const READING: Reading = Reading {
    now: Timestamp::EPOCH,
    agents: AgentCounts { connected: 0, silent: 0, disconnected: 0 },
    store_bytes: 0,
    store_events: 0,
};

fn settings(dir: &Path) -> Settings {
    Settings {
        source: Source::Own { path: dir.join("ca"), trust_domain: "hume".to_owned() },
        names: vec!["localhost".to_owned()],
        addresses: Vec::new(),
        agent_life: Duration::from_hours(24 * 7),
    }
}

fn root() -> Actor {
    Actor { name: "uid 0".to_owned(), address: "socket".to_owned() }
}

/// A custodian and the clocks that it looks at.
struct Scene {
    custodian: Custodian,
    ports: Ports,
    registry: Registry,
    metrics: Metrics,
    wall: Timestamp,
    boot_us: u64,
}

impl Scene {
    /// Time passes, and the custodian looks every hour.
    async fn pass(&mut self, span_us: i64) {
        for _ in 0..span_us / HOUR {
            self.wall = self.wall.plus_micros(HOUR);
            self.boot_us += HOUR.unsigned_abs();
            self.custodian.look(self.wall, self.boot_us).await;
        }
    }

    /// The wall clock jumps, and no time passes.
    async fn jump(&mut self, by_us: i64) {
        self.wall = self.wall.plus_micros(by_us);
        self.custodian.look(self.wall, self.boot_us).await;
    }

    fn signs(&self) -> String {
        self.ports.own.as_ref().unwrap().signing.borrow().issuer_fingerprint()
    }

    async fn audited(&self) -> Vec<(String, String)> {
        let lines = self.registry.audit_lines(AuditFilter::default(), 100).await.unwrap();
        let told = |line: AuditLine| (format!("{} {}", line.actor.name, line.action), line.outcome);
        lines.into_iter().rev().map(told).collect()
    }
}

/// Runs `test` with a custodian of a CA that was made now.
async fn with_custodian<F: Future<Output = ()>>(dir: &Path, test: impl FnOnce(Scene) -> F) {
    tls::install_provider();
    let file = dir.join("registry.db");
    let (registry, thread) = Registry::open(&file, Strangers::Refused).unwrap();
    let mut tasks = TaskGroup::new();
    let runtime = tokio::runtime::Handle::current();
    tasks.spawn_thread("registry", move |stop| thread.run(&runtime, &stop)).unwrap();
    let wall = clock::now();
    let (opened, ports) = open(settings(dir), wall).unwrap();
    let metrics = Metrics::new(wall);
    let (custodian, _) = Custodian::new(opened, registry.clone(), metrics.clone());
    let scene = Scene { custodian, ports, registry, metrics, wall, boot_us: 0 };
    tasks.run(test(scene), Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuing_ca_is_rotated_by_itself_once_in_time_and_by_no_clock_that_jumps() {
    let dir = tempfile::tempdir().unwrap();
    with_custodian(dir.path(), async |mut scene| {
        let first = scene.signs();
        scene.pass(2 * DAY).await;
        // Two years too far for less than a day, and back.
        scene.jump(700 * DAY).await;
        scene.pass(DAY - 2 * HOUR).await;
        scene.jump(-700 * DAY).await;
        scene.pass(2 * DAY).await;
        assert_eq!(scene.signs(), first);
        // Not looked at for long, as a machine that slept.
        (scene.wall, scene.boot_us) =
            (scene.wall.plus_micros(604 * DAY), scene.boot_us + 604 * DAY.unsigned_abs());
        scene.pass(HOUR).await;
        assert_eq!(scene.signs(), first, "there is time until day 610");
        scene.pass(2 * DAY).await;
        let second = scene.signs();
        assert_ne!(second, first);
        scene.pass(40 * DAY).await;
        scene.jump(400 * DAY).await;
        scene.pass(12 * HOUR).await;
        scene.jump(-1040 * DAY).await;
        scene.pass(2 * DAY).await;
        assert_eq!(scene.signs(), second, "nothing is rotated twice");
        let trouble = scene.metrics.troubles().join("");
        assert!(trouble.contains("begins at") && trouble.contains("set the clock"), "{trouble}");
        let done = ("the master ca rotate".to_owned(), "done".to_owned());
        assert_eq!(scene.audited().await, [("the master ca rotate".to_owned(), "begun".to_owned()), done]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_key_of_the_root_is_away_it_is_said_and_once_it_is_back_the_ca_is_rotated() {
    let dir = tempfile::tempdir().unwrap();
    with_custodian(dir.path(), async |mut scene| {
        let key = dir.path().join("ca/root.key");
        let away = dir.path().join("root.key");
        std::fs::rename(&key, &away).unwrap();
        let first = scene.signs();
        (scene.wall, scene.boot_us) = (scene.wall.plus_micros(650 * DAY), 650 * DAY.unsigned_abs());
        scene.pass(3 * DAY).await;
        assert_eq!(scene.signs(), first);
        let trouble = scene.metrics.troubles().join("");
        assert!(trouble.contains("the key of the root") && trouble.contains("--root-key FILE"), "{trouble}");
        std::fs::rename(&away, &key).unwrap();
        scene.pass(HOUR).await;
        assert_ne!(scene.signs(), first);
        scene.pass(HOUR).await;
        assert_eq!(scene.metrics.troubles(), [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_s_certificate_is_renewed_at_half_of_its_life_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    with_custodian(dir.path(), async |mut scene| {
        let mut relay = scene.ports.relay.clone();
        scene.pass(44 * DAY).await;
        assert!(!relay.has_changed().unwrap());
        // A clock that jumps makes none, until it has gone on for an hour.
        scene.jump(10 * DAY).await;
        scene.jump(-10 * DAY).await;
        assert!(!relay.has_changed().unwrap());
        scene.pass(3 * DAY).await;
        assert!(relay.has_changed().unwrap());
        relay.mark_unchanged();
        scene.pass(40 * DAY).await;
        assert!(!relay.has_changed().unwrap());
        let shown = scene.metrics.text(Reading { now: scene.wall, ..READING });
        let on_disk = tls::load_certificates(&dir.path().join("ca/master.pem")).unwrap();
        let end = tls::not_after(&on_disk[0]).unwrap().as_micros() / 1_000_000;
        let line = format!("hume_master_certificate_end_seconds{{certificate=\"master\"}} {end}");
        assert!(shown.lines().any(|found| found == line), "{line} is missing in {shown}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_carried_out_once_or_refused_with_the_fix_and_are_in_the_audit_log() {
    let dir = tempfile::tempdir().unwrap();
    with_custodian(dir.path(), async |scene| {
        let Scene { custodian: _, ports: _, registry, metrics, wall, boot_us: _ } = scene;
        let (opened, ports) = open(settings(dir.path()), wall).unwrap();
        let (custodian, ca) = Custodian::new(opened, registry.clone(), metrics);
        let mut rooms = TaskGroup::new();
        rooms.spawn("certificates", |stop| custodian.run(stop));
        let signs = || ports.own.as_ref().unwrap().signing.borrow().issuer_fingerprint();
        let orders = async {
            let first = ca.state().await.unwrap();
            let instead = Some(first.issuing.fingerprint.clone());
            let second = ca.rotate(instead.clone(), None, root()).await.unwrap();
            assert_eq!((&second.issuing.fingerprint, &second.earlier), (&signs(), &vec![first.issuing]));
            assert_ne!(second.master, first.master);
            // The answer was lost.
            assert_eq!(ca.rotate(instead, None, root()).await.unwrap(), second);

            let key = ca.root_key(root()).await.unwrap();
            let wrong = tls::sha256_hex(b"something else");
            assert!(matches!(ca.remove_root_key(wrong, root()).await, Err(CaError::NotACopy)));
            let digest = tls::sha256_hex(key.expose().as_bytes());
            assert!(!ca.remove_root_key(digest, root()).await.unwrap().has_root_key);
            let refused = ca.rotate(None, None, root()).await.unwrap_err().to_string();
            assert!(refused.contains("humeconfig ca rotate --root-key FILE"), "{refused}");
            assert!(matches!(ca.root_key(root()).await, Err(CaError::RootKeyAway { .. })));
            let stranger = ca.rotate(None, Some(SecretText::new("no key")), root()).await;
            assert!(matches!(stranger, Err(CaError::NotTheRootKey)));
            assert_eq!(signs(), second.issuing.fingerprint);
            let third = ca.rotate(None, Some(key), root()).await.unwrap();
            assert_eq!((third.earlier.len(), third.has_root_key), (2, false));
        };
        rooms.run(orders, Duration::from_secs(10)).await.unwrap();
        let lines = registry.audit_lines(AuditFilter::default(), 100).await.unwrap();
        let told: Vec<String> =
            lines.iter().rev().map(|line| format!("{}: {}", line.action, &line.outcome[..4])).collect();
        let expected = [
            "ca rotate: begu",
            "ca rotate: done",
            "ca export-root: done",
            "ca remove-root: what",
            "ca remove-root: done",
            "ca rotate: begu",
            "ca rotate: the ",
            "ca export-root: the ",
            "ca rotate: begu",
            "ca rotate: the ",
            "ca rotate: begu",
            "ca rotate: done",
        ];
        assert_eq!(told, expected);
        assert!(lines.iter().all(|line| line.actor == root()));
    })
    .await;
}

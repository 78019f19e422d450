//! The registry over a real database: what is changed is kept, seen and told, and its log is nobody's to change.

use hume_core::policy::TaskPatterns;
use hume_core::scope::{Role, Scope};
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
    tasks.run(test(registry), Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_follow_each_other_and_an_older_one_locks_its_agent_in_the_log() {
    use hume_core::ErrorClass;
    use hume_runtime::pki::CaFolder;
    use hume_runtime::renewal::NewKey;

    let (dir, now) = (tempfile::tempdir().unwrap(), hume_runtime::clock::now());
    let life = Duration::from_hours(1);
    let ca = CaFolder::create(&dir.path().join("ca"), "hume", now).unwrap();
    let issuer = Issuer::new(tokio::sync::watch::channel(std::sync::Arc::new(ca)).1, life);
    with_registry(dir.path(), |registry| async move {
        let key = || PublicKey::of_spki(&NewKey::make().unwrap().public_key()).unwrap();
        let (signed, _) = issuer.sign_agent(A, "web1", &key(), now).unwrap();
        let joined = signed.serial.to_vec();
        registry
            .ask(move |desk| {
                desk.write(|work| {
                    agents::set_state(work, A, &host("web1"), AgentState::Active, now)?;
                    certificates::insert(work.connection(), A, "spki", "issuer", &signed, now)
                })
            })
            .await
            .unwrap();
        registry.confirm(A, joined.clone()).await.unwrap();
        let renew = async |serial: &[u8], minutes: i64| {
            let at = now.plus_micros(minutes * 60_000_000);
            registry.renew((A, serial.to_vec()), key(), issuer.clone(), root(), at).await.unwrap()
        };
        let serial = |renewal: Renewal| {
            let Renewal::Issued { chain } = renewal else { panic!("{renewal:?}") };
            let certificate = hume_runtime::tls::first_of_pem(&chain).unwrap();
            hume_runtime::tls::agent_of(&certificate).unwrap().serial
        };
        let busy = renew(&joined, 1).await;
        assert!(matches!(busy, Renewal::Refused { class: ErrorClass::Busy, .. }), "{busy:?}");
        let lost = serial(renew(&joined, 10).await);
        // The answer was lost, and the certificate before it asks again.
        let second = serial(renew(&joined, 20).await);
        assert_ne!(lost, second);
        registry.confirm(A, second.clone()).await.unwrap();
        let third = serial(renew(&second, 30).await);
        registry.confirm(A, third).await.unwrap();
        let unknown = renew(&[9], 40).await;
        assert!(matches!(unknown, Renewal::Refused { class: ErrorClass::Denied, .. }), "{unknown:?}");
        assert_eq!(registry.view().check(A), Ok(()));
        let copy = renew(&joined, 40).await;
        assert!(matches!(copy, Renewal::Refused { class: ErrorClass::Denied, .. }), "{copy:?}");
        assert_eq!(registry.view().check(A), Err(Denial::Suspended));
        let newest = &registry.audit_lines(AuditFilter::default(), 1).await.unwrap()[0];
        assert_eq!((newest.action.as_str(), newest.subject.clone()), ("renew", A.to_string()));
        assert!(newest.outcome.starts_with("locked: "), "{newest:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_was_put_back_takes_one_newer_certificate_of_each_agent_for_known() {
    use hume_core::ErrorClass;
    use hume_runtime::pki::CaFolder;
    use hume_runtime::renewal::NewKey;

    let (dir, now) = (tempfile::tempdir().unwrap(), hume_runtime::clock::now());
    let ca = CaFolder::create(&dir.path().join("ca"), "hume", now).unwrap();
    let ca = tokio::sync::watch::channel(std::sync::Arc::new(ca)).1;
    let issuer = Issuer::new(ca, Duration::from_hours(1));
    let key = || PublicKey::of_spki(&NewKey::make().unwrap().public_key()).unwrap();
    let after = |minutes: i64| now.plus_micros(minutes * 60_000_000);
    let asks = async |registry: &Registry, serial: &[u8], minutes: i64| {
        let asked = registry.renew((A, serial.to_vec()), key(), issuer.clone(), root(), after(minutes)).await;
        match asked.unwrap() {
            Renewal::Issued { chain } => {
                let certificate = hume_runtime::tls::first_of_pem(&chain).unwrap();
                Ok(hume_runtime::tls::agent_of(&certificate).unwrap().serial)
            }
            Renewal::Refused { class, .. } => Err(class),
        }
    };
    let (signed, _) = issuer.sign_agent(A, "web1", &key(), now).unwrap();
    let first = signed.serial.to_vec();
    let (copy, restored) = (dir.path().join("copy.db"), tempfile::tempdir().unwrap());
    let mut unknown = Vec::new();
    with_registry(dir.path(), async |registry| {
        let insert = move |desk: &mut Desk| {
            desk.write(|work| {
                agents::set_state(work, A, &host("web1"), AgentState::Active, now)?;
                certificates::insert(work.connection(), A, "spki", "issuer", &signed, now)
            })
        };
        registry.ask(insert).await.unwrap();
        registry.confirm(A, first.clone()).await.unwrap();
        super::copy(&dir.path().join(FILE), &copy).unwrap();
        let mut serial = first.clone();
        for minutes in [10, 20] {
            serial = asks(&registry, &serial, minutes).await.unwrap();
            registry.confirm(A, serial.clone()).await.unwrap();
            unknown.push(serial.clone());
        }
    })
    .await;
    renew(&copy, &root(), after(30)).unwrap();
    std::fs::rename(&copy, restored.path().join(FILE)).unwrap();
    with_registry(restored.path(), async |registry| {
        let next = asks(&registry, &unknown[1], 31).await.unwrap();
        assert_eq!(
            asks(&registry, &unknown[0], 40).await,
            Err(ErrorClass::Denied),
            "one of the two is a copy"
        );
        // The answer was lost.
        let next_again = asks(&registry, &unknown[1], 41).await.unwrap();
        assert_ne!(next, next_again);
        registry.confirm(A, next_again.clone()).await.unwrap();
        assert!(asks(&registry, &next_again, 50).await.is_ok());
        let actions: Vec<String> = registry
            .audit_lines(AuditFilter::default(), 10)
            .await
            .unwrap()
            .into_iter()
            .rev()
            .map(|line| line.action)
            .collect();
        assert_eq!(actions, ["restore", "adopt", "renew", "renew", "renew", "renew"]);
        assert_eq!(asks(&registry, &unknown[1], 60).await, Err(ErrorClass::Denied));
        assert_eq!(
            registry.view().check(A),
            Err(Denial::Suspended),
            "what was taken for known grows old as others do"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ended_is_followed_by_one_however_often_it_is_asked_for_and_a_copy_locks() {
    use hume_core::ErrorClass;
    use hume_runtime::pki::CaFolder;
    use hume_runtime::recovery::Proven;
    use hume_runtime::renewal::NewKey;
    use hume_runtime::tls;

    const LIFE: Duration = Duration::from_hours(1);
    const GRACE: Duration = Duration::from_hours(10);
    let (dir, start) = (tempfile::tempdir().unwrap(), hume_runtime::clock::now());
    let ca = CaFolder::create(&dir.path().join("ca"), "hume", start).unwrap();
    let issuer = Issuer::new(tokio::sync::watch::channel(std::sync::Arc::new(ca)).1, LIFE);
    with_registry(dir.path(), |registry| async move {
        let key = || PublicKey::of_spki(&NewKey::make().unwrap().public_key()).unwrap();
        let shown = |pem: &str| {
            let certificate = tls::first_of_pem(pem).unwrap();
            let agent = tls::agent_of(&certificate).unwrap();
            let (since, _) = tls::validity_of(&certificate).unwrap();
            Proven { agent, since, fingerprint: tls::fingerprint(&certificate) }
        };
        let old = key();
        let (signed, _) = issuer.sign_agent(A, "web1", &old, start).unwrap();
        let first = shown(&signed.certificate_pem);
        // Of the same CA, agent, key and time, and yet not the one that was issued.
        let forged = shown(&issuer.sign_agent(A, "web1", &old, start).unwrap().0.certificate_pem);
        let forged = Proven { agent: first.agent.clone(), ..forged };
        registry
            .ask(move |desk| {
                desk.write(|work| {
                    agents::set_state(work, A, &host("web1"), AgentState::Active, start)?;
                    certificates::insert(work.connection(), A, "spki", "issuer", &signed, start)
                })
            })
            .await
            .unwrap();
        registry.confirm(A, first.agent.serial.clone()).await.unwrap();
        let recover = async |shown: &Proven, key: &PublicKey, minutes: i64| {
            let (shown, at) = (shown.clone(), start.plus_micros(minutes * 60_000_000));
            registry.recover(shown, key.clone(), (issuer.clone(), GRACE), root(), at).await.unwrap()
        };
        let class = |renewal: Renewal| match renewal {
            Renewal::Issued { .. } => None,
            Renewal::Refused { class, .. } => Some(class),
        };
        let (next, his) = (key(), key());
        assert_eq!(class(recover(&first, &next, 59).await), Some(ErrorClass::Conflict), "it lives");
        assert_eq!(class(recover(&first, &next, 11 * 60 + 2).await), Some(ErrorClass::Denied), "too late");
        assert_eq!(class(recover(&forged, &next, 120).await), Some(ErrorClass::Denied), "a stolen CA");
        let issued = recover(&first, &next, 120).await;
        assert_eq!(class(issued.clone()), None);
        assert_eq!(recover(&first, &next, 121).await, issued, "the answer was lost");
        assert_eq!(class(recover(&first, &his, 121).await), Some(ErrorClass::Busy), "a copy of the host");
        let Renewal::Issued { chain } = issued else { panic!("it was issued") };
        registry.confirm(A, shown(&chain).agent.serial).await.unwrap();
        assert_eq!(registry.view().check(A), Ok(()));
        assert_eq!(class(recover(&first, &his, 130).await), Some(ErrorClass::Denied));
        assert_eq!(registry.view().check(A), Err(Denial::Suspended));
        let lines = registry.audit_lines(AuditFilter::default(), 10).await.unwrap();
        let outcomes: Vec<&str> = lines.iter().map(|line| line.outcome.as_str()).collect();
        assert!(outcomes[0].starts_with("locked: "), "{outcomes:?}");
        assert_eq!(outcomes[1..], ["answered again", "done"]);
        assert!(lines.iter().all(|line| line.action == "recover" && line.subject == A.to_string()));
    })
    .await;
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
        let lines = registry.audit_lines(AuditFilter::default(), 10).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_api_is_good_until_it_ends_or_is_revoked_and_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let scope = Scope { tasks: TaskPatterns::parse(&["BACKUP*"]).ok(), hosts: None };
    let new = move |name: &str, byte, expires_at| NewPass {
        name: name.to_owned(),
        role: Role::Viewer,
        scope: scope.clone(),
        proof: Proof::Secret { sha256: [byte; 32], expires_at },
    };
    let again = new.clone();
    with_registry(dir.path(), |registry| async move {
        let make = async |new, now| registry.make_pass(new, root(), now).await;
        make(new("a", 1, Some(at(100))), at(1)).await.unwrap();
        make(new("b", 2, None), at(1)).await.unwrap();
        let refused = make(new("b", 3, None), at(2)).await.unwrap_err();
        assert!(refused.to_string().contains("one of this name"), "{refused}");
        assert!(make(new("c", 3, Some(at(2))), at(2)).await.is_err());
        let good = registry.good_passes();
        assert_eq!(good.find(PassKind::Token, &[1; 32], at(99)).unwrap().role, Role::Viewer);
        assert_eq!(
            (good.find(PassKind::Token, &[1; 32], at(100)), good.find(PassKind::Token, &[3; 32], at(3))),
            (None, None)
        );
        registry.revoke_pass("b".to_owned(), root(), at(3)).await.unwrap();
        assert_eq!(good.find(PassKind::Token, &[2; 32], at(4)), None);
        registry.revoke_pass("b".to_owned(), root(), at(4)).await.unwrap_err();
        // Its name is free again, and the old one is still told of.
        make(new("b", 4, None), at(5)).await.unwrap();
        let lines = registry.audit_lines(AuditFilter::default(), 20).await.unwrap();
        assert_eq!(
            (lines.len(), lines[6].detail.as_str()),
            (7, "viewer tasks [\"BACKUP*\"] hosts all until 1970-01-01T00:01:40.000000Z")
        );
        assert_eq!(lines.iter().filter(|line| line.outcome == "done").count(), 4);
    })
    .await;
    with_registry(dir.path(), |registry| async move {
        let good = registry.good_passes();
        assert_eq!(good.find(PassKind::Token, &[4; 32], at(9)).unwrap().scope, again("b", 4, None).scope);
        assert!(good.find(PassKind::Token, &[2; 32], at(9)).is_none());
        let all = registry.passes().await.unwrap();
        let told: Vec<_> = all.iter().map(|token| (token.name.as_str(), token.revoked_at)).collect();
        assert_eq!(told, [("a", None), ("b", None), ("b", Some(at(3)))]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_a_pass_is_known_to_some_minutes_and_costs_a_write_in_so_many() {
    let dir = tempfile::tempdir().unwrap();
    let new = NewPass {
        name: "a".to_owned(),
        role: Role::Viewer,
        scope: Scope::default(),
        proof: Proof::Secret { sha256: [1; 32], expires_at: None },
    };
    with_registry(dir.path(), |registry| async move {
        registry.make_pass(new, root(), at(0)).await.unwrap();
        let used = async || registry.passes().await.unwrap()[0].used_at;
        assert_eq!(used().await, None);
        // A clock that goes back changes nothing.
        for (second, noted) in [(10, 10), (309, 10), (310, 310), (1, 310), (609, 310), (610, 610)] {
            registry.good_passes().find(PassKind::Token, &[1; 32], at(second)).unwrap();
            assert_eq!(used().await, Some(at(noted)), "{second}");
        }
    })
    .await;
    with_registry(dir.path(), |registry| async move {
        registry.good_passes().find(PassKind::Token, &[1; 32], at(909)).unwrap();
        assert_eq!(registry.passes().await.unwrap()[0].used_at, Some(at(610)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_found_as_one_and_a_token_as_one_and_they_share_their_names() {
    let (dir, now) = (tempfile::tempdir().unwrap(), hume_runtime::clock::now());
    let ca = hume_runtime::pki::CaFolder::create(&dir.path().join("ca"), "hume", now).unwrap();
    let life = Duration::from_hours(1);
    let issuer = Issuer::new(tokio::sync::watch::channel(std::sync::Arc::new(ca)).1, life);
    let request = hume_runtime::pki::Request::create().unwrap();
    let key = PublicKey::of_request(&request.request_pem).unwrap();
    let new =
        |proof| NewPass { name: "ana".to_owned(), role: Role::Operator, scope: Scope::default(), proof };
    with_registry(dir.path(), |registry| async move {
        let proof = Proof::Key { key, issuer, life };
        let MadePass { pass, certificate_pem } = registry.make_pass(new(proof), root(), now).await.unwrap();
        let certificate = hume_runtime::tls::first_of_pem(&certificate_pem.unwrap()).unwrap();
        assert_eq!(hume_runtime::tls::sha256(&certificate), pass.sha256);
        assert_eq!(pass.expires_at, hume_runtime::tls::not_after(&certificate));
        let good = registry.good_passes();
        assert_eq!(good.find(PassKind::Token, &pass.sha256, now), None);
        assert_eq!(good.find(PassKind::Certificate, &pass.sha256, now).unwrap().name, "ana");
        let token = Proof::Secret { sha256: [7; 32], expires_at: None };
        registry.make_pass(new(token.clone()), root(), now).await.unwrap_err();
        registry.revoke_pass("ana".to_owned(), root(), now).await.unwrap();
        assert_eq!(good.find(PassKind::Certificate, &pass.sha256, now), None);
        registry.make_pass(new(token), root(), now).await.unwrap();
        assert_eq!(good.find(PassKind::Certificate, &[7; 32], now), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_asked_by_time_actor_action_and_page() {
    let dir = tempfile::tempdir().unwrap();
    with_registry(dir.path(), |registry| async move {
        for second in 1..=4 {
            let (wish, name) =
                if second % 2 == 0 { (Wish::Approve, "uid 7") } else { (Wish::Suspend, "uid 0") };
            let actor = Actor { name: name.to_owned(), address: "socket".to_owned() };
            registry.change(A, host("web1"), wish, actor, at(second)).await.unwrap();
        }
        let numbers = async |filter: AuditFilter, lines_max| {
            let lines = registry.audit_lines(filter, lines_max).await.unwrap();
            lines.into_iter().map(|line| line.number).collect::<Vec<_>>()
        };
        let all = AuditFilter::default;
        assert_eq!(numbers(all(), 9).await, [4, 3, 2, 1]);
        assert_eq!(numbers(AuditFilter { below: Some(4), ..all() }, 2).await, [3, 2]);
        assert_eq!(numbers(AuditFilter { since: Some(at(2)), until: Some(at(4)), ..all() }, 9).await, [3, 2]);
        assert_eq!(numbers(AuditFilter { actor: Some("uid 7".to_owned()), ..all() }, 9).await, [4, 2]);
        let suspends = AuditFilter { action: Some("suspend".to_owned()), below: Some(3), ..all() };
        assert_eq!(numbers(suspends, 9).await, [1]);
    })
    .await;
}

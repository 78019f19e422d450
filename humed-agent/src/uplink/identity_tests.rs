//! Which pair is shown when, after any end in between.

use std::os::unix::fs::PermissionsExt;

use hume_runtime::clock;
use hume_runtime::pki::{Authority, write_secret};
use uuid::Uuid;

use super::*;

struct Host {
    dir: tempfile::TempDir,
    authority: Authority,
    id: Uuid,
}

impl Host {
    fn new() -> Host {
        let authority = Authority::create("hume", clock::now()).unwrap();
        let host = Host { dir: tempfile::tempdir().unwrap(), authority, id: hume_runtime::random::uuid() };
        std::fs::write(host.dir.path().join("ca.pem"), host.authority.certificate_pem()).unwrap();
        host.join();
        host
    }

    /// Writes the files of the configuration anew.
    fn join(&self) {
        let issued = self.authority.issue_agent(self.id, "web1", clock::now()).unwrap();
        std::fs::write(self.dir.path().join("agent.pem"), issued.certificate_pem).unwrap();
        write_secret(&self.dir.path().join("agent.key"), issued.key_pem.expose().as_bytes()).unwrap();
    }

    /// As after a start.
    fn identities(&self) -> Identities {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let text = format!(
            "address = \"a:1\"\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
            at("ca.pem"),
            at("agent.pem"),
            at("agent.key")
        );
        let config = hume_runtime::config::parse(Path::new("agent.toml"), &text).unwrap();
        Identities::new(&config, self.dir.path())
    }

    /// Puts a renewed pair beside the files, as the master's answer would.
    fn renew(&self, identities: &Identities) -> String {
        // The CA of files makes keys itself: what it made is taken apart and kept as an answer is.
        let issued = self.authority.issue_agent(self.id, "web1", clock::now()).unwrap();
        let files = identities.present().unwrap();
        let (origin, _) = connect::identity(&identities.config).unwrap();
        let origin = tls::fingerprint(origin.certificate().unwrap());
        let text = format!("{ORIGIN}{origin}\n{}{}", issued.key_pem.expose(), issued.certificate_pem);
        files::create_dir(&identities.folder, 0o700).unwrap();
        files::write(&identities.folder.join(NEXT), text.as_bytes(), 0o600).unwrap();
        let shown = identities.present().unwrap();
        assert_ne!(shown.fingerprint, files.fingerprint);
        shown.fingerprint
    }
}

#[test]
fn a_renewed_pair_is_shown_at_the_next_connection_and_after_a_restart_before_and_after_its_first_session() {
    let host = Host::new();
    let identities = host.identities();
    assert_eq!(identities.present().unwrap().standing, Standing::Files);
    let renewed = host.renew(&identities);
    for identities in [identities, host.identities()] {
        let shown = identities.present().unwrap();
        assert_eq!((shown.standing, &shown.fingerprint), (Standing::Next, &renewed));
    }
    let identities = host.identities();
    identities.worked(Standing::Next).unwrap();
    for identities in [identities, host.identities()] {
        let shown = identities.present().unwrap();
        assert_eq!((shown.standing, &shown.fingerprint), (Standing::Current, &renewed));
        assert!(!identities.has_next());
    }
}

#[test]
fn a_pair_that_the_master_refuses_takes_turns_with_the_one_before_and_is_given_up_in_the_end() {
    let host = Host::new();
    let identities = host.identities();
    host.renew(&identities);
    for _ in 0..REFUSALS_MAX {
        assert_eq!(identities.present().unwrap().standing, Standing::Next);
        identities.refused(Standing::Next);
        assert_eq!(identities.present().unwrap().standing, Standing::Files);
        identities.worked(Standing::Files).unwrap();
    }
    assert_eq!(identities.present().unwrap().standing, Standing::Files);
    assert!(!identities.has_next());
}

#[test]
fn when_both_are_refused_nothing_is_given_up() {
    let host = Host::new();
    let identities = host.identities();
    host.renew(&identities);
    for _ in 0..2 * REFUSALS_MAX {
        let standing = identities.present().unwrap().standing;
        identities.refused(standing);
    }
    assert!(identities.has_next());
    assert_eq!(identities.present().unwrap().standing, Standing::Next);
}

#[test]
fn whoever_replaces_the_files_begins_anew() {
    let host = Host::new();
    let identities = host.identities();
    host.renew(&identities);
    identities.worked(Standing::Next).unwrap();
    host.join();
    assert_eq!(identities.present().unwrap().standing, Standing::Files);
}

#[test]
fn a_damaged_pair_or_one_that_others_can_read_is_passed_over() {
    let host = Host::new();
    let identities = host.identities();
    host.renew(&identities);
    let path = identities.folder.join(NEXT);
    let text = std::fs::read(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(identities.present().unwrap().standing, Standing::Files);
    files::write(&path, &text[..text.len() / 2], 0o600).unwrap();
    assert_eq!(identities.present().unwrap().standing, Standing::Files);
    files::write(&path, &text, 0o600).unwrap();
    assert_eq!(identities.present().unwrap().standing, Standing::Next);
}

#[test]
fn what_is_no_certificate_for_the_new_key_is_not_kept() {
    let host = Host::new();
    let identities = host.identities();
    let key = Request::create().unwrap().key_pem;
    let of_another_key = host.authority.issue_agent(host.id, "web1", clock::now()).unwrap();
    for chain in ["", "garbage", host.authority.certificate_pem(), &of_another_key.certificate_pem] {
        assert!(identities.keep(&key, chain, clock::now()).is_err(), "{chain}");
        assert!(!identities.has_next());
    }
}

#[test]
fn the_key_that_is_to_follow_is_made_once_for_each_certificate_and_stays_over_a_restart() {
    let host = Host::new();
    let identities = host.identities();
    let shown = identities.present().unwrap();
    let key = |identities: &Identities, shown: &Shown| {
        identities.next_key(shown).unwrap().key_pem.expose().to_owned()
    };
    let first = key(&identities, &shown);
    assert_eq!(key(&host.identities(), &shown), first);
    let path = identities.folder.join(NEXT_KEY);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&path, "torn").unwrap();
    let second = key(&identities, &shown);
    assert_ne!(second, first);
    // Whoever joins again gets another one.
    host.join();
    assert_ne!(key(&identities, &identities.present().unwrap()), second);
}

#[test]
fn what_the_master_said_of_one_certificate_is_not_said_of_the_next() {
    let host = Host::new();
    let identities = host.identities();
    let shown = identities.present().unwrap();
    assert!(!identities.is_told_ended(&shown));
    identities.told_ended(&shown);
    assert!(identities.is_told_ended(&shown));
    host.renew(&identities);
    assert!(!identities.is_told_ended(&identities.present().unwrap()));
}

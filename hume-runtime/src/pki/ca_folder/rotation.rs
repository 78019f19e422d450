//! Another issuing CA takes over; earlier ones are remembered until they end, and the key of the root can be elsewhere.
//!
//! `issuing.pem` decides: until it is replaced nothing has happened, and what a crash leaves before or after that is made right at the
//! next start. An earlier issuing CA has no key any more. What it issued is trusted by its root as long as it lives.

use std::net::IpAddr;

use hume_core::Timestamp;

use super::{
    Authority, CaFolder, CaFolderError, ISSUING, MASTER, PUBLIC_MODE, ROOT, ROOT_KEY, Summary,
    load_authority, write_master, write_pair,
};
use crate::files::{self, FileError};
use crate::secret::SecretText;
use crate::tls::{self, Identity};

/// So many digits of its fingerprint name the file of an earlier issuing CA.
const NAME_DIGITS: usize = 16;

impl CaFolder {
    /// A new issuing CA takes over, and the master gets a certificate by it; `root_key` is needed where the folder has none. What the
    /// CA before it issued stays valid until it ends.
    /// # Errors
    /// [`CaFolderError::RootKeyAway`], [`CaFolderError::NotTheRootKey`], or why a file cannot be written: the CA is as it was then.
    pub fn rotated(
        &self,
        root_key: Option<&SecretText>,
        names: &[String],
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<(CaFolder, Identity), CaFolderError> {
        let issuing = self.root_authority(root_key)?.issue_authority(now)?;
        // A certificate by a CA that never takes over is trusted all the same, and is replaced at the next start.
        let identity = write_master(&self.path.join(MASTER), &issuing, names, addresses, now)?;
        let earlier = format!("issuing.{}.pem", &self.issuer_fingerprint()[..NAME_DIGITS]);
        let certificate = self.issuing.certificate_pem().as_bytes();
        files::write(&self.path.join(earlier), certificate, PUBLIC_MODE)?;
        write_pair(&self.path.join(ISSUING), issuing.certificate_pem(), issuing.key_pem())?;
        let (path, root_pem) = (self.path.clone(), self.root_pem.clone());
        Ok((CaFolder { path, root_pem, issuing }, identity))
    }

    /// The issuing CAs before this one that have not ended yet, by their ends.
    /// # Errors
    /// [`CaFolderError`].
    pub fn earlier(&self, now: Timestamp) -> Result<Vec<Summary>, CaFolderError> {
        let failed = |source| FileError { step: "list", path: self.path.clone(), source };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !is_earlier(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let certificates = tls::load_certificates(&entry.path())?;
            for certificate in &certificates {
                found.push(Summary::of(certificate)?);
            }
        }
        let present = self.issuer_fingerprint();
        found.retain(|one| now < one.not_after && one.fingerprint != present);
        found.sort_by_key(|one| one.not_after);
        Ok(found)
    }

    /// Whether the key of the root is here.
    pub fn has_root_key(&self) -> bool {
        self.path.join(ROOT_KEY).exists()
    }

    /// The key of the root, in PEM, to be kept elsewhere.
    /// # Errors
    /// [`CaFolderError::RootKeyAway`] if it was taken away already.
    pub fn root_key(&self) -> Result<SecretText, CaFolderError> {
        let path = self.path.join(ROOT_KEY);
        if path.exists() { Ok(tls::load_key(&path)?) } else { Err(CaFolderError::RootKeyAway { path }) }
    }

    /// Takes the key of the root away: whoever has this machine then can make no other issuing CA. Nothing, if it is away.
    /// # Errors
    /// [`CaFolderError::File`].
    pub fn remove_root_key(&self) -> Result<(), CaFolderError> {
        files::remove(&self.path.join(ROOT_KEY))?;
        Ok(files::sync_dir(&self.path)?)
    }

    fn root_authority(&self, given: Option<&SecretText>) -> Result<Authority, CaFolderError> {
        match given {
            Some(key) => Authority::load(&self.root_pem, key).map_err(|_| CaFolderError::NotTheRootKey),
            None if self.has_root_key() => load_authority(&self.path.join(ROOT), &self.path.join(ROOT_KEY)),
            None => Err(CaFolderError::RootKeyAway { path: self.path.join(ROOT_KEY) }),
        }
    }
}

fn is_earlier(name: &str) -> bool {
    let digits = name.strip_prefix("issuing.").and_then(|rest| rest.strip_suffix(".pem"));
    digits.is_some_and(|digits| {
        digits.len() == NAME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::clock;

    const DAY_US: i64 = 86_400_000_000;

    fn names() -> Vec<String> {
        vec!["master.example.org".to_owned()]
    }

    fn created(path: &Path) -> CaFolder {
        CaFolder::create(path, "example", clock::now()).unwrap()
    }

    #[test]
    fn the_key_of_the_root_may_be_given_for_one_rotation_and_stays_away() {
        let dir = tempfile::tempdir().unwrap();
        let (ca, other) = (created(&dir.path().join("ca")), created(&dir.path().join("other")));
        let key = ca.root_key().unwrap();
        ca.remove_root_key().unwrap();
        ca.remove_root_key().unwrap();
        let before = fs::read(dir.path().join("ca/issuing.pem")).unwrap();
        for wrong in [other.root_key().unwrap(), SecretText::new("no key")] {
            let refused = ca.rotated(Some(&wrong), &names(), &[], clock::now());
            assert!(matches!(refused, Err(CaFolderError::NotTheRootKey)), "{refused:?}");
        }
        assert_eq!(fs::read(dir.path().join("ca/issuing.pem")).unwrap(), before);
        let (ca, _) = ca.rotated(Some(&key), &names(), &[], clock::now()).unwrap();
        assert!(!ca.has_root_key());
        let again = CaFolder::load(&dir.path().join("ca"), "example").unwrap();
        assert_eq!(again.issuer_fingerprint(), ca.issuer_fingerprint());
    }

    #[test]
    fn whatever_step_a_crash_leaves_undone_the_next_start_has_a_whole_ca() {
        let dir = tempfile::tempdir().unwrap();
        let (path, now) = (dir.path().join("ca"), clock::now());
        let ca = created(&path);
        ca.master(&names(), &[], now).unwrap();
        let files = ["master.pem", "issuing.pem"].map(|name| path.join(name));
        let before = files.clone().map(|file| fs::read(file).unwrap());
        let (rotated, _) = ca.rotated(None, &names(), &[], now).unwrap();
        let after = files.clone().map(|file| fs::read(file).unwrap());
        // In the order in which they are written.
        for (master, issuing, expected) in [
            (&before[0], &before[1], &ca),
            (&after[0], &before[1], &ca),
            (&after[0], &after[1], &rotated),
            (&before[0], &after[1], &rotated),
        ] {
            fs::write(&files[0], master).unwrap();
            fs::write(&files[1], issuing).unwrap();
            let loaded = CaFolder::load(&path, "example").unwrap();
            assert_eq!(loaded.issuer_fingerprint(), expected.issuer_fingerprint());
            let shown = loaded.master(&names(), &[], now).unwrap();
            assert_eq!(tls::fingerprint(&shown.chain()[1]), expected.issuer_fingerprint());
            assert!(
                loaded
                    .earlier(now)
                    .unwrap()
                    .iter()
                    .all(|one| one.fingerprint != expected.issuer_fingerprint())
            );
        }
    }

    #[test]
    fn earlier_issuing_cas_are_told_of_until_they_end_and_a_file_of_somebody_else_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (path, now) = (dir.path().join("ca"), clock::now());
        let first = created(&path);
        let (second, _) = first.rotated(None, &names(), &[], now.plus_micros(DAY_US)).unwrap();
        let (third, _) = second.rotated(None, &names(), &[], now.plus_micros(2 * DAY_US)).unwrap();
        fs::write(path.join("issuing.backup.pem"), "not ours").unwrap();
        let earlier = |at| -> Vec<String> {
            third.earlier(at).unwrap().into_iter().map(|one| one.fingerprint).collect()
        };
        assert_eq!(earlier(now), [first.issuer_fingerprint(), second.issuer_fingerprint()]);
        let end = first.issuing().unwrap().not_after;
        assert_eq!(earlier(end), [second.issuer_fingerprint()]);
    }

    #[test]
    fn the_master_s_certificate_is_made_anew_at_half_of_its_life_and_under_a_clock_that_was_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let (path, now) = (dir.path().join("ca"), clock::now());
        let ca = created(&path);
        let shown = |days: i64| {
            let identity = ca.master(&names(), &[], now.plus_micros(days * DAY_US)).unwrap();
            Summary::of(identity.certificate().unwrap()).unwrap()
        };
        let first = shown(0);
        assert_eq!(shown(44), first);
        let second = shown(46);
        assert_ne!(second, first);
        assert_eq!(shown(46 + 44), second);
        // Back at the first day, the second one has not begun.
        assert_ne!(shown(0), second);
        // Near the end of the issuing CA none lasts longer than the one that is there.
        let last = shown(728);
        assert_eq!(last.not_after, ca.issuing().unwrap().not_after);
        assert_eq!(shown(729), last);
    }
}

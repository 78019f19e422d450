//! The master's CA on disk: a root, the issuing CA below it, and the certificate that the master shows.
//!
//! | file | holds |
//! |---|---|
//! | `root.pem` | the certificate that everybody trusts; with it the CA exists |
//! | `root.key` | its key; may be taken away, and is needed only for another issuing CA |
//! | `issuing.pem` | certificate and key of the CA that issues now |
//! | `issuing.FINGERPRINT.pem` | certificates of earlier ones, whose leaves may still live |
//! | `master.pem` | the master's certificate with its chain, and its key |
//!
//! The folder is for its owner alone (0700, keys 0600). Each file appears whole or not at all; a certificate and its key are in
//! one file, so that no crash can part them.

mod rotation;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hume_core::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use uuid::Uuid;

use super::{Authority, MASTER_DAYS, PkiError, PublicKey, Signed};
use crate::files::{self, FileError};
use crate::secret::SecretText;
use crate::tls::{self, Identity, Roots, TlsError};

const ROOT: &str = "root.pem";
const ROOT_KEY: &str = "root.key";
const ISSUING: &str = "issuing.pem";
const MASTER: &str = "master.pem";
const KEY_BEGINS: &str = "-----BEGIN PRIVATE KEY-----";
const FOLDER_MODE: u32 = 0o700;
const PUBLIC_MODE: u32 = 0o644;
const SECRET_MODE: u32 = 0o600;

/// The CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaFolderError {
    /// A part of it is missing; the rest cannot be used without it.
    #[error("{} is missing, though others of this CA are there: put it back from a backup", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The key of the root is needed.
    #[error("the key of the root is not here ({})", path.display())]
    RootKeyAway {
        /// Where it was.
        path: PathBuf,
    },
    /// A key was given that has nothing to do with this CA.
    #[error("the key that was given is not that of this CA's root")]
    NotTheRootKey,
    /// The configuration names another site.
    #[error("the CA in {} is of the site `{found}`, not of `{expected}` (`ca.trust_domain`)", path.display())]
    TrustDomain {
        /// The folder.
        path: PathBuf,
        /// What the CA says.
        found: String,
        /// What the configuration says.
        expected: String,
    },
    /// A file cannot be used.
    #[error("could not use {}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PkiError,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file or folder cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate cannot be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// A CA in its folder.
#[derive(Debug)]
pub struct CaFolder {
    path: PathBuf,
    root_pem: String,
    issuing: Authority,
}

impl CaFolder {
    /// Whether a CA, or a part of one, is in the folder.
    pub fn exists(path: &Path) -> bool {
        [ROOT, ISSUING, MASTER].iter().any(|name| path.join(name).exists())
    }

    /// Makes a CA; the folder and its ancestors too.
    /// # Errors
    /// [`CaFolderError`]. A run that was broken off leaves nothing that [`CaFolder::exists`] takes for a CA.
    pub fn create(path: &Path, trust_domain: &str, now: Timestamp) -> Result<CaFolder, CaFolderError> {
        let root = Authority::create_root(trust_domain, now)?;
        let issuing = root.issue_authority(now)?;
        files::create_dir(path, FOLDER_MODE)?;
        files::set_mode(path, FOLDER_MODE)?;
        files::write(&path.join(ROOT_KEY), root.key_pem().expose().as_bytes(), SECRET_MODE)?;
        // The root is written last: with it the CA exists.
        write_pair(&path.join(ISSUING), issuing.certificate_pem(), issuing.key_pem())
            .and_then(|()| files::write(&path.join(ROOT), root.certificate_pem().as_bytes(), PUBLIC_MODE))
            .inspect_err(|_| drop(files::remove(&path.join(ISSUING))))?;
        Ok(CaFolder { path: path.to_owned(), root_pem: root.certificate_pem().to_owned(), issuing })
    }

    /// Takes up the CA of the folder, which must be of this site.
    /// # Errors
    /// [`CaFolderError`] naming the file and what to do.
    pub fn load(path: &Path, trust_domain: &str) -> Result<CaFolder, CaFolderError> {
        let root_pem = read(&path.join(ROOT))?;
        let root = Roots::from_pem(&root_pem)?;
        let found = root.trust_domain().unwrap_or_default().to_owned();
        if found != trust_domain {
            let (path, expected) = (path.to_owned(), trust_domain.to_owned());
            return Err(CaFolderError::TrustDomain { path, found, expected });
        }
        let file = path.join(ISSUING);
        let issuing = load_authority(&file, &file)?;
        Ok(CaFolder { path: path.to_owned(), root_pem, issuing })
    }

    /// The CA of the folder, which is made if there is none; whether it was made.
    /// # Errors
    /// Those of [`CaFolder::load`] and [`CaFolder::create`].
    pub fn load_or_create(
        path: &Path,
        trust_domain: &str,
        now: Timestamp,
    ) -> Result<(CaFolder, bool), CaFolderError> {
        if CaFolder::exists(path) {
            // A first start that was broken off before the root was written has issued nothing.
            let begun =
                !path.join(ROOT).exists() && path.join(ROOT_KEY).exists() && !path.join(MASTER).exists();
            if !begun {
                return Ok((CaFolder::load(path, trust_domain)?, false));
            }
        }
        Ok((CaFolder::create(path, trust_domain, now)?, true))
    }

    /// Whether a CA of this site could be made, and a certificate with these names.
    /// # Errors
    /// [`CaFolderError::Pki`], naming what is wrong.
    pub fn check_names(trust_domain: &str, names: &[String]) -> Result<(), CaFolderError> {
        super::check_trust_domain(trust_domain)?;
        names.iter().try_for_each(|name| super::server_name(name).map(drop))?;
        Ok(())
    }

    /// The name of the site.
    pub fn trust_domain(&self) -> &str {
        self.issuing.trust_domain()
    }

    /// The certificate that everybody trusts, in PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The root's certificate.
    /// # Errors
    /// [`CaFolderError::Tls`].
    pub fn root(&self) -> Result<Summary, CaFolderError> {
        Ok(Summary::of(&tls::first_of_pem(&self.root_pem)?)?)
    }

    /// The certificate of the CA that issues now.
    /// # Errors
    /// [`CaFolderError::Tls`].
    pub fn issuing(&self) -> Result<Summary, CaFolderError> {
        Ok(Summary::of(&tls::first_of_pem(self.issuing.certificate_pem())?)?)
    }

    /// SHA-256 of the issuing CA's certificate, in lower-case hex.
    pub fn issuer_fingerprint(&self) -> String {
        CertificateDer::from_pem_slice(self.issuing.certificate_pem().as_bytes())
            .map(|der| tls::fingerprint(&der))
            .unwrap_or_default()
    }

    /// What the two ends of a TLS connection under this CA trust.
    /// # Errors
    /// [`CaFolderError::Tls`].
    pub fn roots(&self) -> Result<Roots, CaFolderError> {
        Ok(Roots::from_pem(&self.root_pem)?)
    }

    /// A certificate for an agent's key, with the chain that the agent sends along.
    /// # Errors
    /// [`CaFolderError::Pki`].
    pub fn sign_agent(
        &self,
        agent: Uuid,
        host: &str,
        key: &PublicKey,
        life: Duration,
        now: Timestamp,
    ) -> Result<Signed, CaFolderError> {
        let mut signed = self.issuing.sign_agent(agent, host, key, life, now)?;
        signed.certificate_pem.push_str(self.issuing.certificate_pem());
        Ok(signed)
    }

    /// A certificate for the key of a person or a program that asks questions, with its chain.
    /// # Errors
    /// [`CaFolderError::Pki`].
    pub fn sign_person(
        &self,
        name: &str,
        key: &PublicKey,
        life: Duration,
        now: Timestamp,
    ) -> Result<Signed, CaFolderError> {
        let mut signed = self.issuing.sign_person(name, key, life, now)?;
        signed.certificate_pem.push_str(self.issuing.certificate_pem());
        Ok(signed)
    }

    /// The master's own certificate for these names and addresses: the one that is there, or a new one if that is half used
    /// up, is of another issuing CA, or names others.
    /// # Errors
    /// [`CaFolderError`].
    pub fn master(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<Identity, CaFolderError> {
        let path = self.path.join(MASTER);
        if let Some(identity) = self.usable_master(&path, names, addresses, now) {
            return Ok(identity);
        }
        write_master(&path, &self.issuing, names, addresses, now)
    }

    fn usable_master(
        &self,
        path: &Path,
        names: &[String],
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Option<Identity> {
        let identity = Identity::load(path, path).ok()?;
        let issuer = identity.chain().get(1)?;
        let (begins, ends) = tls::validity_of(identity.certificate()?).ok()?;
        let named = tls::names_of(identity.certificate()?);
        let addresses = addresses.iter().map(IpAddr::to_string);
        let is_named = names.iter().cloned().chain(addresses).all(|name| named.contains(&name));
        let is_ours = tls::fingerprint(issuer) == self.issuer_fingerprint();
        let is_young = now.micros_since(begins) < ends.micros_since(now);
        // No other one would last longer.
        let is_last = self.issuing.not_after() <= ends;
        let is_valid = begins <= now && now < ends;
        (is_named && is_ours && is_valid && (is_young || is_last)).then_some(identity)
    }
}

/// A certificate, as one tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// SHA-256 of it, in lower-case hex.
    pub fingerprint: String,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

impl Summary {
    /// That of this certificate.
    /// # Errors
    /// [`TlsError`] if it is none.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Summary, TlsError> {
        let (not_before, not_after) = tls::validity_of(certificate)?;
        Ok(Summary { fingerprint: tls::fingerprint(certificate), not_before, not_after })
    }
}

/// Makes a certificate of the master by this CA, with its chain, and puts it in its place.
fn write_master(
    path: &Path,
    issuing: &Authority,
    names: &[String],
    addresses: &[IpAddr],
    now: Timestamp,
) -> Result<Identity, CaFolderError> {
    let issued = issuing.issue_server_for(names, addresses, MASTER_DAYS, now)?;
    let chain = format!("{}{}", issued.certificate_pem, issuing.certificate_pem());
    let identity = Identity::from_pem(&chain, issued.key_pem.expose())?;
    write_pair(path, &chain, &issued.key_pem)?;
    Ok(identity)
}

fn write_pair(path: &Path, certificates: &str, key: &SecretText) -> Result<(), FileError> {
    let text = SecretText::new(format!("{certificates}{}", key.expose()));
    files::write(path, text.expose().as_bytes(), SECRET_MODE)
}

fn load_authority(certificate: &Path, key: &Path) -> Result<Authority, CaFolderError> {
    // One file may hold both; the certificate alone goes into chains.
    let (text, key_text) = (read(certificate)?, tls::load_key(key)?);
    let certificate_pem = &text[..text.find(KEY_BEGINS).unwrap_or(text.len())];
    let key_pem = SecretText::new(&key_text.expose()[key_text.expose().find(KEY_BEGINS).unwrap_or(0)..]);
    Authority::load(certificate_pem, &key_pem)
        .map_err(|source| CaFolderError::Unusable { path: certificate.to_owned(), source })
}

fn read(path: &Path) -> Result<String, CaFolderError> {
    std::fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => CaFolderError::Missing { path: path.to_owned() },
        _ => TlsError::Read { path: path.to_owned(), source }.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Request;
    use super::*;
    use crate::clock;

    const DAY: Duration = Duration::from_hours(24);
    const NAMES: [&str; 1] = ["master.example.org"];

    fn names() -> Vec<String> {
        NAMES.map(str::to_owned).to_vec()
    }

    fn leaf(ca: &CaFolder) -> Identity {
        let request = Request::create().unwrap();
        let key = PublicKey::of_request(&request.request_pem).unwrap();
        let signed = ca.sign_agent(Uuid::from_u128(7), "web1", &key, DAY, clock::now()).unwrap();
        Identity::from_pem(&signed.certificate_pem, request.key_pem.expose()).unwrap()
    }

    /// Whether a server and a client of this CA understand each other.
    fn shake(server: &Identity, client: &Identity, roots: &Roots) -> Result<(), rustls::Error> {
        tls::install_provider();
        let name = NAMES[0].try_into().unwrap();
        let config = tls::relay_client(client, roots, None).unwrap();
        let mut client = rustls::ClientConnection::new(config, name).unwrap();
        let mut server = rustls::ServerConnection::new(tls::relay_server(server, roots).unwrap()).unwrap();
        for _ in 0..4 {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!server.is_handshaking() && !client.is_handshaking());
        Ok(())
    }

    #[test]
    fn what_it_issues_is_trusted_by_the_root_before_and_after_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/ca");
        let (ca, is_new) = CaFolder::load_or_create(&path, "example", clock::now()).unwrap();
        assert!(is_new && ca.has_root_key());
        let (master, agent) = (ca.master(&names(), &[], clock::now()).unwrap(), leaf(&ca));
        let roots = ca.roots().unwrap();
        shake(&master, &agent, &roots).unwrap();

        let before = ca.issuer_fingerprint();
        let (rotated, shown) = ca.rotated(None, &names(), &[], clock::now()).unwrap();
        assert_ne!(rotated.issuer_fingerprint(), before);
        let (ca, is_new) = CaFolder::load_or_create(&path, "example", clock::now()).unwrap();
        assert!(!is_new);
        assert_eq!(ca.issuer_fingerprint(), rotated.issuer_fingerprint());
        let newer = ca.master(&names(), &[], clock::now()).unwrap();
        assert_eq!(newer.chain(), shown.chain());
        assert_ne!(newer.chain(), master.chain(), "the master's is of the new one");
        shake(&newer, &agent, &roots).expect("an agent of the old issuing CA");
        shake(&newer, &leaf(&ca), &roots).expect("an agent of the new one");
        let earlier: Vec<String> =
            ca.earlier(clock::now()).unwrap().into_iter().map(|one| one.fingerprint).collect();
        assert_eq!(earlier, [before]);
    }

    #[test]
    fn a_stranger_of_the_same_name_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let create = |name: &str| CaFolder::create(&dir.path().join(name), "example", clock::now()).unwrap();
        let (ours, theirs) = (create("ours"), create("theirs"));
        let master = ours.master(&names(), &[], clock::now()).unwrap();
        assert!(shake(&master, &leaf(&theirs), &ours.roots().unwrap()).is_err());
    }

    #[test]
    fn without_the_key_of_the_root_all_goes_on_but_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca");
        let ca = CaFolder::create(&path, "example", clock::now()).unwrap();
        assert!(ca.root_key().unwrap().expose().contains("PRIVATE KEY"));
        ca.remove_root_key().unwrap();
        let ca = CaFolder::load(&path, "example").unwrap();
        assert!(!ca.has_root_key() && ca.root_key().is_err());
        leaf(&ca);
        let refused = ca.rotated(None, &names(), &[], clock::now());
        assert!(matches!(refused, Err(CaFolderError::RootKeyAway { .. })));
    }

    #[test]
    fn keys_are_for_their_owner_alone_and_no_chain_holds_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca");
        CaFolder::create(&path, "example", clock::now()).unwrap();
        let ca = CaFolder::load(&path, "example").unwrap();
        ca.master(&names(), &[], clock::now()).unwrap();
        let mode = |name: &str| path.join(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(["root.key", "issuing.pem", "master.pem", ""].map(mode), [0o600, 0o600, 0o600, 0o700]);
        assert_eq!(leaf(&ca).chain().len(), 2);
        let request = Request::create().unwrap();
        let key = PublicKey::of_request(&request.request_pem).unwrap();
        let signed = ca.sign_agent(Uuid::nil(), "web1", &key, DAY, clock::now()).unwrap();
        assert!(!signed.certificate_pem.contains("PRIVATE"));
    }

    #[test]
    fn the_master_s_certificate_stays_until_something_asks_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let now = clock::now();
        let ca = CaFolder::create(&dir.path().join("ca"), "example", now).unwrap();
        let chain = |names: &[String], at| ca.master(names, &[], at).unwrap().chain().to_vec();
        let first = chain(&names(), now);
        assert_eq!(chain(&names(), now), first);
        let more = [names(), vec!["other.example.org".to_owned()]].concat();
        let second = chain(&more, now);
        assert_ne!(second, first);
        assert_eq!(chain(&names(), now), second, "it names more than is asked for");
    }

    #[test]
    fn a_part_that_is_missing_is_named_and_a_creation_that_was_broken_off_begins_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca");
        let now = clock::now();
        let ca = CaFolder::create(&path, "example", now).unwrap();
        let error = CaFolder::load(&path, "other").unwrap_err().to_string();
        assert!(error.contains("is of the site `example`, not of `other`"), "{error}");
        std::fs::remove_file(path.join("root.pem")).unwrap();
        assert!(CaFolder::load_or_create(&path, "example", now).unwrap().1, "nothing was issued yet");
        let again = CaFolder::load(&path, "example").unwrap();
        assert_ne!(again.root_pem(), ca.root_pem());
        again.master(&names(), &[], now).unwrap();
        std::fs::remove_file(path.join("issuing.pem")).unwrap();
        let error = CaFolder::load_or_create(&path, "example", now).unwrap_err().to_string();
        assert!(error.contains("issuing.pem is missing"), "{error}");
    }
}

//! Whom to ask: flags and environment, the user's file, the machine's file, the local agent, the local master.
//!
//! [`choose`] is the rule and does no I/O of its own. A CA or a token of a file is used only with the URL of the
//! same file, so that no token is ever shown to somebody it was not meant for.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

use crate::args::Connection;

/// The machine's file.
pub const FILE_OF_MACHINE: &str = "/etc/hume/query.toml";
/// Sockets of the local daemons, in the order in which they are tried.
pub const SOCKETS: [(&str, &str); 2] =
    [("/run/hume/api.sock", "the local agent"), ("/run/hume-master/api.sock", "the local master")];
/// Longest path of a Unix socket, in bytes.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// What the command line and its environment are called together.
const GIVEN: &str = "the command line and its environment";
/// Longest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where the API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a Unix socket.
    Socket(PathBuf),
    /// At this URL, which ends with `/`.
    Web(Url),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Socket(path) => write!(f, "unix:{}", path.display()),
            Place::Web(url) => f.write_str(url.as_str().trim_end_matches('/')),
        }
    }
}

/// By what the other end shall know us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By nothing.
    Nothing,
    /// By the token in this file.
    Token(PathBuf),
    /// By this certificate.
    Certificate {
        /// Its file.
        certificate: PathBuf,
        /// The file of its key.
        key: PathBuf,
    },
}

/// Whom to ask, and with which papers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whom {
    /// Where the API is.
    pub place: Place,
    /// The only CA to trust.
    pub ca: Option<PathBuf>,
    /// What is shown of us; never anything to a socket.
    pub proof: Proof,
    /// What decided, when it was not the command line or the environment.
    pub found: Option<String>,
}

/// A `query.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryFile {
    /// Where the API is.
    pub url: Option<String>,
    /// The only CA to trust.
    pub ca: Option<PathBuf>,
    /// The file with the token.
    pub token_file: Option<PathBuf>,
    /// The file with a client certificate.
    pub certificate: Option<PathBuf>,
    /// The file with its key.
    pub key: Option<PathBuf>,
}

/// A file that was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it says, its paths made relative to it.
    pub content: QueryFile,
}

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum WhomError {
    /// The URL is of no use.
    #[error("`{url}` is no address of hume: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong and what to write.
        reason: String,
    },
    /// A `query.toml` could not be read.
    #[error("could not read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A `query.toml` says something wrong.
    #[error("{path}:{line}:{column}: {message}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// What is to be shown contradicts itself.
    #[error("{place}: {what}")]
    Proof {
        /// Where that is said.
        place: String,
        /// What is wrong, and what to do.
        what: &'static str,
    },
    /// No URL anywhere, and no daemon here.
    #[error(
        "nobody to ask: no --url, no url in {files}, {sockets}; name a master with --url https://HOST:4864"
    )]
    Nobody {
        /// The files that were looked for.
        files: String,
        /// Each socket, and why it does not answer.
        sockets: String,
    },
}

/// Places of the files, the user's first.
pub fn file_paths(xdg_config_home: Option<PathBuf>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let user = xdg_config_home
        .filter(|path| path.is_absolute())
        .or_else(|| home.filter(|path| path.is_absolute()).map(|home| home.join(".config")));
    user.map(|folder| folder.join("hume/query.toml"))
        .into_iter()
        .chain([PathBuf::from(FILE_OF_MACHINE)])
        .collect()
}

/// Reads a `query.toml`; none when there is no such file.
///
/// # Errors
/// [`WhomError::Read`], or [`WhomError::Content`] with line and column.
pub fn read_file(path: &Path) -> Result<Option<FoundFile>, WhomError> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(std::fs::File::open(path)?, FILE_BYTES_MAX), &mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) => parse_file(path, &text).map(Some),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(WhomError::Read { path: path.to_owned(), source }),
    }
}

fn parse_file(path: &Path, text: &str) -> Result<FoundFile, WhomError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let QueryFile { url, ca, token_file, certificate, key } = toml::from_str(text).map_err(|error| {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
        WhomError::Content {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
            message: error.message().replace('\n', " "),
        }
    })?;
    let beside = |path: PathBuf| folder.join(path);
    Ok(FoundFile {
        path: path.to_owned(),
        content: QueryFile {
            url,
            ca: ca.map(beside),
            token_file: token_file.map(beside),
            certificate: certificate.map(beside),
            key: key.map(beside),
        },
    })
}

/// The rule. `files` are in their order; `knock` says whether somebody listens at a socket.
///
/// # Errors
/// [`WhomError::Url`], or [`WhomError::Nobody`] with every place that was tried.
pub fn choose(
    given: &Connection,
    files: &[FoundFile],
    looked_at: &[PathBuf],
    knock: impl Fn(&Path) -> io::Result<()>,
) -> Result<Whom, WhomError> {
    let Connection { url, ca, token_file, certificate, key, timeout: _ } = given;
    // A variable that is set to nothing is not set.
    let set = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
    let ca = set(ca);
    let given = proof(set(token_file), set(certificate), set(key));
    let given = given.map_err(|what| WhomError::Proof { place: GIVEN.to_owned(), what })?;
    if let Some(url) = url.as_ref().filter(|url| !url.is_empty()) {
        return Ok(whom(parse_url(url)?, ca, given, None));
    }
    for FoundFile { path, content } in files {
        let QueryFile { url, ca: ca_of_file, token_file, certificate, key } = content.clone();
        if let Some(url) = &url {
            let found = path.display().to_string();
            let proof = match given {
                Proof::Nothing => proof(token_file, certificate, key)
                    .map_err(|what| WhomError::Proof { place: found.clone(), what })?,
                given => given,
            };
            return Ok(whom(parse_url(url)?, ca.or(ca_of_file), proof, Some(found)));
        }
    }
    let mut silent = Vec::new();
    for (socket, name) in SOCKETS {
        match knock(Path::new(socket)) {
            Ok(()) => {
                return Ok(whom(Place::Socket(socket.into()), None, Proof::Nothing, Some(name.to_owned())));
            }
            Err(error) => silent.push(format!("{socket}: {}", refusal(&error))),
        }
    }
    let files = looked_at.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ");
    Err(WhomError::Nobody { files, sockets: silent.join(", ") })
}

/// What is shown, of what one place names.
fn proof(
    token_file: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Proof, &'static str> {
    match (token_file, certificate, key) {
        (None, None, None) => Ok(Proof::Nothing),
        (Some(file), None, None) => Ok(Proof::Token(file)),
        (None, Some(certificate), Some(key)) => Ok(Proof::Certificate { certificate, key }),
        (_, Some(_), None) => Err("a certificate needs its key: add --key FILE (`key` in a file)"),
        (_, None, Some(_)) => {
            Err("a key needs its certificate: add --certificate FILE (`certificate` in a file)")
        }
        (Some(_), Some(_), Some(_)) => {
            Err("a token and a certificate: leave one of them out, since the token alone would decide")
        }
    }
}

fn whom(place: Place, ca: Option<PathBuf>, proof: Proof, found: Option<String>) -> Whom {
    match place {
        // The permissions of a socket decide who may ask; what is for a master does not belong there.
        Place::Socket(_) => Whom { place, ca: None, proof: Proof::Nothing, found },
        Place::Web(_) => Whom { place, ca, proof, found },
    }
}

/// Why a socket does not answer, and what to do, for a sentence.
pub fn refusal(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "not there".to_owned(),
        io::ErrorKind::PermissionDenied => "not permitted (is this user in the group hume?)".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens".to_owned(),
        _ => error.to_string(),
    }
}

/// Knocks at a socket: connects, and hangs up.
///
/// # Errors
/// What the kernel says.
pub fn knock(socket: &Path) -> io::Result<()> {
    std::os::unix::net::UnixStream::connect(socket).map(drop)
}

/// Reads `https://…`, `http://` of this machine, or `unix:PATH`.
///
/// # Errors
/// [`WhomError::Url`] with what to write instead.
pub fn parse_url(text: &str) -> Result<Place, WhomError> {
    let refuse =
        |reason: &str| WhomError::Url { url: text.chars().take(200).collect(), reason: reason.to_owned() };
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return match path.len() {
            0 => Err(refuse("a path is missing; write unix:/run/hume/api.sock")),
            bytes if bytes > SOCKET_PATH_BYTES_MAX => Err(refuse(&format!(
                "the path has {bytes} bytes; a Unix socket may have {SOCKET_PATH_BYTES_MAX}"
            ))),
            _ if path.contains('\0') => Err(refuse("a path has no NUL byte")),
            _ => Ok(Place::Socket(path.into())),
        };
    }
    if !text.starts_with("https://") && !text.starts_with("http://") {
        return Err(refuse("write https://HOST:4864 for a master or unix:PATH for a socket"));
    }
    let mut url = Url::parse(text).map_err(|error| refuse(&format!("{error}; write https://HOST:4864")))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: what stands there may be a secret.
        return Err(WhomError::Url {
            url: format!("{}://…@{}", url.scheme(), url.host_str().unwrap_or_default()),
            reason: "a URL is no place for a secret; use --token-file".to_owned(),
        });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("leave out what follows ? or #"));
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(refuse("http:// would show the token to the network; write https://"));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(Place::Web(url))
}

/// True for the names and addresses of this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn given(url: Option<&str>, token_file: Option<&str>) -> Connection {
        Connection {
            url: url.map(str::to_owned),
            ca: None,
            token_file: token_file.map(PathBuf::from),
            certificate: None,
            key: None,
            timeout: Duration::from_secs(10),
        }
    }

    fn file(path: &str, text: &str) -> FoundFile {
        parse_file(Path::new(path), text).unwrap()
    }

    fn nobody(_: &Path) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    #[test]
    fn the_order_is_flag_then_user_then_machine_then_agent_then_master() {
        let user = file("/home/u/.config/hume/query.toml", "url = 'https://user:1'\nca = 'ca.pem'");
        let machine = file("/etc/hume/query.toml", "url = 'https://machine:1'\ntoken_file = '/t'");
        let files = [user.clone(), machine.clone()];

        let flag = choose(&given(Some("https://flag:1"), None), &files, &[], nobody).unwrap();
        assert_eq!(flag.place.to_string(), "https://flag:1");
        assert_eq!((flag.ca, flag.proof, flag.found), (None, Proof::Nothing, None));

        let first = choose(&given(None, None), &files, &[], nobody).unwrap();
        assert_eq!(first.place.to_string(), "https://user:1");
        assert_eq!(first.ca, Some("/home/u/.config/hume/ca.pem".into()));
        assert_eq!(first.proof, Proof::Nothing);

        let second = choose(&given(None, None), &[machine], &[], nobody).unwrap();
        assert_eq!(second.place.to_string(), "https://machine:1");
        assert_eq!(second.proof, Proof::Token("/t".into()));

        let agent = choose(&given(None, None), &[], &[], |_| Ok(())).unwrap();
        assert_eq!(agent.place, Place::Socket("/run/hume/api.sock".into()));
        assert_eq!(agent.found.as_deref(), Some("the local agent"));

        let master = choose(&given(None, None), &[], &[], |path| {
            let master = path.starts_with("/run/hume-master");
            master.then_some(()).ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
        });
        assert_eq!(master.unwrap().place, Place::Socket("/run/hume-master/api.sock".into()));
    }

    #[test]
    fn nobody_to_ask_names_every_place_that_was_tried() {
        let looked_at = file_paths(None, Some("/home/u".into()));
        let error = choose(&given(None, None), &[], &looked_at, |path| {
            let denied = path.starts_with("/run/hume/");
            Err(if denied { io::ErrorKind::PermissionDenied } else { io::ErrorKind::NotFound }.into())
        });
        let text = error.unwrap_err().to_string();
        for part in [
            "/home/u/.config/hume/query.toml or /etc/hume/query.toml",
            "/run/hume/api.sock: not permitted (is this user in the group hume?)",
            "/run/hume-master/api.sock: not there",
            "--url https://HOST:4864",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_flag_adds_to_a_file_but_no_token_reaches_a_socket() {
        let files = [file("/e/query.toml", "url = 'https://machine:1'\ntoken_file = 'theirs'")];
        let whom = choose(&given(None, Some("mine")), &files, &[], nobody).unwrap();
        assert_eq!(whom.proof, Proof::Token("mine".into()));
        let whom = choose(&given(Some("unix:/x"), Some("mine")), &files, &[], nobody).unwrap();
        assert_eq!(whom.proof, Proof::Nothing);
    }

    #[test]
    fn a_certificate_comes_with_its_key_and_one_of_two_proofs_must_go() {
        let text = "url = 'https://m:1'\ncertificate = 'c.pem'\nkey = 'k.pem'";
        let files = [file("/e/query.toml", text)];
        let of_file = Proof::Certificate { certificate: "/e/c.pem".into(), key: "/e/k.pem".into() };
        assert_eq!(choose(&given(None, None), &files, &[], nobody).unwrap().proof, of_file);
        // What was given takes the place of the whole proof of a file.
        let token = choose(&given(None, Some("mine")), &files, &[], nobody).unwrap();
        assert_eq!(token.proof, Proof::Token("mine".into()));
        let with = |token: Option<&str>, certificate: &str, key: &str| Connection {
            certificate: Some(certificate.into()),
            key: Some(key.into()),
            ..given(Some("https://m:1"), token)
        };
        let pair = choose(&with(None, "c", "k"), &files, &[], nobody).unwrap().proof;
        assert_eq!(pair, Proof::Certificate { certificate: "c".into(), key: "k".into() });
        for (connection, words) in [
            (with(Some("t"), "c", "k"), "leave one of them out"),
            (with(None, "c", ""), "add --key FILE"),
            (with(None, "", "k"), "add --certificate FILE"),
        ] {
            let error = choose(&connection, &[], &[], nobody).unwrap_err().to_string();
            assert!(error.starts_with("the command line") && error.contains(words), "{error}");
        }
        let half = [file("/e/query.toml", "url = 'https://m:1'\nkey = 'k.pem'")];
        let error = choose(&given(None, None), &half, &[], nobody).unwrap_err().to_string();
        assert!(error.starts_with("/e/query.toml: a key needs"), "{error}");
    }

    #[test]
    fn a_file_without_a_url_decides_nothing() {
        let files = [file("/e/query.toml", "ca = 'x'")];
        assert!(matches!(choose(&given(None, None), &files, &[], nobody), Err(WhomError::Nobody { .. })));
    }

    #[test]
    fn the_users_folder_is_xdg_or_home() {
        let of = |xdg: Option<&str>, home: Option<&str>| {
            file_paths(xdg.map(PathBuf::from), home.map(PathBuf::from)).remove(0).display().to_string()
        };
        assert_eq!(of(Some("/x"), Some("/home/u")), "/x/hume/query.toml");
        assert_eq!(of(Some(""), Some("/home/u")), "/home/u/.config/hume/query.toml");
        assert_eq!(of(None, None), FILE_OF_MACHINE);
    }

    #[test]
    fn an_unknown_key_is_refused_with_line_and_column() {
        let error =
            parse_file(Path::new("/e/query.toml"), "url = 'https://x'\n  tokenfile = 'y'\n").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("/e/query.toml:2:3: unknown field `tokenfile`"), "{text}");
        assert!(text.contains("token_file"), "{text}");
        let text = parse_file(Path::new("/e/query.toml"), "url = 7").unwrap_err().to_string();
        assert!(text.starts_with("/e/query.toml:1:7: "), "{text}");
    }

    #[test]
    fn only_this_machine_may_be_asked_in_the_clear() {
        for url in ["http://localhost:1", "http://127.0.0.1:1/", "http://[::1]:1", "https://far.example:4864"]
        {
            assert!(parse_url(url).is_ok(), "{url}");
        }
        for (url, reason) in [
            ("http://far.example", "write https://"),
            ("http://127.0.0.1.far.example", "write https://"),
            ("master1:4864", "https://HOST:4864"),
            ("ftp://x", "unix:PATH"),
            ("https://", "https://HOST:4864"),
            ("https://x/?a=b", "leave out"),
            ("unix:", "a path is missing"),
        ] {
            let text = parse_url(url).unwrap_err().to_string();
            assert!(text.contains(reason), "{text}");
        }
        let text = parse_url("https://me:secret@x").unwrap_err().to_string();
        assert!(!text.contains("secret@") && text.contains("--token-file"), "{text}");
        let text = parse_url(&format!("unix:/{}", "x".repeat(107))).unwrap_err().to_string();
        assert!(text.contains("108 bytes"), "{text}");
    }

    #[test]
    fn a_url_may_have_a_folder() {
        let Place::Web(url) = parse_url("https://x/hume").unwrap() else { panic!("not web") };
        assert_eq!(url.join("api/v1/events").unwrap().as_str(), "https://x/hume/api/v1/events");
        assert_eq!(parse_url("unix:///run/x").unwrap(), Place::Socket("/run/x".into()));
    }
}

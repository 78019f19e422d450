//! What answers mean, and that nothing of an address is told but its host.

use hume_core::HostName;

use super::server::{Answer, OK, Server};
use super::*;
use crate::net::peer;
use crate::options::TransferName;

const PATH: &str = "/services/T024BE7LD/hunter2-token";

fn http(dir: &Path, ca: Option<&str>, answer_time_max: Duration) -> Result<Http, OpenError> {
    let (name, host) = (TransferName::parse("ops").unwrap(), HostName::parse("db1").unwrap());
    let setting =
        Setting { name: &name, config_file: &dir.join("agent.toml"), host: &host, program: "humed-agent" };
    Http::open(ca.map(Path::new), &setting, answer_time_max)
}

fn target(url: &str) -> Target {
    Target::parse("url", &SecretText::new(url), &["http", "https"]).unwrap()
}

async fn ask(http: &Http, url: &str) -> Result<(), Trouble> {
    let target = target(url);
    let request =
        Request { target: &target, method: Method::POST, headers: HeaderMap::new(), body: "{}".to_owned() };
    http.send(request, &mut Trail::silent()).await
}

#[test]
fn every_answer_has_its_verdict() {
    let now = Timestamp::from_micros((784_111_777 - 30) * 1_000_000);
    let later = |seconds| Verdict::Later(Some(Duration::from_secs(seconds)));
    for (status, retry_after, expected) in [
        (200, None, Verdict::Taken),
        (202, None, Verdict::Taken),
        (204, None, Verdict::Taken),
        (429, Some("7"), later(7)),
        (429, Some(" 7 "), later(7)),
        (429, Some("Sun, 06 Nov 1994 08:49:37 GMT"), later(30)),
        (503, Some("Sun, 06 Nov 1994 08:49:37 GMT"), later(30)),
        (429, Some("Sun, 06 Nov 1993 08:49:37 GMT"), Verdict::Later(None)),
        (429, Some("soon"), Verdict::Later(None)),
        (429, Some("-1"), Verdict::Later(None)),
        (429, None, Verdict::Later(None)),
        (408, None, Verdict::Later(None)),
        (425, None, Verdict::Later(None)),
        (500, None, Verdict::Later(None)),
        (502, None, Verdict::Later(None)),
        (599, None, Verdict::Later(None)),
        (400, None, Verdict::Never),
        (413, None, Verdict::Never),
        (422, None, Verdict::Never),
    ] {
        assert_eq!(judge(status, retry_after, now), expected, "{status} {retry_after:?}");
    }
    for status in [100, 301, 302, 307, 401, 403, 404, 405, 409, 410, 415, 418, 600] {
        assert!(matches!(judge(status, Some("7"), now), Verdict::Mend(_)), "{status}");
    }
}

#[tokio::test]
async fn what_a_server_answers_is_told_without_the_secrets_that_it_repeats() {
    let dir = tempfile::tempdir().unwrap();
    let answers = [
        OK,
        Answer::Say(429, "Retry-After: 3\r\n", "slow down"),
        Answer::Say(500, "", "no luck with /services/T024BE7LD/hunter2-token or hunter2-token"),
        Answer::Say(400, "", "invalid_blocks"),
        Answer::Say(404, "", "no_service"),
        Answer::Say(302, "Location: http://169.254.169.254/\r\n", ""),
    ];
    let server = Server::start(dir.path(), &answers);
    let http = http(dir.path(), Some("ca.pem"), peer::SOON).unwrap();
    let url = server.url(PATH);
    let place = server.url("/***");
    let mend = |text: &str| Err(Trouble::after(format!("{place} answered {text}"), MEND_EVERY));
    for expected in [
        Ok(()),
        Err(Trouble::after(format!("{place} answered 429: slow down"), Duration::from_secs(3))),
        Err(Trouble::later(format!("{place} answered 500: no luck with *** or ***"))),
        Err(Trouble::never(format!("{place} answered 400: invalid_blocks"))),
        mend("404: no_service; check the address: the webhook may be revoked, the channel gone"),
        mend("302; redirects are not followed: configure the address that it leads to"),
    ] {
        assert_eq!(ask(&http, &url).await, expected);
    }
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.first_line == format!("POST {PATH} HTTP/1.1")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn silence_resets_garbage_and_nobody_there_are_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        Server::start(dir.path(), &[Answer::Silence, Answer::ResetWithin, Answer::Reset, Answer::Garbage]);
    let nowhere = format!("https://{}{PATH}", peer::nowhere());
    let url = server.url(PATH);
    let hasty = http(dir.path(), Some("ca.pem"), Duration::from_secs(2)).unwrap();
    let patient = http(dir.path(), Some("ca.pem"), peer::SOON).unwrap();
    for (http, url) in
        [(&hasty, &url), (&patient, &url), (&patient, &url), (&patient, &url), (&patient, &nowhere)]
    {
        let trouble = ask(http, url).await.unwrap_err();
        let place = target(url).to_string();
        assert!(
            matches!(&trouble, Trouble::Later { reason, after: None } if reason.starts_with(&place)),
            "{trouble:?}"
        );
        assert!(
            !trouble.reason().contains("hunter2") && !trouble.reason().contains("T024BE7LD"),
            "{trouble:?}"
        );
    }
    server.asked();
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_told_anything() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, address) = peer::listen();
    let site = peer::Site::make(dir.path(), "theirs");
    let issued = site.server();
    let identity =
        hume_runtime::tls::Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap();
    let config = hume_runtime::tls::web_server(&identity).unwrap();
    let peer = peer::run(move || {
        let mut heard = Vec::new();
        let _ = std::io::Read::read_to_end(&mut peer::over_tls(&config, peer::accept(&listener)), &mut heard);
        heard
    });
    peer::Site::make(dir.path(), "ours");
    let http = http(dir.path(), Some("ours.pem"), peer::SOON).unwrap();
    let trouble = ask(&http, &format!("https://{address}{PATH}")).await.unwrap_err();
    assert!(
        matches!(&trouble, Trouble::Later { reason, after: Some(MEND_EVERY) } if reason.contains("certificate")),
        "{trouble:?}"
    );
    assert_eq!(peer.join().unwrap(), b"");
}

#[test]
fn an_address_shows_its_host_alone() {
    let url = "https://user:passw0rd@hooks.slack.com:8443/services/T024BE7LD?key=abcdefgh";
    let target = target(url);
    assert_eq!(
        format!("{target} {target:?}"),
        "https://hooks.slack.com:8443/*** https://hooks.slack.com:8443/***"
    );
    assert_eq!(target.without_secrets("T024BE7LD passw0rd abcdefgh"), "*** *** ***");
    for wrong in ["hunter2", "ftp://x/hunter2", "https://", "file:///hunter2"] {
        let error = Target::parse("webhook", &SecretText::new(wrong), &["https"]).unwrap_err().to_string();
        assert_eq!(error, "`webhook`: is no address that begins with `https://`");
    }
}

#[test]
fn a_ca_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("empty.pem"), "").unwrap();
    for (ca, told) in [("no.pem", "no.pem: No such file"), ("empty.pem", "empty.pem: has no certificate")] {
        let error = http(dir.path(), Some(ca), peer::SOON).unwrap_err().to_string();
        assert!(error.starts_with("`ca`: ") && error.contains(told), "{error}");
    }
}

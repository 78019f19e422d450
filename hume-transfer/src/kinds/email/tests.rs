//! What each answer of an SMTP server is for a notice, and what the program in place of one is.

mod peer;
mod real;

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use hume_core::{HostName, Level};
use hume_runtime::config;
use tempfile::TempDir;

use self::peer::{Act, NOTHING, Offer, Peer};
use super::*;
use crate::options::{TransferName, Transfers};
use crate::testing::{assert_documented, documented, open, stored, whole};

const PASSWORD: &str = "hunter2-Ünsecret";

fn config(keys: &str) -> String {
    format!(
        "[transfer.mail.email]\nsender = \"hume@example.org\"\nto = [\"a@example.org\", \"b@example.org\"]\n{keys}\n"
    )
}

/// As it is opened, but with a type that lets a test have less patience.
fn email(dir: &TempDir, keys: &str) -> Result<Email, OpenError> {
    #[derive(Deserialize)]
    struct Whole {
        transfer: Transfers,
    }
    let file = dir.path().join("agent.toml");
    let whole: Whole = config::parse(&file, &config(keys)).unwrap();
    let (name, options): (TransferName, _) = whole.transfer.0.into_iter().next().unwrap();
    let crate::kinds::Options::Email(options) = options else { panic!("not an email") };
    let host = HostName::parse("web1").unwrap();
    Email::of(&options, &Setting { name: &name, config_file: &file, host: &host, program: "humed-agent" })
}

fn notice(message: &str) -> [Notice; 1] {
    [Notice::of(stored(Level::Error, "BACKUP", "db1", message))]
}

/// A delivery, and what was told of it.
async fn deliver(email: &mut Email, notices: &[Notice]) -> (Delivery, String) {
    let told = Arc::new(Mutex::new(String::new()));
    let to = Arc::clone(&told);
    let mut trail = Trail::to(move |step| to.lock().unwrap().extend([step, "\n"]));
    let delivery = email.deliver(notices, &mut trail).await;
    let told = told.lock().unwrap().clone();
    for secret in [PASSWORD, "aHVudGVyMi", "AHVtZQBodW50ZXIyL"] {
        assert!(!told.contains(secret) && !format!("{delivery:?}").contains(secret), "{told} {delivery:?}");
    }
    (delivery, told)
}

/// One delivery to a peer that answers like this.
async fn to(
    offer: Offer,
    keys: &str,
    script: impl Fn(&str, usize) -> Option<Act> + Send + Sync + 'static,
) -> (Delivery, Peer) {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start(offer, script);
    std::fs::write(dir.path().join("ca.pem"), &peer.ca).unwrap();
    let scheme = if offer.is_wrapped { "smtps" } else { "smtp" };
    let mut email = email(&dir, &format!("smtp = \"{scheme}://{}\"\n{keys}", peer.address)).unwrap();
    let (delivery, _) = deliver(&mut email, &notice("x")).await;
    (delivery, peer)
}

/// Answers like this to lines that begin so.
fn on(start: &'static str, act: Act) -> impl Fn(&str, usize) -> Option<Act> + Send + Sync {
    move |line, _| (line == start || (!start.is_empty() && line.starts_with(start))).then_some(act)
}

fn later(delivery: &Delivery) -> (&str, Option<Duration>) {
    match delivery {
        Delivery { settled: 0, trouble: Some(Trouble::Later { reason, after }) } => (reason, *after),
        other => panic!("{other:?}"),
    }
}

fn never(delivery: &Delivery) -> &str {
    match delivery {
        Delivery { settled: 0, trouble: Some(Trouble::Never { reason }) } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_mail_goes_to_all_recipients_at_once() {
    let (delivery, peer) = to(NOTHING, "", |_, _| None).await;
    assert_eq!(delivery, Delivery { settled: 1, trouble: None });
    let mails = peer.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, ["a@example.org", "b@example.org"]);
    assert!(mails[0].text.contains("Subject: [hume] error: BACKUP on db1: x\r\n"), "{}", mails[0].text);
    assert!(!mails[0].is_encrypted);
    assert_eq!(peer.lines().first().map(String::as_str), Some("EHLO web1"));
    assert_eq!(peer.lines().last().map(String::as_str), Some("QUIT"));
}

#[tokio::test]
async fn dots_and_long_lines_arrive_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start(NOTHING, |_, _| None);
    let mut email = email(&dir, &format!("smtp = \"smtp://{}\"", peer.address)).unwrap();
    let message = format!("first\n.\n..two\n.hidden {}\nEnde: ü", "x".repeat(3000));
    assert_eq!(deliver(&mut email, &notice(&message)).await.0.trouble, None);
    let text = peer.mails().remove(0).text;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Transfer-Encoding: quoted-printable"), "{head}");
    let body = body.replace("=\r\n", "").replace("=C3=BC", "ü").replace("\r\n", "\n");
    assert!(body.contains(&message), "{body}");
}

#[tokio::test]
async fn a_server_that_cannot_now_is_asked_later() {
    for (start, text) in [
        ("", "421 4.3.2 too busy"),
        ("EHLO", "451 4.3.0 no"),
        ("MAIL", "451 4.7.1 greylisted"),
        ("RCPT", "450 4.2.0 greylisted"),
        ("RCPT", "421 4.3.2 closing"),
        ("DATA", "452 4.3.1 disk full"),
        (".", "451 4.3.0 queue"),
    ] {
        let (delivery, peer) = to(NOTHING, "", on(start, Act::Say(text))).await;
        let (reason, after) = later(&delivery);
        assert!(reason.contains(&text[..3]) && after.is_none(), "{start}: {reason} {after:?}");
        assert!(peer.mails().is_empty());
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_mail_or_with_all_recipients_is_never_tried_again() {
    for (start, text) in
        [("RCPT", "550 5.1.1 no such user"), ("DATA", "554 5.5.1 no"), (".", "550 5.7.1 content refused")]
    {
        let (delivery, peer) = to(NOTHING, "", on(start, Act::Say(text))).await;
        assert!(never(&delivery).contains(&text[4..]), "{start}: {delivery:?}");
        assert!(peer.mails().is_empty());
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_server_or_the_sender_waits_to_be_mended() {
    for (start, text, told) in [
        ("", "554 5.7.1 your address is blocked", "blocked"),
        ("MAIL", "550 5.7.1 sender refused", "look at `sender`"),
        ("MAIL", "530 5.7.0 must log in", "look at `sender`, `user`"),
        ("RCPT", "530 5.7.0 must log in", "must log in"),
    ] {
        let (delivery, _) = to(NOTHING, "", on(start, Act::Say(text))).await;
        let (reason, after) = later(&delivery);
        assert!(reason.contains(told) && after == Some(MEND_TIME), "{start}: {reason} {after:?}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_or_falls_silent_is_tried_again() {
    for start in ["", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        let (delivery, _) = to(NOTHING, "", on(start, Act::Close)).await;
        later(&delivery);
        let dir = tempfile::tempdir().unwrap();
        let peer = Peer::start(NOTHING, on(start, Act::Silent));
        let mut email = email(&dir, &format!("smtp = \"smtp://{}\"", peer.address)).unwrap();
        email.time_max = Duration::from_millis(500);
        let (delivery, _) = deliver(&mut email, &notice("x")).await;
        assert!(later(&delivery).0.contains("did not answer within"), "{start}: {delivery:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut email = email(&dir, &format!("smtp = \"smtp://{address}\"")).unwrap();
    let (delivery, _) = deliver(&mut email, &notice("x")).await;
    assert!(later(&delivery).0.starts_with(&format!("{address}: ")), "{delivery:?}");
}

#[tokio::test]
async fn a_farewell_that_is_not_answered_does_not_take_the_mail_back() {
    let (delivery, peer) = to(NOTHING, "", on("QUIT", Act::Silent)).await;
    assert_eq!((delivery.settled, delivery.trouble), (1, None));
    assert_eq!(peer.mails().len(), 1);
}

#[tokio::test]
async fn a_recipient_who_is_gone_costs_the_others_nothing() {
    let (delivery, peer) = to(NOTHING, "", on("RCPT TO:<a@", Act::Say("550 5.1.1 gone"))).await;
    assert_eq!((delivery.settled, delivery.trouble), (1, None));
    assert_eq!(peer.mails()[0].to, ["b@example.org"]);
}

#[tokio::test]
async fn who_has_a_mail_does_not_get_it_again_when_another_must_wait() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start(NOTHING, |line, connection| {
        (line.starts_with("RCPT TO:<b@") && connection < 3).then_some(Act::Say("450 4.2.0 greylisted"))
    });
    let mut email = email(&dir, &format!("smtp = \"smtp://{}\"", peer.address)).unwrap();
    for _ in 0..2 {
        let (delivery, _) = deliver(&mut email, &notice("x")).await;
        assert!(later(&delivery).0.starts_with("b@example.org is refused"), "{delivery:?}");
    }
    assert_eq!(deliver(&mut email, &notice("x")).await.0.trouble, None);
    let got: Vec<Vec<String>> = peer.mails().into_iter().map(|mail| mail.to).collect();
    assert_eq!(got, [["a@example.org"], ["b@example.org"]]);
    let id = |at: usize| {
        peer.mails()[at].text.lines().find(|line| line.starts_with("Message-ID")).map(str::to_owned)
    };
    assert_eq!(id(0), id(1), "it is known as one mail");
    // The next notice goes to both.
    assert_eq!(deliver(&mut email, &notice("y")).await.0.trouble, None);
    assert_eq!(peer.mails()[2].to.len(), 2);
}

#[tokio::test]
async fn a_login_that_is_refused_waits_says_what_to_do_and_shows_no_password() {
    let keys = format!("user = \"hume\"\npassword = \"{PASSWORD}\"");
    let offer = Offer { auth: true, ..NOTHING };
    // Some servers repeat what they were given.
    let says = "535 5.7.8 not accepted: AHVtZQBodW50ZXIyLcOcbnNlY3JldA== hunter2-Ünsecret";
    let (delivery, peer) = to(offer, &keys, on("AUTH", Act::Say(says))).await;
    let (reason, after) = later(&delivery);
    assert!(reason.contains("(535): look at `user` and `password`"), "{reason}");
    assert_eq!(after, Some(MEND_TIME));
    assert!(peer.mails().is_empty());
    let (delivery, _) = to(offer, &keys, on("AUTH", Act::Say("454 4.7.0 not now"))).await;
    assert_eq!(later(&delivery).1, None);
    let (delivery, _) = to(NOTHING, &keys, |_, _| None).await;
    assert!(later(&delivery).0.contains("no way to log in"), "{delivery:?}");
    let (delivery, peer) = to(offer, &keys, |_, _| None).await;
    assert_eq!(delivery.trouble, None);
    assert!(
        peer.lines().contains(&"AUTH PLAIN AGh1bWUAaHVudGVyMi3DnG5zZWNyZXQ=".to_owned()),
        "{:?}",
        peer.lines()
    );
}

#[tokio::test]
async fn starttls_hides_the_mail_and_a_certificate_of_a_stranger_is_not_taken() {
    let offer = Offer { starttls: true, auth: true, is_wrapped: false };
    let login = format!("user = \"hume\"\npassword = \"{PASSWORD}\"");
    let (delivery, peer) =
        to(offer, &format!("starttls = \"required\"\nca = \"ca.pem\"\n{login}"), |_, _| None).await;
    assert_eq!(delivery.trouble, None);
    assert!(peer.mails()[0].is_encrypted);
    let (delivery, peer) = to(offer, "starttls = \"required\"", |_, _| None).await;
    let (reason, after) = later(&delivery);
    assert!(reason.contains("see `ca`") && after == Some(MEND_TIME), "{reason}");
    assert!(peer.mails().is_empty());
    // On this host, without a word about it.
    let (delivery, peer) = to(offer, "", |_, _| None).await;
    assert_eq!(delivery.trouble, None);
    assert!(peer.mails()[0].is_encrypted);
    let (_, peer) = to(offer, "starttls = \"none\"", |_, _| None).await;
    assert!(!peer.mails()[0].is_encrypted);
}

#[tokio::test]
async fn where_starttls_is_required_and_not_offered_there_is_no_mail_and_no_password() {
    let keys = format!("starttls = \"required\"\nuser = \"hume\"\npassword = \"{PASSWORD}\"");
    let (delivery, peer) = to(Offer { auth: true, ..NOTHING }, &keys, |_, _| None).await;
    assert!(later(&delivery).0.contains("does not offer STARTTLS"), "{delivery:?}");
    assert!(!peer.lines().iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")));
}

#[tokio::test]
async fn smtps_is_encrypted_from_the_first_byte() {
    let offer = Offer { is_wrapped: true, ..NOTHING };
    let (delivery, peer) = to(offer, "ca = \"ca.pem\"", |_, _| None).await;
    assert_eq!(delivery.trouble, None);
    assert!(peer.mails()[0].is_encrypted);
    let (delivery, _) = to(offer, "", |_, _| None).await;
    assert!(later(&delivery).0.contains("see `ca`"), "{delivery:?}");
}

#[test]
fn an_address_is_read_with_its_port() {
    let place_of = |text: &str| place(text).map(|place| (place.is_wrapped, place.host, place.port));
    let is = |is_wrapped, host: &str, port| Some((is_wrapped, host.to_owned(), port));
    assert_eq!(place_of("smtp://mail.example.org"), is(false, "mail.example.org", 25));
    assert_eq!(place_of("smtp://mail.example.org:587/"), is(false, "mail.example.org", 587));
    assert_eq!(place_of("smtps://mail"), is(true, "mail", 465));
    assert_eq!(place_of("smtp://[::1]:2525"), is(false, "::1", 2525));
    assert_eq!(place_of("smtps://[2001:db8::1]"), is(true, "2001:db8::1", 465));
    for wrong in [
        "mail:25",
        "http://mail",
        "smtp://",
        "smtp://mail:0",
        "smtp://mail:x",
        "smtp://u:p@mail",
        "smtp://[::1]x",
        "smtp://a b",
    ] {
        assert_eq!(place_of(wrong), None, "{wrong}");
    }
}

#[test]
fn what_cannot_be_meant_is_named_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let smtp = "smtp = \"smtp://mail.example.org\"";
    for (keys, told) in [
        (String::new(), "`smtp`: is missing"),
        (format!("{smtp}\nsendmail = \"/usr/sbin/sendmail\""), "`sendmail`: and `smtp` exclude each other"),
        ("sendmail = \"sendmail\"".to_owned(), "`sendmail`: is the whole path"),
        ("sendmail = \"/x\"\nuser = \"u\"".to_owned(), "`sendmail`: goes with `smtp`"),
        (format!("{smtp}\nuser = \"u\""), "`password`: is missing"),
        (format!("{smtp}\npassword = \"{PASSWORD}\""), "`user`: is missing"),
        (
            format!("{smtp}\nuser = \"u\"\npassword = {{ file = \"no\" }}"),
            "`password`: could not read the secret",
        ),
        (
            format!("{smtp}\nstarttls = \"opportunistic\"\nuser = \"u\"\npassword = \"{PASSWORD}\""),
            "`starttls`: must be `required`",
        ),
        ("smtp = \"smtps://mail\"\nstarttls = \"none\"".to_owned(), "`starttls`: goes with smtp://"),
        (format!("smtp = \"smtp://u:{PASSWORD}@mail\""), "`smtp`: is no address"),
        (format!("{smtp}\nca = \"no.pem\""), "`ca`: "),
    ] {
        let error = whole(email(&dir, &keys).err().unwrap_or_else(|| panic!("{keys} is taken")));
        assert!(error.starts_with(told) && !error.contains(PASSWORD), "{error}");
    }
    for (key, value) in [
        ("sender", "\"nobody\""),
        ("sender", "\"a@b\\nBcc: c@d\""),
        ("to", "[]"),
        ("to", "[\"ü@example.org\"]"),
    ] {
        let whole = config(smtp);
        let text = whole.lines().map(|line| {
            if line.starts_with(key) { format!("{key} = {value}\n") } else { format!("{line}\n") }
        });
        let error = open(dir.path(), &text.collect::<String>()).err().unwrap().to_string();
        assert!(error.starts_with(&format!("`{key}`: ")) && !error.contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn a_mail_is_as_the_document_shows_it() {
    let mut head = email(&tempfile::tempdir().unwrap(), "smtp = \"smtp://mail.example.org\"").unwrap().head;
    head.from = "hume <hume@example.org>".parse().unwrap();
    head.to = ["ops@example.org", "dba@example.org"].map(|to| to.parse().unwrap()).to_vec();
    let notice = Notice::of(documented());
    let mail = write(&notice, &Text::of(&notice, &head), &head, documented().event.time).unwrap();
    assert_documented(&String::from_utf8(mail).unwrap().replace("\r\n", "\n"));
}

#[tokio::test]
async fn a_template_words_the_mail_and_adds_no_header() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("templates/email");
    std::fs::create_dir_all(&folder).unwrap();
    let template = "Subject: {{ event.task }} {{ event.message }}\nBcc: all@example.org\n\n{{ level }}\n";
    std::fs::write(folder.join("mail_error.tpl"), template).unwrap();
    let peer = Peer::start(NOTHING, |_, _| None);
    let mut email = email(&dir, &format!("smtp = \"smtp://{}\"", peer.address)).unwrap();
    assert_eq!(deliver(&mut email, &notice("is down\nCc: x@y")).await.0.trouble, None);
    let text = peer.mails().remove(0).text;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nSubject: BACKUP is down\r\n"), "{head}");
    assert!(!head.contains("Bcc") && !head.contains("Cc:"), "{head}");
    assert!(body.ends_with("error\r\n"), "{body}");
}

/// A program in place of sendmail.
fn program(dir: &TempDir, script: &str) -> String {
    let path = dir.path().join("sendmail");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("sendmail = \"{}\"", path.display())
}

#[tokio::test]
async fn sendmail_gets_the_envelope_as_arguments_and_the_mail_as_input() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().display().to_string();
    let keys = program(&dir, &format!("printf '%s\\n' \"$@\" >{to}/args; cat >{to}/mail"));
    let mut email = email(&dir, &keys).unwrap();
    assert_eq!(deliver(&mut email, &notice("x")).await.0.trouble, None);
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("args"), "-i\n-f\nhume@example.org\n--\na@example.org\nb@example.org\n");
    assert!(read("mail").starts_with("From: hume@example.org\r\nSubject: [hume] error"), "{}", read("mail"));
}

#[tokio::test]
async fn the_code_of_sendmail_says_whether_it_is_tried_again() {
    let of = async |script: &str| {
        let dir = tempfile::tempdir().unwrap();
        let mut email = email(&dir, &program(&dir, script)).unwrap();
        email.time_max = Duration::from_secs(2);
        deliver(&mut email, &notice("x")).await.0
    };
    for code in SENDMAIL_NEVER {
        assert!(never(&of(&format!("echo unknown user >&2; exit {code}")).await).ends_with(": unknown user"));
    }
    assert_eq!(later(&of("exit 75").await).1, None);
    assert_eq!(later(&of("exit 1").await).1, Some(MEND_TIME));
    assert!(later(&of("kill -9 $$").await).0.contains("signal 9"));
    assert!(later(&of("while :; do :; done").await).0.contains("took more than 2 s"));
    let dir = tempfile::tempdir().unwrap();
    let mut email = email(&dir, "sendmail = \"/no/such/program\"").unwrap();
    let (delivery, _) = deliver(&mut email, &notice("x")).await;
    assert!(later(&delivery).0.contains("cannot be run"), "{delivery:?}");
}

//! Against aiosmtpd, a real SMTP server, with STARTTLS and a login.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use hume_core::Level;
use hume_runtime::clock;
use hume_runtime::pki::Authority;
use serde_json::Value;

use super::{PASSWORD, deliver, email};
use crate::notice::Notice;
use crate::testing::{skip, stored};

/// Prints its port, then each mail as one line of JSON as Python's own parser of mails reads it.
const SERVER: &str = r#"
import asyncio, email, email.policy, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 ok"
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None,
            "headers": [[name, str(value)] for name, value in mail.items()], "body": mail.get_content(),
            "defects": [str(defect) for defect in mail.defects]}), flush=True)
        return "250 kept"

def login(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and data.login == b"hume" and data.password.decode() == sys.argv[3]
    return AuthResult(success=good, handled=False) if not good else AuthResult(success=True)

tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(sys.argv[1], sys.argv[2])

async def main():
    make = lambda: SMTP(Handler(), tls_context=tls, require_starttls=True, auth_required=True, authenticator=login)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"#;

/// The Python that aiosmtpd runs with, by the first line of its program.
fn python() -> Option<String> {
    let folders = std::env::var_os("PATH")?;
    let program =
        std::env::split_paths(&folders).map(|dir| dir.join("aiosmtpd")).find(|path| path.is_file())?;
    let text = std::fs::read_to_string(program).ok()?;
    Some(text.lines().next()?.strip_prefix("#!")?.trim().to_owned())
}

struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
    port: String,
}

impl Server {
    fn start(python: &str, dir: &Path) -> Server {
        let mut words = python.split(' ');
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .args(["-c", SERVER, "cert.pem", "key.pem", PASSWORD])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).all(|line| to.send(line).is_ok()));
        let port = lines.recv_timeout(Duration::from_mins(1)).expect("aiosmtpd says its port");
        Server { child, lines, port }
    }

    fn mail(&self) -> Value {
        let line = self.lines.recv_timeout(Duration::from_mins(1)).expect("a mail came");
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn aiosmtpd_takes_the_mail_by_starttls_and_login_and_reads_it_as_it_was_meant() {
    let Some(python) = python() else { return skip("aiosmtpd is not installed") };
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create("mail.test", clock::now()).unwrap();
    let issued = authority.issue_server(&["127.0.0.1".to_owned()], &[], clock::now()).unwrap();
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    put("ca.pem", authority.certificate_pem());
    put("cert.pem", &issued.certificate_pem);
    put("key.pem", issued.key_pem.expose());
    put("password", PASSWORD);
    put("wrong", "wrong");
    let server = Server::start(&python, dir.path());
    let keys = |password: &str| {
        format!(
            "smtp = \"smtp://127.0.0.1:{}\"\nstarttls = \"required\"\nca = \"ca.pem\"\nuser = \"hume\"\n\
             password = {{ file = \"{password}\" }}",
            server.port
        )
    };
    let message = "größer als gedacht\n.\n.. und mehr\n\tEnde =?utf-8?q?x?=";
    let notices = [Notice::of(stored(Level::Error, "BÜRO", "db1", message))];
    let (delivery, _) = deliver(&mut email(&dir, &keys("wrong")).unwrap(), &notices).await;
    assert!(delivery.trouble.unwrap().reason().contains("look at `user` and `password`"));
    let (delivery, told) = deliver(&mut email(&dir, &keys("password")).unwrap(), &notices).await;
    assert_eq!(delivery.trouble, None, "{told}");
    let mail = server.mail();
    let header = |name: &str| {
        let all = mail["headers"].as_array().unwrap();
        all.iter().find(|pair| pair[0] == name).unwrap_or_else(|| panic!("{name} in {mail}"))[1]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(mail["to"], serde_json::json!(["a@example.org", "b@example.org"]));
    assert_eq!((&mail["tls"], &mail["from"]), (&true.into(), &"hume@example.org".into()));
    assert_eq!(mail["defects"], serde_json::json!([]));
    assert_eq!(header("Subject"), "[hume] error: BÜRO on db1: größer als gedacht");
    assert_eq!(header("X-Hume-Task"), "BÜRO");
    let body = mail["body"].as_str().unwrap().replace("\r\n", "\n");
    assert!(body.starts_with(&format!("{message}\n\nLevel ")), "{mail}");
    assert!(body.ends_with("transfer mail\n"), "{mail}");
}

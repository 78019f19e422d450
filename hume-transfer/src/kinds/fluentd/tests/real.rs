//! Against the server of the Fluent project's own library for Node, where that is installed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use super::{KEY, PASSWORD, deliver, fluentd, notices};
use crate::transfer::Delivery;

/// The folder of an installed `@fluent-org/logger`. It is no package of Debian, so without the variable the test says so and is over.
const LIBRARY: &str = "HUME_FLUENT_LOGGER";

/// Prints its port, then every entry as one line of JSON.
const SERVER: &str = r#"
const { FluentServer } = require(process.argv[1]);
const server = new FluentServer({ listenOptions: { port: 0, host: "127.0.0.1" }, security: {
  serverHostname: "logs.example.org", sharedKey: process.argv[2], authorize: true, userDict: { hume: process.argv[3] } } });
server.on("entry", (tag, time, record) => console.log(JSON.stringify({ tag, time: time.toString(), seconds: time.epoch, record })));
server.listen().then(() => console.log(server.port));
"#;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn the_server_of_the_fluent_library_lets_us_in_and_understands_what_it_gets() {
    let Some(library) = std::env::var_os(LIBRARY).map(PathBuf::from) else {
        println!("not made: {LIBRARY} does not name an installed library");
        return;
    };
    let mut child = Command::new("node")
        .arg("-e")
        .arg(SERVER)
        .arg(library)
        .args([KEY, PASSWORD])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (to, lines) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    let _server = Server(child);
    std::thread::spawn(move || out.lines().map_while(Result::ok).all(|line| to.send(line).is_ok()));
    let line = || lines.recv_timeout(Duration::from_mins(1)).expect("the server says something");
    let address = format!("tcp://127.0.0.1:{}", line());
    let dir = tempfile::tempdir().unwrap();
    let login =
        |password: &str| format!("shared_key = \"{KEY}\"\nuser = \"hume\"\npassword = \"{password}\"");
    let batch = notices(&["größer", "two"]);
    let refused = deliver(&mut fluentd(&dir, &address, &login("wrong")), &batch).await;
    assert!(refused.trouble.unwrap().reason().contains("look at `shared_key`, `user` and `password`"));
    let mut transfer = fluentd(&dir, &address, &login(PASSWORD));
    for _ in 0..2 {
        assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
        for text in ["größer", "two"] {
            let entry: Value = serde_json::from_str(&line()).unwrap();
            assert_eq!(entry["tag"], "hume.error.BACKUP");
            assert_eq!(entry["record"]["text"], text);
            assert_eq!(entry["record"]["event"]["host"], "db1");
            assert_eq!(entry["seconds"], 1_764_000_000, "{entry}");
        }
    }
}

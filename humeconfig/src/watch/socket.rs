//! One declaration to the agent of this host: a line in, an answer out.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hume_core::EventId;
use hume_core::event::LINE_BYTES_MAX;
use hume_core::watch::EXPECT_KEY;
use hume_proto::intake::{AnswerLine, DraftLine, Pairs, SocketToken};
use hume_runtime::{clock, random};

use crate::failure::Failure;

/// The agent answers within this time, or not at all.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
const SOCKET: &str = "/run/hume/hume.sock";

/// The agent of this host.
pub(super) struct Agent {
    socket: PathBuf,
}

impl Agent {
    /// At this socket, or where `hume` looks for it.
    pub(super) fn at(socket: Option<&Path>) -> Agent {
        let said = socket.map(Path::to_owned);
        let known = || std::env::var_os("HUME_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from);
        Agent { socket: said.or_else(known).unwrap_or_else(|| PathBuf::from(SOCKET)) }
    }

    /// Says when a task is expected.
    /// # Errors
    /// [`Failure::AgentUnreachable`], [`Failure::AgentRefused`].
    pub(super) fn declare(&self, task: &str, host: Option<&str>, text: &str) -> Result<(), Failure> {
        let now = clock::now();
        let line = DraftLine {
            id: Some(EventId::mint(now, random::bytes()).to_string()),
            time: Some(now.to_string()),
            task: task.to_owned(),
            host: host.map(str::to_owned),
            extra: Pairs(vec![(EXPECT_KEY.to_owned(), text.to_owned())]),
            token: std::env::var("HUME_TOKEN").ok().filter(|token| !token.is_empty()).map(SocketToken),
            ..DraftLine::default()
        };
        let answer = self
            .ask(&line)
            .map_err(|source| Failure::AgentUnreachable { socket: self.socket.clone(), source })?;
        match answer.class() {
            None => Ok(()),
            Some(class) => {
                let detail = answer.error.unwrap_or_else(|| "it gives no reason".to_owned());
                Err(Failure::AgentRefused { class, detail })
            }
        }
    }

    fn ask(&self, line: &DraftLine) -> io::Result<AnswerLine> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        stream.write_all(&bytes)?;
        let mut answer = String::new();
        BufReader::new(stream.take(LINE_BYTES_MAX as u64)).read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }
}

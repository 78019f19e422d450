//! Syslog of this host: journald with all fields where it runs, else the daemon behind `/dev/log`.
//!
//! Both take a datagram as soon as it is sent: it waits in the kernel for the daemon, and is lost if that dies before it reads. A full
//! queue is waited for.

mod journal;

use std::io;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use serde::Deserialize;
use tokio::net::UnixDatagram;
use tokio::time::{Instant, timeout_at};

use crate::notice::Notice;
use crate::options::options;
use crate::syslog_text::{self, Facility, Format, Ident, Manners, Reader};
use crate::transfer::{
    BoxFuture, DELIVERY_TIME_MAX, Delivery, Manner, OpenError, Setting, Trail, Transfer, Trouble,
};

pub(super) const MANNER: Manner = Manner::PIPELINE;

options! {
    /// `[transfer.NAME.syslog]`
    pub struct Options {
        /// Which daemon is told.
        #[serde(default)]
        pub to: To,
        /// journald's socket.
        #[serde(default = "journal_socket_default")]
        pub journal_socket: PathBuf,
        /// The socket of other syslog daemons.
        #[serde(default = "socket_default")]
        pub socket: PathBuf,
        /// How a message is written to `socket`.
        #[serde(default = "format_default")]
        pub format: Format,
        /// The facility of every message.
        #[serde(default = "facility_default")]
        pub facility: Facility,
        /// The program's name in every message.
        #[serde(default = "Ident::hume")]
        pub ident: Ident,
        /// The number behind the names of structured data.
        #[serde(default = "enterprise_default")]
        pub enterprise: u32,
        /// Longest message to `socket`.
        #[serde(default = "bytes_max_default")]
        pub bytes_max: usize,
    }
}

/// Which daemon is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum To {
    /// journald where its socket is, else `socket`.
    #[default]
    Auto,
    /// journald, with all fields.
    Journal,
    /// The daemon behind `socket`.
    Socket,
}

fn journal_socket_default() -> PathBuf {
    "/run/systemd/journal/socket".into()
}

fn socket_default() -> PathBuf {
    "/dev/log".into()
}

fn format_default() -> Format {
    Format::Rfc3164
}

fn facility_default() -> Facility {
    Facility::DAEMON
}

fn enterprise_default() -> u32 {
    syslog_text::ENTERPRISE
}

fn bytes_max_default() -> usize {
    syslog_text::BYTES_MAX
}

pub(super) fn open(options: &Options, setting: &Setting<'_>) -> Result<Box<dyn Transfer>, OpenError> {
    Ok(Box::new(local(options, setting)?))
}

fn local(options: &Options, setting: &Setting<'_>) -> Result<Local, OpenError> {
    let Options { to, journal_socket, socket, format, facility, ident, enterprise, bytes_max, .. } = options;
    let resolve = |path: &Path| hume_runtime::config::resolve(setting.config_file, path);
    let doors = match to {
        To::Auto => vec![Door::Journal(resolve(journal_socket)), Door::Socket(resolve(socket))],
        To::Journal => vec![Door::Journal(resolve(journal_socket))],
        To::Socket => vec![Door::Socket(resolve(socket))],
    };
    let manners = Manners {
        facility: *facility,
        ident: ident.clone(),
        enterprise: *enterprise,
        bytes_max: syslog_text::bytes_max(Some(*bytes_max), syslog_text::BYTES_MAX)?,
        zone: TimeZone::system(),
    };
    Ok(Local { doors, format: *format, manners, open: None })
}

struct Local {
    /// Tried in this order.
    doors: Vec<Door>,
    format: Format,
    manners: Manners,
    open: Option<(Door, UnixDatagram)>,
}

#[derive(Clone, Debug)]
enum Door {
    Journal(PathBuf),
    Socket(PathBuf),
}

impl Door {
    fn path(&self) -> &Path {
        match self {
            Door::Journal(path) | Door::Socket(path) => path,
        }
    }
}

impl Transfer for Local {
    fn deliver<'a>(&'a mut self, notices: &'a [Notice], trail: &'a mut Trail) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            let deadline = Instant::now() + DELIVERY_TIME_MAX;
            for (settled, notice) in notices.iter().enumerate() {
                if let Err(reason) = self.send(notice, deadline, trail).await {
                    return Delivery::stopped(settled, Trouble::later(reason));
                }
            }
            trail.say(|| format!("sent {} datagrams", notices.len()));
            Delivery::all(notices)
        })
    }

    fn preview(&self, notice: &Notice) -> String {
        match self.doors.first() {
            Some(Door::Journal(_)) => {
                String::from_utf8_lossy(&journal::entry(notice, &self.manners)).into_owned()
            }
            Some(Door::Socket(_)) | None => self.line(notice),
        }
    }
}

impl Local {
    fn line(&self, notice: &Notice) -> String {
        match self.format {
            Format::Rfc5424 => syslog_text::rfc5424(notice, &self.manners),
            Format::Rfc3164 => syslog_text::rfc3164(notice, &self.manners, Reader::Local),
        }
    }

    /// The reason if it was not taken.
    async fn send(&mut self, notice: &Notice, deadline: Instant, trail: &mut Trail) -> Result<(), String> {
        // A daemon that was started anew has a new socket; what the old one refuses, nobody has.
        if let Some((door, socket)) = self.open.take()
            && self.send_to(&door, &socket, notice, deadline).await.is_ok()
        {
            self.open = Some((door, socket));
            return Ok(());
        }
        let (door, socket) = self.connect(trail)?;
        self.send_to(&door, &socket, notice, deadline)
            .await
            .map_err(|error| format!("{}: {error}", door.path().display()))?;
        self.open = Some((door, socket));
        Ok(())
    }

    async fn send_to(
        &self,
        door: &Door,
        socket: &UnixDatagram,
        notice: &Notice,
        deadline: Instant,
    ) -> io::Result<()> {
        let sent = match door {
            Door::Journal(_) => {
                let entry = journal::entry(notice, &self.manners);
                timeout_at(deadline, journal::send(socket, &entry)).await
            }
            Door::Socket(_) => {
                let text = self.line(notice);
                timeout_at(deadline, async { socket.send(text.as_bytes()).await.map(|_| ()) }).await
            }
        };
        sent.unwrap_or_else(|_| Err(io::Error::other("the daemon did not take it in time")))
    }

    fn connect(&self, trail: &mut Trail) -> Result<(Door, UnixDatagram), String> {
        let mut reasons = Vec::new();
        for door in &self.doors {
            let socket = UnixDatagram::unbound().and_then(|socket| {
                socket.connect(door.path())?;
                Ok(socket)
            });
            match socket {
                Ok(socket) => {
                    trail.say(|| format!("sending to {}", door.path().display()));
                    return Ok((door.clone(), socket));
                }
                Err(error) => reasons.push(format!("{}: {error}", door.path().display())),
            }
        }
        Err(reasons.join("; "))
    }
}

#[cfg(test)]
mod tests;

//! journald's native protocol: fields with names and values in one datagram, or in a sealed memory file when that is too small.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::facts::facts;
use crate::notice::Notice;
use crate::syslog_text::{Manners, severity};

/// journald takes no longer names of fields.
const NAME_BYTES_MAX: usize = 64;

/// One entry. Each fact is a field `HUME_…`, each extra of the event a field `HUME_EXTRA_…`.
pub(super) fn entry(notice: &Notice, manners: &Manners) -> Vec<u8> {
    let event = &notice.event.event;
    let mut entry = Vec::with_capacity(1024);
    add(&mut entry, "MESSAGE", &notice.text());
    add(&mut entry, "PRIORITY", &severity(notice.level()).to_string());
    add(&mut entry, "SYSLOG_FACILITY", &manners.facility.number().to_string());
    add(&mut entry, "SYSLOG_IDENTIFIER", manners.ident.as_str());
    if let Some(pid) = event.process.pid {
        add(&mut entry, "SYSLOG_PID", &pid.to_string());
    }
    add(&mut entry, "HUME_TIME", &event.time.to_string());
    for (name, value) in facts(notice) {
        add(&mut entry, &field("HUME_", name), &value);
    }
    for (name, value) in &event.extra {
        add(&mut entry, &field("HUME_EXTRA_", name), value);
    }
    entry
}

/// A name of capital letters, digits and `_`.
fn field(prefix: &str, name: &str) -> String {
    let allowed = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    prefix.chars().chain(allowed).take(NAME_BYTES_MAX).collect()
}

/// `NAME=value`, or the name, the value's length and the value, when that has line breaks.
fn add(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

/// Sends an entry, and waits while the queue is full.
pub(super) async fn send(socket: &UnixDatagram, entry: &[u8]) -> io::Result<()> {
    match socket.send(entry).await {
        Ok(_) => Ok(()),
        Err(error) if is_too_large(&error) => {
            let file = sealed(entry)?;
            socket.async_io(Interest::WRITABLE, || hand_over(socket, &file)).await
        }
        Err(error) => Err(error),
    }
}

fn is_too_large(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MSGSIZE | Errno::NOBUFS))
}

/// A file in memory that nobody can change, as journald demands.
fn sealed(entry: &[u8]) -> io::Result<File> {
    let file = memfd_create("hume", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(file);
    file.write_all(entry)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(file)
}

fn hand_over(socket: &UnixDatagram, file: &File) -> io::Result<()> {
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    if !attached.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("no room for the file"));
    }
    sendmsg(socket, &[IoSlice::new(&[])], &mut attached, SendFlags::NOSIGNAL)?;
    Ok(())
}

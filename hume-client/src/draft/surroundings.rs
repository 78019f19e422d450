//! Where and when the caller is, and ids whose order is the order in which one process minted them.
//!
//! The only place of this crate that reads the clock of the wall.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hume_core::{EventId, Timestamp};
use hume_proto::intake::CallerLine;
use rustix::process::Pid;
use rustix::rand::GetRandomFlags;
use rustix::time::ClockId;

use super::caller_text;

/// Where and when the caller is, and the id of the event that it will report.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(super) time: Timestamp,
    pub(super) caller: CallerLine,
    /// What the id is made of: never before the one of an earlier id of this process.
    millis_time: Timestamp,
    random: [u8; 10],
}

impl Surroundings {
    /// Reads clocks, ids and working folder of this process.
    pub(crate) fn capture() -> Surroundings {
        let boottime_ns = boottime_ns();
        let time = now();
        let pid = rustix::process::getpid();
        let number = |pid: Pid| pid.as_raw_nonzero().get().unsigned_abs();
        let caller = CallerLine {
            pid: Some(number(pid)),
            ppid: rustix::process::getppid().map(number),
            session: session(),
            cwd: std::env::current_dir().ok().as_deref().map(path_text),
            boottime_us: Some(boottime_ns / 1000),
            ..CallerLine::default()
        };
        Surroundings { time, caller, millis_time: time, random: random(number(pid), boottime_ns) }
    }

    /// The same process, now: for its next event. Its id sorts after the one before, within one millisecond and even when
    /// the clock went back, so that files of the drop folder keep the order in which things happened.
    pub(crate) fn later(&self) -> Surroundings {
        self.at(now(), boottime_ns() / 1000)
    }

    fn at(&self, time: Timestamp, boottime_us: u64) -> Surroundings {
        let mut random = self.random;
        let [_, _, count @ ..] = &mut random;
        *count = u64::from_be_bytes(*count).wrapping_add(1).to_be_bytes();
        Surroundings {
            time,
            caller: CallerLine { boottime_us: Some(boottime_us), ..self.caller.clone() },
            millis_time: self.millis_time.max(time),
            random,
        }
    }

    /// The id of the event.
    pub(crate) fn id(&self) -> EventId {
        EventId::mint(self.millis_time, self.random)
    }
}

fn path_text(path: &Path) -> String {
    caller_text(path.as_os_str())
}

/// The session of this process; none when its leader lies outside the container's process namespace, or when no session
/// was ever made (a child of a bare init): the kernel calls both 0.
fn session() -> Option<u32> {
    // rustix takes 0 for impossible here, and panics.
    let session = nix::unistd::getsid(None).ok()?;
    u32::try_from(session.as_raw()).ok().filter(|&number| number != 0)
}

fn boottime_ns() -> u64 {
    let boottime = rustix::time::clock_gettime(ClockId::Boottime);
    u64::try_from(boottime.tv_sec).unwrap_or(0) * 1_000_000_000 + boottime.tv_nsec.unsigned_abs()
}

#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the clock")]
fn now() -> Timestamp {
    let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    };
    Timestamp::from_micros(micros)
}

/// Ten random bytes.
fn random(pid: u32, boottime_ns: u64) -> [u8; 10] {
    let mut bytes = [0_u8; 10];
    match rustix::rand::getrandom(&mut bytes, GetRandomFlags::NONBLOCK) {
        Ok(count) if count == bytes.len() => bytes,
        Ok(_) | Err(_) => scarce(pid, boottime_ns),
    }
}

/// In place of random bytes while the kernel has none yet, early at boot: no script may wait for them, and a pid with the
/// nanoseconds since boot tells the events of one host apart as well.
fn scarce(pid: u32, boottime_ns: u64) -> [u8; 10] {
    let mut bytes = [0_u8; 10];
    let [_, _, nanos @ ..] = boottime_ns.to_be_bytes();
    bytes[..6].copy_from_slice(&nanos);
    bytes[6..].copy_from_slice(&pid.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_random_bytes_pid_and_boot_time_tell_ids_apart() {
        let one = scarce(7, 0x0102_0304_0506_0708);
        assert_eq!(one, [3, 4, 5, 6, 7, 8, 0, 0, 0, 7]);
        assert_ne!(one, scarce(8, 0x0102_0304_0506_0708));
    }

    #[test]
    fn ids_of_one_process_sort_as_they_were_minted_also_when_the_clock_goes_back() {
        let mut surroundings = Surroundings { random: [0x7f; 10], ..Surroundings::capture() };
        let mut ids = vec![surroundings.id()];
        let start = surroundings.time.as_micros();
        for step in [0, 0, 1, 500, -60_000_000, -60_000_000, 2_000_000] {
            surroundings = surroundings.at(Timestamp::from_micros(start + step), 7);
            assert_eq!(surroundings.time.as_micros(), start + step, "the time is told as it is");
            ids.push(surroundings.id());
        }
        let mut sorted = ids.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted, ids);
    }

    #[test]
    fn ten_thousand_ids_are_all_different_and_in_order() {
        let mut surroundings = Surroundings::capture();
        for _ in 0..10_000 {
            let next = surroundings.later();
            assert!(surroundings.id() < next.id());
            surroundings = next;
        }
    }
}

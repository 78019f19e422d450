//! Events as they come: one question after the other, each from where the last one ended, so there is no hole and no double.
//!
//! A question waits at the daemon for at most [`WAIT`]. A lost connection is said once and tried again, with pauses that
//! double from one second to [`PAUSE_MAX`], for ever; what cannot heal by waiting ends it.

use std::io::{self, Write};
use std::time::Duration;

use hume_core::page::{After, PAGE_ITEMS_MAX};
use hume_proto::rest::{EventList, EventQuery, WAIT_SECONDS_MAX};

use crate::ask::AskError;
use crate::client::{Client, ClientError};
use crate::question::Follow;
use crate::render::Stream;
use crate::talk::sentence;

/// How long a question waits for an event: less than what proxies bear.
pub const WAIT: Duration = Duration::from_secs(25);
/// Longest pause between two tries.
pub const PAUSE_MAX: Duration = Duration::from_secs(30);

const _: () = assert!(WAIT.as_secs() <= WAIT_SECONDS_MAX);

/// Shows events until `--limit` is reached or the reader hangs up. `talk` hears of a connection that is lost, and of its
/// return.
///
/// # Errors
/// [`AskError::Client`] when the first question has no answer, or for what no waiting heals; [`AskError::Write`].
pub async fn follow(
    client: &Client,
    follow: &Follow,
    stream: &mut Stream,
    to: &mut dyn Write,
    talk: &dyn Fn(&str),
) -> Result<(), AskError> {
    let Follow { query, from, limit } = follow;
    let mut at = *from;
    let mut left = *limit;
    let mut items = PAGE_ITEMS_MAX;
    let mut was_answered = false;
    let mut failures = 0;
    loop {
        let wanted = left.map_or(items, |left| usize::try_from(left).unwrap_or(usize::MAX).min(items));
        let query = EventQuery {
            after: Some(at.to_string()),
            wait: Some(WAIT.as_secs()),
            limit: Some(wanted),
            ..query.clone()
        };
        match client.get_within::<_, EventList>("events", &query, WAIT).await {
            Ok(list) => {
                if failures > 0 {
                    talk("connected again");
                }
                (was_answered, failures) = (true, 0);
                at = next(client, &list)?;
                stream.write(&list.events, to)?;
                to.flush()?;
                left = left.map(|left| left.saturating_sub(list.events.len() as u64));
                if left == Some(0) || reader_is_gone() {
                    return Ok(());
                }
            }
            Err(ClientError::TooLarge { .. }) if wanted > 1 => items = wanted / 2,
            Err(error) if was_answered && error.may_pass() => {
                if failures == 0 {
                    talk(&format!("{}; trying again until there is an answer", sentence(&error)));
                }
                failures += 1;
                tokio::time::sleep(pause(failures)).await;
                if reader_is_gone() {
                    return Ok(());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn next(client: &Client, list: &EventList) -> Result<After, ClientError> {
    let wrong = || ClientError::Pages { url: client.name("events"), what: "it is not said where to go on" };
    let next = list.next.as_deref().ok_or_else(wrong)?;
    next.parse().map(After::Cursor).map_err(|_| wrong())
}

/// Before the try after so many failures.
fn pause(failures: u32) -> Duration {
    Duration::from_secs(1_u64 << failures.saturating_sub(1).min(5)).min(PAUSE_MAX)
}

/// True when nobody reads what is written: without events no write would tell.
fn reader_is_gone() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = io::stdout();
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = PollFlags::ERR | PollFlags::HUP;
    poll(&mut watched, Some(&now)).is_ok() && watched[0].revents().intersects(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_one_second_to_thirty() {
        let seconds: Vec<u64> = (1..=8).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }
}

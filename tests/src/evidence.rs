//! What the master's store holds, as one looks at it: every event in order of its arrival, every epoch and every gap.
//!
//! Events come from `/api/v1`; epochs and gaps, which no answer lists, out of the file of a master that has stopped.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hume_runtime::sqlite;
use serde_json::Value;

use crate::ledger::{Print, key_of, print_of};
use crate::{Master, events};

/// Events of one page.
const PAGE: usize = 1_000;

/// An event at the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The agent's id.
    pub agent: String,
    /// Where it was reported.
    pub host: String,
    /// Its sequence space.
    pub epoch: String,
    /// Its place there.
    pub seq: u64,
    /// Its own id.
    pub id: String,
    /// The first word of its message; none when nobody reported it.
    pub key: Option<String>,
    /// Of what it says.
    pub print: Print,
}

/// A sequence space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochRow {
    /// The agent's id.
    pub agent: String,
    /// Its name.
    pub epoch: String,
    /// All through this place is there or told of.
    pub acked: u64,
}

/// Places that hold no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The agent's id.
    pub agent: String,
    /// Their epoch.
    pub epoch: String,
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// Why.
    pub reason: String,
}

impl Gap {
    /// Whether an event is gone. Those that were moved into the epoch are at another place.
    pub fn is_loss(&self) -> bool {
        self.reason != "restamped"
    }
}

/// All that the oracle looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// In order of arrival.
    pub stored: Vec<Stored>,
    /// Every epoch of every agent.
    pub epochs: Vec<EpochRow>,
    /// Every gap.
    pub gaps: Vec<Gap>,
    /// The agents by their hosts.
    pub agents: BTreeMap<String, String>,
}

impl Evidence {
    /// Asks the master for all it has, and stops it to look into its file.
    pub fn gather(master: &Master) -> Evidence {
        let stored = stored(master);
        assert_eq!(master.stop(), 0, "the master stops cleanly");
        Evidence { stored, ..tables(master) }
    }
}

/// Everything the master has, oldest first.
pub fn stored(master: &Master) -> Vec<Stored> {
    let (mut found, mut path) = (Vec::new(), format!("/api/v1/events?limit={PAGE}&kind=all"));
    loop {
        let page = master.get_socket(&path).json();
        found.extend(events::items(&page, "events").iter().map(stored_of));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/events?limit={PAGE}&kind=all&cursor={next}"),
            None => break,
        }
    }
    found.reverse();
    found
}

fn stored_of(event: &Value) -> Stored {
    let text = |field| events::text(event, field).to_owned();
    Stored {
        agent: text("agent"),
        host: text("host"),
        epoch: text("epoch"),
        seq: event["seq"].as_u64().expect("a place is a number"),
        id: text("id"),
        key: (event["kind"] == "reported").then(|| key_of(events::text(event, "message")).to_owned()),
        print: print_of(event),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A UUID as it is written.
fn uuid(bytes: &[u8]) -> String {
    let hex = hex(bytes);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| hex.get(part).unwrap_or_default());
    parts.join("-")
}

/// What only the file tells. Nobody may be writing to it.
fn tables(master: &Master) -> Evidence {
    let connection = sqlite::open_still(&master.store()).expect("a store can be read");
    let mut evidence = Evidence::default();
    let mut select = connection
        .prepare(
            "SELECT agent.id, epoch, acked FROM epoch JOIN agent ON agent.no = agent_no ORDER BY epoch.no",
        )
        .expect("the tables are there");
    let rows = select.query_map([], |row| {
        let (agent, epoch): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let acked = row.get::<_, i64>(2)?.unsigned_abs();
        Ok(EpochRow { agent: uuid(&agent), epoch: hex(&epoch), acked })
    });
    evidence.epochs.extend(rows.expect("it can be read").map(|row| row.expect("it can be read")));
    let mut select = connection
        .prepare(
            "SELECT agent.id, epoch, from_seq, to_seq, reason FROM gap JOIN epoch ON epoch.no = epoch_no \
             JOIN agent ON agent.no = agent_no ORDER BY epoch_no, from_seq",
        )
        .expect("the tables are there");
    let rows = select.query_map([], |row| {
        let (agent, epoch): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let (from, to) = (row.get::<_, i64>(2)?.unsigned_abs(), row.get::<_, i64>(3)?.unsigned_abs());
        Ok(Gap { agent: uuid(&agent), epoch: hex(&epoch), from, to, reason: row.get(4)? })
    });
    evidence.gaps.extend(rows.expect("it can be read").map(|row| row.expect("it can be read")));
    let mut select = connection.prepare("SELECT host, id FROM agent").expect("the tables are there");
    let rows = select.query_map([], |row| Ok((row.get(0)?, uuid(&row.get::<_, Vec<u8>>(1)?))));
    evidence.agents.extend(rows.expect("it can be read").map(|row| row.expect("it can be read")));
    evidence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_the_api_writes_them() {
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(uuid(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(hex(&bytes), "000102030405060708090a0b0c0d0e0f");
    }
}

//! What is to be written for a parcel: pure, one entry for each place, none left out.
//!
//! Bytes that are no event, and events of hosts that the agent may not report for, become an entry for the quarantine: their place is taken, their content kept, the stream goes
//! on.

use hume_core::host_patterns::HostPatterns;
use hume_core::{AgentId, Epoch, Seq, Timestamp};
use hume_proto::event::{DecodeError, EventBytes};
use hume_proto::relay::{Batch, Gap, Quarantined};

use crate::store::{Admission, Content, Entry, SessionNo};

/// Consecutive places of one epoch, as they came.
#[derive(Clone, Debug, PartialEq)]
pub enum Parcel {
    /// With events.
    Batch(Batch),
    /// Without.
    Gap(Gap),
}

impl Parcel {
    /// Their epoch.
    pub fn epoch(&self) -> Epoch {
        match self {
            Parcel::Batch(batch) => batch.epoch,
            Parcel::Gap(gap) => gap.epoch,
        }
    }

    /// The last place.
    pub fn last(&self) -> Seq {
        match self {
            Parcel::Batch(batch) => batch.last(),
            Parcel::Gap(gap) => gap.to,
        }
    }

    /// Bytes of the events.
    pub fn bytes(&self) -> usize {
        match self {
            Parcel::Batch(batch) => batch.bytes(),
            Parcel::Gap(_) => 0,
        }
    }
}

/// The admission of a parcel.
pub(super) fn plan(
    (agent, hosts): (AgentId, &HostPatterns),
    session: SessionNo,
    parcel: Parcel,
    now: Timestamp,
) -> Admission {
    let (epoch, first, content) = match parcel {
        Parcel::Batch(Batch { epoch, first, events, codec: _ }) => {
            (epoch, first, Content::Entries(events.into_iter().map(|body| entry(body, hosts)).collect()))
        }
        Parcel::Gap(Gap { epoch, from, to, reason }) => (epoch, from, Content::Gap { through: to, reason }),
    };
    Admission { agent, session, epoch, first, arrived_at: now, content }
}

fn entry(body: EventBytes, hosts: &HostPatterns) -> Entry {
    match body.decode() {
        Ok(event) if !hosts.allow(&event.host) => Entry::Quarantined {
            code: "host",
            detail: format!("the agent may not report for host \"{}\"", event.host),
            body,
        },
        Ok(event) => Entry::Event { event: Box::new(event), body },
        Err(error) => Entry::Quarantined { code: code(&error), detail: error.to_string(), body },
    }
}

fn code(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::Shape(_) => "shape",
        DecodeError::Missing(_) => "missing",
        DecodeError::Bound(_) => "bound",
        DecodeError::TooLong(_) => "too_long",
    }
}

/// What of an admission goes into quarantine.
pub(super) fn quarantined(admission: &Admission) -> Vec<Quarantined> {
    let Content::Entries(entries) = &admission.content else { return Vec::new() };
    let of = |(offset, entry): (u64, &Entry)| match entry {
        Entry::Event { .. } => None,
        Entry::Quarantined { code, detail, .. } => Some(Quarantined {
            epoch: admission.epoch,
            seq: admission.first.plus(offset),
            code: (*code).to_owned(),
            detail: detail.clone(),
        }),
    };
    (0..).zip(entries).filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hume_proto::relay::Codec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_place_gets_an_entry_whatever_the_bytes_are(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 1..20),
        ) {
            let events: Vec<_> = bodies.iter().cloned().map(EventBytes::from_raw).collect();
            let batch = Batch { epoch: Epoch::from_bytes([1; 16]), first: Seq::new(5).unwrap(), events, codec: Codec::Identity };
            let agent = AgentId::from_bytes([2; 16]);
            let admission = plan((agent, &HostPatterns::any()), SessionNo(1), Parcel::Batch(batch), Timestamp::EPOCH);
            let set_aside = quarantined(&admission);
            let Content::Entries(entries) = admission.content else { panic!("a batch became a gap") };
            prop_assert_eq!(entries.len(), bodies.len());
            for (entry, body) in entries.iter().zip(&bodies) {
                let (Entry::Event { body: kept, .. } | Entry::Quarantined { body: kept, .. }) = entry;
                prop_assert_eq!(kept.as_slice(), body.as_slice());
            }
            let count = entries.iter().filter(|entry| matches!(entry, Entry::Quarantined { .. })).count();
            prop_assert_eq!(set_aside.len(), count);
            prop_assert!(set_aside.iter().all(|one| one.seq.get() >= 5 && one.seq.get() < 5 + bodies.len() as u64));
        }
    }

    #[test]
    fn an_event_of_a_host_that_the_agent_may_not_report_for_is_set_aside_by_name() {
        let event = |host: &str| {
            let (id, host) =
                (hume_core::EventId::from_bytes([1; 16]), hume_core::HostName::parse(host).unwrap());
            EventBytes::encode(&hume_core::Event::new(id, host, Timestamp::EPOCH))
        };
        let events = vec![event("web1"), event("bank"), event("printer-3")];
        let batch = Batch {
            epoch: Epoch::from_bytes([1; 16]),
            first: Seq::new(5).unwrap(),
            events,
            codec: Codec::Identity,
        };
        let hosts = HostPatterns::from_texts(["web1", "printer-*"]);
        let agent = (AgentId::from_bytes([2; 16]), &hosts);
        let set_aside = quarantined(&plan(agent, SessionNo(1), Parcel::Batch(batch), Timestamp::EPOCH));
        let told: Vec<_> = set_aside.iter().map(|one| (one.seq.get(), one.code.as_str())).collect();
        assert_eq!(told, [(6, "host")]);
        assert_eq!(set_aside[0].detail, "the agent may not report for host \"bank\"");
    }
}

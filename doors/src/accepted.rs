//! What an agent accepts of a draft: the events that it would write into its spool, each of which must be able to travel.

use std::sync::Arc;

use hume_core::event::{Draft, Process, SURROUNDINGS_BYTES_MAX, USER_BYTES_MAX};
use hume_core::name::BootId;
use hume_core::policy::Policies;
use hume_core::process::{Chain, Link, ProcessRef};
use hume_core::{EventId, HostName, RunId, Timestamp};
use humed_agent::runs::{Mint, Moment, Processes, Reporter, RunTable, Submission};

use crate::event::understood;

/// 2026, as far as it matters.
const NOW: Moment = Moment { time: Timestamp::EPOCH, boot_us: 1_000_000_000 };

/// Ids that count.
#[derive(Default)]
struct Count(u8);

impl Mint for Count {
    fn event(&mut self, _: Timestamp) -> EventId {
        self.0 = self.0.wrapping_add(1);
        EventId::from_bytes([self.0; 16])
    }

    fn run(&mut self, _: Timestamp) -> RunId {
        self.0 = self.0.wrapping_add(1);
        RunId::from_bytes([self.0; 16])
    }
}

/// All are alive.
struct Alive;

impl Processes for Alive {
    fn is_alive(&self, _: ProcessRef) -> bool {
        true
    }

    fn survivors(&self, _: ProcessRef) -> Vec<String> {
        Vec::new()
    }
}

/// Takes the draft twice, as of a caller with the longest names there are; the second may end the run of the first.
pub(crate) fn accepted(draft: &Draft) {
    assert_eq!(draft.clone().check().as_ref(), Ok(draft), "a draft that was read is within its bounds");
    let mut table =
        RunTable::load(Vec::new(), Arc::new(Policies::default()), Some(BootId::from_bytes([2; 16])), None);
    let mut mint = Count::default();
    let host = draft.host.clone().or_else(|| HostName::parse("web1").ok()).expect("it is one");
    for _ in 0..2 {
        let submission = Submission {
            draft: draft.clone(),
            reporter: reporter(draft),
            received: NOW,
            host: host.clone(),
            redacted: false,
        };
        let stamped = table.stamp(submission, &mut mint, &Alive);
        assert_eq!(stamped.events.last().map(|event| event.id), Some(draft.id));
        stamped.events.iter().for_each(understood);
    }
}

fn reporter(draft: &Draft) -> Reporter {
    let link = |pid, comm: &str| Link {
        process: ProcessRef { pid, start_ticks: 1 },
        comm: comm.to_owned(),
        terminal_leader: false,
        subshell: false,
        shell_text: false,
    };
    Reporter {
        process: Process {
            pid: Some(u32::MAX),
            uid: Some(u32::MAX),
            user: Some("u".repeat(USER_BYTES_MAX)),
            script: Some("s".repeat(SURROUNDINGS_BYTES_MAX)),
            unit: draft.caller.unit.clone(),
            tree: None,
            captured_by_cli: true,
        },
        chain: draft.caller.chain.clone().unwrap_or_else(|| {
            Chain::new(vec![link(900, "hume"), link(40, "job.sh"), link(20, "cron"), link(1, "systemd")])
        }),
    }
}

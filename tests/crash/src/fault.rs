//! Which operation on which file fails, how, from when on and how often. Pure.

/// What a file is to SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The database.
    Main,
    /// Its write-ahead log.
    Wal,
    /// A rollback journal, or anything else.
    Other,
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bytes are read.
    Read,
    /// Bytes are written.
    Write,
    /// What was written is to get on disk.
    Sync,
}

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
}

/// How often it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Once; then the disk is well again.
    Once,
    /// Until [`Disk::heal`](crate::Disk::heal).
    UntilHealed,
}

/// A failure to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of this operation.
    pub operation: Operation,
    /// On this file; on all when none is named.
    pub on: Option<Kind>,
    /// How.
    pub failure: Failure,
    /// So many go well before.
    pub after: u64,
    /// How often.
    pub times: Times,
}

/// The failures to come, and how many came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    waiting: Vec<Fault>,
    happened: u64,
}

impl Faults {
    /// One more to come.
    pub fn add(&mut self, fault: Fault) {
        self.waiting.push(fault);
    }

    /// None to come.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// How many came.
    pub fn happened(&self) -> u64 {
        self.happened
    }

    /// An operation is to be done: how it fails, if it does.
    pub fn strike(&mut self, operation: Operation, on: Kind) -> Option<Failure> {
        let concerned =
            |fault: &Fault| fault.operation == operation && fault.on.is_none_or(|kind| kind == on);
        let mut struck = None;
        for fault in self.waiting.iter_mut().filter(|fault| concerned(fault)) {
            match fault.after.checked_sub(1) {
                Some(left) => fault.after = left,
                None => struck = struck.or(Some(*fault)),
            }
        }
        let fault = struck?;
        if fault.times == Times::Once
            && let Some(at) = self.waiting.iter().position(|waiting| *waiting == fault)
        {
            self.waiting.remove(at);
        }
        self.happened += 1;
        Some(fault.failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(times: Times) -> Fault {
        Fault { operation: Operation::Sync, on: Some(Kind::Wal), failure: Failure::Io, after: 2, times }
    }

    fn strikes(faults: &mut Faults, operation: Operation, on: Kind) -> Vec<bool> {
        (0..5).map(|_| faults.strike(operation, on).is_some()).collect()
    }

    #[test]
    fn a_fault_waits_for_its_turn_and_comes_as_often_as_it_was_asked_to() {
        for (times, expected) in [
            (Times::Once, [false, false, true, false, false]),
            (Times::UntilHealed, [false, false, true, true, true]),
        ] {
            let mut faults = Faults::default();
            faults.add(fault(times));
            assert_eq!(strikes(&mut faults, Operation::Write, Kind::Wal), [false; 5], "another operation");
            assert_eq!(strikes(&mut faults, Operation::Sync, Kind::Main), [false; 5], "another file");
            assert_eq!(strikes(&mut faults, Operation::Sync, Kind::Wal), expected);
            assert_eq!(faults.happened(), expected.iter().filter(|struck| **struck).count() as u64);
        }
    }

    #[test]
    fn a_disk_that_was_healed_is_well() {
        let mut faults = Faults::default();
        faults.add(Fault { after: 0, ..fault(Times::UntilHealed) });
        assert_eq!(faults.strike(Operation::Sync, Kind::Wal), Some(Failure::Io));
        faults.clear();
        assert_eq!(strikes(&mut faults, Operation::Sync, Kind::Wal), [false; 5]);
    }
}

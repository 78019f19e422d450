//! One session of one agent, as a rule: signals in, commands out. Pure; `drive.rs` turns them into I/O.
//!
//! Two sentences hold for any order of signals: nothing is acknowledged that was not committed, and no batch is committed
//! before the Welcome. One commit is under way at a time; what arrives meanwhile goes into the next one, and when the
//! window is full nothing more is read. When the store takes nothing, nothing is read for [`THROTTLE_MS`]; then the agent
//! is told where to go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hume_core::{Epoch, ErrorClass, Seq, Timestamp};
use hume_proto::relay::{
    Ack, AgentFrame, BATCH_BYTES_MAX, EpochCursor, FEATURE_RENEW, FEATURE_ZSTD, GoAway, GoAwayReason,
    Heartbeat, HeartbeatReply, Hello, Limits, MasterFrame, PROTOCOL_MAJOR, Renew, RenewalRefused, Resync,
    Throttle, Welcome,
};
use hume_runtime::renewal::Occasion;

use crate::intake::{Admitted, Parcel, Receipt, ReceiptVerdict};
use crate::registry::Denial;

/// The first frame must come within this time.
pub(super) const HELLO_TIME_MAX: Duration = Duration::from_secs(10);
/// Acks are at least this far apart, 50 a second, unless a quarter of the window waits for one.
const ACK_INTERVAL: Duration = Duration::from_millis(20);
/// The agent is asked to send a heartbeat this often.
const HEARTBEAT_MS: u32 = 10_000;
/// Parcels that wait for the next commit; beyond it, or beyond the window in bytes, nothing is read.
const PARCELS_MAX: usize = 256;
/// When the store takes nothing, the agent is asked to wait this long, and nothing is read meanwhile.
const THROTTLE_MS: u32 = 5_000;
/// An agent that still leaves a hole this long after a Resync is told again.
const RESYNC_AGAIN: Duration = Duration::from_secs(10);
/// An agent of another major version comes back after an hour at the earliest: somebody must upgrade first.
const INCOMPATIBLE_RETRY_MS: (u32, u32) = (3_600_000, 7_200_000);
/// An agent that broke the protocol comes back after this time.
const PROTOCOL_RETRY_MS: (u32, u32) = (30_000, 120_000);
/// Of two processes with one identity each is heard in turn: whoever is not comes back after this time.
const CLONE_RETRY_MS: (u32, u32) = (60_000, 120_000);
/// An agent that may never speak again comes back after this time: somebody must let its host join again first.
const REVOKED_RETRY_MS: (u32, u32) = (900_000, 1_800_000);
/// An agent that is to hear for which hosts it may report comes back at once.
const RETOLD_RETRY_MS: (u32, u32) = (1, 500);
/// An agent that may not speak for now comes back after this time.
const SUSPENDED_RETRY_MS: (u32, u32) = (30_000, 60_000);
/// An agent that the store could not let in comes back after this time.
const UNAVAILABLE_RETRY_MS: (u32, u32) = (THROTTLE_MS, 4 * THROTTLE_MS);

/// An agent that gets no certificate for a reason that does not pass by itself need not ask again within a day.
const NO_RENEWAL_AGAIN_MS: u32 = 86_400_000;

/// The moment of a signal, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// For intervals.
    pub(super) instant: Instant,
    /// For frames.
    pub(super) wall: Timestamp,
    /// How much each agent may have in flight, as many as there are.
    pub(super) limits: Limits,
}

/// Whether the master makes the certificates of its agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewing {
    /// It does.
    Here,
    /// They come from another CA.
    Elsewhere,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Signal {
    /// The agent said something.
    Frame(AgentFrame),
    /// The agent ended the stream.
    Ended,
    /// The stream broke; why.
    Broken(String),
    /// A frame breaks a bound of the protocol; which.
    Malformed(String),
    /// The intake let the agent in.
    Entered(Admitted),
    /// The intake did not; whose fault it is, and why.
    NotEntered(ErrorClass, String),
    /// A commit is done.
    Committed(Vec<Receipt>),
    /// A commit failed; none of it was kept.
    NotCommitted(String),
    /// Another session of this agent began.
    Superseded,
    /// Another process has this agent's identity, and it is that one's turn; in words.
    Cloned(String),
    /// The new certificate is made, or not; the answer to the agent.
    Renewal(MasterFrame),
    /// What the agent may report for has changed since its Welcome.
    Retold,
    /// The agent may not speak, or not any more.
    Denied(Denial),
    /// The master stops; agents come back within this range of milliseconds.
    Stop(u32, u32),
    /// The moment of [`Session::wake_at`] has come.
    Wake,
}

/// What is to be done, in this order.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    /// Let the agent in; answer with `Entered` or `NotEntered`.
    Enter(Hello),
    /// Let these in; answer with `Committed` or `NotCommitted`.
    Commit(Vec<Parcel>),
    /// Say this to the agent.
    Send(MasterFrame),
    /// Make a certificate for this key, which was proved; answer with `Renewal`.
    Renew(Vec<u8>),
    /// The agent has the new certificate, of this fingerprint.
    Renewed(String),
    /// Note that the agent lives, and what it says of itself.
    Seen(Option<Heartbeat>),
    /// Note that the agent stops on purpose.
    Goodbye,
    /// The session is over; what was wrong, if anything was. Nothing follows.
    Close(Option<String>),
}

#[derive(Debug)]
enum Phase {
    /// Nothing said yet.
    Waiting,
    /// Hello said, Welcome not.
    Entering,
    /// Batches come and go.
    Open,
    /// What was read is still committed; then this is said, and the session ends.
    Draining(Farewell),
    /// Over.
    Closed,
}

#[derive(Debug)]
struct Farewell {
    frame: Option<MasterFrame>,
    error: Option<String>,
}

/// The rule.
#[derive(Debug)]
pub(super) struct Session {
    phase: Phase,
    hello_by: Instant,
    ends_at: Instant,
    /// What is durable, by the store's word.
    cursors: BTreeMap<Epoch, Seq>,
    waiting: Vec<Parcel>,
    waiting_bytes: usize,
    is_committing: bool,
    /// The epochs of the commit under way.
    committing: BTreeSet<Epoch>,
    /// Bytes of the commit under way, and of those since the last ack: what the agent waits for.
    committing_bytes: usize,
    unacked_bytes: usize,
    /// How much the agent may have in flight, as it was told.
    limits: Limits,
    /// Epochs with news since the last ack.
    unacked: BTreeSet<Epoch>,
    ack_from: Instant,
    /// Epochs that were told to send from another place and have not done so yet, and when: what is in flight until then
    /// leaves a hole as well, and is dropped silently.
    resyncing: BTreeMap<Epoch, Instant>,
    /// The store took nothing.
    pause: Option<Pause>,
    /// Whether certificates are renewed here.
    renewing: Renewing,
    /// What a new key must be proved for; none before the Welcome.
    occasion: Option<Occasion>,
    /// A certificate is being made.
    is_renewing: bool,
}

/// Nothing is read until the store may have room again.
#[derive(Debug)]
struct Pause {
    until: Instant,
    /// Epochs of what was read and not kept: they are told to go on after the cursor.
    dropped: BTreeSet<Epoch>,
}

impl Session {
    /// A session that begins now, lasts at most `age_max`, gives its agent this window, and renews its certificate or not.
    pub(super) fn new(now: Instant, age_max: Duration, limits: Limits, renewing: Renewing) -> Session {
        Session {
            phase: Phase::Waiting,
            hello_by: now + HELLO_TIME_MAX,
            ends_at: now + age_max,
            cursors: BTreeMap::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            is_committing: false,
            committing: BTreeSet::new(),
            committing_bytes: 0,
            unacked_bytes: 0,
            limits,
            unacked: BTreeSet::new(),
            ack_from: now,
            resyncing: BTreeMap::new(),
            pause: None,
            renewing,
            occasion: None,
            is_renewing: false,
        }
    }

    /// Whether the next frame should be read.
    pub(super) fn wants_frames(&self) -> bool {
        match &self.phase {
            Phase::Waiting => true,
            Phase::Open => {
                self.pause.is_none()
                    && self.waiting.len() < PARCELS_MAX
                    && (self.waiting.is_empty()
                        || self.waiting_bytes + BATCH_BYTES_MAX <= self.limits.window_bytes)
            }
            Phase::Entering | Phase::Draining(_) | Phase::Closed => false,
        }
    }

    /// When to be woken, if nothing happens before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Waiting => Some(self.hello_by),
            Phase::Open => {
                let ack_from = (!self.unacked.is_empty()).then_some(self.ack_from);
                let pause_until = self.pause.as_ref().map(|pause| pause.until);
                [Some(self.ends_at), ack_from, pause_until].into_iter().flatten().min()
            }
            Phase::Entering | Phase::Draining(_) | Phase::Closed => None,
        }
    }

    /// What a signal leads to.
    pub(super) fn on(&mut self, signal: Signal, now: Now) -> Vec<Command> {
        let mut commands = Vec::new();
        if matches!(self.phase, Phase::Closed) {
            return commands;
        }
        match signal {
            Signal::Frame(frame) => self.frame(frame, now, &mut commands),
            Signal::Ended => self.drain(None, Some("the connection ended without a goodbye".to_owned())),
            Signal::Broken(why) => self.drain(None, Some(why)),
            Signal::Malformed(why) => self.violation(&why),
            Signal::Entered(admitted) => self.entered(&admitted, now, &mut commands),
            Signal::NotEntered(class, why) => {
                let away = if class == ErrorClass::Invalid {
                    farewell(GoAwayReason::Protocol, PROTOCOL_RETRY_MS, &why)
                } else if class == ErrorClass::Denied {
                    farewell(GoAwayReason::Revoked, SUSPENDED_RETRY_MS, &why)
                } else {
                    // Our fault, and it may pass: as if this master were away.
                    farewell(GoAwayReason::Shutdown, UNAVAILABLE_RETRY_MS, &why)
                };
                self.close(Some(away), Some(why), &mut commands);
            }
            Signal::Committed(receipts) => self.committed(receipts, now, &mut commands),
            Signal::NotCommitted(why) => self.not_committed(why, now, &mut commands),
            Signal::Superseded => {
                let away =
                    farewell(GoAwayReason::Superseded, (1_000, 5_000), "another session of this agent began");
                // Whatever it would still commit is fenced off by the store.
                self.close(Some(away), None, &mut commands);
            }
            Signal::Cloned(why) => {
                let away = farewell(GoAwayReason::CloneSuspected, CLONE_RETRY_MS, &why);
                self.close(Some(away), Some(why), &mut commands);
            }
            Signal::Renewal(answer) => {
                self.is_renewing = false;
                if matches!(self.phase, Phase::Open) {
                    commands.push(Command::Send(answer));
                }
            }
            Signal::Retold => {
                let why = "the hosts that this agent may report for have changed";
                self.drain(Some(farewell(GoAwayReason::MaxAge, RETOLD_RETRY_MS, why)), None);
            }
            Signal::Denied(denial) => {
                let pause = match denial {
                    Denial::Pending | Denial::Suspended => SUSPENDED_RETRY_MS,
                    Denial::Revoked | Denial::Unknown => REVOKED_RETRY_MS,
                };
                let why = denial.to_string();
                self.close(Some(farewell(GoAwayReason::Revoked, pause, &why)), Some(why), &mut commands);
            }
            Signal::Stop(min, max) => {
                let away = farewell(GoAwayReason::Shutdown, (min, max), "the master stops");
                self.drain(Some(away), None);
            }
            Signal::Wake => self.wake(now, &mut commands),
        }
        self.go_on(now, &mut commands);
        commands
    }

    fn frame(&mut self, frame: AgentFrame, now: Now, commands: &mut Vec<Command>) {
        match (&self.phase, frame) {
            (Phase::Waiting, AgentFrame::Hello(hello)) => self.hello(hello, commands),
            (Phase::Waiting, _) => self.violation("the first frame was no Hello"),
            (Phase::Open, AgentFrame::Batch(batch)) => self.parcel(Parcel::Batch(batch), commands),
            (Phase::Open, AgentFrame::Gap(gap)) => self.parcel(Parcel::Gap(gap), commands),
            (Phase::Open, AgentFrame::Heartbeat(beat)) => heartbeat(beat, now, commands),
            (Phase::Open, AgentFrame::Goodbye(_)) => {
                commands.push(Command::Goodbye);
                self.drain(None, None);
            }
            (Phase::Open, AgentFrame::Renew(renew)) => self.renew(renew, commands),
            (Phase::Open, AgentFrame::Renewed(fingerprint)) => commands.push(Command::Renewed(fingerprint)),
            (Phase::Open, AgentFrame::Hello(_)) => self.violation("a second Hello came"),
            // Nothing is read in these phases.
            (Phase::Entering | Phase::Draining(_) | Phase::Closed, _) => {}
        }
    }

    fn hello(&mut self, hello: Hello, commands: &mut Vec<Command>) {
        if hello.protocol_major == PROTOCOL_MAJOR {
            self.phase = Phase::Entering;
            commands.push(Command::Enter(hello));
            return;
        }
        let older = if hello.protocol_major < PROTOCOL_MAJOR { "the agent" } else { "the master" };
        let why = format!(
            "the agent ({}) speaks version {} of the protocol and this master ({}) version {PROTOCOL_MAJOR}: \
             upgrade {older}",
            hello.agent_version,
            hello.protocol_major,
            env!("CARGO_PKG_VERSION")
        );
        let away = farewell(GoAwayReason::Protocol, INCOMPATIBLE_RETRY_MS, &why);
        self.drain(Some(away), Some(why));
    }

    fn entered(&mut self, admitted: &Admitted, now: Now, commands: &mut Vec<Command>) {
        self.cursors = admitted.resume.iter().map(|resume| (resume.epoch, resume.cursor)).collect();
        self.occasion = Some(Occasion { store_id: admitted.store_id, session: admitted.session.0 });
        commands.push(Command::Send(MasterFrame::Welcome(Welcome {
            session: admitted.session.0,
            store_id: admitted.store_id,
            resume: admitted.resume.clone(),
            limits: self.limits,
            heartbeat_ms: HEARTBEAT_MS,
            master_time: now.wall,
            features: self.features(),
            hosts: admitted.hosts.clone(),
        })));
        self.phase = Phase::Open;
    }

    fn features(&self) -> Vec<String> {
        let renew = match self.renewing {
            Renewing::Here => Some(FEATURE_RENEW),
            Renewing::Elsewhere => None,
        };
        [Some(FEATURE_ZSTD), renew].into_iter().flatten().map(str::to_owned).collect()
    }

    /// A new key wants a certificate: one at a time, and only with a proof for this session.
    fn renew(&mut self, renew: Renew, commands: &mut Vec<Command>) {
        let is_proved =
            self.occasion.is_some_and(|occasion| occasion.proves(&renew.public_key, &renew.proof));
        match self.renewing {
            Renewing::Elsewhere => commands.push(no_renewal(
                ErrorClass::Unavailable,
                "the certificates of this site are not made by its master: renew them where they were made",
            )),
            Renewing::Here if self.is_renewing => self.violation("a second wish for a certificate came"),
            Renewing::Here if !is_proved => {
                commands.push(no_renewal(ErrorClass::Invalid, "the proof is not one of that key"));
            }
            Renewing::Here => {
                self.is_renewing = true;
                commands.push(Command::Renew(renew.public_key));
            }
        }
    }

    fn parcel(&mut self, parcel: Parcel, commands: &mut Vec<Command>) {
        if !self.cursors.contains_key(&parcel.epoch()) {
            self.violation("a batch of an epoch that the Hello did not name");
            return;
        }
        self.waiting_bytes += parcel.bytes();
        self.waiting.push(parcel);
        commands.push(Command::Seen(None));
    }

    fn committed(&mut self, receipts: Vec<Receipt>, now: Now, commands: &mut Vec<Command>) {
        self.is_committing = false;
        self.committing.clear();
        self.unacked_bytes += std::mem::take(&mut self.committing_bytes);
        for Receipt { epoch, verdict, quarantined } in receipts {
            commands.extend(quarantined.into_iter().map(|one| Command::Send(MasterFrame::Quarantined(one))));
            match verdict {
                ReceiptVerdict::Durable(seq) => {
                    self.cursors.insert(epoch, seq);
                    self.unacked.insert(epoch);
                    self.resyncing.remove(&epoch);
                }
                ReceiptVerdict::Beyond(cursor) => {
                    self.cursors.insert(epoch, cursor);
                    let is_told =
                        self.resyncing.get(&epoch).is_some_and(|at| now.instant < *at + RESYNC_AGAIN);
                    if !is_told {
                        self.resync(epoch, "a batch leaves a hole after the cursor", now, commands);
                    }
                }
                ReceiptVerdict::Superseded => {
                    let why = "another session of this agent began";
                    let away = farewell(GoAwayReason::Superseded, (1_000, 5_000), why);
                    self.close(Some(away), None, commands);
                    return;
                }
                ReceiptVerdict::UnknownEpoch => {
                    self.violation("a batch of an epoch that the store does not know");
                }
            }
        }
    }

    /// The store took nothing: the agent keeps it, waits, and sends it again.
    fn not_committed(&mut self, why: String, now: Now, commands: &mut Vec<Command>) {
        self.is_committing = false;
        self.committing_bytes = 0;
        let mut dropped = std::mem::take(&mut self.committing);
        dropped.extend(self.waiting.drain(..).map(|parcel| parcel.epoch()));
        self.waiting_bytes = 0;
        let until = now.instant + Duration::from_millis(u64::from(THROTTLE_MS));
        self.pause = Some(Pause { until, dropped });
        let throttle = Throttle { pause_ms: THROTTLE_MS, limits: None, reason: why };
        commands.push(Command::Send(MasterFrame::Throttle(throttle)));
    }

    /// Tells the agent to go on after the cursor, whatever it was told before.
    fn resync(&mut self, epoch: Epoch, reason: &str, now: Now, commands: &mut Vec<Command>) {
        self.resyncing.insert(epoch, now.instant);
        let cursor = self.cursors.get(&epoch).copied().unwrap_or_default();
        commands.push(Command::Send(MasterFrame::Resync(Resync {
            epoch,
            cursor,
            reason: reason.to_owned(),
        })));
    }

    fn wake(&mut self, now: Now, commands: &mut Vec<Command>) {
        match &self.phase {
            Phase::Waiting if now.instant >= self.hello_by => {
                let why = format!("no Hello within {} s", HELLO_TIME_MAX.as_secs());
                self.close(
                    Some(farewell(GoAwayReason::Protocol, PROTOCOL_RETRY_MS, &why)),
                    Some(why),
                    commands,
                );
            }
            Phase::Open if now.instant >= self.ends_at => {
                self.drain(
                    Some(farewell(GoAwayReason::MaxAge, (0, 5_000), "the session is old enough")),
                    None,
                );
            }
            Phase::Open => {
                if let Some(Pause { dropped, .. }) = self.pause.take_if(|pause| now.instant >= pause.until) {
                    for epoch in dropped {
                        self.resync(epoch, "the store could not take it", now, commands);
                    }
                }
            }
            Phase::Waiting | Phase::Entering | Phase::Draining(_) | Phase::Closed => {}
        }
    }

    fn violation(&mut self, why: &str) {
        self.drain(Some(farewell(GoAwayReason::Protocol, PROTOCOL_RETRY_MS, why)), Some(why.to_owned()));
    }

    /// Reads no more; ends after what was read is committed. The first reason stays.
    fn drain(&mut self, frame: Option<MasterFrame>, error: Option<String>) {
        if !matches!(self.phase, Phase::Draining(_) | Phase::Closed) {
            self.phase = Phase::Draining(Farewell { frame, error });
        }
    }

    fn close(&mut self, frame: Option<MasterFrame>, error: Option<String>, commands: &mut Vec<Command>) {
        self.phase = Phase::Closed;
        commands.extend(frame.map(Command::Send));
        commands.push(Command::Close(error));
    }

    /// What can be done now in any case: the next commit, the ack that is due, the end.
    fn go_on(&mut self, now: Now, commands: &mut Vec<Command>) {
        if matches!(self.phase, Phase::Closed | Phase::Waiting | Phase::Entering) {
            return;
        }
        if !self.is_committing && !self.waiting.is_empty() {
            self.is_committing = true;
            self.committing = self.waiting.iter().map(Parcel::epoch).collect();
            self.committing_bytes = std::mem::take(&mut self.waiting_bytes);
            commands.push(Command::Commit(std::mem::take(&mut self.waiting)));
        }
        let is_done = matches!(self.phase, Phase::Draining(_)) && !self.is_committing;
        let is_due = now.instant >= self.ack_from || self.unacked_bytes >= self.limits.window_bytes / 4;
        if !self.unacked.is_empty() && (is_done || is_due) {
            let cursor =
                |epoch: &Epoch| self.cursors.get(epoch).map(|seq| EpochCursor { epoch: *epoch, seq: *seq });
            let cursors = self.unacked.iter().filter_map(cursor).collect();
            let limits = (now.limits != self.limits).then_some(now.limits);
            self.limits = now.limits;
            commands.push(Command::Send(MasterFrame::Ack(Ack { cursors, limits })));
            self.unacked.clear();
            self.unacked_bytes = 0;
            self.ack_from = now.instant + ACK_INTERVAL;
        }
        if is_done
            && let Phase::Draining(Farewell { frame, error }) =
                std::mem::replace(&mut self.phase, Phase::Closed)
        {
            self.close(frame, error, commands);
        }
    }
}

fn no_renewal(class: ErrorClass, detail: &str) -> Command {
    let (detail, again_ms) = (detail.to_owned(), NO_RENEWAL_AGAIN_MS);
    Command::Send(MasterFrame::RenewalRefused(RenewalRefused { class, detail, again_ms }))
}

fn heartbeat(beat: Heartbeat, now: Now, commands: &mut Vec<Command>) {
    let reply = HeartbeatReply { master_time: now.wall, echo_boottime_us: beat.clock.boottime_us };
    commands.push(Command::Seen(Some(beat)));
    commands.push(Command::Send(MasterFrame::HeartbeatReply(reply)));
}

fn farewell(
    reason: GoAwayReason,
    (reconnect_min_ms, reconnect_max_ms): (u32, u32),
    detail: &str,
) -> MasterFrame {
    MasterFrame::GoAway(GoAway { reason, reconnect_min_ms, reconnect_max_ms, detail: detail.to_owned() })
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;

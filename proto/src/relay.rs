//! The stream between agent and master, in words of `hume-core`: frames, their bounds, and both ends of the gRPC call.
//!
//! A frame that does not hold its bounds is [`FrameError::Malformed`]; nothing of it is used.

use std::sync::Arc;

use hume_core::event::TAGS_MAX;
use hume_core::host_patterns::HostPatterns;
use hume_core::name::{BootId, Epoch, EventId, Seq, Tag};
use hume_core::{ErrorClass, Timestamp};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::event::EventBytes;
use crate::pb;

/// Version of the protocol. A different major version is refused.
pub const PROTOCOL_MAJOR: u32 = 1;
/// Minor version; differences are negotiated by feature names.
pub const PROTOCOL_MINOR: u32 = 0;
/// Most events of one batch.
pub const BATCH_EVENTS_MAX: usize = 1000;
/// Most bytes of one batch's payload.
pub const BATCH_BYTES_MAX: usize = 512 * 1024;
/// Bytes in flight when the master says nothing else.
pub const WINDOW_BYTES_DEFAULT: usize = 1024 * 1024;
/// Events in flight when the master says nothing else.
pub const WINDOW_EVENTS_DEFAULT: usize = 4 * BATCH_EVENTS_MAX;
/// What all agents together may have in flight, in bytes.
pub const WINDOWS_BYTES: usize = 256 * 1024 * 1024;
/// No agent gets a smaller window, however many there are.
pub const WINDOW_BYTES_MIN: usize = 64 * 1024;
/// And none a larger one, however few.
pub const WINDOW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most epochs in one Hello.
pub const EPOCHS_MAX: usize = 64;
/// Longest frame, in bytes; a batch and its envelope fit.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Most fields of a frame, before anything is made of it: an empty element of a list takes two bytes of a frame.
pub const FRAME_FIELDS_MAX: usize = 1024;
/// Longest text of a frame (a reason, a detail), in bytes; a longer one is cut.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Most features that one end names; further ones are not read.
pub const FEATURES_MAX: usize = 32;
/// Longest name of a feature, in bytes; longer ones are not read.
pub const FEATURE_BYTES_MAX: usize = 64;
/// Longest name of a time zone, in bytes; a longer one is not read.
pub const ZONE_BYTES_MAX: usize = 64;
/// Most tags of a host; further ones are not read.
pub const HOST_TAGS_MAX: usize = TAGS_MAX;
/// The feature that payloads may be compressed. An agent uses it when the master names it as well.
pub const FEATURE_ZSTD: &str = "zstd";
/// Payloads below this many bytes are not compressed.
pub const ZSTD_BYTES_MIN: usize = 1024;

/// What an agent says.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentFrame {
    /// Who I am and what I have; first, once.
    Hello(Hello),
    /// Events.
    Batch(Batch),
    /// I live.
    Heartbeat(Heartbeat),
    /// These places will never come.
    Gap(Gap),
    /// I stop on purpose.
    Goodbye(String),
    /// A certificate for a new key, please.
    Renew(Renew),
    /// The new key and its certificate, of this fingerprint, are on disk.
    Renewed(String),
}

/// What a master says.
#[derive(Clone, Debug, PartialEq)]
pub enum MasterFrame {
    /// Where to go on from; first, once.
    Welcome(Welcome),
    /// Durable up to here.
    Ack(Ack),
    /// Send from here.
    Resync(Resync),
    /// Kept, but not understood.
    Quarantined(Quarantined),
    /// Wait.
    Throttle(Throttle),
    /// The session ends.
    GoAway(GoAway),
    /// Answer to a heartbeat.
    HeartbeatReply(HeartbeatReply),
    /// The certificate that was asked for: PEM, the agent's own first, then those that lead to the root.
    Certificate(String),
    /// No new certificate.
    RenewalRefused(RenewalRefused),
}

/// The agent's opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`PROTOCOL_MAJOR`] of the agent.
    pub protocol_major: u32,
    /// [`PROTOCOL_MINOR`] of the agent.
    pub protocol_minor: u32,
    /// Version of the program.
    pub agent_version: String,
    /// What it can do beyond the first version: at most [`FEATURES_MAX`] names.
    pub features: Vec<String>,
    /// Another one at every start: tells two processes with one identity apart. None of an older agent.
    pub instance: Option<[u8; 16]>,
    /// The machine's boot.
    pub boot: Option<BootId>,
    /// The agent's host; checked by the master like any name.
    pub host: String,
    /// The host's time zone by its IANA name, such as `Europe/Berlin`, if it is known.
    pub zone: Option<String>,
    /// The host's tags: at most [`HOST_TAGS_MAX`].
    pub tags: Vec<Tag>,
    /// Every epoch with something to tell, oldest first.
    pub epochs: Vec<EpochState>,
    /// The agent's clocks.
    pub clock: ClockSample,
    /// The agent's queue.
    pub spool: SpoolStatus,
    /// When the agent's certificate ends.
    pub certificate_expires_at: Timestamp,
}

/// What an agent has of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochState {
    /// Which.
    pub epoch: Epoch,
    /// Lowest place it can still send; none when it has nothing.
    pub first_retained: Option<Seq>,
    /// Highest place that was acknowledged.
    pub acked: Seq,
    /// The event there.
    pub acked_event: Option<EventId>,
    /// Highest place it gave out.
    pub last_assigned: Seq,
    /// The epoch it took over from.
    pub predecessor: Option<Epoch>,
    /// Events through this place stood in the predecessor before, right after what was acknowledged there.
    pub restamped_through: Seq,
    /// Why it began.
    pub reason: EpochReason,
}

/// Why an epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EpochReason {
    /// With a new spool.
    Created,
    /// The master had another event at its cursor: this spool was put back to an earlier state, or is a copy.
    Forked,
    /// The operator wanted it.
    Operator,
    /// The spool was damaged, and what could be read of it was kept.
    Salvaged,
}

impl EpochReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [EpochReason; 4] =
        [EpochReason::Created, EpochReason::Forked, EpochReason::Operator, EpochReason::Salvaged];

    /// The stable number used on the wire and in stores.
    pub fn number(self) -> u8 {
        match self {
            EpochReason::Created => 1,
            EpochReason::Forked => 2,
            EpochReason::Operator => 3,
            EpochReason::Salvaged => 4,
        }
    }

    /// The reason with this number; [`EpochReason::Created`] of a number that a newer version knows.
    pub fn from_number(number: i64) -> EpochReason {
        EpochReason::ALL
            .into_iter()
            .find(|reason| i64::from(reason.number()) == number)
            .unwrap_or(EpochReason::Created)
    }
}

/// True when another epoch took over from this one: nothing is added to it any more.
pub fn is_closed(epoch: Epoch, all: &[EpochState]) -> bool {
    all.iter().any(|state| state.predecessor == Some(epoch))
}

/// The master's first answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Grows per agent; fences older sessions.
    pub session: u64,
    /// Changes when a store is created or restored.
    pub store_id: [u8; 16],
    /// One for each epoch of the Hello.
    pub resume: Vec<Resume>,
    /// How much may be in flight.
    pub limits: Limits,
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u32,
    /// The master's clock.
    pub master_time: Timestamp,
    /// What it can do beyond the first version: at most [`FEATURES_MAX`] names.
    pub features: Vec<String>,
    /// For which hosts the agent may report. Any, by an older master.
    pub hosts: HostPatterns,
}

/// Where an epoch goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Which.
    pub epoch: Epoch,
    /// Highest place that is durable at the master.
    pub cursor: Seq,
    /// The event there, when the master knows it.
    pub cursor_event: Option<EventId>,
    /// What to do.
    pub verdict: Verdict,
}

/// How an epoch goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send from the place after the cursor.
    Continue,
    /// The master lost some: send again what is still there, and a gap for the rest.
    MasterBehind,
    /// Another event stands at the cursor: the epoch cannot go on.
    Forked,
}

/// How much may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of payload.
    pub window_bytes: usize,
    /// Events.
    pub window_events: usize,
}

impl Limits {
    /// The window of each of so many agents: they share [`WINDOWS_BYTES`]. A power of two, so that it changes seldom.
    pub fn shared_by(agents: usize) -> Limits {
        let share = WINDOWS_BYTES >> agents.max(1).next_power_of_two().trailing_zeros().min(31);
        let window_bytes = share.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
        Limits { window_bytes, window_events: window_bytes * WINDOW_EVENTS_DEFAULT / WINDOW_BYTES_DEFAULT }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { window_bytes: WINDOW_BYTES_DEFAULT, window_events: WINDOW_EVENTS_DEFAULT }
    }
}

/// What is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Per epoch the highest place; cumulative.
    pub cursors: Vec<EpochCursor>,
    /// How much may be in flight from now on, when that has changed.
    pub limits: Option<Limits>,
}

/// The master takes nothing for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Milliseconds in which nothing should be sent.
    pub pause_ms: u32,
    /// How much may be in flight from then on, when that has changed.
    pub limits: Option<Limits>,
    /// Why.
    pub reason: String,
}

/// How a payload travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As it is.
    Identity,
    /// Compressed, when it is at least [`ZSTD_BYTES_MIN`] long and that makes it shorter.
    Zstd,
}

/// Events of one epoch, without a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Which epoch.
    pub epoch: Epoch,
    /// Place of the first event.
    pub first: Seq,
    /// 1 to [`BATCH_EVENTS_MAX`] events, at most [`BATCH_BYTES_MAX`] bytes in all.
    pub events: Vec<EventBytes>,
    /// How they travel.
    pub codec: Codec,
}

impl Batch {
    /// Place of the last event.
    pub fn last(&self) -> Seq {
        self.first.plus((self.events.len() as u64).saturating_sub(1))
    }

    /// Bytes of the events.
    pub fn bytes(&self) -> usize {
        self.events.iter().map(EventBytes::len).sum()
    }
}

/// The agent lives, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Its clocks.
    pub clock: ClockSample,
    /// Highest place given out, per epoch.
    pub tails: Vec<EpochCursor>,
    /// Every event received up to here is acknowledged.
    pub watermark: Timestamp,
    /// Its queue.
    pub spool: SpoolStatus,
    /// When its certificate ends.
    pub certificate_expires_at: Timestamp,
}

/// Answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// The master's clock.
    pub master_time: Timestamp,
    /// The agent's boot clock as it came.
    pub echo_boottime_us: u64,
}

/// Two clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockSample {
    /// The wall's.
    pub wall: Timestamp,
    /// `CLOCK_BOOTTIME`.
    pub boottime_us: u64,
}

/// What waits in a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Events not acknowledged.
    pub unacked_events: u64,
    /// Their bytes.
    pub unacked_bytes: u64,
    /// When the oldest of them was received.
    pub oldest_unacked: Option<Timestamp>,
    /// What last went wrong at the agent, and when.
    pub last_error: Option<(String, Timestamp)>,
    /// Events refused for want of room, since the agent's start.
    pub refused_events: u64,
    /// Events that were accepted and are gone before the master had them, since the agent's start.
    pub lost_events: u64,
}

/// A place in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochCursor {
    /// Which epoch.
    pub epoch: Epoch,
    /// The place.
    pub seq: Seq,
}

/// Send from another place. Not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resync {
    /// Which epoch.
    pub epoch: Epoch,
    /// Highest place that is durable at the master.
    pub cursor: Seq,
    /// Why.
    pub reason: String,
}

/// Places that will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Which epoch.
    pub epoch: Epoch,
    /// First of them.
    pub from: Seq,
    /// Last of them.
    pub to: Seq,
    /// Why.
    pub reason: GapReason,
}

/// Why places will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The row could not be read.
    Corrupt,
    /// It was removed to make room, by the operator's choice or because the master had it once.
    Evicted,
    /// The operator removed it.
    Purged,
    /// The spool was lost.
    LostSpool,
    /// The event stands in the epoch's predecessor: the master's own finding, which no agent sends.
    Restamped,
}

impl GapReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [GapReason; 5] = [
        GapReason::Corrupt,
        GapReason::Evicted,
        GapReason::Purged,
        GapReason::LostSpool,
        GapReason::Restamped,
    ];

    /// The word used in JSON and stores.
    pub fn as_str(self) -> &'static str {
        match self {
            GapReason::Corrupt => "corrupt",
            GapReason::Evicted => "evicted",
            GapReason::Purged => "purged",
            GapReason::LostSpool => "lost_spool",
            GapReason::Restamped => "restamped",
        }
    }

    /// The reason with this word.
    pub fn from_word(word: &str) -> Option<GapReason> {
        GapReason::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// An event that is kept raw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Which epoch.
    pub epoch: Epoch,
    /// Its place.
    pub seq: Seq,
    /// Why, for programs.
    pub code: String,
    /// Why, for people.
    pub detail: String,
}

/// The session ends; the agent comes back at a random moment within the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// Why.
    pub reason: GoAwayReason,
    /// Earliest return, in milliseconds.
    pub reconnect_min_ms: u32,
    /// Latest return, in milliseconds.
    pub reconnect_max_ms: u32,
    /// More words.
    pub detail: String,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoAwayReason {
    /// The master stops.
    Shutdown,
    /// Another session of the same agent began.
    Superseded,
    /// The agent may no longer come.
    Revoked,
    /// The agent broke the protocol.
    Protocol,
    /// Two hosts seem to use one identity.
    CloneSuspected,
    /// The session is old enough.
    MaxAge,
}

impl GoAwayReason {
    const ALL: [GoAwayReason; 6] = [
        GoAwayReason::Shutdown,
        GoAwayReason::Superseded,
        GoAwayReason::Revoked,
        GoAwayReason::Protocol,
        GoAwayReason::CloneSuspected,
        GoAwayReason::MaxAge,
    ];

    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            GoAwayReason::Shutdown => "it stops",
            GoAwayReason::Superseded => "another session of this agent began",
            GoAwayReason::Revoked => "this agent was revoked",
            GoAwayReason::Protocol => "this agent broke the protocol",
            GoAwayReason::CloneSuspected => "two hosts seem to use this agent's identity",
            GoAwayReason::MaxAge => "the session was old enough",
        }
    }
}

/// The master's end of the call: one method per session.
pub trait RelayHandler: Send + Sync + 'static {
    /// What the accept loop knows of a connection.
    type Peer: Clone + Send + Sync + 'static;

    /// Takes over a session: reads `frames` to their end, and writes what it has to say into the channel it returns.
    ///
    /// # Errors
    /// [`FrameError::Broken`] refuses the session with that class and text.
    fn session(
        &self,
        peer: Self::Peer,
        frames: AgentFrames,
    ) -> Result<mpsc::Receiver<MasterFrame>, FrameError>;
}

/// The frames of one agent, in order.
#[derive(Debug)]
pub struct AgentFrames(tonic::Streaming<pb::AgentFrame>);

impl AgentFrames {
    /// The next frame; none when the agent ended the stream. Safe to drop while waiting.
    ///
    /// # Errors
    /// [`FrameError`]; the session is over then.
    pub async fn next(&mut self) -> Result<Option<AgentFrame>, FrameError> {
        match self.0.message().await? {
            Some(raw) => agent_frame(raw).map(Some),
            None => Ok(None),
        }
    }
}

/// The frames of the master, in order.
#[derive(Debug)]
pub struct MasterFrames(tonic::Streaming<pb::MasterFrame>);

impl MasterFrames {
    /// The next frame; none when the master ended the stream. Safe to drop while waiting.
    ///
    /// # Errors
    /// [`FrameError`]; the session is over then.
    pub async fn next(&mut self) -> Result<Option<MasterFrame>, FrameError> {
        match self.0.message().await? {
            Some(raw) => master_frame(raw).map(Some),
            None => Ok(None),
        }
    }
}

/// The gRPC service around a handler, for `tonic::transport::Server::add_service`.
pub type RelayServer<H> = pb::relay_server::RelayServer<Adapter<H>>;

/// Turns generated types into ours and back.
#[derive(Debug)]
pub struct Adapter<H>(Arc<H>);

/// The service of this handler.
pub fn server<H: RelayHandler>(handler: Arc<H>) -> RelayServer<H> {
    pb::relay_server::RelayServer::new(Adapter(handler))
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX)
}

#[tonic::async_trait]
impl<H: RelayHandler> pb::relay_server::Relay for Adapter<H> {
    type SessionStream =
        std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<pb::MasterFrame, tonic::Status>> + Send>>;

    async fn session(
        &self,
        request: tonic::Request<tonic::Streaming<pb::AgentFrame>>,
    ) -> Result<tonic::Response<Self::SessionStream>, tonic::Status> {
        let peer = request.extensions().get::<H::Peer>().cloned().ok_or_else(|| FrameError::Broken {
            class: ErrorClass::Internal,
            detail: "the connection came without its peer".to_owned(),
        })?;
        let answers = self.0.session(peer, AgentFrames(request.into_inner()))?;
        let stream = ReceiverStream::new(answers).map(|frame| Ok(pb::MasterFrame::from(&frame)));
        Ok(tonic::Response::new(Box::pin(stream)))
    }
}

/// Opens a session over a channel: `outgoing` is sent as it fills.
///
/// # Errors
/// [`FrameError::Broken`] when the master cannot be reached or refuses.
pub async fn open(
    channel: tonic::transport::Channel,
    outgoing: mpsc::Receiver<AgentFrame>,
) -> Result<MasterFrames, FrameError> {
    let mut client = pb::relay_client::RelayClient::new(channel)
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    let frames = ReceiverStream::new(outgoing).map(|frame| pb::AgentFrame::from(&frame));
    Ok(MasterFrames(client.session(frames).await?.into_inner()))
}

pub(crate) mod buffers;
mod codec;
mod failure;
mod frame;
mod renewal;
mod wire;

pub use failure::FrameError;
pub use renewal::{
    CHAIN_BYTES_MAX, FEATURE_RENEW, PROOF_BYTES_MAX, PUBLIC_KEY_BYTES_MAX, Renew, RenewalRefused,
};
use wire::{agent_frame, master_frame};

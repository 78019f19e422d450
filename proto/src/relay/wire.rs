//! Frames ⇄ generated types: total on the way out, checked on the way in.

use hume_core::Timestamp;
use hume_core::fit::cut;
use hume_core::host_patterns::HostPatterns;
use hume_core::name::{BootId, Epoch, EventId, Seq, Tag};

use super::codec::{Payload, pack, unpack};
use super::renewal;
use super::{
    Ack, AgentFrame, BATCH_BYTES_MAX, Batch, ClockSample, Codec, EPOCHS_MAX, EpochCursor, EpochReason,
    EpochState, FEATURE_BYTES_MAX, FEATURES_MAX, FrameError, Gap, GapReason, GoAway, GoAwayReason,
    HOST_TAGS_MAX, Heartbeat, HeartbeatReply, Hello, Limits, MasterFrame, Quarantined, Resume, Resync,
    SpoolStatus, TEXT_BYTES_MAX, Throttle, Verdict, Welcome, ZONE_BYTES_MAX,
};
use crate::pb;

fn epoch(raw: &[u8]) -> Result<Epoch, FrameError> {
    Epoch::from_slice(raw).ok_or(FrameError::Malformed("an epoch has 16 bytes"))
}

fn seq(raw: u64) -> Result<Seq, FrameError> {
    Seq::new(raw).ok_or(FrameError::Malformed("a sequence number is below 2^63"))
}

/// The value with this number on the wire, where 0 is "not set" and 1 the first. Any number may come.
fn numbered<T: Copy>(all: &[T], number: i32) -> Option<T> {
    let at = usize::try_from(number.checked_sub(1)?).ok()?;
    all.get(at).copied()
}

fn bytes_of(id: Option<EventId>) -> Vec<u8> {
    id.map_or_else(Vec::new, |id| id.as_bytes().to_vec())
}

fn cursors(raw: Vec<pb::EpochCursor>) -> Result<Vec<EpochCursor>, FrameError> {
    if raw.len() > EPOCHS_MAX {
        return Err(FrameError::Malformed("too many epochs"));
    }
    raw.into_iter()
        .map(|cursor| Ok(EpochCursor { epoch: epoch(&cursor.epoch)?, seq: seq(cursor.seq)? }))
        .collect()
}

fn raw_cursors(cursors: &[EpochCursor]) -> Vec<pb::EpochCursor> {
    cursors
        .iter()
        .map(|cursor| pb::EpochCursor { epoch: cursor.epoch.as_bytes().to_vec(), seq: cursor.seq.get() })
        .collect()
}

fn clock(raw: Option<pb::ClockSample>) -> ClockSample {
    let raw = raw.unwrap_or_default();
    ClockSample { wall: Timestamp::from_micros(raw.wall_us), boottime_us: raw.boottime_us }
}

fn raw_clock(clock: ClockSample) -> pb::ClockSample {
    pb::ClockSample { wall_us: clock.wall.as_micros(), boottime_us: clock.boottime_us }
}

fn spool(raw: Option<pb::SpoolStatus>) -> SpoolStatus {
    let raw = raw.unwrap_or_default();
    SpoolStatus {
        unacked_events: raw.unacked_events,
        unacked_bytes: raw.unacked_bytes,
        oldest_unacked: (raw.oldest_unacked_us != 0).then(|| Timestamp::from_micros(raw.oldest_unacked_us)),
        last_error: (!raw.last_error.is_empty())
            .then(|| (text(&raw.last_error), Timestamp::from_micros(raw.last_error_us))),
        refused_events: raw.refused_events,
        lost_events: raw.lost_events,
    }
}

/// A text for people, of which nobody needs more.
pub(super) fn text(raw: &str) -> String {
    cut(raw, TEXT_BYTES_MAX).to_owned()
}

/// The features that can be names of some; an unknown one is no error.
fn features(raw: Vec<String>) -> Vec<String> {
    raw.into_iter().filter(|name| name.len() <= FEATURE_BYTES_MAX).take(FEATURES_MAX).collect()
}

/// Those that are tags, each once. What is none is not missed: the agent checks its own.
fn tags(raw: &[String]) -> Vec<Tag> {
    let mut tags: Vec<Tag> = Vec::new();
    for tag in raw.iter().filter_map(|tag| Tag::parse(tag).ok()) {
        if tags.len() < HOST_TAGS_MAX && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

/// What is no pattern lets nobody in, whoever made it.
fn hosts(raw: &[String]) -> HostPatterns {
    if raw.is_empty() { HostPatterns::any() } else { HostPatterns::from_texts(raw) }
}

fn limits(raw: Option<pb::Limits>) -> Option<Limits> {
    let default = Limits::default();
    let or = |value: u32, default: usize| if value == 0 { default } else { value as usize };
    raw.map(|raw| Limits {
        window_bytes: or(raw.window_bytes, default.window_bytes),
        window_events: or(raw.window_events, default.window_events),
    })
}

fn raw_limits(limits: Limits) -> pb::Limits {
    pb::Limits {
        window_bytes: limits.window_bytes as u32,
        window_events: limits.window_events as u32,
        batch_bytes_max: BATCH_BYTES_MAX as u32,
        batch_events_max: super::BATCH_EVENTS_MAX as u32,
    }
}

fn raw_spool(spool: &SpoolStatus) -> pb::SpoolStatus {
    let (last_error, at) = spool.last_error.clone().unwrap_or_default();
    pb::SpoolStatus {
        unacked_events: spool.unacked_events,
        unacked_bytes: spool.unacked_bytes,
        oldest_unacked_us: spool.oldest_unacked.map_or(0, Timestamp::as_micros),
        // What a master said stands in it, and it is said to the master in every heartbeat.
        last_error: text(&last_error),
        last_error_us: at.as_micros(),
        refused_events: spool.refused_events,
        lost_events: spool.lost_events,
    }
}

impl From<&AgentFrame> for pb::AgentFrame {
    fn from(frame: &AgentFrame) -> pb::AgentFrame {
        use pb::agent_frame::Frame;
        let frame = match frame {
            AgentFrame::Hello(hello) => Frame::Hello(pb::Hello {
                protocol_major: hello.protocol_major,
                protocol_minor: hello.protocol_minor,
                agent_version: hello.agent_version.clone(),
                features: hello.features.clone(),
                instance: hello.instance.map_or_else(Vec::new, |instance| instance.to_vec()),
                boot_id: hello.boot.map_or_else(Vec::new, |boot| boot.as_bytes().to_vec()),
                host: hello.host.clone(),
                zone: hello.zone.clone().unwrap_or_default(),
                tags: hello.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
                epochs: hello.epochs.iter().map(raw_epoch_state).collect(),
                clock: Some(raw_clock(hello.clock)),
                spool: Some(raw_spool(&hello.spool)),
                certificate_expires_us: hello.certificate_expires_at.as_micros(),
            }),
            AgentFrame::Batch(batch) => {
                let Payload { codec, raw_bytes, bytes } = pack(&batch.events, batch.codec);
                Frame::Batch(pb::Batch {
                    epoch: batch.epoch.as_bytes().to_vec(),
                    first_seq: batch.first.get(),
                    count: batch.events.len() as u32,
                    codec: match codec {
                        Codec::Identity => pb::Codec::Identity,
                        Codec::Zstd => pb::Codec::Zstd,
                    } as i32,
                    raw_bytes,
                    payload: bytes,
                })
            }
            AgentFrame::Heartbeat(beat) => Frame::Heartbeat(pb::Heartbeat {
                clock: Some(raw_clock(beat.clock)),
                tails: raw_cursors(&beat.tails),
                watermark_us: beat.watermark.as_micros(),
                spool: Some(raw_spool(&beat.spool)),
                certificate_expires_us: beat.certificate_expires_at.as_micros(),
            }),
            AgentFrame::Gap(gap) => Frame::Gap(pb::Gap {
                epoch: gap.epoch.as_bytes().to_vec(),
                from_seq: gap.from.get(),
                to_seq: gap.to.get(),
                reason: GapReason::ALL
                    .iter()
                    .position(|one| *one == gap.reason)
                    .map_or(0, |at| at as i32 + 1),
            }),
            AgentFrame::Goodbye(reason) => Frame::Goodbye(pb::Goodbye { reason: reason.clone() }),
            AgentFrame::Renew(renew) => Frame::Renew(renewal::raw_renew(renew)),
            AgentFrame::Renewed(fingerprint) => {
                Frame::Renewed(pb::Renewed { fingerprint: fingerprint.clone() })
            }
        };
        pb::AgentFrame { frame: Some(frame) }
    }
}

fn raw_epoch_state(state: &EpochState) -> pb::EpochState {
    pb::EpochState {
        epoch: state.epoch.as_bytes().to_vec(),
        first_retained_seq: state.first_retained.map_or(0, Seq::get),
        acked_seq: state.acked.get(),
        acked_event_id: bytes_of(state.acked_event),
        last_assigned_seq: state.last_assigned.get(),
        predecessor: state.predecessor.map_or_else(Vec::new, |epoch| epoch.as_bytes().to_vec()),
        restamped_through: state.restamped_through.get(),
        reason: i32::from(state.reason.number()),
    }
}

/// Checks a frame of an agent.
pub(super) fn agent_frame(raw: pb::AgentFrame) -> Result<AgentFrame, FrameError> {
    use pb::agent_frame::Frame;
    match raw.frame.ok_or(FrameError::Malformed("a frame of an unknown kind"))? {
        Frame::Hello(hello) => {
            if hello.epochs.len() > EPOCHS_MAX {
                return Err(FrameError::Malformed("too many epochs"));
            }
            let epochs = hello.epochs.iter().map(epoch_state).collect::<Result<_, _>>()?;
            Ok(AgentFrame::Hello(Hello {
                protocol_major: hello.protocol_major,
                protocol_minor: hello.protocol_minor,
                features: features(hello.features),
                instance: <[u8; 16]>::try_from(hello.instance.as_slice()).ok(),
                agent_version: cut(&hello.agent_version, 64).to_owned(),
                boot: BootId::from_slice(&hello.boot_id),
                host: text(&hello.host),
                zone: Some(hello.zone).filter(|zone| (1..=ZONE_BYTES_MAX).contains(&zone.len())),
                tags: tags(&hello.tags),
                epochs,
                clock: clock(hello.clock),
                spool: spool(hello.spool),
                certificate_expires_at: Timestamp::from_micros(hello.certificate_expires_us),
            }))
        }
        Frame::Batch(batch) => {
            let codec = match pb::Codec::try_from(batch.codec) {
                Ok(pb::Codec::Identity) => Codec::Identity,
                Ok(pb::Codec::Zstd) => Codec::Zstd,
                Ok(pb::Codec::Unspecified) | Err(_) => {
                    return Err(FrameError::Malformed("a codec that was not agreed on"));
                }
            };
            if batch.first_seq == 0 {
                return Err(FrameError::Malformed("sequence numbers begin at 1"));
            }
            let first = seq(batch.first_seq)?;
            seq(batch.first_seq.saturating_add(u64::from(batch.count)))?;
            let payload = Payload { codec, raw_bytes: batch.raw_bytes, bytes: batch.payload };
            let events = unpack(payload, batch.count as usize)?;
            Ok(AgentFrame::Batch(Batch { epoch: epoch(&batch.epoch)?, first, events, codec }))
        }
        Frame::Heartbeat(beat) => Ok(AgentFrame::Heartbeat(Heartbeat {
            clock: clock(beat.clock),
            tails: cursors(beat.tails)?,
            watermark: Timestamp::from_micros(beat.watermark_us),
            spool: spool(beat.spool),
            certificate_expires_at: Timestamp::from_micros(beat.certificate_expires_us),
        })),
        Frame::Gap(gap) => {
            if gap.from_seq == 0 || gap.from_seq > gap.to_seq {
                return Err(FrameError::Malformed("a gap without places"));
            }
            Ok(AgentFrame::Gap(Gap {
                epoch: epoch(&gap.epoch)?,
                from: seq(gap.from_seq)?,
                to: seq(gap.to_seq)?,
                reason: numbered(&GapReason::ALL, gap.reason)
                    .filter(|reason| *reason != GapReason::Restamped)
                    .ok_or(FrameError::Malformed("a gap without a reason"))?,
            }))
        }
        Frame::Goodbye(goodbye) => Ok(AgentFrame::Goodbye(text(&goodbye.reason))),
        Frame::Renew(renew) => Ok(AgentFrame::Renew(renewal::renew(renew)?)),
        Frame::Renewed(renewed) => Ok(AgentFrame::Renewed(text(&renewed.fingerprint))),
    }
}

fn epoch_state(raw: &pb::EpochState) -> Result<EpochState, FrameError> {
    Ok(EpochState {
        epoch: epoch(&raw.epoch)?,
        first_retained: if raw.first_retained_seq == 0 { None } else { Some(seq(raw.first_retained_seq)?) },
        acked: seq(raw.acked_seq)?,
        acked_event: EventId::from_slice(&raw.acked_event_id),
        last_assigned: seq(raw.last_assigned_seq)?,
        predecessor: Epoch::from_slice(&raw.predecessor),
        restamped_through: seq(raw.restamped_through)?,
        reason: EpochReason::from_number(i64::from(raw.reason)),
    })
}

impl From<&MasterFrame> for pb::MasterFrame {
    fn from(frame: &MasterFrame) -> pb::MasterFrame {
        use pb::master_frame::Frame;
        let frame = match frame {
            MasterFrame::Welcome(welcome) => Frame::Welcome(pb::Welcome {
                session: welcome.session,
                store_id: welcome.store_id.to_vec(),
                resume: welcome
                    .resume
                    .iter()
                    .map(|resume| pb::Resume {
                        epoch: resume.epoch.as_bytes().to_vec(),
                        cursor_seq: resume.cursor.get(),
                        cursor_event_id: bytes_of(resume.cursor_event),
                        verdict: match resume.verdict {
                            Verdict::Continue => pb::Verdict::Continue,
                            Verdict::MasterBehind => pb::Verdict::MasterBehind,
                            Verdict::Forked => pb::Verdict::Forked,
                        } as i32,
                    })
                    .collect(),
                limits: Some(raw_limits(welcome.limits)),
                heartbeat_ms: welcome.heartbeat_ms,
                master_time_us: welcome.master_time.as_micros(),
                features: welcome.features.clone(),
                hosts: welcome.hosts.texts(),
            }),
            MasterFrame::Ack(ack) => {
                Frame::Ack(pb::Ack { cursors: raw_cursors(&ack.cursors), limits: ack.limits.map(raw_limits) })
            }
            MasterFrame::Resync(resync) => Frame::Resync(pb::Resync {
                epoch: resync.epoch.as_bytes().to_vec(),
                cursor_seq: resync.cursor.get(),
                reason: resync.reason.clone(),
            }),
            MasterFrame::Quarantined(one) => Frame::Quarantined(pb::Quarantined {
                epoch: one.epoch.as_bytes().to_vec(),
                seq: one.seq.get(),
                code: one.code.clone(),
                detail: one.detail.clone(),
            }),
            MasterFrame::Throttle(throttle) => Frame::Throttle(pb::Throttle {
                pause_ms: throttle.pause_ms,
                limits: throttle.limits.map(raw_limits),
                reason: throttle.reason.clone(),
            }),
            MasterFrame::GoAway(away) => Frame::GoAway(pb::GoAway {
                reason: GoAwayReason::ALL
                    .iter()
                    .position(|one| *one == away.reason)
                    .map_or(0, |at| at as i32 + 1),
                reconnect_min_ms: away.reconnect_min_ms,
                reconnect_max_ms: away.reconnect_max_ms,
                detail: away.detail.clone(),
            }),
            MasterFrame::HeartbeatReply(reply) => Frame::HeartbeatReply(pb::HeartbeatReply {
                master_time_us: reply.master_time.as_micros(),
                echo_boottime_us: reply.echo_boottime_us,
            }),
            MasterFrame::Certificate(chain) => Frame::Certificate(pb::Certificate { chain: chain.clone() }),
            MasterFrame::RenewalRefused(refused) => Frame::RenewalRefused(renewal::raw_refused(refused)),
        };
        pb::MasterFrame { frame: Some(frame) }
    }
}

/// Checks a frame of a master.
pub(super) fn master_frame(raw: pb::MasterFrame) -> Result<MasterFrame, FrameError> {
    use pb::master_frame::Frame;
    Ok(match raw.frame.ok_or(FrameError::Malformed("a frame of an unknown kind"))? {
        Frame::Welcome(welcome) if welcome.resume.len() > EPOCHS_MAX => {
            return Err(FrameError::Malformed("too many epochs"));
        }
        Frame::Welcome(welcome) => MasterFrame::Welcome(Welcome {
            session: welcome.session,
            store_id: <[u8; 16]>::try_from(welcome.store_id.as_slice())
                .map_err(|_| FrameError::Malformed("a store id has 16 bytes"))?,
            resume: welcome.resume.iter().map(resume).collect::<Result<_, _>>()?,
            limits: limits(welcome.limits).unwrap_or_default(),
            heartbeat_ms: welcome.heartbeat_ms,
            master_time: Timestamp::from_micros(welcome.master_time_us),
            features: features(welcome.features),
            hosts: hosts(&welcome.hosts),
        }),
        Frame::Ack(ack) => {
            MasterFrame::Ack(Ack { cursors: cursors(ack.cursors)?, limits: limits(ack.limits) })
        }
        Frame::Resync(resync) => MasterFrame::Resync(Resync {
            epoch: epoch(&resync.epoch)?,
            cursor: seq(resync.cursor_seq)?,
            reason: text(&resync.reason),
        }),
        Frame::Quarantined(one) => MasterFrame::Quarantined(Quarantined {
            epoch: epoch(&one.epoch)?,
            seq: seq(one.seq)?,
            code: text(&one.code),
            detail: text(&one.detail),
        }),
        Frame::Throttle(throttle) => MasterFrame::Throttle(Throttle {
            pause_ms: throttle.pause_ms,
            limits: limits(throttle.limits),
            reason: text(&throttle.reason),
        }),
        Frame::GoAway(away) => MasterFrame::GoAway(GoAway {
            // A reason of a newer version is still a reason to come back later.
            reason: numbered(&GoAwayReason::ALL, away.reason).unwrap_or(GoAwayReason::Shutdown),
            reconnect_min_ms: away.reconnect_min_ms,
            reconnect_max_ms: away.reconnect_max_ms,
            detail: text(&away.detail),
        }),
        Frame::HeartbeatReply(reply) => MasterFrame::HeartbeatReply(HeartbeatReply {
            master_time: Timestamp::from_micros(reply.master_time_us),
            echo_boottime_us: reply.echo_boottime_us,
        }),
        Frame::Certificate(certificate) => MasterFrame::Certificate(renewal::chain(certificate)?),
        Frame::RenewalRefused(refused) => MasterFrame::RenewalRefused(renewal::refused(&refused)),
    })
}

fn resume(raw: &pb::Resume) -> Result<Resume, FrameError> {
    Ok(Resume {
        epoch: epoch(&raw.epoch)?,
        cursor: seq(raw.cursor_seq)?,
        cursor_event: EventId::from_slice(&raw.cursor_event_id),
        verdict: match pb::Verdict::try_from(raw.verdict) {
            Ok(pb::Verdict::Continue) => Verdict::Continue,
            Ok(pb::Verdict::MasterBehind) => Verdict::MasterBehind,
            Ok(pb::Verdict::Forked) => Verdict::Forked,
            Ok(pb::Verdict::Unspecified) | Err(_) => return Err(FrameError::Malformed("an unknown verdict")),
        },
    })
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

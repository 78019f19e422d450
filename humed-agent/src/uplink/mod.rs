//! What is in the spool reaches the master: in order, at least once, by itself after any absence.
//!
//! One session at a time. Between sessions it waits a random part of a pause that doubles, which starts anew after a
//! session of a minute with an acknowledgement. The spool is told what the master acknowledged and nothing else. When the
//! master has other events than this spool, a new epoch takes over and the next session goes on with that.

mod config;
pub mod connect;
mod identity;
mod master_time;
mod pace;
mod recovering;
mod recovery;
mod renewal;
mod renewing;
pub mod session;
mod telling;
mod zone;

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hume_core::name::{AgentId, Epoch, Seq, Tag};
use hume_core::{HostName, Timestamp};
use hume_proto::relay::{
    self, AgentFrame, Batch, EpochReason, EpochState, FrameError, MasterFrame, MasterFrames, Verdict, Welcome,
};
use hume_runtime::backoff::Backoff;
use hume_runtime::clock;
use hume_runtime::renewal::{NewKey, Occasion};
use hume_runtime::task_group::Stop;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::drops::Drops;
use crate::hosts::Hosts;
use crate::metrics::{Metrics, UplinkState};
use crate::spool::{SpoolError, SpoolReader, SpoolWriter, Stretch, Tail};

pub use config::Config;
pub use connect::{ConnectError, Dial, Tcp, identity};
use identity::{Identities, Shown};
use master_time::MasterTime;
use recovering::is_hopeless;
use renewal::Renewal;
use session::{Broken, Found, Session, Want};

/// A session of this length with an acknowledgement makes the pauses start anew.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);
/// The master's first answer must come within this time.
const WELCOME_TIME_MAX: Duration = Duration::from_secs(20);
/// The master gets this long to take a goodbye.
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(1);
/// Frames that wait to be written to the stream.
const OUTGOING_MAX: usize = 8;
/// A machine started less than this ago is one of a fleet that powers up.
const JUST_BOOTED_US: u64 = 300 * 1_000_000;
/// Heartbeats are spread by this part of their interval.
const HEARTBEAT_SPREAD: f64 = 0.2;
/// After a refusal that waiting does not cure, the pause is at least this part of the longest.
const HOPELESS_PART: u32 = 2;
/// A master that is slow is given this long at most.
const THROTTLE_TIME_MAX: Duration = Duration::from_mins(1);
/// A clock that is this far behind the master's is worth a line in the log.
const CLOCK_BEHIND_US: i64 = 300 * 1_000_000;
/// Sessions that fail to read the same place of the spool before it is declared a gap.
const READ_TRIES_MAX: u32 = 3;

/// A session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the master refused or left: {0}")]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the certificate of this host ended at {at} and was not renewed: {why}")]
    CertificateEnded { at: Timestamp, why: recovery::Refused },
    #[error("the master did not answer within {} s", WELCOME_TIME_MAX.as_secs())]
    Silent,
    #[error("a new epoch has begun, which the master is told of in a new session")]
    NewEpoch,
    #[error("the master ended the session: {detail}")]
    GoAway { detail: String, pause: Duration },
    #[error("the master ended the stream")]
    Ended,
}

/// What outlives the sessions.
#[derive(Debug, Default)]
struct Course {
    /// The session that goes on has had an acknowledgement.
    acked: bool,
    /// The place that could not be read, and how often.
    unreadable: Option<(Epoch, Seq, u32)>,
    /// Nothing is sent until then: the master is slow.
    quiet_until: Option<Instant>,
    /// Why the master set the last event aside.
    set_aside: Option<String>,
}

impl Course {
    /// Notes that a place could not be read; true when that is to be believed.
    fn is_lost(&mut self, epoch: Epoch, seq: Seq) -> bool {
        let tries = match self.unreadable {
            Some((known, at, tries)) if (known, at) == (epoch, seq) => tries + 1,
            _ => 1,
        };
        self.unreadable = Some((epoch, seq, tries));
        tries >= READ_TRIES_MAX
    }

    fn is_quiet(&self) -> bool {
        self.quiet_until.is_some_and(|until| Instant::now() < until)
    }
}

/// A session after its Welcome.
struct Open {
    session: Session,
    heartbeat_every: Duration,
    outgoing: mpsc::Sender<AgentFrame>,
    incoming: MasterFrames,
    tail: watch::Receiver<Tail>,
    certificate_expires_at: Timestamp,
    renewal: Renewal,
    /// What a new key is proved for.
    occasion: Occasion,
    /// The key that waits for its certificate.
    new_key: Option<NewKey>,
}

/// The way to the master.
#[derive(Debug)]
pub struct Uplink<D = Tcp> {
    config: Config,
    host: HostName,
    tags: Vec<Tag>,
    agent: AgentId,
    /// Tells this process from a copy of it.
    instance: [u8; 16],
    writer: SpoolWriter,
    reader: SpoolReader,
    identities: Identities,
    master_time: MasterTime,
    hosts: Hosts,
    /// What is on its way to the spool without the spool knowing of it.
    drops: Option<Drops>,
    metrics: Arc<Metrics>,
    dial: Arc<D>,
}

impl Uplink {
    /// An uplink that has not connected yet. `state` is the folder for what it learns: the master's time, and renewed certificates.
    pub fn new(
        config: Config,
        host: HostName,
        agent: AgentId,
        writer: SpoolWriter,
        reader: SpoolReader,
        state: &Path,
        metrics: Arc<Metrics>,
    ) -> Uplink {
        metrics.update_uplink(|uplink| {
            uplink.state = UplinkState::Disconnected;
            uplink.since = clock::now();
            uplink.address = Some(config.address.clone());
        });
        let (instance, dial) = (hume_runtime::random::bytes(), Arc::new(Tcp));
        let (identities, master_time) = (Identities::new(&config, state), MasterTime::open(state));
        let (hosts, drops) = (Hosts::alone(host.clone()), None);
        Uplink {
            config,
            host,
            tags: Vec::new(),
            agent,
            instance,
            writer,
            reader,
            identities,
            master_time,
            hosts,
            drops,
            metrics,
            dial,
        }
    }

    /// The same, telling these for which hosts the master lets this agent report.
    #[must_use]
    pub fn teaching(self, hosts: Hosts) -> Uplink {
        Uplink { hosts, ..self }
    }

    /// The same, whose host has these tags.
    #[must_use]
    pub fn tagged(self, tags: Vec<Tag>) -> Uplink {
        Uplink { tags, ..self }
    }

    /// The same, which claims nothing beyond what lies in the drop folder.
    #[must_use]
    pub fn minding(self, drops: Drops) -> Uplink {
        Uplink { drops: Some(drops), ..self }
    }

    /// The same over another network.
    pub fn over<D: Dial>(self, dial: D) -> Uplink<D> {
        let Uplink {
            config,
            host,
            tags,
            agent,
            instance,
            writer,
            reader,
            identities,
            master_time,
            hosts,
            drops,
            metrics,
            dial: _,
        } = self;
        let dial = Arc::new(dial);
        Uplink {
            config,
            host,
            tags,
            agent,
            instance,
            writer,
            reader,
            identities,
            master_time,
            hosts,
            drops,
            metrics,
            dial,
        }
    }
}

impl<D: Dial> Uplink<D> {
    /// Holds sessions until the stop is set.
    ///
    /// # Errors
    /// None today: every failure is a reason to try again.
    pub async fn run(self, stop: Stop) -> anyhow::Result<()> {
        let longest = Duration::from_millis(self.config.retry_max_ms);
        let mut backoff = Backoff::new(Duration::from_millis(self.config.retry_min_ms), 2.0, longest);
        let boot_delay_max = Duration::from_millis(self.config.boot_delay_max_ms);
        let delay = first_delay(clock::boottime_us(), boot_delay_max, fastrand::f64());
        if wait(delay, &stop).await {
            return Ok(());
        }
        let mut course = Course::default();
        loop {
            let began = Instant::now();
            course.acked = false;
            course.quiet_until = None;
            let ended = self.session(&stop, &mut course).await;
            let state_before = self.metrics.uplink().state;
            let Err(error) = ended else { return Ok(()) };
            self.metrics.update_uplink(|uplink| {
                uplink.state = UplinkState::Disconnected;
                uplink.since = clock::now();
                uplink.last_error = Some((error.to_string(), clock::now()));
            });
            if is_healthy(course.acked, began.elapsed()) {
                backoff.reset();
            }
            if let SessionError::Broken(Broken::Forked { epoch, .. }) = error
                && let Err(failed) = self.writer.succeed(epoch, EpochReason::Forked).await
            {
                error!(error = &failed as &dyn std::error::Error, %epoch, "no new epoch could be begun");
            }
            let pause = match &error {
                SessionError::GoAway { pause, .. } if !pause.is_zero() => *pause,
                error if is_hopeless(error) => backoff.next_delay().max(longest / HOPELESS_PART),
                _ => backoff.next_delay(),
            };
            // A master that is away is one line when it goes, not one for each try.
            if state_before == UplinkState::Connected || self.is_news(&error) {
                warn!(%error, pause_ms = pause.as_millis() as u64, "no session with the master; the spool keeps everything");
            }
            if wait(pause, &stop).await {
                return Ok(());
            }
        }
    }

    fn is_news(&self, error: &SessionError) -> bool {
        let text = error.to_string();
        let mut news = false;
        self.metrics.update_uplink(|uplink| {
            news = uplink.last_logged.as_ref() != Some(&text);
            uplink.last_logged = Some(text);
        });
        news
    }

    /// One session, from the connection to its end. Ok when the stop was set.
    async fn session(&self, stop: &Stop, course: &mut Course) -> Result<(), SessionError> {
        let mut open = tokio::select! {
            () = stop.wait() => return Ok(()),
            open = self.open() => open?,
        };
        // Whatever it waits for, the disk or a master that takes nothing: a stop ends it there.
        tokio::select! {
            () = stop.wait() => {}
            ended = self.converse(&mut open, course) => return ended,
        }
        self.goodbye(open, course).await;
        Ok(())
    }

    async fn open_as(&self, shown: &Shown) -> Result<Open, SessionError> {
        let heard = self.master_time.latest();
        let channel = connect::channel(&self.config, &shown.identity, heard, &self.dial).await?;
        let certificate_expires_at = shown.agent.not_after;
        self.metrics.update_uplink(|uplink| uplink.certificate_expires_at = Some(certificate_expires_at));
        let tail = self.writer.tail();
        let hello = self.hello(certificate_expires_at).await?;
        let epochs = hello.epochs.clone();
        let (outgoing, frames) = mpsc::channel(OUTGOING_MAX);
        send(&outgoing, AgentFrame::Hello(hello)).await?;
        let opened = async {
            let mut frames = relay::open(channel, frames).await?;
            let first = frames.next().await?;
            Ok::<_, FrameError>((frames, first))
        };
        let opened = tokio::time::timeout(WELCOME_TIME_MAX, opened).await;
        let (incoming, first) = opened.map_err(|_| SessionError::Silent)??;
        let welcome = match first {
            Some(MasterFrame::Welcome(welcome)) => welcome,
            Some(MasterFrame::GoAway(away)) => return Err(go_away(away)),
            Some(_) => return Err(FrameError::Malformed("the first answer is not a Welcome").into()),
            None => return Err(SessionError::Ended),
        };
        self.note_master_time(&welcome, certificate_expires_at);
        self.hosts.learn(&welcome.hosts);
        self.check_cursors(&epochs, &welcome).await?;
        let session = Session::begin(&epochs, &welcome)?;
        info!(session = welcome.session, master = %self.config.address, agent = %self.agent, "connected to the master");
        self.metrics.sessions.inc();
        self.metrics.update_uplink(|uplink| {
            uplink.state = UplinkState::Connected;
            uplink.since = clock::now();
            uplink.last_logged = None;
        });
        for resume in &welcome.resume {
            if resume.verdict == Verdict::MasterBehind {
                let (epoch, cursor) = (resume.epoch, resume.cursor);
                warn!(%epoch, %cursor, "the master has lost events that it had acknowledged: it gets again what is still here");
            }
            // What was acknowledged while nobody listened.
            self.writer.acknowledge(resume.epoch, resume.cursor)?;
        }
        let heartbeat_every = Duration::from_millis(u64::from(welcome.heartbeat_ms.clamp(100, 600_000)));
        let renewal = Renewal::begin(&welcome, shown.renew_at, shown.standing, self.identities.has_next());
        let occasion = Occasion { store_id: welcome.store_id, session: welcome.session };
        Ok(Open {
            session,
            heartbeat_every,
            outgoing,
            incoming,
            tail,
            certificate_expires_at,
            renewal,
            occasion,
            new_key: None,
        })
    }

    fn note_master_time(&self, welcome: &Welcome, certificate_expires_at: Timestamp) {
        let behind_us = welcome.master_time.as_micros().saturating_sub(clock::now().as_micros());
        if behind_us > CLOCK_BEHIND_US {
            warn!(
                behind_s = behind_us / 1_000_000,
                "the clock of this host is far behind the master's: events have wrong times"
            );
        }
        self.master_time.note(welcome.master_time, certificate_expires_at);
    }

    /// Sends what there is and takes what is answered, until the session breaks. Ok when the spool has closed.
    async fn converse(&self, open: &mut Open, course: &mut Course) -> Result<(), SessionError> {
        let heartbeat_every = open.heartbeat_every;
        let sleep = || self.dial.sleep(spread(heartbeat_every));
        let mut beat = pin!(sleep());
        loop {
            let now = *open.tail.borrow_and_update();
            if !open.session.appended(now.epoch, now.last) {
                return Err(SessionError::NewEpoch);
            }
            self.renew(open).await?;
            if !course.is_quiet() {
                self.send_all(open, course).await?;
            }
            let quiet_until = course.quiet_until.filter(|_| course.is_quiet());
            // Acks come 50 times a second at most: they cannot keep what stands below them waiting.
            tokio::select! {
                biased;
                frame = open.incoming.next() => self.receive(frame?, &mut open.session, &mut open.renewal, course)?,
                () = until(quiet_until) => course.quiet_until = None,
                changed = open.tail.changed() => if changed.is_err() { return Ok(()) },
                () = &mut beat => {
                    let heartbeat = self.heartbeat(&open.session, open.certificate_expires_at).await?;
                    send(&open.outgoing, AgentFrame::Heartbeat(heartbeat)).await?;
                    beat.set(sleep());
                }
            }
        }
    }

    /// Where the master is ahead of what it told us, its event must be the one that stands there.
    async fn check_cursors(&self, epochs: &[EpochState], welcome: &Welcome) -> Result<(), SessionError> {
        for resume in &welcome.resume {
            let Some(state) = epochs.iter().find(|state| state.epoch == resume.epoch) else { continue };
            let ahead = resume.verdict == Verdict::Continue && resume.cursor > state.acked;
            if !ahead || resume.cursor > state.last_assigned {
                continue;
            }
            // Where one of the two has no event to compare, a new epoch costs little and swallows nothing.
            let own = self.reader.at(resume.epoch, resume.cursor).await?.map(|(id, _)| id);
            if own != resume.cursor_event {
                return Err(Broken::Forked { epoch: resume.epoch, cursor: resume.cursor }.into());
            }
        }
        Ok(())
    }

    /// Sends what the window allows; takes answers as they come, so that neither side waits for the other.
    async fn send_all(&self, open: &mut Open, course: &mut Course) -> Result<(), SessionError> {
        let Open { session, outgoing, incoming, renewal, .. } = open;
        while !course.is_quiet()
            && let Some(want) = session.wants()
        {
            let frame = match self.read(want, course).await? {
                Stretch::Events(events) => {
                    let bytes = events.iter().map(hume_proto::event::EventBytes::len).sum();
                    session.loaded(
                        want,
                        Found::Events { events: events.len(), bytes },
                        Instant::now().into_std(),
                    );
                    self.metrics.sent.inc_by(events.len() as u64);
                    let (epoch, first, codec) = (want.epoch, want.from, session.codec());
                    (!events.is_empty()).then_some(AgentFrame::Batch(Batch { epoch, first, events, codec }))
                }
                Stretch::Hole { through, reason } => {
                    let gap =
                        session.loaded(want, Found::Hole { through, reason }, Instant::now().into_std());
                    gap.map(|gap| {
                        let (from, to, reason) = (gap.from, gap.to, reason.as_str());
                        warn!(epoch = %gap.epoch, %from, %to, reason, "events the master does not have are no longer here");
                        AgentFrame::Gap(gap)
                    })
                }
            };
            let Some(frame) = frame else { continue };
            loop {
                tokio::select! {
                    biased;
                    permit = outgoing.reserve() => {
                        permit.map_err(|_| SessionError::Ended)?.send(frame);
                        break;
                    }
                    answer = incoming.next() => self.receive(answer?, session, renewal, course)?,
                }
            }
        }
        Ok(())
    }

    /// What the spool has for `want`. A place that cannot be read ends the session, which is tried again; in the end it is a hole.
    async fn read(&self, want: Want, course: &mut Course) -> Result<Stretch, SessionError> {
        let Want { epoch, from, events_max, bytes_max } = want;
        match self.reader.stretch(epoch, from, events_max, bytes_max).await {
            Err(error) if error.is_unreadable() && course.is_lost(epoch, from) => {
                let hole = self.reader.unreadable(epoch, from, events_max as u64).await?;
                Ok(hole.ok_or(error)?)
            }
            other => Ok(other?),
        }
    }

    fn receive(
        &self,
        frame: Option<MasterFrame>,
        session: &mut Session,
        renewal: &mut Renewal,
        course: &mut Course,
    ) -> Result<(), SessionError> {
        match frame.ok_or(SessionError::Ended)? {
            MasterFrame::Ack(ack) => {
                course.acked = true;
                for cursor in session.acked(&ack, Instant::now().into_std())? {
                    self.writer.acknowledge(cursor.epoch, cursor.seq)?;
                    self.metrics.acked.inc();
                }
                Ok(())
            }
            MasterFrame::Resync(resync) => {
                info!(epoch = %resync.epoch, cursor = %resync.cursor, reason = resync.reason, "the master asks to go on from another place");
                session.resync(&resync)?;
                Ok(())
            }
            MasterFrame::Quarantined(one) => {
                // Of many of the same kind one line is enough.
                if course.set_aside.as_ref() != Some(&one.detail) {
                    warn!(epoch = %one.epoch, seq = %one.seq, code = one.code, detail = one.detail, "the master set an event aside");
                    course.set_aside = Some(one.detail);
                }
                Ok(())
            }
            MasterFrame::GoAway(away) => Err(go_away(away)),
            MasterFrame::Throttle(relay::Throttle { pause_ms, limits, reason }) => {
                info!(pause_ms, reason, "the master is slow");
                if let Some(limits) = limits {
                    session.limit(limits);
                }
                let pause = Duration::from_millis(u64::from(pause_ms)).min(THROTTLE_TIME_MAX);
                course.quiet_until = Some(Instant::now() + pause);
                Ok(())
            }
            MasterFrame::HeartbeatReply(reply) => {
                renewal.told(reply.master_time);
                Ok(())
            }
            MasterFrame::Certificate(chain) => Ok(renewal.answered(chain)?),
            MasterFrame::RenewalRefused(refused) => {
                let code = refused.class.as_str();
                warn!(code, detail = refused.detail, "the master does not renew this agent's certificate");
                renewal.refused(&refused);
                Ok(())
            }
            MasterFrame::Welcome(_) => Err(FrameError::Malformed("a second Welcome").into()),
        }
    }

    /// Says goodbye and lets the stream end, so that the master can tell a stop from a crash. What it acknowledges
    /// meanwhile need not be sent again at the next start.
    async fn goodbye(&self, open: Open, course: &mut Course) {
        let Open { mut session, outgoing, mut incoming, mut renewal, .. } = open;
        let farewell = async {
            send(&outgoing, AgentFrame::Goodbye("the agent stops".to_owned())).await?;
            while let Some(frame) = incoming.next().await? {
                self.receive(Some(frame), &mut session, &mut renewal, course)?;
            }
            Ok::<_, SessionError>(())
        };
        // The master may be slow or gone; the stop is not.
        let _ = tokio::time::timeout(GOODBYE_TIME_MAX, farewell).await;
    }
}

/// How long the first try waits: a fleet that powers up does not come at once. `chance` is from 0 to 1.
fn first_delay(boottime_us: u64, max: Duration, chance: f64) -> Duration {
    if boottime_us < JUST_BOOTED_US { max.mul_f64(chance) } else { Duration::ZERO }
}

/// Whether a session was such that the pauses start anew after it: many short ones are a fault that goes on.
fn is_healthy(acked: bool, lasted: Duration) -> bool {
    acked && lasted >= HEALTHY_AFTER
}

fn go_away(away: relay::GoAway) -> SessionError {
    let spread = f64::from(away.reconnect_max_ms.saturating_sub(away.reconnect_min_ms)) * fastrand::f64();
    let pause =
        Duration::from_millis(u64::from(away.reconnect_min_ms)) + Duration::from_secs_f64(spread / 1000.0);
    let detail = if away.detail.is_empty() { away.reason.as_str().to_owned() } else { away.detail };
    SessionError::GoAway { detail, pause }
}

fn spread(every: Duration) -> Duration {
    every.mul_f64(1.0 - HEARTBEAT_SPREAD + 2.0 * HEARTBEAT_SPREAD * fastrand::f64())
}

async fn send(outgoing: &mpsc::Sender<AgentFrame>, frame: AgentFrame) -> Result<(), SessionError> {
    outgoing.send(frame).await.map_err(|_| SessionError::Ended)
}

/// Completes at this moment; never without one.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// True when the stop was set while waiting.
async fn wait(pause: Duration, stop: &Stop) -> bool {
    tokio::select! {
        () = stop.wait() => true,
        () = tokio::time::sleep(pause) => false,
    }
}

#[cfg(test)]
mod tests;

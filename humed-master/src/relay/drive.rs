//! Drives one session: turns frames, clocks and commits into signals, and commands into I/O. Holds no rules.

use std::pin::Pin;
use std::time::Duration;

use hume_core::host_patterns::HostPatterns;
use hume_proto::relay::{
    AgentFrame, AgentFrames, FrameError, GoAwayReason, Hello, Limits, MasterFrame, Quarantined,
};
use hume_runtime::clock;
use hume_runtime::points::{self, Point};
use hume_runtime::task_group::Stop;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::clones::{Clones, Standing};
use super::directory::{Directory, Place};
use super::renewing::{Issuing, Sent};
use super::session::{Command, Now, Renewing, Session, Signal};
use super::told::Told;
use super::turns::Turns;
use crate::intake::{Intake, Parcel, SessionNo, Visitor};
use crate::metrics::{Metrics, Refused};
use crate::registry::View;

/// An agent that does not take a frame within this time is gone.
const SEND_TIME_MAX: Duration = Duration::from_secs(5);
/// Returning agents per second when the master stops: 10,000 are back within 50 s.
const RETURNS_PER_SECOND: usize = 200;
/// Nobody returns earlier after a stop, in milliseconds: a restart takes a moment.
const RETURN_MIN_MS: u32 = 500;

/// What the sessions of one relay share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) intake: Intake,
    pub(super) directory: Directory,
    pub(super) clones: Clones,
    pub(super) turns: Turns,
    pub(super) told: Told,
    pub(super) agents: View,
    pub(super) issuing: Option<Issuing>,
    pub(super) stop: Stop,
    pub(super) metrics: Metrics,
}

type Work = Pin<Box<dyn Future<Output = Signal> + Send>>;

/// One session on its way.
struct Drive {
    shared: Shared,
    visitor: Visitor,
    answers: mpsc::Sender<MasterFrame>,
    superseded: Stop,
    /// The commit or the entrance under way.
    work: Option<Work>,
    /// The renewal under way, and the certificate that came of one.
    renewal: Option<Work>,
    sent: Option<Sent>,
    place: Option<(SessionNo, Place)>,
    /// For which hosts the agent may report, as it was told.
    hosts: HostPatterns,
    /// The agent said goodbye.
    goodbye: bool,
}

/// Runs a session to its end.
pub(super) async fn drive(
    shared: Shared,
    visitor: Visitor,
    age_max: Duration,
    mut frames: AgentFrames,
    answers: mpsc::Sender<MasterFrame>,
) {
    let stop = shared.stop.clone();
    let superseded = Stop::new();
    // Those that are here already and this one.
    let limits = Limits::shared_by(shared.directory.len() + 1);
    let renewing = if shared.issuing.is_some() { Renewing::Here } else { Renewing::Elsewhere };
    let mut session = Session::new(Instant::now().into_std(), age_max, limits, renewing);
    let (mut is_stopping, mut is_superseded) = (false, false);
    let mut drive = Drive {
        shared,
        visitor,
        answers,
        superseded: superseded.clone(),
        work: None,
        renewal: None,
        sent: None,
        place: None,
        hosts: HostPatterns::default(),
        goodbye: false,
    };
    loop {
        let wake_at = session.wake_at();
        let signal = tokio::select! {
            biased;
            () = superseded.wait(), if !is_superseded => {
                is_superseded = true;
                drive.denied().or_else(|| drive.retold()).unwrap_or(Signal::Superseded)
            }
            () = stop.wait(), if !is_stopping => {
                is_stopping = true;
                let (min, max) = return_range(drive.shared.directory.len());
                Signal::Stop(min, max)
            }
            signal = finished(&mut drive.work) => {
                drive.work = None;
                drive.note(&signal);
                signal
            }
            signal = finished(&mut drive.renewal) => {
                drive.renewal = None;
                if let Signal::Renewal(answer) = &signal {
                    drive.sent = Sent::of(answer);
                }
                signal
            }
            () = wake(wake_at) => Signal::Wake,
            frame = frames.next(), if session.wants_frames() => signal_of(frame),
        };
        let limits = Limits::shared_by(drive.shared.directory.len());
        let now = Now { instant: Instant::now().into_std(), wall: clock::now(), limits };
        for command in session.on(signal, now) {
            if let Err(Over(error)) = drive.act(command).await {
                drive.end(error).await;
                return;
            }
        }
    }
}

/// The session is over, and what was wrong.
struct Over(Option<String>);

impl Drive {
    async fn act(&mut self, command: Command) -> Result<(), Over> {
        match command {
            Command::Enter(hello) => {
                if let Some(denied) = self.denied() {
                    self.work = Some(Box::pin(std::future::ready(denied)));
                    return Ok(());
                }
                if let Some(why) = self.is_cloned(&hello) {
                    self.work = Some(Box::pin(std::future::ready(Signal::Cloned(why))));
                    return Ok(());
                }
                let (intake, visitor) = (self.shared.intake.clone(), self.visitor.clone());
                let hosts = self.shared.agents.hosts(visitor.agent);
                let issuing = self.shared.issuing.clone();
                self.work = Some(Box::pin(async move {
                    if let Some(issuing) = issuing
                        && let Err(error) = issuing.confirm(visitor.agent, visitor.serial.clone()).await
                    {
                        return Signal::NotEntered(error.class(), error.to_string());
                    }
                    match intake.enter(visitor, hello, hosts, clock::now()).await {
                        Ok(admitted) => Signal::Entered(admitted),
                        Err(error) => Signal::NotEntered(error.class(), error.to_string()),
                    }
                }));
            }
            Command::Commit(parcels) => {
                // Without a session nothing is read that could be committed.
                let Some(session) = self.session() else { return Ok(()) };
                if let Some(denied) = self.denied() {
                    self.work = Some(Box::pin(std::future::ready(denied)));
                    return Ok(());
                }
                points::reach(Point::MasterReceived);
                let (intake, agent) = (self.shared.intake.clone(), self.visitor.agent);
                let hosts = self.shared.agents.hosts(agent);
                let (turns, bytes) = (self.shared.turns.clone(), parcels.iter().map(Parcel::bytes).sum());
                self.work = Some(Box::pin(async move {
                    let _turn = turns.take(bytes).await;
                    match intake.admit((agent, &hosts), session, parcels, clock::now()).await {
                        Ok(receipts) => Signal::Committed(receipts),
                        Err(error) => {
                            tracing::error!(error = &error as &dyn std::error::Error, %agent, "could not store a batch");
                            Signal::NotCommitted(error.to_string())
                        }
                    }
                }));
            }
            Command::Send(frame) => {
                if matches!(frame, MasterFrame::Ack(_)) && points::fails(Point::MasterBeforeAck) {
                    return Err(Over(Some("a fault that was asked for".to_owned())));
                }
                self.tell(&frame);
                let sent = tokio::time::timeout(SEND_TIME_MAX, self.answers.send(frame)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return Err(Over(Some("the agent takes no answers any more".to_owned())));
                }
            }
            Command::Renew(public_key) => {
                // It was offered by whoever can do it.
                let Some(issuing) = self.shared.issuing.clone() else { return Ok(()) };
                let visitor = self.visitor.clone();
                self.renewal =
                    Some(Box::pin(async move { Signal::Renewal(issuing.renew(visitor, public_key).await) }));
            }
            Command::Renewed(fingerprint) => self.renewed(&fingerprint).await,
            Command::Seen(beat) => {
                if self.retold().is_some() {
                    self.superseded.set();
                }
                if let Some(session) = self.session() {
                    self.shared.intake.seen(self.visitor.agent, session, beat, clock::now());
                }
            }
            Command::Goodbye => self.goodbye = true,
            Command::Close(error) => return Err(Over(error)),
        }
        Ok(())
    }

    /// The agent has the certificate that it was sent: from now on this session counts as one that shows it.
    async fn renewed(&mut self, fingerprint: &str) {
        let Some(issuing) = &self.shared.issuing else { return };
        let Some(sent) = self.sent.take_if(|sent| sent.fingerprint == fingerprint) else { return };
        let agent = self.visitor.agent;
        tracing::info!(%agent, fingerprint, "renewed the certificate of an agent");
        if let Err(error) = issuing.confirm(agent, sent.serial.clone()).await {
            // The first session that shows it confirms it as well.
            tracing::warn!(error = &error as &dyn std::error::Error, %agent, "could not note that a certificate is in use");
        }
        self.visitor.serial = sent.serial;
    }

    /// The agent must hear anew for which hosts it may report, if that has changed.
    fn retold(&self) -> Option<Signal> {
        (self.place.is_some() && self.hosts != self.shared.agents.hosts(self.visitor.agent))
            .then_some(Signal::Retold)
    }

    /// Why the agent may not speak, if it may not.
    fn denied(&self) -> Option<Signal> {
        self.shared.agents.check(self.visitor.agent).err().map(Signal::Denied)
    }

    /// Why this process is not let in now: another one has its identity, and it is that one's turn.
    fn is_cloned(&self, hello: &Hello) -> Option<String> {
        let Visitor { agent, address, .. } = &self.visitor;
        let standing = self.shared.clones.hello(*agent, hello.instance?, Instant::now().into_std());
        if standing == Standing::Only {
            return None;
        }
        let what = "two processes use one agent's identity; each is heard in turn";
        if let Some(left_out) = self.shared.told.is_news(*agent, what) {
            tracing::error!(%agent, address, host = hello.host, left_out, "{what}");
        }
        let why = "another process uses this agent's identity, and it is that one's turn: give one of the two hosts a \
                   certificate and a spool of its own";
        (standing == Standing::OutOfTurn).then(|| why.to_owned())
    }

    /// What the administrator should know of a frame.
    fn tell(&self, frame: &MasterFrame) {
        match frame {
            MasterFrame::Quarantined(Quarantined { epoch, seq, code, detail }) => {
                // Of a flood of the same kind one line is enough; all of them are counted.
                let agent = self.visitor.agent;
                if let Some(left_out) = self.shared.told.is_news(agent, code) {
                    tracing::warn!(%agent, %epoch, %seq, why = detail, left_out, "put an event into quarantine");
                }
            }
            MasterFrame::GoAway(away) if away.reason == GoAwayReason::Protocol => {
                self.shared.metrics.refused(Refused::Protocol);
            }
            MasterFrame::GoAway(away)
                if matches!(away.reason, GoAwayReason::Revoked | GoAwayReason::CloneSuspected) =>
            {
                self.shared.metrics.refused(Refused::Agent);
            }
            MasterFrame::Welcome(_)
            | MasterFrame::Ack(_)
            | MasterFrame::Resync(_)
            | MasterFrame::Throttle(_)
            | MasterFrame::GoAway(_)
            | MasterFrame::HeartbeatReply(_)
            | MasterFrame::Certificate(_)
            | MasterFrame::RenewalRefused(_) => {}
        }
    }

    fn session(&self) -> Option<SessionNo> {
        self.place.as_ref().map(|(session, _)| *session)
    }

    /// Takes the session's place among the others once it has a number.
    fn note(&mut self, signal: &Signal) {
        if let Signal::Entered(admitted) = signal {
            let Visitor { agent, address, .. } = &self.visitor;
            tracing::info!(%agent, address, session = admitted.session.0, "agent connected");
            self.hosts.clone_from(&admitted.hosts);
            let place = self.shared.directory.enter(*agent, admitted.session, &self.superseded);
            self.place = Some((admitted.session, place));
            // What changed between the Hello and here was told to the others alone.
            if self.shared.agents.check(*agent).is_err() {
                self.superseded.set();
            }
        }
    }

    async fn end(mut self, error: Option<String>) {
        // An entrance that is still under way would leave an agent that seems connected.
        if let Some(work) = self.work.take()
            && self.place.is_none()
        {
            let signal = work.await;
            self.note(&signal);
        }
        let Visitor { agent, address, .. } = &self.visitor;
        if let Some(why) = &error {
            if let Some(left_out) = self.shared.told.is_news(*agent, why) {
                tracing::warn!(%agent, address, why, left_out, "session ended");
            }
        } else {
            tracing::info!(%agent, address, "agent disconnected");
        }
        let Some((session, place)) = self.place else { return };
        drop(place);
        if let Err(error) = self.shared.intake.leave(*agent, session, error, self.goodbye, clock::now()).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, %agent, "could not note the end of a session");
        }
    }
}

fn signal_of(frame: Result<Option<AgentFrame>, FrameError>) -> Signal {
    match frame {
        Ok(Some(frame)) => Signal::Frame(frame),
        Ok(None) => Signal::Ended,
        Err(error @ FrameError::Malformed(_)) => Signal::Malformed(error.to_string()),
        Err(error @ FrameError::Broken { .. }) => Signal::Broken(error.to_string()),
    }
}

async fn finished(work: &mut Option<Work>) -> Signal {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

async fn wake(at: Option<std::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// When agents may come back after a stop, in milliseconds.
fn return_range(agents: usize) -> (u32, u32) {
    let spread_ms = u32::try_from(agents * 1000 / RETURNS_PER_SECOND).unwrap_or(u32::MAX);
    (RETURN_MIN_MS, spread_ms.max(4 * RETURN_MIN_MS))
}

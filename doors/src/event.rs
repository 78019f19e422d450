//! Bytes of an event, as a batch or a store has them: kept when nobody understands them; when somebody does, they can go anywhere.

use std::time::Duration;

use hume_core::event::{EVENT_BYTES_MAX, Event, StoredEvent};
use hume_core::name::{Epoch, Seq};
use hume_core::policy::RunPolicy;
use hume_core::run::{Now, RunNames, RunState};
use hume_core::{HostName, Position, Timestamp};
use hume_proto::event::EventBytes;
use hume_proto::rest::{EventJson, RunContext, RunJson};

pub(crate) fn event(bytes: &[u8]) {
    stored(&EventBytes::from_raw(bytes.to_vec()));
}

/// What a master makes of the bytes of an event.
pub(crate) fn stored(bytes: &EventBytes) {
    let Ok(event) = bytes.decode() else { return };
    assert!(bytes.len() <= EVENT_BYTES_MAX);
    understood(&event);
}

/// Whatever is an event travels, rests, is folded into its run and is answered.
pub(crate) fn understood(event: &Event) {
    event.check().expect("a decoder lets no event in that is out of bounds");
    let bytes = EventBytes::encode(event);
    assert!(bytes.len() <= EVENT_BYTES_MAX, "an event that cannot travel: {} bytes", bytes.len());
    assert_eq!(&bytes.decode().expect("what was encoded is an event"), event);
    let position = Position { agent: None, epoch: Epoch::from_bytes([1; 16]), seq: Seq::ZERO.next() };
    let stored = StoredEvent { position, arrived_at: Some(event.received_at), event: event.clone() };
    answered(&EventJson::from(&stored));
    folded(&stored);
}

fn folded(first: &StoredEvent) {
    let Some(mut run) = RunState::open(first) else { return };
    let mut next = first.clone();
    next.position.seq = first.position.seq.next();
    run.apply(&next);
    let names = RunNames {
        id: run.id(),
        task: run.task(),
        host: HostName::parse(run.host()).expect("it came from one"),
        agent: run.agent(),
    };
    assert_eq!(RunState::unpack(names, &run.pack()), Some(run.clone()));
    // The ends of time, and the moment itself.
    for time in [i64::MIN, i64::MAX, first.event.time.as_micros()] {
        let now = Now::elsewhere(Timestamp::from_micros(time));
        let context = RunContext {
            now,
            agent_silent_for: Duration::ZERO,
            gaps: Vec::new(),
            more_events: 0,
            policy: &RunPolicy::default(),
        };
        let shown = RunJson::new(&run, context, Vec::new());
        assert!(shown.active_ms <= shown.duration_ms);
        let text = serde_json::to_string(&shown).expect("a run is JSON");
        assert_eq!(serde_json::from_str::<RunJson>(&text).expect("and is read as it was written"), shown);
    }
}

fn answered(json: &EventJson) {
    let text = serde_json::to_string(json).expect("an event is JSON");
    assert_eq!(&serde_json::from_str::<EventJson>(&text).expect("and is read as it was written"), json);
}

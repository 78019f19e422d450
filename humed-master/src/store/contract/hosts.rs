//! The part of the suite about what an agent says of its host, and how it left.

use hume_core::name::BootId;

use super::*;
use crate::store::types::{AgentRecord, HostWord};

/// What the agents of the suite say of their hosts.
pub(super) fn about() -> HostWord {
    let tags = ["nightly", "db"].map(|tag| Tag::parse(tag).unwrap()).to_vec();
    HostWord { boot: Some(BootId::from_bytes([5; 16])), zone: Some("Europe/Berlin".to_owned()), tags }
}

async fn only_agent<S: Inventory>(store: &S) -> AgentRecord {
    store.agents(Scope::default()).await.unwrap().items.remove(0)
}

/// What was last said of a host outlives the session; a goodbye, until the agent comes again.
pub(in super::super) fn what_an_agent_says_of_its_host_is_kept<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let session = store.enter(entrance(agent(AGENT), "web1")).await.unwrap().session;
        let record = only_agent(&store).await;
        assert_eq!((record.about, record.watermark, record.behind_us), (about(), None, 40));
        for (micros, watermark) in [(5_000, Some(at(4_900))), (6_000, None)] {
            store.seen(Sighting {
                agent: agent(AGENT),
                session,
                queue: None,
                tails: Vec::new(),
                behind_us: Some(70),
                watermark,
                at: at(micros),
            });
        }
        let record = only_agent(&store).await;
        assert_eq!((record.watermark, record.behind_us), (Some(at(4_900)), 70));

        let departure = |session, goodbye, micros| Departure {
            agent: agent(AGENT),
            session,
            error: None,
            goodbye,
            at: at(micros),
        };
        store.leave(departure(session, false, 7_000)).await.unwrap();
        let record = only_agent(&store).await;
        assert_eq!((record.goodbye_at, record.watermark), (None, Some(at(4_900))));

        let about = HostWord { tags: Vec::new(), ..about() };
        let again = Entrance { about: about.clone(), ..entrance(agent(AGENT), "web1") };
        let session = store.enter(again).await.unwrap().session;
        store.leave(departure(session, true, 9_000)).await.unwrap();
        let record = only_agent(&store).await;
        assert_eq!((record.goodbye_at, record.watermark), (Some(at(9_000)), Some(at(4_900))));
        assert_eq!(record.about, about);

        store.enter(entrance(agent(AGENT), "web1")).await.unwrap();
        assert_eq!(only_agent(&store).await.goodbye_at, None);
    });
}

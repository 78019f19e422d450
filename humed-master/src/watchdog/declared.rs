//! The watches of the configuration and those that hosts declared themselves, as one list.
//!
//! A host speaks for its own tasks alone, and not where a watch of the configuration is for the same task on the same host.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hume_core::watch::{Expectation, WATCHES_MAX, Watch};
use hume_runtime::task_group::Stop;
use jiff::tz::TimeZoneDatabase;
use tokio::sync::watch;

use super::Watchdog;
use crate::store::{Expectations, Expected};

/// After a failure of the store.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Who brings them together.
pub struct Declared {
    store: Arc<dyn Expectations>,
    configured: watch::Receiver<Arc<[Watch]>>,
    from_hosts: bool,
    /// What was said of those that do not count, so that it is said once.
    told: BTreeSet<String>,
}

impl Declared {
    /// Those of the configuration, which may change, and those of hosts, if `from_hosts` lets them speak.
    pub fn new(
        store: Arc<dyn Expectations>,
        configured: watch::Receiver<Arc<[Watch]>>,
        from_hosts: bool,
    ) -> Declared {
        Declared { store, configured, from_hosts, told: BTreeSet::new() }
    }

    /// Has the watchdog watch all of them, whatever they become, until `stop`.
    ///
    /// # Errors
    /// None today: what cannot be read is tried again.
    pub async fn watch(mut self, watchdog: Watchdog, stop: Stop) -> anyhow::Result<()> {
        // Nothing begins before they are known: what the watchdog does not find among them is given up.
        let all = tokio::select! {
            () = stop.wait() => return Ok(()),
            all = self.all() => all,
        };
        let (all, wanted) = watch::channel(all);
        let follow = async {
            tokio::select! {
                () = stop.wait() => Ok(()),
                never = self.follow(&all) => match never {},
            }
        };
        tokio::try_join!(watchdog.run(wanted, stop.clone()), follow).map(drop)
    }

    async fn follow(&mut self, wanted: &watch::Sender<Arc<[Watch]>>) -> std::convert::Infallible {
        let mut expected = self.store.expected();
        loop {
            expected.mark_unchanged();
            let all = self.all().await;
            // The same again changes nothing of what is judged.
            wanted.send_if_modified(|known| {
                let is_news = *known != all;
                *known = all;
                is_news
            });
            tokio::select! {
                Ok(()) = expected.changed() => {}
                Ok(()) = self.configured.changed() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// All of them, as soon as it can be read what hosts said.
    async fn all(&mut self) -> Arc<[Watch]> {
        let said = loop {
            match self.store.expectations().await {
                Ok(said) => break said,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "could not read what hosts expect"
                    );
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        };
        let said = if self.from_hosts { said } else { Vec::new() };
        let configured = self.configured.borrow_and_update().clone();
        let Merged { watches, left } = merge(&configured, said, jiff::tz::db());
        for why in left.iter().filter(|why| !self.told.contains(*why)) {
            tracing::warn!("{why}");
        }
        self.told = left.into_iter().collect();
        watches.into()
    }
}

#[derive(Debug, Default)]
struct Merged {
    watches: Vec<Watch>,
    /// Why some are not among them, in words.
    left: Vec<String>,
}

fn merge(configured: &[Watch], said: Vec<Expected>, zones: &TimeZoneDatabase) -> Merged {
    let mut merged = Merged { watches: configured.to_vec(), left: Vec::new() };
    for Expected { task, host, text, said_at: _ } in said {
        let mut leave = |why: String| {
            merged
                .left
                .push(format!("what host \"{host}\" expects of task \"{task}\" does not count: {why}"));
        };
        let watch = match Expectation::parse(&text).and_then(|said| said.watch(&task, &host, zones)) {
            Ok(Some(watch)) => watch,
            Ok(None) => continue,
            // Its agent knows more than this master, or less.
            Err(why) => {
                leave(why.to_string());
                continue;
            }
        };
        let is_for = |other: &&Watch| {
            other.name == watch.name || (other.tasks.has(&task) && other.hosts.has(&host, &[]))
        };
        if let Some(other) = configured.iter().find(is_for) {
            leave(format!("watch.{} of the configuration is for it", other.name));
        } else if merged.watches.len() == WATCHES_MAX {
            leave(format!("there are {WATCHES_MAX} watches already"));
        } else {
            merged.watches.push(watch);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use hume_core::watch::Watches;
    use hume_core::{HostName, TaskName, Timestamp};

    fn said(host: &str, task: &str, text: &str) -> Expected {
        Expected {
            host: HostName::parse(host).unwrap(),
            task: TaskName::parse(task).unwrap(),
            text: text.to_owned(),
            said_at: Timestamp::EPOCH,
        }
    }

    #[test]
    fn the_configuration_comes_first_and_what_makes_no_sense_is_told() {
        let configured: Watches =
            toml::from_str("[BACKUP]\nschedule = \"daily\"\nhosts = [\"web*\"]").unwrap();
        let configured = configured.check(jiff::tz::db()).unwrap();
        let merged = merge(
            &configured,
            vec![
                said("db1", "BACKUP", "0 2 * * *; start_grace=30m"),
                said("db1", "OLD", "never"),
                said("db1", "ODD", "at some time"),
                said("web1", "BACKUP", "0 3 * * *"),
                said("web1", "SYNC", "hourly"),
            ],
            jiff::tz::db(),
        );
        let names: Vec<&str> = merged.watches.iter().map(|watch| watch.name.as_str()).collect();
        assert_eq!(names, ["BACKUP", "BACKUP.db1", "SYNC.web1"]);
        assert_eq!(merged.left.len(), 2, "{:?}", merged.left);
        assert!(merged.left[0].contains("host \"db1\" expects of task \"ODD\""), "{:?}", merged.left);
        assert!(merged.left[1].contains("watch.BACKUP of the configuration is for it"), "{:?}", merged.left);
    }
}

//! Slack, by incoming webhooks: one message per notice, in the channel of its task, else of its level, else of all.
//!
//! Slack takes about one message a second and channel; what it refuses for a while comes later, in order. Nothing of a webhook is told
//! but its host.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hume_core::Level;
use hume_runtime::config::Secret;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::{Deserialize, Deserializer};
use wildmatch::WildMatch;

use crate::http::{ANSWER_TIME_MAX, Http, Request, Target};
use crate::notice::Notice;
use crate::options::options;
use crate::template::{Sources, Templates};
use crate::transfer::{BoxFuture, Delivery, Manner, OpenError, Setting, Trail, Transfer, Trouble};

mod message;

pub(super) const MANNER: Manner = Manner::PEOPLE;

/// The text of the main section.
const BUILT_IN: &str = "\
{%- if about == 'run' -%}{{ (run_summary.first_error or run_summary.reason or text) | slack_escape }}\
{%- else -%}{{ body | slack_escape }}{%- endif -%}";

options! {
    /// `[transfer.NAME.slack]`
    pub struct Options {
        /// Where notices go that no other webhook is for.
        pub webhook: Secret,
        /// By task, with `*` and `?`.
        #[serde(default)]
        pub webhook_by_task: BTreeMap<String, Secret>,
        /// By level, for tasks that have no webhook of their own.
        #[serde(default)]
        pub webhook_by_level: BTreeMap<LevelKey, Secret>,
        /// Certificates to trust in place of the system's.
        #[serde(default)]
        pub ca: Option<PathBuf>,
    }
}

/// A level as the key of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelKey(Level);

impl PartialOrd for LevelKey {
    fn partial_cmp(&self, other: &LevelKey) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LevelKey {
    fn cmp(&self, other: &LevelKey) -> std::cmp::Ordering {
        self.0.index().cmp(&other.0.index())
    }
}

impl<'de> Deserialize<'de> for LevelKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<LevelKey, D::Error> {
        crate::options::level_word(from).map(LevelKey)
    }
}

pub(super) fn open(options: &Options, setting: &Setting<'_>) -> Result<Box<dyn Transfer>, OpenError> {
    open_within(options, setting, ANSWER_TIME_MAX).map(|slack| Box::new(slack) as Box<dyn Transfer>)
}

fn open_within(
    options: &Options,
    setting: &Setting<'_>,
    answer_time_max: Duration,
) -> Result<Slack, OpenError> {
    let read = |key: &'static str, secret: &Secret| {
        let text = secret.read(setting.config_file).map_err(OpenError::secret(key))?;
        Target::parse(key, &text, &["https"])
    };
    let mut by_task = Vec::new();
    for (pattern, secret) in &options.webhook_by_task {
        by_task.push((TaskPattern::new(pattern), read("webhook_by_task", secret)?));
    }
    by_task.sort_by_key(|(pattern, _)| Reverse(pattern.literal));
    let mut by_level = Vec::new();
    for (level, secret) in &options.webhook_by_level {
        by_level.push((level.0, read("webhook_by_level", secret)?));
    }
    let common = options.common();
    let sources =
        Sources { kind: "slack", base: common.template.as_deref(), inline: None, built_in: BUILT_IN };
    Ok(Slack {
        http: Http::open(options.ca.as_deref(), setting, answer_time_max)?,
        channels: Channels { by_task, by_level, general: read("webhook", &options.webhook)? },
        templates: Templates::open(&sources, setting),
    })
}

/// A name without `*` and `?` before all patterns, and then the one that says the most.
#[derive(Debug)]
struct TaskPattern {
    wild: WildMatch,
    literal: (bool, usize),
}

impl TaskPattern {
    fn new(text: &str) -> TaskPattern {
        let literal = text.chars().filter(|c| !['*', '?'].contains(c)).count();
        TaskPattern { wild: WildMatch::new(text), literal: (literal == text.chars().count(), literal) }
    }
}

#[derive(Debug)]
struct Channels {
    /// The most special first.
    by_task: Vec<(TaskPattern, Target)>,
    by_level: Vec<(Level, Target)>,
    general: Target,
}

impl Channels {
    /// Task before level before all.
    fn of(&self, task: &str, level: Level) -> &Target {
        let by_task = self.by_task.iter().find(|(pattern, _)| pattern.wild.matches(task));
        let by_level = || self.by_level.iter().find(|(known, _)| *known == level).map(|(_, target)| target);
        by_task.map(|(_, target)| target).or_else(by_level).unwrap_or(&self.general)
    }
}

#[derive(Debug)]
struct Slack {
    http: Http,
    channels: Channels,
    templates: Templates,
}

impl Transfer for Slack {
    fn deliver<'a>(&'a mut self, notices: &'a [Notice], trail: &'a mut Trail) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            for (settled, notice) in notices.iter().enumerate() {
                if let Err(trouble) = self.post(notice, trail).await {
                    return Delivery::stopped(settled, trouble);
                }
            }
            Delivery::all(notices)
        })
    }

    fn templates(&self) -> Option<&Templates> {
        Some(&self.templates)
    }

    fn preview(&self, notice: &Notice) -> String {
        serde_json::to_string_pretty(&self.payload(notice)).unwrap_or_else(|error| error.to_string())
    }
}

impl Slack {
    fn payload(&self, notice: &Notice) -> serde_json::Value {
        let rendered = self.templates.render(notice);
        // The built-in is text, whatever the event says in it.
        match rendered.from {
            Some(_) => message::of_template(notice, &rendered.text),
            None => message::message(notice, &rendered.text),
        }
    }

    async fn post(&self, notice: &Notice, trail: &mut Trail) -> Result<(), Trouble> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let target = self.channels.of(notice.event.event.task.as_str(), notice.level());
        let body = self.payload(notice).to_string();
        self.http.send(Request { target, method: Method::POST, headers, body }, trail).await
    }
}

#[cfg(test)]
mod tests;

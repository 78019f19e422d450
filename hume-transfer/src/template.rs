//! What people read, in the words of the administrator: which template a notice gets, and what becomes of it.
//!
//! Templates are Jinja's, in files beside the configuration: `templates/KIND/BASE_LEVEL.tpl`, else `BASE_default.tpl`, else
//! `default_LEVEL.tpl`, else `default_default.tpl`, else the one that is built in. They are read and tried when the transfer is
//! opened. One that is broken, or that fails later, never holds up a notice: the built-in is used. None reads a clock, a file or
//! the environment, and each is bounded in time and size.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hume_core::level::LEVEL_COUNT;
use hume_core::{HostName, Level};
use minijinja::value::{Serde, merge_maps};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use serde::Serialize;
use tracing::warn;

use crate::notice::{Fact, Notice, NoticeView};
use crate::options::TransferName;
use crate::transfer::Setting;

mod check;
mod filters;

/// Longest template, in bytes.
pub const TEMPLATE_BYTES_MAX: u64 = 64 * 1024;
/// What one rendering may cost: a step is 1, as are 64 bytes of text. Ten times what the largest event needs.
pub const FUEL_MAX: u64 = 400_000;

const BUILT_IN: &str = "the built-in template";

/// The templates of one transfer.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    by_level: [Choice; LEVEL_COUNT],
    faults: Vec<Fault>,
    about: Surroundings,
    output: Output,
}

/// A template that cannot be used; the built-in takes its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Its text is wrong.
    #[error("{place}{}: {reason}", line.map_or(String::new(), |line| format!(":{line}")))]
    Text {
        /// The file, or the key of the configuration.
        place: String,
        /// The line, from 1, where it is known.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
}

/// What a template made of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The template it is from; none when it is the built-in one.
    pub from: Option<String>,
    /// Why the template of the administrator was not used.
    pub fault: Option<Fault>,
}

/// Where the templates of a transfer are.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The kind, which names the folder.
    pub kind: &'static str,
    /// `template` of the configuration; the transfer's name when missing.
    pub base: Option<&'a str>,
    /// A key of the configuration that holds the template itself: then no file is looked for.
    pub inline: Option<(&'static str, &'a str)>,
    /// The one that is built in; a test holds that it renders everything.
    pub built_in: &'static str,
}

/// What a template must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Any text.
    Text,
    /// JSON: one that gives anything else has failed.
    Json,
}

#[derive(Debug, Default)]
struct Choice {
    /// Its name in the environment; none is the built-in.
    name: Option<String>,
    failed_before: AtomicBool,
}

/// What templates see beside the notice.
#[derive(Clone, Debug)]
struct Surroundings {
    transfer: TransferName,
    daemon_host: HostName,
    daemon: &'static str,
}

#[derive(Serialize)]
struct Context<'a> {
    #[serde(flatten)]
    view: &'a NoticeView<'a>,
    /// All of the view, for `{{ notice | json }}`.
    notice: &'a NoticeView<'a>,
    title: String,
    body: String,
    facts: Vec<Fact>,
    transfer: &'a str,
    daemon: &'a str,
    daemon_host: &'a str,
}

impl Templates {
    /// Reads and tries the templates of a transfer. What is wrong with them is in [`Templates::faults`].
    pub fn open(sources: &Sources<'_>, setting: &Setting<'_>) -> Templates {
        Templates::open_as(Output::Text, sources, setting)
    }

    /// Like [`Templates::open`], for templates that must give this.
    pub fn open_as(output: Output, sources: &Sources<'_>, setting: &Setting<'_>) -> Templates {
        let about = Surroundings {
            transfer: setting.name.clone(),
            daemon_host: setting.host.clone(),
            daemon: setting.program,
        };
        let mut environment = environment();
        let built_in = environment.add_template(BUILT_IN, sources.built_in);
        built_in.expect("the built-in template of a kind is valid: each has a test");
        let mut templates =
            Templates { environment, by_level: Default::default(), faults: Vec::new(), about, output };
        match sources.inline {
            Some((key, text)) => {
                let is_good = templates.add(key, text.to_owned());
                for choice in templates.by_level.iter_mut().filter(|_| is_good) {
                    choice.name = Some(key.to_owned());
                }
            }
            None => templates.read(sources, setting),
        }
        templates
    }

    /// What is wrong with them, each with its file, its line and the reason. In their place the built-in is used.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The notice in the words of its template. Never fails: what the administrator's template cannot say, the built-in does.
    pub fn render(&self, notice: &Notice) -> Rendered {
        self.render_with(notice, &[])
    }

    /// Like [`Templates::render`], with more names that the templates may use.
    pub fn render_with(&self, notice: &Notice, more: &[(&'static str, Value)]) -> Rendered {
        let choice = &self.by_level[notice.level().index()];
        let context = self.context(notice, more);
        let mut fault = None;
        if let Some(name) = &choice.name {
            match self.render_one(name, &context) {
                Ok(text) => return Rendered { text, from: Some(name.clone()), fault: None },
                Err(error) => {
                    if !choice.failed_before.swap(true, Ordering::Relaxed) {
                        warn!(transfer = %self.about.transfer, %error, "a template failed; the built-in is used");
                    }
                    fault = Some(error);
                }
            }
        }
        let text = self.render_one(BUILT_IN, &context).unwrap_or_else(|_| notice.body());
        Rendered { text, from: None, fault }
    }

    fn context(&self, notice: &Notice, more: &[(&'static str, Value)]) -> Value {
        let view = notice.view();
        let Surroundings { transfer, daemon_host, daemon } = &self.about;
        let own = Value::from(Serde(Context {
            view: &view,
            notice: &view,
            title: notice.title(),
            body: notice.body(),
            facts: notice.facts(),
            transfer: transfer.as_str(),
            daemon,
            daemon_host: daemon_host.as_str(),
        }));
        merge_maps([own, Value::from_pairs(more.iter().cloned())])
    }

    fn render_one(&self, name: &str, context: &Value) -> Result<String, Fault> {
        let template = self.environment.get_template(name).map_err(|error| fault(name, &error))?;
        let text = template.render(context.clone()).map_err(|error| fault(name, &error))?;
        match self.output {
            Output::Text => Ok(text),
            Output::Json => match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
                Ok(_) => Ok(text),
                Err(error) => Err(Fault::Text {
                    place: place(name),
                    line: None,
                    reason: format!("gives no JSON: {error}"),
                }),
            },
        }
    }

    /// Chooses one for each level among the files that there are.
    fn read(&mut self, sources: &Sources<'_>, setting: &Setting<'_>) {
        let base = sources.base.unwrap_or(setting.name.as_str());
        if TransferName::parse(base).is_err() {
            let reason = format!("`{base}` is no name of a template: it has letters, digits, `-` and `_`");
            self.faults.push(Fault::Text { place: "`template`".to_owned(), line: None, reason });
            return;
        }
        let folder = Path::new("templates").join(sources.kind);
        let folder = hume_runtime::config::resolve(setting.config_file, &folder);
        let mut known: Vec<(String, bool)> = Vec::new();
        for level in Level::ALL {
            for file in names(base, level) {
                let path = folder.join(file);
                let name = path.display().to_string();
                let state = known.iter().find(|(known, _)| *known == name).map(|(_, is_good)| *is_good);
                let is_good = match state {
                    Some(is_good) => is_good,
                    None => match read(&path) {
                        Ok(None) => continue,
                        Ok(Some(text)) => self.add(&name, text),
                        Err(reason) => {
                            self.faults.push(Fault::File { path, reason });
                            false
                        }
                    },
                };
                if state.is_none() {
                    known.push((name.clone(), is_good));
                }
                // One that is broken hides those behind it: a message in other words than meant would not be noticed.
                self.by_level[level.index()].name = is_good.then_some(name);
                break;
            }
        }
    }

    /// Whether the template can be used; if not, its fault is told.
    fn add(&mut self, name: &str, text: String) -> bool {
        let result = match self.environment.add_template_owned(name.to_owned(), text) {
            Ok(()) => check::check(self, name),
            Err(error) => Err(fault(name, &error)),
        };
        let is_good = result.is_ok();
        self.faults.extend(result.err());
        is_good
    }
}

/// The files that a notice of this level may have, the most special first.
fn names(base: &str, level: Level) -> [String; 4] {
    [
        format!("{base}_{level}.tpl"),
        format!("{base}_default.tpl"),
        format!("default_{level}.tpl"),
        "default_default.tpl".to_owned(),
    ]
}

/// The text of a file; none when there is no such file.
fn read(path: &Path) -> Result<Option<String>, String> {
    let mut text = String::new();
    let file = match File::open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        other => other.map_err(|error| error.to_string())?,
    };
    file.take(TEMPLATE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > TEMPLATE_BYTES_MAX {
        return Err(format!("has more than {TEMPLATE_BYTES_MAX} bytes"));
    }
    Ok(Some(text))
}

/// Names that are not there are empty, at any depth: a template may ask for an extra that most events do not have.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL_MAX));
    filters::add(&mut environment);
    environment
}

fn fault(name: &str, error: &minijinja::Error) -> Fault {
    let reason = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    Fault::Text { place: place(name), line: error.line(), reason }
}

/// A file as it is, a key of the configuration as one.
fn place(name: &str) -> String {
    if name.contains(['/', '.']) || name == BUILT_IN { name.to_owned() } else { format!("`{name}`") }
}

#[cfg(test)]
mod tests;

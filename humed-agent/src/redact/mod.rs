//! What is said never holds a secret that a rule knows: it is hidden before anything of it is kept or sent.
//!
//! A text without secrets costs one search and stays as it is, byte for byte. Hidden is the secret alone: `password=***`. Names,
//! hosts and tags are not looked at. Limits: [`PATTERNS_MAX`], [`PATTERN_BYTES_MAX`], and those of `rules`.

mod command;
mod config;
mod keyed;
mod rules;
mod value;

use std::borrow::Cow;
use std::ops::Range;

use hume_core::event::{Draft, Process, SURROUNDINGS_BYTES_MAX, TREE_BYTES_MAX};
use hume_core::fit;
use regex::{RegexSet, RegexSetBuilder};

pub use config::{Config, PATTERN_BYTES_MAX, PATTERNS_MAX, Pattern, PatternError};
use rules::Rule;

/// What stands in the place of a secret.
pub const HIDDEN: &str = "***";

/// Memory of the patterns that are searched for at once, in bytes.
const TOGETHER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The rules of a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedactError {
    /// There are more than [`PATTERNS_MAX`].
    #[error("[redact] has {count} patterns; at most {PATTERNS_MAX} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// They would need too much memory.
    #[error("the patterns of [redact] together need more than {TOGETHER_BYTES_MAX} bytes of memory")]
    TooLarge,
}

/// Rules, and one search that tells which of them may find something.
#[derive(Debug)]
struct Group {
    gate: RegexSet,
    rules: Vec<Rule>,
}

/// Hides secrets.
#[derive(Debug)]
pub struct Redactor {
    /// hume's own apart from those of the configuration, which may make a search slow.
    groups: Vec<Group>,
    knows_keys: bool,
    keys: Vec<String>,
}

impl Redactor {
    /// The rules of a configuration.
    ///
    /// # Errors
    /// [`RedactError`]: too many patterns, or too large ones.
    pub fn new(config: &Config) -> Result<Redactor, RedactError> {
        let Config { defaults, patterns, keys } = config;
        if patterns.len() > PATTERNS_MAX {
            return Err(RedactError::TooMany { count: patterns.len() });
        }
        let own = if *defaults { rules::defaults() } else { Vec::new() };
        let others = patterns.iter().map(|pattern| (pattern.as_str(), Rule::of(pattern))).collect();
        let groups = [own, others].into_iter().filter(|rules| !rules.is_empty());
        Ok(Redactor {
            groups: groups.map(Group::new).collect::<Result<_, _>>()?,
            knows_keys: *defaults,
            keys: keys.clone(),
        })
    }

    /// The text without its secrets.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut secrets = Vec::new();
        for group in &self.groups {
            group.secrets(text, &mut secrets);
        }
        if secrets.is_empty() { Cow::Borrowed(text) } else { hide(text, secrets) }
    }

    /// Hides what a draft and its process say, within the bounds of an event; true when something was hidden.
    pub fn draft(&self, draft: &mut Draft, process: &mut Process) -> bool {
        let mut is_changed = self.replace(&mut draft.message);
        for (key, value) in &mut draft.extra {
            // By what the key was before it was looked at itself.
            if self.hides(key, value) {
                HIDDEN.clone_into(value);
                is_changed = true;
            }
            is_changed |= self.replace(key);
            is_changed |= self.replace(value);
        }
        for text in [&mut draft.tree, &mut process.script].into_iter().flatten() {
            is_changed |= self.replace(text);
        }
        if is_changed {
            cut(draft, process);
        }
        is_changed
    }

    fn hides(&self, key: &str, value: &str) -> bool {
        let is_named = || self.keys.iter().any(|name| name.eq_ignore_ascii_case(key)) && value != HIDDEN;
        !value.is_empty() && ((self.knows_keys && keyed::hides(key, value)) || is_named())
    }

    fn replace(&self, text: &mut String) -> bool {
        match self.text(text) {
            Cow::Borrowed(_) => false,
            Cow::Owned(hidden) => {
                *text = hidden;
                true
            }
        }
    }
}

impl Group {
    fn new(rules: Vec<(&str, Rule)>) -> Result<Group, RedactError> {
        let (gates, rules): (Vec<&str>, Vec<Rule>) = rules.into_iter().unzip();
        let gate = RegexSetBuilder::new(gates).size_limit(TOGETHER_BYTES_MAX).build();
        Ok(Group { gate: gate.map_err(|_| RedactError::TooLarge)?, rules })
    }

    /// Adds where secrets are; how many looks it took.
    fn secrets(&self, text: &str, secrets: &mut Vec<Range<usize>>) -> usize {
        let mut looks = 1;
        for rule in &self.gate.matches(text) {
            looks += self.rules[rule].secrets(text, secrets);
        }
        looks
    }
}

/// The text with each of these places hidden; those that touch are one. Unchanged where nothing but asterisks were hidden.
fn hide(text: &str, mut places: Vec<Range<usize>>) -> Cow<'_, str> {
    places.retain(|place| !text[place.clone()].bytes().all(|byte| byte == b'*'));
    if places.is_empty() {
        return Cow::Borrowed(text);
    }
    places.sort_unstable_by_key(|place| (place.start, place.end));
    let mut hidden = String::with_capacity(text.len());
    let mut shown_to = 0;
    for place in places {
        if place.start > shown_to || shown_to == 0 {
            hidden.push_str(&text[shown_to..place.start]);
            hidden.push_str(HIDDEN);
        }
        shown_to = shown_to.max(place.end);
    }
    hidden.push_str(&text[shown_to..]);
    Cow::Owned(hidden)
}

/// What hides a short secret is longer than it.
fn cut(draft: &mut Draft, process: &mut Process) {
    let (message, truncated_from) = fit::message(std::mem::take(&mut draft.message));
    draft.message = message;
    draft.truncated_from = draft.truncated_from.or(truncated_from);
    let extra = fit::extra(std::mem::take(&mut draft.extra));
    draft.extra = extra.value;
    draft.mangled |= extra.changed;
    for (text, bytes_max) in
        [(&mut draft.tree, TREE_BYTES_MAX), (&mut process.script, SURROUNDINGS_BYTES_MAX)]
    {
        if let Some(text) = text
            && text.len() > bytes_max
        {
            text.truncate(fit::cut(text, bytes_max).len());
            draft.mangled = true;
        }
    }
}

#[cfg(test)]
mod tests;

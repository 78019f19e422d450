//! Who may ask for what: a role says which kinds of answers, a scope which tasks and hosts they are about.
//!
//! A scope is a part of the filters, so that what somebody may not see is not looked for, counted or paged either.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use wildmatch::WildMatch;

use crate::name::{HostName, TaskName};
use crate::policy::TaskPatterns;

/// What somebody may ask for; each role may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Events, runs, tasks and hosts.
    Viewer,
    /// The site as well: agents, status, figures.
    Operator,
    /// All, and who changed what.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    /// The word used in configurations, flags and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// The one with this word.
    pub fn from_word(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// Tasks and hosts that somebody may see; the default is all.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Scope {
    /// Only tasks of these names.
    pub tasks: Option<TaskPatterns>,
    /// Only hosts of these names.
    pub hosts: Option<HostPatterns>,
}

impl Scope {
    /// Nothing is left out.
    pub fn is_all(&self) -> bool {
        let Scope { tasks, hosts } = self;
        tasks.is_none() && hosts.is_none()
    }

    /// Whether this task on this host may be seen.
    pub fn has(&self, task: &TaskName, host: &HostName) -> bool {
        self.has_task(task) && self.has_host(host.as_str())
    }

    /// Whether this task may be seen, on any host.
    pub fn has_task(&self, task: &TaskName) -> bool {
        self.tasks.as_ref().is_none_or(|tasks| tasks.has(task))
    }

    /// Whether the host of this name may be seen.
    pub fn has_host(&self, host: &str) -> bool {
        self.hosts.as_ref().is_none_or(|hosts| hosts.has(host))
    }
}

/// Names of hosts with `*` for any text and `?` for any character: at least one.
#[derive(Clone, PartialEq)]
pub struct HostPatterns(Vec<WildMatch>);

impl Eq for HostPatterns {}

impl fmt::Debug for HostPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.texts()).finish()
    }
}

impl HostPatterns {
    /// The patterns of these texts.
    ///
    /// # Errors
    /// In words, which of them can be no host's name.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<HostPatterns, String> {
        if texts.is_empty() {
            return Err("hosts: an empty list is for no host; leave `hosts` out for all of them".to_owned());
        }
        let pattern = |text: &T| {
            let text = text.as_ref();
            // The shortest name that it could match, and one that has something for every `*`.
            let names = [text.replace('*', ""), text.replace('*', "x")].map(|name| name.replace('?', "x"));
            let is_possible = names.iter().any(|name| HostName::parse(name).is_ok());
            if is_possible && !text.contains(['[', ']', '{', '}']) {
                return Ok(WildMatch::new(text));
            }
            let shown: String = text.chars().take(32).collect();
            Err(format!("hosts: `{shown}` matches no name of a host: only * and ? are for other text"))
        };
        texts.iter().map(pattern).collect::<Result<_, _>>().map(HostPatterns)
    }

    /// As they were written.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }

    /// Whether one of them is for the host of this name.
    pub fn has(&self, host: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(host))
    }
}

impl<'de> Deserialize<'de> for HostPatterns {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<HostPatterns, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = HostPatterns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names such as [\"web*\"]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<HostPatterns, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    texts.push(text);
                }
                HostPatterns::parse(&texts).map_err(A::Error::custom)
            }
        }

        from.deserialize_any(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_lets_through_what_both_its_lists_let_through() {
        let tasks = TaskPatterns::parse(&["BACKUP*", "SYNC"]).ok();
        let hosts = HostPatterns::parse(&["web?"]).ok();
        let scope = Scope { tasks: tasks.clone(), hosts };
        let has = |scope: &Scope, task, host| {
            scope.has(&TaskName::parse(task).unwrap(), &HostName::parse(host).unwrap())
        };
        assert!(has(&scope, "BACKUP_DB", "web1") && has(&scope, "SYNC", "web2"));
        assert!(
            !has(&scope, "BACKUP_DB", "web10") && !has(&scope, "UPDATE", "web1") && !has(&scope, "", "web1")
        );
        assert!(has(&Scope { tasks, hosts: None }, "SYNC", "db1"));
        assert!(Scope::default().is_all() && has(&Scope::default(), "", "db1") && !scope.is_all());
    }

    #[test]
    fn patterns_that_match_nothing_are_refused_and_the_others_are_told_as_they_were_written() {
        for wrong in [&["we b"][..], &[""], &["web[12]"], &[]] {
            assert!(HostPatterns::parse(wrong).is_err(), "{wrong:?}");
        }
        let patterns = HostPatterns::parse(&["web*", "*.example.net", "*"]).unwrap();
        assert_eq!(patterns.texts().collect::<Vec<_>>(), ["web*", "*.example.net", "*"]);
    }

    #[test]
    fn each_role_may_what_those_before_it_may() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        assert!(Role::ALL.into_iter().all(|role| Role::from_word(role.as_str()) == Some(role)));
        assert_eq!(Role::from_word("root"), None);
    }
}

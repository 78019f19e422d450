//! Who may report for which task: tasks that `[[intake.allow]]` names are reserved for the users and groups beside them.
//!
//! A task that no rule names is everybody's, and root may report for all. Names are looked up once, at the start: a rule with a
//! name that this host does not know lets nobody in by it.

use std::collections::BTreeSet;

use hume_core::TaskName;
use hume_core::policy::TaskPatterns;
use nix::unistd::{Group, User};
use serde::Deserialize;

/// May report for every task: it can become anybody.
pub(super) const ROOT: u32 = 0;

/// A section `[[intake.allow]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Tasks that are reserved; without this key all are.
    #[serde(default)]
    pub tasks: Option<TaskPatterns>,
    /// For these users,
    #[serde(default)]
    pub users: Vec<Account>,
    /// and for members of these groups.
    #[serde(default)]
    pub groups: Vec<Account>,
}

/// A user or a group, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Account {
    /// As in /etc/passwd or /etc/group.
    Name(String),
    /// As the kernel says.
    Number(u32),
}

/// A name of a rule that leads to nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("intake.allow: this host knows no {what} \"{name}\"")]
pub struct UnknownAccount {
    what: &'static str,
    name: String,
}

/// What the directory of this host tells.
pub(super) trait Directory {
    /// The number of a user.
    fn user(&self, name: &str) -> Option<u32>;
    /// The number of a group, and the names of those who are in it beside those whose first group it is.
    fn group(&self, name: &str) -> Option<(u32, Vec<String>)>;
    /// The names of those who are in the group with this number.
    fn members(&self, gid: u32) -> Vec<String>;
}

/// That of the C library.
pub(super) struct ThisHost;

impl Directory for ThisHost {
    fn user(&self, name: &str) -> Option<u32> {
        User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
    }

    fn group(&self, name: &str) -> Option<(u32, Vec<String>)> {
        Group::from_name(name).ok().flatten().map(|group| (group.gid.as_raw(), group.mem))
    }

    fn members(&self, gid: u32) -> Vec<String> {
        Group::from_gid(gid.into()).ok().flatten().map(|group| group.mem).unwrap_or_default()
    }
}

/// Who may report for which task.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    tasks: Option<TaskPatterns>,
    uids: BTreeSet<u32>,
    gids: BTreeSet<u32>,
}

impl Rights {
    /// Looks up who is meant, and says which names lead to nobody.
    pub(super) fn resolve(allow: &[Allow], directory: &impl Directory) -> (Rights, Vec<UnknownAccount>) {
        let mut unknown = Vec::new();
        let mut rules = Vec::with_capacity(allow.len());
        for Allow { tasks, users, groups } in allow {
            let mut rule = Rule { tasks: tasks.clone(), uids: BTreeSet::new(), gids: BTreeSet::new() };
            for user in users {
                let uid = match user {
                    Account::Number(uid) => Some(*uid),
                    Account::Name(name) => directory.user(name),
                };
                rule.uids.extend(uid);
                unknown.extend(UnknownAccount::of("user", user, uid.is_some()));
            }
            for group in groups {
                let found = match group {
                    Account::Number(gid) => Some((*gid, directory.members(*gid))),
                    Account::Name(name) => directory.group(name),
                };
                unknown.extend(UnknownAccount::of("group", group, found.is_some()));
                let Some((gid, members)) = found else { continue };
                rule.gids.insert(gid);
                rule.uids.extend(members.iter().filter_map(|name| directory.user(name)));
            }
            rules.push(rule);
        }
        (Rights(rules), unknown)
    }

    /// Whether this user, whose process has this group if that is known, may report for the task.
    pub(super) fn may_report(&self, task: &TaskName, uid: u32, gid: Option<u32>) -> bool {
        let lets_in =
            |rule: &Rule| rule.uids.contains(&uid) || gid.is_some_and(|gid| rule.gids.contains(&gid));
        let is_for = |rule: &&Rule| rule.tasks.as_ref().is_none_or(|tasks| tasks.has(task));
        let mut rules = self.0.iter().filter(is_for).peekable();
        uid == ROOT || rules.peek().is_none() || rules.any(lets_in)
    }
}

impl UnknownAccount {
    fn of(what: &'static str, account: &Account, is_known: bool) -> Option<UnknownAccount> {
        match account {
            Account::Name(name) if !is_known => Some(UnknownAccount { what, name: name.clone() }),
            Account::Name(_) | Account::Number(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// alice is 1001, bob 1002, backup 34; the group ops is 500 and has bob.
    struct Town;

    impl Directory for Town {
        fn user(&self, name: &str) -> Option<u32> {
            [("alice", 1001), ("bob", 1002), ("backup", 34)]
                .into_iter()
                .find_map(|(known, uid)| (known == name).then_some(uid))
        }

        fn group(&self, name: &str) -> Option<(u32, Vec<String>)> {
            (name == "ops").then(|| (500, self.members(500)))
        }

        fn members(&self, gid: u32) -> Vec<String> {
            if gid == 500 { vec!["bob".to_owned()] } else { Vec::new() }
        }
    }

    fn rights(text: &str) -> (Rights, Vec<UnknownAccount>) {
        #[derive(Deserialize)]
        struct Sections {
            allow: Vec<Allow>,
        }
        Rights::resolve(&toml::from_str::<Sections>(text).unwrap().allow, &Town)
    }

    #[test]
    fn a_reserved_task_is_for_those_who_are_named_and_the_others_are_for_all() {
        let (rights, unknown) = rights(
            r#"
            [[allow]]
            tasks = ["BACKUP*"]
            users = ["backup", 1003]
            groups = ["ops"]
            [[allow]]
            tasks = ["BACKUP_DB"]
            users = ["alice"]
            [[allow]]
            tasks = ["SEALED"]
            "#,
        );
        assert_eq!(unknown, []);
        for (task, uid, gid, may) in [
            ("BACKUP_WEB", 34, Some(34), true),
            ("BACKUP_WEB", 1003, None, true),
            ("BACKUP_WEB", 1001, Some(1001), false),
            // By the list of the group, and as the first group of the process.
            ("BACKUP_WEB", 1002, Some(1002), true),
            ("BACKUP_WEB", 1001, Some(500), true),
            // Either of two rules.
            ("BACKUP_DB", 1001, Some(1001), true),
            ("BACKUP_DB", 34, None, true),
            ("BACKUP_DB", 1004, None, false),
            // Nobody is named, so it is root's alone.
            ("SEALED", 34, None, false),
            ("SEALED", 0, None, true),
            ("BACKUP_WEB", 0, Some(0), true),
            // No rule is for these.
            ("UPDATE", 1004, None, true),
            ("", 1004, None, true),
        ] {
            assert_eq!(
                rights.may_report(&TaskName::parse(task).unwrap(), uid, gid),
                may,
                "{task} by {uid} of {gid:?}"
            );
        }
    }

    #[test]
    fn a_rule_without_tasks_is_for_all_of_them() {
        let (rights, _) = rights("[[allow]]\nusers = [\"alice\"]");
        let may = |uid| rights.may_report(&TaskName::parse("").unwrap(), uid, None);
        assert!(may(1001) && !may(1002));
    }

    #[test]
    fn a_name_that_nobody_has_is_told_and_lets_nobody_in() {
        let text = "[[allow]]\ntasks = [\"BACKUP\"]\nusers = [\"bakcup\"]\ngroups = [\"wheel\", 77]";
        let (rights, unknown) = rights(text);
        let told: Vec<String> = unknown.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "intake.allow: this host knows no user \"bakcup\"",
                "intake.allow: this host knows no group \"wheel\""
            ]
        );
        assert!(!rights.may_report(&TaskName::parse("BACKUP").unwrap(), 1001, None));
    }

    #[test]
    fn this_host_knows_root() {
        assert_eq!(ThisHost.user("root"), Some(0));
        assert_eq!(ThisHost.group("root").map(|(gid, _)| gid), Some(0));
        assert_eq!(ThisHost.user("no-such-user"), None);
    }
}

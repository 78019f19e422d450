//! What to say when nothing was found: what was looked for, and which names come near. Pure.

use hume_proto::rest::{RunQuery, TaskJson};

use crate::question::{Question, Whose};

/// Names that are proposed at most.
const NEAR_MAX: usize = 3;
/// How alike a name must be, from 0 to 1.
const NEAR_ENOUGH: f64 = 0.8;

/// `no run of task BACKUP on host web1`, or none for a question that has no such answer.
pub fn sentence(question: &Question) -> Option<String> {
    let (what, task, host, narrowed) = match question {
        Question::Events(query, paging) => {
            let narrowed = query.level.is_some()
                || query.tag.is_some()
                || query.since.is_some()
                || query.until.is_some()
                || query.run.is_some()
                || query.grep.is_some()
                || query.kind.is_some()
                || paging.cursor.is_some();
            ("event", &query.task, &query.host, narrowed)
        }
        Question::Runs(query, paging) => {
            ("run", &query.task, &query.host, is_narrowed(query) || paging.cursor.is_some())
        }
        Question::Latest(query, _)
        | Question::Fleet(query)
        | Question::Timeline(Whose::Latest(query) | Whose::Run(query), _)
        | Question::Diff(query, _) => ("run", &query.task, &query.host, is_narrowed(query)),
        Question::Tasks => return Some("no task has run yet".to_owned()),
        Question::Hosts => return Some("no host has reported yet".to_owned()),
        Question::Agents => return Some("no agent has connected yet".to_owned()),
        Question::Watches => return Some("nothing is expected: the master has no [watch.NAME]".to_owned()),
        Question::Slots(query) => {
            let watch = query.watch.as_deref().unwrap_or_default();
            return Some(format!(
                "no run is expected of a watch {watch}, or none was yet: see humequery watch list"
            ));
        }
        Question::Audit(_) => return Some("the audit log has no such line".to_owned()),
        Question::CountEvents(_) | Question::CountRuns(_) | Question::Follow(_) | Question::Status => {
            return None;
        }
    };
    let of = match task.as_deref() {
        Some("") => " without a task".to_owned(),
        Some(task) => format!(" of task {task}"),
        None => String::new(),
    };
    let on = host.as_ref().map_or_else(String::new, |host| format!(" on host {host}"));
    let which = if narrowed { " that matches the other filters" } else { "" };
    let text = format!("no {what}{of}{on}{which}");
    Some(text)
}

fn is_narrowed(query: &RunQuery) -> bool {
    query.since.is_some() || query.until.is_some() || query.run.is_some()
}

/// True when the question names a task or a host that may be misspelt.
pub fn names_something(question: &Question) -> bool {
    let (task, host) = named(question);
    task.is_some_and(|task| !task.is_empty()) || host.is_some()
}

fn named(question: &Question) -> (Option<&str>, Option<&str>) {
    match question {
        Question::Events(query, _) | Question::CountEvents(query) => {
            (query.task.as_deref(), query.host.as_deref())
        }
        Question::Follow(follow) => (follow.query.task.as_deref(), follow.query.host.as_deref()),
        Question::Runs(query, _)
        | Question::Latest(query, _)
        | Question::Fleet(query)
        | Question::Timeline(Whose::Latest(query) | Whose::Run(query), _)
        | Question::Diff(query, _)
        | Question::CountRuns(query) => (query.task.as_deref(), query.host.as_deref()),
        Question::Tasks
        | Question::Hosts
        | Question::Agents
        | Question::Status
        | Question::Watches
        | Question::Slots(_)
        | Question::Audit(_) => (None, None),
    }
}

/// `did you mean task BACKUP?`: names that are there and come near, when the name that was asked for is not there.
pub fn hint(question: &Question, known: &[TaskJson]) -> Option<String> {
    let (task, host) = named(question);
    let tasks = known.iter().map(|one| one.task.as_str());
    let hosts = known.iter().map(|one| one.host.as_str());
    if let Some(near) = task.and_then(|task| near("task", task, tasks)) {
        return Some(near);
    }
    if let Some(near) = host.and_then(|host| near("host", host, hosts)) {
        return Some(near);
    }
    // Both names are right, but not together.
    let task = task?;
    host?;
    let mut on: Vec<&str> =
        known.iter().filter(|one| one.task == task).map(|one| one.host.as_str()).collect();
    on.sort_unstable();
    on.dedup();
    on.truncate(NEAR_MAX);
    (!on.is_empty() && !on.contains(&host?)).then(|| format!("task {task} ran on {}", on.join(", ")))
}

fn near<'a>(what: &str, asked: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut names: Vec<&str> = known.filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    if asked.is_empty() || names.binary_search(&asked).is_ok() {
        return None;
    }
    let folded = asked.to_lowercase();
    let mut near: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&folded, &name.to_lowercase()), name))
        .filter(|(alike, _)| *alike >= NEAR_ENOUGH)
        .collect();
    near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let near: Vec<&str> = near.into_iter().take(NEAR_MAX).map(|(_, name)| name).collect();
    (!near.is_empty()).then(|| format!("did you mean {what} {}?", near.join(" or ")))
}

#[cfg(test)]
mod tests {
    use hume_core::{RunId, Timestamp};

    use super::*;
    use crate::question::Paging;

    fn known(pairs: &[(&str, &str)]) -> Vec<TaskJson> {
        let one = |(task, host): &(&str, &str)| TaskJson {
            task: (*task).to_owned(),
            host: (*host).to_owned(),
            run: RunId::from_bytes([0; 16]),
            status: "ok".to_owned(),
            severity: 0,
            started_at: Timestamp::EPOCH,
            ended_at: None,
            duration_ms: 0,
            errors: 0,
        };
        pairs.iter().map(one).collect()
    }

    fn latest(task: &str, host: Option<&str>) -> Question {
        let query =
            RunQuery { task: Some(task.to_owned()), host: host.map(str::to_owned), ..RunQuery::default() };
        Question::Latest(query, Paging::default())
    }

    #[test]
    fn it_is_said_what_was_looked_for() {
        assert_eq!(sentence(&latest("X", Some("web1"))).unwrap(), "no run of task X on host web1");
        let query = RunQuery { since: Some("2026-11-22T00:00:00Z".into()), ..RunQuery::default() };
        let question = Question::Runs(query, Paging::default());
        assert_eq!(sentence(&question).unwrap(), "no run that matches the other filters");
        assert_eq!(sentence(&Question::Status), None);
    }

    #[test]
    fn a_misspelt_name_is_recognised_and_a_right_one_is_left_alone() {
        let known = known(&[("BACKUP", "web1"), ("BACKUP", "db1"), ("UPDATE", "web1")]);
        assert_eq!(hint(&latest("backup", None), &known).unwrap(), "did you mean task BACKUP?");
        assert_eq!(hint(&latest("BAKUP", Some("web1")), &known).unwrap(), "did you mean task BACKUP?");
        assert_eq!(hint(&latest("BACKUP", Some("webb1")), &known).unwrap(), "did you mean host web1?");
        assert_eq!(hint(&latest("UPDATE", Some("db1")), &known).unwrap(), "task UPDATE ran on web1");
        assert_eq!(hint(&latest("BACKUP", Some("web1")), &known), None);
        assert_eq!(hint(&latest("zzz", None), &known), None);
    }
}

//! What the command finds in its environment, so that `hume` calls inside it join the run. Pure.

use std::ffi::{OsStr, OsString};

use hume_proto::intake::DraftLine;

use crate::settings::Environment;

/// The variables that are set, and those that are taken away (`None`), for the command of this start.
///
/// The task and the tags stay as the administrator set them; those that an outer `hume exec` exported give way.
pub(super) fn exports(
    start: &DraftLine,
    socket: Option<&OsStr>,
    environment: &Environment<'_>,
) -> Vec<(&'static str, Option<OsString>)> {
    let mut changes = vec![
        ("HUME_RUN_ID", start.run_key.clone().map(OsString::from)),
        ("HUME_RUN_TASK", Some(OsString::from(&start.task))),
        ("HUME_RUN_HOST", start.host.clone().map(OsString::from)),
    ];
    let task = environment.get("HUME_TASKNAME");
    if task.is_none() || task == environment.get("HUME_RUN_TASK") {
        changes.push(("HUME_TASKNAME", Some(OsString::from(&start.task))));
    }
    if environment.get("HUME_TAGS").is_none() && !start.tags.is_empty() {
        changes.push(("HUME_TAGS", Some(OsString::from(start.tags.join(",")))));
    }
    if let Some(socket) = socket {
        changes.push(("HUME_SOCKET", Some(socket.to_owned())));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: Option<&str>, tags: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        let start = DraftLine {
            task: "X".into(),
            run_key: Some("k".into()),
            host: host.map(str::to_owned),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..DraftLine::default()
        };
        let shown = |(name, value): (&str, Option<OsString>)| match value {
            Some(value) => format!("{name}={}", value.display()),
            None => format!("-{name}"),
        };
        exports(&start, None, &Environment(&lookup)).into_iter().map(shown).collect()
    }

    #[test]
    fn key_task_and_tags_are_exported_and_a_host_only_when_it_is_another_one() {
        assert_eq!(
            of(None, &["a", "b"], &[]),
            ["HUME_RUN_ID=k", "HUME_RUN_TASK=X", "-HUME_RUN_HOST", "HUME_TASKNAME=X", "HUME_TAGS=a,b"]
        );
        assert_eq!(of(Some("web2"), &[], &[])[2..], ["HUME_RUN_HOST=web2", "HUME_TASKNAME=X"]);
    }

    #[test]
    fn what_the_administrator_set_stays() {
        let set = of(None, &["a"], &[("HUME_TASKNAME", "Y"), ("HUME_TAGS", "t")]);
        assert_eq!(set, ["HUME_RUN_ID=k", "HUME_RUN_TASK=X", "-HUME_RUN_HOST"]);
    }

    #[test]
    fn what_an_outer_run_exported_gives_way() {
        let outer = [("HUME_TASKNAME", "OUTER"), ("HUME_RUN_TASK", "OUTER"), ("HUME_RUN_HOST", "web9")];
        assert_eq!(
            of(None, &[], &outer),
            ["HUME_RUN_ID=k", "HUME_RUN_TASK=X", "-HUME_RUN_HOST", "HUME_TASKNAME=X"]
        );
    }
}

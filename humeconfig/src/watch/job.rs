//! Under which task a job reports: what its command, its settings and the scripts that it runs say. Pure.
//!
//! Nothing is guessed from the name of a script: a watch of a task that nobody reports would only ever be missed.

use std::collections::{BTreeMap, BTreeSet};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// This one task.
    Task(String),
    /// Several of them: which one the time is for, nobody can tell.
    Several(Vec<String>),
    /// None.
    Nothing,
}

/// What names the task in the environment, the stronger one first.
const VARIABLES: [&str; 2] = ["HUME_TASKNAME", "HTASK"];

/// The task of a command. `script` gives the text of a file that it names, if that is a script.
pub(super) fn task(
    command: &str,
    settings: &BTreeMap<String, String>,
    script: impl Fn(&str) -> Option<String>,
) -> Named {
    let words = words(command);
    let own = tasks(&words);
    if !own.is_empty() {
        return one(own);
    }
    if let Some(task) = VARIABLES.into_iter().find_map(|name| settings.get(name)) {
        return one(BTreeSet::from([task.clone()]));
    }
    let paths = words.iter().filter(|word| word.starts_with('/'));
    let texts = paths.filter_map(|path| script(path));
    one(texts.flat_map(|text| of_script(&text)).collect())
}

fn of_script(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.flat_map(|line| tasks(&words(line))).collect()
}

fn one(tasks: BTreeSet<String>) -> Named {
    let mut tasks: Vec<String> = tasks.into_iter().collect();
    match tasks.len() {
        0 => Named::Nothing,
        1 => Named::Task(tasks.remove(0)),
        _ => Named::Several(tasks),
    }
}

/// Tasks that these words of a command line name in full: those of calls of `hume`, and of assignments.
fn tasks(words: &[String]) -> BTreeSet<String> {
    let mut tasks = BTreeSet::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let assigned = VARIABLES.into_iter().find_map(|name| word.strip_prefix(name)?.strip_prefix('='));
        tasks.extend(assigned.map(str::to_owned));
        if word.rsplit('/').next() != Some("hume") {
            continue;
        }
        let options: Vec<&String> = rest.by_ref().take_while(|word| *word != "--" && !is_end(word)).collect();
        for (at, option) in options.iter().enumerate() {
            let apart = (*option == "-t" || *option == "--task").then(|| options.get(at + 1)).flatten();
            tasks.extend(
                option.strip_prefix("--task=").or(apart.map(|task| task.as_str())).map(str::to_owned),
            );
        }
    }
    tasks.retain(|task| !task.is_empty() && !task.contains(['$', '`']));
    tasks
}

fn is_end(word: &str) -> bool {
    matches!(word, ";" | "&" | "&&" | "|" | "||" | "(" | ")" | "{" | "}")
}

/// The words of a command line as a shell has them, quotes taken away; what separates commands is a word of its own.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut is_word, mut quote) = (String::new(), false, None);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, '\\') => {
                word.extend(chars.next());
                is_word = true;
            }
            (Some(_), c) => word.push(c),
            (None, '"' | '\'') => (quote, is_word) = (Some(c), true),
            (None, c) if c.is_whitespace() || ";&|()".contains(c) => {
                if std::mem::take(&mut is_word) {
                    words.push(std::mem::take(&mut word));
                }
                if !c.is_whitespace() {
                    let mut end = String::from(c);
                    if chars.peek() == Some(&c) && "&|".contains(c) {
                        end.extend(chars.next());
                    }
                    words.push(end);
                }
            }
            (None, c) => {
                word.push(c);
                is_word = true;
            }
        }
    }
    if is_word {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(command: &str) -> Named {
        task(command, &BTreeMap::new(), |path| match path {
            "/srv/one.sh" => {
                Some("#!/bin/bash\n# hume -t OLD\nexport HTASK=\"ONE\"\nhume -c counter-start\n".into())
            }
            "/srv/two.sh" => Some("hume -t A -m x; hume --task=B -m y\nhume -t \"$NAME\"\n".into()),
            "/srv/none.sh" => Some("echo hume -m hi\n".into()),
            _ => None,
        })
    }

    fn is(task: &str) -> Named {
        Named::Task(task.to_owned())
    }

    #[test]
    fn a_task_is_what_the_command_or_its_script_says() {
        for (command, expected) in [
            ("hume exec -t BACKUP -- /srv/backup.sh", is("BACKUP")),
            ("/usr/bin/hume exec --chronic --task=BACKUP -- x -t Y", is("BACKUP")),
            ("cd /srv && HTASK=SYNC ./sync.sh", is("SYNC")),
            ("HUME_TASKNAME='NIGHTLY JOB' /srv/two.sh", is("NIGHTLY JOB")),
            ("/bin/bash /srv/one.sh >/dev/null 2>&1", is("ONE")),
            ("test -x /srv/one.sh && /srv/one.sh", is("ONE")),
            ("/srv/two.sh", Named::Several(vec!["A".into(), "B".into()])),
            ("/srv/none.sh", Named::Nothing),
            ("/usr/bin/true", Named::Nothing),
            ("hume -t $TASK -m x", Named::Nothing),
            ("tar -t hume", Named::Nothing),
            ("hume -m done -t LAST", is("LAST")),
        ] {
            assert_eq!(named(command), expected, "{command}");
        }
        let settings = BTreeMap::from([("HTASK".to_owned(), "BY_SETTING".to_owned())]);
        assert_eq!(task("/srv/one.sh", &settings, |_| None), is("BY_SETTING"));
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in "[ -~]{0,80}") {
            let _ = named(&line);
        }
    }
}

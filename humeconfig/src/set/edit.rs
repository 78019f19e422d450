//! Wishes carried out in the text of a configuration, which keeps its comments, its order and its way of writing.
//!
//! Pure. What is so already is left as it is written, so that a second time changes nothing.

use std::path::Path;

use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::wish::{Kind, Wish};
use crate::change::SecretFile;

/// Longest name of a transfer.
const NAME_BYTES_MAX: usize = 64;

/// A configuration with the wishes in it, and the secrets that it names.
#[derive(Debug)]
pub(crate) struct Edited {
    pub(crate) text: String,
    /// The same, with the secrets at their places of trial.
    pub(crate) trial: String,
    pub(crate) secrets: Vec<SecretFile>,
    /// Transfers that were asked for.
    pub(crate) names: Vec<String>,
}

/// Which place of a secret is written.
#[derive(Clone, Copy)]
enum At {
    Path,
    Trial,
}

/// The text with the wishes.
///
/// # Errors
/// A sentence about what of the text is in the way.
pub(crate) fn edit(text: &str, wishes: &[Wish], name: Option<&str>) -> Result<Edited, String> {
    let document = parse(text)?;
    let mut names: Vec<(Kind, String)> = Vec::new();
    for kind in wishes.iter().filter_map(Wish::kind) {
        if !names.iter().any(|(known, _)| *known == kind) {
            names.push((kind, name_of(&document, kind, name)?));
        }
    }
    let has_slack = wishes.iter().any(|wish| matches!(wish, Wish::Webhook { level: None, .. }));
    let of_slack = names.iter().find(|(kind, _)| *kind == Kind::Slack).map(|(_, name)| name.as_str());
    if let Some(name) = of_slack
        && !has_slack
        && section(&document, name, Kind::Slack).is_none()
    {
        return Err(format!(
            "there is no transfer `{name}` of kind slack yet: give its webhook with --slack"
        ));
    }
    let secrets = secrets(wishes, of_slack.unwrap_or_default());
    let written = |at| write(text, wishes, &names, &secrets, at);
    let (text, trial) = (written(At::Path)?, written(At::Trial)?);
    Ok(Edited { text, trial, secrets, names: names.into_iter().map(|(_, name)| name).collect() })
}

fn parse(text: &str) -> Result<DocumentMut, String> {
    let mut text = text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    // Its message alone: the line that is wrong may hold a secret.
    text.parse::<DocumentMut>().map_err(|error| error.message().trim().replace('\n', " "))
}

/// One secret for each webhook, in the order of the wishes.
fn secrets(wishes: &[Wish], transfer: &str) -> Vec<SecretFile> {
    let webhooks = wishes.iter().filter_map(|wish| match wish {
        Wish::Webhook { level, text } => Some((level, text)),
        Wish::Transfer { .. } | Wish::Key { .. } => None,
    });
    let named = webhooks.map(|(level, text)| {
        let name = match level {
            Some(level) => format!("{transfer}-webhook-{level}"),
            None => format!("{transfer}-webhook"),
        };
        SecretFile::new(&name, text.clone())
    });
    named.collect()
}

fn write(
    text: &str,
    wishes: &[Wish],
    names: &[(Kind, String)],
    secrets: &[SecretFile],
    at: At,
) -> Result<String, String> {
    let mut document = parse(text)?;
    let mut secrets = secrets.iter();
    for wish in wishes {
        let kind = wish.kind();
        let name = names.iter().find(|(known, _)| Some(*known) == kind).map(|(_, name)| name.as_str());
        match (wish, name) {
            (Wish::Key { section: None, key, text }, _) => put(document.as_table_mut(), key, text.into()),
            (Wish::Key { section: Some(section), key, text }, _) => {
                put(table(&mut document, &[section])?, key, text.into());
            }
            (Wish::Transfer { kind, keys }, Some(name)) => {
                let section = table(&mut document, &["transfer", name, kind.word()])?;
                for (key, text) in keys {
                    put(section, key, text.into());
                }
            }
            (Wish::Webhook { level, .. }, Some(name)) => {
                let secret = secrets.next().ok_or("a webhook has no file")?;
                let path = match at {
                    At::Path => &secret.path,
                    At::Trial => &secret.trial,
                };
                let section = table(&mut document, &["transfer", name, Kind::Slack.word()])?;
                match level {
                    None => put(section, "webhook", file(path)),
                    Some(level) => {
                        if !section.contains_key("webhook_by_level") {
                            put(section, "webhook_by_level", InlineTable::new().into());
                        }
                        let levels = section.get_mut("webhook_by_level").and_then(Item::as_table_like_mut);
                        put(levels.ok_or("`webhook_by_level` is no table")?, level.as_str(), file(path));
                    }
                }
            }
            (Wish::Transfer { .. } | Wish::Webhook { .. }, None) => {}
        }
    }
    let text = document.to_string();
    // What an unusual way of writing makes of an insertion is no reason to write what nobody can read.
    parse(&text).map_err(|_| {
        "its transfers are written in a way that cannot be added to: write them as sections [transfer.NAME.KIND]"
    })?;
    Ok(text)
}

/// What the daemons take as the name of a transfer, and what is good in the name of a file.
pub(crate) fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

/// The transfer that a wish for this kind is about.
fn name_of(document: &DocumentMut, kind: Kind, name: Option<&str>) -> Result<String, String> {
    let transfers = document.get("transfer").and_then(Item::as_table_like);
    let kinds_of = |item: &Item| -> Vec<String> {
        item.as_table_like()
            .map(|kinds| kinds.iter().map(|(kind, _)| kind.to_owned()).collect())
            .unwrap_or_default()
    };
    let all: Vec<(String, Vec<String>)> = transfers
        .map(|transfers| transfers.iter().map(|(name, item)| (name.to_owned(), kinds_of(item))).collect())
        .unwrap_or_default();
    let same: Vec<&str> = all
        .iter()
        .filter(|(_, kinds)| kinds.iter().any(|found| found == kind.word()))
        .map(|(name, _)| name.as_str())
        .collect();
    let chosen = match (name, &same[..]) {
        (Some(name), _) => name,
        (None, []) => kind.word(),
        (None, [only]) => only,
        (None, several) => {
            let (word, several) = (kind.word(), several.join(", "));
            return Err(format!(
                "there are several transfers of kind {word} ({several}): say which with --name"
            ));
        }
    };
    if !is_name(chosen) {
        return Err(format!("no transfer can be called `{chosen}`"));
    }
    match all.iter().find(|(name, _)| name == chosen) {
        Some((_, kinds)) if kinds.iter().any(|found| found != kind.word()) => {
            Err(format!("the transfer `{chosen}` is of another kind: choose another name with --name"))
        }
        _ => Ok(chosen.to_owned()),
    }
}

fn section<'a>(document: &'a DocumentMut, name: &str, kind: Kind) -> Option<&'a dyn TableLike> {
    ["transfer", name, kind.word()]
        .iter()
        .try_fold(document.as_table() as &dyn TableLike, |table, key| table.get(key)?.as_table_like())
}

/// The section of this path; what is missing of it is made at the end of the file.
fn table<'a>(document: &'a mut DocumentMut, path: &[&str]) -> Result<&'a mut dyn TableLike, String> {
    let (mut known, mut inline, mut dotted) = (0, false, false);
    let mut at: &dyn TableLike = document.as_table();
    while let Some(item) = path.get(known).and_then(|key| at.get(key)) {
        inline = item.is_inline_table();
        at = item.as_table_like().ok_or_else(|| format!("`{}` is no table", path[..=known].join(".")))?;
        dotted = at.is_dotted();
        known += 1;
    }
    // A section that only others made necessary is no reason to write its header.
    let mut end = (known < path.len() && !inline && !dotted).then(|| end_of(document));
    let mut at: &mut dyn TableLike = document.as_table_mut();
    for (depth, key) in path.iter().enumerate() {
        if depth >= known {
            let made = if inline {
                Item::Value(InlineTable::new().into())
            } else {
                let mut made = Table::new();
                made.set_dotted(dotted);
                made.set_implicit(depth + 1 < path.len());
                if depth + 1 == path.len()
                    && let Some(end) = end.take()
                {
                    made.decor_mut().set_prefix(end);
                    made.set_position(Some(isize::MAX));
                }
                Item::Table(made)
            };
            at.insert(key, made);
        }
        at = at.get_mut(key).and_then(Item::as_table_like_mut).ok_or("a section cannot be made")?;
    }
    Ok(at)
}

/// What stands between the last key and a new section: the comments at the end of the file, and an empty line.
fn end_of(document: &mut DocumentMut) -> String {
    let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
    let is_empty = document.as_table().is_empty() && trailing.is_empty();
    document.set_trailing("");
    if is_empty { trailing } else { format!("{trailing}\n") }
}

fn file(path: &Path) -> Value {
    let mut file = InlineTable::new();
    file.insert("file", path.to_string_lossy().into_owned().into());
    file.into()
}

/// Sets a key; what means the same already stays as it is written, and a comment behind it stays in any case.
fn put(table: &mut dyn TableLike, key: &str, value: Value) {
    match table.get_mut(key) {
        Some(Item::Value(found)) if means(found, &value) => {}
        Some(Item::Value(found)) => {
            let decor = found.decor().clone();
            *found = value;
            *found.decor_mut() = decor;
        }
        Some(Item::None) | None => {
            table.insert(key, Item::Value(value));
        }
        Some(section @ (Item::Table(_) | Item::ArrayOfTables(_))) => *section = Item::Value(value),
    }
}

fn means(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.value() == b.value(),
        (Value::InlineTable(a), Value::InlineTable(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| means(a, b)))
        }
        _ => false,
    }
}

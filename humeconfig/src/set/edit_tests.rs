//! What an edit leaves alone, what it adds, and what it does not dare.

use hume_core::Level;
use hume_runtime::secret::SecretText;
use proptest::prelude::*;

use super::edit::edit;
use super::wish::{Kind, Wish};

fn webhook(level: Option<Level>) -> Wish {
    Wish::Webhook { level, text: SecretText::new("https://hooks.example/x") }
}

fn rsyslog(address: &str) -> Wish {
    Wish::Transfer { kind: Kind::Rsyslog, keys: vec![("address", address.to_owned())] }
}

fn syslog() -> Wish {
    Wish::Transfer { kind: Kind::Syslog, keys: Vec::new() }
}

#[track_caller]
fn edited(text: &str, wishes: &[Wish]) -> String {
    let edited = edit(text, wishes, None).unwrap();
    let again = edit(&edited.text, wishes, None).unwrap();
    assert_eq!(again.text, edited.text, "a second time changes something");
    edited.text
}

#[test]
fn a_new_section_stands_at_the_end_and_the_rest_stays_as_it_was() {
    let text = "# mine\nhost = \"web1\"   # the name\n\n[spool]\ndir = 'state'\n# [web]\n# socket = \"x\"\n";
    let expected =
        format!("{text}\n[transfer.slack.slack]\nwebhook = {{ file = \"credentials/slack-webhook\" }}\n");
    assert_eq!(edited(text, &[webhook(None)]), expected);
}

#[test]
fn a_file_of_comments_keeps_them_above_so_that_its_keys_can_be_uncommented() {
    let text = "# host = \"web1\"\n";
    assert_eq!(edited(text, &[syslog()]), "# host = \"web1\"\n\n[transfer.syslog.syslog]\n");
    assert_eq!(edited("", &[syslog()]), "[transfer.syslog.syslog]\n");
}

#[test]
fn several_wishes_are_several_sections_in_their_order() {
    let text = edited(
        "host = \"a\"",
        &[webhook(None), webhook(Some(Level::Error)), syslog(), rsyslog("udp://l:514")],
    );
    assert_eq!(
        text,
        "host = \"a\"\n\n[transfer.slack.slack]\nwebhook = { file = \"credentials/slack-webhook\" }\n\
         webhook_by_level = { error = { file = \"credentials/slack-webhook-error\" } }\n\n\
         [transfer.syslog.syslog]\n\n[transfer.rsyslog.rsyslog]\naddress = \"udp://l:514\"\n"
    );
}

#[test]
fn a_transfer_that_is_there_is_changed_in_its_place_with_its_comments() {
    let text = "[transfer.far.rsyslog]\n# the old one\naddress = \"udp://a:514\" # soon gone\nlevel_min = \"error\"\n\n[log]\n";
    let expected = text.replace("udp://a:514", "tcp://b:601");
    assert_eq!(edited(text, &[rsyslog("tcp://b:601")]), expected);
    assert_eq!(edited(&expected, &[rsyslog("tcp://b:601")]), expected);
}

#[test]
fn every_way_to_write_a_transfer_is_understood() {
    for text in [
        "transfer.ops.slack.webhook = \"https://old.example\"\n",
        "[transfer]\nops = { slack = { webhook = \"https://old.example\" } }\n",
        "[transfer.ops]\nslack.webhook = \"https://old.example\"\n",
        "transfer = { ops.slack.webhook = \"https://old.example\" }\n",
        "[transfer.ops.slack.webhook]\nfile = \"elsewhere\"\n",
        "[transfer.ops.slack]\nwebhook = \"https://old.example\"\n[transfer.ops.slack.webhook_by_level]\nerror = \"https://e.example\"\n",
    ] {
        let text = edited(text, &[webhook(None), webhook(Some(Level::Error))]);
        let table: toml::Table = text.parse().unwrap();
        let slack = &table["transfer"]["ops"]["slack"];
        assert_eq!(slack["webhook"]["file"].as_str(), Some("credentials/ops-webhook"), "{text}");
        let error = &slack["webhook_by_level"]["error"];
        assert_eq!(error["file"].as_str(), Some("credentials/ops-webhook-error"), "{text}");
    }
}

#[test]
fn a_transfer_is_added_to_others_however_they_are_written() {
    for text in [
        "transfer.ops.slack.webhook = \"https://old.example\"\n",
        "[transfer]\nops = { slack = { webhook = \"https://old.example\" } }\n",
        "transfer = { ops = { slack = { webhook = \"https://old.example\" } } }\n",
        "[transfer.ops.slack]\nwebhook = \"https://old.example\"\n",
        "[[runs]]\n[transfer.ops.slack]\nwebhook = \"https://old.example\"\n[[runs]]\n",
    ] {
        let text = edited(text, &[rsyslog("udp://l:514")]);
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(
            table["transfer"]["rsyslog"]["rsyslog"]["address"].as_str(),
            Some("udp://l:514"),
            "{text}"
        );
        assert_eq!(table["transfer"]["ops"]["slack"]["webhook"].as_str(), Some("https://old.example"));
    }
}

#[test]
fn what_is_not_clear_is_asked_back() {
    let two = "[transfer.a.slack]\n[transfer.b.slack]\n";
    for (text, wish, part) in [
        (two, webhook(None), "several transfers of kind slack (a, b): say which with --name"),
        ("[transfer.slack.http]\n", webhook(None), "`slack` is of another kind"),
        ("", webhook(Some(Level::Error)), "give its webhook with --slack"),
        ("[transfer.'../x'.slack]\n", webhook(None), "no transfer can be called `../x`"),
        ("transfer = 1\n", syslog(), "`transfer` is no table"),
        ("[transfer.x.slack]\nwebhook_by_level = 1\n", webhook(Some(Level::Error)), "is no table"),
    ] {
        let error = edit(text, &[wish], None).unwrap_err();
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
    }
    let named = edit(two, &[webhook(None)], Some("b")).unwrap();
    assert!(named.text.contains("[transfer.b.slack]\nwebhook"), "{}", named.text);
}

#[test]
fn the_socket_for_scripts_is_a_key_of_the_intake() {
    let wish = || Wish::Key { section: Some("intake"), key: "socket", text: "/run/h.sock".to_owned() };
    let text = edited("[intake]\ndrop_dir = \"d\"\n[web]\n", &[wish()]);
    assert_eq!(text, "[intake]\ndrop_dir = \"d\"\nsocket = \"/run/h.sock\"\n[web]\n");
    assert_eq!(edited("", &[wish()]), "[intake]\nsocket = \"/run/h.sock\"\n");
}

#[test]
fn the_examples_of_both_daemons_are_kept_line_by_line() {
    for example in [
        include_str!("../../../humed-agent/agent.example.toml"),
        include_str!("../../../humed-master/master.example.toml"),
    ] {
        let text = edited(example, &[webhook(None), syslog()]);
        assert!(text.starts_with(example), "{text}");
    }
}

proptest! {
    #[test]
    fn whatever_a_file_says_it_says_afterwards_too(
        lines in prop::collection::vec(prop::sample::select(vec![
            "# a comment", "", "a = 1 # why", "[transfer.x.syslog]", "[spool]", "[[runs]]", "tasks = ['A']",
            "[transfer.y.slack]", "webhook = 'https://h.example'", "[transfer]", "transfer.z.file.path = '/p'", "\t",
        ]), 0..12),
    ) {
        let text = lines.join("\n");
        prop_assume!(text.parse::<toml::Table>().is_ok());
        let wishes = [rsyslog("udp://l:514")];
        let Ok(result) = edit(&text, &wishes, None) else { return Ok(()) };
        let (before, mut after): (toml::Table, toml::Table) = (text.parse().unwrap(), result.text.parse().unwrap());
        for line in lines.iter().filter(|line| line.contains('#')) {
            prop_assert!(result.text.contains(line));
        }
        let transfers = after.get_mut("transfer").unwrap().as_table_mut().unwrap();
        prop_assert!(transfers.remove("rsyslog").is_some());
        if transfers.is_empty() && !before.contains_key("transfer") {
            after.remove("transfer");
        }
        prop_assert_eq!(before, after);
        prop_assert_eq!(&edit(&result.text, &wishes, None).unwrap().text, &result.text);
    }
}

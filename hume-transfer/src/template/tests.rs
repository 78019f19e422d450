//! Which template a notice gets, what it may say, and that a broken one costs no notice.

use std::fs;

use hume_core::{HostName, Level};

use super::*;
use crate::testing::{documented, documented_digest, documented_run, stored};

const BUILT_IN_TEXT: &str = "built in: {{ text }}";

struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Site {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("templates/slack")).unwrap();
        for (name, text) in files {
            fs::write(dir.path().join("templates/slack").join(name), text).unwrap();
        }
        Site { dir }
    }

    fn open(&self, base: Option<&str>, inline: Option<(&'static str, &str)>) -> Templates {
        let (name, host) = (TransferName::parse("ops").unwrap(), HostName::parse("db1").unwrap());
        let config_file = self.dir.path().join("agent.toml");
        let setting = Setting { name: &name, config_file: &config_file, host: &host, program: "humed-agent" };
        Templates::open(&Sources { kind: "slack", base, inline, built_in: BUILT_IN_TEXT }, &setting)
    }

    fn faults(&self) -> Vec<String> {
        let prefix = format!("{}/templates/slack/", self.dir.path().display());
        self.open(None, None).faults().iter().map(|fault| fault.to_string().replace(&prefix, "")).collect()
    }
}

fn inline(text: &str) -> Templates {
    let templates = Site::new(&[]).open(None, Some(("body", text)));
    assert_eq!(templates.faults(), []);
    templates
}

fn notice(level: Level) -> Notice {
    Notice::of(stored(level, "BACKUP", "db1", "it <failed> & so on"))
}

#[test]
fn the_most_special_template_wins_and_without_any_the_built_in_does() {
    let files = [
        ("ops_error.tpl", "1"),
        ("ops_default.tpl", "2"),
        ("default_error.tpl", "3"),
        ("default_default.tpl", "4"),
    ];
    for (present, error, info) in [
        (&files[..], "1", "2"),
        (&files[1..], "2", "2"),
        (&files[2..], "3", "4"),
        (&files[3..], "4", "4"),
        (&[], "built in: it <failed> & so on", "built in: it <failed> & so on"),
    ] {
        let templates = Site::new(present).open(None, None);
        let text = |level| templates.render(&notice(level)).text;
        assert_eq!((text(Level::Error).as_str(), text(Level::Info).as_str()), (error, info));
    }
    let site = Site::new(&[("night_error.tpl", "night"), ("ops_error.tpl", "day")]);
    assert_eq!(site.open(Some("night"), None).render(&notice(Level::Error)).text, "night");
}

#[test]
fn a_broken_template_is_named_with_its_line_and_the_built_in_used() {
    for (text, told) in [
        ("fine\n{% if %}", "ops_error.tpl:2: syntax error: "),
        ("{{ text }}\n\n{{ txet }}", "ops_error.tpl:3: no notice has `txet`"),
        ("{{ event.mesage }}", "ops_error.tpl:1: no notice has `event.mesage`"),
        ("a\n{{ text | slack_escpae }}", "ops_error.tpl:2: unknown filter: "),
        ("{{ event.time | later('soon') }}", "ops_error.tpl:1: invalid operation: `soon` is no duration"),
        ("{% include 'other' %}", "ops_error.tpl:1: template not found: "),
        (
            "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}",
            "ops_error.tpl:1: ",
        ),
    ] {
        let site = Site::new(&[("ops_error.tpl", text), ("default_default.tpl", "not this one")]);
        let faults = site.faults();
        assert!(faults.len() == 1 && faults[0].starts_with(told), "{faults:?}, expected {told}");
        let rendered = site.open(None, None).render(&notice(Level::Error));
        assert_eq!((rendered.text.as_str(), rendered.from), ("built in: it <failed> & so on", None));
        assert_eq!(site.open(None, None).render(&notice(Level::Info)).text, "not this one");
    }
}

#[test]
fn a_template_that_cannot_be_read_is_named() {
    let site = Site::new(&[("ops_info.tpl", &"x".repeat(TEMPLATE_BYTES_MAX as usize + 1))]);
    fs::write(site.dir.path().join("templates/slack/ops_ok.tpl"), [0xff, 0xfe]).unwrap();
    fs::create_dir(site.dir.path().join("templates/slack/ops_error.tpl")).unwrap();
    let faults = site.faults();
    assert_eq!(faults.len(), 3, "{faults:?}");
    for name in ["ops_info.tpl: has more than 65536 bytes", "ops_ok.tpl: ", "ops_error.tpl: "] {
        assert!(faults.iter().any(|fault| fault.starts_with(name)), "{name} in {faults:?}");
    }
    let templates = site.open(Some("../ops"), None);
    assert!(templates.faults()[0].to_string().starts_with("`template`: `../ops` is no name"));
}

#[test]
fn a_template_that_fails_while_rendering_costs_no_notice() {
    // Tried on every kind of notice it works; on this one it does not.
    let text = "{% if event.task == 'BACKUP' and level == 'critical' %}{{ range(100) | slack_escape }}\n\
                {% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}{% endif %}own: {{ text }}";
    let templates = inline(text);
    assert_eq!(templates.render(&notice(Level::Error)).text, "own: it <failed> & so on");
    for _ in 0..2 {
        let rendered = templates.render(&notice(Level::Critical));
        assert_eq!(rendered.text, "built in: it <failed> & so on");
        assert!(rendered.fault.unwrap().to_string().starts_with("`body`:"));
    }
}

#[test]
fn what_an_event_does_not_have_is_empty() {
    let templates = inline(
        "[{{ event.extra.database }}{{ event.extra.a.b.c }}{{ run_summary.status }}{{ digest.count }}]",
    );
    assert_eq!(templates.render(&notice(Level::Info)).text, "[]");
    assert_eq!(templates.render(&Notice::of(documented())).text, "[shop]");
    assert_eq!(templates.render(&documented_run()).text, "[shopfailed]");
    assert_eq!(templates.render(&documented_digest()).text, "[38]");
}

#[test]
fn filters_escape_cut_and_translate() {
    for (template, expected) in [
        ("{{ text }}", "it <failed> & so on"),
        ("{{ text | slack_escape }}", "it &lt;failed&gt; &amp; so on"),
        ("{{ text | json }}", "\"it <failed> & so on\""),
        (
            "{{ event.tags | json }}{{ via | json }}{{ event.nothing_such | default(none) | json }}",
            "[]nullnull",
        ),
        ("{{ text | truncate(4) }}", "it …"),
        ("{{ 'a\n  b' | one_line }}", "a b"),
        ("{{ level | emoji }} {{ level | color }}", "❌ #d32f2f"),
        ("{{ event.time | time }}", "2025-11-24 16:00:00 UTC"),
        ("{{ event.time | later('1d') }}", "2025-11-25T16:00:00.000000Z"),
        ("{{ 185000000 | duration }}", "3m 5s"),
        ("{{ 'a b&c' | urlencode }}", "a%20b%26c"),
        ("{{ transfer }} {{ daemon }} {{ daemon_host }}", "ops humed-agent db1"),
        (
            "{{ title }} / {{ body }} / {{ facts[0].name }}",
            "BACKUP on db1: error / it <failed> & so on / level",
        ),
    ] {
        let template = template.replace("event.nothing_such", "event.extra.nothing_such");
        assert_eq!(inline(&template).render(&notice(Level::Error)).text, expected, "{template}");
    }
    let whole = inline("{{ notice | json }}").render(&notice(Level::Error)).text;
    let expected = serde_json::to_value(notice(Level::Error).view()).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&whole).unwrap(), expected);
}

#[test]
fn the_largest_event_fits_into_the_fuel() {
    let mut event = stored(Level::Error, "BACKUP", "db1", &"\u{1}".repeat(16 * 1024));
    event.event.extra = (0..64).map(|at| (format!("{at:03}"), "\"".repeat(500))).collect();
    let templates = inline("{{ notice | json }}{{ body | slack_escape | truncate(3000) | json }}");
    let rendered = templates.render(&Notice::of(event));
    assert_eq!(rendered.fault, None);
}

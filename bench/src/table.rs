//! Results as a table for people, or as JSON with the same content.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::part::Findings;
use crate::row::Row;

const HEAD: [&str; 7] = ["part", "what", "measured", "baseline", "ratio", "to reach", "reached"];

/// The whole table, without a line end.
pub(crate) fn text(machine: &Machine, findings: &Findings) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(findings.rows.iter().map(cells));
    let widths: [usize; HEAD.len()] = std::array::from_fn(|column| {
        let width = |line: &[String; HEAD.len()]| line.get(column).map_or(0, |cell| cell.chars().count());
        lines.iter().map(width).max().unwrap_or(0)
    });
    let mut text = format!("{machine}\n\n");
    for line in &lines {
        let padded = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    for skipped in &findings.skipped {
        let _ = writeln!(text, "not measured: {skipped}");
    }
    text.trim_end().to_owned()
}

fn cells(row: &Row) -> [String; HEAD.len()] {
    let Row { part, what, measured, baseline, goal } = row;
    [
        part.name().to_owned(),
        what.clone(),
        measured.to_string(),
        baseline.as_ref().map(|(name, value)| format!("{value} ({name})")).unwrap_or_default(),
        row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        goal.as_ref().map(ToString::to_string).unwrap_or_default(),
        row.is_reached().map_or("", |reached| if reached { "yes" } else { "no" }).to_owned(),
    ]
}

/// The same as JSON.
pub(crate) fn json(machine: &Machine, findings: &Findings) -> Value {
    let rows: Vec<Value> = findings.rows.iter().map(row_json).collect();
    json!({ "machine": machine.json(), "rows": rows, "skipped": findings.skipped })
}

fn row_json(row: &Row) -> Value {
    let Row { part, what, measured, baseline, goal } = row;
    json!({
        "part": part.name(),
        "what": what,
        "measured": measured.value,
        "unit": measured.unit.as_str(),
        "baseline": baseline.as_ref().map(|(name, value)| {
            json!({ "what": name, "measured": value.value, "unit": value.unit.as_str() })
        }),
        "ratio": row.ratio(),
        "to_reach": goal.as_ref().map(|goal| {
            json!({ goal.side(): goal.limit().value, "formula": goal.formula() })
        }),
        "reached": row.is_reached(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Part;
    use crate::row::Quantity;

    fn findings() -> Findings {
        let row = Row::new(Part::Intake, "pipelined", Quantity::rate(1500.0));
        let row = row.beside("raw", Quantity::rate(3000.0)).at_least(2000.0, "");
        let other = Row::new(Part::Relay, "acked", Quantity::rate(10.0));
        Findings { rows: vec![row, other], skipped: vec!["rsyslog: apt-get install rsyslog".to_owned()] }
    }

    #[test]
    fn the_table_has_a_line_for_each_row_and_says_what_was_not_measured() {
        let text = text(&Machine::default(), &findings());
        let lines: Vec<&str> = text.lines().rev().take(4).collect();
        assert_eq!(
            lines,
            [
                "not measured: rsyslog: apt-get install rsyslog",
                "relay   acked      10 events/s",
                "intake  pipelined  1,500 events/s  3,000 events/s (raw)  0.50   ≥ 2,000 events/s  no",
                "part    what       measured        baseline              ratio  to reach          reached",
            ]
        );
    }

    #[test]
    fn json_has_the_same_content_and_null_for_what_is_not_there() {
        let value = json(&Machine::default(), &findings());
        assert_eq!(value["rows"][0]["reached"], false);
        assert_eq!(value["rows"][0]["to_reach"]["at_least"], 2000.0);
        assert_eq!(value["rows"][0]["baseline"]["unit"], "events/s");
        assert_eq!(value["rows"][1]["reached"], Value::Null);
        assert_eq!(value["skipped"][0], "rsyslog: apt-get install rsyslog");
    }
}

//! Output of a monitoring plugin, read as strictly as the guidelines of the Monitoring Plugins project write it.
//!
//! `https://www.monitoring-plugins.org/doc/guidelines.html`, sections 2.1 (output), 2.6 (performance data) and 2.5 (ranges):
//! `'label'=value[UOM];[warn];[crit];[min];[max]`, separated by spaces; a label has neither `=` nor `'`; value, min and max
//! are of class `[-0-9.]` or the value is `U`; warn and crit are ranges; UOM is none, s, us, ms, %, B, KB, MB, TB or c.

/// What a plugin says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PluginOutput {
    /// OK, WARNING, CRITICAL or UNKNOWN.
    pub(crate) state: &'static str,
    /// What follows on `HUME STATE - `.
    pub(crate) text: String,
    /// Label and what stands after the `=`.
    pub(crate) figures: Vec<Figure>,
    /// The lines after the first.
    pub(crate) long: Vec<String>,
}

/// One value of the performance data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) label: String,
    /// None for `U`.
    pub(crate) value: Option<f64>,
    pub(crate) unit: String,
    /// warn, crit, min and max as written; fewer when they are left out at the end.
    pub(crate) bounds: Vec<String>,
}

const STATES: [&str; 4] = ["OK", "WARNING", "CRITICAL", "UNKNOWN"];
const UNITS: [&str; 10] = ["", "s", "us", "ms", "%", "B", "KB", "MB", "TB", "c"];
/// What Nagios 4 reads of a plugin.
const OUTPUT_BYTES_MAX: usize = 8 * 1024;

impl PluginOutput {
    /// The figure with this label.
    pub(crate) fn figure(&self, label: &str) -> &Figure {
        self.figures
            .iter()
            .find(|figure| figure.label == label)
            .unwrap_or_else(|| panic!("no {label}: {self:?}"))
    }
}

/// Reads the output, or says which rule it breaks.
pub(crate) fn parse(output: &str) -> Result<PluginOutput, String> {
    if output.len() > OUTPUT_BYTES_MAX {
        return Err(format!("{} bytes are too many", output.len()));
    }
    let body = output.strip_suffix('\n').ok_or("it does not end with a line break")?;
    if let Some(wrong) = body.chars().find(|c| *c != '\n' && !(' '..='~').contains(c)) {
        return Err(format!("{wrong:?} is no printable ASCII"));
    }
    let mut lines = body.split('\n');
    let first = lines.next().unwrap_or_default();
    let (status, performance) = match first.split_once('|') {
        Some((status, performance)) => (status, Some(performance)),
        None => (first, None),
    };
    let rest = status.strip_prefix("HUME ").ok_or("it does not begin with the name of the service")?;
    let (word, text) = rest.split_once(" - ").ok_or("there is no ` - ` after the state")?;
    let state = STATES.into_iter().find(|state| *state == word).ok_or(format!("{word:?} is no state"))?;
    let text = match performance {
        Some(_) => text.strip_suffix(' ').ok_or("there is no space before the |")?,
        None => text,
    };
    if text.trim().is_empty() || text != text.trim() {
        return Err(format!("{text:?} is no text"));
    }
    let figures = match performance {
        Some(performance) => figures(performance.strip_prefix(' ').ok_or("there is no space after the |")?)?,
        None => Vec::new(),
    };
    let long: Vec<String> = lines.map(str::to_owned).collect();
    for line in &long {
        if line.contains('|') {
            return Err(format!("{line:?} begins performance data"));
        }
        if line.trim().is_empty() {
            return Err("a line is empty".to_owned());
        }
    }
    Ok(PluginOutput { state, text: text.to_owned(), figures, long })
}

fn figures(text: &str) -> Result<Vec<Figure>, String> {
    let mut found: Vec<Figure> = Vec::new();
    let mut rest = text;
    loop {
        let quoted = rest.strip_prefix('\'').ok_or(format!("no quoted label at {rest:?}"))?;
        let (label, after) = quoted.split_once('\'').ok_or("a label does not end")?;
        if label.is_empty() || label.contains('=') {
            return Err(format!("{label:?} is no label"));
        }
        let after = after.strip_prefix('=').ok_or(format!("no = after {label:?}"))?;
        let (value, later) =
            after.split_once(' ').map_or((after, None), |(value, later)| (value, Some(later)));
        if found.iter().any(|figure| figure.label == label) {
            return Err(format!("{label:?} is there twice"));
        }
        found.push(figure(label, value)?);
        match later {
            Some(later) => rest = later,
            None => return Ok(found),
        }
    }
}

fn figure(label: &str, text: &str) -> Result<Figure, String> {
    let mut parts = text.split(';');
    let first = parts.next().unwrap_or_default();
    let bounds: Vec<String> = parts.map(str::to_owned).collect();
    if bounds.len() > 4 {
        return Err(format!("{text:?} has too many bounds"));
    }
    let (value, unit) = if first == "U" {
        (None, "")
    } else {
        let end = first.find(|c: char| !matches!(c, '-' | '0'..='9' | '.')).unwrap_or(first.len());
        let (number, unit) = first.split_at(end);
        (Some(number_of(number)?), unit)
    };
    if !UNITS.contains(&unit) {
        return Err(format!("{unit:?} is no unit"));
    }
    for (place, bound) in bounds.iter().enumerate().filter(|(_, bound)| !bound.is_empty()) {
        match place {
            0 | 1 => range(bound)?,
            _ => drop(number_of(bound)?),
        }
    }
    Ok(Figure { label: label.to_owned(), value, unit: unit.to_owned(), bounds })
}

/// Digits, with a sign before and one point among them at most.
fn number_of(text: &str) -> Result<f64, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = digits.split('.').count() <= 2
        && digits.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if is_number {
        text.parse().map_err(|_| format!("{text:?}"))
    } else {
        Err(format!("{text:?} is no number"))
    }
}

/// `[@]start:end`: `10`, `10:`, `~:10`, `10:20`, `@10:20`.
fn range(text: &str) -> Result<(), String> {
    let range = text.strip_prefix('@').unwrap_or(text);
    let (start, end) = range.split_once(':').unwrap_or(("0", range));
    let start = if start == "~" { f64::NEG_INFINITY } else { number_of(start)? };
    let end = if end.is_empty() && range.ends_with(':') { f64::INFINITY } else { number_of(end)? };
    if start > end { Err(format!("the range {text:?} is empty")) } else { Ok(()) }
}

#[test]
fn the_parser_takes_what_the_guidelines_allow() {
    for good in [
        "HUME OK - x\n",
        "HUME OK - x | 'a'=1\n",
        "HUME CRITICAL - a b: c | 'a b'=-1.5s;1;2;0;9 'c'=U 'd'=3%;~:4;@5:6\nlong\nlonger\n",
        "HUME UNKNOWN - x | 'a'=1;;10:\n",
    ] {
        assert!(parse(good).is_ok(), "{good:?}: {:?}", parse(good));
    }
    let line = "HUME CRITICAL - BACKUP@web1 failed: 2 errors, run 01J 3m12s, 14/14 events | \
                'duration'=192s;600;1200;0 'events'=14 'errors'=2 'warnings'=0 'age'=3600s;90000\n";
    let read = parse(line).unwrap();
    assert_eq!((read.state, read.figures.len()), ("CRITICAL", 5));
    assert_eq!(read.figure("duration").bounds, ["600", "1200", "0"]);
}

#[test]
fn the_parser_refuses_everything_else() {
    for bad in [
        "",
        "HUME OK - x",
        "OK - x\n",
        "HUME FINE - x\n",
        "HUME OK x\n",
        "HUME OK - \n",
        "HUME OK - x\ty\n",
        "HUME OK - ü\n",
        "HUME OK - x | \n",
        "HUME OK - x |'a'=1\n",
        "HUME OK - x| 'a'=1\n",
        "HUME OK - x | a=1\n",
        "HUME OK - x | 'a'=\n",
        "HUME OK - x | 'a'=1,5\n",
        "HUME OK - x | 'a'=1.\n",
        "HUME OK - x | 'a'=1.2.3\n",
        "HUME OK - x | 'a'=1h\n",
        "HUME OK - x | 'a'=1;x\n",
        "HUME OK - x | 'a'=1;9:8\n",
        "HUME OK - x | 'a'=1;1;1;1;1;1\n",
        "HUME OK - x | 'a'=1  'b'=2\n",
        "HUME OK - x | 'a'=1 'a'=2\n",
        "HUME OK - x | 'a=b'=1\n",
        "HUME OK - x | 'a'=1 | 'b'=2\n",
        "HUME OK - x\nlong | 'b'=2\n",
        "HUME OK - x\n\n",
    ] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
}

//! Tables about tasks, hosts, agents and the daemon itself, and words they share with the others.

use std::io::{self, Write};

use hume_proto::rest::{
    AgentJson, AuditJson, HostList, SlotJson, Source, SourceKind, StatusReport, TaskList, WatchJson,
};

use super::layout::{Column, Grid, Line, hang};
use super::moment::{Times, bytes, duration};
use super::table::{View, beyond, task_name};
use super::text::{Ink, Span};

/// `master hume1`
pub(super) fn source_words(source: &Source) -> String {
    let kind = match source.kind {
        SourceKind::Master => "master",
        SourceKind::Agent => "agent",
    };
    format!("{kind} {}", source.name)
}

pub(super) fn tasks(list: &TaskList, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let times = Times::new(&view.zone, list.tasks.iter().map(|task| task.started_at));
    let columns = vec![
        Column::left("TASK"),
        Column::left("HOST"),
        Column::left("STATUS"),
        Column::left(&times.heading("STARTED")),
        Column::right("TOOK"),
        Column::right("ERRORS"),
    ];
    let mut grid = Grid::new(columns, "RUN");
    for task in &list.tasks {
        let cells = vec![
            Span::plain(task_name(&task.task)),
            Span::plain(&task.host),
            Span::word(&task.status),
            Span::plain(&times.text(task.started_at)),
            Span::plain(&duration(task.duration_ms)),
            Span::plain(&task.errors.to_string()),
        ];
        let beyond = beyond(&task.status, task.severity).map(|limit| format!(", {limit}"));
        let note = format!("{}{}", task.run, beyond.unwrap_or_default());
        grid.push(cells, vec![Span::plain(&note)]);
    }
    grid.write(view.width, view.colour, to)
}

pub(super) fn hosts(list: &HostList, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let times = Times::new(&view.zone, list.hosts.iter().filter_map(|host| host.last_seen));
    let columns = vec![
        Column::left("HOST"),
        Column::left("STATE"),
        Column::left(&times.heading("LAST SEEN")),
        Column::right("TASKS"),
        Column::right("EVENTS"),
    ];
    let mut grid = Grid::new(columns, "AGENT");
    for host in &list.hosts {
        let cells = vec![
            Span::plain(&host.host),
            Span::word(&host.state),
            Span::plain(&times.text_or_dash(host.last_seen)),
            Span::plain(&host.tasks.to_string()),
            Span::plain(&host.events.to_string()),
        ];
        let agent = host.agent.map_or_else(|| "-".to_owned(), |agent| agent.to_string());
        grid.push(cells, vec![Span::plain(&agent)]);
    }
    grid.write(view.width, view.colour, to)
}

pub(super) fn agents(agents: &[AgentJson], view: &View, to: &mut dyn Write) -> io::Result<()> {
    let shown = agents
        .iter()
        .flat_map(|agent| [agent.since, agent.last_seen, agent.queued_since, agent.last_error_at])
        .flatten();
    let times = Times::new(&view.zone, shown);
    let columns = vec![
        Column::left("HOST"),
        Column::left("STATE"),
        Column::left(&times.heading("SINCE")),
        Column::right("QUEUED"),
        Column::right("ACKED"),
        Column::left("VERSION"),
    ];
    let mut grid = Grid::new(columns, "NOTE");
    // A fleet is a line each with what needs attention; a single agent is shown whole.
    let facts = if agents.len() == 1 { all_facts } else { open_matters };
    for agent in agents {
        let cells = vec![
            Span::plain(&agent.host),
            Span::word(&agent.state),
            Span::plain(&times.text_or_dash(agent.since)),
            Span::plain(&agent.queued_events.to_string()),
            Span::plain(&agent.acked_events.to_string()),
            Span::plain(agent.version.as_deref().unwrap_or("-")),
        ];
        grid.push(cells, facts(agent, &times));
    }
    grid.write(view.width, view.colour, to)
}

pub(super) fn watches(watches: &[WatchJson], view: &View, to: &mut dyn Write) -> io::Result<()> {
    let times = Times::new(&view.zone, watches.iter().filter_map(|watch| watch.next_at));
    let columns = vec![
        Column::left("WATCH"),
        Column::left("TASK"),
        Column::right("HOSTS"),
        Column::left(&times.heading("NEXT")),
    ];
    let mut grid = Grid::new(columns, "SCHEDULE");
    for watch in watches {
        let cells = vec![
            Span::plain(&watch.name),
            Span::plain(&watch.task),
            Span::plain(&watch.hosts.to_string()),
            Span::plain(&times.text_or_dash(watch.next_at)),
        ];
        grid.push(cells, vec![Span::plain(&watch.schedule)]);
    }
    grid.write(view.width, view.colour, to)
}

pub(super) fn slots(slots: &[SlotJson], view: &View, to: &mut dyn Write) -> io::Result<()> {
    let all = slots.iter().flat_map(|slot| [Some(slot.at), slot.started_at, slot.ended_at]).flatten();
    let times = Times::new(&view.zone, all);
    let columns = vec![
        Column::left(&times.heading("EXPECTED")),
        Column::left("HOST"),
        Column::left("STATE"),
        Column::left("STARTED"),
        Column::left("ENDED"),
    ];
    let mut grid = Grid::new(columns, "WHY");
    for slot in slots {
        let ink = match slot.state.as_str() {
            "missed" | "failed" => Ink::Bad,
            "late" | "unreachable" => Ink::Warning,
            _ => Ink::Plain,
        };
        let cells = vec![
            Span::plain(&times.text(slot.at)),
            Span::plain(&slot.host),
            Span::new(ink, &slot.state),
            Span::plain(&times.text_or_dash(slot.started_at)),
            Span::plain(&times.text_or_dash(slot.ended_at)),
        ];
        let mut why: Vec<&str> = slot.reason.as_deref().into_iter().collect();
        why.extend(slot.reported_late.then_some("reported late"));
        why.extend(slot.overdue.then_some("overdue"));
        grid.push(cells, vec![Span::plain(&why.join(", "))]);
    }
    grid.write(view.width, view.colour, to)
}

pub(super) fn audit(lines: &[AuditJson], view: &View, to: &mut dyn Write) -> io::Result<()> {
    let times = Times::new(&view.zone, lines.iter().map(|line| line.time));
    let columns = vec![
        Column::left(&times.heading("TIME")),
        Column::left("ACTOR"),
        Column::left("FROM"),
        Column::left("ACTION"),
        Column::left("SUBJECT"),
    ];
    let mut grid = Grid::new(columns, "OUTCOME");
    for line in lines {
        let cells = vec![
            Span::plain(&times.text(line.time)),
            Span::plain(&line.actor),
            Span::plain(&line.address),
            Span::plain(&line.action),
            Span::plain(&line.subject),
        ];
        let is_done = line.outcome == "done";
        let mut facts = vec![Span::new(if is_done { Ink::Plain } else { Ink::Warning }, &line.outcome)];
        if !line.detail.is_empty() {
            facts.push(Span::plain(&line.detail));
        }
        grid.push(cells, facts);
    }
    grid.write(view.width, view.colour, to)
}

/// What somebody may have to look after, a fact a line.
fn open_matters(agent: &AgentJson, times: &Times) -> Vec<Span> {
    let mut facts = Vec::new();
    if let Some(since) = agent.queued_since {
        facts.push(Span::new(Ink::Warning, &format!("queued since {}", times.text(since))));
    }
    if agent.lost_events > 0 {
        let text =
            format!("{} lost: accepted, and gone before the master had them", counted(agent.lost_events));
        facts.push(Span::new(Ink::Bad, &text));
    }
    if agent.refused_events > 0 {
        facts.push(Span::new(
            Ink::Bad,
            &format!("{} refused for want of room", counted(agent.refused_events)),
        ));
    }
    if let Some(error) = &agent.last_error {
        let when = agent.last_error_at.map(|at| format!(" at {}", times.text(at))).unwrap_or_default();
        facts.push(Span::new(Ink::Bad, &format!("last error{when}: {error}")));
    }
    if let (Some(seen), false) = (agent.last_seen, agent.state == "connected") {
        facts.push(Span::plain(&format!("last seen {}", times.text(seen))));
    }
    facts
}

fn counted(events: u64) -> String {
    format!("{events} {}", if events == 1 { "event" } else { "events" })
}

/// The same, and what else is known of an agent.
fn all_facts(agent: &AgentJson, times: &Times) -> Vec<Span> {
    let mut facts = open_matters(agent, times);
    if let Some(address) = &agent.address {
        facts.push(Span::plain(&format!("address {address}")));
    }
    if let Some(end) = agent.certificate_expires_at {
        facts.push(Span::plain(&format!("certificate ends {}", times.date(end))));
    }
    if let Some(id) = agent.agent {
        facts.push(Span::new(Ink::Faint, &format!("agent {id}")));
    }
    facts
}

pub(super) fn status(report: &StatusReport, view: &View, to: &mut dyn Write) -> io::Result<()> {
    /// Width of the names and a gap.
    const LABEL: usize = 10;
    let StatusReport { source, version, started_at, state, events, store_bytes, agents: known, truncated: _ } =
        report;
    let started = Times::new(&view.zone, [*started_at].into_iter());
    for (label, ink, text) in [
        ("source", Ink::Strong, source_words(source)),
        ("state", if state == "ready" { Ink::Good } else { Ink::Bad }, state.clone()),
        ("version", Ink::Plain, version.clone()),
        ("started", Ink::Plain, started.full(*started_at)),
        ("events", Ink::Plain, events.to_string()),
        ("store", Ink::Plain, bytes(*store_bytes)),
    ] {
        let mut line = Line::default();
        line.put(0, Span::new(Ink::Faint, label));
        let lines = hang(line, LABEL, &[Span::new(ink, &text)], view.width);
        lines.iter().try_for_each(|line| line.write(view.colour, to))?;
    }
    if known.is_empty() {
        return Ok(());
    }
    writeln!(to)?;
    agents(known, view, to)
}

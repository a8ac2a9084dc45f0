//! Draws `msb top`.

use super::model::{Entry, History, Mode, Model, Tab};
use crate::commands::image::size;
use crate::output::escape_controls;
use crate::output::words::age;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};
use std::time::Duration;

/// How things are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Whether there are colors.
    pub color: bool,
    /// Whether the terminal shows more than ASCII.
    pub unicode: bool,
}

/// The width from which there is a history of each number.
const WIDE: u16 = 118;
/// The height from which the list stays above the details.
const TALL: u16 = 20;
/// The lines of the list above the details.
const LIST_LINES: u16 = 8;

impl Look {
    fn colored(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// Draws the last values as bars; `most` is the height of a full one.
    fn bars(self, history: &History, width: usize, most: u64) -> String {
        let bars: &[char] = if self.unicode {
            &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
        } else {
            &['_', '.', ':', '-', '=', '+', '*', '#']
        };
        let bar = |value: u64| {
            let last = bars.len() as u64 - 1;
            let height = value.saturating_mul(last).div_ceil(most.max(1)).min(last);
            bars[usize::try_from(height).unwrap_or(0)]
        };
        let drawn: String = history.newest(width).map(bar).collect();
        format!("{drawn:>width$}")
    }
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, model: &Model, look: Look) {
    let area = frame.area();
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)]).areas(area);
    frame.render_widget(Paragraph::new(summary(model, look)), head);
    match &model.mode {
        Mode::Details(tab) if area.height >= TALL => {
            let [list, details] =
                Layout::vertical([Constraint::Length(LIST_LINES), Constraint::Min(3)]).areas(body);
            draw_list(frame, list, model, look);
            draw_details(frame, details, model, *tab, look);
        }
        Mode::Details(tab) => draw_details(frame, body, model, *tab, look),
        Mode::Help => frame.render_widget(Paragraph::new(HELP), body),
        _ => draw_list(frame, body, model, look),
    }
    frame.render_widget(Paragraph::new(footer(model, look, area.width)), foot);
}

/// What keys do.
const HELP: &str = "
  up, down, j, k       select a sandbox
  enter, l             its logs           e   its events
  n                    its rules          p   its processes
  left, right          another of these; esc: back to the list
  s                    sort by name, CPU, memory, network or disk
  /                    filter by name; esc: no filter
  r                    restart it         x   stop it; both ask first
  q                    quit

  CPU: 100 % is one processor of the host. NET and DISK: bytes per second, both ways.
  Any key goes back.";

/// The line at the top.
fn summary(model: &Model, look: Look) -> Line<'static> {
    let running = model.all().filter(|entry| entry.seen.metrics.is_some());
    let (mut count, mut cpu, mut memory) = (0, 0, 0_u64);
    for entry in running {
        count += 1;
        cpu += entry.cpu.last();
        memory = memory.saturating_add(entry.memory.last());
    }
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![
        Span::styled("msb top", bold.patch(look.colored(Color::Cyan))),
        Span::raw(format!(
            "  {count} of {} running  CPU {:.1}%  memory {}  by {}",
            model.all().count(),
            cpu as f64 / 10.0,
            size(memory),
            model.sort.name()
        )),
    ];
    if !model.filter.is_empty() && model.mode != Mode::Filter {
        spans.push(Span::raw(format!("  filter {}", model.filter)));
    }
    Line::from(spans)
}

/// The line at the bottom.
fn footer(model: &Model, look: Look, width: u16) -> Line<'static> {
    let dim = Style::new().add_modifier(Modifier::DIM);
    match &model.mode {
        Mode::Filter => Line::from(format!("filter: {}_   enter: keep  esc: no filter", model.filter)),
        Mode::Question(operation) => {
            let question = format!("{} {}? [y/N]", operation.command(), model.selected().unwrap_or_default());
            Line::styled(
                question,
                Style::new().add_modifier(Modifier::BOLD).patch(look.colored(Color::Yellow)),
            )
        }
        _ if !model.message.is_empty() => Line::from(escape_controls(&model.message)),
        Mode::Details(_) => Line::styled("left right: tab  up down: sandbox  esc: back", dim),
        _ if width < 60 => Line::styled("q quit  ? help", dim),
        _ => Line::styled("enter details  r restart  x stop  s sort  / filter  ? help  q quit", dim),
    }
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let shown = model.shown();
    let is_wide = area.width >= WIDE;
    // Each number has a column of its own for its bars if there is room, else only the processor has.
    let bars = usize::from(if is_wide { (area.width - 84) / 4 } else { 8 });
    let name_width = if is_wide { 24 } else { 18 };
    let mut widths = vec![Constraint::Length(name_width), Constraint::Length(if is_wide { 12 } else { 9 })];
    let mut headings = vec!["NAME".to_owned(), "STATUS".to_owned()];
    for (index, heading) in ["CPU", "MEMORY", "NET/s", "DISK/s"].into_iter().enumerate() {
        let width = if index == 0 { 6 } else { 9 };
        headings.push(format!("{heading:>width$}"));
        widths.push(Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
        if is_wide || index == 0 {
            headings.push(String::new());
            widths.push(Constraint::Length(u16::try_from(bars).unwrap_or(u16::MAX)));
        }
    }
    headings.push("UPTIME".to_owned());
    widths.push(Constraint::Length(7));
    let most = |history: fn(&Entry) -> &History| {
        shown.iter().flat_map(|entry| history(entry).newest(bars)).max().unwrap_or(0)
    };
    let scales = [most(|entry| &entry.cpu).max(1000), 0, most(|entry| &entry.net), most(|entry| &entry.disk)];
    let row = |entry: &&Entry| {
        let metrics = entry.seen.metrics.as_ref();
        let limit = metrics.map_or(1, |row| row.memory_limit_bytes);
        let histories = [&entry.cpu, &entry.memory, &entry.net, &entry.disk];
        let mut cells = vec![
            Cell::from(escape_controls(&entry.seen.full_name)),
            Cell::from(short(&entry.seen.status)).style(status_style(entry, look)),
        ];
        for (index, history) in histories.into_iter().enumerate() {
            let text = match (metrics, index) {
                (None, _) => "-".to_owned(),
                (Some(row), 0) => format!("{:.1}%", row.cpu_percent),
                (Some(_), _) => size(history.last()),
            };
            cells.push(Cell::from(format!("{text:>width$}", width = if index == 0 { 6 } else { 9 })));
            if is_wide || index == 0 {
                let scale = if index == 1 { limit } else { scales[index] };
                let drawn = if metrics.is_some() { look.bars(history, bars, scale) } else { String::new() };
                cells.push(Cell::from(drawn).style(look.colored(Color::Green)));
            }
        }
        let uptime = metrics.and_then(|row| row.uptime_ms);
        let uptime = uptime.map_or("-".to_owned(), |ms| age(Duration::from_millis(ms)));
        cells.push(Cell::from(uptime));
        Row::new(cells)
    };
    let table = Table::new(shown.iter().map(row), widths)
        .column_spacing(1)
        .header(Row::new(headings).style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(model.position());
    frame.render_stateful_widget(table, area, &mut state);
    if shown.is_empty() {
        let reason = if model.all().next().is_some() {
            "no name contains the filter"
        } else {
            "no sandboxes: `msb up` starts those of a Sandboxfile"
        };
        let below = Rect { y: area.y.saturating_add(1), height: area.height.min(1), ..area };
        frame.render_widget(Paragraph::new(reason), below);
    }
}

/// Shortens a state: what is in parentheses says more than what is before.
fn short(status: &str) -> String {
    let shortened = match status {
        "running (healthy)" => "healthy",
        "running (unhealthy)" => "unhealthy",
        "running (not healthy yet)" => "starting",
        _ if status.ends_with("(the host's disk is full)") => "disk full",
        status => status,
    };
    escape_controls(&shortened.replace(['(', ')'], ""))
}

fn status_style(entry: &Entry, look: Look) -> Style {
    let status = entry.seen.status.as_str();
    if status.contains("unhealthy") || status.starts_with("failed") || status.starts_with("lost") {
        look.colored(Color::Red).add_modifier(Modifier::BOLD)
    } else if entry.seen.metrics.is_some() {
        look.colored(Color::Green)
    } else {
        Style::new().add_modifier(Modifier::DIM)
    }
}

fn draw_details(frame: &mut Frame<'_>, area: Rect, model: &Model, tab: Tab, look: Look) {
    let [title, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(area);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled(format!("{}  ", model.selected().unwrap_or_default()), bold)];
    for other in Tab::ALL {
        let style = if other == tab {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            look.colored(Color::Cyan)
        };
        spans.push(Span::styled(format!(" {} ", other.title()), style));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), title);
    // The end of logs, the beginning of what has no order of time.
    let lines = usize::from(body.height);
    let skipped = match tab {
        Tab::Logs | Tab::Events => model.details.len().saturating_sub(lines),
        Tab::Rules | Tab::Processes => 0,
    };
    let shown: Vec<Line<'_>> =
        model.details.iter().skip(skipped).take(lines).map(|line| Line::raw(line.as_str())).collect();
    frame.render_widget(Paragraph::new(shown), body);
}

//! What `msb top` shows, without a terminal: sandboxes with their histories, the selection, and what keys do.

use crate::commands::sandbox::metrics::rows::Row;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// The number of samples that are kept of each sandbox: as many as a line of a wide terminal can show.
pub const HISTORY_MAX: usize = 128;
/// The longest filter in characters.
const FILTER_MAX: usize = 64;

/// A recorded sandbox at one moment.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Its name on this machine.
    pub full_name: String,
    /// Its state in words.
    pub status: String,
    /// Its metrics; `None` unless it runs.
    pub metrics: Option<Row>,
}

/// A sandbox with what it did before.
#[derive(Debug)]
pub struct Entry {
    /// What was seen last.
    pub seen: Observed,
    /// Thousandths of a processor.
    pub cpu: History,
    /// Bytes of memory.
    pub memory: History,
    /// Bytes per second over the network, both ways.
    pub net: History,
    /// Bytes per second from and to disks.
    pub disk: History,
}

/// The last values of a number, the newest at the end.
#[derive(Debug, Default)]
pub struct History(VecDeque<u64>);

impl History {
    fn push(&mut self, value: u64) {
        if self.0.len() == HISTORY_MAX {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// Returns the newest value.
    pub fn last(&self) -> u64 {
        self.0.back().copied().unwrap_or(0)
    }

    /// Returns the last values, at most this many.
    pub fn newest(&self, count: usize) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().skip(self.0.len().saturating_sub(count)).copied()
    }
}

/// The order of sandboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// By name.
    Name,
    /// The busiest first.
    Cpu,
    /// The largest first.
    Memory,
    /// By traffic of the network.
    Net,
    /// By traffic of disks.
    Disk,
}

impl Sort {
    const ALL: [Self; 5] = [Self::Name, Self::Cpu, Self::Memory, Self::Net, Self::Disk];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::Net => "network",
            Self::Disk => "disk",
        }
    }

    fn next(self) -> Self {
        let index = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Self::ALL[(index + 1) % Self::ALL.len()]
    }
}

/// What is shown of the selected sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// Its output.
    Logs,
    /// What happened to it.
    Events,
    /// The rules of its network.
    Rules,
    /// The processes in its guest.
    Processes,
}

impl Tab {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Logs, Self::Events, Self::Rules, Self::Processes];

    /// Returns its title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Events => "events",
            Self::Rules => "rules",
            Self::Processes => "processes",
        }
    }

    fn moved(self, by: usize) -> Self {
        let index = Self::ALL.iter().position(|tab| *tab == self).unwrap_or(0);
        Self::ALL[(index + by) % Self::ALL.len()]
    }
}

/// An operation that changes a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `msb restart`.
    Restart,
    /// `msb stop`.
    Stop,
}

impl Operation {
    /// Returns the command, which is also the verb.
    pub fn command(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Stop => "stop",
        }
    }
}

/// What the keyboard is for at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Choosing a sandbox.
    List,
    /// Writing the filter.
    Filter,
    /// Reading about the selected sandbox.
    Details(Tab),
    /// Answering whether an operation is meant.
    Question(Operation),
    /// Reading what keys do.
    Help,
}

/// What the program does after a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing but to draw again.
    Draw,
    /// Ends.
    Quit,
    /// Begins to show something of a sandbox.
    Show(Tab, String),
    /// Carries an operation out.
    Run(Operation, String),
}

/// The state of `msb top`.
#[derive(Debug)]
pub struct Model {
    entries: BTreeMap<String, Entry>,
    measured: Option<Instant>,
    /// The full name of the selected sandbox.
    selected: Option<String>,
    /// The order.
    pub sort: Sort,
    /// The text that names must contain.
    pub filter: String,
    /// What the keyboard is for.
    pub mode: Mode,
    /// The result of the last operation.
    pub message: String,
    /// What is shown of the selected sandbox.
    pub details: Vec<String>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            measured: None,
            selected: None,
            sort: Sort::Cpu,
            filter: String::new(),
            mode: Mode::List,
            message: String::new(),
            details: Vec::new(),
        }
    }
}

impl Model {
    /// Takes what was observed at a time.
    pub fn observe(&mut self, observed: Vec<Observed>, now: Instant) {
        let elapsed = self.measured.map(|before| now.saturating_duration_since(before));
        self.measured = Some(now);
        let mut before = std::mem::take(&mut self.entries);
        for seen in observed {
            let entry = match before.remove(&seen.full_name) {
                Some(mut entry) => {
                    entry.advance(seen, elapsed);
                    entry
                }
                None => Entry::new(seen),
            };
            self.entries.insert(entry.seen.full_name.clone(), entry);
        }
        if self.selected.as_ref().is_none_or(|name| !self.entries.contains_key(name)) {
            self.selected = self.shown().first().map(|entry| entry.seen.full_name.clone());
        }
    }

    /// Returns the sandboxes that pass the filter, in order.
    pub fn shown(&self) -> Vec<&Entry> {
        let mut shown: Vec<&Entry> =
            self.entries.values().filter(|entry| entry.seen.full_name.contains(&self.filter)).collect();
        // Running ones first; equal ones stay in the order of names.
        let key = |entry: &Entry| match self.sort {
            Sort::Name => 0,
            Sort::Cpu => entry.cpu.last(),
            Sort::Memory => entry.memory.last(),
            Sort::Net => entry.net.last(),
            Sort::Disk => entry.disk.last(),
        };
        if self.sort != Sort::Name {
            shown.sort_by_key(|entry| (entry.seen.metrics.is_none(), Reverse(key(entry))));
        }
        shown
    }

    /// Returns all sandboxes.
    pub fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Returns the position of the selected sandbox among those that are shown.
    pub fn position(&self) -> Option<usize> {
        self.shown().iter().position(|entry| Some(&entry.seen.full_name) == self.selected.as_ref())
    }

    /// Returns the name of the selected sandbox, if it is shown.
    pub fn selected(&self) -> Option<&str> {
        self.position().and(self.selected.as_deref())
    }

    /// Selects another sandbox, so many lines below or above.
    fn select(&mut self, by: isize) {
        let shown = self.shown();
        let last = shown.len().saturating_sub(1);
        let position = match self.position() {
            Some(position) => position.saturating_add_signed(by).min(last),
            None => 0,
        };
        self.selected = shown.get(position).map(|entry| entry.seen.full_name.clone());
    }

    /// Handles a key.
    pub fn press(&mut self, key: KeyEvent) -> Action {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Action::Quit;
        }
        match self.mode.clone() {
            Mode::List => self.press_in_list(key.code),
            Mode::Filter => self.press_in_filter(key.code),
            Mode::Details(tab) => self.press_in_details(tab, key.code),
            Mode::Question(operation) => {
                self.mode = Mode::List;
                match (key.code, self.selected()) {
                    (KeyCode::Char('y' | 'Y'), Some(name)) => Action::Run(operation, name.to_owned()),
                    _ => Action::Draw,
                }
            }
            Mode::Help => {
                self.mode = Mode::List;
                Action::Draw
            }
        }
    }

    fn press_in_list(&mut self, key: KeyCode) -> Action {
        self.message.clear();
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.select(-1),
            KeyCode::Down | KeyCode::Char('j') => self.select(1),
            KeyCode::PageUp => self.select(-10),
            KeyCode::PageDown => self.select(10),
            KeyCode::Home => self.select(isize::MIN),
            KeyCode::End => self.select(isize::MAX),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('r') => self.ask(Operation::Restart),
            KeyCode::Char('x') => self.ask(Operation::Stop),
            KeyCode::Enter | KeyCode::Char('l') => return self.show(Tab::Logs),
            KeyCode::Char('e') => return self.show(Tab::Events),
            KeyCode::Char('n') => return self.show(Tab::Rules),
            KeyCode::Char('p') => return self.show(Tab::Processes),
            _ => {}
        }
        Action::Draw
    }

    fn ask(&mut self, operation: Operation) {
        if self.selected().is_some() {
            self.mode = Mode::Question(operation);
        }
    }

    fn show(&mut self, tab: Tab) -> Action {
        let Some(name) = self.selected().map(str::to_owned) else { return Action::Draw };
        self.mode = Mode::Details(tab);
        self.details = vec!["…".to_owned()];
        Action::Show(tab, name)
    }

    fn press_in_filter(&mut self, key: KeyCode) -> Action {
        match key {
            KeyCode::Enter => self.mode = Mode::List,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::List;
            }
            KeyCode::Backspace => _ = self.filter.pop(),
            KeyCode::Char(character)
                if self.filter.chars().count() < FILTER_MAX && !character.is_control() =>
            {
                self.filter.push(character);
            }
            _ => {}
        }
        if self.position().is_none() {
            self.select(0);
        }
        Action::Draw
    }

    fn press_in_details(&mut self, tab: Tab, key: KeyCode) -> Action {
        match key {
            KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter => self.mode = Mode::List,
            KeyCode::Right | KeyCode::Tab => return self.show(tab.moved(1)),
            KeyCode::Left | KeyCode::BackTab => return self.show(tab.moved(Tab::ALL.len() - 1)),
            KeyCode::Up | KeyCode::Char('k') => {
                self.select(-1);
                return self.show(tab);
            }
            KeyCode::Down | KeyCode::Char('j') => {
                self.select(1);
                return self.show(tab);
            }
            KeyCode::Char('l') => return self.show(Tab::Logs),
            KeyCode::Char('e') => return self.show(Tab::Events),
            KeyCode::Char('n') => return self.show(Tab::Rules),
            KeyCode::Char('p') => return self.show(Tab::Processes),
            _ => {}
        }
        Action::Draw
    }
}

impl Entry {
    fn new(seen: Observed) -> Self {
        let mut entry = Self {
            seen,
            cpu: History::default(),
            memory: History::default(),
            net: History::default(),
            disk: History::default(),
        };
        entry.push(0, 0);
        entry
    }

    /// Takes the next observation. Rates are those since the one before.
    fn advance(&mut self, seen: Observed, elapsed: Option<Duration>) {
        let total = |row: &Row, parts: fn(&Row) -> [Option<u64>; 2]| {
            parts(row).into_iter().flatten().fold(0, u64::saturating_add)
        };
        let rate = |parts: fn(&Row) -> [Option<u64>; 2]| {
            let (before, now) = (self.seen.metrics.as_ref()?, seen.metrics.as_ref()?);
            let seconds = elapsed.filter(|elapsed| !elapsed.is_zero())?.as_secs_f64();
            // After a restart the counters begin anew.
            let grown = total(now, parts).saturating_sub(total(before, parts));
            Some((grown as f64 / seconds) as u64)
        };
        let net = rate(|row| [row.net_received_bytes, row.net_sent_bytes]).unwrap_or(0);
        let disk = rate(|row| [row.disk_read_bytes, row.disk_written_bytes]).unwrap_or(0);
        self.seen = seen;
        self.push(net, disk);
    }

    fn push(&mut self, net: u64, disk: u64) {
        let metrics = self.seen.metrics.as_ref();
        self.cpu.push(metrics.map_or(0, |row| (row.cpu_percent * 10.0) as u64));
        self.memory.push(metrics.and_then(|row| row.memory_bytes).unwrap_or(0));
        self.net.push(net);
        self.disk.push(disk);
    }
}

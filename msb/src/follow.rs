//! Shows logs of one or several sandboxes, merged by time, and follows them.

use crate::error::{CliError, Exit};
use crate::output::{Verbosity, eprintln_lossy, escape_controls, print};
use executor::catalog::Catalog;
use executor::control::{ControlClient, Request};
use executor::home::Home;
use executor::observe::observe_sandboxes;
use executor_log::{EXEC_LOG, Follower, LineAssembler, LogLine, Source, last_lines, lines, time};
use schemas::name::{ProjectName, SandboxName, full_name};
use serde::Serialize;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::iter::Peekable;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::coop::consume_budget;

/// Colours of the name prefixes, in the order of the sandboxes.
const COLORS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];

/// How much is printed at once where nobody waits for a line, in bytes.
const PRINT_BYTES: usize = 64 * 1024;

/// One sandbox's log.
pub struct Stream {
    /// The name before its lines.
    pub name: String,
    /// Its `exec.log`.
    pub log: PathBuf,
    /// Its supervisor's socket: when that closes, no more comes.
    pub control: PathBuf,
}

/// What is shown, and how.
pub struct Show {
    /// Only these.
    pub sources: Vec<Source>,
    /// Only so many of the lines that are there already, of each sandbox.
    pub tail: Option<usize>,
    /// Only what came from this moment on.
    pub since: Option<SystemTime>,
    /// One JSON object a line.
    pub json: bool,
    /// The time before each line.
    pub timestamps: bool,
    /// The name before each line.
    pub prefixes: bool,
    /// Names in colours.
    pub color: bool,
}

impl Show {
    /// What `up` shows of a project.
    pub fn of_project(since: SystemTime, verbosity: &Verbosity) -> Self {
        Self {
            sources: vec![Source::Stdout, Source::Stderr, Source::Output],
            tail: None,
            since: Some(since),
            json: false,
            timestamps: false,
            prefixes: true,
            color: verbosity.color_stdout,
        }
    }

    fn wants(&self, line: &LogLine) -> bool {
        // Logs know milliseconds only: what came within the same one counts as later.
        let millisecond = Duration::from_millis(1);
        self.sources.contains(&line.source) && self.since.is_none_or(|since| line.time + millisecond > since)
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    t: String,
    name: &'a str,
    s: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    d: String,
}

/// Follows sandboxes of a project, all without any names, as `up` does.
pub fn project(
    home: &Home,
    project: &ProjectName,
    names: &BTreeSet<SandboxName>,
    since: SystemTime,
    verbosity: &Verbosity,
) -> Result<ExitCode, CliError> {
    follow(streams(home, project, names)?, Show::of_project(since, verbosity))
}

/// The logs of a project's sandboxes, all without any names.
pub fn streams(
    home: &Home,
    project: &ProjectName,
    names: &BTreeSet<SandboxName>,
) -> Result<Vec<Stream>, CliError> {
    let catalog = Catalog::open(&home.catalog())?;
    let streams = observe_sandboxes(home, &catalog, Some(project))?;
    Ok(streams
        .iter()
        .filter(|seen| names.is_empty() || names.contains(&seen.row.name))
        .map(|seen| Stream {
            name: seen.row.name.to_string(),
            log: home.sandbox(&seen.row.id).logs().join(EXEC_LOG),
            control: home.sandbox_run(&full_name(project, &seen.row.name)).control_socket(),
        })
        .collect())
}

/// The lines of one log that are still to be shown.
type Waiting<'a> = Peekable<Box<dyn Iterator<Item = io::Result<LogLine>> + 'a>>;

/// Shows what is there.
pub fn show(streams: &[Stream], show: &Show) -> Result<ExitCode, CliError> {
    let writer = LineWriter::new(streams, show);
    let mut logs = Vec::new();
    for stream in streams {
        logs.push(waiting(stream, show).map_err(|error| cannot_read(&stream.name, &error))?);
    }
    // Written many lines at once: a log may have millions.
    let mut text = String::new();
    while let Some(index) = earliest(&mut logs) {
        match logs[index].next() {
            Some(Ok(line)) => text.push_str(&writer.text(index, &line)),
            Some(Err(error)) => {
                print(&text);
                return Err(cannot_read(&streams[index].name, &error));
            }
            None => {}
        }
        if text.len() >= PRINT_BYTES {
            print(&std::mem::take(&mut text));
        }
    }
    print(&text);
    Ok(ExitCode::SUCCESS)
}

fn waiting<'a>(stream: &Stream, show: &'a Show) -> io::Result<Waiting<'a>> {
    let lines: Box<dyn Iterator<Item = _>> = match show.tail {
        Some(tail) => Box::new(last_lines(&stream.log, tail, |line| show.wants(line))?.into_iter().map(Ok)),
        None => {
            Box::new(lines(&stream.log)?.filter(|line| line.as_ref().map_or(true, |line| show.wants(line))))
        }
    };
    Ok(lines.peekable())
}

/// The log whose next line came first; one that cannot be read is before all others.
fn earliest(logs: &mut [Waiting<'_>]) -> Option<usize> {
    let next = logs.iter_mut().enumerate().filter_map(|(index, log)| {
        let time = log.peek()?.as_ref().map_or(SystemTime::UNIX_EPOCH, |line| line.time);
        Some((time, index))
    });
    next.min().map(|(_, index)| index)
}

fn cannot_read(name: &str, error: &io::Error) -> CliError {
    CliError::new(format!("cannot read the log of {name}: {error}"))
}

/// Shows what is there, then what comes, until Ctrl-C or until every sandbox has ended.
pub fn follow(streams: Vec<Stream>, show: Show) -> Result<ExitCode, CliError> {
    let writer = LineWriter::new(&streams, &show);
    crate::output::leave_when_unread();
    crate::commands::event_loop()?.block_on(async {
        let no_signals = |error| CliError::new(format!("cannot listen for signals: {error}"));
        let mut interrupts = signal(SignalKind::interrupt()).map_err(no_signals)?;
        let mut terminations = signal(SignalKind::terminate()).map_err(no_signals)?;
        let (sender, mut lines) = mpsc::channel(1024);
        let show = std::rc::Rc::new(show);
        let followers = tokio::task::LocalSet::new();
        for (index, stream) in streams.into_iter().enumerate() {
            let (show, sender) = (show.clone(), sender.clone());
            followers.spawn_local(async move {
                if let Err(error) = follow_one(index, &stream, &show, &sender).await {
                    eprintln_lossy(&format!("error: cannot follow the log of {}: {error}", stream.name));
                }
            });
        }
        drop(sender);
        // Printed from a thread, because a reader that stands still must not keep signals waiting.
        let (printed, all_printed) = oneshot::channel();
        std::thread::spawn(move || {
            while let Some((index, line)) = lines.blocking_recv() {
                print(&writer.text(index, &line));
            }
            let _ = printed.send(());
        });
        tokio::select! {
            biased;
            _ = interrupts.recv() => Ok(ExitCode::SUCCESS),
            _ = terminations.recv() => Ok(ExitCode::from(Exit::Terminated as u8)),
            _ = followers.run_until(all_printed) => Ok(ExitCode::SUCCESS),
        }
    })
}

/// Follows one log until its sandbox has ended.
pub async fn follow_one(
    index: usize,
    stream: &Stream,
    show: &Show,
    lines: &mpsc::Sender<(usize, LogLine)>,
) -> io::Result<()> {
    // Connected before the first look at the log, so that nothing falls between both.
    let mut control = ControlClient::connect(&stream.control).await.ok();
    if let Some(connected) = &mut control
        && connected.send(&Request::Watch).await.is_err()
    {
        control = None;
    }
    let mut follower = watched(Follower::open(&stream.log)?)?;
    let mut assembler = LineAssembler::default();
    // Of what is there already only the tail is shown, which is known at its end.
    let mut tail = show.tail.map(|count| (count, VecDeque::new()));
    loop {
        while let Some(entry) = follower.get_mut().next()? {
            // A long log must not keep the others, and signals, waiting.
            consume_budget().await;
            for line in assembler.push(entry).into_iter().filter(|line| show.wants(line)) {
                match &mut tail {
                    Some((count, last)) => {
                        last.push_back(line);
                        if last.len() > *count {
                            last.pop_front();
                        }
                    }
                    None => send(lines, index, line).await?,
                }
            }
        }
        for line in tail.take().map(|(_, last)| last).unwrap_or_default() {
            send(lines, index, line).await?;
        }
        let Some(connected) = &mut control else { break };
        tokio::select! {
            ready = follower.readable_mut() => {
                let mut ready = ready?;
                ready.get_inner().wake();
                ready.clear_ready();
            }
            // States only wake this; the end of the supervisor ends it, after one more look.
            event = connected.next() => if !matches!(event, Ok(Some(_))) { control = None },
        }
    }
    for line in assembler.finish().into_iter().filter(|line| show.wants(line)) {
        send(lines, index, line).await?;
    }
    Ok(())
}

async fn send(lines: &mpsc::Sender<(usize, LogLine)>, index: usize, line: LogLine) -> io::Result<()> {
    lines.send((index, line)).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
}

#[allow(unsafe_code, reason = "tokio wants a promise about the descriptor that no type can make")]
fn watched(follower: Follower) -> std::io::Result<AsyncFd<Follower>> {
    // SAFETY: a follower owns its descriptor, gives always the same one, and keeps it open until dropped.
    Ok(unsafe { AsyncFd::register(follower) }?)
}

/// Writes lines the same way, wherever they come from.
pub struct LineWriter {
    names: Vec<String>,
    width: usize,
    json: bool,
    timestamps: bool,
    prefixes: bool,
    color: bool,
}

impl LineWriter {
    /// For these logs, by their places in the list.
    pub fn new(streams: &[Stream], show: &Show) -> Self {
        let Show { sources: _, tail: _, since: _, json, timestamps, prefixes, color } = *show;
        let names: Vec<String> = streams.iter().map(|stream| stream.name.clone()).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        Self { names, width, json, timestamps, prefixes, color }
    }

    /// The place of a name that may be new.
    pub fn place_of(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.width = self.width.max(name.len());
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    /// A line as it is printed.
    pub fn text(&self, index: usize, line: &LogLine) -> String {
        let name = self.names.get(index).map_or("", String::as_str);
        let data = String::from_utf8_lossy(&line.data);
        if self.json {
            let json = JsonLine {
                t: time::format(line.time),
                name,
                s: line.source,
                id: line.session,
                d: data.into_owned(),
            };
            return format!("{}\n", serde_json::to_string(&json).unwrap_or_default());
        }
        let mut text = String::new();
        if self.prefixes {
            let padded = format!("{name:<width$} | ", width = self.width);
            match self.color {
                true => text.push_str(&format!("\x1b[{}m{padded}\x1b[0m", COLORS[index % COLORS.len()])),
                false => text.push_str(&padded),
            }
        }
        if self.timestamps {
            text.push_str(&format!("{} ", time::format(line.time)));
        }
        text.push_str(&escape_controls(data.trim_end_matches('\r')));
        text.push('\n');
        text
    }
}

//! Shows logs of one or several sandboxes, merged by time, and follows them.

use crate::error::{CliError, Exit};
use crate::output::{Verbosity, escape_controls, print};
use executor::catalog::Catalog;
use executor::control::{ControlClient, Request};
use executor::home::Home;
use executor::observe::observe_sandboxes;
use executor_log::{EXEC_LOG, Follower, LineAssembler, LogLine, Source, read_entries, time};
use schemas::name::{ProjectName, SandboxName, full_name};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Colours of the name prefixes, in the order of the sandboxes.
const COLORS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];

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

#[derive(Serialize)]
struct JsonLine<'a> {
    t: String,
    name: &'a str,
    s: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    d: String,
}

/// Follows a project's sandboxes, or these of them, as `up` does: from the moment when it began.
pub fn project(
    home: &Home,
    project: &ProjectName,
    names: &BTreeSet<SandboxName>,
    since: SystemTime,
    verbosity: &Verbosity,
) -> Result<ExitCode, CliError> {
    let catalog = Catalog::open(&home.catalog())?;
    let streams = observe_sandboxes(home, &catalog, Some(project))?
        .iter()
        .filter(|seen| names.is_empty() || names.contains(&seen.row.name))
        .map(|seen| Stream {
            name: seen.row.name.to_string(),
            log: home.sandbox(&seen.row.id).logs().join(EXEC_LOG),
            control: home.sandbox_run(&full_name(project, &seen.row.name)).control_socket(),
        })
        .collect();
    let show = Show {
        sources: vec![Source::Stdout, Source::Stderr, Source::Output],
        tail: None,
        since: Some(since),
        json: false,
        timestamps: false,
        prefixes: true,
        color: verbosity.color_stdout,
    };
    follow(streams, &show)
}

/// Shows what is there.
pub fn show(streams: &[Stream], show: &Show) -> Result<ExitCode, CliError> {
    let mut lines = Vec::new();
    for (index, stream) in streams.iter().enumerate() {
        let entries = read_entries(&stream.log)
            .map_err(|error| CliError::new(format!("cannot read the log of {}: {error}", stream.name)))?;
        let mut assembler = LineAssembler::default();
        let mut own: Vec<LogLine> = entries.into_iter().flat_map(|entry| assembler.push(entry)).collect();
        own.extend(assembler.finish());
        lines.extend(last(own, show).into_iter().map(|line| (index, line)));
    }
    lines.sort_by_key(|(_, line)| line.time);
    let writer = LineWriter::new(streams, show);
    for (index, line) in &lines {
        print(&writer.text(*index, line));
    }
    Ok(ExitCode::SUCCESS)
}

/// The lines that are wanted, and of these the last.
fn last(lines: Vec<LogLine>, show: &Show) -> Vec<LogLine> {
    let mut wanted: Vec<_> = lines.into_iter().filter(|line| show.sources.contains(&line.source)).collect();
    let skipped = show.tail.map_or(0, |tail| wanted.len().saturating_sub(tail));
    wanted.drain(..skipped);
    wanted
}

/// Shows what is there, then what comes, until Ctrl-C or until every sandbox has ended.
pub fn follow(streams: Vec<Stream>, show: &Show) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(format!("cannot start the event loop: {error}")))?;
    let writer = LineWriter::new(&streams, show);
    crate::output::leave_when_unread();
    let wanted = Arc::new(Wanted { sources: show.sources.clone(), tail: show.tail, since: show.since });
    runtime.block_on(async {
        // Made once: a listener that is made anew each turn misses what comes between two turns.
        let caught = |error| CliError::new(format!("cannot catch signals: {error}"));
        let mut interrupts = signal(SignalKind::interrupt()).map_err(caught)?;
        let mut terminations = signal(SignalKind::terminate()).map_err(caught)?;
        let (sender, mut lines) = mpsc::channel(1024);
        for (index, stream) in streams.into_iter().enumerate() {
            tokio::spawn(follow_one(index, stream, wanted.clone(), sender.clone()));
        }
        drop(sender);
        loop {
            tokio::select! {
                biased;
                _ = interrupts.recv() => return Ok(ExitCode::SUCCESS),
                _ = terminations.recv() => return Ok(ExitCode::from(Exit::Terminated as u8)),
                line = lines.recv() => match line {
                    Some((index, line)) => print(&writer.text(index, &line)),
                    None => return Ok(ExitCode::SUCCESS),
                },
            }
        }
    })
}

/// Which lines are shown.
struct Wanted {
    sources: Vec<Source>,
    tail: Option<usize>,
    since: Option<SystemTime>,
}

async fn follow_one(
    index: usize,
    stream: Stream,
    wanted: Arc<Wanted>,
    lines: mpsc::Sender<(usize, LogLine)>,
) {
    // Connected before the first look at the log, so that nothing falls between both.
    let mut control = ControlClient::connect(&stream.control).await.ok();
    if let Some(connected) = &mut control
        && connected.send(&Request::Watch).await.is_err()
    {
        control = None;
    }
    let Ok(follower) = Follower::open(&stream.log) else { return };
    let Ok(mut follower) = watched(follower) else { return };
    let mut assembler = LineAssembler::default();
    let mut first = true;
    loop {
        let entries = follower.get_mut().read().unwrap_or_default();
        let mut come: Vec<LogLine> = entries.into_iter().flat_map(|entry| assembler.push(entry)).collect();
        come.retain(|line| {
            wanted.sources.contains(&line.source) && wanted.since.is_none_or(|since| line.time >= since)
        });
        if first {
            let skipped = wanted.tail.map_or(0, |tail| come.len().saturating_sub(tail));
            come.drain(..skipped);
            first = false;
        }
        for line in come {
            if lines.send((index, line)).await.is_err() {
                return;
            }
        }
        let Some(connected) = &mut control else { break };
        tokio::select! {
            ready = follower.readable_mut() => match ready {
                Ok(mut ready) => {
                    ready.get_inner().wake();
                    ready.clear_ready();
                }
                Err(_) => break,
            },
            // States only wake this; the end of the supervisor ends it, after one more look.
            event = connected.next() => if !matches!(event, Ok(Some(_))) { control = None },
        }
    }
    for line in assembler.finish().into_iter().filter(|line| wanted.sources.contains(&line.source)) {
        let _ = lines.send((index, line)).await;
    }
}

#[allow(unsafe_code, reason = "tokio wants a promise about the descriptor that no type can make")]
fn watched(follower: Follower) -> std::io::Result<AsyncFd<Follower>> {
    // SAFETY: a follower owns its descriptor, gives always the same one, and keeps it open until dropped.
    Ok(unsafe { AsyncFd::register(follower) }?)
}

/// Writes lines the same way, wherever they come from.
struct LineWriter {
    names: Vec<String>,
    width: usize,
    json: bool,
    timestamps: bool,
    prefixes: bool,
    color: bool,
}

impl LineWriter {
    fn new(streams: &[Stream], show: &Show) -> Self {
        let Show { sources: _, tail: _, since: _, json, timestamps, prefixes, color } = *show;
        let names: Vec<String> = streams.iter().map(|stream| stream.name.clone()).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        Self { names, width, json, timestamps, prefixes, color }
    }

    fn text(&self, index: usize, line: &LogLine) -> String {
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

//! The only way to the terminal: results go to stdout, everything else to stderr.

pub mod document;
mod escape;
pub mod file;
pub mod graph;
pub mod plan;
pub mod results;
pub mod style;
pub mod suggest;
pub mod table;
pub mod words;

pub use escape::{escape_bytes, escape_controls, escape_lines, sanitize};

use crate::cli::{Color, Global, Progress};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;
use style::{BOLD_YELLOW, Style};

/// How much is printed, and how.
#[derive(Clone, Copy, Debug)]
pub struct OutputOptions {
    /// Whether only errors and results are printed.
    pub quiet: bool,
    /// Whether stdout is colored.
    pub color_stdout: bool,
    /// Whether stderr is colored.
    pub color_stderr: bool,
    /// Whether stderr shows progress bars.
    pub bars: bool,
    /// Whether stdout has the event stream.
    pub events: bool,
    /// Whether a command's failure is JSON.
    pub json: bool,
    /// Whether a step's failure is printed when it happens; otherwise the caller prints it.
    pub failures: bool,
    /// Interval between reports of the running steps; zero disables them.
    pub heartbeat: Duration,
}

impl OutputOptions {
    /// No output except errors.
    pub const SILENT: Self = Self {
        quiet: true,
        color_stdout: false,
        color_stderr: false,
        bars: false,
        events: false,
        json: false,
        failures: false,
        heartbeat: Duration::ZERO,
    };

    /// No output except errors, which are JSON.
    pub const JSON_FAILURES: Self = Self { json: true, ..Self::SILENT };

    /// Derives the options from the command line, the environment and the kinds of the streams.
    pub fn of(global: &Global) -> Self {
        let colored = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        let bars = match global.progress {
            Progress::Tty => true,
            Progress::Plain | Progress::Json => false,
            Progress::Auto => io::stderr().is_terminal() && !in_ci(),
        };
        let events = global.progress == Progress::Json;
        // Events replace messages.
        let quiet = global.quiet || events;
        Self {
            quiet,
            color_stdout: colored(io::stdout().is_terminal()),
            color_stderr: colored(io::stderr().is_terminal()),
            bars: bars && !quiet,
            events,
            json: global.json,
            failures: true,
            heartbeat: global.heartbeat,
        }
    }

    /// Adds the event stream if `events`. It excludes bars if stdout is a terminal, where the two would mix.
    pub fn with_events(self, events: bool) -> Self {
        let events = self.events || events;
        Self { events, bars: self.bars && !(events && io::stdout().is_terminal()), ..self }
    }

    /// The options for callers that report the outcome themselves, in one line.
    pub fn silent(self) -> Self {
        Self { quiet: true, bars: false, events: false, failures: false, ..self }
    }

    /// The colors of stderr.
    pub fn style(&self) -> Style {
        Style { color: self.color_stderr }
    }

    /// Prints a warning on one line, even if output is quiet.
    pub fn warn(&self, text: &str) {
        eprintln_lossy(&format!("{}: {}", self.style().paint(BOLD_YELLOW, "warning"), escape_controls(text)));
    }

    /// Prints a message unless output is quiet.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            eprintln_lossy(text);
        }
    }
}

/// Returns whether this runs in a CI system, where no prompt can be answered.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// Prints a result for people, sanitized. Ends the program if stdout cannot be written, quietly if its reader has closed it.
pub fn print(text: &str) {
    print_raw(&sanitize(text));
}

/// Prints a result for programs, unchanged.
pub fn print_raw(text: &str) {
    print_bytes(text.as_bytes());
}

/// Prints a result that may not be UTF-8, unchanged.
pub fn print_bytes(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        exit_on_write_error(&error);
    }
}

/// Prints a result as a JSON document.
pub fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print_raw(&format!("{text}\n")),
        Err(error) => eprintln_lossy(&format!("error: cannot write JSON: {error}")),
    }
}

/// Writes a line to stdout and ignores errors, so that an operation completes even if its output is not read.
pub fn write_line_lossy(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Writes lines for people to stderr, sanitized, and ignores errors.
pub fn eprintln_lossy(text: &str) {
    eprintln_raw(&sanitize(text));
}

/// Writes an error to stderr, on one line.
pub fn print_error(message: &str) {
    eprintln_lossy(&format!("error: {}", escape_controls(message)));
}

/// Writes commands for a CI system to stderr, unchanged.
pub fn eprintln_raw(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Ends the program because stdout cannot be written.
pub fn exit_on_write_error(error: &io::Error) -> ! {
    crate::session::terminal::restore();
    if error.kind() == io::ErrorKind::BrokenPipe {
        // The code that a shell reports for a program ended by SIGPIPE.
        std::process::exit(141);
    }
    eprintln_lossy(&format!("error: cannot write to standard output: {error}"));
    std::process::exit(1)
}

/// Ends the program when the reader of stdout goes away. Commands that follow something would otherwise notice it only
/// at their next line.
pub fn exit_when_stdout_closes() {
    use rustix::event::{PollFd, PollFlags, poll};
    std::thread::spawn(|| {
        let stdout = io::stdout();
        let mut wait = [PollFd::new(&stdout, PollFlags::empty())];
        // Without requested events, only an error or a hang-up ends the wait.
        while matches!(poll(&mut wait, None), Err(rustix::io::Errno::INTR)) {}
        if wait[0].revents().contains(PollFlags::ERR) {
            exit_on_write_error(&io::ErrorKind::BrokenPipe.into());
        }
    });
}

//! The one road to the terminal: results to stdout, talk to stderr.

pub mod file;
pub mod graph;
pub mod plan;
pub mod suggest;
pub mod table;
pub mod words;

use crate::cli::{Color, Global, Progress};
use crate::report::github::inert;
use crate::report::on_github;
use schemas::terminal::{reorders, steers};
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// How much is said, and how.
#[derive(Clone, Copy, Debug)]
pub struct OutputOptions {
    /// Nothing but errors and results.
    pub quiet: bool,
    /// Colours on stdout.
    pub color_stdout: bool,
    /// Colours on stderr.
    pub color_stderr: bool,
    /// Progress bars on stderr.
    pub bars: bool,
    /// The event stream on stdout.
    pub events: bool,
    /// Whether a step's failure is told when it happens; else whoever carries it out tells it.
    pub failures: bool,
    /// How often it is said what runs; nothing is never.
    pub heartbeat: Duration,
}

impl OutputOptions {
    /// Options without any output.
    pub const SILENT: Self = Self {
        quiet: true,
        color_stdout: false,
        color_stderr: false,
        bars: false,
        events: false,
        failures: false,
        heartbeat: Duration::ZERO,
    };

    /// From the command line, the environment and what the streams are.
    pub fn of(global: &Global) -> Self {
        let wanted = |terminal: bool| match global.color {
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
        // Events take the place of talk.
        let quiet = global.quiet || events;
        Self {
            quiet,
            color_stdout: wanted(io::stdout().is_terminal()),
            color_stderr: wanted(io::stderr().is_terminal()),
            bars: bars && !quiet,
            events,
            failures: true,
            heartbeat: global.heartbeat,
        }
    }

    /// With the event stream on stdout where that is wanted; bars would run into it on a terminal.
    pub fn with_events(self, wanted: bool) -> Self {
        let events = self.events || wanted;
        Self { events, bars: self.bars && !(events && io::stdout().is_terminal()), ..self }
    }

    /// For whoever tells by itself how things ended, in a line.
    pub fn silent(self) -> Self {
        Self { quiet: true, bars: false, events: false, failures: false, ..self }
    }

    /// Says what is odd but fails nothing, however quiet there is to be.
    pub fn warn(&self, text: &str) {
        let (warning, off) = if self.color_stderr { ("\x1b[33;1m", "\x1b[0m") } else { ("", "") };
        eprintln_lossy(&format!("{warning}warning{off}: {text}"));
    }

    /// Says something to the person, unless there is to be quiet.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            eprintln_lossy(text);
        }
    }
}

/// Returns whether this is a run of a CI system, where no person can be asked.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// Prints a result for people, in which nothing steers the terminal or a CI system. A reader that went away ends
/// the program quietly, as for any filter.
pub fn print(text: &str) {
    print_raw(&harmless(text));
}

/// The same for what a program reads, which must come as it is.
pub fn print_raw(text: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        exit_on_write_error(&error);
    }
}

/// The same for bytes that may be no text.
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

/// Writes a line to stdout, where what goes on is to be brought to its end even if nobody reads it.
pub fn write_line_lossy(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Writes lines for people to stderr, in which nothing steers the terminal or a CI system; that nobody reads them
/// is no reason to fail.
pub fn eprintln_lossy(text: &str) {
    eprintln_raw(&harmless(text));
}

/// The same for commands to a CI system, which must come as they are.
pub fn eprintln_raw(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Ends the program as one whose output cannot be written.
pub fn exit_on_write_error(error: &io::Error) -> ! {
    crate::session::terminal::restore();
    if error.kind() == io::ErrorKind::BrokenPipe {
        // What a shell reports of a program that SIGPIPE ended.
        std::process::exit(141);
    }
    eprintln_lossy(&format!("error: cannot write to standard output: {error}"));
    std::process::exit(1)
}

/// Ends the program when the reader of its standard output goes away, even while there is nothing to write.
///
/// What follows something would otherwise go on, unseen, until the next line comes.
pub fn exit_when_stdout_closes() {
    use rustix::event::{PollFd, PollFlags, poll};
    std::thread::spawn(|| {
        let stdout = io::stdout();
        let mut wait = [PollFd::new(&stdout, PollFlags::empty())];
        // With no events asked for, only an error or a hang-up ends the wait.
        while matches!(poll(&mut wait, None), Err(rustix::io::Errno::INTR)) {}
        if wait[0].revents().contains(PollFlags::ERR) {
            exit_on_write_error(&io::ErrorKind::BrokenPipe.into());
        }
    });
}

/// A text of lines and colours in which nothing else steers a terminal, and nothing is a command to a CI system.
///
/// Every text for people passes here on its way out, so that a name or a path that nobody thought of cannot do harm.
/// A value that must stay on one line is escaped before with [`escape_controls`].
pub fn harmless(text: &str) -> Cow<'_, str> {
    let text = match text.chars().any(|c| steers(c) && c != '\n' && c != '\t') {
        true => Cow::Owned(escape_but_colors(text)),
        false => Cow::Borrowed(text),
    };
    match on_github() {
        true => Cow::Owned(inert(&text)),
        false => text,
    }
}

fn escape_but_colors(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c| steers(c) && c != '\n' && c != '\t') {
        shown.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match color_length(rest) {
            Some(length) => {
                shown.push_str(&rest[..length]);
                length
            }
            None => {
                let length = rest.chars().next().map_or(rest.len(), char::len_utf8);
                shown.push_str(&escape_controls(&rest[..length]));
                length
            }
        };
        rest = &rest[length..];
    }
    shown + rest
}

/// The length of the sequence that sets colours at the start of a text, in bytes, if there is one.
fn color_length(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let length = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    (parameters.as_bytes().get(length) == Some(&b'm')).then_some(length + 3)
}

/// Text from a guest or a file, harmless on a terminal: control characters become visible escapes.
pub fn escape_controls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push(c),
            c if reorders(c) => shown.extend(c.escape_unicode()),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// The same for a text of several lines: each line that follows is indented, so that it cannot be taken for one of
/// msb's own.
pub fn escape_lines(text: &str, indent: &str) -> String {
    let lines: Vec<_> = text.lines().map(escape_controls).collect();
    lines.join(&format!("\n{indent}"))
}

/// The same for bytes that may be no text: those that are none become `\xNN`.
pub fn escape_bytes(bytes: &[u8], shown: &mut Vec<u8>) {
    if bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return shown.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        shown.extend_from_slice(escape_controls(chunk.valid()).as_bytes());
        shown.extend(chunk.invalid().iter().flat_map(|&byte| std::ascii::escape_default(byte)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(escape_controls("a\tb\x1b[31mc\rd\u{202E}e"), "a\tb\\u{1b}[31mc\\rd\\u{202e}e");
    }

    #[test]
    fn only_lines_tabs_and_colors_leave_by_the_exits() {
        let plain = "a\tb\n  \u{1b}[31;1mred\u{1b}[0m ä🦀\n";
        assert_eq!(harmless(plain), plain);
        for (text, shown) in [
            ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("\u{1b}[1", "\\u{1b}[1"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("a\rb\u{9b}1m", "a\\rb\\u{9b}1m"),
            ("\u{61c}\u{202e}\u{2066}\u{2028}", "\\u{61c}\\u{202e}\\u{2066}\\u{2028}"),
        ] {
            assert_eq!(harmless(text), shown);
        }
        assert_eq!(escape_lines("a\nb\u{1b}[31m", "  "), "a\n  b\\u{1b}[31m");
    }

    #[test]
    fn bytes_that_are_no_text_are_told_by_their_value() {
        let shown = |bytes: &[u8]| {
            let mut shown = Vec::new();
            escape_bytes(bytes, &mut shown);
            String::from_utf8(shown).unwrap()
        };
        assert_eq!(shown(b"plain \\ text"), "plain \\ text");
        assert_eq!(shown(b"a\xff\xf0\x9f\xa6b\0\xc2\x9b"), "a\\xff\\xf0\\x9f\\xa6b\\u{0}\\u{9b}");
        assert_eq!(shown("Grüße\u{2028}\u{200f}".as_bytes()), "Grüße\\u{2028}\\u{200f}");
    }
}

//! The logs of sandboxes.

use crate::error::{Error, Result};
use crate::lines::{JsonLines, Line};
use crate::msb::{Msb, Run};
use base64::Engine;
use jiff::Timestamp;
use serde::Deserialize;
use std::str::FromStr;
use std::time::SystemTime;

/// The most entries that `logs` collects, in bytes of their data.
const COLLECTED_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The source of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LogSource {
    /// Standard output of commands.
    Stdout,
    /// Standard error of commands.
    Stderr,
    /// Commands with a terminal.
    Output,
    /// Messages of `msb` about the sandbox.
    System,
    /// The supervisor.
    Runtime,
    /// The guest's kernel.
    Kernel,
    /// The network.
    Network,
    /// Connections.
    Flows,
    /// Events.
    Events,
}

impl LogSource {
    /// All sources.
    pub const ALL: [Self; 9] = [
        Self::Stdout,
        Self::Stderr,
        Self::Output,
        Self::System,
        Self::Runtime,
        Self::Kernel,
        Self::Network,
        Self::Flows,
        Self::Events,
    ];

    /// Returns the source as a word, such as `stdout`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Output => "output",
            Self::System => "system",
            Self::Runtime => "runtime",
            Self::Kernel => "kernel",
            Self::Network => "network",
            Self::Flows => "flows",
            Self::Events => "events",
        }
    }
}

impl FromStr for LogSource {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|source| source.as_str() == word);
        found.ok_or_else(|| Error::invalid(format!("{word:?} is not a source of logs")))
    }
}

/// Which entries of a log are read.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct LogQuery {
    arguments: Vec<String>,
}

impl LogQuery {
    /// All entries of standard output, standard error and terminals.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, argument: String) -> Self {
        self.arguments.push(argument);
        self
    }

    /// Only the last entries, this many.
    pub fn tail(self, count: u64) -> Self {
        self.with(format!("--tail={count}"))
    }

    /// Only those since a time.
    pub fn since(self, time: SystemTime) -> Self {
        self.with(format!("--since={}", rfc_3339(time)))
    }

    /// Only those until a time.
    pub fn until(self, time: SystemTime) -> Self {
        self.with(format!("--until={}", rfc_3339(time)))
    }

    /// Only those after the entry with this cursor.
    pub fn cursor(self, cursor: impl AsRef<str>) -> Self {
        self.with(format!("--cursor={}", cursor.as_ref()))
    }

    /// Adds a source; without any, they are standard output, standard error and terminals.
    pub fn source(self, source: LogSource) -> Self {
        self.with(format!("--source={}", source.as_str()))
    }

    /// Waits for new entries until the sandbox ends.
    pub fn follow(self) -> Self {
        self.with("--follow".to_owned())
    }
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEntry {
    /// The time.
    pub timestamp: SystemTime,
    /// The source, such as `stdout`, which may be one of a later `msb`.
    pub source: String,
    /// The bytes of the line, without its newline.
    pub data: Vec<u8>,
    /// Continues after this line, as [`LogQuery::cursor`].
    pub cursor: String,
    /// The number of the command, for its output.
    pub session_id: Option<u64>,
    /// Whether the line continues in the next entry.
    pub is_partial: bool,
    /// What is missing before this line, if something is.
    pub note: Option<String>,
}

impl LogEntry {
    /// Returns the data as UTF-8; invalid bytes become U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }
}

/// A line of `msb logs --json`.
#[derive(Deserialize)]
struct Logged {
    t: String,
    s: String,
    d: String,
    #[serde(default)]
    e: Option<String>,
    cursor: String,
    #[serde(default)]
    id: Option<u64>,
    #[serde(default)]
    partial: bool,
    #[serde(default)]
    note: Option<String>,
}

impl Logged {
    fn entry(self) -> Option<LogEntry> {
        let Self { t, s, d, e, cursor, id, partial, note } = self;
        let data = match e.as_deref() {
            Some("b64") => base64::engine::general_purpose::STANDARD.decode(d).ok()?,
            _ => d.into_bytes(),
        };
        let timestamp = SystemTime::from(t.parse::<Timestamp>().ok()?);
        Some(LogEntry { timestamp, source: s, data, cursor, session_id: id, is_partial: partial, note })
    }
}

/// The entries of a log. Dropping it ends the reading.
#[derive(Debug)]
pub struct LogStream {
    lines: JsonLines,
}

impl LogStream {
    pub(crate) fn start(msb: &Msb, name: &str, query: &LogQuery) -> Result<Self> {
        let run = Run::new(["logs", "--json"]).args(&query.arguments).args(["--", name]).about(name);
        Ok(Self { lines: JsonLines::start(msb, &run)? })
    }

    /// Returns the next entry; `None` at the end. A cancelled call loses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::MissedRotation`] if entries were removed meanwhile, and [`Error::InvalidCursor`].
    pub async fn next(&mut self) -> Result<Option<LogEntry>> {
        match self.lines.next().await? {
            Line::Document(line) => {
                let entry = serde_json::from_value(line).ok().and_then(Logged::entry);
                entry.map(Some).ok_or_else(|| Error::failed("msb printed an unexpected line of a log"))
            }
            Line::End(None) => Ok(None),
            Line::End(Some(error)) => Err(error),
        }
    }

    /// Returns all remaining entries, at most 1 GiB.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for more; also as [`LogStream::next`].
    pub async fn collect(mut self) -> Result<Vec<LogEntry>> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(entry) = self.next().await? {
            bytes += entry.data.len() + size_of::<LogEntry>();
            if bytes > COLLECTED_BYTES_MAX {
                return Err(Error::new("too-large", "the log is larger than 1 GiB"));
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Ends the reading, and waits for the end of its `msb`.
    pub async fn close(mut self) {
        self.lines.close().await;
    }
}

fn rfc_3339(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_log_is_an_entry() {
        let line = r#"{"t":"2026-11-30T20:58:54.016Z","name":"a","s":"stdout","id":1,"d":"AP8=","e":"b64","cursor":"c"}"#;
        let entry = serde_json::from_str::<Logged>(line).unwrap().entry().unwrap();
        assert_eq!(
            (entry.data.as_slice(), entry.session_id, entry.cursor.as_str()),
            (&[0, 255][..], Some(1), "c")
        );
        assert_eq!(rfc_3339(entry.timestamp), "2026-11-30T20:58:54.016Z");
        assert_eq!("kernel".parse::<LogSource>().unwrap(), LogSource::Kernel);
        assert_eq!("moon".parse::<LogSource>().unwrap_err().code(), "invalid-argument");
    }
}

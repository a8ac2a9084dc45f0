//! Entries of `exec.log`, and the sources of log lines.

use crate::time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

/// The source of a log line.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, schemars::JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A session's standard output.
    Stdout,
    /// A session's standard error.
    Stderr,
    /// A session's terminal.
    Output,
    /// The supervisor's messages about the sandbox.
    System,
    /// The supervisor's and the virtual machine monitor's own messages.
    Runtime,
    /// The guest's kernel.
    Kernel,
    /// Network refusals, as JSON.
    Network,
    /// Lifecycle events of the sandbox, as JSON.
    Events,
    /// Allowed traffic, as JSON.
    Flows,
}

impl Source {
    /// All sources.
    ///
    /// Cursors contain indices into this list: its order is fixed.
    pub const ALL: [Self; 9] = [
        Self::Stdout,
        Self::Stderr,
        Self::Output,
        Self::System,
        Self::Runtime,
        Self::Kernel,
        Self::Network,
        Self::Events,
        Self::Flows,
    ];
    /// The sources that are read by default.
    pub const DEFAULT: [Self; 3] = [Self::Stdout, Self::Stderr, Self::Output];

    /// The name in the log and on the command line.
    pub const fn name(self) -> &'static str {
        const NAMES: [&str; Source::ALL.len()] =
            ["stdout", "stderr", "output", "system", "runtime", "kernel", "network", "events", "flows"];
        NAMES[self as usize]
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A chunk of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was received.
    pub time: SystemTime,
    /// Its source.
    pub source: Source,
    /// The session's number, from 1; `None` for entries without a session.
    pub session: Option<u64>,
    /// The bytes.
    pub data: Vec<u8>,
}

/// The JSON form.
#[derive(schemars::JsonSchema, Serialize, Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    t: Cow<'a, str>,
    s: Source,
    #[serde(borrow)]
    d: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    e: Option<Cow<'a, str>>,
}

/// Why a line is not an entry.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEntry {
    /// It is not the expected JSON.
    #[error("not a log entry")]
    Json(#[from] serde_json::Error),
    /// Its time is not RFC 3339 in UTC.
    #[error("{text:?} is not an RFC 3339 time in UTC")]
    Time {
        /// The text found.
        text: String,
    },
    /// Its data does not match its encoding.
    #[error("the data is not valid {encoding:?}")]
    Encoding {
        /// The encoding's name.
        encoding: String,
    },
}

/// Encodes bytes as JSON text: UTF-8 as is, anything else as base64 with the name of that encoding.
pub fn encode_data(data: &[u8]) -> (Cow<'_, str>, Option<&'static str>) {
    match std::str::from_utf8(data) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(_) => (Cow::Owned(BASE64.encode(data)), Some("b64")),
    }
}

impl Entry {
    fn wire(&self) -> Wire<'_> {
        let (d, encoding) = encode_data(&self.data);
        let t = Cow::Owned(time::format(self.time));
        Wire { t, s: self.source, d, id: self.session, e: encoding.map(Cow::Borrowed) }
    }

    /// Encodes the entry as one line, including the line feed.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(self.data.len() + 80);
        // Writing it into memory cannot fail.
        let _ = serde_json::to_writer(&mut line, &self.wire());
        line.push(b'\n');
        line
    }

    /// Parses a line, with or without its line feed.
    ///
    /// # Errors
    ///
    /// If it is not an entry.
    pub fn from_line(line: &[u8]) -> Result<Self, InvalidEntry> {
        serde_json::from_slice::<Wire<'_>>(line)?.try_into()
    }
}

impl TryFrom<Wire<'_>> for Entry {
    type Error = InvalidEntry;

    fn try_from(wire: Wire<'_>) -> Result<Self, InvalidEntry> {
        let time = time::parse(&wire.t).ok_or_else(|| InvalidEntry::Time { text: wire.t.into_owned() })?;
        let data = match wire.e {
            None => wire.d.into_owned().into_bytes(),
            Some(encoding) if encoding == "b64" => BASE64
                .decode(wire.d.as_bytes())
                .map_err(|_| InvalidEntry::Encoding { encoding: encoding.into_owned() })?,
            Some(encoding) => return Err(InvalidEntry::Encoding { encoding: encoding.into_owned() }),
        };
        Ok(Self { time, source: wire.s, session: wire.id, data })
    }
}

/// The fields of a log line.
impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.wire().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Wire::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn lines_have_the_documented_form() {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let entry = Entry { time, source: Source::Stdout, session: Some(1), data: "hé\n".into() };
        let line = entry.to_line();
        assert_eq!(
            String::from_utf8_lossy(&line),
            "{\"t\":\"2023-11-14T22:13:20.123Z\",\"s\":\"stdout\",\"d\":\"hé\\n\",\"id\":1}\n"
        );
        assert_eq!(Entry::from_line(&line).unwrap(), entry);
    }

    #[test]
    fn arbitrary_bytes_are_preserved() {
        let data: Vec<u8> = (0..=255).collect();
        let entry = Entry { time: UNIX_EPOCH, source: Source::System, session: None, data };
        let line = entry.to_line();
        assert!(String::from_utf8_lossy(&line).contains("\"e\":\"b64\""));
        assert_eq!(Entry::from_line(&line).unwrap(), entry);
    }
}

//! One line of `exec.log`.

use crate::time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::SystemTime;

/// Where an entry's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A session's standard output.
    Stdout,
    /// A session's standard error.
    Stderr,
    /// A session's terminal.
    Output,
    /// The supervisor, about the sandbox.
    System,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Output => "output",
            Self::System => "system",
        })
    }
}

/// A piece of output, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it came.
    pub time: SystemTime,
    /// Where from.
    pub source: Source,
    /// The session's number from 1; none for [`Source::System`].
    pub session: Option<u64>,
    /// The bytes.
    pub data: Vec<u8>,
}

/// The line's JSON.
#[derive(Serialize, Deserialize)]
struct Wire {
    t: String,
    s: Source,
    d: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
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
        /// What was found.
        text: String,
    },
    /// Its data is not in the encoding that it names.
    #[error("the data is not valid {encoding:?}")]
    Encoding {
        /// The encoding's name.
        encoding: String,
    },
}

impl Entry {
    /// The entry as one line, line feed included.
    pub fn to_line(&self) -> Vec<u8> {
        let (d, e) = match std::str::from_utf8(&self.data) {
            Ok(text) => (text.to_owned(), None),
            Err(_) => (BASE64.encode(&self.data), Some("b64".to_owned())),
        };
        let wire = Wire { t: time::format(self.time), s: self.source, d, id: self.session, e };
        let mut line = serde_json::to_vec(&wire).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// Reads a line, with or without its line feed.
    pub fn from_line(line: &[u8]) -> Result<Self, InvalidEntry> {
        let wire: Wire = serde_json::from_slice(line)?;
        let time = time::parse(&wire.t).ok_or(InvalidEntry::Time { text: wire.t })?;
        let data = match wire.e {
            None => wire.d.into_bytes(),
            Some(encoding) if encoding == "b64" => {
                BASE64.decode(&wire.d).map_err(|_| InvalidEntry::Encoding { encoding })?
            }
            Some(encoding) => return Err(InvalidEntry::Encoding { encoding }),
        };
        Ok(Self { time, source: wire.s, session: wire.id, data })
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
    fn all_bytes_come_out_as_they_went_in() {
        let data: Vec<u8> = (0..=255).collect();
        let entry = Entry { time: UNIX_EPOCH, source: Source::System, session: None, data };
        let line = entry.to_line();
        assert!(String::from_utf8_lossy(&line).contains("\"e\":\"b64\""));
        assert_eq!(Entry::from_line(&line).unwrap(), entry);
    }
}

//! Logs in JSON Lines: `network.log`, `flows.log`, `events.log`.
//!
//! ```text
//! {"t":"2026-01-02T03:04:05.678Z","kind":"ready","boot_ms":512}
//! ```

use crate::rotating::RotatingFile;
use crate::segments::Limits;
use crate::time;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// The single writer of such a log.
#[derive(Debug)]
pub struct EventWriter {
    file: RotatingFile,
}

#[derive(schemars::JsonSchema, Serialize)]
struct Line<'a, T> {
    t: String,
    #[serde(flatten)]
    event: &'a T,
}

impl EventWriter {
    /// Opens a log in a log folder for appending, mode 0600.
    ///
    /// # Errors
    ///
    /// If it cannot be created or read.
    pub fn open(folder: &Path, name: &'static str, limits: impl Into<Limits>) -> io::Result<Self> {
        Ok(Self { file: RotatingFile::open(folder, name, limits)? })
    }

    /// Appends an event, which must serialize to a JSON object, with the current time.
    ///
    /// # Errors
    ///
    /// If it cannot be serialized or written.
    pub fn append(&mut self, event: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { t: time::format(SystemTime::now()), event })?;
        line.push(b'\n');
        self.file.append(&line, true).map(drop)
    }
}

/// The time of a line; `None` if it is not an object with one.
pub(crate) fn time_of(line: &[u8]) -> Option<SystemTime> {
    #[derive(Deserialize)]
    struct Timed<'a> {
        #[serde(borrow)]
        t: Cow<'a, str>,
    }
    time::parse(&serde_json::from_slice::<Timed<'_>>(line).ok()?.t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EVENTS_LOG, LogStream, NETWORK_LOG, Rotation, Source, Start};
    use std::collections::BTreeMap;
    use std::fs::OpenOptions;
    use std::io::Write;

    fn event(number: u32) -> BTreeMap<&'static str, u32> {
        BTreeMap::from([("number", number)])
    }

    fn read(folder: &Path) -> (Vec<String>, crate::Cursor) {
        let mut stream =
            LogStream::open(folder, &[Source::Network, Source::Events], &Start::Beginning).unwrap();
        let mut lines = Vec::new();
        while let Some(line) = stream.next().unwrap() {
            let text = String::from_utf8(line.data).unwrap();
            let shown = text.split_once("Z\",").map_or(text.clone(), |(_, rest)| rest.to_owned());
            lines.push(format!("{} {shown}", line.source));
        }
        (lines, stream.cursor())
    }

    #[test]
    fn objects_are_merged_by_time_and_resumed_at_a_cursor() {
        let folder = tempfile::tempdir().unwrap();
        let small = Rotation { max_bytes: 100, keep: 9 };
        let mut network = EventWriter::open(folder.path(), NETWORK_LOG, small).unwrap();
        let mut events = EventWriter::open(folder.path(), EVENTS_LOG, small).unwrap();
        for number in 0..3 {
            events.append(&event(number)).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(2));
            network.append(&event(number)).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let (lines, cursor) = read(folder.path());
        let expected: Vec<_> = (0..3)
            .flat_map(|number| ["events", "network"].map(|log| format!("{log} \"number\":{number}}}")))
            .collect();
        assert_eq!(lines, expected);
        events.append(&event(7)).unwrap();
        let cursor: crate::Cursor = cursor.to_string().parse().unwrap();
        let sources = [Source::Network, Source::Events];
        let mut stream = LogStream::open(folder.path(), &sources, &Start::Cursor(cursor)).unwrap();
        assert!(stream.next().unwrap().unwrap().data.ends_with(b"\"number\":7}"));
        assert_eq!(stream.next().unwrap(), None);
    }

    #[test]
    fn a_torn_record_is_reported_and_terminated() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventWriter::open(folder.path(), EVENTS_LOG, Rotation::default()).unwrap();
        events.append(&event(1)).unwrap();
        let mut file = OpenOptions::new().append(true).open(folder.path().join(EVENTS_LOG)).unwrap();
        file.write_all(b"{\"t\":\"2026-").unwrap();
        let mut events = EventWriter::open(folder.path(), EVENTS_LOG, Rotation::default()).unwrap();
        events.append(&event(2)).unwrap();
        let (lines, _) = read(folder.path());
        assert_eq!(
            lines,
            [
                "events \"number\":1}",
                "events [msb: 12 bytes of this log are damaged and skipped here]",
                "events \"number\":2}",
            ]
        );
    }
}

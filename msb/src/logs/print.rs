//! Printing of log lines.

use crate::output::escape_bytes;
use crate::output::style::Style;
use crate::report::github::escape_commands_in_piece;
use crate::report::on_github;
use executor_client::event::SandboxEvent;
use executor_log::{Cursor, LogLine, Source, encode_data, time};
use serde::Serialize;
use std::borrow::Cow;

/// Colors of the name prefixes, in the order of the sandboxes.
const COLORS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];

/// The format of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// Escaped text.
    Text,
    /// Unchanged bytes.
    Raw,
    /// One JSON object per line.
    Json,
}

/// The style of lines.
#[derive(Clone, Copy, Debug)]
pub struct LineStyle {
    /// The format.
    pub format: LineFormat,
    /// Whether lines start with their time.
    pub timestamps: bool,
    /// Whether lines start with the sandbox's name.
    pub prefixes: bool,
    /// Whether names are colored.
    pub color: bool,
}

/// Formats lines of several sandboxes.
pub struct LineWriter {
    style: LineStyle,
    names: Vec<String>,
    /// Width of the longest name.
    width: usize,
    /// Sandbox, session and source of the last line, if it has not ended.
    unended: Option<(usize, Option<u64>, Source)>,
    /// Whether GitHub's runner reads the lines, so that commands to it are escaped.
    github: bool,
}

/// A line of a log, or an event, as JSON.
#[derive(schemars::JsonSchema, Serialize)]
pub struct JsonLine<'a> {
    t: String,
    name: &'a str,
    s: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    d: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<&'static str>,
    /// The event that `d` describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<SandboxEvent>,
    /// Whether the line continues in the next object of the same source and session.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    /// Whether this is a note by msb that lines are missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    note: bool,
    cursor: String,
}

impl LineWriter {
    /// Creates a writer without names.
    pub fn new(style: LineStyle) -> Self {
        Self { style, names: Vec::new(), width: 0, unended: None, github: on_github() }
    }

    /// Returns the index of a name, which is added if it is new.
    pub fn index_of(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.width = self.width.max(name.len());
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    /// Appends a line to `out`. Only JSON needs the cursor.
    pub fn write(
        &mut self,
        out: &mut Vec<u8>,
        index: usize,
        line: &LogLine,
        cursor: impl FnOnce() -> Cursor,
    ) {
        if self.style.format == LineFormat::Json {
            return self.write_json(out, index, line, &cursor());
        }
        let origin = Some((index, line.session, line.source));
        if self.unended != origin || line.note {
            self.end(out);
            self.write_prefix(out, index, line);
        }
        let text = text_of(line);
        if self.style.format == LineFormat::Raw {
            out.extend_from_slice(&text);
        } else {
            let text = text.strip_suffix(b"\r").filter(|_| line.ends).unwrap_or(&text);
            let begin = out.len();
            escape_bytes(text, out);
            if self.github {
                let piece = escape_commands_in_piece(&String::from_utf8_lossy(&out[begin..]), line.ends);
                out.splice(begin.., piece.into_bytes());
            }
        }
        if line.ends {
            out.push(b'\n');
        }
        self.unended = origin.filter(|_| !line.ends);
    }

    /// Ends an incomplete line.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if self.unended.take().is_some() {
            out.push(b'\n');
        }
    }

    fn write_prefix(&self, out: &mut Vec<u8>, index: usize, line: &LogLine) {
        if self.style.prefixes {
            let name = self.names.get(index).map_or("", String::as_str);
            let padded = format!("{name:<width$} | ", width = self.width);
            let style = Style { color: self.style.color };
            out.extend(style.paint(COLORS[index % COLORS.len()], &padded).bytes());
        }
        if self.style.timestamps {
            out.extend(time::format(line.time).bytes());
            out.push(b' ');
        }
    }

    fn write_json(&self, out: &mut Vec<u8>, index: usize, line: &LogLine, cursor: &Cursor) {
        let event = event_of(line);
        let words = event.as_ref().map(ToString::to_string);
        let (d, e) = encode_data(words.as_ref().map_or(line.data.as_slice(), String::as_bytes));
        let json = JsonLine {
            t: time::format(line.time),
            name: self.names.get(index).map_or("", String::as_str),
            s: line.source,
            id: line.session,
            d,
            e,
            event,
            partial: !line.ends,
            note: line.note,
            cursor: cursor.to_string(),
        };
        // Plain data serializes, and writing to memory does not fail.
        let _ = serde_json::to_writer(&mut *out, &json);
        out.push(b'\n');
    }
}

/// Returns the text of a line: its bytes, or the description of its event.
pub fn text_of(line: &LogLine) -> Cow<'_, [u8]> {
    match event_of(line) {
        Some(event) => Cow::Owned(event.to_string().into_bytes()),
        None => Cow::Borrowed(&line.data),
    }
}

/// Parses the event of a line in a log of events. `None` for other lines, and for events of another version of msb.
fn event_of(line: &LogLine) -> Option<SandboxEvent> {
    let holds_events = matches!(line.source, Source::Network | Source::Flows | Source::Events) && !line.note;
    holds_events.then(|| serde_json::from_slice(&line.data).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn line(session: u64, data: &str, ends: bool) -> LogLine {
        let (time, source) = (UNIX_EPOCH, Source::Stdout);
        LogLine { time, source, session: Some(session), data: data.into(), ends, note: false }
    }

    fn written(format: LineFormat, prefixes: bool, lines: &[LogLine]) -> String {
        let style = LineStyle { format, timestamps: false, prefixes, color: false };
        written_by(LineWriter { github: false, ..LineWriter::new(style) }, lines)
    }

    fn written_by(mut writer: LineWriter, lines: &[LogLine]) -> String {
        writer.index_of("web");
        let mut out = Vec::new();
        let cursor: Cursor = "1~296236b0".parse().unwrap();
        for line in lines {
            writer.write(&mut out, 0, line, || cursor.clone());
        }
        writer.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn pieces_of_a_line_are_joined_unless_interrupted() {
        let whole = [line(1, "a", false), line(1, "b", true), line(1, "c", true)];
        assert_eq!(written(LineFormat::Text, true, &whole), "web | ab\nweb | c\n");
        let interrupted = [line(1, "a", false), line(2, "x", true), line(1, "b", false)];
        assert_eq!(written(LineFormat::Text, true, &interrupted), "web | a\nweb | x\nweb | b\n");
    }

    #[test]
    fn commands_to_githubs_runner_are_escaped() {
        let lines = [line(1, "::add-mask::x", true), line(1, ":", false), line(1, ":stop-commands::x", true)];
        let style = LineStyle { format: LineFormat::Text, timestamps: false, prefixes: false, color: false };
        let shown = written_by(LineWriter { github: true, ..LineWriter::new(style) }, &lines);
        assert_eq!(shown, ": :add-mask::x\n: :stop-commands::x\n");
        let raw =
            LineWriter { github: true, ..LineWriter::new(LineStyle { format: LineFormat::Raw, ..style }) };
        assert_eq!(written_by(raw, &lines[..1]), "::add-mask::x\n");
    }

    #[test]
    fn only_raw_lines_keep_escapes() {
        let lines = [line(1, "\x1b[2J\rfake\r", true)];
        assert_eq!(written(LineFormat::Text, false, &lines), "\\u{1b}[2J\\rfake\n");
        assert_eq!(written(LineFormat::Raw, false, &lines), "\x1b[2J\rfake\r\n");
    }

    #[test]
    fn events_are_described_and_escaped() {
        let json = r#"{"t":"2026-01-02T03:04:05.678Z","kind":"oom","process":"\u001b[2J","count":3}"#;
        let event = LogLine { source: Source::Events, session: None, ..line(1, json, true) };
        let expected = "out of memory: \\u{1b}[2J was killed (3 times)\n";
        assert_eq!(written(LineFormat::Text, false, std::slice::from_ref(&event)), expected);
        let object = written(LineFormat::Json, false, std::slice::from_ref(&event));
        let object: serde_json::Value = serde_json::from_str(&object).unwrap();
        assert_eq!(object["event"], serde_json::json!({"kind": "oom", "process": "\u{1b}[2J", "count": 3}));
        assert_eq!(object["d"], "out of memory: \u{1b}[2J was killed (3 times)");
        // An event of another version.
        let other = LogLine { data: br#"{"t":"x","kind":"teleported"}"#.to_vec(), ..event };
        assert_eq!(written(LineFormat::Text, false, &[other]), "{\"t\":\"x\",\"kind\":\"teleported\"}\n");
    }

    #[test]
    fn json_lines_have_partial_and_cursor() {
        let json = written(LineFormat::Json, true, &[line(7, "a", false)]);
        assert_eq!(
            json,
            "{\"t\":\"1970-01-01T00:00:00.000Z\",\"name\":\"web\",\"s\":\"stdout\",\"id\":7,\"d\":\"a\",\
             \"partial\":true,\"cursor\":\"1~296236b0\"}\n"
        );
    }
}

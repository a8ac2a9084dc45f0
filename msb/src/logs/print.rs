//! How lines of logs are printed.

use crate::output::escape_bytes;
use crate::report::github::inert_piece;
use crate::report::on_github;
use executor_client::event::SandboxEvent;
use executor_log::{Cursor, LogLine, Source, encode_data, time};
use serde::Serialize;
use std::borrow::Cow;

/// Colours of the name prefixes, in the order of the sandboxes.
const COLORS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];

/// What lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people: nothing in a line can change what a terminal shows of others.
    Text,
    /// For people and programs that want the bytes as they came.
    Raw,
    /// One JSON object a line.
    Json,
}

/// What is printed of a line.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// What lines look like.
    pub form: Form,
    /// The time before each line.
    pub timestamps: bool,
    /// The name before each line.
    pub prefixes: bool,
    /// Names in colours.
    pub color: bool,
}

/// Writes lines the same way, wherever they come from.
pub struct LineWriter {
    look: Look,
    names: Vec<String>,
    width: usize,
    /// The last line has not ended: whose it is.
    unended: Option<(usize, Option<u64>, Source)>,
    /// GitHub's runner reads along: no line may be a command to it.
    github: bool,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    t: String,
    name: &'a str,
    s: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    d: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<&'static str>,
    /// The event that `d` puts in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<SandboxEvent>,
    /// The line goes on in the next object of the same source and session.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    /// msb itself says that something is missing here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    note: bool,
    cursor: String,
}

impl LineWriter {
    /// Knows no names yet.
    pub fn new(look: Look) -> Self {
        Self { look, names: Vec::new(), width: 0, unended: None, github: on_github() }
    }

    /// The place of a name that may be new.
    pub fn place_of(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.width = self.width.max(name.len());
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    /// Adds a line to what is printed.
    pub fn write(
        &mut self,
        out: &mut Vec<u8>,
        index: usize,
        line: &LogLine,
        cursor: impl FnOnce() -> Cursor,
    ) {
        let event = event_of(line);
        let words = event.as_ref().map(ToString::to_string);
        let words = words.as_ref().map_or(line.data.as_slice(), String::as_bytes);
        if self.look.form == Form::Json {
            return self.write_json(out, (index, line), (words, event.as_ref()), &cursor());
        }
        let whose = Some((index, line.session, line.source));
        if self.unended != whose || line.note {
            self.end(out);
            self.write_prefix(out, index, line);
        }
        match self.look.form {
            Form::Raw => out.extend_from_slice(words),
            Form::Text | Form::Json => {
                let data = words.strip_suffix(b"\r").filter(|_| line.ends).unwrap_or(words);
                let begin = out.len();
                escape_bytes(data, out);
                if self.github {
                    let piece = inert_piece(&String::from_utf8_lossy(&out[begin..]), line.ends);
                    out.splice(begin.., piece.into_bytes());
                }
            }
        }
        if line.ends {
            out.push(b'\n');
        }
        self.unended = whose.filter(|_| !line.ends);
    }

    /// Ends a line whose rest has not come.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if self.unended.take().is_some() {
            out.push(b'\n');
        }
    }

    fn write_prefix(&self, out: &mut Vec<u8>, index: usize, line: &LogLine) {
        if self.look.prefixes {
            let name = self.names.get(index).map_or("", String::as_str);
            let padded = format!("{name:<width$} | ", width = self.width);
            match self.look.color {
                true => out.extend(format!("\x1b[{}m{padded}\x1b[0m", COLORS[index % COLORS.len()]).bytes()),
                false => out.extend(padded.bytes()),
            }
        }
        if self.look.timestamps {
            out.extend(time::format(line.time).bytes());
            out.push(b' ');
        }
    }

    fn write_json(
        &self,
        out: &mut Vec<u8>,
        (index, line): (usize, &LogLine),
        (words, event): (&[u8], Option<&SandboxEvent>),
        cursor: &Cursor,
    ) {
        let (d, e) = encode_data(words);
        let json = JsonLine {
            t: time::format(line.time),
            name: self.names.get(index).map_or("", String::as_str),
            s: line.source,
            id: line.session,
            d,
            e,
            event: event.cloned(),
            partial: !line.ends,
            note: line.note,
            cursor: cursor.to_string(),
        };
        // Nothing of it can fail to be written into memory.
        let _ = serde_json::to_writer(&mut *out, &json);
        out.push(b'\n');
    }
}

/// What is shown of a line.
pub fn words_of(line: &LogLine) -> Cow<'_, [u8]> {
    match event_of(line) {
        Some(event) => Cow::Owned(event.to_string().into_bytes()),
        None => Cow::Borrowed(&line.data),
    }
}

/// The event that a line is, of those logs that hold events. What cannot be read, such as one that another msb has
/// written, is shown as it is.
fn event_of(line: &LogLine) -> Option<SandboxEvent> {
    let holds_events = matches!(line.source, Source::Network | Source::Events) && !line.note;
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

    fn written(form: Form, prefixes: bool, lines: &[LogLine]) -> String {
        let look = Look { form, timestamps: false, prefixes, color: false };
        written_by(LineWriter { github: false, ..LineWriter::new(look) }, lines)
    }

    fn written_by(mut writer: LineWriter, lines: &[LogLine]) -> String {
        writer.place_of("web");
        let mut out = Vec::new();
        let cursor: Cursor = "1~296236b0".parse().unwrap();
        for line in lines {
            writer.write(&mut out, 0, line, || cursor.clone());
        }
        writer.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn pieces_of_a_line_are_one_line_unless_another_comes_between() {
        let whole = [line(1, "a", false), line(1, "b", true), line(1, "c", true)];
        assert_eq!(written(Form::Text, true, &whole), "web | ab\nweb | c\n");
        let parted = [line(1, "a", false), line(2, "x", true), line(1, "b", false)];
        assert_eq!(written(Form::Text, true, &parted), "web | a\nweb | x\nweb | b\n");
    }

    #[test]
    fn no_line_is_a_command_to_githubs_runner() {
        let lines = [line(1, "::add-mask::x", true), line(1, ":", false), line(1, ":stop-commands::x", true)];
        let look = Look { form: Form::Text, timestamps: false, prefixes: false, color: false };
        let shown = written_by(LineWriter { github: true, ..LineWriter::new(look) }, &lines);
        assert_eq!(shown, ": :add-mask::x\n: :stop-commands::x\n");
        let raw = LineWriter { github: true, ..LineWriter::new(Look { form: Form::Raw, ..look }) };
        assert_eq!(written_by(raw, &lines[..1]), "::add-mask::x\n");
    }

    #[test]
    fn only_raw_lines_keep_escapes() {
        let lines = [line(1, "\x1b[2J\rfake\r", true)];
        assert_eq!(written(Form::Text, false, &lines), "\\u{1b}[2J\\rfake\n");
        assert_eq!(written(Form::Raw, false, &lines), "\x1b[2J\rfake\r\n");
    }

    #[test]
    fn events_are_put_in_words_that_no_terminal_obeys() {
        let json = r#"{"t":"2026-01-02T03:04:05.678Z","kind":"oom","process":"\u001b[2J","count":3}"#;
        let event = LogLine { source: Source::Events, session: None, ..line(1, json, true) };
        let told = "out of memory: \\u{1b}[2J was killed (3 times)\n";
        assert_eq!(written(Form::Text, false, std::slice::from_ref(&event)), told);
        let object = written(Form::Json, false, std::slice::from_ref(&event));
        let object: serde_json::Value = serde_json::from_str(&object).unwrap();
        assert_eq!(object["event"], serde_json::json!({"kind": "oom", "process": "\u{1b}[2J", "count": 3}));
        assert_eq!(object["d"], "out of memory: \u{1b}[2J was killed (3 times)");
        // One of another msb.
        let other = LogLine { data: br#"{"t":"x","kind":"teleported"}"#.to_vec(), ..event };
        assert_eq!(written(Form::Text, false, &[other]), "{\"t\":\"x\",\"kind\":\"teleported\"}\n");
    }

    #[test]
    fn json_lines_say_what_is_not_whole_and_where_to_go_on() {
        let json = written(Form::Json, true, &[line(7, "a", false)]);
        assert_eq!(
            json,
            "{\"t\":\"1970-01-01T00:00:00.000Z\",\"name\":\"web\",\"s\":\"stdout\",\"id\":7,\"d\":\"a\",\
             \"partial\":true,\"cursor\":\"1~296236b0\"}\n"
        );
    }
}

//! Writes the output of every session on the agent link to `exec.log`, or, without capture, broadcasts it to subscribers.

use super::redaction::Redaction;
use crate::supervisor::logs::broadcast::{OutputBroadcast, Subscriber};
use executor_intercept::Value;
use executor_log::{Entry, Limits, Source, Writer};
use protocol::frame::{Flags, Frame};
use protocol::latest::Message;
use schemas::spec::Capture;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

/// The log's writer and the sessions that it knows.
pub struct ExecLogger {
    writer: Writer,
    sessions: HashMap<u32, Session>,
    /// Whether the last write failed, which has been logged.
    failing: bool,
    capture: Capture,
    broadcast: OutputBroadcast,
    redaction: Redaction,
}

struct Session {
    number: u64,
    tty: bool,
}

impl ExecLogger {
    /// Opens `exec.log` in this folder.
    pub fn open(logs: &Path, limits: impl Into<Limits>) -> io::Result<Self> {
        let (writer, sessions) = (Writer::open(logs, limits)?, HashMap::new());
        Ok(Self {
            writer,
            sessions,
            failing: false,
            capture: Capture::On,
            broadcast: OutputBroadcast::default(),
            redaction: Redaction::default(),
        })
    }

    /// Leaves these values out from now on, too.
    pub fn redact(&mut self, values: impl IntoIterator<Item = Value>) {
        self.redaction.add(values);
    }

    /// Sets whether output is logged from now on.
    pub fn capture(&mut self, capture: Capture) {
        if capture == std::mem::replace(&mut self.capture, capture) {
            return;
        }
        match capture {
            Capture::Off => {
                // Incomplete lines are written before capture ends.
                let numbers: Vec<u64> = self.sessions.values().map(|session| session.number).collect();
                for number in numbers {
                    let written = self.writer.end_session(number);
                    self.report(written);
                }
                self.system("capture is off: what is printed from here on is not written down");
            }
            Capture::On => {
                self.broadcast.clear_backlog();
                self.system("capture is on: what is printed from here on is written down");
            }
        }
    }

    /// Subscribes to output that is not logged.
    pub fn subscribe(&mut self) -> Subscriber {
        self.broadcast.subscribe()
    }

    /// Takes the first frame of a session, before it is sent to the guest.
    pub fn session_starts(&mut self, frame: &Frame) {
        if let Ok(Message::ExecRequest(request)) = Message::decode(frame) {
            self.begin_session(frame.id(), request.tty);
        }
    }

    /// Begins a session with this id on the link, before its request is sent to the guest; returns its number.
    pub fn begin_session(&mut self, id: u32, tty: bool) -> u64 {
        let number = self.writer.new_session();
        self.sessions.insert(id, Session { number, tty });
        number
    }

    /// Takes a frame of the guest.
    pub fn frame(&mut self, frame: &Frame) {
        let Some(session) = self.sessions.get(&frame.id()) else { return };
        let number = session.number;
        match Message::decode(frame) {
            Ok(Message::ExecStdout(output)) => {
                let source = if session.tty { Source::Output } else { Source::Stdout };
                self.output(number, source, output.data);
            }
            Ok(Message::ExecStderr(output)) => self.output(number, Source::Stderr, output.data),
            _ => {}
        }
        if frame.flags().contains(Flags::TERMINAL) {
            self.sessions.remove(&frame.id());
            self.end_session(number);
        }
    }

    fn output(&mut self, session: u64, source: Source, data: Vec<u8>) {
        let data = self.redaction.redact(session, source, data);
        self.output_redacted(session, source, data);
    }

    fn output_redacted(&mut self, session: u64, source: Source, data: Vec<u8>) {
        match self.capture {
            Capture::On => {
                let written = self.writer.output(session, source, &data);
                self.report(written);
            }
            // An entry without data means the end of a session.
            Capture::Off if data.is_empty() => {}
            Capture::Off => self.broadcast(session, source, data),
        }
    }

    fn end_session(&mut self, session: u64) {
        for (source, held) in self.redaction.end(session) {
            self.output_redacted(session, source, held);
        }
        if self.capture == Capture::Off {
            for source in Source::DEFAULT {
                self.broadcast(session, source, Vec::new());
            }
        }
        let written = self.writer.end_session(session);
        self.report(written);
    }

    fn broadcast(&mut self, session: u64, source: Source, data: Vec<u8>) {
        self.broadcast.send(Entry { time: SystemTime::now(), source, session: Some(session), data });
    }

    /// Ends the sessions with these ids, whose later frames belong to other sessions.
    pub fn forget(&mut self, ids: &Range<u32>) {
        let gone: Vec<u64> =
            self.sessions.extract_if(|id, _| ids.contains(id)).map(|(_, session)| session.number).collect();
        for number in gone {
            self.end_session(number);
        }
    }

    /// Writes the reason for which there is no main process to its standard error, where users look for it.
    pub fn instead_of_main(&mut self, why: &str) {
        let number = self.writer.new_session();
        self.output(number, Source::Stderr, format!("msb: {why}\n").into_bytes());
        self.end_session(number);
    }

    /// Writes a line of the supervisor.
    pub fn system(&mut self, message: &str) {
        tracing::info!("{message}");
        let written = self.writer.system(message);
        self.report(written);
    }

    /// Handles a failed write: a full disk must not end a sandbox. The loss is traced once, and noted in the log itself as
    /// soon as there is space.
    fn report(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => self.failing = false,
            Err(_) if self.failing => {}
            Err(error) => {
                self.failing = true;
                tracing::warn!("exec.log: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor_log::{EXEC_LOG, Rotation};
    use protocol::latest::{ExecExited, ExecRequest, ExecStderr, ExecStdout};

    fn frame(message: impl Into<Message>) -> Frame {
        message.into().encode(5).unwrap()
    }

    fn starts(exec_log: &mut ExecLogger) {
        exec_log.session_starts(&frame(ExecRequest::command(&["x".to_owned()])));
    }

    fn prints(exec_log: &mut ExecLogger, text: &str) {
        exec_log.frame(&frame(ExecStdout { data: text.into() }));
    }

    fn written(folder: &Path) -> Vec<(Source, String)> {
        let log = std::fs::read_to_string(folder.join(EXEC_LOG)).unwrap();
        let entries = log.lines().map(|line| Entry::from_line(line.as_bytes()).unwrap());
        entries.map(|entry| (entry.source, String::from_utf8(entry.data).unwrap())).collect()
    }

    #[test]
    fn output_without_capture_is_broadcast_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut exec_log = ExecLogger::open(folder.path(), Rotation::default()).unwrap();
        starts(&mut exec_log);
        prints(&mut exec_log, "written, and cut o");
        exec_log.capture(Capture::Off);
        prints(&mut exec_log, "ff here\n");
        exec_log.frame(&frame(ExecStderr { data: b"hidden".to_vec() }));
        let subscriber = exec_log.subscribe();
        exec_log.frame(&frame(ExecExited::with_code(0)));
        let received: Vec<_> = std::iter::from_fn(|| subscriber.try_next()).collect();
        let texts: Vec<_> = received.iter().map(|entry| String::from_utf8_lossy(&entry.data)).collect();
        // The end of a session ends the incomplete lines of each source.
        assert_eq!(texts, ["ff here\n", "hidden", "", "", ""]);
        assert!(received.iter().all(|entry| entry.session == Some(1)));
        exec_log.capture(Capture::On);
        starts(&mut exec_log);
        prints(&mut exec_log, "again\n");
        assert!(subscriber.try_next().is_none());
        let off = "capture is off: what is printed from here on is not written down\n";
        let on = "capture is on: what is printed from here on is written down\n";
        assert_eq!(
            written(folder.path()),
            [
                (Source::Stdout, "written, and cut o".to_owned()),
                (Source::Stdout, String::new()),
                (Source::System, off.to_owned()),
                (Source::System, on.to_owned()),
                (Source::Stdout, "again\n".to_owned()),
            ]
        );
    }
}

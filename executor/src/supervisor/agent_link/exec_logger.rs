//! Listens in on the agent link and writes every session's output to `exec.log`; or, where it is not to be captured,
//! tells it to those alone who listen at the time.

use crate::supervisor::logs::broadcast::{OutputBroadcast, Subscriber};
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
    /// The last entry could not be written; that has been told.
    failing: bool,
    capture: Capture,
    broadcast: OutputBroadcast,
}

struct Session {
    number: u64,
    tty: bool,
}

impl ExecLogger {
    /// Opens `exec.log` in this folder of logs.
    pub fn open(logs: &Path, limits: impl Into<Limits>) -> io::Result<Self> {
        let (writer, sessions) = (Writer::open(logs, limits)?, HashMap::new());
        Ok(Self {
            writer,
            sessions,
            failing: false,
            capture: Capture::On,
            broadcast: OutputBroadcast::default(),
        })
    }

    /// Whether output is written down from now on.
    pub fn capture(&mut self, capture: Capture) {
        if capture == std::mem::replace(&mut self.capture, capture) {
            return;
        }
        match capture {
            Capture::Off => {
                // What was printed before is whole, although lines go on.
                let numbers: Vec<u64> = self.sessions.values().map(|session| session.number).collect();
                for number in numbers {
                    let written = self.writer.end_session(number);
                    self.report(written);
                }
                self.system("capture is off: what is printed from here on is not written down");
            }
            Capture::On => {
                self.broadcast.forget();
                self.system("capture is on: what is printed from here on is written down");
            }
        }
    }

    /// Whoever has this hears what is not written down.
    pub fn listen(&mut self) -> Subscriber {
        self.broadcast.join()
    }

    /// A session's first frame is on its way to the guest.
    pub fn session_starts(&mut self, frame: &Frame) {
        if let Ok(Message::ExecRequest(request)) = Message::decode(frame) {
            let session = Session { number: self.writer.new_session(), tty: request.tty };
            self.sessions.insert(frame.id(), session);
        }
    }

    /// A frame has come from the guest.
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
        match self.capture {
            Capture::On => {
                let written = self.writer.output(session, source, &data);
                self.report(written);
            }
            // An entry without data has a meaning of its own.
            Capture::Off if data.is_empty() => {}
            Capture::Off => self.tell(session, source, data),
        }
    }

    fn end_session(&mut self, session: u64) {
        if self.capture == Capture::Off {
            for source in Source::DEFAULT {
                self.tell(session, source, Vec::new());
            }
        }
        let written = self.writer.end_session(session);
        self.report(written);
    }

    fn tell(&mut self, session: u64, source: Source, data: Vec<u8>) {
        self.broadcast.tell(Entry { time: SystemTime::now(), source, session: Some(session), data });
    }

    /// No more frames of these ids belong to the sessions known so far.
    pub fn forget(&mut self, ids: &Range<u32>) {
        let gone: Vec<u64> =
            self.sessions.extract_if(|id, _| ids.contains(id)).map(|(_, session)| session.number).collect();
        for number in gone {
            self.end_session(number);
        }
    }

    /// Writes why there is no main process to where its errors would stand: that is where a person looks.
    pub fn instead_of_main(&mut self, why: &str) {
        let number = self.writer.new_session();
        self.output(number, Source::Stderr, format!("msb: {why}\n").into_bytes());
        self.end_session(number);
    }

    /// Writes a line of the supervisor's own.
    pub fn system(&mut self, message: &str) {
        tracing::info!("{message}");
        let written = self.writer.system(message);
        self.report(written);
    }

    /// A full disk must not end a sandbox: the loss is noted where it still can be, once, and in the log itself as
    /// soon as there is room again.
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
    fn what_is_not_captured_is_told_and_stands_in_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut exec_log = ExecLogger::open(folder.path(), Rotation::default()).unwrap();
        starts(&mut exec_log);
        prints(&mut exec_log, "written, and cut o");
        exec_log.capture(Capture::Off);
        prints(&mut exec_log, "ff here\n");
        exec_log.frame(&frame(ExecStderr { data: b"hidden".to_vec() }));
        let listener = exec_log.listen();
        exec_log.frame(&frame(ExecExited { code: 0 }));
        let heard: Vec<_> = std::iter::from_fn(|| listener.waiting()).collect();
        let texts: Vec<_> = heard.iter().map(|entry| String::from_utf8_lossy(&entry.data)).collect();
        // The session's end ends the lines of each of its sources.
        assert_eq!(texts, ["ff here\n", "hidden", "", "", ""]);
        assert!(heard.iter().all(|entry| entry.session == Some(1)));
        exec_log.capture(Capture::On);
        starts(&mut exec_log);
        prints(&mut exec_log, "again\n");
        assert!(listener.waiting().is_none());
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

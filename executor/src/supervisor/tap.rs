//! Listens in on the agent link and writes every session's output to `exec.log`.

use executor_log::{Source, Writer};
use schemas::protocol::frame::{Flags, Frame};
use schemas::protocol::latest::Message;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::Path;

/// The log's writer and the sessions that it knows.
pub struct Tap {
    writer: Writer,
    sessions: HashMap<u32, Session>,
    count: u64,
}

struct Session {
    number: u64,
    tty: bool,
}

impl Tap {
    /// Opens `exec.log` in this folder of logs.
    pub fn open(logs: &Path) -> io::Result<Self> {
        Ok(Self {
            writer: Writer::open(&logs.join(executor_log::EXEC_LOG))?,
            sessions: HashMap::new(),
            count: 0,
        })
    }

    /// A session's first frame is on its way to the guest.
    pub fn session_starts(&mut self, frame: &Frame) {
        if let Ok(Message::ExecRequest(request)) = Message::decode(frame) {
            self.count += 1;
            self.sessions.insert(frame.id(), Session { number: self.count, tty: request.tty });
        }
    }

    /// A frame has come from the guest.
    pub fn frame(&mut self, frame: &Frame) {
        let Some(session) = self.sessions.get(&frame.id()) else { return };
        let number = session.number;
        let written = match Message::decode(frame) {
            Ok(Message::ExecStdout(output)) => {
                let source = if session.tty { Source::Output } else { Source::Stdout };
                self.writer.output(number, source, &output.data)
            }
            Ok(Message::ExecStderr(output)) => self.writer.output(number, Source::Stderr, &output.data),
            _ => Ok(()),
        };
        report(written);
        if frame.flags().contains(Flags::TERMINAL) {
            self.sessions.remove(&frame.id());
            report(self.writer.end_session(number));
        }
    }

    /// No more frames of these ids belong to the sessions known so far.
    pub fn forget(&mut self, ids: &Range<u32>) {
        let gone: Vec<u64> =
            self.sessions.extract_if(|id, _| ids.contains(id)).map(|(_, session)| session.number).collect();
        for number in gone {
            report(self.writer.end_session(number));
        }
    }

    /// Writes a line of the supervisor's own.
    pub fn system(&mut self, message: &str) {
        tracing::info!("{message}");
        report(self.writer.system(message));
    }
}

/// A full disk must not end a sandbox: the loss is noted where it still can be.
fn report(written: io::Result<()>) {
    if let Err(error) = written {
        tracing::warn!("exec.log: {error}");
    }
}

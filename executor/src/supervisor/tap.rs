//! Listens in on the agent link and writes every session's output to `exec.log`.

use executor_log::{Rotation, Source, Writer};
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
    /// The last entry could not be written; that has been told.
    failing: bool,
}

struct Session {
    number: u64,
    tty: bool,
}

impl Tap {
    /// Opens `exec.log` in this folder of logs.
    pub fn open(logs: &Path, rotation: Rotation) -> io::Result<Self> {
        Ok(Self { writer: Writer::open(logs, rotation)?, sessions: HashMap::new(), failing: false })
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
        let written = match Message::decode(frame) {
            Ok(Message::ExecStdout(output)) => {
                let source = if session.tty { Source::Output } else { Source::Stdout };
                self.writer.output(number, source, &output.data)
            }
            Ok(Message::ExecStderr(output)) => self.writer.output(number, Source::Stderr, &output.data),
            _ => Ok(()),
        };
        self.report(written);
        if frame.flags().contains(Flags::TERMINAL) {
            self.sessions.remove(&frame.id());
            let written = self.writer.end_session(number);
            self.report(written);
        }
    }

    /// No more frames of these ids belong to the sessions known so far.
    pub fn forget(&mut self, ids: &Range<u32>) {
        let gone: Vec<u64> =
            self.sessions.extract_if(|id, _| ids.contains(id)).map(|(_, session)| session.number).collect();
        for number in gone {
            let written = self.writer.end_session(number);
            self.report(written);
        }
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

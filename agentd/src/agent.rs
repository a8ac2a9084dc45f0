//! The event loop: frames of the host, output of commands, ended processes, and timers.
//!
//! ```text
//! Booting ──core.boot──► Running ──core.shutdown, SIGTERM──► Terminating ──deadline──► Killing ──no process──► end
//!    └──────────────────────────core.shutdown, failure────────────────────────────────────────────────────────► end
//! ```

mod booting;

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::frame::{Flags, Frame, LINK_ID};
use protocol::latest::{
    BootAssembler, BootDocument, ClientDisconnected, ErrorKind, ErrorReport, ExecRequest, ExecStarted,
    FileRequest, Message, MountsChanged, MountsRefreshed, Pong, Ready, Shutdown, TaggedFileRequest, Touched,
};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::changes::Changes;
use crate::connections::{Connections, END_TOKEN, FIRST_TOKEN};
use crate::files::Files;
use crate::link::{Link, Received};
use crate::processes::{Reaped, reap, signal_all};
use crate::root::{self, Root};
use crate::sessions::{MAX_SESSIONS, Sessions};
use crate::shutdown;
use crate::signals::Signals;
use crate::spawn::spawn;

const LINK_TOKEN: u64 = 0;
const SIGNALS_TOKEN: u64 = 1;
const FILES_TOKEN: u64 = 2;
const CHANGES_TOKEN: u64 = 3;
const SCRATCH_BYTES: usize = 64 * 1024;
/// The time between SIGTERM and SIGKILL at shutdown, by default.
const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(5);
/// How long the host may take to read the queue at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a file operation may take to notice its cancellation. One in a hanging file system never does.
const FILES_TIMEOUT: Duration = Duration::from_millis(500);
/// The number of frames that are handled before commands get their turn.
const MAX_FRAMES_AT_ONCE: usize = 64;

enum Phase {
    Booting(BootAssembler),
    Running,
    Terminating { kill_at: Instant },
    Killing { again_at: Instant },
    Ended,
}

pub struct Agent {
    epoll: Rc<OwnedFd>,
    link: Link,
    signals: Signals,
    phase: Phase,
    started_ns: u64,
    ready: Option<Ready>,
    document: Option<BootDocument>,
    root: Option<Root>,
    sessions: Sessions,
    files: Files,
    connections: Connections,
    /// The sessions and touches since the boot.
    activity: u64,
    /// What the host changes of shared files; `None` without any.
    changes: Option<Changes>,
    /// Frames may be waiting in the receive buffer, for which the port raises no event.
    rx_pending: bool,
    scratch: Vec<u8>,
}

impl Agent {
    pub fn new(port: OwnedFd, signals: Signals, started_ns: u64) -> rustix::io::Result<Self> {
        let epoll = Rc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let link = Link::new(&epoll, port, LINK_TOKEN)?;
        epoll::add(&*epoll, &signals, EventData::new_u64(SIGNALS_TOKEN), EventFlags::IN)?;
        Ok(Self {
            sessions: Sessions::new(Rc::clone(&epoll)),
            files: Files::new(&epoll, FILES_TOKEN)?,
            connections: Connections::new(Rc::clone(&epoll)),
            activity: 0,
            epoll,
            link,
            signals,
            phase: Phase::Booting(BootAssembler::new()),
            started_ns,
            ready: None,
            document: None,
            root: None,
            changes: None,
            rx_pending: false,
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    /// Returns when the machine is to be switched off.
    pub fn run(&mut self) {
        let mut events: Vec<Event> = Vec::with_capacity(64);
        while !matches!(self.phase, Phase::Ended) {
            let timeout = if self.has_more_input() {
                Some(Timespec::default())
            } else {
                self.next_deadline().map(until)
            };
            events.clear();
            // Timers are handled below, whether it was interrupted or not.
            let _ = epoll::wait(&*self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref());
            for event in &events {
                match event.data.u64() {
                    LINK_TOKEN => self.on_link_readable(),
                    SIGNALS_TOKEN => self.on_signals(),
                    FILES_TOKEN => self.files.on_readable(&mut self.link),
                    CHANGES_TOKEN => self.on_changes_handled(),
                    token @ FIRST_TOKEN..END_TOKEN => {
                        self.connections.on_ready(token, &mut self.scratch, &mut self.link);
                    }
                    token => self.sessions.on_readable(token, &mut self.scratch, &mut self.link),
                }
            }
            if self.has_more_input() {
                self.on_link_readable();
            }
            self.run_timers();
            self.flush_and_watch();
        }
        self.end();
    }

    /// Before the loop waits, offers all queued frames to the port and updates which commands are read. Frames that are
    /// queued after this would wait for the next event.
    fn flush_and_watch(&mut self) {
        loop {
            self.link.flush();
            self.connections.update_watches(&self.link);
            self.files.resume(&self.link);
            if !self.sessions.update_watches(&mut self.link) {
                return;
            }
        }
    }

    fn has_more_input(&self) -> bool {
        self.rx_pending && !self.link.is_unresponsive()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Terminating { kill_at: at } | Phase::Killing { again_at: at } => Some(at),
            Phase::Booting(_) | Phase::Running | Phase::Ended => None,
        };
        self.sessions.next_deadline().into_iter().chain(phase).chain(self.link.retry_at()).min()
    }

    fn run_timers(&mut self) {
        let now = Instant::now();
        if self.link.retry_at().is_some_and(|at| at <= now) && self.link.reconnect() {
            // A host that reconnects gets the ready message again.
            if let Some(ready) = self.ready.clone() {
                self.link.send(LINK_ID, ready);
            }
        }
        self.sessions.run_timers(now, &mut self.scratch, &mut self.link);
        match self.phase {
            Phase::Terminating { kill_at: at } | Phase::Killing { again_at: at } if at <= now => {
                self.kill_all(now);
            }
            _ => {}
        }
    }

    fn kill_all(&mut self, now: Instant) {
        signal_all(libc::SIGKILL);
        // Processes that fork faster than they die are killed again.
        self.phase = Phase::Killing { again_at: now + Duration::from_millis(100) };
    }

    fn on_link_readable(&mut self) {
        self.rx_pending = false;
        for _ in 0..MAX_FRAMES_AT_ONCE {
            match self.link.receive(&mut self.scratch) {
                Ok(Received::Frame(frame)) => self.on_frame(&frame),
                Ok(Received::Nothing) => return,
                Ok(Received::Later) => break,
                Ok(Received::Disconnected) => return self.on_disconnect(),
                Err(error) => {
                    // The frame boundaries are lost, and all further input with them.
                    crate::log(format_args!("the host sent a malformed frame: {error}"));
                    return self.begin_shutdown(DEFAULT_SHUTDOWN);
                }
            }
            if matches!(self.phase, Phase::Ended) {
                return;
            }
        }
        self.rx_pending = true;
    }

    fn on_disconnect(&mut self) {
        self.sessions.disconnect(..);
        self.files.cancel(..);
        self.connections.disconnect(..);
        if let Phase::Booting(assembler) = &mut self.phase {
            // The next connection starts from the beginning.
            *assembler = BootAssembler::new();
        }
    }

    fn on_frame(&mut self, frame: &Frame) {
        let id = frame.id();
        let message = match Message::decode(frame) {
            Ok(message) => message,
            Err(error) => {
                if let Some(request) = TaggedFileRequest::decode(frame) {
                    return self.begin_tagged_file_operation(id, request);
                }
                let mut text = error.to_string();
                if let Some(source) = std::error::Error::source(&error) {
                    text = format!("{text}: {source}");
                }
                return self.send_error(id, ErrorKind::Malformed, text, None);
            }
        };
        let message_type = message.message_type().to_owned();
        match message {
            Message::Boot(chunk) => self.boot(&chunk),
            Message::Clock(clock) => self.set_clock(id, clock.unix_ns),
            Message::MountsChanged(report) => self.mounts_changed(id, report),
            Message::Ping(_) => self.link.send(id, Pong {}),
            Message::Touch(_) => {
                self.activity += 1;
                self.link.send(id, Touched { activity_seq: self.activity });
            }
            Message::Shutdown(Shutdown { timeout_ms }) => {
                self.begin_shutdown(timeout_ms.map_or(DEFAULT_SHUTDOWN, Duration::from_millis));
            }
            Message::ClientDisconnected(ClientDisconnected { id_start, id_end_exclusive }) => {
                // An inverted range is empty.
                if id_start < id_end_exclusive {
                    self.sessions.disconnect(id_start..id_end_exclusive);
                    self.files.cancel(id_start..id_end_exclusive);
                    self.connections.disconnect(id_start..id_end_exclusive);
                }
            }
            Message::ExecRequest(request) => self.exec(id, &request),
            Message::ExecStdin(stdin) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.take_input(stdin.data, &mut self.link);
                }
            }
            Message::ExecOutputAck(ack) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.take_output_ack(ack.bytes);
                }
            }
            Message::ExecResize(size) => {
                if let Some(session) = self.sessions.get(id) {
                    session.resize(size.rows, size.cols);
                }
            }
            Message::ExecSignal(signal) => match signal.signal {
                1..=64 => {
                    if let Some(session) = self.sessions.get(id) {
                        session.signal(signal.signal);
                    }
                }
                other => {
                    let text = format!("there is no signal {other}");
                    self.send_error(id, ErrorKind::Malformed, text, Some(message_type));
                }
            },
            Message::FileRequest(request) => self.begin_file_operation(id, request),
            Message::FileData(data) => self.files.take_data(id, data.data, &mut self.link),
            Message::FileAck(ack) => self.files.take_ack(id, ack.frames),
            Message::TcpConnect(request) => {
                if self.check_new_id(id, "core.tcp.connect") {
                    self.connections.open(id, &request, &mut self.link);
                }
            }
            Message::TcpData(data) => self.connections.take_data(id, data.data, &mut self.link),
            Message::TcpAck(ack) => self.connections.take_ack(id, ack.bytes, &mut self.link),
            Message::TcpEof(_) => self.connections.take_eof(id, &mut self.link),
            Message::TcpClose(_) => self.connections.close(id, &mut self.link),
            // An error report is never answered by another.
            Message::Error(_) => {}
            Message::Unknown { message_type, .. } => {
                let text = format!("this agent does not know '{message_type}'");
                self.send_error(id, ErrorKind::UnsupportedType, text, Some(message_type));
            }
            // Jobs are the host's.
            Message::JobAttach(_) => {
                let text = format!("'{message_type}' is for the relay of a host that supports jobs");
                self.send_error(id, ErrorKind::UnsupportedType, text, Some(message_type));
            }
            Message::BootFailed(_)
            | Message::BootProgress(_)
            | Message::Ready(_)
            | Message::MountsRefreshed(_)
            | Message::Pong(_)
            | Message::Touched(_)
            | Message::TcpConnected(_)
            | Message::TcpClosed(_)
            | Message::TcpFailed(_)
            | Message::ExecStarted(_)
            | Message::ExecStdinAck(_)
            | Message::ExecStdinError(_)
            | Message::ExecStdout(_)
            | Message::ExecStderr(_)
            | Message::ExecExited(_)
            | Message::ExecFailed(_)
            | Message::FileResponse(_)
            | Message::JobAttached(_)
            | Message::JobOutputSkipped(_) => {
                let text = format!("'{message_type}' goes from the guest to the host");
                self.send_error(id, ErrorKind::UnsupportedType, text, Some(message_type));
            }
        }
    }

    /// Sends an error; it is TERMINAL unless that would end a running session.
    fn send_error(&mut self, id: u32, kind: ErrorKind, message: String, message_type: Option<String>) {
        let goes_on = id == LINK_ID || self.is_taken(id);
        let flags = if goes_on { Flags::NONE } else { Flags::TERMINAL };
        self.link.send_with(id, &ErrorReport { kind, message, message_type }.into(), flags);
    }

    /// Only the link itself may set the clock, not a client.
    fn set_clock(&mut self, id: u32, unix_ns: u64) {
        if id == LINK_ID {
            root::set_clock(unix_ns);
        } else {
            let text = "a client does not set the clock".to_owned();
            self.send_error(id, ErrorKind::WrongSession, text, Some("core.clock".to_owned()));
        }
    }

    /// Only the link itself reports changes, not a client.
    fn mounts_changed(&mut self, id: u32, report: MountsChanged) {
        if id != LINK_ID {
            let text = "a client does not report changes of mounts".to_owned();
            self.send_error(id, ErrorKind::WrongSession, text, Some("core.mounts.changed".to_owned()));
        } else if self.changes.as_ref().is_some_and(|changes| !changes.handle(report)) {
            let text = "too many reports of changes are waiting".to_owned();
            self.send_error(id, ErrorKind::Unavailable, text, Some("core.mounts.changed".to_owned()));
        }
    }

    fn on_changes_handled(&mut self) {
        let ended = self.changes.as_ref().map_or(0, Changes::ended);
        for _ in 0..ended {
            self.link.send(LINK_ID, MountsRefreshed {});
        }
    }

    /// Whether a session, a file operation or a connection has this id.
    fn is_taken(&self, id: u32) -> bool {
        self.sessions.contains(id) || self.files.contains(id) || self.connections.contains(id)
    }

    /// Whether a new session may have this id; otherwise sends an error.
    fn check_new_id(&mut self, id: u32, message_type: &str) -> bool {
        let (kind, text) = if !matches!(self.phase, Phase::Running) {
            (ErrorKind::Unavailable, "the sandbox is not running, or is shutting down".to_owned())
        } else if id == LINK_ID || self.is_taken(id) {
            (ErrorKind::WrongSession, format!("the id {id} is taken"))
        } else {
            self.activity += 1;
            return true;
        };
        self.send_error(id, kind, text, Some(message_type.to_owned()));
        false
    }

    fn begin_file_operation(&mut self, id: u32, request: FileRequest) {
        if self.check_new_id(id, "core.fs.request") {
            let user = file_user(self.document.as_ref());
            self.files.begin(id, request, user, &mut self.link);
        }
    }

    fn begin_tagged_file_operation(&mut self, id: u32, request: TaggedFileRequest) {
        if self.check_new_id(id, "core.fs.request") {
            let user = file_user(self.document.as_ref());
            self.files.begin_tagged(id, request, user, &mut self.link);
        }
    }

    fn exec(&mut self, id: u32, request: &ExecRequest) {
        if !self.check_new_id(id, "core.exec.request") {
            return;
        }
        let (Some(document), Some(root)) = (&self.document, &self.root) else { return };
        if self.sessions.is_full() {
            let text = format!("there are {MAX_SESSIONS} sessions already");
            return self.send_error(id, ErrorKind::Unavailable, text, Some("core.exec.request".to_owned()));
        }
        let spawned = match spawn(request, document, &root.trust) {
            Ok(spawned) => spawned,
            Err(failed) => return self.link.send(id, failed),
        };
        self.link.send(id, ExecStarted { pid: spawned.pid.cast_unsigned() });
        self.sessions.begin(id, spawned, request);
    }

    fn on_signals(&mut self) {
        let received = self.signals.take();
        if received.shutdown {
            self.begin_shutdown(DEFAULT_SHUTDOWN);
        }
        if received.child {
            self.reap();
        }
    }

    fn reap(&mut self) {
        loop {
            match reap() {
                Reaped::Ended(ended) => self.sessions.reaped(&ended, &mut self.link),
                Reaped::Running => return,
                Reaped::NoProcess => {
                    if matches!(self.phase, Phase::Terminating { .. } | Phase::Killing { .. }) {
                        self.phase = Phase::Ended;
                    }
                    return;
                }
            }
        }
    }

    fn begin_shutdown(&mut self, timeout: Duration) {
        match self.phase {
            Phase::Booting(_) => self.phase = Phase::Ended,
            Phase::Running => {
                self.files.cancel(..);
                signal_all(libc::SIGTERM);
                // An interactive shell ignores SIGTERM and ends with its terminal.
                self.sessions.hang_up();
                signal_all(libc::SIGCONT);
                self.phase = Phase::Terminating { kill_at: Instant::now() + timeout };
                // There may be no process to wait for.
                self.reap();
            }
            // A second request can only shorten the wait.
            Phase::Terminating { kill_at } => {
                self.phase = Phase::Terminating { kill_at: kill_at.min(Instant::now() + timeout) };
            }
            Phase::Killing { .. } | Phase::Ended => {}
        }
    }

    /// Flushes the disks, tells the host, and returns. No process is left.
    fn end(&mut self) {
        self.sessions.empty(&mut self.scratch, &mut self.link);
        self.files.end(FILES_TIMEOUT);
        if let Some(root) = self.root.take() {
            shutdown::release(root);
        }
        let goodbye = Shutdown { timeout_ms: None }.into();
        self.link.finish(LINK_ID, &goodbye, Flags::SHUTDOWN | Flags::TERMINAL, FLUSH_TIMEOUT);
    }
}

/// The user of new files, unless a request names one.
fn file_user(document: Option<&BootDocument>) -> &str {
    document.and_then(|document| document.user.as_deref()).unwrap_or("0")
}

fn until(deadline: Instant) -> Timespec {
    // Rounded up: waking too early would mean waking many times.
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(100);
    Timespec::try_from(left).unwrap_or_default()
}

#[cfg(test)]
mod tests;

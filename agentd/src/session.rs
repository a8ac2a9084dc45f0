//! One session: a command with its pending input and output.
//!
//! All output that the command wrote before it ended is sent before `exited`. At its end a pipe reports how many bytes
//! it contains; exactly those are still read. So a grandchild that keeps the pipe open neither delays `exited` nor
//! loses its own output channel: the pipe is returned as a leftover, which the agent drains, so that a background
//! server does not die of SIGPIPE. A terminal is hung up at its session's end and read until then.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::latest::{
    ExecExited, ExecRequest, ExecStdinAck, ExecStdinError, OUTPUT_WINDOW_BYTES, OutputStream,
    STDIN_WINDOW_BYTES,
};
use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, ioctl_fionread, read, write};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::failure::errno_name;
use crate::link::Link;
use crate::pending::Pending;
use crate::processes::{Ended, foreground_group, signal_group};
use crate::spawn::Spawned;
use crate::watch::Watch;

/// The limit of buffered input for one command, in bytes.
const MAX_INPUT_BYTES: usize = 8 * STDIN_WINDOW_BYTES;
/// How long a terminal that is still open must be silent after its session's end.
const TERMINAL_QUIET: Duration = Duration::from_millis(200);
/// How much output such a terminal may still produce, in bytes.
const TERMINAL_LAST_BYTES: u64 = 1024 * 1024;
/// The end-of-input character of a terminal at the start of a line.
const TERMINAL_EOF: u8 = 4;

/// The descriptor of a session that an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
}

impl Stream {
    pub fn token(self, serial: u64) -> u64 {
        (serial << 2) | self as u64
    }

    pub fn of_token(token: u64) -> Self {
        match token & 3 {
            0 => Self::Stdin,
            1 => Self::Stdout,
            _ => Self::Stderr,
        }
    }
}

struct Output {
    stream: Stream,
    watch: Watch,
    /// After the command's end: the number of bytes that are still its own.
    last_bytes: Option<u64>,
}

/// The output that was sent to a client, and that it has acknowledged, in bytes.
#[derive(Default)]
struct Unacknowledged {
    sent: u64,
    taken: u64,
}

pub struct Session {
    pub id: u32,
    pub pid: i32,
    terminal: bool,
    input: Option<Watch>,
    waiting: Pending,
    /// The client has ended the input.
    input_ends: bool,
    acknowledges: bool,
    taken_bytes: u64,
    outputs: Vec<Output>,
    /// Whether the link accepts output.
    link_takes: bool,
    /// Unacknowledged output; `None` if the client sends no acknowledgements.
    unacknowledged: Option<Unacknowledged>,
    exited: Option<ExecExited>,
    /// Whether the client asks for the signal that ended the command.
    reports_signal: bool,
    quiet_at: Option<Instant>,
}

impl Session {
    pub fn new(id: u32, serial: u64, epoll: &Rc<OwnedFd>, spawned: Spawned, request: &ExecRequest) -> Self {
        let Spawned { pid, stdin, stdout, stderr } = spawned;
        let terminal = stderr.is_none();
        let output = |stream: Stream, descriptor| Output {
            stream,
            watch: Watch::new(epoll, descriptor, stream.token(serial)),
            last_bytes: None,
        };
        let mut outputs = vec![output(Stream::Stdout, stdout)];
        outputs.extend(stderr.map(|descriptor| output(Stream::Stderr, descriptor)));
        Self {
            id,
            pid,
            terminal,
            input: Some(Watch::new(epoll, stdin, Stream::Stdin.token(serial))),
            waiting: Pending::default(),
            input_ends: false,
            acknowledges: request.stdin_acks,
            taken_bytes: 0,
            outputs,
            link_takes: false,
            unacknowledged: request.output_acks.then(Unacknowledged::default),
            exited: None,
            reports_signal: request.report_signal,
            quiet_at: None,
        }
    }

    /// Resumes or suspends reading output, by the congestion of the link.
    pub fn listen(&mut self, link_takes: bool) -> rustix::io::Result<()> {
        if link_takes && !self.link_takes && self.quiet_at.is_some() {
            // Output that arrived while it was suspended is still to be read.
            self.quiet_at = Some(Instant::now() + TERMINAL_QUIET);
        }
        self.link_takes = link_takes;
        self.watch_outputs()
    }

    /// Records an acknowledgement. It cannot exceed what was sent, nor decrease.
    pub fn take_output_ack(&mut self, bytes: u64) {
        if let Some(unacknowledged) = &mut self.unacknowledged {
            unacknowledged.taken = unacknowledged.taken.max(bytes.min(unacknowledged.sent));
            let _ = self.watch_outputs();
        }
    }

    /// Whether the client's window allows output. The rest at the command's end is bounded and always sent.
    fn client_takes(&self) -> bool {
        let keeps_up = |unacknowledged: &Unacknowledged| {
            unacknowledged.sent - unacknowledged.taken < OUTPUT_WINDOW_BYTES
        };
        !self.runs() || self.unacknowledged.as_ref().is_none_or(keeps_up)
    }

    fn watch_outputs(&mut self) -> rustix::io::Result<()> {
        let takes = self.link_takes && self.client_takes();
        let interest = if takes { EventFlags::IN } else { EventFlags::empty() };
        let watched = self.outputs.iter_mut().map(|output| output.watch.want(interest));
        // Each is attempted, whatever the result of the others.
        watched.fold(Ok(()), Result::and)
    }

    pub fn take_input(&mut self, data: Vec<u8>, link: &mut Link) {
        if self.input.is_none() || (self.input_ends && !self.terminal) {
            // Data after the end is an error, but another end is not.
            if !data.is_empty() {
                self.refuse_input(data.len(), libc::EPIPE, "the command's standard input is closed", link);
            }
            return;
        }
        if self.waiting.bytes() + data.len() > MAX_INPUT_BYTES {
            let message = "the command does not read its input: ask for acknowledgements and wait for them";
            self.refuse_input(data.len(), libc::ENOBUFS, message, link);
            return;
        }
        match (data.is_empty(), self.terminal) {
            (true, true) => self.waiting.push(vec![TERMINAL_EOF]),
            (true, false) => self.input_ends = true,
            (false, _) => self.waiting.push(data),
        }
        self.write_input(link);
    }

    /// Writes what the command accepts.
    pub fn write_input(&mut self, link: &mut Link) {
        let Some(input) = &mut self.input else { return };
        let before = self.taken_bytes;
        let failure = loop {
            let Some(first) = self.waiting.first() else { break None };
            match write(&*input, first) {
                Ok(0) | Err(Errno::AGAIN) => break None,
                Ok(count) => {
                    self.taken_bytes += count as u64;
                    self.waiting.advance(count);
                }
                Err(Errno::INTR) => {}
                Err(errno) => break Some(errno),
            }
        };
        if let Some(errno) = failure {
            let dropped = self.close_input();
            let what =
                if errno == Errno::PIPE { "the command closed its standard input" } else { "input failed" };
            self.refuse_input(dropped, errno.raw_os_error(), what, link);
            return;
        }
        if self.waiting.is_empty() && self.input_ends {
            self.input = None;
        } else {
            let interest = if self.waiting.is_empty() { EventFlags::empty() } else { EventFlags::OUT };
            let _ = input.want(interest);
        }
        if self.taken_bytes != before {
            self.acknowledge(link);
        }
    }

    /// Closes the input; returns the number of unwritten bytes.
    fn close_input(&mut self) -> usize {
        self.input = None;
        self.waiting.clear()
    }

    fn refuse_input(&mut self, dropped: usize, errno: i32, message: &str, link: &mut Link) {
        self.taken_bytes += dropped as u64;
        let errno_name = errno_name(errno).map(str::to_owned);
        link.send(self.id, ExecStdinError { errno: Some(errno), errno_name, message: message.to_owned() });
        self.acknowledge(link);
    }

    fn acknowledge(&self, link: &mut Link) {
        if self.acknowledges {
            link.send(self.id, ExecStdinAck { bytes: self.taken_bytes });
        }
    }

    /// Reads once and sends the output. At its end an output is removed; one that outlives the command is returned.
    pub fn read_output(&mut self, stream: Stream, scratch: &mut [u8], link: &mut Link) -> Option<Watch> {
        if !self.client_takes() {
            // The event is older than the suspension: the other stream has filled the window in this round.
            return None;
        }
        let index = self.outputs.iter().position(|output| output.stream == stream)?;
        let output = &mut self.outputs[index];
        let wanted = output.last_bytes.map_or(scratch.len(), |last| scratch.len().min(last as usize));
        if wanted > 0 {
            match read(&output.watch, &mut scratch[..wanted]) {
                Ok(count) if count > 0 => {
                    let which = match stream {
                        Stream::Stderr => OutputStream::Stderr,
                        Stream::Stdin | Stream::Stdout => OutputStream::Stdout,
                    };
                    link.send_output(self.id, which, &scratch[..count]);
                    if let Some(last) = &mut output.last_bytes {
                        *last -= count as u64;
                        if self.terminal {
                            self.quiet_at = Some(Instant::now() + TERMINAL_QUIET);
                        }
                    }
                    if let Some(unacknowledged) = &mut self.unacknowledged {
                        unacknowledged.sent += count as u64;
                        let _ = self.watch_outputs();
                    }
                }
                Err(Errno::INTR | Errno::AGAIN) => return None,
                // End of file, or the terminal's EIO with the same meaning.
                Ok(_) | Err(_) => {
                    self.outputs.swap_remove(index);
                    return None;
                }
            }
        }
        match self.outputs[index].last_bytes {
            Some(0) => Some(self.outputs.swap_remove(index).watch).filter(|_| !self.terminal),
            _ => None,
        }
    }

    /// Handles the command's end. Returns the outputs that other processes may still write to.
    pub fn ended(&mut self, ended: &Ended) -> Vec<Watch> {
        let signal = ended.signal.filter(|_| self.reports_signal);
        self.exited = Some(ExecExited { code: ended.code, signal });
        self.close_input();
        if self.terminal {
            self.quiet_at = Some(Instant::now() + TERMINAL_QUIET);
        }
        let leftovers = self.outputs.extract_if(.., |output| {
            let last =
                if self.terminal { TERMINAL_LAST_BYTES } else { ioctl_fionread(&output.watch).unwrap_or(0) };
            output.last_bytes = Some(last);
            last == 0
        });
        let leftovers = leftovers.map(|output| output.watch).collect();
        let _ = self.watch_outputs();
        leftovers
    }

    /// When an ended terminal session counts as silent; `None` while reading is suspended.
    pub fn quiet_at(&self) -> Option<Instant> {
        self.quiet_at.filter(|_| self.link_takes)
    }

    /// Sends `exited` once the command has ended and all its output is sent; returns whether it did.
    pub fn finish(&self, now: Instant, link: &mut Link) -> bool {
        let Some(exited) = &self.exited else { return false };
        let silent = self.quiet_at.is_some_and(|at| at <= now);
        if !self.outputs.is_empty() && !silent {
            return false;
        }
        link.send(self.id, exited.clone());
        true
    }

    pub fn runs(&self) -> bool {
        self.exited.is_none()
    }

    pub fn resize(&self, rows: u16, cols: u16) {
        if self.terminal
            && let Some(output) = self.outputs.first()
        {
            let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = tcsetwinsize(&output.watch, size);
        }
    }

    /// Sends SIGHUP to the processes of the terminal; does nothing without one.
    pub fn hang_up(&self) {
        if self.terminal {
            self.signal(libc::SIGHUP);
        }
    }

    /// Signals the command's group and the foreground group of its terminal.
    pub fn signal(&self, signal: i32) {
        if !self.runs() {
            return;
        }
        signal_group(self.pid, signal);
        if self.terminal
            && let Some(output) = self.outputs.first()
            && let Some(foreground) = foreground_group(&output.watch)
            && foreground != self.pid
        {
            signal_group(foreground, signal);
        }
    }
}

//! Jobs: commands whose sessions are the supervisor's own, so that they outlive every client. Clients list them, attach to
//! them, signal them and wait for them.
//!
//! ```text
//! Starting ─► Running ─► Ended
//!    │           └─────► Lost: the guest has ended
//!    └─► NotStarted, Refused, Lost
//! ```

mod attachment;
mod input;
mod output;

pub use attachment::Attachment;

use crate::supervisor::agent_link::link::ClientSink;
use executor_client::guest_text::GuestText;
use executor_client::jobs::{JobReport, JobState};
use input::UnreadInput;
use output::RecentOutput;
use protocol::latest::{
    ErrorKind, ErrorReport, ExecExited, ExecRequest, ExecResize, JobAttached, Message, OutputStream,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};

/// The number of ended jobs that are kept.
const ENDED_JOBS_MAX: usize = 64;
/// The limit of the recorded command of a job in bytes.
const COMMAND_BYTES_MAX: usize = 1024;

/// The origin of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// The start command of the sandbox.
    Main,
    /// A detached command.
    Detached {
        /// Whether its standard input stays open.
        stdin: bool,
    },
}

impl JobKind {
    /// Returns whether the standard input of a job stays open.
    pub fn stdin(self) -> bool {
        matches!(self, Self::Detached { stdin: true })
    }
}

/// The state of a job.
#[derive(Clone, Debug)]
pub enum Life {
    /// The guest has not answered yet.
    Starting,
    /// It runs.
    Running,
    /// It has ended.
    Ended {
        /// Its exit code and signal.
        exited: ExecExited,
        /// The time of its end.
        at: SystemTime,
    },
    /// It could not be started.
    NotStarted {
        /// The exit code that stands for the failure.
        code: i32,
        /// The guest's reason.
        message: String,
    },
    /// The agent refused it.
    Refused {
        /// The guest's reason.
        message: String,
    },
    /// The guest ended before it.
    Lost,
}

/// One job.
pub struct Job {
    number: u64,
    session: u32,
    kind: JobKind,
    tty: bool,
    command: Vec<String>,
    started: SystemTime,
    pid: Cell<u32>,
    /// Rows and columns of its terminal.
    size: Cell<(u16, u16)>,
    life: watch::Sender<Life>,
    output: RefCell<RecentOutput>,
    clients: RefCell<Vec<Weak<Attachment>>>,
    input: RefCell<UnreadInput>,
    printed: Notify,
}

impl Job {
    /// Creates a job that is being started.
    pub fn new(number: u64, session: u32, kind: JobKind, request: &ExecRequest) -> Self {
        Self {
            number,
            session,
            kind,
            tty: request.tty,
            command: clipped(request),
            started: SystemTime::now(),
            pid: Cell::new(0),
            size: Cell::new((request.rows, request.cols)),
            life: watch::Sender::new(Life::Starting),
            output: RefCell::default(),
            clients: RefCell::default(),
            input: RefCell::default(),
            printed: Notify::new(),
        }
    }

    /// Returns its number: that of its session in `exec.log`.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the id of its session in the guest.
    pub fn session(&self) -> u32 {
        self.session
    }

    /// Returns its process id in the guest.
    pub fn pid(&self) -> u32 {
        self.pid.get()
    }

    /// Returns whether its standard input was left open.
    pub fn stdin(&self) -> bool {
        self.kind.stdin()
    }

    /// Returns whether it runs.
    pub fn runs(&self) -> bool {
        matches!(*self.life.borrow(), Life::Running)
    }

    /// Waits until it runs or has ended; returns its state.
    pub async fn started(&self) -> Life {
        self.reached(|life| !matches!(life, Life::Starting)).await
    }

    /// Waits for its end; returns its state.
    pub async fn ended(&self) -> Life {
        self.reached(|life| !matches!(life, Life::Starting | Life::Running)).await
    }

    /// Waits until it has printed something since the last wait.
    pub async fn printed(&self) {
        self.printed.notified().await;
    }

    async fn reached(&self, is_reached: impl FnMut(&Life) -> bool) -> Life {
        let mut life = self.life.subscribe();
        // The sender lives as long as `self`.
        life.wait_for(is_reached).await.map_or(Life::Lost, |life| life.clone())
    }

    /// Takes a message of the guest; `is_last` if its frame is TERMINAL.
    pub fn receive(&self, message: Message, is_last: bool) {
        match message {
            Message::ExecStarted(started) if matches!(*self.life.borrow(), Life::Starting) => {
                self.pid.set(started.pid);
                self.life.send_replace(Life::Running);
            }
            Message::ExecStdout(output) => self.print(OutputStream::Stdout, &output.data),
            Message::ExecStderr(output) => self.print(OutputStream::Stderr, &output.data),
            Message::ExecStdinAck(ack) => self.input.borrow_mut().acknowledge(ack.bytes),
            Message::ExecExited(exited) if is_last => self.exit(exited),
            Message::ExecFailed(failed) if is_last => {
                let message = GuestText::message(failed.message).into();
                self.end(Life::NotStarted { code: failed.kind.exit_code(), message });
            }
            Message::Error(report) if is_last => {
                self.end(Life::Refused { message: GuestText::message(report.message).into() });
            }
            _ => {}
        }
        // A guest that ends the session with another message has not reported a result.
        if is_last {
            self.lose();
        }
    }

    fn print(&self, stream: OutputStream, data: &[u8]) {
        self.printed.notify_one();
        let before = self.output.borrow().end();
        let clients = self.clients();
        let (current, late): (Vec<_>, Vec<_>) =
            clients.into_iter().partition(|client| client.keeps_up(before));
        for client in current {
            client.send_output(stream, data);
        }
        self.output.borrow_mut().append(stream, data);
        for client in late {
            client.catch_up(&self.output.borrow(), false);
        }
    }

    fn exit(&self, exited: ExecExited) {
        for client in self.clients() {
            client.catch_up(&self.output.borrow(), true);
            client.send(exited.clone());
        }
        self.end(Life::Ended { exited, at: SystemTime::now() });
    }

    /// Ends it without a result: the guest has ended.
    pub fn lose(&self) {
        if matches!(*self.life.borrow(), Life::Starting | Life::Running) {
            for client in self.clients() {
                client.send(ErrorReport {
                    kind: ErrorKind::Unavailable,
                    message: "the sandbox ended before the job did".to_owned(),
                    message_type: None,
                });
            }
            self.end(Life::Lost);
        }
    }

    fn end(&self, life: Life) {
        self.clients.borrow_mut().clear();
        self.output.take();
        self.input.take();
        self.life.send_replace(life);
    }

    fn clients(&self) -> Vec<Rc<Attachment>> {
        let mut clients = self.clients.borrow_mut();
        clients.retain(|client| client.strong_count() > 0);
        clients.iter().filter_map(Weak::upgrade).collect()
    }

    /// Attaches a client, which receives recent output and all new output until the attachment is dropped.
    pub fn attach(&self, sink: Rc<dyn ClientSink>, id: u32) -> Rc<Attachment> {
        let client = Rc::new(Attachment::new(sink, id, self.output.borrow().first_line()));
        client.send(JobAttached { pid: self.pid(), tty: self.tty, stdin: self.stdin() });
        client.catch_up(&self.output.borrow(), false);
        self.clients.borrow_mut().push(Rc::downgrade(&client));
        client
    }

    /// Sends waiting output to a client that has acknowledged more.
    pub fn catch_up(&self, client: &Attachment) {
        client.catch_up(&self.output.borrow(), false);
    }

    /// Accounts for input of a client; otherwise refuses it, and returns `false`.
    pub fn take_input(&self, client: &Rc<Attachment>, bytes: u64) -> bool {
        // The end of input is no input.
        if bytes == 0 {
            return self.stdin();
        }
        let refusal = if !self.stdin() {
            "the standard input of the job is closed"
        } else if self.input.borrow_mut().add(client, bytes) {
            return true;
        } else {
            "the job does not read its input: wait for acknowledgements"
        };
        client.refuse_input(bytes, refusal);
        false
    }

    /// Returns the messages that give its terminal a size. A client that attaches with the current size gets its screen
    /// drawn again: the size changes twice, as programs draw when it changes.
    pub fn resize(&self, rows: u16, cols: u16, redraw: bool) -> Vec<ExecResize> {
        if !self.tty || rows == 0 || cols == 0 {
            return Vec::new();
        }
        let mut sizes = Vec::new();
        if self.size.replace((rows, cols)) == (rows, cols) && redraw {
            sizes.push(ExecResize { rows, cols: cols.saturating_add(1) });
        }
        sizes.push(ExecResize { rows, cols });
        sizes
    }

    /// Describes the job; `None` if it was never started or the guest has ended.
    pub fn report(&self) -> Option<JobReport> {
        let (state, ended) = match &*self.life.borrow() {
            Life::Running => (JobState::Running, None),
            Life::Ended { exited: ExecExited { signal: Some(signal), .. }, at } => {
                (JobState::Signalled { signal: *signal }, Some(*at))
            }
            Life::Ended { exited, at } => (JobState::Exited { code: exited.code }, Some(*at)),
            Life::Starting | Life::NotStarted { .. } | Life::Refused { .. } | Life::Lost => return None,
        };
        Some(JobReport {
            id: self.number,
            pid: self.pid(),
            main: self.kind == JobKind::Main,
            command: self.command.clone(),
            tty: self.tty,
            stdin: self.stdin(),
            attached: self.clients().len(),
            started_unix_ms: unix_ms(self.started),
            ended_unix_ms: ended.map(unix_ms),
            state,
        })
    }
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the start of a command, bounded in bytes.
fn clipped(request: &ExecRequest) -> Vec<String> {
    let mut left = COMMAND_BYTES_MAX;
    let mut words = Vec::new();
    for word in std::iter::once(&request.cmd).chain(&request.args) {
        // Many empty words take memory, too.
        if left < word.len() + 1 {
            words.push(format!("{}…", &word[..word.floor_char_boundary(left)]));
            break;
        }
        left -= word.len() + 1;
        words.push(word.clone());
    }
    words
}

/// The jobs of one guest, by number.
#[derive(Default)]
pub struct Jobs(RefCell<BTreeMap<u64, Rc<Job>>>);

impl Jobs {
    /// Adds a job; forgets the oldest ones that have ended.
    pub fn add(&self, job: Rc<Job>) {
        let mut jobs = self.0.borrow_mut();
        jobs.insert(job.number, job);
        let is_over = |job: &Job| !matches!(*job.life.borrow(), Life::Starting | Life::Running);
        let over: Vec<u64> = jobs.values().filter(|job| is_over(job)).map(|job| job.number).collect();
        for number in &over[..over.len().saturating_sub(ENDED_JOBS_MAX)] {
            jobs.remove(number);
        }
    }

    /// Forgets a job that was not started.
    pub fn forget(&self, number: u64) {
        self.0.borrow_mut().remove(&number);
    }

    /// Returns the job of this number that runs or has ended.
    pub fn get(&self, number: u64) -> Option<Rc<Job>> {
        let jobs = self.0.borrow();
        jobs.get(&number).filter(|job| job.report().is_some()).cloned()
    }

    /// Describes all jobs, in the order of their numbers.
    pub fn reports(&self) -> Vec<JobReport> {
        self.0.borrow().values().filter_map(|job| job.report()).collect()
    }

    /// Ends all jobs: the guest has ended.
    pub fn lose_all(&self) {
        for job in self.0.borrow().values() {
            job.lose();
        }
    }
}

#[cfg(test)]
mod tests;

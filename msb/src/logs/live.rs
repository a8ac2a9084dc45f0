//! Following growing logs: one task for all logs, woken by events.

use super::print::LineWriter;
use super::{LogOptions, PRINT_BYTES, Restarts, Stream};
use crate::output::{OutputOptions, print_bytes};
use executor_client::control::{ControlClient, Event, Request, current_state};
use executor_host::lock::read_holder;
use executor_log::{
    Cursor, Entry, LiveLines, LogError, LogLine, LogStream, LogWatch, ReadOptions, Start, Woken, last_lines,
};
use schemas::name::SandboxId;
use schemas::spec::Capture;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Maximum number of queued texts, each of about [`PRINT_BYTES`].
const QUEUED_TEXTS_MAX: usize = 8;
/// Number of lines after which other tasks run.
const LINES_PER_TURN: usize = 1024;

/// Interval of checks for a restarted sandbox while another msb works on its project.
const RESTART_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of queued notices, each with at most one piece of live output.
const QUEUED_NOTICES_MAX: usize = 64;

/// Called when a sandbox has ended, with the folder of its logs and the position; `None` after a read error.
pub type Ended = Box<dyn FnMut(&Path, Option<Cursor>)>;

/// A message of a task about a followed sandbox.
enum Notice {
    /// Output that no log captures.
    Live(Entry),
    /// Its supervisor has ended; sent after all live output.
    SupervisorEnded,
    /// The same after a possible restart, with the sandbox that runs now.
    Successor(Option<SandboxId>),
}

/// Follows logs.
pub struct Followers {
    options: LogOptions,
    writer: LineWriter,
    output: OutputOptions,
    texts: mpsc::Sender<Vec<u8>>,
    watch: AsyncFd<LogWatch>,
    followed: BTreeMap<usize, Followed>,
    next_number: usize,
    /// For notices, each with the number of its sandbox.
    notices_in: mpsc::Sender<(usize, Notice)>,
    notices: mpsc::Receiver<(usize, Notice)>,
    ended: Ended,
    text: Vec<u8>,
    failed: bool,
}

struct Followed {
    stream: LogStream,
    /// Output that no log captures.
    live: LiveLines,
    name: String,
    logs: PathBuf,
    control: PathBuf,
    restarts: Option<Restarts>,
    /// Index of the name in the writer.
    index: usize,
    /// Number of matching lines to skip.
    skip: usize,
    /// Whether its supervisor has ended, so that its log is complete.
    has_ended: bool,
}

impl Followers {
    /// Follows nothing yet. A thread prints the lines, so that a blocked reader does not delay signals; the returned
    /// receiver resolves after the last line.
    ///
    /// # Errors
    ///
    /// If files cannot be watched.
    pub fn new(
        options: LogOptions,
        output: OutputOptions,
        ended: Ended,
    ) -> io::Result<(Self, oneshot::Receiver<()>)> {
        let (texts, mut queue) = mpsc::channel::<Vec<u8>>(QUEUED_TEXTS_MAX);
        let (printed, all_printed) = oneshot::channel();
        let (notices_in, notices) = mpsc::channel(QUEUED_NOTICES_MAX);
        std::thread::spawn(move || {
            while let Some(text) = queue.blocking_recv() {
                print_bytes(&text);
            }
            let _ = printed.send(());
        });
        let followers = Self {
            writer: LineWriter::new(options.style),
            options,
            output,
            texts,
            watch: watched(LogWatch::new()?)?,
            followed: BTreeMap::new(),
            next_number: 0,
            notices_in,
            notices,
            ended,
            text: Vec::new(),
            failed: false,
        };
        Ok((followers, all_printed))
    }

    /// Follows another sandbox.
    async fn add(&mut self, stream: Stream, tail: Option<usize>) {
        let number = self.next_number;
        self.next_number += 1;
        let (name, logs) = (stream.name.clone(), stream.logs.clone());
        match self.begin(stream, number, tail).await {
            Ok(followed) => _ = self.followed.insert(number, followed),
            Err(error) => {
                (self.ended)(&logs, None);
                self.fail(&name, &error);
            }
        }
    }

    async fn begin(
        &mut self,
        stream: Stream,
        number: usize,
        tail: Option<usize>,
    ) -> Result<Followed, LogError> {
        let Stream { name, logs, control, start, restarts } = stream;
        let failed = |source| LogError::Io { log: "the folder of logs", source };
        // Connected and watched before the log is read, so that nothing is missed.
        let has_ended = !self.watch_supervisor(&control, number).await;
        self.watch.get_mut().add(&logs, number).map_err(failed)?;
        let (start, skip) = match tail {
            None => (start, 0),
            Some(tail) => {
                let read_options =
                    ReadOptions { sources: self.options.sources.clone(), start, ..ReadOptions::default() };
                let last = last_lines(&logs, &read_options, tail, &|line| self.options.wants(line))?;
                (Start::Cursor(last.begin), last.skip)
            }
        };
        let stream = LogStream::open(&logs, &self.options.sources, &start)?;
        let (index, live) = (self.writer.index_of(&name), LiveLines::default());
        Ok(Followed { stream, live, index, name, logs, control, restarts, skip, has_ended })
    }

    /// Waits in a task until the supervisor closes its socket. Returns whether there is a supervisor.
    async fn watch_supervisor(&self, control: &Path, number: usize) -> bool {
        let Ok(mut supervisor) = ControlClient::watch(control).await else { return false };
        let notices = self.notices_in.clone();
        let (control, is_live) = (control.to_owned(), self.options.live);
        tokio::task::spawn_local(async move {
            let mut listening: Option<JoinHandle<()>> = None;
            while let Ok(state) = supervisor.next_state().await {
                if is_live && state.capture == Capture::Off && listening.is_none() {
                    listening =
                        Some(tokio::task::spawn_local(listen(control.clone(), number, notices.clone())));
                }
            }
            // All live output is received before the end.
            if let Some(listening) = listening {
                let _ = listening.await;
            }
            let _ = notices.send((number, Notice::SupervisorEnded)).await;
        });
        true
    }

    /// Follows until every sandbox has ended and the sender of `added` is dropped. Returns whether all logs were
    /// readable.
    pub async fn run(mut self, mut added: mpsc::UnboundedReceiver<Stream>) -> bool {
        let mut may_add = true;
        loop {
            self.print_available().await;
            self.remove_ended().await;
            if self.followed.is_empty() && !may_add {
                return !self.failed;
            }
            tokio::select! {
                ready = self.watch.readable_mut() => match ready {
                    Ok(mut ready) => {
                        let woken = ready.get_inner().woken();
                        ready.clear_ready();
                        self.wake(&woken);
                    }
                    Err(source) => {
                        let error = LogError::Io { log: "the folders of logs", source };
                        self.fail("all sandboxes", &error);
                        return false;
                    }
                },
                Some((number, notice)) = self.notices.recv() => match notice {
                    Notice::Live(entry) => self.print_live(number, entry).await,
                    Notice::SupervisorEnded => self.supervisor_ended(number),
                    Notice::Successor(successor) => self.resume(number, successor).await,
                },
                stream = added.recv(), if may_add => match stream {
                    Some(stream) => {
                        self.add(stream, self.options.tail).await;
                        // All that are queued start together, so that their lines are merged.
                        while let Ok(stream) = added.try_recv() {
                            self.add(stream, self.options.tail).await;
                        }
                    }
                    None => may_add = false,
                },
            }
        }
    }

    /// Handles the end of a supervisor. Its sandbox may be restarted by an msb that works on its project.
    fn supervisor_ended(&mut self, number: usize) {
        let Some(followed) = self.followed.get_mut(&number) else { return };
        followed.stream.wake();
        match &followed.restarts {
            None => followed.has_ended = true,
            Some(restarts) => {
                let (control, lock) = (followed.control.clone(), restarts.lock.clone());
                let notices = self.notices_in.clone();
                tokio::task::spawn_local(async move {
                    let successor = Notice::Successor(successor(&control, &lock).await);
                    let _ = notices.send((number, successor)).await;
                });
            }
        }
    }

    /// Continues with the restarted sandbox, or with the one that replaced it.
    async fn resume(&mut self, number: usize, successor: Option<SandboxId>) {
        let Some(followed) = self.followed.get(&number) else { return };
        let (name, control) = (followed.name.clone(), followed.control.clone());
        let found = successor.zip(followed.restarts.clone());
        let logs = found.map(|(id, restarts)| (restarts.home.sandbox(&id).logs(), restarts));
        let is_same = logs.as_ref().is_some_and(|(logs, _)| *logs == followed.logs);
        let continues = is_same && self.watch_supervisor(&control, number).await;
        if let Some(followed) = self.followed.get_mut(&number) {
            followed.has_ended = !continues;
            followed.stream.wake();
        }
        if let (Some((logs, restarts)), false) = (logs, is_same) {
            let stream = Stream { name, logs, control, start: Start::Beginning, restarts: Some(restarts) };
            // All of its lines are new.
            self.add(stream, None).await;
        }
    }

    async fn print_live(&mut self, number: usize, entry: Entry) {
        let Some(followed) = self.followed.get_mut(&number) else { return };
        let lines = followed.live.take(entry);
        self.write_live(number, &lines);
        self.flush().await;
    }

    fn write_live(&mut self, number: usize, lines: &[LogLine]) {
        let Some(followed) = self.followed.get(&number) else { return };
        for line in lines {
            if self.options.sources.contains(&line.source) && self.options.wants(line) {
                self.writer.write(&mut self.text, followed.index, line, || followed.stream.cursor());
            }
        }
    }

    fn wake(&mut self, woken: &Woken) {
        match woken {
            Woken::All => self.followed.values_mut().for_each(|followed| followed.stream.wake()),
            Woken::Some(numbers) => {
                for number in numbers {
                    if let Some(followed) = self.followed.get_mut(number) {
                        followed.stream.wake();
                    }
                }
            }
        }
    }

    /// Prints all available lines in the order of their times.
    async fn print_available(&mut self) {
        let mut lines = 0;
        while let Some(number) = self.earliest() {
            let Some(followed) = self.followed.get_mut(&number) else { continue };
            match followed.stream.next() {
                Ok(Some(line)) if self.options.wants(&line) && followed.skip > 0 => followed.skip -= 1,
                Ok(Some(line)) if self.options.wants(&line) => {
                    let cursor = || followed.stream.cursor();
                    self.writer.write(&mut self.text, followed.index, &line, cursor);
                }
                Ok(_) => {}
                Err(error) => {
                    self.flush().await;
                    self.drop_failed(number, &error);
                }
            }
            lines += 1;
            if self.text.len() >= PRINT_BYTES {
                self.flush().await;
            }
            if lines % LINES_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.flush().await;
    }

    /// Returns the log with the earliest next line. Drops a log that cannot be read.
    fn earliest(&mut self) -> Option<usize> {
        let mut earliest: Option<(SystemTime, usize)> = None;
        let mut broken = None;
        for (&number, followed) in &mut self.followed {
            match followed.stream.peek() {
                Ok(Some(time)) if earliest.is_none_or(|(known, _)| time < known) => {
                    earliest = Some((time, number));
                }
                Ok(_) => {}
                Err(error) => broken = broken.or(Some((number, error))),
            }
        }
        if let Some((number, error)) = broken {
            self.drop_failed(number, &error);
        }
        earliest.map(|(_, number)| number)
    }

    fn drop_failed(&mut self, number: usize, error: &LogError) {
        if let Some(followed) = self.followed.remove(&number) {
            (self.ended)(&followed.logs, None);
            self.fail(&followed.name, error);
        }
    }

    async fn remove_ended(&mut self) {
        let ended = self.followed.iter().filter(|(_, followed)| followed.has_ended);
        let ended: Vec<usize> = ended.map(|(&number, _)| number).collect();
        for number in ended {
            let lines = self.followed.get_mut(&number).map(|followed| followed.live.finish());
            self.write_live(number, &lines.unwrap_or_default());
            let Some(mut followed) = self.followed.remove(&number) else { continue };
            while let Some(line) = followed.stream.finish() {
                if self.options.wants(&line) {
                    let cursor = || followed.stream.cursor();
                    self.writer.write(&mut self.text, followed.index, &line, cursor);
                }
            }
            self.writer.end(&mut self.text);
            (self.ended)(&followed.logs, Some(followed.stream.cursor()));
        }
        self.flush().await;
    }

    async fn flush(&mut self) {
        if !self.text.is_empty() {
            let _ = self.texts.send(std::mem::take(&mut self.text)).await;
        }
    }

    fn fail(&mut self, name: &str, error: &LogError) {
        self.failed = true;
        super::cannot_read(name, error).report(&self.output);
    }
}

/// Waits while another msb works on the project. Returns the sandbox that runs afterwards at this socket.
async fn successor(control: &Path, lock: &Path) -> Option<SandboxId> {
    loop {
        // Checked first: the holder of the lock starts the sandbox before it releases it.
        let is_worked_on = read_holder(lock).is_some_and(|holder| holder.process.is_alive());
        if let Some(state) = current_state(control).await.filter(|state| !state.is_final()) {
            return state.id;
        }
        if !is_worked_on {
            return None;
        }
        tokio::time::sleep(RESTART_INTERVAL).await;
    }
}

/// Forwards output that no log captures, until the sandbox has ended.
async fn listen(control: PathBuf, number: usize, notices: mpsc::Sender<(usize, Notice)>) {
    let Ok(mut supervisor) = ControlClient::connect(&control).await else { return };
    if supervisor.send(&Request::Listen).await.is_err() {
        return;
    }
    while let Ok(Some(event)) = supervisor.next().await {
        if let Event::Output(entry) = event
            && notices.send((number, Notice::Live(entry))).await.is_err()
        {
            return;
        }
    }
}

#[allow(unsafe_code, reason = "tokio requires a guarantee about the descriptor that no type expresses")]
fn watched(watch: LogWatch) -> io::Result<AsyncFd<LogWatch>> {
    // SAFETY: a watch owns its descriptor, always returns the same one, and keeps it open until dropped.
    Ok(unsafe { AsyncFd::register(watch) }?)
}

//! Follows logs as they grow: one task for all of them, woken when something has happened.

use super::print::LineWriter;
use super::{PRINT_BYTES, Restarts, Show, Stream};
use crate::error::{CliError, Exit};
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
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet};

/// Printed texts that wait before logs are read on, each of about [`PRINT_BYTES`].
const WAITING_TEXTS: usize = 8;
/// After so many lines others have their turn.
const LINES_AT_ONCE: usize = 1024;

/// How often it is looked whether a sandbox has been started again, while somebody works on its project.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Pieces of output in no log that wait to be printed.
const WAITING_ENTRIES: usize = 64;

/// Is told where a log's follower has come to when its sandbox ended; nowhere if it could not read on.
pub type Ended = Box<dyn FnMut(&Path, Option<Cursor>)>;

/// A piece of output, and whose it is.
type Heard = (usize, Entry);

/// Who is followed, and the sandbox that has its place now, if somebody has started it again.
type Successor = (usize, Option<SandboxId>);

/// Follows logs.
pub struct Followers {
    show: Show,
    writer: LineWriter,
    verbosity: OutputOptions,
    texts: mpsc::Sender<Vec<u8>>,
    watch: AsyncFd<LogWatch>,
    followed: BTreeMap<usize, Followed>,
    next_number: usize,
    gone: (mpsc::UnboundedSender<usize>, mpsc::UnboundedReceiver<usize>),
    /// Whose supervisor is gone, and which sandbox has its place now.
    again: (mpsc::UnboundedSender<Successor>, mpsc::UnboundedReceiver<Successor>),
    /// What is printed and stands in no log.
    heard: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
    ended: Ended,
    text: Vec<u8>,
    failed: bool,
}

struct Followed {
    stream: LogStream,
    /// What is printed and stands in no log.
    live: LiveLines,
    name: String,
    logs: PathBuf,
    control: PathBuf,
    restarts: Option<Restarts>,
    /// The name's place at the writer.
    index: usize,
    /// Number of matching lines to skip.
    skip: usize,
    /// Its supervisor is gone: what is there now is all.
    is_gone: bool,
}

impl Followers {
    /// Follows nothing yet. Lines are printed by a thread of its own, because a reader that stands still must not
    /// keep signals waiting; the receiver is told when the last one is printed.
    pub fn new(
        show: Show,
        verbosity: OutputOptions,
        ended: Ended,
    ) -> io::Result<(Self, oneshot::Receiver<()>)> {
        let (texts, mut waiting) = mpsc::channel::<Vec<u8>>(WAITING_TEXTS);
        let (printed, all_printed) = oneshot::channel();
        std::thread::spawn(move || {
            while let Some(text) = waiting.blocking_recv() {
                print_bytes(&text);
            }
            let _ = printed.send(());
        });
        let followers = Self {
            writer: LineWriter::new(show.look),
            show,
            verbosity,
            texts,
            watch: watched(LogWatch::new()?)?,
            followed: BTreeMap::new(),
            next_number: 0,
            gone: mpsc::unbounded_channel(),
            again: mpsc::unbounded_channel(),
            heard: mpsc::channel(WAITING_ENTRIES),
            ended,
            text: Vec::new(),
            failed: false,
        };
        Ok((followers, all_printed))
    }

    /// Follows one more sandbox.
    pub async fn add(&mut self, stream: Stream) {
        self.add_with(stream, self.show.tail).await;
    }

    async fn add_with(&mut self, stream: Stream, tail: Option<usize>) {
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
        // Connected, and watched, before the first look at the log, so that nothing falls between.
        let is_gone = !self.watch_supervisor(&control, number).await;
        self.watch.get_mut().add(&logs, number).map_err(failed)?;
        let (start, skip) = match tail {
            None => (start, 0),
            Some(tail) => {
                let options =
                    ReadOptions { sources: self.show.sources.clone(), start, ..ReadOptions::default() };
                let last = last_lines(&logs, &options, tail, &|line| self.show.wants(line))?;
                (Start::Cursor(last.begin), last.skip)
            }
        };
        let stream = LogStream::open(&logs, &self.show.sources, &start)?;
        let (index, live) = (self.writer.place_of(&name), LiveLines::default());
        Ok(Followed { stream, live, index, name, logs, control, restarts, skip, is_gone })
    }

    /// Listens until the supervisor's socket closes, which says that no more comes. Tells whether there is one.
    async fn watch_supervisor(&self, control: &Path, number: usize) -> bool {
        let Ok(mut supervisor) = ControlClient::connect(control).await else { return false };
        if supervisor.send(&Request::Watch).await.is_err() {
            return false;
        }
        let (gone, heard) = (self.gone.0.clone(), self.heard.0.clone());
        let (control, live) = (control.to_owned(), self.show.live);
        tokio::task::spawn_local(async move {
            let mut listening: Option<JoinHandle<()>> = None;
            while let Ok(Some(event)) = supervisor.next().await {
                let Event::State { state } = event else { continue };
                if live && state.capture == Capture::Off && listening.is_none() {
                    let (control, heard) = (control.clone(), heard.clone());
                    listening = Some(tokio::task::spawn_local(listen(control, number, heard)));
                }
            }
            // All that was printed has been heard before it is gone.
            if let Some(listening) = listening {
                let _ = listening.await;
            }
            let _ = gone.send(number);
        });
        true
    }

    /// Follows until every sandbox has ended, and nobody is left to add one.
    pub async fn run(mut self, mut added: mpsc::UnboundedReceiver<Stream>) -> bool {
        let mut may_add = true;
        loop {
            self.print_what_is_there().await;
            self.let_go_of_ended().await;
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
                Some((number, entry)) = self.heard.1.recv() => self.hear(number, entry).await,
                Some(number) = self.gone.1.recv() => self.supervisor_ended(number),
                Some((number, successor)) = self.again.1.recv() => self.go_on(number, successor).await,
                stream = added.recv(), if may_add => match stream {
                    Some(stream) => {
                        self.add(stream).await;
                        // Those that are there already begin together, in the order of their lines.
                        while let Ok(stream) = added.try_recv() {
                            self.add(stream).await;
                        }
                    }
                    None => may_add = false,
                },
            }
        }
    }

    /// A supervisor has ended: its sandbox is followed no further, unless somebody is about to start it again.
    fn supervisor_ended(&mut self, number: usize) {
        let Some(followed) = self.followed.get_mut(&number) else { return };
        followed.stream.wake();
        match &followed.restarts {
            None => followed.is_gone = true,
            Some(restarts) => {
                let (control, lock) = (followed.control.clone(), restarts.lock.clone());
                let again = self.again.0.clone();
                tokio::task::spawn_local(async move {
                    let _ = again.send((number, successor(&control, &lock).await));
                });
            }
        }
    }

    /// Goes on with what has been started again: the same sandbox, or another one that has taken its place.
    async fn go_on(&mut self, number: usize, successor: Option<SandboxId>) {
        let Some(followed) = self.followed.get(&number) else { return };
        let (name, control) = (followed.name.clone(), followed.control.clone());
        let found = successor.zip(followed.restarts.clone());
        let logs = found.map(|(id, restarts)| (restarts.home.sandbox(&id).logs(), restarts));
        let is_same = logs.as_ref().is_some_and(|(logs, _)| *logs == followed.logs);
        let goes_on = is_same && self.watch_supervisor(&control, number).await;
        if let Some(followed) = self.followed.get_mut(&number) {
            followed.is_gone = !goes_on;
            followed.stream.wake();
        }
        if let (Some((logs, restarts)), false) = (logs, is_same) {
            let stream = Stream { name, logs, control, start: Start::Beginning, restarts: Some(restarts) };
            // All that it has printed is new.
            self.add_with(stream, None).await;
        }
    }

    async fn hear(&mut self, number: usize, entry: Entry) {
        let Some(followed) = self.followed.get_mut(&number) else { return };
        let lines = followed.live.take(entry);
        self.write_live(number, &lines);
        self.flush().await;
    }

    fn write_live(&mut self, number: usize, lines: &[LogLine]) {
        let Some(followed) = self.followed.get(&number) else { return };
        for line in lines {
            if self.show.sources.contains(&line.source) && self.show.wants(line) {
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

    /// Prints the lines that are there, of all logs in the order of their times.
    async fn print_what_is_there(&mut self) {
        let mut lines = 0;
        while let Some(number) = self.earliest() {
            let Some(followed) = self.followed.get_mut(&number) else { continue };
            match followed.stream.next() {
                Ok(Some(line)) if self.show.wants(&line) && followed.skip > 0 => followed.skip -= 1,
                Ok(Some(line)) if self.show.wants(&line) => {
                    let cursor = || followed.stream.cursor();
                    self.writer.write(&mut self.text, followed.index, &line, cursor);
                }
                Ok(_) => {}
                Err(error) => self.drop_failed(number, &error).await,
            }
            lines += 1;
            if self.text.len() >= PRINT_BYTES {
                self.flush().await;
            }
            if lines % LINES_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.flush().await;
    }

    /// The log whose next line came first; one that cannot be read is before all others.
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
            self.broken(number, &error);
        }
        earliest.map(|(_, number)| number)
    }

    fn broken(&mut self, number: usize, error: &LogError) {
        if let Some(followed) = self.followed.remove(&number) {
            (self.ended)(&followed.logs, None);
            self.fail(&followed.name, error);
        }
    }

    async fn drop_failed(&mut self, number: usize, error: &LogError) {
        self.flush().await;
        self.broken(number, error);
    }

    async fn let_go_of_ended(&mut self) {
        let gone: Vec<usize> = self
            .followed
            .iter()
            .filter(|(_, followed)| followed.is_gone)
            .map(|(&number, _)| number)
            .collect();
        while let Ok((number, entry)) = self.heard.1.try_recv() {
            self.hear(number, entry).await;
        }
        for number in gone {
            let lines = self.followed.get_mut(&number).map(|followed| followed.live.finish());
            self.write_live(number, &lines.unwrap_or_default());
            let Some(mut followed) = self.followed.remove(&number) else { continue };
            while let Some(line) = followed.stream.finish() {
                if self.show.wants(&line) {
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
        super::cannot_read(name, error).report(&self.verbosity);
    }
}

/// Waits for whoever works on the project, and gives the sandbox that runs afterwards at this socket.
async fn successor(control: &Path, lock: &Path) -> Option<SandboxId> {
    loop {
        // Looked at first: whoever lets go of the lock has started the sandbox before.
        let is_worked_on = read_holder(lock).is_some_and(|holder| holder.process.is_alive());
        if let Some(state) = current_state(control).await.filter(|state| !state.is_final()) {
            return state.id;
        }
        if !is_worked_on {
            return None;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Passes on what is printed and stands in no log, until the sandbox has ended.
async fn listen(control: PathBuf, number: usize, heard: mpsc::Sender<Heard>) {
    let Ok(mut supervisor) = ControlClient::connect(&control).await else { return };
    if supervisor.send(&Request::Listen).await.is_err() {
        return;
    }
    while let Ok(Some(event)) = supervisor.next().await {
        if let Event::Output(entry) = event
            && heard.send((number, entry)).await.is_err()
        {
            return;
        }
    }
}

#[allow(unsafe_code, reason = "tokio wants a promise about the descriptor that no type can make")]
fn watched(watch: LogWatch) -> io::Result<AsyncFd<LogWatch>> {
    // SAFETY: a watch owns its descriptor, gives always the same one, and keeps it open until dropped.
    Ok(unsafe { AsyncFd::register(watch) }?)
}

/// Shows what is there, then what comes, until Ctrl-C or until every sandbox has ended.
pub fn follow(streams: Vec<Stream>, show: Show, verbosity: OutputOptions) -> Result<ExitCode, CliError> {
    crate::output::exit_when_stdout_closes();
    crate::commands::event_loop()?.block_on(async {
        let no_signals = |error| CliError::new(format!("cannot listen for signals: {error}"));
        let _signals = crate::apply::interrupts::take_over();
        let mut interrupts = signal(SignalKind::interrupt()).map_err(no_signals)?;
        let mut terminations = signal(SignalKind::terminate()).map_err(no_signals)?;
        let (followers, all_printed) = Followers::new(show, verbosity, Box::new(|_, _| ()))
            .map_err(|error| CliError::new(format!("cannot follow logs: {error}")))?;
        let (add, added) = mpsc::unbounded_channel();
        for stream in streams {
            let _ = add.send(stream);
        }
        drop(add);
        let followed = LocalSet::new();
        let followed = followed.run_until(async {
            let is_well = followers.run(added).await;
            let _ = all_printed.await;
            is_well
        });
        tokio::select! {
            biased;
            _ = interrupts.recv() => Ok(ExitCode::from(Exit::Interrupted as u8)),
            _ = terminations.recv() => Ok(ExitCode::from(Exit::Terminated as u8)),
            is_well = followed => Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) }),
        }
    })
}

//! Runs of `msb` whose output is read while they go on.

use crate::process::{Signal, signal};
use crate::run::Msb;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// More than any line or end takes on an emulated host.
const TIMEOUT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(5);

/// A started run. Dropping it kills it.
#[derive(Debug)]
pub struct Live {
    child: Child,
    lines: Receiver<String>,
    /// All lines of both streams so far.
    seen: Vec<String>,
}

impl Msb {
    /// Starts it; its output is read line by line.
    pub fn live(self) -> Live {
        let mut command = self.into_command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("msb can be run");
        let (sender, lines) = channel();
        pass_on(child.stdout.take().expect("piped"), sender.clone());
        pass_on(child.stderr.take().expect("piped"), sender);
        Live { child, lines, seen: Vec::new() }
    }
}

fn pass_on(stream: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
}

impl Live {
    /// Reads until a line contains this text. Returns the lines read, including that one.
    pub fn until(&mut self, text: &str) -> Vec<String> {
        self.until_all(&[text])
    }

    /// Reads until lines contain each of these texts, in any order: that of lines of two streams is undefined.
    pub fn until_all(&mut self, texts: &[&str]) -> Vec<String> {
        let mut missing = texts.to_vec();
        let deadline = Instant::now() + TIMEOUT;
        let begin = self.seen.len();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    missing.retain(|text| !line.contains(text));
                    self.seen.push(line);
                    if missing.is_empty() {
                        return self.seen[begin..].to_vec();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no {missing:?} within {TIMEOUT:?}:\n{}", self.shown())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended without {missing:?}:\n{}", self.shown())
                }
            }
        }
    }

    /// Sends SIGINT, waits for the end, and returns the exit code. `None` if a signal ended it.
    pub fn interrupt(mut self) -> Option<i32> {
        signal(self.child.id().cast_signed(), Signal::INT);
        self.ended()
    }

    /// Reads all lines to the end, also of one that fails.
    pub fn rest(mut self) -> Vec<String> {
        self.ended();
        self.seen.extend(self.lines.iter());
        std::mem::take(&mut self.seen)
    }

    /// Waits for the end and returns the exit code. `None` if a signal ended it.
    pub fn wait(mut self) -> Option<i32> {
        self.ended()
    }

    fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => return status.code(),
                None if Instant::now() < deadline => std::thread::sleep(POLL),
                None => panic!("it does not end:\n{}", self.shown()),
            }
        }
    }

    fn shown(&self) -> String {
        self.seen.join("\n")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

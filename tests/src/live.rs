//! A run of `msb` whose output is read while it goes on.

use crate::run::Msb;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// No line of these tests is this long in coming, an emulated host included.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(5);

/// A run that goes on. It is killed when it is dropped.
#[derive(Debug)]
pub struct Live {
    child: Child,
    lines: Receiver<String>,
    /// All lines so far, of both streams.
    seen: Vec<String>,
}

impl Msb {
    /// Starts it, to be read line by line.
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
    /// Reads on until a line holds this text; what came until then, that line included.
    pub fn until(&mut self, text: &str) -> Vec<String> {
        self.until_all(&[text])
    }

    /// The same until each of these texts has come, in whatever order: what comes over two streams has none.
    pub fn until_all(&mut self, texts: &[&str]) -> Vec<String> {
        let mut missing = texts.to_vec();
        let deadline = Instant::now() + PATIENCE;
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
                    panic!("no {missing:?} within {PATIENCE:?}:\n{}", self.shown())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended without {missing:?}:\n{}", self.shown())
                }
            }
        }
    }

    /// Presses Ctrl-C, and waits for its end: the exit code.
    pub fn interrupt(mut self) -> Option<i32> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a pid is not 0");
        kill_process(pid, Signal::INT).expect("it can be signalled");
        self.ended()
    }

    /// Waits for its end: the exit code.
    pub fn wait(mut self) -> Option<i32> {
        self.ended()
    }

    fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
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

//! Sessions over pipes and terminals of the test itself: suspension, ends, leftovers and input.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use protocol::frame::FrameDecoder;
use protocol::latest::{Message, OUTPUT_WINDOW_BYTES, STDIN_WINDOW_BYTES};
use rustix::event::epoll::{CreateFlags, create};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::pipe;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use super::*;

const ID: u32 = 7;
/// No process has this number.
const PID: i32 = i32::MAX - 1;
const STDOUT: u64 = FIRST_SERIAL << 2 | 1;
const STDERR: u64 = FIRST_SERIAL << 2 | 2;

/// A session whose command is the test itself.
struct Fixture {
    sessions: Sessions,
    link: Link,
    host: UnixStream,
    decoder: FrameDecoder,
    scratch: Vec<u8>,
    /// The command's ends; a terminal is one for all.
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
}

fn nonblocking(descriptor: OwnedFd) -> OwnedFd {
    fcntl_setfl(&descriptor, OFlags::NONBLOCK).unwrap();
    descriptor
}

impl Fixture {
    fn with(tty: bool) -> Self {
        let epoll = Rc::new(create(CreateFlags::CLOEXEC).unwrap());
        let (host, guest) = UnixStream::pair().unwrap();
        host.set_nonblocking(true).unwrap();
        let link = Link::new(&epoll, nonblocking(guest.into()), 0).unwrap();
        let mut sessions = Sessions::new(epoll);
        let request =
            ExecRequest { tty, stdin_acks: true, output_acks: true, ..ExecRequest::command(&["x".into()]) };
        let (spawned, stdin, stdout) = if tty {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let master = openpt(flags).unwrap();
            unlockpt(&master).unwrap();
            let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
            let input = master.try_clone().unwrap();
            (Spawned { pid: PID, stdin: input, stdout: nonblocking(master), stderr: None }, None, slave)
        } else {
            let (stdin_theirs, stdin) = pipe().unwrap();
            let (stdout, stdout_theirs) = pipe().unwrap();
            // At end of file at once.
            let (stderr, _) = pipe().unwrap();
            let [stdin, stdout, stderr] = [stdin, stdout, stderr].map(nonblocking);
            let spawned = Spawned { pid: PID, stdin, stdout, stderr: Some(stderr) };
            (spawned, Some(stdin_theirs), stdout_theirs)
        };
        sessions.begin(ID, spawned, &request);
        let (decoder, scratch) = (FrameDecoder::new(), vec![0; 64 * 1024]);
        Self { sessions, link, host, decoder, scratch, stdin, stdout: Some(stdout) }
    }

    fn command_writes(&self, count: usize) {
        let mut file = std::fs::File::from(self.stdout.as_ref().unwrap().try_clone().unwrap());
        file.write_all(&vec![b'x'; count]).unwrap();
    }

    fn on_readable(&mut self, token: u64) {
        self.sessions.on_readable(token, &mut self.scratch, &mut self.link);
    }

    fn hear_leftovers(&mut self) {
        for token in self.sessions.leftovers.keys().copied().collect::<Vec<_>>() {
            self.on_readable(token);
        }
    }

    fn ends(&mut self) {
        // End of file of stderr.
        self.on_readable(STDERR);
        self.sessions.reaped(&Ended { pid: PID, code: 3, signal: None }, &mut self.link);
    }

    fn acknowledge(&mut self, bytes: u64) {
        self.sessions.get_mut(ID).unwrap().take_output_ack(bytes);
    }

    fn stdin(&mut self, data: Vec<u8>) {
        self.sessions.get_mut(ID).unwrap().take_input(data, &mut self.link);
    }

    /// The frames that the host reads.
    fn sent(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut buffer = vec![0; 1024 * 1024];
        loop {
            self.link.flush();
            let Ok(count) = self.host.read(&mut buffer) else { return messages };
            self.decoder.feed(&buffer[..count]);
            while let Some(frame) = self.decoder.next_frame().unwrap() {
                messages.push(Message::decode(&frame).unwrap());
            }
        }
    }

    /// The output bytes that the host reads, and the exit code after them.
    fn output(&mut self) -> (u64, Option<i32>) {
        let (mut bytes, mut exited) = (0, None);
        for message in self.sent() {
            assert_eq!(exited, None, "exited is the last word");
            match message {
                Message::ExecStdout(output) => bytes += output.data.len() as u64,
                Message::ExecExited(end) => exited = Some(end.code),
                other => panic!("{other:?}"),
            }
        }
        (bytes, exited)
    }

    /// Writes and reads until the session accepts no more.
    fn fill(&mut self) -> u64 {
        let mut total = 0;
        loop {
            self.command_writes(16 * 1024);
            self.on_readable(STDOUT);
            match self.output().0 {
                0 => return total,
                bytes => total += bytes,
            }
        }
    }
}

#[test]
fn output_waits_for_its_client_and_resumes() {
    let mut fixture = Fixture::with(false);
    assert_eq!(fixture.fill(), OUTPUT_WINDOW_BYTES);
    fixture.acknowledge(16 * 1024);
    fixture.on_readable(STDOUT);
    // Bytes that were written meanwhile arrive in one read.
    assert_eq!(fixture.output(), (16 * 1024, None));
    fixture.on_readable(STDOUT);
    assert_eq!(fixture.output(), (0, None));
}

#[test]
fn impossible_acknowledgements_are_ignored() {
    let mut fixture = Fixture::with(false);
    // Nothing was sent yet: this is no credit for later.
    fixture.acknowledge(u64::MAX);
    assert_eq!(fixture.fill(), OUTPUT_WINDOW_BYTES);
    fixture.acknowledge(u64::MAX);
    // An acknowledgement is not taken back.
    fixture.acknowledge(0);
    assert_eq!(fixture.fill(), OUTPUT_WINDOW_BYTES);
}

#[test]
fn the_last_output_of_a_suspended_command_is_sent_before_its_end() {
    let mut fixture = Fixture::with(false);
    fixture.fill();
    fixture.ends();
    assert_eq!(fixture.output(), (0, None));
    fixture.on_readable(STDOUT);
    assert_eq!(fixture.output(), (16 * 1024, Some(3)));
    assert!(!fixture.sessions.contains(ID));
    // The write end is still open, in this test: writes to it succeed and are drained.
    fixture.command_writes(100);
    fixture.hear_leftovers();
    assert_eq!(fixture.sessions.leftovers.len(), 1);
    assert_eq!(fixture.output(), (0, None));
    fixture.stdout = None;
    fixture.hear_leftovers();
    assert!(fixture.sessions.leftovers.is_empty());
}

#[test]
fn a_suspended_terminal_is_read_to_its_end() {
    let mut fixture = Fixture::with(true);
    fixture.command_writes(5);
    fixture.ends();
    let late = Instant::now() + Duration::from_secs(1);
    // Existing output counts before the silence.
    fixture.sessions.run_timers(late, &mut fixture.scratch, &mut fixture.link);
    assert_eq!(fixture.output(), (5, None));
    std::thread::sleep(Duration::from_millis(220));
    fixture.sessions.run_timers(late, &mut fixture.scratch, &mut fixture.link);
    assert_eq!(fixture.output(), (0, Some(3)));
}

#[test]
fn a_terminal_is_not_silent_while_reading_is_suspended() {
    let mut fixture = Fixture::with(true);
    fixture.command_writes(5);
    // The host reads nothing, and the queue fills.
    while !fixture.link.congested() {
        fixture.link.send(ID, protocol::latest::ExecStdout { data: vec![0; 64 * 1024] });
    }
    assert!(fixture.sessions.update_watches(&mut fixture.link));
    fixture.ends();
    assert_eq!(fixture.sessions.next_deadline(), None, "there is nothing to wait for but the host");
    std::thread::sleep(Duration::from_millis(220));
    assert_eq!(fixture.output().1, None);
    assert!(fixture.sessions.update_watches(&mut fixture.link));
    assert_eq!(fixture.output(), (0, None), "its output is still to be read");
    fixture.on_readable(STDOUT);
    assert_eq!(fixture.output(), (5, None));
}

#[test]
fn input_in_small_chunks_is_merged_and_acknowledged_completely() {
    let mut fixture = Fixture::with(false);
    let pieces = 4 * STDIN_WINDOW_BYTES / 64;
    for _ in 0..pieces {
        fixture.stdin(vec![b'x'; 64]);
    }
    fixture.stdin(Vec::new());
    let mut command = std::fs::File::from(fixture.stdin.take().unwrap());
    let mut buffer = vec![0; 64 * 1024];
    let mut read = 0;
    loop {
        match command.read(&mut buffer).unwrap() {
            0 => break,
            count => read += count,
        }
        fixture.on_readable(FIRST_SERIAL << 2);
    }
    assert_eq!(read, pieces * 64);
    let acknowledged = fixture.sent().into_iter().filter_map(|message| match message {
        Message::ExecStdinAck(ack) => Some(ack.bytes),
        _ => None,
    });
    assert_eq!(acknowledged.max(), Some(read as u64));
}

#[test]
fn input_beyond_all_windows_is_refused_and_counted() {
    let mut fixture = Fixture::with(false);
    for _ in 0..9 {
        fixture.stdin(vec![b'x'; STDIN_WINDOW_BYTES]);
    }
    let refused =
        fixture.sent().iter().filter(|message| matches!(message, Message::ExecStdinError(_))).count();
    assert_eq!(refused, 1);
}

#[test]
fn nothing_is_sent_for_a_disconnected_client() {
    let mut fixture = Fixture::with(false);
    fixture.command_writes(5);
    fixture.sessions.disconnect(0..ID);
    assert!(fixture.sessions.contains(ID));
    fixture.sessions.disconnect(ID..ID + 1);
    fixture.on_readable(STDOUT);
    fixture.sessions.reaped(&Ended { pid: PID, code: 0, signal: None }, &mut fixture.link);
    assert!(fixture.sent().is_empty());
}

//! What the tests share: the kit, relays without a VM, and whether there is a VM.
#![allow(dead_code, clippy::unwrap_used)]

use protocol::frame::{Flags, Frame, FrameDecoder, LINK_ID};
use protocol::latest::{Message, Ready};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// The conformance kit; `None` in the packaged crate.
pub fn kit() -> Option<PathBuf> {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance");
    if kit.is_dir() {
        return Some(kit);
    }
    eprintln!("skipped: the conformance kit is not here");
    None
}

/// A relay of the kit, which plays a scenario to each client.
pub struct FakeRelay {
    child: Child,
    folder: tempfile::TempDir,
}

impl FakeRelay {
    /// `None` without the kit or without Python.
    pub fn start(scenario: &str) -> Option<Self> {
        let kit = kit()?;
        let folder = tempfile::Builder::new().prefix("msb-t-").tempdir().unwrap();
        let mut command = Command::new("python3");
        command.arg(kit.join("fake_relay.py")).arg(scenario).arg(folder.path().join("s"));
        let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            eprintln!("skipped: there is no python3");
            return None;
        };
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Some(Self { child, folder })
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }
}

impl Drop for FakeRelay {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A relay in this process, whose guest answers each message as a test says.
pub struct TestRelay {
    folder: tempfile::TempDir,
    /// The messages of all clients, in order.
    pub received: Arc<Mutex<Vec<Message>>>,
}

/// The answers to a message: frames, which are sent at once.
pub type Answers = Vec<(Flags, Message)>;

impl TestRelay {
    pub fn start(answer: impl Fn(u32, &Message) -> Answers + Send + Sync + 'static) -> Self {
        let folder = tempfile::Builder::new().prefix("msb-t-").tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (received.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone(), answer.clone()));
            }
        });
        Self { folder, received }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// The numbers of the signals that were sent.
    pub fn signals(&self) -> Vec<i32> {
        let received = self.received.lock().unwrap();
        received
            .iter()
            .filter_map(|it| if let Message::ExecSignal(signal) = it { Some(signal.signal) } else { None })
            .collect()
    }
}

async fn serve(
    stream: UnixStream,
    received: Arc<Mutex<Vec<Message>>>,
    answer: Arc<impl Fn(u32, &Message) -> Answers + Send + Sync + 'static>,
) {
    let (mut reader, mut writer) = stream.into_split();
    let features = ["fs", "fs_tree"].map(str::to_owned).to_vec();
    let ready = Ready { boot_time_ns: 1, init_time_ns: 2, ready_time_ns: 3, agent_version: None, features };
    let ready = Message::from(ready).encode(LINK_ID).unwrap();
    let hello = [&16u32.to_be_bytes()[..], &100_000u32.to_be_bytes(), ready.as_bytes()].concat();
    writer.write_all(&hello).await.unwrap();
    let (mut decoder, mut buffer) = (FrameDecoder::new(), vec![0; 65536]);
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        decoder.feed(&buffer[..count]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            let message = Message::decode(&frame).unwrap();
            let answers = answer(frame.id(), &message);
            received.lock().unwrap().push(message);
            for (flags, answer) in answers {
                let frame: Frame = answer.encode_with(frame.id(), flags).unwrap();
                if writer.write_all(frame.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Answers with the usual flags.
pub fn usual<const N: usize>(messages: [Message; N]) -> Answers {
    messages.into_iter().map(|message| (message.usual_flags(), message)).collect()
}

/// Writes a shell script in place of `msb`.
pub fn fake_msb(folder: &Path, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("msb");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The image for tests with a VM; `None` unless `MSB` and `MSB_IMAGE` are set.
pub fn image() -> Option<String> {
    let image =
        std::env::var("MSB").and_then(|_| std::env::var("MSB_IMAGE")).ok().filter(|image| !image.is_empty());
    if image.is_none() {
        eprintln!("skipped: MSB and MSB_IMAGE are not set");
    }
    image
}

//! Commands and files over relays without a VM.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Answers, FakeRelay, TestRelay, usual};
use msb_sdk::agent::Flags;
use msb_sdk::{AgentClient, Client, Error, ExecEvent, List, LogQuery, Process, Sandbox, WriteOptions};
use protocol::latest::{
    ExecExited, ExecSignal, ExecStarted, ExecStdinAck, ExecStdout, FileAck, FileResponse, Message, Pong,
};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A guest whose commands print a word, and end only at a signal.
fn stubborn(ends_at: i32) -> impl Fn(u32, &Message) -> Answers + Send + Sync + 'static {
    move |_, message| match message {
        Message::ExecRequest(_) => {
            usual([ExecStarted { pid: 7 }.into(), ExecStdout { data: b"word\n".to_vec() }.into()])
        }
        Message::ExecSignal(ExecSignal { signal }) if *signal == ends_at => {
            usual([ExecExited { code: 128 + ends_at, signal: Some(ends_at) }.into()])
        }
        Message::Ping(_) => usual([Pong {}.into()]),
        _ => Vec::new(),
    }
}

async fn until(mut check: impl FnMut() -> bool) {
    let began = Instant::now();
    while !check() {
        assert!(began.elapsed() < Duration::from_secs(10), "it did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_dropped_call_ends_its_command() {
    let relay = TestRelay::start(stubborn(9));
    let agent = AgentClient::connect(relay.path()).await.unwrap();
    let exec = agent.exec("x", [""; 0]).grace(Duration::from_millis(50));
    assert!(tokio::time::timeout(Duration::from_millis(100), exec.into_future()).await.is_err());
    until(|| relay.signals() == [15, 9]).await;
    // The connection is usable.
    agent.ping().await.unwrap();
}

#[tokio::test]
async fn a_dropped_process_is_ended_unless_it_is_detached() {
    let relay = TestRelay::start(stubborn(15));
    let agent = AgentClient::connect(relay.path()).await.unwrap();
    let mut process = agent.exec("x", [""; 0]).start().await.unwrap();
    assert_eq!(process.stdout.next_line().await.unwrap().unwrap(), b"word\n");
    drop(process);
    until(|| relay.signals() == [15]).await;
    agent.exec("x", [""; 0]).start().await.unwrap().detach();
    agent.ping().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(relay.signals(), [15]);
    let process = agent.exec("x", [""; 0]).start().await.unwrap();
    assert_eq!(process.end().await.unwrap().signal, Some(15));
}

#[tokio::test]
async fn a_timeout_has_the_output_until_then() {
    let relay = TestRelay::start(stubborn(15));
    let agent = AgentClient::connect(relay.path()).await.unwrap();
    let timeout = Duration::from_millis(100);
    match agent.exec("x", [""; 0]).timeout(timeout).await {
        Err(Error::ExecTimeout(ended)) => {
            assert_eq!((ended.timeout, &ended.stdout[..]), (timeout, &b"word\n"[..]))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn wrong_arguments_are_refused_without_a_guest() {
    let relay = TestRelay::start(|_, _| Vec::new());
    let agent = AgentClient::connect(relay.path()).await.unwrap();
    for exec in [
        agent.exec("", [""; 0]),
        agent.exec("x", ["a\0b"]),
        agent.exec("x", [""; 0]).env("A=B", "1"),
        agent.exec("x", [""; 0]).tty(0, 80),
        agent.exec("x", [""; 0]).tty(24, 80).stdin("x"),
        agent.exec("x", [""; 0]).stdin_pipe(),
    ] {
        assert_eq!(exec.await.unwrap_err().code(), "invalid-argument");
    }
    assert_eq!(agent.fs().read("tmp").await.unwrap_err().code(), "invalid-argument");
    assert_eq!(agent.send(3, Flags::NONE, b"").await.unwrap_err().code(), "invalid-argument");
    assert!(matches!(agent.require("moon"), Err(Error::UnsupportedOperation(_))));
    agent.require("fs").unwrap();
    assert!(relay.received.lock().unwrap().is_empty());
}

/// Prints without end, whatever is acknowledged.
#[tokio::test]
async fn a_guest_that_ignores_its_window_is_refused() {
    let relay = TestRelay::start(|_, message| match message {
        Message::ExecRequest(_) => {
            let piece = Message::from(ExecStdout { data: vec![b'x'; 1024 * 1024] });
            let mut all = usual([ExecStarted { pid: 7 }.into()]);
            all.extend(std::iter::repeat_n((Flags::NONE, piece), 20));
            all
        }
        _ => Vec::new(),
    });
    let agent = AgentClient::connect(relay.path()).await.unwrap();
    let mut process = agent.exec("x", [""; 0]).start().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let error = loop {
        match process.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it has ended well"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "protocol-error");
    until(|| relay.signals() == [9]).await;
}

#[tokio::test]
async fn input_waits_for_the_command_and_streams_are_those_of_tokio() {
    // Reads nothing until the end of the input.
    let relay = TestRelay::start(|_, message| match message {
        Message::ExecRequest(_) => usual([ExecStarted { pid: 7 }.into()]),
        Message::ExecStdin(input) if input.data.is_empty() => usual([
            ExecStdout { data: b"all\nof".to_vec() }.into(),
            ExecStdout { data: b" it".to_vec() }.into(),
            ExecExited::with_code(0).into(),
        ]),
        _ => Vec::new(),
    });
    let agent = AgentClient::connect(relay.path()).await.unwrap();
    let mut process = agent.exec("x", [""; 0]).stdin_pipe().start().await.unwrap();
    let mut input = process.stdin.take().unwrap();
    let window = vec![0; protocol::latest::STDIN_WINDOW_BYTES];
    input.write(&window).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), input.write("x")).await.is_err());
    AsyncWriteExt::shutdown(&mut input).await.unwrap();
    assert_eq!(input.write("x").await.unwrap_err().code(), "stdin-closed");
    assert_eq!(process.stdout.next_line().await.unwrap().unwrap(), b"all\n");
    let mut rest = String::new();
    process.stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "of it");
    assert_eq!(process.wait().await.unwrap().exit_code, 0);
}

#[tokio::test]
async fn a_cancelled_line_is_not_lost() {
    let relay = TestRelay::start(|_, message| match message {
        Message::ExecRequest(_) => {
            usual([ExecStarted { pid: 7 }.into(), ExecStdout { data: b"half".to_vec() }.into()])
        }
        Message::ExecSignal(_) => {
            usual([ExecStdout { data: b" line\n".to_vec() }.into(), ExecExited::with_code(0).into()])
        }
        _ => Vec::new(),
    });
    let agent = AgentClient::connect(relay.path()).await.unwrap();
    let mut process = agent.exec("x", [""; 0]).start().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), process.stdout.next_line()).await.is_err());
    process.signal(10).await.unwrap();
    assert_eq!(process.stdout.next_line().await.unwrap().unwrap(), b"half line\n");
    assert_eq!(process.next().await.unwrap(), Some(ExecEvent::Exited(process.status().unwrap())));
}

/// Acknowledges input and data of files, and completes a file at its end.
fn files(_: u32, message: &Message) -> Answers {
    match message {
        Message::FileData(data) if data.data.is_empty() => usual([FileResponse::done().into()]),
        Message::FileRequest(request) if request.data.is_some() => usual([FileResponse::done().into()]),
        Message::FileData(_) => usual([FileAck { frames: u64::MAX }.into()]),
        Message::ExecStdin(input) => usual([ExecStdinAck { bytes: input.data.len() as u64 }.into()]),
        _ => Vec::new(),
    }
}

fn completed(relay: &TestRelay) -> bool {
    let received = relay.received.lock().unwrap();
    received.iter().any(|message| match message {
        Message::FileData(data) => data.data.is_empty(),
        Message::FileRequest(request) => request.data.is_some(),
        _ => false,
    })
}

#[tokio::test]
async fn a_dropped_writer_abandons_its_file() {
    let relay = TestRelay::start(files);
    let agent = AgentClient::connect(relay.path()).await.unwrap();
    for bytes in [1, 1_000_000] {
        let mut writer = agent.fs().write_stream("/x", WriteOptions::default()).await.unwrap();
        writer.write(vec![b'x'; bytes]).await.unwrap();
        drop(writer);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!completed(&relay));
    }
    let mut writer = agent.fs().write_stream("/x", WriteOptions::default()).await.unwrap();
    writer.write(vec![b'x'; 1_000_000]).await.unwrap();
    writer.close().await.unwrap();
    assert!(completed(&relay));
}

#[tokio::test]
async fn a_closed_client_says_so() {
    let relay = TestRelay::start(stubborn(15));
    let agent = AgentClient::connect(relay.path()).await.unwrap();
    let process = agent.exec("x", [""; 0]).start().await.unwrap();
    agent.close().await;
    assert!(matches!(process.wait().await, Err(Error::Closed(_))));
    assert!(matches!(agent.ping().await, Err(Error::Closed(_))));
    assert!(matches!(agent.exec("x", [""; 0]).await, Err(Error::Closed(_))));
    assert!(matches!(agent.fs().read("/x").await, Err(Error::Closed(_))));
}

#[tokio::test]
async fn a_thousand_commands_share_one_connection() {
    let relay = TestRelay::start(|_, message| match message {
        Message::ExecRequest(_) => usual([ExecStarted { pid: 7 }.into(), ExecExited::with_code(3).into()]),
        _ => Vec::new(),
    });
    let agent = AgentClient::connect(relay.path()).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        tasks.spawn(agent.exec("x", [""; 0]).into_future());
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.unwrap().unwrap().exit_code(), 3);
    }
}

/// Compiles only if the calls can be spawned on a runtime with threads.
#[allow(dead_code)]
fn calls_are_send(agent: &AgentClient, client: &Client, sandbox: &mut Sandbox, process: &mut Process) {
    fn check(_: impl Send) {}
    let fs = agent.fs();
    check(fs.copy_from_host("a", "/b"));
    check(fs.copy_to_host("/a", "b"));
    check(fs.read_stream("/a"));
    check(agent.request(Flags::NONE, b""));
    check(client.sandbox("a", "b").connect_or_create());
    check(client.list(List::new()));
    check(sandbox.wait());
    check(sandbox.logs(&LogQuery::new()));
    check(process.next());
    check(process.end());
}

#[tokio::test]
async fn the_scenarios_of_the_kit_end_as_they_say() {
    for (scenario, expected) in [
        ("plain", None),
        ("tag-64", None),
        ("split", None),
        ("close-mid-stream", Some("connection-lost")),
        ("too-large", Some("invalid-frame")),
        ("exec-failed", Some("exec-failed")),
        ("malformed", Some("protocol-error")),
    ] {
        let Some(relay) = FakeRelay::start(scenario) else { return };
        let agent = AgentClient::connect(relay.path()).await.unwrap();
        let ended = agent.exec("x", [""; 0]).await;
        assert_eq!(ended.as_ref().err().map(Error::code), expected, "{scenario}: {ended:?}");
    }
    for (scenario, code) in [("refused", "handshake-failed"), ("silent", "timed-out")] {
        let Some(relay) = FakeRelay::start(scenario) else { return };
        let connected = AgentClient::connect_with_timeout(relay.path(), Duration::from_millis(500)).await;
        assert_eq!(connected.unwrap_err().code(), code);
    }
}

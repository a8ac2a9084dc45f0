//! Both tiers against relays that behave, and relays that do not.

use super::*;
use protocol::frame::{Flags, Frame, LINK_ID};
use protocol::latest::{
    ErrorKind, ErrorReport, ExecExited, ExecRequest, ExecSignal, ExecStarted, ExecStdout, Message, Pong,
    Ready,
};
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

fn ready() -> Frame {
    let ready = Ready {
        boot_time_ns: 1,
        init_time_ns: 2,
        ready_time_ns: 3,
        agent_version: Some("1.2.3".to_owned()),
        features: Vec::new(),
    };
    Message::from(ready).encode(LINK_ID).unwrap()
}

fn greeting(start: u32, end: u32, first: &Frame) -> Vec<u8> {
    [&start.to_be_bytes()[..], &end.to_be_bytes(), first.as_bytes()].concat()
}

/// Runs a test beside a relay that does this with its one client.
fn beside(relay: impl AsyncFnOnce(UnixStream) + 'static, test: impl AsyncFnOnce(PathBuf)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&event_loop, async {
        let listener = UnixListener::bind(&path).unwrap();
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            relay(stream).await;
        });
        test(path).await;
    });
}

/// A relay that only says this, and then waits for the client to leave.
fn says(bytes: Vec<u8>) -> impl AsyncFnOnce(UnixStream) {
    async move |mut stream| {
        stream.write_all(&bytes).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

#[test]
fn the_handshake_is_taken_byte_by_byte() {
    let relay = async |mut stream: UnixStream| {
        for byte in greeting(5, 9, &ready()) {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    beside(relay, async |path| {
        let client = RawAgentClient::connect(&path).await.unwrap();
        assert_eq!((client.ids(), client.ready_bytes()), (5..9, ready().as_bytes()));
    });
    beside(says(greeting(5, 9, &ready())), async |path| {
        let client = AgentClient::connect(&path).await.unwrap();
        assert_eq!(client.ready().agent_version.as_deref(), Some("1.2.3"));
        assert_eq!(client.ready_bytes(), ready().as_bytes());
    });
}

#[test]
fn greetings_that_are_none_are_told_apart() {
    let report = ErrorReport {
        kind: ErrorKind::Unavailable,
        message: "all 128 places for clients are taken".to_owned(),
        message_type: None,
    };
    let full = Message::from(report).encode_with(LINK_ID, Flags::TERMINAL).unwrap();
    let stranger = Message::from(Pong {}).encode(LINK_ID).unwrap();
    for (bytes, why) in [
        (greeting(0, 0, &full), "all 128 places"),
        (greeting(0, 0, &ready()), "none"),
        (greeting(7, 7, &ready()), "none"),
        (greeting(0, 9, &ready()), "none"),
        (greeting(5, 9, &stranger), "core.pong"),
    ] {
        beside(says(bytes), async |path| match AgentClient::connect(&path).await {
            Err(AgentError::Handshake { why: said }) => assert!(said.contains(why), "{said}"),
            other => panic!("{other:?}"),
        });
    }
    beside(says(greeting(5, 9, &ready())[..12].to_vec()), async |path| {
        let ended = AgentClient::connect_with_timeout(&path, Duration::from_millis(50)).await;
        assert!(matches!(ended, Err(AgentError::Connect { .. })), "{ended:?}");
    });
    beside(
        async |stream| drop(stream),
        async |path| {
            let ended = AgentClient::connect(&path).await;
            assert!(matches!(ended, Err(AgentError::Handshake { .. })), "{ended:?}");
        },
    );
    beside(says([&[0; 8][..], &[0, 0, 0, 1]].concat()), async |path| {
        let ended = AgentClient::connect(&path).await;
        assert!(matches!(ended, Err(AgentError::InvalidPacket { .. })), "{ended:?}");
    });
    beside(says(Vec::new()), async |path| {
        let ended = AgentClient::connect(&path.with_file_name("nothing")).await;
        assert!(matches!(ended, Err(AgentError::SandboxNotFound { .. })), "{ended:?}");
    });
}

/// Answers each frame by two: the same body, then the same again as the last one.
async fn echo(mut stream: UnixStream) {
    stream.write_all(&greeting(5, 8, &ready())).await.unwrap();
    let (mut decoder, mut buffer) = (protocol::frame::FrameDecoder::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        decoder.feed(&buffer[..count]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            for flags in [Flags::NONE, Flags::TERMINAL] {
                let answer = Frame::new(frame.id(), flags, frame.body()).unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    }
}

#[test]
fn raw_streams_get_their_own_frames_until_the_last_one() {
    beside(echo, async |path: PathBuf| {
        let client = RawAgentClient::connect(&path).await.unwrap();
        let mut one = client.stream(Flags::SESSION_START, b"one").await.unwrap();
        let mut two = client.stream(Flags::SESSION_START, b"two").await.unwrap();
        assert_eq!((one.id(), two.id()), (5, 6));
        for (stream, body) in [(&mut two, b"two"), (&mut one, b"one")] {
            for flags in [Flags::NONE, Flags::TERMINAL] {
                let frame = stream.next().await.unwrap().unwrap();
                assert_eq!((frame.body(), frame.flags()), (&body[..], flags));
            }
            assert_eq!(stream.next().await.unwrap(), None);
        }
        assert_eq!(client.request(Flags::NONE, b"three").await.unwrap().body(), b"three");
        let ended = client.request(Flags::NONE, b"four").await;
        assert!(matches!(ended, Err(AgentError::IdRangeExhausted)), "{ended:?}");
        client.close().await;
        let ended = client.send(5, Flags::NONE, b"x").await;
        assert!(matches!(ended, Err(AgentError::Closed)), "{ended:?}");
    });
}

#[test]
fn a_relay_that_ends_or_talks_nonsense_is_distinguished() {
    for (last_words, is_nonsense) in [(&[][..], false), (&[0, 0, 0, 1], true)] {
        let relay = async move |mut stream: UnixStream| {
            stream.write_all(&greeting(5, 9, &ready())).await.unwrap();
            stream.read_exact(&mut [0; 9]).await.unwrap();
            stream.write_all(last_words).await.unwrap();
        };
        beside(relay, async |path: PathBuf| {
            let client = RawAgentClient::connect(&path).await.unwrap();
            match client.request(Flags::NONE, b"").await {
                Err(AgentError::InvalidPacket { .. }) if is_nonsense => {}
                Err(AgentError::ReaderClosed) if !is_nonsense => {}
                other => panic!("{other:?}"),
            }
            // Later requests end too.
            assert!(client.stream(Flags::NONE, b"").await.is_err() || is_closed(&client).await);
        });
    }
}

#[test]
fn a_cancelled_send_leaves_the_connection_usable() {
    // Reads nothing for a while, so that large frames wait, and then echoes all of them.
    let relay = async |mut stream: UnixStream| {
        stream.write_all(&greeting(5, 1000, &ready())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (mut decoder, mut buffer) = (protocol::frame::FrameDecoder::new(), vec![0; 1 << 20]);
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            decoder.feed(&buffer[..count]);
            while let Some(frame) = decoder.next_frame().unwrap() {
                let answer = Frame::new(frame.id(), Flags::TERMINAL, &frame.body()[..1]).unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    };
    beside(relay, async |path: PathBuf| {
        let client = RawAgentClient::connect(&path).await.unwrap();
        let large = vec![b'l'; 3 << 20];
        let mut cancelled = 0;
        for _ in 0..8 {
            let send = client.stream(Flags::SESSION_START, &large);
            cancelled += usize::from(tokio::time::timeout(Duration::from_millis(5), send).await.is_err());
        }
        assert!(cancelled > 0);
        assert_eq!(client.request(Flags::SESSION_START, b"small").await.unwrap().body(), b"s");
    });
}

#[test]
fn the_reason_of_the_relay_is_kept() {
    let relay = async |mut stream: UnixStream| {
        stream.write_all(&greeting(5, 9, &ready())).await.unwrap();
        let report = ErrorReport {
            kind: ErrorKind::Unavailable,
            message: "the client reads too slowly".to_owned(),
            message_type: None,
        };
        let last = Message::from(report).encode_with(LINK_ID, Flags::TERMINAL).unwrap();
        stream.write_all(last.as_bytes()).await.unwrap();
    };
    beside(relay, async |path: PathBuf| {
        let client = RawAgentClient::connect(&path).await.unwrap();
        let ended = client.request(Flags::NONE, b"").await;
        assert!(matches!(ended, Err(AgentError::ReaderClosed)), "{ended:?}");
        assert_eq!(client.reported_error().unwrap().message, "the client reads too slowly");
        assert!(client.has_ended());
    });
}

async fn is_closed(client: &RawAgentClient) -> bool {
    let mut stream = match client.stream(Flags::NONE, b"").await {
        Ok(stream) => stream,
        Err(_) => return true,
    };
    let waited = tokio::time::timeout(Duration::from_secs(5), stream.next()).await;
    matches!(waited, Ok(Err(_)))
}

#[test]
fn a_sandbox_is_found_by_the_hash_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let home = executor_host::home::Home::open(folder.path().to_owned()).unwrap();
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = event_loop.block_on(AgentClient::connect_sandbox(&home, "web"));
    // The first 12 bytes of SHA-256("web").
    let expected = folder.path().join("run/sandboxes/4b5e57f6eb2f42b9039b3d1e/agent.sock");
    match ended {
        Err(AgentError::SandboxNotFound { path }) => assert_eq!(path, expected),
        other => panic!("{other:?}"),
    }
}

/// Starts a command that prints a word and goes on until it is killed.
async fn stubborn(mut stream: UnixStream) {
    stream.write_all(&greeting(5, 9, &ready())).await.unwrap();
    let (mut decoder, mut buffer) = (protocol::frame::FrameDecoder::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        decoder.feed(&buffer[..count]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            let answer: Message = match Message::decode(&frame).unwrap() {
                Message::ExecRequest(_) => ExecStdout { data: b"word".to_vec() }.into(),
                Message::ExecSignal(ExecSignal { signal: 9 }) => ExecExited::with_code(137).into(),
                _ => continue,
            };
            stream.write_all(answer.encode(frame.id()).unwrap().as_bytes()).await.unwrap();
        }
    }
}

#[test]
fn a_command_whose_time_is_over_is_killed_and_the_client_goes_on() {
    beside(stubborn, async |path: PathBuf| {
        let mut client = AgentClient::connect(&path).await.unwrap();
        for _ in 0..2 {
            let mut received = Vec::new();
            let request = ExecRequest::command(&["sleep".to_owned()]);
            let time = Duration::from_millis(20);
            let ended = client.exec_with_timeout(request, time, |piece| received.push(piece)).await.unwrap();
            assert_eq!((ended, received), (Ended::TimedOut, vec![Output::Stdout(b"word".to_vec())]));
        }
    });
}

/// A relay whose guest answers the first session with these messages and nothing else.
fn falls_silent(answers: Vec<Message>) -> impl AsyncFnOnce(UnixStream) {
    async move |mut stream| {
        let mut bytes = greeting(5, 9, &ready());
        for answer in answers {
            bytes.extend(answer.encode(5).unwrap().into_bytes());
        }
        stream.write_all(&bytes).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

#[test]
fn a_guest_that_does_not_start_a_command_is_given_up() {
    beside(falls_silent(Vec::new()), async |path| {
        let mut client = AgentClient::connect(&path).await.unwrap();
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let ended = client.exec(ExecRequest::command(&["true".into()]), |_| {}).await;
        assert!(matches!(ended, Err(AgentError::Unresponsive(_))), "{ended:?}");
        assert_eq!(began.elapsed().as_secs(), crate::deadline::START_TIMEOUT.as_secs());
    });
}

#[test]
fn a_command_that_has_started_may_take_its_time_and_no_longer_than_its_limit() {
    let started = || vec![ExecStarted { pid: 7 }.into()];
    let day = Duration::from_secs(86_400);
    beside(falls_silent(started()), async move |path| {
        let mut client = AgentClient::connect(&path).await.unwrap();
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        // A guest that does not even tell of the end of what was killed.
        let command = ExecRequest::command(&["sleep".into()]);
        let ended = client.exec_with_timeout(command, day, |_| {}).await.unwrap();
        assert_eq!(ended, Ended::TimedOut);
        let waited = began.elapsed() - day;
        assert_eq!(waited.as_secs(), crate::deadline::SIGNAL_TIMEOUT.as_secs());
    });
    // Without a limit of its own it may take for ever.
    beside(falls_silent(started()), async move |path| {
        let mut client = AgentClient::connect(&path).await.unwrap();
        tokio::time::pause();
        let command = client.exec(ExecRequest::command(&["sleep".into()]), |_| {});
        assert!(tokio::time::timeout(day, command).await.is_err());
    });
}

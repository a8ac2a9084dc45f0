//! The relay with 128 clients, one too many, and some that do not behave, over a guest that only echoes.

use super::*;
use crate::supervisor::agent_link::exec_logger::ExecLogger;
use crate::supervisor::agent_link::jobs::JobKind;
use executor_client::agent::{AgentClient, AgentError, RawAgentClient};
use protocol::frame::FrameDecoder;
use protocol::latest::{
    ClientDisconnected, ExecRequest, ExecSignal, ExecStarted, ExecStdin, ExecStdout, JobAttach, JobAttached,
    Pong, Ready,
};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// The guest's received notices, and its behaviour.
#[derive(Default)]
struct Guest {
    gone: RefCell<Vec<(u32, u32)>>,
    /// It answers no ping: the last owner's frames count as on their way.
    is_deaf: Cell<bool>,
}

/// The size of a piece of a flood: larger than a socket's buffer, so that a frame is cut.
const PIECE_BYTES: usize = 1024 * 1024;
/// The pieces of a flood: twice a client's queue.
const PIECES: usize = 32;

/// No test takes this long, on a busy machine or by a clock that is set forward.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Sends each frame back; for one whose body begins with `flood` a flood of others.
async fn echo(mut stream: UnixStream, guest: Rc<Guest>) {
    let (mut decoder, mut buffer) = (FrameDecoder::new(), vec![0; 64 * 1024]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        decoder.feed(&buffer[..count]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            match Message::decode(&frame) {
                Ok(Message::ClientDisconnected(ClientDisconnected { id_start, id_end_exclusive })) => {
                    guest.gone.borrow_mut().push((id_start, id_end_exclusive));
                }
                Ok(Message::Ping(_)) => {
                    if !guest.is_deaf.get() {
                        let pong = Message::from(Pong {}).encode(frame.id()).unwrap();
                        stream.write_all(pong.as_bytes()).await.unwrap();
                    }
                }
                _ if frame.body().starts_with(b"flood") => {
                    let piece = Frame::new(frame.id(), Flags::NONE, &vec![7; PIECE_BYTES]).unwrap();
                    for _ in 0..PIECES {
                        stream.write_all(piece.as_bytes()).await.unwrap();
                    }
                }
                _ => {
                    let answer = Frame::new(frame.id(), Flags::TERMINAL, frame.body()).unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        }
    }
}

struct World {
    path: PathBuf,
    guest: Rc<Guest>,
    ready: watch::Sender<Option<ReadyGuest>>,
    guest_task: tokio::task::JoinHandle<()>,
}

fn with_relay(test: impl AsyncFnOnce(World)) {
    let folder = tempfile::tempdir().unwrap();
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&event_loop, async {
        let path = folder.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (ready, guests) = watch::channel(None);
        tokio::task::spawn_local(serve(listener, guests));
        let (guest, guest_task) = boot(folder.path(), &ready);
        let tested = test(World { path, guest, ready, guest_task });
        tokio::time::timeout(TIMEOUT, tested).await.expect("the test ends in time");
    });
}

/// A guest that comes up.
fn boot(
    folder: &Path,
    ready: &watch::Sender<Option<ReadyGuest>>,
) -> (Rc<Guest>, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let guest = Rc::new(Guest::default());
    let task = tokio::task::spawn_local(echo(theirs, guest.clone()));
    let exec_log =
        Rc::new(RefCell::new(ExecLogger::open(folder, executor_log::Rotation::default()).unwrap()));
    let (events, _) = mpsc::channel(16);
    let link = Link::start(ours, exec_log, events);
    ready.send_replace(Some(ReadyGuest { link, ready: ready_frame(), has_clock: false }));
    (guest, task)
}

fn ready_frame() -> Frame {
    let ready = Ready {
        boot_time_ns: 1,
        init_time_ns: 2,
        ready_time_ns: 3,
        agent_version: None,
        features: Vec::new(),
    };
    Message::from(ready).encode(LINK_ID).unwrap()
}

/// Everything that the relay still says, up to its end.
async fn last_words(mut stream: UnixStream) -> Vec<Frame> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let mut decoder = FrameDecoder::new();
    decoder.feed(&bytes);
    let frames = std::iter::from_fn(|| decoder.next_frame().unwrap()).collect();
    assert_eq!(decoder.pending_bytes(), 0, "it ended in the middle of a frame");
    frames
}

/// The reason in a last frame.
fn reason(frames: &[Frame]) -> (ErrorKind, String) {
    let last = frames.last().expect("some last word");
    assert_eq!((last.id(), last.flags()), (LINK_ID, Flags::TERMINAL));
    match Message::decode(last).unwrap() {
        Message::Error(report) => (report.kind, report.message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_greeting_has_the_documented_bytes() {
    with_relay(async |world| {
        for slot in [0u32, 1] {
            let mut stream = UnixStream::connect(&world.path).await.unwrap();
            let mut bytes = vec![0; 8 + ready_frame().as_bytes().len()];
            stream.read_exact(&mut bytes).await.unwrap();
            let start = 1 + slot * 33_554_431;
            let (begin, end) = (start.to_be_bytes(), (start + 33_554_431).to_be_bytes());
            assert_eq!(bytes, [&begin[..], &end, ready_frame().as_bytes()].concat());
            std::mem::forget(stream);
        }
    });
}

#[test]
fn of_129_clients_each_hears_its_own_and_the_last_one_is_refused() {
    with_relay(async |world| {
        let mut clients = Vec::new();
        for _ in 0..CLIENT_SLOTS {
            clients.push(Rc::new(RawAgentClient::connect(&world.path).await.unwrap()));
        }
        match RawAgentClient::connect(&world.path).await {
            Err(AgentError::Handshake { why }) => assert_eq!(why, "all 128 places for clients are taken"),
            other => panic!("{other:?}"),
        }
        // All at once, many times: each client receives its own answers.
        let talks = clients.iter().enumerate().map(|(number, client)| {
            let client = client.clone();
            tokio::task::spawn_local(async move {
                for turn in 0..50 {
                    let body = format!("client {number} turn {turn}");
                    let answer = client.request(Flags::SESSION_START, body.as_bytes()).await.unwrap();
                    assert!(client.ids().contains(&answer.id()));
                    assert_eq!(answer.body(), body.as_bytes());
                }
            })
        });
        for talk in talks.collect::<Vec<_>>() {
            talk.await.unwrap();
        }
        // All leave at once, and their places are free again.
        drop(clients);
        for _ in 0..CLIENT_SLOTS {
            let client = loop {
                match RawAgentClient::connect(&world.path).await {
                    Ok(client) => break client,
                    Err(AgentError::Handshake { .. }) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            };
            assert_eq!(client.request(Flags::NONE, b"x").await.unwrap().body(), b"x");
            std::mem::forget(client);
        }
        assert_eq!(world.guest.gone.borrow().len(), CLIENT_SLOTS);
    });
}

#[test]
fn a_client_that_breaks_the_protocol_is_disconnected_with_a_reason() {
    with_relay(async |world| {
        let foreign = Frame::new(u32::MAX - 5, Flags::NONE, b"").unwrap();
        let link = Frame::new(LINK_ID, Flags::SHUTDOWN, b"").unwrap();
        for (bytes, kind, says) in [
            (foreign.as_bytes(), ErrorKind::WrongSession, "is not one of yours"),
            (link.as_bytes(), ErrorKind::WrongSession, "the id 0"),
            (&[0, 0, 0, 2, 0, 0], ErrorKind::Malformed, "shorter"),
            (&[0xff, 0xff, 0xff, 0xff], ErrorKind::Malformed, "larger"),
        ] {
            let mut stream = UnixStream::connect(&world.path).await.unwrap();
            stream.read_exact(&mut vec![0; 8 + ready_frame().as_bytes().len()]).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let (found, message) = reason(&last_words(stream).await);
            assert_eq!(found, kind);
            assert!(message.contains(says), "{message}");
        }
        // Other clients are not affected.
        let client = RawAgentClient::connect(&world.path).await.unwrap();
        assert_eq!(client.request(Flags::NONE, b"x").await.unwrap().body(), b"x");
    });
}

#[test]
fn a_client_that_does_not_read_delays_nobody_and_is_sent_away() {
    with_relay(async |world| {
        let mut lazy = UnixStream::connect(&world.path).await.unwrap();
        lazy.read_exact(&mut vec![0; 8 + ready_frame().as_bytes().len()]).await.unwrap();
        let other = RawAgentClient::connect(&world.path).await.unwrap();
        let ids = client_ids(0);
        lazy.write_all(Frame::new(ids.start, Flags::SESSION_START, b"flood").unwrap().as_bytes())
            .await
            .unwrap();
        for turn in 0..200u32 {
            let answer = other.request(Flags::NONE, &turn.to_be_bytes()).await.unwrap();
            assert_eq!(answer.body(), turn.to_be_bytes());
        }
        // Only half of the flood may wait.
        while world.guest.gone.borrow().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(*world.guest.gone.borrow(), [(ids.start, ids.end)]);
        // Whole frames only, and then why.
        let frames = last_words(lazy).await;
        assert!(frames.len() > 1 && frames.len() < PIECES / 2, "{} frames", frames.len());
        assert!(frames[..frames.len() - 1].iter().all(|frame| frame.body().len() == PIECE_BYTES));
        let (kind, message) = reason(&frames);
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(message.contains("you do not read"), "{message}");
    });
}

#[test]
fn ids_are_not_given_away_while_frames_may_be_on_their_way_and_the_place_is_after_a_while() {
    with_relay(async |world| {
        world.guest.is_deaf.set(true);
        let first = RawAgentClient::connect(&world.path).await.unwrap();
        assert_eq!(first.ids(), client_ids(0));
        for _ in 0..3 {
            first.request(Flags::NONE, b"x").await.unwrap();
        }
        drop(first);
        while world.guest.gone.borrow().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let second = RawAgentClient::connect(&world.path).await.unwrap();
        assert_eq!(second.ids(), client_ids(1), "the guest has not said that it is done with the first");
        // From here on time advances whenever all tasks wait.
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(20)).await;
        let third = RawAgentClient::connect(&world.path).await.unwrap();
        let ids = client_ids(0);
        assert_eq!(third.ids(), ids.start + 3..ids.end, "those of the first may still come");
        assert_eq!(third.request(Flags::NONE, b"mine").await.unwrap().body(), b"mine");
        // A guest that answers again is done with all of them.
        world.guest.is_deaf.set(false);
        drop(third);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let fourth = RawAgentClient::connect(&world.path).await.unwrap();
        assert_eq!(fourth.ids(), ids);
    });
}

#[test]
fn more_clients_than_places_leave_a_guest_that_says_nothing_to_that() {
    with_relay(async |world| {
        world.guest.is_deaf.set(true);
        tokio::time::pause();
        for _ in 0..2 {
            let mut clients = Vec::new();
            for _ in 0..CLIENT_SLOTS {
                let client = RawAgentClient::connect(&world.path).await.unwrap();
                assert_eq!(client.request(Flags::NONE, b"x").await.unwrap().body(), b"x");
                clients.push(client);
            }
            drop(clients);
            tokio::time::sleep(Duration::from_secs(15)).await;
        }
    });
}

#[test]
fn a_client_that_waits_for_a_boot_in_vain_is_reported() {
    with_relay(async |world| {
        world.ready.send_replace(None);
        // One that leaves meanwhile keeps no place.
        for _ in 0..2 * CLIENT_SLOTS {
            drop(UnixStream::connect(&world.path).await.unwrap());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::pause();
        let mut stream = UnixStream::connect(&world.path).await.unwrap();
        let mut range = [1; 8];
        // At least as long as a boot may take.
        let waiting = tokio::time::Instant::now();
        stream.read_exact(&mut range).await.unwrap();
        assert_eq!(range, [0; 8]);
        assert!(waiting.elapsed() > BOOT_TIMEOUT);
        let (kind, message) = reason(&last_words(stream).await);
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(message.contains("did not come up"), "{message}");
    });
}

#[test]
fn a_guest_that_dies_keeps_no_place() {
    with_relay(async |world| {
        let clients: Vec<_> = {
            let mut clients = Vec::new();
            for _ in 0..CLIENT_SLOTS {
                clients.push(RawAgentClient::connect(&world.path).await.unwrap());
            }
            clients
        };
        world.guest.is_deaf.set(true);
        world.guest_task.abort();
        world.ready.send_replace(None);
        for client in &clients {
            let ended = client.request(Flags::NONE, b"x").await;
            assert!(matches!(ended, Err(AgentError::ReaderClosed | AgentError::Closed)), "{ended:?}");
        }
        // The next guest has all places.
        let folder = tempfile::tempdir().unwrap();
        let _guest = boot(folder.path(), &world.ready);
        let mut successors = Vec::new();
        while successors.len() < CLIENT_SLOTS {
            match RawAgentClient::connect(&world.path).await {
                Ok(client) => successors.push(client),
                Err(AgentError::Handshake { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(error) => panic!("{error}"),
            }
        }
    });
}

/// The guest echoes frames as last ones, so the first input that reaches the job's session ends the job.
#[test]
fn a_client_is_attached_to_a_job_by_the_relay() {
    with_relay(async |world| {
        let link = world.ready.borrow().as_ref().unwrap().link.clone();
        let command = ExecRequest::command(&["sh".to_owned()]);
        let (job, _) = link.begin_job(command, JobKind::Detached { stdin: true }).unwrap();
        job.receive(ExecStarted { pid: 7 }.into(), false);
        job.receive(ExecStdout { data: b"before".to_vec() }.into(), false);
        let number = job.number();
        let (mut sender, mut receiver) = AgentClient::connect(&world.path).await.unwrap().into_split();
        let attach = |job| JobAttach { job, rows: 0, cols: 0 }.into();
        let (id, wrong) = (sender.next_id().unwrap(), sender.next_id().unwrap());
        sender.send(wrong, &attach(number + 1)).await.unwrap();
        sender.send(id, &attach(number)).await.unwrap();
        let (refused, Message::Error(report)) = receiver.next().await.unwrap().unwrap() else { panic!() };
        assert_eq!((refused, report.message), (wrong, format!("there is no job {}", number + 1)));
        let attached = JobAttached { pid: 7, tty: false, stdin: true };
        assert_eq!(receiver.next().await.unwrap(), Some((id, attached.into())));
        let before = ExecStdout { data: b"before".to_vec() };
        assert_eq!(receiver.next().await.unwrap(), Some((id, before.into())));
        // A client that leaves does not end the job.
        let (mut other, _receiver) = AgentClient::connect(&world.path).await.unwrap().into_split();
        let others = other.next_id().unwrap();
        other.send(others, &attach(number)).await.unwrap();
        while job.report().unwrap().attached < 2 {
            tokio::task::yield_now().await;
        }
        drop((other, _receiver));
        while job.report().unwrap().attached > 1 {
            tokio::task::yield_now().await;
        }
        // A signal that does not exist does not reach the guest.
        sender.send(id, &ExecSignal { signal: 900 }.into()).await.unwrap();
        sender.send(id, &ExecStdin { data: b"typed".to_vec() }.into()).await.unwrap();
        let (ended, Message::Error(report)) = receiver.next().await.unwrap().unwrap() else { panic!() };
        assert_eq!((ended, report.message.as_str()), (id, "the sandbox ended before the job did"));
        // Later frames of the session are the guest's.
        let more = Message::from(ExecStdin { data: b"more".to_vec() });
        sender.send(id, &more).await.unwrap();
        assert_eq!(receiver.next().await.unwrap(), Some((id, more)));
        sender.send(id, &attach(number)).await.unwrap();
        assert!(matches!(receiver.next().await.unwrap(), Some((_, Message::Error(_)))));
    });
}

/// A request that is no valid one is answered by the guest's agent.
#[test]
fn an_invalid_request_to_attach_is_left_to_the_guest() {
    with_relay(async |world| {
        let client = RawAgentClient::connect(&world.path).await.unwrap();
        for body in [&b"\xff"[..], b"\xa3av\x01atocore.job.attachap\x41\xff"] {
            let answer = client.request(Flags::SESSION_START, body).await.unwrap();
            assert_eq!(answer.body(), body);
        }
    });
}

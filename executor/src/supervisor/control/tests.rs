//! The control socket as a server, beside a guest that takes everything and answers nothing.

use super::*;
use crate::supervisor::agent_link::exec_logger::ExecLogger;
use crate::supervisor::agent_link::link::{LINK_EVENTS, Link};
use crate::supervisor::testing::Sandbox;
use executor_client::control::ControlClient;
use executor_client::jobs::{JobState, JobsClient, JobsError};
use executor_host::state::Phase;
use executor_log::Rotation;
use protocol::frame::{Flags, Frame, FrameDecoder, LINK_ID};
use protocol::latest::{ExecExited, ExecRequest, ExecStarted, Pong};
use std::cell::RefCell;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// No test takes this long, on a busy machine either.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A supervisor without a machine.
struct World {
    socket: PathBuf,
    store: Rc<StateStore>,
    guest: watch::Sender<Option<ReadyGuest>>,
    /// The guest's end of the link.
    stream: UnixStream,
}

/// Runs a test on a thread of its own: one that is blocked for good is a failure, and not the end of all tests.
fn with_server(test: impl AsyncFnOnce(World) + Send + 'static) {
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let root = tempfile::tempdir().unwrap();
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&event_loop, async {
            let sandbox = Sandbox::new(|_| {});
            let store = sandbox.store.clone();
            let socket = root.path().join("control.sock");
            let (ours, stream) = UnixStream::pair().unwrap();
            let exec_log = ExecLogger::open(root.path(), Rotation::default()).unwrap();
            let (events, _events) = mpsc::channel(LINK_EVENTS);
            let link = Link::start(ours, Rc::new(RefCell::new(exec_log)), events);
            let ready = Frame::new(LINK_ID, Flags::NONE, b"").unwrap();
            let (guest, guests) = watch::channel(Some(ReadyGuest { link, ready, has_clock: false }));
            let listener = UnixListener::bind(&socket).unwrap();
            tokio::task::spawn_local(serve(listener, store.clone(), guests));
            test(World { socket, store, guest, stream }).await;
        });
        let _ = done.send(());
    });
    match finished.recv_timeout(TIMEOUT) {
        Ok(()) => {}
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("the supervisor's thread is blocked"),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => panic!("the test failed on its thread"),
    }
}

async fn hear_a_frame(stream: &mut UnixStream) {
    let (mut decoder, mut buffer) = (FrameDecoder::new(), [0; 4096]);
    while decoder.next_frame().unwrap().is_none() {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the link is closed");
        decoder.feed(&buffer[..count]);
    }
}

fn exec() -> Request {
    Request::Exec { command: Box::new(ExecRequest::command(&["true".to_owned()])), stdin: false }
}

#[test]
fn a_kill_is_carried_out_while_a_guest_does_not_start_a_command() {
    with_server(async |World { socket, store, guest, mut stream }| {
        let path = socket.clone();
        let pending = tokio::task::spawn_local(async move {
            let mut client = ControlClient::connect(&path).await.unwrap();
            client.ask(&exec()).await
        });
        hear_a_frame(&mut stream).await;
        // What the machine's task does on a request to end.
        let machine = async {
            store.kill_requested().await;
            guest.send_replace(None);
            drop(stream);
            store.change(|state| state.phase = Phase::Stopped);
        };
        let mut client = ControlClient::connect(&socket).await.unwrap();
        let (killed, ()) = tokio::join!(client.kill(), machine);
        killed.unwrap();
        let refused = pending.await.unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "the guest has ended");
    });
}

#[test]
fn a_client_that_leaves_while_its_command_is_not_started_is_served_no_longer() {
    with_server(async |World { socket, store, guest: _guest, mut stream }| {
        let mut client = ControlClient::connect(&socket).await.unwrap();
        client.send(&exec()).await.unwrap();
        hear_a_frame(&mut stream).await;
        drop(client);
        store.clients_gone().await;
    });
}

#[test]
fn lines_that_are_no_requests_end_their_client_alone() {
    with_server(async |World { socket, store, .. }| {
        let mut watcher = ControlClient::connect(&socket).await.unwrap();
        watcher.send(&Request::Watch).await.unwrap();
        for line in [&b"nonsense\n"[..], b"{\"request\":\"unknown\"}\n", b"\xff\xfe\n", b"[1,2"] {
            let mut stream = UnixStream::connect(&socket).await.unwrap();
            stream.write_all(line).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        }
        store.change(|state| state.phase = Phase::Running);
        loop {
            match watcher.next().await.unwrap() {
                Some(Event::State { state }) if state.phase == Phase::Running => break,
                Some(_) => {}
                None => panic!("the watcher was sent away"),
            }
        }
    });
}

/// A guest in which each command runs until a signal ends it.
async fn run_jobs(mut stream: UnixStream) {
    let (mut decoder, mut buffer) = (FrameDecoder::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        decoder.feed(&buffer[..count]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            let answer: Message = match Message::decode(&frame).unwrap() {
                Message::ExecRequest(_) => ExecStarted { pid: 7 }.into(),
                Message::ExecSignal(ExecSignal { signal }) => {
                    ExecExited { code: 128 + signal, signal: Some(signal) }.into()
                }
                Message::Ping(_) => Pong {}.into(),
                _ => continue,
            };
            stream.write_all(answer.encode(frame.id()).unwrap().as_bytes()).await.unwrap();
        }
    }
}

#[test]
fn jobs_are_started_listed_signalled_and_awaited() {
    with_server(async |World { socket, store, guest: _guest, stream }| {
        tokio::task::spawn_local(run_jobs(stream));
        let id = store.state().id.unwrap();
        let mut client = JobsClient::connect(&socket, &id).await.unwrap();
        let command = ExecRequest::command(&["sleep".to_owned()]);
        let started = client.start(command, true).await.unwrap();
        let job = started.id.unwrap();
        let listed = client.list().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].id, listed[0].pid, listed[0].state), (job, 7, JobState::Running));
        assert!(listed[0].stdin && !listed[0].tty && !listed[0].main);
        // A client that leaves while it waits is served no longer.
        let mut leaving = JobsClient::connect(&socket, &id).await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(50), leaving.wait(job)).await;
        assert!(waiting.is_err());
        drop(leaving);
        let mut other = JobsClient::connect(&socket, &id).await.unwrap();
        let waiting = tokio::task::spawn_local(async move { other.wait(job).await });
        client.signal(job, 15).await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), JobState::Signalled { signal: 15 });
        let refusal = |answer: Result<(), JobsError>| answer.unwrap_err().to_string();
        assert_eq!(refusal(client.signal(job, 15).await), format!("job {job} has ended"));
        assert_eq!(refusal(client.signal(900, 15).await), "there is no job 900");
        assert_eq!(refusal(client.wait(900).await.map(drop)), "there is no job 900");
        drop(client);
        store.clients_gone().await;
    });
}

#[test]
fn a_wait_for_a_job_ends_with_the_guest() {
    with_server(async |World { socket, store, guest, stream }| {
        let guest_task = tokio::task::spawn_local(run_jobs(stream));
        let id = store.state().id.unwrap();
        let mut client = JobsClient::connect(&socket, &id).await.unwrap();
        let started = client.start(ExecRequest::command(&["sleep".to_owned()]), false).await.unwrap();
        let job = started.id.unwrap();
        // Of a killed machine, the link is dropped.
        let end = async {
            // Until the supervisor waits. A request that comes later is refused, too.
            tokio::time::sleep(Duration::from_millis(100)).await;
            guest.send_replace(None);
            guest_task.abort();
        };
        let (ended, ()) = tokio::join!(client.wait(job), end);
        assert!(matches!(ended, Err(JobsError::Refused { .. })), "{ended:?}");
        let listed = client.list().await;
        assert!(matches!(listed, Err(JobsError::Refused { .. })), "{listed:?}");
    });
}

#[test]
fn only_a_running_sandbox_is_paused() {
    with_server(async |World { socket, store, guest: _guest, stream: _stream }| {
        let mut client = ControlClient::connect(&socket).await.unwrap();
        let refusal = client.pause().await.unwrap_err();
        assert_eq!(refusal.to_string(), "only a running sandbox can be paused");
        // A sandbox that is not paused need not be resumed.
        client.resume().await.unwrap();
        store.change(|state| state.phase = Phase::Running);
        let obey = async {
            store.pause_requests().wait_for(|paused| *paused).await.unwrap();
            store.change(|state| state.paused = true);
        };
        let (paused, ()) = tokio::join!(client.pause(), obey);
        paused.unwrap();
        store.request_stop(Duration::ZERO);
        assert!(client.pause().await.is_err());
    });
}

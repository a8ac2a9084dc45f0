//! Detached commands: the supervisor is their client, as long as the guest is up.

use crate::supervisor::agent_link::jobs::{Job, JobKind, Life};
use crate::supervisor::agent_link::link::Link;
use executor_client::control::Event;
use executor_client::deadline::{START_TIMEOUT, Unresponsive, within};
use protocol::latest::ExecRequest;
use std::rc::Rc;

/// Starts a command as a job, whose output goes to the log. Its standard input stays open for attached clients, or is
/// empty.
pub async fn start(link: &Rc<Link>, request: ExecRequest, stdin: bool) -> Event {
    let refused = |message: String| Event::Refused { message };
    let Ok((job, frames)) = link.begin_job(request, JobKind::Detached { stdin }) else {
        return refused("the sandbox runs too many commands, or has ended".to_owned());
    };
    let started = within(START_TIMEOUT, async {
        // A closed link ends the wait.
        let _ = link.send_all(frames).await;
        job.started().await
    });
    let event = match started.await {
        Ok(Life::Running | Life::Ended { .. }) => {
            let (pid, number) = (job.pid(), job.number());
            use_until_ended(link, job);
            return Event::Started { pid, job: Some(number) };
        }
        Ok(Life::NotStarted { code, message }) => Event::NotStarted { code, message },
        Ok(Life::Refused { message }) => refused(message),
        Ok(Life::Starting | Life::Lost) => refused("the guest has ended".to_owned()),
        Err(Unresponsive { .. }) => Event::Unresponsive,
    };
    link.forget_job(&job);
    event
}

/// Counts the sandbox as used until a job has ended. A reference to the link would keep that open.
fn use_until_ended(link: &Rc<Link>, job: Rc<Job>) {
    link.add_use();
    let used = Rc::downgrade(link);
    tokio::task::spawn_local(async move {
        job.ended().await;
        if let Some(link) = used.upgrade() {
            link.end_use();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::agent_link::exec_logger::ExecLogger;
    use crate::supervisor::agent_link::link::LINK_EVENTS;
    use executor_client::guest_text::GUEST_TEXT_BYTES_MAX;
    use protocol::frame::FrameDecoder;
    use protocol::latest::{ErrorKind, ErrorReport, ExecFailed, ExecStarted, FailureKind, Message, Ping};
    use std::cell::RefCell;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::sync::mpsc;

    /// Reads the first frame; returns its id.
    async fn first_id(guest: &mut UnixStream) -> u32 {
        let (mut decoder, mut buffer) = (FrameDecoder::new(), [0; 4096]);
        loop {
            if let Some(frame) = decoder.next_frame().unwrap() {
                return frame.id();
            }
            let count = guest.read(&mut buffer).await.unwrap();
            decoder.feed(&buffer[..count]);
        }
    }

    /// Its output is not read, but its id must not be reused: another command would receive the output.
    #[test]
    fn a_detached_command_keeps_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&event_loop, async {
            let (ours, mut guest) = UnixStream::pair().unwrap();
            let exec_log = ExecLogger::open(folder.path(), executor_log::Rotation::default()).unwrap();
            let (events, _events) = mpsc::channel(LINK_EVENTS);
            let link = Link::start(ours, Rc::new(RefCell::new(exec_log)), events);
            let starts = async {
                let id = first_id(&mut guest).await;
                let started = Message::from(ExecStarted { pid: 7 }).encode(id).unwrap();
                guest.write_all(started.as_bytes()).await.unwrap();
                id
            };
            let command = ExecRequest::command(&["sleep".to_owned()]);
            let (event, id) = tokio::join!(start(&link, command, false), starts);
            assert!(matches!(event, Event::Started { pid: 7, .. }), "{event:?}");
            // More commands than the supervisor has ids.
            for _ in 0..300 {
                let (other, _) = link.own_session(Ping {}.into()).await.unwrap();
                assert_ne!(other, id);
            }
        });
    }

    /// Returns the answer to a detached command of a guest that sends this message.
    async fn answer_to(message: Message) -> Event {
        let folder = tempfile::tempdir().unwrap();
        let (ours, mut guest) = UnixStream::pair().unwrap();
        let exec_log = ExecLogger::open(folder.path(), executor_log::Rotation::default()).unwrap();
        let (events, _events) = mpsc::channel(LINK_EVENTS);
        let link = Link::start(ours, Rc::new(RefCell::new(exec_log)), events);
        let says = async {
            let id = first_id(&mut guest).await;
            guest.write_all(message.encode(id).unwrap().as_bytes()).await.unwrap();
        };
        tokio::join!(start(&link, ExecRequest::command(&["sleep".to_owned()]), false), says).0
    }

    /// A guest's message is clipped and escaped before it is sent to the control socket.
    #[test]
    fn a_message_of_the_guest_is_clipped_and_made_visible() {
        let long = "\u{1b}[2J\n".repeat(100_000);
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&event_loop, async {
            let failed = ExecFailed {
                kind: FailureKind::NotFound,
                errno: None,
                errno_name: None,
                message: long.clone(),
                stage: None,
            };
            let reported =
                ErrorReport { kind: ErrorKind::Unavailable, message: long.clone(), message_type: None };
            let answers = [answer_to(failed.into()).await, answer_to(reported.into()).await];
            assert!(matches!(answers[0], Event::NotStarted { .. }), "{:?}", answers[0]);
            assert!(matches!(answers[1], Event::Refused { .. }), "{:?}", answers[1]);
            for answer in &answers {
                let line = serde_json::to_string(answer).unwrap();
                assert!(line.len() < GUEST_TEXT_BYTES_MAX + 200, "{} bytes", line.len());
                assert!(line.contains("u{1b}[2J") && line.contains("more bytes]"), "{line}");
                assert!(!line.contains("\\u001b"), "{line}");
            }
        });
    }
}

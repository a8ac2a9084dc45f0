//! Commands that run on their own: the supervisor is their client, for as long as the guest is up.

use super::link::Link;
use crate::control::Event;
use schemas::protocol::latest::{ExecRequest, ExecStdin, Message};
use std::rc::Rc;
use std::time::Duration;

/// How long a guest may take to start a command.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a command; its output goes to the log, and nobody types anything.
pub async fn start(link: &Rc<Link>, request: ExecRequest) -> Event {
    let refused = |message: &str| Event::Refused { message: message.to_owned() };
    // Nobody here acknowledges anything: the log takes all that comes.
    let request = ExecRequest { stdin_acks: false, output_acks: false, ..request };
    let Ok((id, mut session)) = link.own_session(request.into(), true).await else {
        return refused("the sandbox has no place for one more command, or is gone");
    };
    if let Ok(frame) = Message::from(ExecStdin { data: Vec::new() }).encode(id) {
        let _ = link.send(frame).await;
    }
    let answer = tokio::time::timeout(PATIENCE, async {
        loop {
            match session.recv().await {
                Some(Message::ExecStarted(started)) => return Event::Started { pid: started.pid },
                Some(Message::ExecFailed(failed)) => {
                    return Event::NotStarted { code: failed.kind.exit_code(), message: failed.message };
                }
                Some(Message::Error(report)) => return refused(&report.message),
                Some(_) => {}
                None => return refused("the guest is gone"),
            }
        }
    });
    let event = answer.await.unwrap_or_else(|_| refused("the guest does not start it"));
    if matches!(event, Event::Started { .. }) {
        // Its id is taken until it ends.
        tokio::task::spawn_local(async move { while session.recv().await.is_some() {} });
    }
    event
}

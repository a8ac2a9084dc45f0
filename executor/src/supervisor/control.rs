//! The supervisor's side of the control socket.

use super::keeper::{Keeper, NotLive};
use super::relay::is_same_user;
use crate::control::{Event, LineReader, Request, write_line};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};

/// Accepts clients until it is dropped.
pub async fn serve(listener: UnixListener, keeper: Rc<Keeper>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if !is_same_user(&stream) => {
                tracing::warn!("control: refused a client of another user");
            }
            Ok((stream, _)) => {
                let keeper = keeper.clone();
                tokio::task::spawn_local(serve_client(stream, keeper));
            }
            Err(error) => {
                tracing::warn!("control: accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves one client until it leaves or the sandbox has ended for good.
pub async fn serve_client(stream: UnixStream, keeper: Rc<Keeper>) {
    let _busy = keeper.client();
    let (reader, mut writer) = stream.into_split();
    let mut reader = LineReader::new(reader);
    // A client that leaves, or says what cannot be read, is nobody's problem but its own.
    let _ = converse(&mut reader, &mut writer, &keeper).await;
}

async fn converse(reader: &mut LineReader, writer: &mut OwnedWriteHalf, keeper: &Keeper) -> io::Result<()> {
    let mut states = keeper.states();
    let (mut watching, mut stopping) = (false, false);
    loop {
        let request = tokio::select! {
            request = reader.next::<Request>() => request?,
            changed = states.changed(), if watching || stopping => {
                let state = states.borrow_and_update().clone();
                let is_final = state.is_final();
                if watching {
                    write_line(writer, &Event::State { state: Box::new(state) }).await?;
                }
                if is_final && stopping {
                    write_line(writer, &Event::Done).await?;
                }
                if is_final || changed.is_err() {
                    return Ok(());
                }
                continue;
            }
        };
        match request {
            None => return Ok(()),
            // The state as it is now counts as a change.
            Some(Request::Watch) => {
                watching = true;
                states.mark_changed();
            }
            Some(Request::Stop { timeout_ms }) => {
                keeper.request_stop(Duration::from_millis(timeout_ms));
                stopping = true;
                states.mark_changed();
            }
            Some(Request::Update { spec }) => {
                let answer = match keeper.update(*spec) {
                    Ok(()) => Event::Done,
                    Err(NotLive) => Event::Refused { message: NotLive.to_string() },
                };
                write_line(writer, &answer).await?;
            }
        }
    }
}

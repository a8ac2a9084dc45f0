//! The supervisor's side of the control socket.

use super::keeper::Keeper;
use crate::control::{Event, Request, read_line, write_line};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

/// Accepts clients until it is dropped.
pub async fn serve(listener: UnixListener, keeper: Rc<Keeper>) {
    loop {
        match listener.accept().await {
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
    let mut reader = BufReader::new(reader);
    // A client that leaves, or says what cannot be read, is nobody's problem but its own.
    let _ = converse(&mut reader, &mut writer, &keeper).await;
}

async fn converse(
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
    keeper: &Rc<Keeper>,
) -> io::Result<()> {
    while let Some(request) = read_line::<Request>(reader).await? {
        match request {
            Request::Watch => return stream_states(reader, writer, keeper).await,
            Request::Stop { timeout_ms } => {
                keeper.request_stop(Duration::from_millis(timeout_ms));
                keeper.wait_for_end().await;
                write_line(writer, &Event::Done).await?;
            }
            Request::Update { spec } => {
                keeper.update(*spec);
                write_line(writer, &Event::Done).await?;
            }
        }
    }
    Ok(())
}

/// Sends the state now and at every change, until it is final or the client leaves.
async fn stream_states(
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
    keeper: &Rc<Keeper>,
) -> io::Result<()> {
    let mut states = keeper.states();
    loop {
        let state = states.borrow_and_update().clone();
        let is_final = state.is_final();
        write_line(writer, &Event::State { state: Box::new(state) }).await?;
        if is_final {
            return Ok(());
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return Ok(()) },
            left = read_line::<Request>(reader) => if left?.is_none() { return Ok(()) },
        }
    }
}

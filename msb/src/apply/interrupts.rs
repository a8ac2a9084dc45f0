//! Ctrl-C and SIGTERM for commands that apply plans: one listener for the life of the process.
//!
//! While there are subscribers, they end their work in order. Between two plans there are none, and a signal ends msb as
//! it would without a listener.

use crate::error::{CliError, ErrorCode};
use crate::session::terminal;
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

#[derive(Debug)]
struct Signals {
    subscribers: Vec<UnboundedSender<ErrorCode>>,
    last: Option<ErrorCode>,
}

static SIGNALS: Mutex<Signals> = Mutex::new(Signals { subscribers: Vec::new(), last: None });

/// Subscribes to signals, and starts the listener if needed.
///
/// # Errors
///
/// If signals cannot be caught.
pub fn subscribe() -> Result<UnboundedReceiver<ErrorCode>, CliError> {
    static LISTENER: OnceLock<io::Result<()>> = OnceLock::new();
    let started = LISTENER.get_or_init(|| {
        let (ready_in, ready) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || listen(&ready_in))?;
        ready.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    });
    started.as_ref().map_err(|error| CliError::by_host("cannot catch signals", error))?;
    Ok(hold())
}

/// Keeps signals from ending msb while the receiver exists, for callers that handle signals themselves.
pub fn hold() -> UnboundedReceiver<ErrorCode> {
    let (sender, receiver) = unbounded_channel();
    SIGNALS.lock().unwrap_or_else(PoisonError::into_inner).subscribers.push(sender);
    receiver
}

/// Checks for a signal before more work is started.
///
/// # Errors
///
/// If one has arrived.
pub fn check() -> Result<(), CliError> {
    match SIGNALS.lock().unwrap_or_else(PoisonError::into_inner).last {
        Some(exit) => Err(CliError::new("interrupted").code(exit)),
        None => Ok(()),
    }
}

fn listen(ready: &std::sync::mpsc::Sender<io::Result<()>>) {
    let begun = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|event_loop| {
        let entered = event_loop.enter();
        let (interrupts, terminations) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(entered);
        Ok((event_loop, interrupts, terminations))
    });
    match begun {
        Err(error) => _ = ready.send(Err(error)),
        Ok((event_loop, mut interrupts, mut terminations)) => {
            let _ = ready.send(Ok(()));
            event_loop.block_on(async {
                loop {
                    deliver(tokio::select! {
                        _ = interrupts.recv() => ErrorCode::Interrupted,
                        _ = terminations.recv() => ErrorCode::Terminated,
                    });
                }
            });
        }
    }
}

fn deliver(exit: ErrorCode) {
    let mut signals = SIGNALS.lock().unwrap_or_else(PoisonError::into_inner);
    signals.last = Some(exit);
    signals.subscribers.retain(|subscriber| subscriber.send(exit).is_ok());
    if signals.subscribers.is_empty() {
        terminal::restore();
        std::process::exit(exit as i32);
    }
}

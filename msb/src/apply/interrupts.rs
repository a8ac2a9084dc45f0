//! Ctrl-C and SIGTERM, for commands that carry out plans: one listener for the life of the command.
//!
//! Whoever carries out a plan hears them and comes to an end in order. Between two plans nobody does, and they end msb
//! as they would without a listener.

use crate::error::{CliError, Exit};
use crate::session::terminal;
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What has been heard, and by whom.
#[derive(Debug, Default)]
struct Heard {
    hearers: Vec<UnboundedSender<Exit>>,
    last: Option<Exit>,
}

static HEARD: Mutex<Heard> = Mutex::new(Heard { hearers: Vec::new(), last: None });

/// Hears what comes from now on. Starts the listener, where there is none yet.
pub fn hear() -> Result<UnboundedReceiver<Exit>, CliError> {
    static LISTENER: OnceLock<io::Result<()>> = OnceLock::new();
    let started = LISTENER.get_or_init(|| {
        let (ready_in, ready) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || listen(&ready_in))?;
        ready.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    });
    match started {
        Ok(()) => Ok(take_over()),
        Err(error) => Err(CliError::new(format!("cannot catch signals: {error}"))),
    }
}

/// The same for whoever listens for signals in a way of its own: as long as this is held, they do not end msb.
pub fn take_over() -> UnboundedReceiver<Exit> {
    let (sender, receiver) = unbounded_channel();
    HEARD.lock().unwrap_or_else(PoisonError::into_inner).hearers.push(sender);
    receiver
}

/// Refuses to begin something more once an end was asked for.
pub fn check() -> Result<(), CliError> {
    match HEARD.lock().unwrap_or_else(PoisonError::into_inner).last {
        Some(exit) => Err(CliError::new("interrupted: nothing more is begun").exit(exit)),
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
                        _ = interrupts.recv() => Exit::Interrupted,
                        _ = terminations.recv() => Exit::Terminated,
                    });
                }
            });
        }
    }
}

fn deliver(exit: Exit) {
    let mut heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
    heard.last = Some(exit);
    heard.hearers.retain(|hearer| hearer.send(exit).is_ok());
    if heard.hearers.is_empty() {
        terminal::restore();
        std::process::exit(exit as i32);
    }
}

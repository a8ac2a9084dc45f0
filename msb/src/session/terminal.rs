//! The terminal that msb runs in.

use crate::error::CliError;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::sync::{Mutex, PoisonError};

/// Rows and columns when there is no terminal to ask.
const FALLBACK: (u16, u16) = (24, 80);

/// Rows and columns.
pub fn size() -> (u16, u16) {
    let asked = tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin()));
    match asked {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => FALLBACK,
    }
}

/// Whether a terminal controls this process. Not any more once that has been closed.
pub fn is_controlled() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// How the terminal was before it was made raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Passes every key on as it is typed: the guest's terminal interprets them. [`restore`] ends it, and
/// every way out of the program goes through that.
pub fn make_raw() -> Result<(), CliError> {
    let failed = |error: rustix::io::Errno| CliError::new(format!("cannot set up the terminal: {error}"));
    let before = tcgetattr(std::io::stdin()).map_err(failed)?;
    let mut raw = before.clone();
    raw.make_raw();
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        default_hook(panic);
    }));
    tcsetattr(std::io::stdin(), OptionalActions::Drain, &raw).map_err(failed)
}

/// Puts the terminal back as it was. Does nothing where it was not made raw.
pub fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}

//! The terminal of this process.

use crate::error::{CliError, Context};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use std::sync::{Mutex, PoisonError};

/// Rows and columns without a terminal.
const FALLBACK: (u16, u16) = (24, 80);

/// Returns rows and columns.
pub fn size() -> (u16, u16) {
    match tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin())) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => FALLBACK,
    }
}

/// Returns whether this process has a controlling terminal that is still open.
pub fn is_controlled() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// The settings before raw mode.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Enters raw mode, in which the guest's terminal interprets keys. Every exit of the program calls [`restore`].
///
/// # Errors
///
/// If stdin is not a terminal.
pub fn make_raw() -> Result<(), CliError> {
    change(Termios::make_raw)
}

/// Delivers keys at once and without echo, or, with `lines`, whole lines with echo as before. Ctrl-Q is a key like others
/// then, and Ctrl-C still a signal. Every exit of the program calls [`restore`].
///
/// # Errors
///
/// If stdin is not a terminal.
pub fn make_keyed(lines: bool) -> Result<(), CliError> {
    change(|settings| {
        settings.input_modes.remove(InputModes::IXON);
        if !lines {
            settings.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            settings.special_codes[SpecialCodeIndex::VMIN] = 1;
            settings.special_codes[SpecialCodeIndex::VTIME] = 0;
        }
    })
}

fn change(change: impl FnOnce(&mut Termios)) -> Result<(), CliError> {
    const FAILURE: &str = "cannot set up the terminal";
    let before = tcgetattr(std::io::stdin()).context(FAILURE)?;
    let mut after = before.clone();
    change(&mut after);
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        default_hook(panic);
    }));
    tcsetattr(std::io::stdin(), OptionalActions::Drain, &after).context(FAILURE)
}

/// Leaves raw mode, if it was entered.
pub fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}

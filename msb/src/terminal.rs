//! The terminal that msb runs in.

use crate::error::CliError;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

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

/// Keeps the terminal in raw mode as long as it lives.
pub struct RawMode {
    before: Termios,
}

/// Passes every key on as it is typed: the guest's terminal interprets them.
pub fn raw_mode() -> Result<RawMode, CliError> {
    let failed = |error: rustix::io::Errno| CliError::new(format!("cannot set up the terminal: {error}"));
    let before = tcgetattr(std::io::stdin()).map_err(failed)?;
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(std::io::stdin(), OptionalActions::Drain, &raw).map_err(failed)?;
    Ok(RawMode { before })
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.before);
    }
}

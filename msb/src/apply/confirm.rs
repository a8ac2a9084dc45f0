//! Consent to the loss of data: a prompt on a terminal, `--yes` elsewhere.

use crate::error::CliError;
use crate::output::words;
use crate::output::{self, eprintln_lossy, escape_controls};
use schemas::listing::{self, LISTED_MAX};
use schemas::report::Loss;
use std::io::{self, BufRead, IsTerminal, Read, Write};

/// Maximum size of an answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 64;

/// The source of consent to the loss of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// The command line gives it, by `--yes` or by the command itself.
    Given,
    /// A prompt on the terminal.
    Ask,
    /// There is no terminal for a prompt.
    Missing,
}

/// The losses that need consent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsentTo {
    /// All of them.
    #[default]
    All,
    /// Those of volumes; the command itself is the consent to the others.
    Volumes,
}

impl ConsentTo {
    /// Returns the losses that need consent.
    pub fn of(self, mut losses: Vec<Loss>) -> Vec<Loss> {
        if self == Self::Volumes {
            losses.retain(|loss| matches!(loss, Loss::Volume { .. }));
        }
        losses
    }

    /// Returns the next step without a terminal.
    pub fn hint(self) -> &'static str {
        match self {
            Self::All => {
                "`msb plan` shows the whole plan; --yes applies it, --keep-orphans keeps what is no longer in the file"
            }
            Self::Volumes => "--yes removes them; without --volumes they are kept",
        }
    }
}

impl Consent {
    /// Derives it from `--yes` and the streams.
    pub fn of(yes: bool) -> Self {
        if yes {
            Self::Given
        } else if io::stdin().is_terminal() && io::stderr().is_terminal() && !output::in_ci() {
            Self::Ask
        } else {
            Self::Missing
        }
    }

    /// Obtains consent to losses. `hint` is the next step without a terminal.
    ///
    /// # Errors
    ///
    /// If it is refused or cannot be asked for.
    pub fn obtain(self, losses: &[Loss], hint: &str) -> Result<(), CliError> {
        if losses.is_empty() || self == Self::Given {
            return Ok(());
        }
        if self == Self::Missing {
            let message = "this destroys data, and there is no terminal for a prompt; nothing was changed";
            return Err(CliError::new(message).because_all(lines(losses)).hint(hint));
        }
        eprintln_lossy("\nThis destroys data:");
        for line in lines(losses) {
            eprintln_lossy(&format!("  {line}"));
        }
        match self.ask("Continue?") {
            Some(true) => Ok(()),
            Some(false) | None => Err(CliError::new("nothing was changed")),
        }
    }

    /// Asks a question; `None` if there is no terminal.
    pub fn ask(self, question: &str) -> Option<bool> {
        match self {
            Self::Given => return Some(true),
            Self::Missing => return None,
            Self::Ask => {}
        }
        // Without a line break.
        let _ = write!(io::stderr().lock(), "{} [y/N] ", output::escape_controls(question));
        Some(agrees(&mut io::stdin().lock()))
    }
}

/// Returns whether the next line of input is a yes.
fn agrees(input: &mut impl BufRead) -> bool {
    let mut answer = String::new();
    let read = input.take(ANSWER_BYTES_MAX).read_line(&mut answer);
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

/// Formats losses, one per line.
fn lines(losses: &[Loss]) -> Vec<String> {
    listing::lines(losses, LISTED_MAX, |loss| escape_controls(&words::loss(loss)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::name::SandboxName;
    use schemas::report::{Effect, Reason};

    fn losses(count: usize) -> Vec<Loss> {
        let loss = |index| Loss::Disk {
            name: SandboxName::new(format!("web{index}")).unwrap(),
            reason: Reason::FieldsChanged {
                fields: vec!["image\x1b".to_owned()],
                down: None,
                effect: Effect::Now,
            },
        };
        (0..count).map(loss).collect()
    }

    #[test]
    fn only_y_and_yes_agree() {
        for (typed, expected) in [
            ("y\n", true),
            ("YES\n", true),
            (" y \r\n", true),
            ("y", true),
            ("\n", false),
            ("", false),
            ("n\n", false),
            ("yesterday\n", false),
            ("\ny\n", false),
        ] {
            assert_eq!(agrees(&mut typed.as_bytes()), expected, "{typed:?}");
        }
        let endless = "y".repeat(1_000_000);
        let mut input = endless.as_bytes();
        assert!(!agrees(&mut input));
        assert!(input.len() >= endless.len() - ANSWER_BYTES_MAX as usize, "it read more than the limit");
    }

    #[test]
    fn consent_is_needed_only_for_losses() {
        assert!(Consent::Missing.obtain(&[], "").is_ok());
        assert!(Consent::Given.obtain(&losses(1), "").is_ok());
        assert!(Consent::Missing.obtain(&losses(1), "").is_err());
    }

    #[test]
    fn losses_are_listed_and_bounded() {
        assert_eq!(lines(&losses(1)), ["the writable disk of web0 (image\\u{1b} changed)"]);
        let many = lines(&losses(LISTED_MAX + 3));
        assert_eq!(many.len(), LISTED_MAX + 1);
        assert_eq!(many[LISTED_MAX], "… and 3 more");
    }
}

//! Before data is destroyed: a question on a terminal, `--yes` elsewhere.

use crate::error::CliError;
use crate::output::words;
use crate::output::{self, eprintln_lossy, escape_controls};
use schemas::report::Loss;
use std::io::{self, BufRead, IsTerminal, Read, Write};

/// Maximum number of losses to list.
const LISTED_MAX: usize = 20;
/// More than anybody types as an answer.
const ANSWER_BYTES_MAX: u64 = 64;

/// How a plan that destroys data gets its consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// It was given on the command line, or the command is one that says so itself.
    Given,
    /// A person is asked.
    Ask,
    /// There is nobody to ask.
    Missing,
}

impl Consent {
    /// From `--yes`, and from whether somebody sits at a terminal.
    pub fn of(yes: bool) -> Self {
        let somebody = io::stdin().is_terminal() && io::stderr().is_terminal() && !output::in_ci();
        match (yes, somebody) {
            (true, _) => Self::Given,
            (false, true) => Self::Ask,
            (false, false) => Self::Missing,
        }
    }

    /// Obtains it for these losses, or says why nothing is done.
    pub fn obtain(self, losses: &[Loss]) -> Result<(), CliError> {
        if losses.is_empty() || self == Self::Given {
            return Ok(());
        }
        if self == Self::Missing {
            let mut failure =
                CliError::new("this destroys data, and nobody can be asked: nothing was changed");
            for line in lines(losses) {
                failure = failure.because(line);
            }
            return Err(failure
                .hint("`msb plan` shows the whole plan; --yes carries it out, --keep-orphans keeps what left the file"));
        }
        eprintln_lossy("\nThis destroys data:");
        for line in lines(losses) {
            eprintln_lossy(&format!("  {line}"));
        }
        match self.ask("Go on?") {
            Some(true) => Ok(()),
            Some(false) | None => Err(CliError::new("nothing was changed")),
        }
    }

    /// The answer to a question; nothing where there is nobody to answer.
    pub fn ask(self, question: &str) -> Option<bool> {
        match self {
            Self::Given => return Some(true),
            Self::Missing => return None,
            Self::Ask => {}
        }
        // A prompt stays on its line.
        let _ = write!(io::stderr().lock(), "{question} [y/N] ");
        Some(agrees(&mut io::stdin().lock()))
    }
}

/// Whether the next line of a person's input is a yes.
fn agrees(input: &mut impl BufRead) -> bool {
    let mut answer = String::new();
    let read = input.take(ANSWER_BYTES_MAX).read_line(&mut answer);
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

/// One line a loss.
fn lines(losses: &[Loss]) -> Vec<String> {
    schemas::listing::lines(losses, LISTED_MAX, |loss| escape_controls(&words::loss(loss)))
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
    fn only_a_yes_is_a_yes() {
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
        assert!(input.len() >= endless.len() - ANSWER_BYTES_MAX as usize, "it read on");
    }

    #[test]
    fn consent_is_only_needed_where_something_is_lost() {
        assert!(Consent::Missing.obtain(&[]).is_ok());
        assert!(Consent::Given.obtain(&losses(1)).is_ok());
        assert!(Consent::Missing.obtain(&losses(1)).is_err());
    }

    #[test]
    fn losses_are_listed_and_bounded() {
        assert_eq!(lines(&losses(1)), ["the writable disk of web0 (image\\u{1b} changed)"]);
        let many = lines(&losses(LISTED_MAX + 3));
        assert_eq!(many.len(), LISTED_MAX + 1);
        assert_eq!(many[LISTED_MAX], "… and 3 more");
    }
}

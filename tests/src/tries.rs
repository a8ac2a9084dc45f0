//! The results of attempts in a guest, which a script prints.

use crate::{Msb, Project};

/// Lines of the form `ATTEMPT: RESULT`.
#[derive(Debug)]
pub struct Tries(String);

impl Tries {
    /// Runs a Python script of the sandbox's root directory.
    pub fn run(project: &Project, sandbox: &str, script: &str, arguments: &[&str]) -> Self {
        Self::of(Self::prepare(project, sandbox, script, arguments))
    }

    /// Prepares such a run.
    pub fn prepare(project: &Project, sandbox: &str, script: &str, arguments: &[&str]) -> Msb {
        let script = format!("/{script}");
        let command = ["exec", sandbox, "--", "python3", &script];
        project.msb(&[&command[..], arguments].concat())
    }

    /// Runs a command that prints results.
    pub fn of(msb: Msb) -> Self {
        Self(msb.run().ok().out().to_owned())
    }

    /// Returns all that was printed.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Returns the result of an attempt.
    pub fn result(&self, what: &str) -> &str {
        let begin = format!("{what}: ");
        let result = self.0.lines().find_map(|line| line.strip_prefix(&begin));
        result.unwrap_or_else(|| panic!("no {what:?} in\n{}", self.0))
    }

    /// Asserts on the result of an attempt.
    pub fn is(&self, what: &str, expected: &str) {
        let line = format!("{what}: {expected}");
        assert!(self.0.lines().any(|known| known == line), "not {line:?} in\n{}", self.0);
    }

    /// Asserts that the result of an attempt contains texts.
    pub fn has(&self, what: &str, texts: &[&str]) {
        let result = self.result(what);
        for text in texts {
            assert!(result.contains(text), "{what}: no {text:?} in\n{result}\nof\n{}", self.0);
        }
    }

    /// Asserts that attempts were refused and did not time out.
    pub fn are_refused(&self, tries: &[&str]) {
        for what in tries {
            let begins = format!("{what}: refused");
            assert!(self.0.lines().any(|known| known.starts_with(&begins)), "{what} in\n{}", self.0);
        }
    }
}

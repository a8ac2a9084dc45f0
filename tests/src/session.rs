//! Shell sessions as tests: lines that begin with `$ ` are commands, the lines below are their expected output.
//!
//! `[exit 3]` after the output is an exit code other than 0. Standard error is not compared.

use crate::wait::retry;
use crate::{Project, Run};

/// A command and its expected result.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// The command line.
    pub command: String,
    /// Its standard output.
    pub output: String,
    /// Its exit code.
    pub code: i32,
}

/// Parses a session.
pub fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), output: String::new(), code: 0 });
            continue;
        }
        let step =
            steps.last_mut().unwrap_or_else(|| panic!("a session begins with '$ ', not with {line:?}"));
        match line.strip_prefix("[exit ").and_then(|rest| rest.strip_suffix(']')?.parse().ok()) {
            Some(code) => step.code = code,
            None => step.output.extend([line, "\n"]),
        }
    }
    steps
}

/// Runs a session in a project and compares standard output and exit codes.
pub fn replay(project: &Project, text: &str) {
    replay_with(project, text, |step, run| run.code == step.code && run.stdout == step.output.as_bytes());
}

/// Runs a session in a project and compares with a function.
pub fn replay_with(project: &Project, text: &str, is_expected: impl Fn(&Step, &Run) -> bool) {
    for step in parse(text) {
        retry(|| {
            let run = project.shell(&step.command).run();
            if is_expected(&step, &run) {
                return Ok(());
            }
            if !step.command.starts_with("msb logs ") {
                run.fail(&format!("expected exit code {} and\n{}", step.code, step.output));
            }
            // Output may take a moment to get into a log.
            Err(format!("expected exit code {} and\n{}, got {run:?}", step.code, step.output))
        });
    }
}

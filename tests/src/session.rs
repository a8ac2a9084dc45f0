//! Shell sessions as tests: lines with `$ ` are typed, the lines beneath are what must come back.
//!
//! `[exit 3]` behind the output stands for an exit code other than 0. Standard error is not looked at.

use crate::{Project, Run};
use std::time::{Duration, Instant};

/// What a sandbox printed a moment ago may still be on its way into its log: reading it is tried again this long.
const LOG_PATIENCE: Duration = Duration::from_secs(20);
const LOG_POLL: Duration = Duration::from_millis(100);

/// One command and what it must give.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// What is typed.
    pub command: String,
    /// All of standard output.
    pub output: String,
    /// The exit code.
    pub code: i32,
}

/// Reads a session.
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

/// Types a session into a project and compares standard output, to the byte.
pub fn replay(project: &Project, text: &str) {
    replay_with(project, text, |step, run| run.code == step.code && run.stdout == step.output.as_bytes());
}

/// Types a session into a project and compares with a function.
pub fn replay_with(project: &Project, text: &str, is_expected: impl Fn(&Step, &Run) -> bool) {
    for step in parse(text) {
        let deadline = Instant::now() + LOG_PATIENCE;
        loop {
            let run = project.shell(&step.command).run();
            if is_expected(&step, &run) {
                break;
            }
            if !step.command.starts_with("msb logs ") || Instant::now() >= deadline {
                run.fail(&format!("expected exit code {} and\n{}", step.code, step.output));
            }
            std::thread::sleep(LOG_POLL);
        }
    }
}

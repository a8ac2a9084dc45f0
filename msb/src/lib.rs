//! `msb`: microVM sandboxes, declared in a file. This library is the whole program; `main.rs` only calls it.
//!
//! | module | contents |
//! | --- | --- |
//! | `cli` | the command line before and after a command's name |
//! | `commands` | the commands, one file each: arguments and one function |
//! | `flags` | the flags that describe a sandbox, turned into a model |
//! | `project` | loading a project: Sandboxfile, trust, lock file, plan file, targets |
//! | `apply` | planning and applying under the lock: consent, interrupts, lifecycle, creation |
//! | `session` | a command in a guest: streams, signals, terminal |
//! | `logs`, `watch` | following logs; `up --watch` |
//! | `progress` | the progress of steps: bars, lines, event stream, records |
//! | `report` | a command's outcome for machines: JUnit, GitHub, GitLab, diagnostics |
//! | `output` | the exits to stdout and stderr, escaping, words for data, tables |
//! | `host`, `error` | this machine's state; errors with hint and exit code |
//!
//! Architecture invariant: only `output` prints.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod apply;
#[cfg(test)]
mod arrows;
mod cli;
mod commands;
mod error;
mod flags;
mod host;
mod logs;
mod output;
mod progress;
mod project;
#[cfg(test)]
mod reference;
mod report;
mod session;
mod watch;

use std::process::ExitCode;

/// Runs the command of this process's command line, and returns what to exit with.
pub fn run() -> ExitCode {
    match cli::Cli::read() {
        Ok(cli) => {
            let options = output::OutputOptions::of(&cli.global);
            commands::dispatch(cli).unwrap_or_else(|error| error.report(&options))
        }
        Err(code) => code,
    }
}

//! `msb`: microVM sandboxes, declared in a file. This library is the whole program; `main.rs` only calls it.
//!
//! | module | contents |
//! | --- | --- |
//! | `cli` | the command line outside of the commands' own arguments |
//! | `commands` | the commands, one file each: arguments and one function |
//! | `flags` | from flags that describe a sandbox to a model |
//! | `project` | loading a project: Sandboxfile, trust, lock file, plan file, targets |
//! | `apply` | planning and applying under the lock: consent, interrupts, lifecycle, creation |
//! | `boot_unit` | the systemd unit that brings a project up at boot |
//! | `session` | a command in a guest: streams, signals, terminal |
//! | `logs`, `watch` | following logs; `up --watch` |
//! | `progress` | progress of steps: bars, lines, event stream, records |
//! | `report` | the outcome of a command for other programs: JUnit, GitHub, GitLab, diagnostics |
//! | `output` | stdout and stderr, escaping, wording of data, tables |
//! | `host` | state and settings of this machine |
//! | `error` | failures with hint and exit code |
//!
//! Architecture invariant: only `output` prints.

#![deny(clippy::print_stdout, clippy::print_stderr)]
#![warn(missing_docs, clippy::missing_errors_doc)]

mod apply;
#[cfg(test)]
mod arrows;
mod boot_unit;
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
mod top;
mod watch;

use std::process::ExitCode;

/// Runs the command that this process's command line names, and returns its exit code.
pub fn run() -> ExitCode {
    match cli::Cli::read() {
        Ok(cli) => {
            let options = output::OutputOptions::of(&cli.global);
            commands::dispatch(cli).unwrap_or_else(|error| error.report(&options))
        }
        Err(code) => code,
    }
}

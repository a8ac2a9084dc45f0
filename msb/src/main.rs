//! `msb`: microVM sandboxes, declared in a file.

mod account;
mod applying;
#[cfg(test)]
mod arrows;
mod choose;
mod cli;
mod commands;
mod consent;
mod ephemeral;
mod error;
mod find;
mod flags;
mod follow;
mod host;
mod interrupts;
mod load;
mod lockfile;
mod making;
mod output;
mod output_file;
mod plan_file;
mod progress;
mod project;
mod pull;
#[cfg(test)]
mod reference;
mod render;
mod rules;
mod session;
mod silence;
mod single;
mod suggest;
mod terminal;
mod trust;
mod watching;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::read() {
        Ok(cli) => {
            let verbosity = output::Verbosity::of(&cli.global);
            commands::run(cli).unwrap_or_else(|error| error.report(&verbosity))
        }
        Err(code) => code,
    }
}

//! `msb run`.

use super::create::Replacing;
use crate::apply::create::{self, CreateOptions};
use crate::apply::ephemeral::{self, Lease};
use crate::cli::Global;
use crate::error::CliError;
use crate::flags::SandboxFlags;
use crate::host;
use crate::output::print;
use crate::project::images::PullOption;
use crate::session::terminal;
use crate::session::{self, Command};
use std::process::ExitCode;

/// Arguments of `msb run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: SandboxFlags,
    /// Its name, on this whole machine. Without one it is removed when the command has ended, unless it is detached.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Remove the sandbox, and its disk, when the command has ended.
    #[arg(long, conflicts_with = "detach")]
    rm: bool,
    /// Let the command be the main process of the sandbox, and return when it runs.
    #[arg(short, long)]
    detach: bool,
    /// Give the command a terminal.
    #[arg(short, long, conflicts_with = "detach")]
    tty: bool,
    /// Give the command no input, and leave this one's unread.
    #[arg(short, long, conflicts_with_all = ["tty", "detach"])]
    no_stdin: bool,
    #[command(flatten)]
    replacing: Replacing,
    #[command(flatten)]
    pull: PullOption,
    /// The command and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Makes a sandbox from flags and runs a command in it; exits as the command did.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { flags, name, rm, detach, tty, no_stdin, replacing, pull, command } = arguments;
    let named = name.as_deref().map(create::name).transpose()?;
    let vanishes = *rm || (named.is_none() && !detach);
    let name = named.map_or_else(create::random_name, Ok)?;
    let options = CreateOptions {
        command: "run",
        lock_timeout: replacing.lock_timeout,
        replace: replacing.decision(),
        pull: pull.pull,
        lease: vanishes.then(Lease::open).transpose()?,
    };
    if *detach {
        let start = (!command.is_empty()).then_some(command.as_slice());
        options.run(global, &flags.model(global, &name, start)?)?;
        print(&format!("{name}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    if command.is_empty() {
        return Err(CliError::usage("there is no command to run")
            .hint("msb run IMAGE -- COMMAND; -d runs without one"));
    }
    // The command has this terminal's streams, which a main process has not; it runs instead of the image's own.
    let model = flags.model(global, &name, None)?.idle();
    let home = host::open_home()?;
    let ended = options.run(global, &model).and_then(|folder| {
        let words = command.clone();
        session::run(
            &folder,
            name.as_str(),
            &Command { words, tty: *tty, no_stdin: *no_stdin, ..Command::default() },
        )
    });
    terminal::restore();
    let removed = match vanishes {
        true => ephemeral::remove_own(&home, &name),
        false => Ok(()),
    };
    let code = ended?;
    removed?;
    // Not by way of `main`: a thread may still be in a read of standard input.
    std::process::exit(code)
}

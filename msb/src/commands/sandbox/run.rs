//! `msb run`.

use super::create::Creation;
use super::wait::last_state_of;
use crate::apply::create;
use crate::apply::ephemeral::{self, Lease};
use crate::cli::Global;
use crate::commands::event_loop;
use crate::error::CliError;
use crate::flags::SandboxFlags;
use crate::host;
use crate::output::{print, print_error};
use crate::session::terminal;
use crate::session::{self, Command};
use executor_host::home::Home;
use executor_host::state::{Phase, read_state};
use schemas::model::Model;
use schemas::name::{SandboxId, full_name};
use schemas::snapshot::{EXIT_CODE_OF_LIMIT, Exit};
use std::process::ExitCode;

/// The generation of a new sandbox.
const GENERATION: u32 = 1;

/// Arguments of `msb run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: SandboxFlags,
    /// Name, unique on this machine. Without one the sandbox is removed after the command, unless it is detached.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Remove the sandbox and its disk after the command.
    #[arg(long, conflicts_with = "detach")]
    rm: bool,
    /// Make the command the main process of the sandbox, and return when it is running.
    #[arg(short, long)]
    detach: bool,
    /// Give the command a terminal.
    #[arg(short, long, conflicts_with = "detach")]
    tty: bool,
    /// Do not read standard input.
    #[arg(short, long, conflicts_with_all = ["tty", "detach"])]
    no_stdin: bool,
    #[command(flatten)]
    creation: Creation,
    /// The command and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Creates a sandbox from flags, runs a command in it, and exits with the command's code.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { flags, name, rm, detach, tty, no_stdin, creation, command } = arguments;
    let named = name.as_deref().map(create::name).transpose()?;
    let is_ephemeral = *rm || (named.is_none() && !detach);
    let name = named.map_or_else(create::random_name, Ok)?;
    let options = creation.options("run", is_ephemeral.then(Lease::open).transpose()?);
    if *detach {
        let start = (!command.is_empty()).then_some(command.as_slice());
        options.run(global, &flags.model(global, &name, start)?)?;
        print(&format!("{name}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    if command.is_empty() {
        return Err(CliError::usage("there is no command to run")
            .hint("write msb run IMAGE -- COMMAND, or use -d, which needs none"));
    }
    // The command runs in a session, which has this process's streams, instead of a main process.
    let model = flags.model(global, &name, None)?.idle();
    let home = host::open_home()?;
    let created = options.run(global, &model);
    let is_created = created.is_ok();
    let ended = created.and_then(|folder| {
        let words = command.clone();
        let command = Command { words, tty: *tty, no_stdin: *no_stdin, ..Command::default() };
        session::run(&folder, name.as_str(), &command)
    });
    terminal::restore();
    let ended = match limit(&home, &model).filter(|_| is_created) {
        Some(exit) => {
            print_error(&format!("{name} {exit}"));
            Ok(EXIT_CODE_OF_LIMIT)
        }
        None => ended,
    };
    let removed = if is_ephemeral { ephemeral::remove_own(&home, &name) } else { Ok(()) };
    let code = ended?;
    removed?;
    // Exits here, because a thread may still be reading standard input.
    std::process::exit(code)
}

/// Returns the limit of its time that has ended the only sandbox of a model; `None` if it has ended otherwise, or runs.
fn limit(home: &Home, model: &Model) -> Option<Exit> {
    let sandbox = model.sandboxes().first()?;
    let id = SandboxId::derive(model.project(), sandbox.name(), GENERATION);
    let state = read_state(&home.sandbox(&id))?;
    // The guest has ended the command, and its machine is about to end.
    let state = if state.main_ended && !state.is_final() {
        let full_name = full_name(model.project(), sandbox.name());
        event_loop().ok()?.block_on(last_state_of(home, &full_name, &id))?
    } else {
        state
    };
    match state.phase {
        Phase::Exited { exit: exit @ Exit::Limit { .. } } => Some(exit),
        _ => None,
    }
}

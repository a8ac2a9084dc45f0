//! `msb create`.

use crate::apply::create::{CreateOptions, recorded};
use crate::apply::ephemeral::Lease;
use crate::apply::lifecycle::{self, LifecycleOp};
use crate::cli::{self, Global, JsonResults, LockTimeout};
use crate::error::CliError;
use crate::flags::SandboxFlags;
use crate::host::Machine;
use crate::output::print;
use crate::project::images::PullOption;
use planner::LifecycleAction;
use schemas::name::ProjectName;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `msb create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: SandboxFlags,
    /// Name, unique on this machine.
    #[arg(long, value_name = "NAME")]
    name: String,
    #[command(flatten)]
    creation: Creation,
    /// If there is a sandbox of this name, keep it as it is, and start it if it does not run.
    #[arg(long, conflicts_with_all = ["replace", "replace_with_timeout"])]
    or_start: bool,
    #[command(flatten)]
    json: JsonResults,
    /// Main process. Default: that of the image; without any, the sandbox idles and waits for `msb exec`.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The options of commands that create a sandbox.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Creation {
    /// Remove an existing sandbox of this name, and its disk.
    #[arg(long)]
    replace: bool,
    /// The same, with the time for it to shut down before it is killed. [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = cli::duration)]
    replace_with_timeout: Option<Duration>,
    #[command(flatten)]
    lock: LockTimeout,
    #[command(flatten)]
    pull: PullOption,
}

impl Creation {
    /// Returns the options for a command.
    pub fn options(self, command: &'static str, lease: Option<Lease>) -> CreateOptions {
        let Self { replace, replace_with_timeout, lock, pull } = self;
        let replace = replace_with_timeout.or(replace.then_some(executor::apply::STOP_TIME));
        CreateOptions { command, lock_timeout: lock.timeout, replace, pull: pull.pull, lease }
    }
}

/// Creates a sandbox from flags, boots it in the background and prints its name.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { flags, name, creation, or_start, json: _, command } = arguments;
    let name = crate::apply::create::name(name)?;
    if *or_start && recorded(&Machine::open()?.catalog, &ProjectName::of_one(&name))?.is_some() {
        let operation = LifecycleOp::new("create", LifecycleAction::Start, "started", creation.lock);
        return operation.run(global, &[name.to_string()]);
    }
    let start = (!command.is_empty()).then_some(command.as_slice());
    creation.options("create", None).run(global, &flags.model(global, &name, start)?)?;
    if global.json {
        lifecycle::print_result(name.as_str(), "created");
    } else {
        print(&format!("{name}\n"));
    }
    Ok(ExitCode::SUCCESS)
}

//! `msb create`.

use crate::apply::create::{CreateOptions, Replace};
use crate::apply::lifecycle;
use crate::cli::{self, Global, LockTimeout};
use crate::error::CliError;
use crate::flags::SandboxFlags;
use crate::output::print;
use crate::project::images::PullOption;
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
    replacing: Replacing,
    #[command(flatten)]
    pull: PullOption,
    /// Main process. Default: that of the image; without any, the sandbox idles and waits for `msb exec`.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The options for an existing sandbox of the same name.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Replacing {
    /// Remove an existing sandbox of this name, and its disk.
    #[arg(long)]
    replace: bool,
    /// The same, with the time for it to shut down before it is killed. [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = cli::duration)]
    replace_with_timeout: Option<Duration>,
    #[command(flatten)]
    pub lock: LockTimeout,
}

impl Replacing {
    /// Returns how to treat an existing sandbox.
    pub fn decision(self) -> Replace {
        match (self.replace, self.replace_with_timeout) {
            (_, Some(timeout)) => Replace::After(timeout),
            (true, None) => Replace::After(lifecycle::STOP_TIME),
            (false, None) => Replace::Never,
        }
    }
}

/// Creates a sandbox from flags, boots it in the background and prints its name.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { flags, name, replacing, pull, command } = arguments;
    let name = crate::apply::create::name(name)?;
    let start = (!command.is_empty()).then_some(command.as_slice());
    let options = CreateOptions {
        command: "create",
        lock_timeout: replacing.lock.timeout,
        replace: replacing.decision(),
        pull: pull.pull,
        lease: None,
    };
    options.run(global, &flags.model(global, &name, start)?)?;
    print(&format!("{name}\n"));
    Ok(ExitCode::SUCCESS)
}

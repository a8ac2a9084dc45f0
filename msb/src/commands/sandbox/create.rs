//! `msb create`.

use crate::apply::create::{CreateOptions, Replace};
use crate::apply::lifecycle;
use crate::cli::Global;
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
    /// Its name, on this whole machine.
    #[arg(long, value_name = "NAME")]
    name: String,
    #[command(flatten)]
    replacing: Replacing,
    #[command(flatten)]
    pull: PullOption,
    /// Its main process; without one its image's own, and if there is none it idles and takes `msb exec`.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// What becomes of a sandbox that has the name already.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Replacing {
    /// Remove the sandbox that has this name, and its disk.
    #[arg(long)]
    replace: bool,
    /// The same, and kill it if it has not shut down after this time. [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = lifecycle::parse_time)]
    replace_with_timeout: Option<Duration>,
    /// Wait so long for another msb that works on it.
    #[arg(long, value_name = "TIME", value_parser = lifecycle::parse_time, default_value = "0s")]
    pub lock_timeout: Duration,
}

impl Replacing {
    /// The same as a decision.
    pub fn decision(self) -> Replace {
        match (self.replace, self.replace_with_timeout) {
            (_, Some(timeout)) => Replace::After(timeout),
            (true, None) => Replace::After(lifecycle::STOP_TIME),
            (false, None) => Replace::Never,
        }
    }
}

/// Makes a sandbox from flags and boots it in the background; prints its name.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { flags, name, replacing, pull, command } = arguments;
    let name = crate::apply::create::name(name)?;
    let start = (!command.is_empty()).then_some(command.as_slice());
    let options = CreateOptions {
        command: "create",
        lock_timeout: replacing.lock_timeout,
        replace: replacing.decision(),
        pull: pull.pull,
        lease: None,
    };
    options.run(global, &flags.model(global, &name, start)?)?;
    print(&format!("{name}\n"));
    Ok(ExitCode::SUCCESS)
}

//! `msb image`: the images of this machine, one file for each of its commands.

mod df;
mod inspect;
mod load;
mod ls;
mod prune;
mod pull;
mod rm;
mod save;

use crate::cli::Global;
use crate::error::CliError;
use clap::Subcommand;
use std::process::ExitCode;

/// The version of what `--json` prints.
const VERSION: u32 = 1;

/// Arguments of `msb image`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What can be done with images.
#[derive(Debug, Subcommand)]
enum Command {
    /// List the images that are known by name.
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    /// Bring images here, and make them ready to boot.
    Pull(pull::Args),
    /// Take images out of an OCI layout, or an archive of `docker save`, `skopeo` or `msb image save`.
    Load(load::Args),
    /// Write images into one archive that `msb image load`, `docker load` and `skopeo` read.
    Save(save::Args),
    /// Remove images that no sandbox uses.
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    /// Show how an image is run, and what it consists of.
    Inspect(inspect::Args),
    /// Remove what no sandbox uses, no lock file pins and no name stands for.
    Prune(prune::Args),
    /// Show how much space images take.
    Df(df::Args),
}

/// Runs one of them.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    match &arguments.command {
        Command::Ls(arguments) => ls::run(arguments),
        Command::Pull(arguments) => pull::run(global, arguments),
        Command::Load(arguments) => load::run(global, arguments),
        Command::Save(arguments) => save::run(arguments),
        Command::Rm(arguments) => rm::run(global, arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Prune(arguments) => prune::run(global, arguments),
        Command::Df(arguments) => df::run(arguments),
    }
}

/// A number of bytes as people read it.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_have_one_decimal() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")] {
            assert_eq!(super::size(bytes), text);
        }
    }
}

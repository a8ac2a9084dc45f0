//! `msb image`: the images of this machine, one file per subcommand.

pub mod df;
pub mod inspect;
mod load;
pub mod ls;
pub mod prune;
mod pull;
mod rm;
mod save;

use crate::cli::Global;
use crate::error::CliError;
use clap::Subcommand;
use std::process::ExitCode;

/// Version of the JSON formats.
const VERSION: u32 = 1;

/// Arguments of `msb image`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
enum Command {
    /// List named images.
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    /// Pull images and prepare them for booting.
    Pull(pull::Args),
    /// Load images from an OCI layout, or from an archive of `docker save`, `skopeo` or `msb image save`.
    Load(load::Args),
    /// Save images to an archive for `msb image load`, `docker load` or `skopeo`.
    Save(save::Args),
    /// Remove images that no sandbox uses.
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    /// Show an image's configuration and layers.
    Inspect(inspect::Args),
    /// Remove images that no sandbox uses, no lock file pins and no name refers to.
    Prune(prune::Args),
    /// Show the disk usage of images.
    Df(df::Args),
}

/// Runs a subcommand.
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

/// Formats a number of bytes for people.
pub fn size(bytes: u64) -> String {
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

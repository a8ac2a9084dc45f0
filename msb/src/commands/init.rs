//! `msb init`.

use crate::cli::Global;
use crate::error::CliError;
use crate::output::Verbosity;
use clap::ValueEnum;
use schemas::sandboxfile::FILE_NAMES;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `msb init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The spelling.
    #[arg(long, value_enum, default_value_t = Format::Kdl, value_name = "SPELLING")]
    format: Format,
}

/// A spelling of a Sandboxfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// KDL 2.
    Kdl,
    /// YAML.
    Yaml,
}

const KDL: &str = include_str!("init/Sandboxfile");
const YAML: &str = include_str!("init/Sandboxfile.yaml");

/// Writes a first Sandboxfile; never over another one.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let folder = global.project_directory.clone().unwrap_or_else(|| PathBuf::from("."));
    if let Some(found) = FILE_NAMES.iter().map(|name| folder.join(name)).find(|path| path.exists()) {
        let shown = found.strip_prefix(".").unwrap_or(&found).display();
        return Err(CliError::new(format!("there is a Sandboxfile already: {shown}"))
            .hint("`msb validate` checks it"));
    }
    let (name, text) = match arguments.format {
        Format::Kdl => ("Sandboxfile", KDL),
        Format::Yaml => ("Sandboxfile.yaml", YAML),
    };
    let path = folder.join(name);
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    written
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| CliError::new(format!("cannot write {}: {error}", path.display())))?;
    Verbosity::of(global).say(&format!(
        "wrote {name}\nPut a root file system into ./image, or name an image such as \"alpine\" instead; then: msb plan, msb up"
    ));
    Ok(ExitCode::SUCCESS)
}

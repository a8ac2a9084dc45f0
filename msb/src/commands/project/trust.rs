//! `msb trust`.

use crate::apply::confirm::Consent;
use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output;
use crate::output::{OutputOptions, print, print_json};
use crate::project::load;
use crate::project::trust::OutsideAccess;
use executor::catalog::Trusted;
use schemas::host_access::HostAccess;
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `msb trust`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not prompt.
    #[arg(short, long)]
    yes: bool,
    /// Revoke the trust in every Sandboxfile of this folder.
    #[arg(long, conflicts_with = "yes")]
    revoke: bool,
    /// List all trusted Sandboxfiles of this machine.
    #[arg(long, conflicts_with_all = ["yes", "revoke"])]
    list: bool,
    /// Print JSON: the accesses of the Sandboxfile, or with --list the trusted ones.
    #[arg(long, conflicts_with = "revoke")]
    json: bool,
}

/// Version of the JSON formats.
const VERSION: u32 = 1;

/// The output of `trust --json`.
#[derive(schemars::JsonSchema, Serialize)]
pub struct Document<'a> {
    version: u32,
    folder: &'a str,
    file: &'a str,
    reaches: &'a [HostAccess],
    trusted: bool,
}

/// The output of `trust --list --json`.
#[derive(schemars::JsonSchema, Serialize)]
pub struct Listing<'a> {
    version: u32,
    trusted: &'a [Trusted],
}

/// Shows what the Sandboxfile reaches beyond its folder, and records the user's consent.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let Machine { catalog, .. } = Machine::open()?;
    if arguments.list {
        list(&catalog.trusted()?, arguments.json);
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.revoke {
        // Not loaded, so that trust in a broken file can be revoked.
        let folder = load::project_folder(global)?;
        output.say(match catalog.revoke_trust(&folder.to_string_lossy())? {
            0 => "nothing in this folder was trusted",
            _ => "no longer trusted",
        });
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = load::load(global)?;
    let access = OutsideAccess::of(&loaded);
    let OutsideAccess { reached, folder, file, fingerprint } = &access;
    let is_trusted =
        || Ok::<_, CliError>(catalog.trusted_digest(folder, file)?.as_ref() == Some(fingerprint));
    if reached.is_empty() {
        if arguments.json {
            print_json(&Document { version: VERSION, folder, file, reaches: reached, trusted: true });
        }
        output.say(&format!("{} reaches nothing beyond its folder: it needs no trust", loaded.file));
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.json {
        print(&format!("{}\n", access.lines().join("\n")));
    }
    if !is_trusted()? && (!arguments.json || arguments.yes) {
        let question = format!("Allow {} to do so until it changes?", loaded.file);
        match Consent::of(arguments.yes).ask(&question) {
            Some(true) => catalog.trust(folder, file, fingerprint)?,
            Some(false) => return Err(CliError::new("it is not trusted")),
            None => {
                return Err(CliError::new("it is not trusted, and there is no terminal for a prompt")
                    .hint("read what it reaches; --yes trusts it"));
            }
        }
    }
    if arguments.json {
        let trusted = is_trusted()?;
        print_json(&Document { version: VERSION, folder, file, reaches: reached, trusted });
    } else {
        output.say(&format!("{} is trusted until it changes", loaded.file));
    }
    Ok(ExitCode::SUCCESS)
}

fn list(trusted: &[Trusted], json: bool) {
    if json {
        print_json(&Listing { version: VERSION, trusted });
    } else {
        let cells: Vec<_> = trusted.iter().map(|row| vec![row.file.clone(), row.folder.clone()]).collect();
        print(&output::table::text(&["FILE", "FOLDER"], &cells));
    }
}

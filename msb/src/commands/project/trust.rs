//! `msb trust`.

use crate::apply::confirm::Consent;
use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output;
use crate::output::{OutputOptions, escape_controls, print, print_json};
use crate::project::load;
use crate::project::trust::Beyond;
use executor::catalog::Trusted;
use schemas::reach::Reach;
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `msb trust`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Take it back, for every Sandboxfile in this folder.
    #[arg(long, conflicts_with = "yes")]
    revoke: bool,
    /// List what is trusted, everywhere.
    #[arg(long, conflicts_with_all = ["yes", "revoke"])]
    list: bool,
    /// Print JSON: what the Sandboxfile reaches, or with --list what is trusted.
    #[arg(long, conflicts_with = "revoke")]
    json: bool,
}

/// The version of the JSON.
const VERSION: u32 = 1;

/// What `trust --json` prints.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    folder: &'a str,
    file: &'a str,
    reaches: &'a [Reach],
    trusted: bool,
}

/// What `trust --list --json` prints.
#[derive(Serialize)]
struct Listing {
    version: u32,
    trusted: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    folder: String,
    file: String,
    digest: String,
    trusted_unix: i64,
}

/// Shows what the Sandboxfile reaches beyond its folder, and records that somebody agrees to it.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let verbosity = OutputOptions::of(global);
    let Machine { catalog, .. } = Machine::open()?;
    if arguments.list {
        list(&catalog.trusted()?, arguments.json);
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.revoke {
        // Not loaded: a file that is broken by now can lose its trust as well.
        let folder = load::project_folder(global)?;
        verbosity.say(match catalog.revoke_trust(&folder.to_string_lossy())? {
            0 => "nothing in this folder was trusted",
            _ => "no longer trusted",
        });
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = load::load(global)?;
    let beyond = Beyond::of(&loaded);
    let Beyond { reached, folder, file, fingerprint } = &beyond;
    let is_trusted =
        || Ok::<_, CliError>(catalog.trusted_digest(folder, file)?.as_ref() == Some(fingerprint));
    if reached.is_empty() {
        if arguments.json {
            print_json(&Document { version: VERSION, folder, file, reaches: reached, trusted: true });
        }
        verbosity.say(&format!("{} reaches nothing beyond its folder: it needs no trust", loaded.file));
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.json {
        print(&format!("{}\n", beyond.lines().join("\n")));
    }
    if !is_trusted()? && (!arguments.json || arguments.yes) {
        let question = format!("Let {} do so until it changes?", loaded.file);
        match Consent::of(arguments.yes).ask(&question) {
            Some(true) => catalog.trust(folder, file, fingerprint)?,
            Some(false) => return Err(CliError::new("it is not trusted")),
            None => {
                return Err(CliError::new("nobody can be asked: it is not trusted")
                    .hint("read what it reaches; --yes trusts it"));
            }
        }
    }
    if arguments.json {
        let trusted = is_trusted()?;
        print_json(&Document { version: VERSION, folder, file, reaches: reached, trusted });
    } else {
        verbosity.say(&format!("{} is trusted until it changes", loaded.file));
    }
    Ok(ExitCode::SUCCESS)
}

fn list(trusted: &[Trusted], json: bool) {
    if json {
        let row = |Trusted { folder, file, digest, trusted_unix }: &Trusted| Row {
            folder: folder.clone(),
            file: file.clone(),
            digest: digest.to_string(),
            trusted_unix: *trusted_unix,
        };
        print_json(&Listing { version: VERSION, trusted: trusted.iter().map(row).collect() });
        return;
    }
    let cells: Vec<_> =
        trusted.iter().map(|row| vec![escape_controls(&row.file), escape_controls(&row.folder)]).collect();
    print(&output::table::text(&["FILE", "FOLDER"], &cells));
}

//! `msb lock`.

use crate::cli::Global;
use crate::error::{CliError, Context};
use crate::host::Machine;
use crate::output::OutputOptions;
use crate::output::suggest::hint_about;
use crate::project::images::{When, image_query};
use crate::project::lockfile::{Pins, lines, mismatch};
use crate::project::targets;
use crate::project::trust;
use executor::images::ImageQuery;
use executor_host::home::Home;
use schemas::lockfile::LOCK_FILE_NAME;
use schemas::spec::ImageReference;
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Arguments of `msb lock`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write nothing; exit with 3 if the lock file is not current.
    #[arg(long, conflicts_with = "update")]
    check: bool,
    /// Resolve these references again, written as in the lock file. Default: all.
    #[arg(long, value_name = "REF", num_args = 0..)]
    update: Option<Vec<String>>,
    /// Allow the Sandboxfile to reach beyond its folder this time.
    #[arg(long)]
    trust: bool,
}

/// Pins every image of the Sandboxfile, or checks the pins.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let Machine { home, catalog } = Machine::open()?;
    let loaded = trust::load(global, &catalog, arguments.trust, "")?;
    if loaded.from_standard_input && !arguments.check {
        return Err(CliError::usage("a Sandboxfile from standard input has no lock file")
            .hint("name the file with -f, or only verify with --check"));
    }
    let pins = Pins::read(&loaded.folder)?;
    let references = targets::references(&loaded.model);
    let only = only(arguments.update.as_deref().unwrap_or_default(), &pins.names(&references))?;
    let query = query_for(&home, &references, &pins, arguments.update.is_some(), only.as_ref())?;
    let snapshot = executor::observe::observe(&home, &catalog, loaded.model.project(), &query)?;
    let found = pins.found(&references, &snapshot);
    let new = pins.renewed(&found, only.as_ref());
    let changes = pins.changes(&new);
    if arguments.check {
        if changes.is_empty() && pins.exists {
            output.say(&format!("{LOCK_FILE_NAME} is current"));
            return Ok(ExitCode::SUCCESS);
        }
        let message = if pins.exists {
            format!("{LOCK_FILE_NAME} is not current")
        } else {
            format!("there is no {LOCK_FILE_NAME}")
        };
        return Err(mismatch(message, &changes).hint("`msb lock` writes it"));
    }
    let written = pins.write(&new).context(format_args!("cannot write {LOCK_FILE_NAME}"))?;
    for line in lines(&changes) {
        output.say(&line);
    }
    output.say(&if written {
        format!("wrote {LOCK_FILE_NAME}")
    } else {
        format!("{LOCK_FILE_NAME} is current")
    });
    Ok(ExitCode::SUCCESS)
}

/// Returns the query for images: with `--update` the selected references are resolved again, otherwise unpinned ones.
fn query_for(
    home: &Home,
    references: &BTreeSet<ImageReference>,
    pins: &Pins,
    update: bool,
    only: Option<&BTreeSet<String>>,
) -> Result<ImageQuery, CliError> {
    let when = if update { When::Always } else { When::Missing };
    let mut query = image_query(home, references.clone(), pins, when)?;
    if update {
        query.pins.retain(|reference, _| only.is_some_and(|only| !only.contains(&pins.name(reference))));
    }
    Ok(query)
}

/// Returns the references to update; `None` for all.
fn only(named: &[String], known: &BTreeSet<String>) -> Result<Option<BTreeSet<String>>, CliError> {
    for name in named {
        if !known.contains(name) {
            return Err(CliError::new(format!("no sandbox has the image {name:?}")).hint(hint_about(
                name,
                known.iter().map(String::as_str),
                "no sandbox has an image from a registry",
            )));
        }
    }
    Ok((!named.is_empty()).then(|| named.iter().cloned().collect()))
}

//! Plan files: `plan -o FILE` writes one, `up --plan FILE` applies it.
//!
//! A plan file contains the plan's snapshot, so that a stale plan can be explained. No plan contains values of secrets.

use crate::error::{CliError, Context};
use crate::host;
use crate::output::file::OutputFile;
use crate::output::words;
use executor::images::{ImageQuery, Pull};
use executor_host::home::Home;
use planner::{PLAN_FILE_VERSION, PlanFile, PlanFileError};
use schemas::listing::{LISTED_MAX, lines};
use schemas::plan::PlanGraph;
use schemas::report::Report;
use schemas::snapshot::{ObservedImage, Snapshot};
use schemas::spec::ImageReference;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Maximum size of a plan file, in bytes: enough for 10,000 sandboxes with all their scripts.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Writes a plan that only the owner can read.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write(
    path: &Path,
    folder: &Path,
    snapshot: &Snapshot,
    plan: &PlanGraph,
    report: &Report,
) -> Result<(), CliError> {
    let failure = format!("cannot write the plan to {}", path.display());
    let file = PlanFile::new(folder.to_owned(), snapshot.clone(), plan.clone(), report.clone());
    let bytes = file.and_then(|file| file.to_bytes()).context(&failure)?;
    let mut to = OutputFile::create_private(path).context(&failure)?;
    to.write_all(&bytes).and_then(|()| to.finish()).context(failure)
}

/// Reads and validates a plan.
///
/// # Errors
///
/// If the file is invalid or cannot be read.
pub fn read(path: &Path) -> Result<PlanFile, CliError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.context(format_args!("cannot read the plan {}", path.display()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(corrupt(path, "it is larger than any plan"));
    }
    parse(path, &bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<PlanFile, CliError> {
    PlanFile::parse(bytes).map_err(|error| match error {
        PlanFileError::Version { found } => CliError::new(format!(
            "{} is a plan of version {found}, and this msb supports {PLAN_FILE_VERSION}",
            path.display()
        ))
        .hint("`msb plan -o FILE` of this msb writes a new one"),
        error => corrupt(path, error.to_string()),
    })
}

fn corrupt(path: &Path, why: impl Into<String>) -> CliError {
    CliError::new(format!("{} is not a valid plan", path.display()))
        .because(why)
        .hint("`msb plan -o FILE` writes one")
}

/// Returns the query for the images of a plan, with those of registries pinned to the plan's.
///
/// # Errors
///
/// If the settings of registries cannot be read.
pub fn images(file: &PlanFile, home: &Home) -> Result<ImageQuery, CliError> {
    let images = file.snapshot.images.values();
    let is_pinned = |image: &&ObservedImage| matches!(image.reference, ImageReference::Registry { .. });
    let pins = images.clone().filter(is_pinned).map(|image| (image.reference.clone(), image.digest.clone()));
    Ok(ImageQuery {
        references: images.map(|image| image.reference.clone()).collect(),
        pins: pins.collect(),
        pull: Pull::Missing,
        pull_of: BTreeMap::new(),
        registries: Arc::new(host::registries(home)?),
        // Port conflicts are reported when the plan is made, and by the start that needs the port.
        ports: BTreeSet::new(),
        // External volumes, what the driver can serve and values of secrets, too.
        external: BTreeSet::new(),
        mount_obstacle: None,
        secret_problems: BTreeMap::new(),
        compare_values: false,
    })
}

/// Returns the plan of a file if its snapshot is still true.
///
/// # Errors
///
/// If it is not, with the changes since then.
pub fn unless_stale(file: &PlanFile, now: &Snapshot) -> Result<(PlanGraph, Report), CliError> {
    if now.digest() == file.plan.snapshot {
        return Ok((file.plan.clone(), file.report.clone()));
    }
    let changes = planner::staleness(&file.snapshot, now);
    Err(CliError::new("the plan is stale: the project has changed since it was made")
        .because_all(lines(&changes, LISTED_MAX, words::staleness))
        .hint("nothing was changed; `msb plan -o FILE` makes a new plan"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::name::ProjectName;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn snapshot() -> Snapshot {
        Snapshot {
            project: ProjectName::new("shop").unwrap(),
            sandboxes: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            held_ports: BTreeSet::new(),
            external: Default::default(),
            mount_obstacle: None,
            secret_problems: Default::default(),
            changed_values: Default::default(),
        }
    }

    fn written() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        let snapshot = snapshot();
        let (plan, report) = planner::plan(None, &snapshot, &planner::Policy::default()).unwrap();
        write(&path, Path::new("/srv/shop"), &snapshot, &plan, &report).unwrap();
        (folder, path)
    }

    #[test]
    fn a_plan_file_is_private_and_reads_back() {
        let (_folder, path) = written();
        let read = read(&path).unwrap();
        assert_eq!((read.folder.to_str(), &read.snapshot), (Some("/srv/shop"), &snapshot()));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(unless_stale(&read, &snapshot()).is_ok());
        let other = Snapshot { project: ProjectName::new("other").unwrap(), ..snapshot() };
        assert!(unless_stale(&read, &other).is_err());
    }

    #[test]
    fn altered_files_are_rejected() {
        let (_folder, path) = written();
        let text = std::fs::read_to_string(&path).unwrap();
        for broken in [
            "",
            "{}",
            "no",
            &text[..text.len() / 2],
            &text.replacen(&format!("\"version\":{PLAN_FILE_VERSION}"), "\"version\":1", 1),
            &text.replace("/srv/shop", "/srv/else"),
            &text.replace("\"shop\"", "\"else\""),
            &text.replacen('{', "{\"more\":1,", 1),
        ] {
            assert_ne!(broken, text);
            assert!(parse(&path, broken.as_bytes()).is_err(), "{broken}");
        }
        assert!(parse(&path, text.as_bytes()).is_ok());
        assert!(read(Path::new("/does/not/exist")).is_err());
    }
}

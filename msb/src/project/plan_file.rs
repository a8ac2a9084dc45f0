//! A plan kept in a file: `plan -o FILE` writes it, `up --plan FILE` carries out exactly that.
//!
//! It holds what the plan was made from, so that a plan that no longer fits can say what has changed since.
//! Values of secrets are in no plan, and so in no file.

use crate::error::CliError;
use crate::host;
use crate::output::file::OutputFile;
use crate::output::words;
use executor::images::{ImageQuery, Pull};
use executor_host::home::Home;
use planner::{PLAN_FILE_VERSION, PlanFile, PlanFileError};
use schemas::plan::PlanGraph;
use schemas::report::Report;
use schemas::snapshot::{ObservedImage, Snapshot};
use schemas::spec::ImageReference;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// The largest file that is read: room for 10,000 sandboxes with all their scripts.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Maximum number of changes to list.
const LISTED_MAX: usize = 20;

/// Writes a plan, for its owner only.
pub fn write(
    path: &Path,
    folder: &Path,
    snapshot: &Snapshot,
    plan: &PlanGraph,
    report: &Report,
) -> Result<(), CliError> {
    let failed = |error: &dyn std::error::Error| {
        CliError::new(format!("cannot write the plan to {}: {error}", path.display()))
    };
    let file = PlanFile::new(folder.to_owned(), snapshot.clone(), plan.clone(), report.clone());
    let bytes = file.and_then(|file| file.to_bytes()).map_err(|error| failed(&error))?;
    let mut to = OutputFile::create_private(path).map_err(|error| failed(&error))?;
    to.write_all(&bytes).and_then(|()| to.finish()).map_err(|error| failed(&error))
}

/// Reads a plan, and checks that it is one.
pub fn read(path: &Path) -> Result<PlanFile, CliError> {
    let shown = path.display();
    let failed = |error| CliError::new(format!("cannot read the plan {shown}: {error}"));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(corrupt(path, "it is larger than any plan"));
    }
    parse(path, &bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<PlanFile, CliError> {
    PlanFile::parse(bytes).map_err(|error| match error {
        PlanFileError::Version { found } => CliError::new(format!(
            "{} is a plan of version {found}, this msb knows {PLAN_FILE_VERSION}",
            path.display()
        ))
        .hint("make it anew with `msb plan -o FILE` of this msb"),
        error => corrupt(path, error.to_string()),
    })
}

fn corrupt(path: &Path, why: impl Into<String>) -> CliError {
    CliError::new(format!("{} is no plan that can be carried out", path.display()))
        .because(why)
        .hint("`msb plan -o FILE` writes one")
}

/// The images that a plan's snapshot was asked for: those of registries are what they were then.
pub fn images(file: &PlanFile, home: &Home) -> Result<ImageQuery, CliError> {
    let images = file.snapshot.images.values();
    let is_pinned = |image: &&ObservedImage| matches!(image.reference, ImageReference::Registry { .. });
    let pins = images.clone().filter(is_pinned).map(|image| (image.reference.clone(), image.digest.clone()));
    Ok(ImageQuery {
        references: images.map(|image| image.reference.clone()).collect(),
        pins: pins.collect(),
        pull: Pull::Missing,
        registries: Arc::new(host::registries(home)?),
        // Port conflicts are reported when the plan is made, and by the start that needs the port.
        ports: BTreeSet::new(),
    })
}

/// The plan of a file, if its snapshot is still true; else an error that says what has changed.
pub fn if_still_true(file: &PlanFile, now: &Snapshot) -> Result<(PlanGraph, Report), CliError> {
    if now.digest() == file.plan.snapshot {
        return Ok((file.plan.clone(), file.report.clone()));
    }
    let changes = planner::staleness(&file.snapshot, now);
    let failure = CliError::new("the plan is stale: things have changed since it was made");
    let failure = schemas::listing::lines(&changes, LISTED_MAX, words::staleness)
        .into_iter()
        .fold(failure, CliError::because);
    Err(failure.hint("nothing was changed; `msb plan -o FILE` makes a new plan"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::name::ProjectName;
    use std::collections::BTreeMap;
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
    fn what_is_written_is_read_and_belongs_to_its_owner() {
        let (_folder, path) = written();
        let read = read(&path).unwrap();
        assert_eq!((read.folder.to_str(), &read.snapshot), (Some("/srv/shop"), &snapshot()));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(if_still_true(&read, &snapshot()).is_ok());
        let other = Snapshot { project: ProjectName::new("other").unwrap(), ..snapshot() };
        assert!(if_still_true(&read, &other).is_err());
    }

    #[test]
    fn anything_else_is_refused() {
        let (_folder, path) = written();
        let text = std::fs::read_to_string(&path).unwrap();
        for broken in [
            "",
            "{}",
            "no",
            &text[..text.len() / 2],
            &text.replace("\"version\":2", "\"version\":1"),
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

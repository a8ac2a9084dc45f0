//! Whether a Sandboxfile may reach beyond its folder: only what somebody has agreed to.
//!
//! Whoever loads a project to carry it out loads it with [`load`], which refuses one that nobody trusts.

use crate::cli::Global;
use crate::error::{CliError, Exit};
use crate::output::{OutputOptions, escape_controls};
use crate::project::load::{self, Loaded};
use crate::report;
use executor::catalog::Catalog;
use sandboxfile::{Code, Origins, Remark};
use schemas::digest::Digest;
use schemas::reach::{self, Leads, Reach, ReachKind};
use std::io;
use std::path::{Path, PathBuf};

/// Maximum number of accesses to list.
const LISTED_MAX: usize = 50;
/// Of so many places that reach the same thing the lines are shown; its sandboxes are named beside the first.
const PLACES_MAX: usize = 3;

/// Loads the project, and refuses it when it reaches beyond its folder and nobody has agreed to that: on this
/// command line, or earlier with `msb trust`.
pub fn load(global: &Global, catalog: &Catalog, on_the_command_line: bool) -> Result<Loaded, CliError> {
    if on_the_command_line {
        return load::load(global);
    }
    // With the places of its values, so that a refusal does not have to read everything again.
    let loaded = load::load_and_explain(global)?;
    require(global, &loaded, catalog)?;
    Ok(loaded)
}

/// What a loaded project reaches beyond its folder.
pub struct Beyond {
    /// What it is, sorted.
    pub reached: Vec<Reach>,
    /// The project's folder, as the catalog knows it.
    pub folder: String,
    /// The Sandboxfile in it, as the catalog knows it.
    pub file: String,
    /// What a yes is bound to.
    pub fingerprint: Digest,
}

impl Beyond {
    /// Of a loaded project.
    pub fn of(loaded: &Loaded) -> Self {
        let mut files = loaded.included.clone();
        // It is read without being named, so a link in its place leads wherever its author wants.
        let beside = loaded.env_files.first().filter(|file| file.is_file());
        files.extend(beside.and_then(|file| file.to_str()).map(str::to_owned));
        let reached = reach::beyond(&loaded.model, &files, &loaded.folder, &leads);
        let fingerprint = reach::fingerprint(&loaded.files, &reached);
        let folder = loaded.folder.to_string_lossy().into_owned();
        // The same from wherever msb is called.
        let named = loaded.named.iter().map(|file| {
            let path = Path::new(file);
            path.strip_prefix(&loaded.folder).unwrap_or(path).display().to_string()
        });
        Self { reached, folder, file: named.collect::<Vec<_>>().join(", "), fingerprint }
    }

    /// One line for each thing that is reached.
    pub fn lines(&self) -> Vec<String> {
        lines(&self.reached.iter().collect::<Vec<_>>())
    }
}

fn lines(reached: &[&Reach]) -> Vec<String> {
    schemas::listing::lines(reached, LISTED_MAX, |reach| escape_controls(&reach.describe()))
}

fn require(global: &Global, loaded: &Loaded, catalog: &Catalog) -> Result<(), CliError> {
    let beyond = Beyond::of(loaded);
    if beyond.reached.is_empty() {
        return Ok(());
    }
    let trusted = catalog.trusted_digest(&beyond.folder, &beyond.file)?;
    let why = match &trusted {
        Some(trusted) if *trusted == beyond.fingerprint => return Ok(()),
        Some(_) => "has changed since it was trusted",
        None => "is not trusted",
    };
    // Where the Sandboxfile says so, as far as it does: a link in the place of `.env` stands nowhere in it.
    let origins = &loaded.origins;
    let (written, unwritten): (Vec<&Reach>, Vec<&Reach>) =
        beyond.reached.iter().partition(|reach| reach.paths.iter().any(|path| origins.is_known(path)));
    let is_network = |reach: &Reach| matches!(reach.kind, ReachKind::Network | ReachKind::Port);
    let beyond_what = match beyond.reached.iter().all(is_network) {
        true => "the public internet",
        false => "its folder",
    };
    let message = format!("{} reaches beyond {beyond_what} and {why}", loaded.file);
    let failure = match unwritten.as_slice() {
        [] => CliError::new(message),
        rest => lines(rest).into_iter().fold(CliError::new(format!("{message}; it")), CliError::because),
    };
    let report = origins.report(written.into_iter().flat_map(|reach| remarks(reach, origins)));
    let shown = report::diagnostics::findings(&report, &OutputOptions::of(global));
    Err(failure
        .shown_at(&report, load::annotated(&report, shown))
        .hint("read the file; `msb trust` lets it until it changes, --trust lets it this once")
        .exit(Exit::Mismatch))
}

/// What is to be said where the Sandboxfile names a thing beyond its folder.
fn remarks<'a>(reach: &'a Reach, origins: &'a Origins) -> impl Iterator<Item = Remark> + use<'a> {
    let label = match (reach.kind, &reach.leads_to) {
        (ReachKind::SecretVariable, _) => "a variable of this host",
        (ReachKind::SecretCommand, _) => "a command on this host",
        (ReachKind::Network, _) => "more than public addresses",
        (ReachKind::Port, _) => "not on this host's loopback",
        (_, Some(_)) => "leads beyond the project's folder",
        (_, None) => "beyond the project's folder",
    };
    let written = reach.paths.iter().filter(|path| origins.is_known(path)).take(PLACES_MAX);
    written.map(move |path| Remark {
        path: path.clone(),
        code: Code::NotTrusted,
        message: escape_controls(&reach.describe()),
        label: label.to_owned(),
    })
}

/// Where a path really leads, links followed; what is not there yet leads where it would be made.
fn leads(path: &str) -> Leads {
    let mut at = Path::new(path);
    let mut missing: Vec<&std::ffi::OsStr> = Vec::new();
    loop {
        match std::fs::canonicalize(at) {
            Ok(real) => {
                let whole = missing.iter().rev().fold(real, |path: PathBuf, name| path.join(name));
                return Leads::To(whole);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return Leads::Nobody,
        }
        // A link is here whose end is not: whoever makes that end decides where it leads.
        if std::fs::symlink_metadata(at).is_ok() {
            return Leads::Nobody;
        }
        match (at.parent(), at.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name);
                at = parent;
            }
            _ => return Leads::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_and_what_is_missing_is_where_it_would_be_made() {
        let scratch = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(scratch.path()).unwrap();
        std::fs::create_dir_all(root.join("inside/deep")).unwrap();
        std::fs::create_dir(root.join("outside")).unwrap();
        symlink("../outside", root.join("inside/link")).unwrap();
        symlink("../nowhere", root.join("inside/dangling")).unwrap();
        symlink("loop", root.join("inside/loop")).unwrap();
        std::fs::write(root.join("inside/file"), "").unwrap();
        for (path, expected) in [
            ("inside/deep", Some("inside/deep")),
            ("inside/new/newer", Some("inside/new/newer")),
            ("inside/link", Some("outside")),
            ("inside/link/new", Some("outside/new")),
            ("inside/dangling", None),
            ("inside/dangling/below", None),
            ("inside/loop", None),
            ("inside/file/below", None),
        ] {
            let leads = leads(root.join(path).to_str().unwrap());
            let expected = expected.map_or(Leads::Nobody, |path| Leads::To(root.join(path)));
            assert_eq!(leads, expected, "{path}");
        }
    }
}

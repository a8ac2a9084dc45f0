//! Consent to a Sandboxfile that reaches beyond its folder.
//!
//! Commands that plan or apply a project use [`load`], which rejects an untrusted one.

use crate::cli::Global;
use crate::error::{CliError, ErrorCode};
use crate::host;
use crate::output::{OutputOptions, escape_controls};
use crate::project::load::{self, Loaded};
use executor::catalog::Catalog;
use sandboxfile::{Code, Origins, Remark};
use schemas::digest::Digest;
use schemas::host_access::{self, HostAccess, HostAccessKind, ResolvedPath};
use std::io;
use std::path::{Path, PathBuf};

/// Maximum number of accesses to list.
const LISTED_MAX: usize = 50;
/// Maximum number of source lines to show for one access.
const PLACES_MAX: usize = 3;

/// Loads the project; `scale` is the text of a last layer.
///
/// # Errors
///
/// If it reaches beyond its folder without consent, given by `--trust` or earlier by `msb trust`.
pub fn load(global: &Global, catalog: &Catalog, is_trusted: bool, scale: &str) -> Result<Loaded, CliError> {
    // With origins, so that a refusal can show them without reading everything again.
    let loaded = load::load_as(global, OutputOptions::of(global), !is_trusted, scale)?;
    if is_trusted {
        return Ok(loaded);
    }
    require(global, &loaded, catalog)?;
    Ok(loaded)
}

/// The accesses of a project beyond its folder.
pub struct OutsideAccess {
    /// The accesses, sorted.
    pub reached: Vec<HostAccess>,
    /// The project's folder, as recorded in the catalog.
    pub folder: String,
    /// Its Sandboxfile, as recorded in the catalog.
    pub file: String,
    /// Digest of all that the user consents to.
    pub fingerprint: Digest,
}

impl OutsideAccess {
    /// Collects the accesses of a loaded project.
    pub fn of(loaded: &Loaded) -> Self {
        let mut files = loaded.included.clone();
        // `.env` is read without being named, and may be a link to any file.
        let beside = loaded.env_files.first().filter(|file| file.is_file());
        files.extend(beside.and_then(|file| file.to_str()).map(str::to_owned));
        let home = host::path_variable("HOME").and_then(|home| std::fs::canonicalize(home).ok());
        let reached =
            host_access::outside_folder(&loaded.model, &files, &loaded.folder, home.as_deref(), &leads);
        let fingerprint = host_access::fingerprint(&loaded.files, &reached);
        let folder = loaded.folder.to_string_lossy().into_owned();
        // Relative to the project's folder, so that the working directory does not matter.
        let named = loaded.named.iter().map(|file| {
            let path = Path::new(file);
            path.strip_prefix(&loaded.folder).unwrap_or(path).display().to_string()
        });
        Self { reached, folder, file: named.collect::<Vec<_>>().join(", "), fingerprint }
    }

    /// Formats the accesses, one per line.
    pub fn lines(&self) -> Vec<String> {
        lines(&self.reached.iter().collect::<Vec<_>>())
    }
}

fn lines(reached: &[&HostAccess]) -> Vec<String> {
    schemas::listing::lines(reached, LISTED_MAX, |reach| escape_controls(&reach.describe()))
}

fn require(global: &Global, loaded: &Loaded, catalog: &Catalog) -> Result<(), CliError> {
    let access = OutsideAccess::of(loaded);
    if access.reached.is_empty() {
        return Ok(());
    }
    let trusted = catalog.trusted_digest(&access.folder, &access.file)?;
    let why = match &trusted {
        Some(trusted) if *trusted == access.fingerprint => return Ok(()),
        Some(_) => "has changed since it was trusted",
        None => "is not trusted",
    };
    // Some accesses have no line in the Sandboxfile, such as a linked `.env`.
    let origins = &loaded.origins;
    let (written, unwritten): (Vec<&HostAccess>, Vec<&HostAccess>) =
        access.reached.iter().partition(|reach| reach.paths.iter().any(|path| origins.is_known(path)));
    let is_network = |reach: &HostAccess| {
        matches!(reach.kind, HostAccessKind::Network | HostAccessKind::Port | HostAccessKind::Proxy)
    };
    let border = if access.reached.iter().all(is_network) { "the public internet" } else { "its folder" };
    let mut message = format!("{} reaches beyond {border} and {why}", loaded.file);
    if !unwritten.is_empty() {
        message.push_str("; it");
    }
    let report = origins.report(written.into_iter().flat_map(|reach| remarks(reach, origins)));
    Err(CliError::new(message)
        .because_all(lines(&unwritten))
        .with_report(&report, &OutputOptions::of(global))
        .annotated()
        .hint("read the file; `msb trust` allows it until it changes, --trust allows it this time")
        .code(ErrorCode::Mismatch))
}

/// Returns the remarks on the lines of the Sandboxfile that cause an access.
fn remarks<'a>(reach: &'a HostAccess, origins: &'a Origins) -> impl Iterator<Item = Remark> + use<'a> {
    let label = match (reach.kind, &reach.leads_to) {
        (HostAccessKind::SecretVariable, _) => "a variable of this host",
        (HostAccessKind::SecretCommand, _) => "a command on this host",
        (HostAccessKind::SecretKeyring, _) => "an entry of your keyring",
        (HostAccessKind::Proxy, _) => "a proxy",
        (HostAccessKind::Network, _) => "more than public addresses",
        (HostAccessKind::Port, _) => "not on this host's loopback",
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

/// Resolves all links of a path. A missing path resolves to where it would be created.
fn leads(path: &str) -> ResolvedPath {
    let mut at = Path::new(path);
    let mut missing: Vec<&std::ffi::OsStr> = Vec::new();
    loop {
        match std::fs::canonicalize(at) {
            Ok(real) => {
                let whole = missing.iter().rev().fold(real, |path: PathBuf, name| path.join(name));
                return ResolvedPath::To(whole);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return ResolvedPath::Unknown,
        }
        // A dangling link: its target may be created anywhere.
        if std::fs::symlink_metadata(at).is_ok() {
            return ResolvedPath::Unknown;
        }
        match (at.parent(), at.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name);
                at = parent;
            }
            _ => return ResolvedPath::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_and_missing_paths_resolve_to_their_place() {
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
            let expected = expected.map_or(ResolvedPath::Unknown, |path| ResolvedPath::To(root.join(path)));
            assert_eq!(leads, expected, "{path}");
        }
    }
}

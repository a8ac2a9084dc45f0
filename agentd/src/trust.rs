//! The guest's trust in the sandbox's CA, which signs the certificates of intercepted TLS connections: files on a tmpfs,
//! anchors and bundles of the distribution on the disk, and variables.
//!
//! Anchors are where the distribution's tools look for certificates when they generate its bundle. They also record that
//! a bundle may have to be restored: without any, a boot without a CA reads no bundle.

mod bundle;
mod java;
mod place;

use std::fs::{DirBuilder, Permissions, set_permissions, write};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use protocol::latest::{MAX_TRUST_BYTES, Trust};

use crate::environment::TrustVariables;
use crate::root::{RootError, step};
use bundle::Certificate;
use place::{Found, GuestRoot, Identity, Place};

/// The directory of the files on the tmpfs.
const DIRECTORY: &str = "/.msb/tls";
/// The sandbox's CA and nothing else.
const CA: &str = "/.msb/tls/ca.pem";
/// The distribution's bundle with the CA, if the bundle itself cannot be changed.
const COMPLETED_BUNDLE: &str = "/.msb/tls/bundle.pem";
/// The trust store of Java.
const JAVA_STORE: &str = "/.msb/tls/cacerts.jks";

/// The places of anchors, and whether their directories are created.
const ANCHORS: [(&str, bool); 3] = [
    // Debian, Alpine and Arch.
    ("/usr/local/share/ca-certificates/msb.crt", true),
    // Red Hat.
    ("/etc/pki/ca-trust/source/anchors/msb.pem", true),
    // SUSE.
    ("/etc/pki/trust/anchors/msb.pem", false),
];

/// The known places of bundles, many of which are links to others. The first one is for programs with a variable.
const BUNDLES: [&str; 5] = [
    // Debian, Alpine and Arch.
    "/etc/ssl/certs/ca-certificates.crt",
    // Red Hat.
    "/etc/pki/tls/certs/ca-bundle.crt",
    // SUSE.
    "/etc/ssl/ca-bundle.pem",
    // Alpine's LibreSSL.
    "/etc/ssl/cert.pem",
    // Red Hat's OpenSSL.
    "/etc/pki/tls/cert.pem",
];

/// The variables with the path of a bundle: of OpenSSL and Go, of Python's requests, and of curl.
const BUNDLE_VARIABLES: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
/// The variable of Node with certificates besides its own.
const NODE_VARIABLE: &str = "NODE_EXTRA_CA_CERTS";

/// Makes the programs in a root trust a CA, or without one, removes what an earlier boot has written.
///
/// # Errors
///
/// If the CA is invalid or cannot be written to the tmpfs. Other failures are only logged: programs that have a variable
/// for the CA work without them.
pub fn install(root: &Path, trust: Option<&Trust>) -> Result<TrustVariables, RootError> {
    let Some(Trust { ca_pem }) = trust else {
        if let Err(error) = remove(root) {
            crate::log(format_args!("cannot remove an earlier CA: {error}"));
        }
        return Ok(TrustVariables::default());
    };
    if ca_pem.len() > MAX_TRUST_BYTES {
        return Err(RootError::InvalidCa);
    }
    let ca: Vec<Certificate> = bundle::certificates(ca_pem.as_bytes()).collect();
    if ca.is_empty() {
        return Err(RootError::InvalidCa);
    }
    step(make_own_directory(root), format!("make {DIRECTORY}"))?;
    step(write_own(root, CA, ca_pem.as_bytes()), format!("write {CA}"))?;
    let guest = match GuestRoot::open(root) {
        Ok(guest) => guest,
        Err(error) => {
            crate::log(format_args!("cannot add the CA to the root: {error}"));
            return Ok(variables(CA, None));
        }
    };
    for (path, creates) in ANCHORS {
        if let Err(error) = install_anchor(&guest, Path::new(path), creates, &bundle::block(&ca)) {
            crate::log(format_args!("cannot write {path}: {error}"));
        }
    }
    let first = install_in_bundles(&guest, &ca);
    let path = first.as_ref().map_or(CA, |bundle| bundle_path(root, bundle));
    let text = first.as_ref().map_or(ca_pem.as_bytes(), |bundle| &bundle.text);
    let java_store = if java::is_installed(&guest) { install_java_store(root, text) } else { None };
    Ok(variables(path, java_store))
}

/// Writes a trust store with the certificates of a bundle. Returns its path and its password; `None` after a failure.
fn install_java_store(root: &Path, bundle: &[u8]) -> Option<(&'static str, &'static str)> {
    match write_own(root, JAVA_STORE, &java::store(bundle::certificates(bundle))) {
        Ok(()) => Some((JAVA_STORE, java::PASSWORD)),
        Err(error) => {
            crate::log(format_args!("cannot write {JAVA_STORE}: {error}"));
            None
        }
    }
}

fn variables(bundle: &str, java_store: Option<(&'static str, &'static str)>) -> TrustVariables {
    let bundles = BUNDLE_VARIABLES.map(|name| (name, bundle.to_owned()));
    let defaults = bundles.into_iter().chain([(NODE_VARIABLE, CA.to_owned())]).collect();
    TrustVariables { defaults, java_store }
}

fn make_own_directory(root: &Path) -> Result<(), Error> {
    let path = own_path(root, DIRECTORY);
    match DirBuilder::new().mode(0o755).create(&path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => set_permissions(&path, Permissions::from_mode(0o755)),
    }
}

/// Writes a file on the tmpfs, which the guest cannot have changed.
fn write_own(root: &Path, path: &str, contents: &[u8]) -> Result<(), Error> {
    let path = own_path(root, path);
    write(&path, contents)?;
    set_permissions(&path, Permissions::from_mode(0o644))
}

fn own_path(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn install_anchor(guest: &GuestRoot, path: &Path, creates: bool, block: &[u8]) -> Result<(), Error> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    if creates {
        guest.make_directories(directory)?;
    } else if !guest.exists(directory) {
        return Ok(());
    }
    let place = guest.place(path)?;
    match guest.read(&place) {
        Ok(found) if found.contents == block => Ok(()),
        Ok(found) if bundle::is_block(&found.contents) => guest.replace(&place, &found, block).map(drop),
        Ok(_) => Err(Error::new(ErrorKind::AlreadyExists, "another file is there")),
        Err(error) if error.kind() == ErrorKind::NotFound => guest.create(&place, block),
        Err(error) => Err(error),
    }
}

/// A bundle of the distribution.
struct Bundle {
    path: &'static str,
    /// The contents, with the CA.
    text: Vec<u8>,
    /// Whether the file has these contents.
    is_written: bool,
}

/// Adds the CA to every bundle. Returns the first one.
fn install_in_bundles(guest: &GuestRoot, ca: &[Certificate]) -> Option<Bundle> {
    let mut first = None;
    let mut completed: Vec<Identity> = Vec::new();
    for path in BUNDLES {
        match find_bundle(guest, path, &completed) {
            Ok(Some((place, found))) => {
                let text = bundle::with(&found.contents, ca);
                let written = if text == found.contents {
                    Ok(found.identity())
                } else {
                    guest.replace(&place, &found, &text)
                };
                let is_written = written.is_ok();
                completed.push(written.unwrap_or_else(|error| {
                    crate::log(format_args!("cannot add the CA to {path}: {error}"));
                    found.identity()
                }));
                first.get_or_insert(Bundle { path, text, is_written });
            }
            Ok(None) => {}
            Err(error) => crate::log(format_args!("cannot add the CA to {path}: {error}")),
        }
    }
    first
}

/// Finds and reads a bundle; `None` if there is none, or it is one of those that are completed.
fn find_bundle(
    guest: &GuestRoot,
    path: &str,
    completed: &[Identity],
) -> Result<Option<(Place, Found)>, Error> {
    let found = guest.place(Path::new(path)).and_then(|place| {
        let found = guest.read(&place)?;
        Ok((place, found))
    });
    match found {
        Ok((_, found)) if completed.contains(&found.identity()) => Ok(None),
        Ok((_, found)) if !bundle::is_bundle(&found.contents) => {
            Err(Error::new(ErrorKind::InvalidData, "it has no certificates"))
        }
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the path of a file with the contents of a bundle. If the bundle itself could not be changed, that is a copy.
fn bundle_path(root: &Path, bundle: &Bundle) -> &'static str {
    if bundle.is_written {
        return bundle.path;
    }
    match write_own(root, COMPLETED_BUNDLE, &bundle.text) {
        Ok(()) => COMPLETED_BUNDLE,
        Err(error) => {
            crate::log(format_args!("cannot write {COMPLETED_BUNDLE}: {error}"));
            CA
        }
    }
}

/// Removes blocks from bundles, and then the anchors.
fn remove(root: &Path) -> Result<(), Error> {
    let guest = GuestRoot::open(root)?;
    let find_anchor = |(path, _)| {
        let place = guest.place(Path::new(path)).ok()?;
        let found = guest.read(&place).ok()?;
        bundle::is_block(&found.contents).then_some((place, found))
    };
    let anchors: Vec<_> = ANCHORS.into_iter().filter_map(find_anchor).collect();
    if anchors.is_empty() {
        return Ok(());
    }
    for path in BUNDLES {
        // A file that cannot be read was not changed either.
        let Ok(Some((place, found))) = find_bundle(&guest, path, &[]) else { continue };
        let text = bundle::without(&found.contents);
        if text != found.contents {
            // The anchors stay after a failure, for another attempt at the next boot.
            guest.replace(&place, &found, &text)?;
        }
    }
    for (place, found) in anchors {
        guest.remove(&place, &found)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

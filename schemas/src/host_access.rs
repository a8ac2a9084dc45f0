//! The host access of a project beyond its own folder and the public internet, which a user must confirm for a
//! Sandboxfile of another author.
//!
//! The caller resolves the links of paths.

use crate::digest::Digest;
use crate::listing;
use crate::model::{Model, Sandbox};
use crate::spec::ImageReference;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The version of the data in [`fingerprint`].
const FINGERPRINT_VERSION: u32 = 1;
/// The most sandboxes that are listed for one access.
const USERS_NAMED_MAX: usize = 5;

/// The kind of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostAccessKind {
    /// A file that is a part of the Sandboxfile, or contains its variables.
    File,
    /// The image of a sandbox.
    Image,
    /// A mounted file or folder.
    Mount,
    /// A folder that is copied into a sandbox.
    Sync,
    /// A file with a secret.
    SecretFile,
    /// An environment variable with a secret.
    SecretVariable,
    /// A command on the host that prints a secret.
    SecretCommand,
    /// Connections to the host or to networks that are not public.
    Network,
    /// A port that is open to other machines.
    Port,
}

impl HostAccessKind {
    /// Returns the words before the value in a list.
    fn title(self) -> &'static str {
        match self {
            Self::File => "reads the file",
            Self::Image => "boots from",
            Self::Mount => "mounts",
            Self::Sync => "copies from",
            Self::SecretFile => "takes a secret from the file",
            Self::SecretVariable => "takes a secret from the variable",
            Self::SecretCommand => "runs on this host, for a secret,",
            Self::Network => "may connect to more than public addresses:",
            Self::Port => "publishes to other machines the port",
        }
    }

    fn is_path(self) -> bool {
        match self {
            Self::File | Self::Image | Self::Mount | Self::Sync | Self::SecretFile => true,
            Self::SecretVariable | Self::SecretCommand | Self::Network | Self::Port => false,
        }
    }
}

/// One access.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct HostAccess {
    /// Its kind.
    pub kind: HostAccessKind,
    /// The absolute path, the name of the variable, the command as a JSON array, the network rule, or the port.
    pub value: String,
    /// The path after its links, if it differs.
    pub leads_to: Option<String>,
    /// The names of its sandboxes in the Sandboxfile.
    pub sandboxes: BTreeSet<String>,
    /// The paths of its properties in the Sandboxfile, such as `web.image`.
    #[serde(skip)]
    pub paths: BTreeSet<String>,
}

impl HostAccess {
    /// Describes it in one line.
    pub fn describe(&self) -> String {
        let Self { kind, value, leads_to, sandboxes, paths: _ } = self;
        let mut text = format!("{} {value}", kind.title());
        if let Some(leads_to) = leads_to {
            text.push_str(&format!(", which is {leads_to}"));
        }
        if !sandboxes.is_empty() {
            let named = listing::lines(sandboxes, USERS_NAMED_MAX, String::clone);
            text.push_str(&format!(" (for {})", named.join(", ")));
        }
        text
    }
}

/// The target of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolvedPath {
    /// An absolute path without links.
    To(PathBuf),
    /// Unknown: the path has a dangling link, or a folder that cannot be entered.
    Unknown,
}

/// Returns the accesses of a project beyond its folder, sorted.
///
/// `files` are the absolute paths of the files that other files include; `folder` is a path without links.
pub fn outside_folder(
    model: &Model,
    files: &[String],
    folder: &Path,
    leads: &dyn Fn(&str) -> ResolvedPath,
) -> Vec<HostAccess> {
    let mut all: BTreeMap<(HostAccessKind, String), Users> = BTreeMap::new();
    for file in files {
        let users = all.entry((HostAccessKind::File, file.clone())).or_default();
        users.paths.insert(format!("include.{file}"));
    }
    for sandbox in model.sandboxes() {
        for (kind, value, property) in of_sandbox(sandbox) {
            let users = all.entry((kind, value)).or_default();
            users.sandboxes.insert(sandbox.family().to_string());
            users.paths.insert(format!("{}.{property}", sandbox.family()));
        }
    }
    let outside = |((kind, value), Users { sandboxes, paths }): ((HostAccessKind, String), Users)| {
        let leads_to = match kind.is_path().then(|| leads(&value)) {
            None => None,
            Some(ResolvedPath::To(path)) if path.starts_with(folder) => return None,
            Some(ResolvedPath::To(path)) => Some(path.display().to_string()).filter(|path| *path != value),
            Some(ResolvedPath::Unknown) => Some("an unknown place".to_owned()),
        };
        Some(HostAccess { kind, value, leads_to, sandboxes, paths })
    };
    all.into_iter().filter_map(outside).collect()
}

/// The users of an access.
#[derive(Default)]
struct Users {
    sandboxes: BTreeSet<String>,
    paths: BTreeSet<String>,
}

/// Returns all accesses of a sandbox with their properties.
fn of_sandbox(sandbox: &Sandbox) -> Vec<(HostAccessKind, String, String)> {
    let mut reached = Vec::new();
    match sandbox.image() {
        ImageReference::Local { path } => {
            reached.push((HostAccessKind::Image, path.clone(), "image".to_owned()));
        }
        // It is not on this host.
        ImageReference::Registry { name: _ } => {}
    }
    sandbox.definition().reached(&mut |kind, value, property| {
        reached.push((kind, value, property.to_owned()));
    });
    reached
}

/// Returns the digest that a confirmation applies to: that of the path and contents of every file, and of all accesses,
/// which variables and links can change without any file.
pub fn fingerprint(files: &[(String, Digest)], reached: &[HostAccess]) -> Digest {
    Digest::of_json(&(FINGERPRINT_VERSION, files, reached))
}

#[cfg(test)]
mod tests;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, schemars::JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostAccessKind {
    /// A file that is a part of the Sandboxfile, or contains its variables.
    File,
    /// The image of a sandbox.
    Image,
    /// A snapshot of a sandbox's disk, with all that was on it.
    Snapshot,
    /// A file or folder that is mounted, and that the sandbox can write to.
    Mount,
    /// A file or folder that is mounted read-only.
    ReadonlyMount,
    /// A file or folder that is mounted so that the sandbox decides on modes and links of the host.
    ModesOfMount,
    /// A volume of another project, or of none.
    Volume,
    /// A file that is copied into a sandbox at each start.
    CopiedFile,
    /// A folder that is copied into a sandbox.
    Sync,
    /// A file with a secret.
    SecretFile,
    /// An environment variable with a secret.
    SecretVariable,
    /// A command on the host that prints a secret.
    SecretCommand,
    /// An entry of the user's keyring with a secret.
    SecretKeyring,
    /// A file with certificates of CAs.
    CaFile,
    /// A proxy that all connections to other machines go through.
    Proxy,
    /// A name server whose address is not public.
    NameServer,
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
            Self::Snapshot => "boots from, and can read, the snapshot",
            Self::Mount => "mounts, and may change,",
            Self::ReadonlyMount => "mounts read-only",
            Self::ModesOfMount => "may set modes of files, or make links, on this host in",
            Self::Volume => "mounts the volume",
            Self::CopiedFile => "copies the file",
            Self::Sync => "copies from",
            Self::SecretFile => "takes a secret from the file",
            Self::SecretVariable => "takes a secret from the variable",
            Self::SecretCommand => "runs on this host, for a secret,",
            Self::SecretKeyring => "takes a secret from the keyring's entry for",
            Self::Proxy => "connects to other machines through the proxy",
            Self::NameServer => "looks up names at the server",
            Self::CaFile => "reads CA certificates from the file",
            Self::Network => "may connect to more than public addresses:",
            Self::Port => "publishes to other machines the port",
        }
    }

    /// Returns whether the sandbox can read what is at the path.
    fn exposes(self) -> bool {
        matches!(self, Self::Mount | Self::ReadonlyMount | Self::CopiedFile)
    }

    fn is_path(self) -> bool {
        match self {
            Self::File
            | Self::Image
            | Self::Mount
            | Self::ReadonlyMount
            | Self::ModesOfMount
            | Self::CopiedFile
            | Self::Sync
            | Self::SecretFile
            | Self::CaFile => true,
            Self::Snapshot
            | Self::Volume
            | Self::SecretVariable
            | Self::SecretCommand
            | Self::SecretKeyring
            | Self::Proxy
            | Self::NameServer
            | Self::Network
            | Self::Port => false,
        }
    }
}

/// One access.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, schemars::JsonSchema, Serialize)]
pub struct HostAccess {
    /// Its kind.
    pub kind: HostAccessKind,
    /// The absolute path, the name of the variable, the command as a JSON array, the network rule, or the port.
    pub value: String,
    /// The path after its links, if it differs.
    pub leads_to: Option<String>,
    /// The reason to look twice, if there is one. The path says it already.
    #[serde(skip)]
    pub exposure: Option<Exposure>,
    /// The names of its sandboxes in the Sandboxfile.
    pub sandboxes: BTreeSet<String>,
    /// The paths of its properties in the Sandboxfile, such as `web.image`.
    #[serde(skip)]
    pub paths: BTreeSet<String>,
}

impl HostAccess {
    /// Describes it in one line.
    pub fn describe(&self) -> String {
        let Self { kind, value, leads_to, exposure, sandboxes, paths: _ } = self;
        let mut text = format!("{} {value}", kind.title());
        if let Some(leads_to) = leads_to {
            text.push_str(&format!(", which is {leads_to}"));
        }
        if let Some(exposure) = exposure {
            text.push_str(&format!(": {}", exposure.words()));
        }
        if !sandboxes.is_empty() {
            let named = listing::lines(sandboxes, USERS_NAMED_MAX, String::clone);
            text.push_str(&format!(" (for {})", named.join(", ")));
        }
        text
    }
}

/// A part of the host that is more than a project needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exposure {
    /// All files of the host.
    Everything,
    /// The files of a user, or of several.
    Home,
    /// Keys and passwords of the user.
    Keys,
    /// The host's system: its settings, programs, devices, and sockets of its services.
    System,
}

/// The folders of a home in which programs keep keys and passwords.
const KEYS: [&str; 8] =
    [".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".config/gcloud", ".password-store"];
/// The folders of the system.
const SYSTEM: [&str; 12] =
    ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/run"];

impl Exposure {
    /// Returns what a path without links exposes; `home` is the home folder of the user.
    fn of(path: &Path, home: Option<&Path>) -> Option<Self> {
        let is_within = |folder: &Path| path.starts_with(folder);
        if path == Path::new("/") {
            return Some(Self::Everything);
        }
        if let Some(home) = home {
            if home.starts_with(path) {
                return Some(Self::Home);
            }
            if KEYS.iter().any(|keys| is_within(&home.join(keys))) {
                return Some(Self::Keys);
            }
        }
        let others = ["/home", "/root"].map(Path::new);
        if others.contains(&path) {
            return Some(Self::Home);
        }
        SYSTEM.iter().any(|folder| is_within(Path::new(folder))).then_some(Self::System)
    }

    fn words(self) -> &'static str {
        match self {
            Self::Everything => "everything on this host",
            Self::Home => "everything in a home folder",
            Self::Keys => "keys and passwords are kept there",
            Self::System => "a part of this host's system",
        }
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
/// `files` are the absolute paths of the files that other files include; `folder` and `home`, the user's home folder, are
/// paths without links.
pub fn outside_folder(
    model: &Model,
    files: &[String],
    folder: &Path,
    home: Option<&Path>,
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
        let target = leads_to.as_deref().unwrap_or(&value);
        let exposure = if kind.exposes() { Exposure::of(Path::new(target), home) } else { None };
        Some(HostAccess { kind, value, leads_to, exposure, sandboxes, paths })
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
        ImageReference::Snapshot { name } => {
            reached.push((HostAccessKind::Snapshot, name.to_string(), "image".to_owned()));
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

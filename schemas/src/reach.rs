//! What a project reaches on the host beyond its own folder and the public internet: what somebody must have
//! agreed to who did not write the Sandboxfile.
//!
//! This is a function of values. Where a path really leads, links followed, is asked from outside.

use crate::digest::Digest;
use crate::listing;
use crate::model::{Model, Sandbox};
use crate::spec::ImageReference;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The version of what [`fingerprint`] takes in.
const FINGERPRINT_VERSION: u32 = 1;
/// So many users of one thing are named.
const USERS_NAMED_MAX: usize = 5;

/// What is reached for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReachKind {
    /// A file that is read as a part of the Sandboxfile, or for its variables.
    File,
    /// What a sandbox boots from.
    Image,
    /// A file or a folder of the host that a sandbox sees.
    Mount,
    /// A folder of the host that is copied into a sandbox.
    Sync,
    /// A file of the host whose text a sandbox uses as a secret.
    SecretFile,
    /// A variable of the host that a sandbox uses as a secret.
    SecretVariable,
    /// A command that runs on the host.
    SecretCommand,
    /// Connections to the host or to networks that are not public.
    Network,
    /// A port that other machines than the host can connect to.
    Port,
}

impl ReachKind {
    /// In a list, before the value.
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

/// One thing that is reached for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reach {
    /// What it is.
    pub kind: ReachKind,
    /// The absolute path, the variable's name, the command and its arguments as a JSON array, the network rule, or
    /// the port.
    pub value: String,
    /// Where the path really leads, where that is not what is written; nothing for what is no path.
    pub leads_to: Option<String>,
    /// The sandboxes that it is for, as the Sandboxfile names them.
    pub sandboxes: BTreeSet<String>,
    /// The values of the Sandboxfile that name it, as `msb config --explain` does: `web.image`.
    #[serde(skip)]
    pub paths: BTreeSet<String>,
}

impl Reach {
    /// It in one line.
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

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    /// To this absolute path, on which there are no links.
    To(PathBuf),
    /// That cannot be told: to a link that leads nowhere yet, or through a folder that cannot be entered.
    Nobody,
}

/// What a project reaches beyond its folder, sorted.
///
/// `files` are the absolute paths of what was read because another file said so; `folder` is a path without
/// links.
pub fn beyond(model: &Model, files: &[String], folder: &Path, leads: &dyn Fn(&str) -> Leads) -> Vec<Reach> {
    let mut all: BTreeMap<(ReachKind, String), Users> = BTreeMap::new();
    for file in files {
        let users = all.entry((ReachKind::File, file.clone())).or_default();
        users.paths.insert(format!("include.{file}"));
    }
    for sandbox in model.sandboxes() {
        for (kind, value, property) in of_sandbox(sandbox) {
            let users = all.entry((kind, value)).or_default();
            users.sandboxes.insert(sandbox.family().to_string());
            users.paths.insert(format!("{}.{property}", sandbox.family()));
        }
    }
    let outside = |((kind, value), Users { sandboxes, paths }): ((ReachKind, String), Users)| {
        let leads_to = match kind.is_path().then(|| leads(&value)) {
            None => None,
            Some(Leads::To(path)) if path.starts_with(folder) => return None,
            Some(Leads::To(path)) => Some(path.display().to_string()).filter(|path| *path != value),
            Some(Leads::Nobody) => Some("a place that cannot be told".to_owned()),
        };
        Some(Reach { kind, value, leads_to, sandboxes, paths })
    };
    all.into_iter().filter_map(outside).collect()
}

/// Who names a thing.
#[derive(Default)]
struct Users {
    sandboxes: BTreeSet<String>,
    paths: BTreeSet<String>,
}

/// What one sandbox reaches for, wherever that is, and the property that says so.
fn of_sandbox(sandbox: &Sandbox) -> Vec<(ReachKind, String, String)> {
    let mut reached = Vec::new();
    match sandbox.image() {
        ImageReference::Local { path } => {
            reached.push((ReachKind::Image, path.clone(), "image".to_owned()));
        }
        // What is in a registry is not on this host.
        ImageReference::Registry { name: _ } => {}
    }
    sandbox.definition().reached(&mut |kind, value, property| {
        reached.push((kind, value, property.to_owned()));
    });
    reached
}

/// What a yes is bound to: every file that was read, by path and contents, and everything that is reached.
///
/// What is reached is part of it because variables and links lead elsewhere without a change of any file.
pub fn fingerprint(files: &[(String, Digest)], reached: &[Reach]) -> Digest {
    Digest::of_json(&(FINGERPRINT_VERSION, files, reached))
}

#[cfg(test)]
mod tests;

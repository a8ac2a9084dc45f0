//! `Sandboxfile.lock`: which contents each image reference stands for, by platform.
//!
//! ```json
//! {
//!   "version": 1,
//!   "images": {
//!     "./image": {
//!       "linux/amd64": "sha256:…"
//!     }
//!   }
//! }
//! ```
//!
//! One line a pin, sorted, so that what a change pins anew is what its diff shows. Keys are references as
//! text that means the same on every machine: see [`portable`]. A pull asks [`LockFile::pin`] first; without
//! a pin it takes what the registry has, and what it took is pinned.

mod parse;
mod portable;

pub use parse::LockFileError;
pub use portable::portable;

use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The file's name in the project's folder.
pub const LOCK_FILE_NAME: &str = "Sandboxfile.lock";
/// The version of the format.
pub const LOCK_FILE_VERSION: u64 = 1;
/// The largest lock file that is read, in bytes: 10,000 images for two platforms take a sixth of it.
pub const LOCK_FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What an image runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Platform {
    /// x86-64.
    #[serde(rename = "linux/amd64")]
    LinuxAmd64,
    /// 64-bit ARM.
    #[serde(rename = "linux/arm64")]
    LinuxArm64,
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::LinuxAmd64, Self::LinuxArm64];

    /// The platform of a processor, as [`std::env::consts::ARCH`] names it.
    pub fn of_processor(name: &str) -> Option<Self> {
        match name {
            "x86_64" => Some(Self::LinuxAmd64),
            "aarch64" => Some(Self::LinuxArm64),
            _ => None,
        }
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "linux/amd64",
            Self::LinuxArm64 => "linux/arm64",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The pins of one project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockFile {
    /// Portable reference → platform → digest. No reference is without a pin.
    images: BTreeMap<String, BTreeMap<Platform, Digest>>,
}

/// What a reference stands for on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was looked at.
    Contents(Digest),
    /// It lies in a registry that was not asked: a pin is as good as the contents.
    Unasked,
}

/// One pin that is not what there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The portable reference.
    pub reference: String,
    /// For which platform.
    pub platform: Platform,
    /// What it is pinned to; nothing without a pin.
    pub pinned: Option<Digest>,
    /// What it stands for; nothing where no image has this reference any more, or where it was not asked for.
    pub found: Option<Digest>,
}

impl LockFile {
    /// The contents that a reference is pinned to.
    pub fn pin(&self, reference: &str, platform: Platform) -> Option<&Digest> {
        self.images.get(reference)?.get(&platform)
    }

    /// All contents that something is pinned to, on whatever platform.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.images.values().flat_map(BTreeMap::values)
    }

    /// What keeps a frozen run from going on: references without a pin, and pins that are not what there is.
    ///
    /// Pins of references that nothing names are in nobody's way.
    pub fn differences(&self, found: &BTreeMap<String, Found>, platform: Platform) -> Vec<Difference> {
        let differs = |(reference, found): (&String, &Found)| {
            let pinned = self.pin(reference, platform);
            let contents = match found {
                Found::Contents(digest) => Some(digest),
                Found::Unasked => pinned,
            };
            (pinned.is_none() || pinned != contents).then(|| Difference {
                reference: reference.clone(),
                platform,
                pinned: pinned.cloned(),
                found: contents.cloned(),
            })
        };
        found.iter().filter_map(differs).collect()
    }

    /// The pins after references were looked at: theirs for this platform are renewed, those of other
    /// platforms stay, references that nothing names any more are dropped.
    ///
    /// With `only`, no pin but those of these references is renewed; what has none is pinned all the same.
    pub fn renewed(
        &self,
        found: &BTreeMap<String, Found>,
        platform: Platform,
        only: Option<&BTreeSet<String>>,
    ) -> Self {
        let mut images = BTreeMap::new();
        for (reference, found) in found {
            let mut pins = self.images.get(reference).cloned().unwrap_or_default();
            let is_kept = only.is_some_and(|only| !only.contains(reference)) && pins.contains_key(&platform);
            if let (false, Found::Contents(digest)) = (is_kept, found) {
                pins.insert(platform, digest.clone());
            }
            if !pins.is_empty() {
                images.insert(reference.clone(), pins);
            }
        }
        Self { images }
    }

    /// What another state of it says otherwise, old to new; nothing when both are the same.
    pub fn changes(&self, new: &Self) -> Vec<Difference> {
        let keys = |lock_file: &Self| -> Vec<(String, Platform)> {
            let pins = |(reference, pins): (&String, &BTreeMap<Platform, Digest>)| {
                pins.keys().map(|platform| (reference.clone(), *platform)).collect::<Vec<_>>()
            };
            lock_file.images.iter().flat_map(pins).collect()
        };
        let all: BTreeSet<_> = keys(self).into_iter().chain(keys(new)).collect();
        let differs = |(reference, platform): (String, Platform)| {
            let (old, new) = (self.pin(&reference, platform), new.pin(&reference, platform));
            let (pinned, found) = (old.cloned(), new.cloned());
            (old != new).then_some(Difference { reference, platform, pinned, found })
        };
        all.into_iter().filter_map(differs).collect()
    }

    /// The file's text.
    pub fn print(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            version: u64,
            images: &'a BTreeMap<String, BTreeMap<Platform, Digest>>,
        }
        let document = Document { version: LOCK_FILE_VERSION, images: &self.images };
        let mut text = serde_json::to_string_pretty(&document).expect("plain data serializes");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests;

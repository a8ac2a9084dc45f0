//! `Sandboxfile.lock`: the digests of image references, by platform.
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
//! Each pin has a line, and lines are sorted, so that a diff shows the changed pins only. Keys are references in a form
//! that is the same on every machine: see [`portable`]. A pull uses [`LockFile::pin`]; without a pin it resolves the
//! reference in the registry, and the result becomes the pin.

mod parse;
mod portable;

pub use parse::LockFileError;
pub use portable::portable;

use crate::digest::Digest;
use crate::spec::ImageReference;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The name of the file in the project's folder.
pub const LOCK_FILE_NAME: &str = "Sandboxfile.lock";
/// The version of the format.
pub const LOCK_FILE_VERSION: u64 = 1;
/// The largest lock file, in bytes. 10,000 images for two platforms need a sixth of it.
pub const LOCK_FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

rules::words! {
    /// The platform of an image.
    Platform {
        /// x86-64.
        LinuxAmd64 = "linux/amd64",
        /// 64-bit ARM.
        LinuxArm64 = "linux/arm64",
    }
}

impl Platform {
    /// Returns the platform of a processor by its name in [`std::env::consts::ARCH`]; `None` for an unsupported one.
    pub fn of_processor(name: &str) -> Option<Self> {
        match name {
            "x86_64" => Some(Self::LinuxAmd64),
            "aarch64" => Some(Self::LinuxArm64),
            _ => None,
        }
    }
}

/// The pins of one project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockFile {
    /// Digests by portable reference and platform. Each reference has at least one.
    images: BTreeMap<String, BTreeMap<Platform, Digest>>,
}

/// The image of a reference on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The reference was resolved to this digest.
    Contents(Digest),
    /// The registry was not asked, so that any pin is accepted.
    Unasked,
}

/// A difference between a pin and an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The portable reference.
    pub reference: String,
    /// The platform.
    pub platform: Platform,
    /// The pinned digest; `None` without a pin.
    pub pinned: Option<Digest>,
    /// The digest of the image; `None` if no image has this reference any more, or the registry was not asked.
    pub found: Option<Digest>,
}

impl LockFile {
    /// Returns the pinned digest of a reference; `None` without a pin.
    pub fn pin(&self, reference: &str, platform: Platform) -> Option<&Digest> {
        self.images.get(reference)?.get(&platform)
    }

    /// Returns all pinned digests of all platforms, but those of snapshots: only the name of a snapshot leads to it.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        let is_image = |reference: &String| !reference.starts_with(ImageReference::SNAPSHOT_PREFIX);
        self.images
            .iter()
            .filter(move |(reference, _)| is_image(reference))
            .flat_map(|(_, pins)| pins.values())
    }

    /// Returns the differences that a frozen run refuses: references without a pin, and pins of other digests. Pins of
    /// unused references are not among them.
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

    /// Returns the pins after references were resolved: those for this platform are renewed, those of other platforms are
    /// kept, and unused references are removed.
    ///
    /// With `only`, only the pins of these references are renewed; references without a pin get one in any case.
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

    /// Returns the differences of a newer lock file from this one.
    pub fn changes(&self, new: &Self) -> Vec<Difference> {
        let images = self.images.iter().chain(&new.images);
        let keys =
            images.flat_map(|(reference, pins)| pins.keys().map(move |platform| (reference, *platform)));
        let differs = |(reference, platform): (&String, Platform)| {
            let (pinned, found) =
                (self.pin(reference, platform).cloned(), new.pin(reference, platform).cloned());
            let reference = reference.clone();
            (pinned != found).then_some(Difference { reference, platform, pinned, found })
        };
        keys.collect::<BTreeSet<_>>().into_iter().filter_map(differs).collect()
    }

    /// Returns the text of the file.
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

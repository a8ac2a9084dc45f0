//! What commands on volumes, snapshots and images have done, as JSON.

use schemars::JsonSchema;
use serde::Serialize;

/// The version of these formats.
pub const VERSION: u32 = 1;

/// What was removed: names of volumes or snapshots, or images.
#[derive(JsonSchema, Serialize)]
pub struct Removed<'a, T> {
    version: u32,
    removed: &'a [T],
}

impl<'a, T> Removed<'a, T> {
    /// Creates the document.
    pub const fn new(removed: &'a [T]) -> Self {
        Self { version: VERSION, removed }
    }
}

/// An image that was removed.
#[derive(JsonSchema, Serialize)]
pub struct RemovedImage {
    /// Its references.
    pub references: Vec<String>,
    /// The bytes on disk that are free now.
    pub bytes: u64,
}

/// The images that were pulled or loaded.
#[derive(JsonSchema, Serialize)]
pub struct Images<'a> {
    version: u32,
    images: &'a [Image],
}

impl<'a> Images<'a> {
    /// Creates the document.
    pub const fn new(images: &'a [Image]) -> Self {
        Self { version: VERSION, images }
    }
}

/// An image that was pulled or loaded.
#[derive(JsonSchema, Serialize)]
pub struct Image {
    /// Its reference.
    pub reference: String,
    /// Its digest.
    pub digest: String,
}

/// A volume that is there now.
#[derive(JsonSchema, Serialize)]
pub struct CreatedVolume<'a> {
    /// [`VERSION`].
    pub version: u32,
    /// Its name.
    pub name: &'a str,
    /// Whether it is new.
    pub created: bool,
}

/// A snapshot that was created or imported.
#[derive(JsonSchema, Serialize)]
pub struct CreatedSnapshot<'a> {
    /// [`VERSION`].
    pub version: u32,
    /// Its name.
    pub name: &'a str,
    /// The digest of its disk and configuration.
    pub digest: &'a str,
    /// The bytes of its disk that are not holes.
    pub data_bytes: u64,
}

/// What was copied into or out of a sandbox.
#[derive(JsonSchema, Serialize)]
pub struct Copied {
    /// [`VERSION`].
    pub version: u32,
    /// The number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The number of devices, sockets and pipes, which are not copied.
    pub skipped: u64,
    /// The number of files that could not be copied.
    pub failed: u64,
}

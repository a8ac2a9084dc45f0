//! Why documents of images are refused.

use schemas::lockfile::Platform;

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// It is not JSON, or not of this form.
    #[error("the {what} is malformed")]
    Malformed {
        /// The kind of document.
        what: &'static str,
        /// The cause.
        source: serde_json::Error,
    },
    /// It exceeds a limit.
    #[error("the {what} names {count} {of}, and at most {max} are read")]
    TooMany {
        /// The kind of document.
        what: &'static str,
        /// The count.
        count: usize,
        /// The counted items.
        of: &'static str,
        /// The limit.
        max: usize,
    },
    /// It can be read in two ways.
    #[error("the manifest is ambiguous: {0}")]
    Ambiguous(&'static str),
    /// It is docker's version 1 of before 2016.
    #[error("the manifest has the old form of docker's version 1, which is not supported")]
    Outdated,
    /// It is another artifact: a chart, a signature.
    #[error("this is not an image of a root file system, but {media_type:?}")]
    NotAnImage {
        /// Its media type.
        media_type: String,
    },
    /// A layer has an unsupported type.
    #[error("layer {number} has the type {media_type:?}, which is not supported")]
    UnsupportedLayer {
        /// The layer's number, from 1.
        number: usize,
        /// Its media type.
        media_type: String,
    },
    /// A declared size exceeds its limit.
    #[error("{what} is declared with {size} bytes, and at most {max} are read")]
    Size {
        /// The item.
        what: String,
        /// The declared size, in bytes.
        size: u64,
        /// The limit, in bytes.
        max: u64,
    },
    /// The index has no image for the platform.
    #[error("there is no image for {platform}; there is one for {}", schemas::listing::names(offered))]
    NoPlatform {
        /// The platform.
        platform: Platform,
        /// The platforms of the index.
        offered: Vec<String>,
    },
    /// The image is for another platform.
    #[error("the image is for {offered}, and this machine is {platform}")]
    OtherPlatform {
        /// This machine's platform.
        platform: Platform,
        /// The image's platform.
        offered: String,
    },
    /// A text contains a NUL, which cannot be passed to a command.
    #[error("the config of the image contains a NUL: {text:?}")]
    Nul {
        /// The text, with visible NULs.
        text: String,
    },
    /// Manifest and config disagree.
    #[error("the manifest has {layers} layers, but the config lists {diff_ids}")]
    LayerCount {
        /// Layers in the manifest.
        layers: usize,
        /// Layers in the config.
        diff_ids: usize,
    },
}

//! `--pull`: when to query registries for images.

use crate::error::{CliError, Context};
use crate::host;
use crate::project::lockfile::Pins;
use clap::ValueEnum;
use executor::images::{ImageQuery, Pull};
use executor_host::home::Home;
use rules::reference::Reference;
use schemas::spec::ImageReference;
use std::collections::BTreeSet;
use std::sync::Arc;

/// When to query registries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// For every image that Sandboxfile.lock does not pin.
    Always,
    /// For images that are neither pinned nor known on this machine.
    #[default]
    Missing,
    /// Never: a missing image is an error.
    Never,
}

impl From<When> for Pull {
    fn from(when: When) -> Self {
        match when {
            When::Always => Self::Always,
            When::Missing => Self::Missing,
            When::Never => Self::Never,
        }
    }
}

/// The option of commands that need images.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct PullOption {
    /// When to query registries for images.
    #[arg(long, value_enum, default_value_t = When::Missing, value_name = "WHEN")]
    pub pull: When,
}

/// Parses an image on the command line: a path that begins with `.` or `/`, a snapshot, else a reference.
///
/// # Errors
///
/// If the path does not exist or the reference is invalid.
pub fn reference_of(text: &str) -> Result<ImageReference, CliError> {
    if text == "." || text == ".." || ["/", "./", "../"].iter().any(|start| text.starts_with(start)) {
        let path = std::fs::canonicalize(text).context(format_args!("cannot use the image {text}"))?;
        let path = path.to_str().ok_or_else(|| CliError::new(format!("the path {text} is not UTF-8")))?;
        return Ok(ImageReference::Local { path: path.to_owned() });
    }
    if let Some(snapshot) = ImageReference::snapshot(text) {
        return snapshot
            .map_err(|reason| CliError::usage(format!("{text:?} does not name a snapshot: {reason}")));
    }
    match text.parse::<Reference>() {
        Ok(name) => Ok(ImageReference::Registry { name }),
        Err(invalid) => Err(CliError::usage(format!("{text:?} cannot be an image: {invalid}"))
            .maybe_hint(invalid.suggestion.map(|suggestion| format!("did you mean {suggestion:?}?")))),
    }
}

/// Returns the query for a project's images with the pins of its lock file.
///
/// # Errors
///
/// If the settings of registries cannot be read.
pub fn image_query(
    home: &Home,
    references: BTreeSet<ImageReference>,
    pins: &Pins,
    when: When,
) -> Result<ImageQuery, CliError> {
    let registries = Arc::new(host::registries(home)?);
    let pins = pins.of(&references);
    Ok(ImageQuery { pins, references, pull: when.into(), registries, ..ImageQuery::default() })
}

//! `--pull`: when to query registries for images.

use crate::error::{CliError, Context};
use crate::host;
use crate::project::lockfile::Pins;
use clap::ValueEnum;
use executor::images::{ImageQuery, Pull};
use executor_host::home::Home;
use rules::reference::Reference;
use schemas::model::Model;
use schemas::spec::ImageReference;
use std::collections::{BTreeMap, BTreeSet};
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
    /// When to query registries for images. Default: `pull` of the sandbox, or missing.
    #[arg(long, value_enum, value_name = "WHEN")]
    pub pull: Option<When>,
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

/// Returns the policies of asking registries that the sandboxes of a model declare for their images. If several have the
/// same image, the one that asks most applies.
pub fn declared_pulls(model: &Model) -> BTreeMap<ImageReference, Pull> {
    let mut pulls = BTreeMap::new();
    for sandbox in model.sandboxes() {
        if let Some(pull) = sandbox.definition().pull {
            let most = pulls.entry(sandbox.image().clone()).or_insert(pull);
            *most = pull.min(*most);
        }
    }
    pulls
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

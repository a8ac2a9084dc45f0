//! Conversion of compose files: their text in, the text of a Sandboxfile and a report out.
//!
//! ```text
//! files ─► load: include, extends, several files ─► one tree ─► project, service: Document ─► out: KDL or YAML
//!                                                      └── ledger: what has become of every key ──► Report
//! ```
//!
//! What maps is mapped, what changes its meaning has a comment beside it, and what cannot be has a comment with the
//! reason and the next step. Nothing is dropped silently: every key of the input is in exactly one [`Entry`].
//!
//! Architecture invariant: no files and no environment; the caller passes the texts, and [`HostFiles`] reads others.

#![warn(missing_docs, clippy::missing_errors_doc)]

mod context;
mod ledger;
mod load;
mod merge;
mod out;
mod paths;
mod project;
mod service;
mod variables;

pub use ledger::{Entry, Outcome};
pub use sandboxfile::{Format, HostFiles};

use context::Context;
use sandboxfile::yaml::Node;
use sandboxfile::{Code, Report, Span};
use std::collections::BTreeMap;

/// The names of compose files that are searched for in a folder, in this order.
pub const FILE_NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// A compose file.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    /// Its name, as messages show it.
    pub name: &'a str,
    /// Its contents.
    pub bytes: &'a [u8],
    /// The absolute path of its folder.
    pub folder: &'a str,
}

/// The compose files of a project, and what the result is for.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The files, each of which overrides the ones before. Paths in all of them are relative to the first one's folder.
    pub files: Vec<SourceFile<'a>>,
    /// The values of variables: of the environment, and of `.env`.
    pub variables: BTreeMap<String, String>,
    /// The absolute path of the folder that the Sandboxfile will be in.
    pub folder: &'a str,
    /// The spelling of the Sandboxfile.
    pub format: Format,
}

/// A converted project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The text of the Sandboxfile.
    pub text: String,
    /// What has become of each part of the input, in the order of its files and lines.
    pub entries: Vec<Entry>,
}

impl Converted {
    /// Returns the number of entries with an outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.entries.iter().filter(|entry| entry.outcome == outcome).count()
    }
}

/// Converts a project.
///
/// # Errors
///
/// A report of all errors, if the files are not YAML or break the compose specification.
pub fn convert(input: &Input<'_>, host: &dyn HostFiles) -> Result<Converted, Report> {
    let mut context = Context::new(host, &input.variables, input.folder);
    let converted = load::load(&mut context, input)
        .and_then(|root| converted(&mut context, &root, input))
        .filter(|_| context.files.is_clean());
    match converted {
        Some(converted) => Ok(converted),
        None => {
            if context.files.is_clean() {
                // A file with an error has a report; this is for an input without files.
                context.refuse::<()>(
                    Code::NoSandboxes,
                    Span::default(),
                    "there is no compose file",
                    "name one",
                );
            }
            Err(context.files.into_report())
        }
    }
}

fn converted(context: &mut Context<'_>, root: &Node, input: &Input<'_>) -> Option<Converted> {
    let names: Vec<&str> = input.files.iter().map(|file| file.name).collect();
    let document = project::convert(context, root, &names)?;
    let ledger = std::mem::take(&mut context.ledger);
    let entries = ledger.close(root, &context.files);
    Some(Converted { text: document.print(input.format), entries })
}

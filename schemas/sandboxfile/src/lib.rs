//! The front end of the Sandboxfile: text in, a validated [`Model`] or all diagnostics out.
//!
//! ```text
//! each file: bytes ─► syntax::{kdl, yaml} ─► Item ─► values::read: Raw… (as typed, with spans, variables replaced)
//! all files: merge: includes, overlays, `like` ─► check ─► Model
//!                   └── diagnostics of every stage ──► Report
//! ```
//!
//! [`load`] reads, [`print`] writes. Nothing here opens a file: the caller passes the bytes, and [`HostFiles`] answers
//! questions about paths and reads included files, so that a missing image is a labelled diagnostic like all others.
//!
//! One rule merges the values of several files, and those of a sandbox and the one named by its `like`:
//! **scalars replace, maps merge by key, lists replace**. A file overrides the files that it includes, and each `-f`
//! the ones before it.
//!
//! The table of properties is `schemas::sandbox_properties!`; the kinds of their values are in `values`, and the names
//! inside blocks in `language`.

#![warn(missing_docs, clippy::missing_errors_doc)]

mod check;
mod diagnostics;
pub mod language;
mod merge;
pub mod print;
mod syntax;
mod values;
mod variables;
pub mod yaml;

pub use diagnostics::{Code, DIAGNOSTICS_MAX, Diagnostic, Label, Located, Report, Severity, SourceRange};
pub use language::{NotFound, find, json_schema};
pub use merge::{Line, Origin, Origins, Remark};
pub use syntax::{ScalarKind, Span, Spanned, WrittenName, written_name};
pub use values::absolute;
pub use variables::{ENV_FILE_BYTES_MAX, EnvFile, Variables, read_env_file};

use check::project;
use diagnostics::Context;
use merge::{Traces, layers, like};
use schemas::digest::Digest;
use schemas::model::Model;
use schemas::name::ProjectName;

/// The file names that are searched for in a folder, in this order.
pub const FILE_NAMES: [&str; 4] = ["Sandboxfile", "Sandboxfile.kdl", "Sandboxfile.yaml", "Sandboxfile.yml"];

/// The language that a Sandboxfile is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// KDL 2.
    Kdl,
    /// YAML 1.2.
    Yaml,
}

impl Format {
    /// Returns the format for a file name: YAML for `.yaml` and `.yml`, otherwise KDL.
    pub fn of_file_name(name: &str) -> Self {
        let lowered = name.to_ascii_lowercase();
        if lowered.ends_with(".yaml") || lowered.ends_with(".yml") { Self::Yaml } else { Self::Kdl }
    }

    /// Returns the first value for KDL, the second for YAML.
    pub(crate) fn pick<T>(self, kdl: T, yaml: T) -> T {
        match self {
            Self::Kdl => kdl,
            Self::Yaml => yaml,
        }
    }

    /// Returns the format of a text without a file name, such as standard input: YAML when its first line is `word:`.
    pub fn of_text(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        if syntax::kdl::looks_like_yaml(text) { Self::Yaml } else { Self::Kdl }
    }
}

/// One source text.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// The name of the file, as messages show it.
    pub name: &'a str,
    /// The absolute path of the file; `None` for standard input.
    pub path: Option<&'a str>,
    /// Its contents.
    pub bytes: &'a [u8],
    /// Its format.
    pub format: Format,
    /// The absolute path of the folder that relative paths in it are resolved against.
    pub folder: &'a str,
}

/// The source texts of a project, and the surroundings that they are read in.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The Sandboxfile, then its overlays, each of which overrides the ones before.
    pub sources: Vec<Source<'a>>,
    /// The project's name; overrides that of the files.
    pub project: Option<ProjectName>,
    /// The project's name when neither the caller nor a file sets it: that of the folder.
    pub default_project: Option<ProjectName>,
    /// The values of `${NAME}`.
    pub variables: Variables<'a>,
    /// The host's memory in MiB; `None` when it is unknown.
    pub host_memory_mib: Option<u64>,
    /// Whether to fill [`Loaded::origins`].
    pub explain: bool,
}

impl<'a> Input<'a> {
    /// Returns the input of a single text, without variables.
    pub fn of(source: Source<'a>) -> Self {
        Self {
            sources: vec![source],
            project: None,
            default_project: None,
            variables: Variables::default(),
            host_memory_mib: None,
            explain: false,
        }
    }
}

/// A project that was read without errors.
#[derive(Debug)]
pub struct Loaded {
    /// The project that the files declare.
    pub model: Model,
    /// Every Sandboxfile that was read, included ones too, from the lowest layer to the uppermost.
    pub files: Vec<ReadFile>,
    /// The warnings, if there are any.
    pub warnings: Option<Report>,
    /// Where each value comes from.
    pub origins: Origins,
}

/// A Sandboxfile that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFile {
    /// Its name, as messages show it.
    pub name: String,
    /// Its absolute path; `None` for standard input.
    pub path: Option<String>,
    /// The digest of its contents.
    pub digest: Digest,
    /// Whether it was read because another one includes it.
    pub included: bool,
}

/// The kind of file at a host path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A socket, a pipe or a device.
    Other,
}

/// Access to the files of the host, for checks and includes.
pub trait HostFiles {
    /// Returns the kind of file at this absolute path, links followed; `None` when it does not exist.
    fn kind(&self, path: &str) -> Option<FileKind>;

    /// Reads an included file or the contents of a `file`, at most `limit + 1` bytes.
    ///
    /// # Errors
    ///
    /// The reason, in a few words, when the file cannot be read.
    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, String>;
}

/// Treats every path as a directory, for callers that only read the text.
#[derive(Clone, Copy, Debug, Default)]
pub struct AssumePresent;

impl HostFiles for AssumePresent {
    fn kind(&self, _path: &str) -> Option<FileKind> {
        Some(FileKind::Directory)
    }

    fn read(&self, _path: &str, _limit: usize) -> Result<Vec<u8>, String> {
        Err("files are not read here".to_owned())
    }
}

/// Returns a text as a value in a Sandboxfile, escaped so that nothing in it is a variable.
pub fn text_in(format: Format, text: &str) -> String {
    let literal = variables::interpolate::escape(text);
    match format {
        Format::Kdl => print::kdl_string(&literal),
        Format::Yaml => print::yaml_string(&literal),
    }
}

/// Returns a text as a value in a Sandboxfile, in which `${NAME}` stays a variable.
pub fn template_in(format: Format, text: &str) -> String {
    match format {
        Format::Kdl => print::kdl_string(text),
        Format::Yaml => print::yaml_string(text),
    }
}

/// Returns a text as the name of a node or as a key: without quotes if possible.
pub fn key_in(format: Format, text: &str) -> String {
    match format {
        Format::Kdl => print::kdl_name(text),
        Format::Yaml => print::yaml_string(text),
    }
}

/// Reads and checks a project.
///
/// # Errors
///
/// A report of all errors.
pub fn load(input: &Input<'_>, files: &dyn HostFiles) -> Result<Loaded, Report> {
    let mut context = Context::new(files);
    context.explain = input.explain;
    let read = layers::gather(&mut context, input).and_then(|layers::Layers { raw, files }| {
        let mut origins = if input.explain { Traces::of(&raw) } else { Traces::default() };
        let mut raw = project::merge(&mut context, raw);
        like::inherit(&mut context, &mut raw, &mut origins);
        if input.explain {
            origins.rules_of(&raw);
        }
        let model = project::check(&mut context, &raw, input)?;
        let origins = if input.explain { origins.finish(&mut context) } else { Origins::default() };
        Some((model, origins, files))
    });
    let (sources, findings) = context.into_findings();
    let report = (!findings.is_empty()).then(|| Report::new(&sources, findings));
    match (read, report) {
        (Some((model, origins, files)), warnings) => Ok(Loaded { model, files, warnings, origins }),
        (None, report) => Err(report.unwrap_or_else(|| Report::new(&sources, Vec::new()))),
    }
}

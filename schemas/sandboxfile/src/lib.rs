//! The Sandboxfile: text in, a validated [`Model`] or all diagnostics out.
//!
//! ```text
//! each file: bytes ─► kdl | yaml ─► tree::Item ─► read: Raw… (as typed, with spans, variables replaced)
//! all files: includes and overlays laid over each other ─► `like` taken over ─► check ─► Model
//!                          └──────── diagnostics of every stage ────────► Report
//! ```
//!
//! [`load`]`(&Input, &dyn HostFiles) -> Result<Loaded, Report>` is the only way in; [`print`] is the way
//! back. Nothing here opens a file: the caller passes the bytes, answers questions about paths and reads
//! what is included through [`HostFiles`], so that a missing image is a labelled diagnostic like all others.
//!
//! One rule says how values of several files, and of a sandbox and the one that it is like, come together:
//! **scalars replace, maps merge by key, lists replace**. A file lies over what it includes, and each `-f`
//! over the one before.
//!
//! The table of properties is `schemas::sandbox_properties!`; the kinds of their values are in `values`, and the names
//! inside blocks in `language`.

mod check;
mod diagnostics;
pub mod language;
mod merge;
pub mod print;
mod syntax;
mod values;
mod variables;

pub use diagnostics::{Code, DIAGNOSTICS_MAX, Diagnostic, Label, Located, Place, Report, Severity};
pub use language::{NotFound, find, json_schema};
pub use merge::{Line, Origin, Origins, Remark};
pub use syntax::{Span, Spanned, WrittenName, written_name};
pub use variables::{ENV_FILE_BYTES_MAX, EnvFile, Variables, read_env_file};

use check::project;
use diagnostics::Context;
use merge::{Traces, layers, like};
use schemas::digest::Digest;
use schemas::model::Model;
use schemas::name::ProjectName;

/// The file names that are looked for in a folder.
pub const FILE_NAMES: [&str; 4] = ["Sandboxfile", "Sandboxfile.kdl", "Sandboxfile.yaml", "Sandboxfile.yml"];

/// How a Sandboxfile is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// KDL 2.
    Kdl,
    /// YAML 1.2.
    Yaml,
}

impl Format {
    /// The spelling that a file's name stands for: YAML with `.yaml` or `.yml`, else KDL.
    pub fn of_file_name(name: &str) -> Self {
        let lowered = name.to_ascii_lowercase();
        if lowered.ends_with(".yaml") || lowered.ends_with(".yml") { Self::Yaml } else { Self::Kdl }
    }

    /// The spelling of a text without a name, such as standard input: YAML when its first line is `word:`.
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
    /// The absolute path of the file; nothing for standard input.
    pub path: Option<&'a str>,
    /// What it holds.
    pub bytes: &'a [u8],
    /// How it is spelled.
    pub format: Format,
    /// The absolute path of the folder that relative paths in it start from.
    pub folder: &'a str,
}

/// A project's texts and what they are read against.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The Sandboxfile, then its overlays, each of which lies over the ones before.
    pub sources: Vec<Source<'a>>,
    /// The project's name, whatever the files say.
    pub project: Option<ProjectName>,
    /// The project's name when nobody says anything: the folder's.
    pub default_project: Option<ProjectName>,
    /// What `${NAME}` stands for.
    pub variables: Variables<'a>,
    /// The host's memory in MiB, when it is known.
    pub host_memory_mib: Option<u64>,
    /// Whether [`Loaded::origins`] is wanted.
    pub explain: bool,
}

impl<'a> Input<'a> {
    /// A single text, without variables.
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

/// A project that was read and is sound.
#[derive(Debug)]
pub struct Loaded {
    /// What the files say.
    pub model: Model,
    /// Every Sandboxfile that was read, included ones too, in the order in which they lie over each other.
    pub files: Vec<ReadFile>,
    /// What is odd but stands in nobody's way; nothing when there is nothing.
    pub warnings: Option<Report>,
    /// Where each value comes from.
    pub origins: Origins,
}

/// A Sandboxfile that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFile {
    /// Its name, as messages show it.
    pub name: String,
    /// Its absolute path; nothing for standard input.
    pub path: Option<String>,
    /// The digest of what it held.
    pub digest: Digest,
    /// Whether it was read because another one includes it.
    pub included: bool,
}

/// What a host path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A socket, a pipe or a device.
    Other,
}

/// What the checks ask about the host's files.
pub trait HostFiles {
    /// What this absolute path is, links followed; `None` when it is not there.
    fn kind(&self, path: &str) -> Option<FileKind>;

    /// What a file holds that another one includes, at most `limit` bytes and one more; or why it cannot be
    /// read, in a few words.
    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, String>;
}

/// Takes every path for a directory: for callers that only read the text.
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

/// Writes a text as a value of a Sandboxfile that means just this text.
pub fn text_in(format: Format, text: &str) -> String {
    let literal = variables::interpolate::escape(text);
    match format {
        Format::Kdl => print::kdl_string(&literal),
        Format::Yaml => print::yaml_string(&literal),
    }
}

/// Reads and checks a project; the report holds every error that was found.
pub fn load(input: &Input<'_>, files: &dyn HostFiles) -> Result<Loaded, Report> {
    let mut context = Context::new(files);
    context.explain = input.explain;
    let read = layers::gather(&mut context, input).and_then(|layers::Layers { raw, files }| {
        let mut origins = if input.explain { Traces::of(&raw) } else { Traces::default() };
        let mut raw = project::merge(&mut context, raw);
        like::take_over(&mut context, &mut raw, &mut origins);
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

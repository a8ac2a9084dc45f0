//! The Sandboxfile: text in, a validated [`Model`] or all diagnostics out.
//!
//! ```text
//! bytes ─► kdl | yaml ─► tree::Item ─► read: Raw… (as typed, with spans) ─► check ─► Model
//!                    └───────────── diagnostics of every stage ──────────────► Report
//! ```
//!
//! [`load`]`(&Source, &dyn HostFiles) -> Result<Model, Report>` is the only way in; [`print`] is the way
//! back. Nothing here opens a file: the caller passes the bytes and answers questions about paths
//! through [`HostFiles`], so that a missing image is a labelled diagnostic like all others.
//!
//! A property of the language has its name in `names` and, for a sandbox, its file in `section`.

mod code;
mod context;
mod dependencies;
mod diagnostic;
mod kdl;
mod kdl_blocks;
mod kdl_errors;
mod kdl_reader;
mod kdl_string;
mod kdl_text;
pub mod names;
mod path;
pub mod print;
mod project;
mod read;
mod report;
mod sandbox;
mod section;
mod span;
mod suggest;
mod tree;
mod yaml;
mod yaml_node;
mod yaml_reader;

pub use code::Code;
pub use diagnostic::{Diagnostic, Label, Severity};
pub use report::{DIAGNOSTICS_MAX, Located, Report};
pub use span::{Span, Spanned};

use crate::model::Model;
use crate::name::ProjectName;
use crate::spec::limits::SANDBOXFILE_BYTES_MAX;
use context::Context;

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
        if kdl::looks_like_yaml(text) { Self::Yaml } else { Self::Kdl }
    }
}

/// A source text and what it is read against.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// The name of the file, as messages show it.
    pub name: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
    /// How it is spelled.
    pub format: Format,
    /// The absolute path of the folder that relative paths in it start from.
    pub folder: &'a str,
    /// The project's name, whatever the file says.
    pub project: Option<ProjectName>,
    /// The project's name when nobody says anything: the folder's.
    pub default_project: Option<ProjectName>,
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
}

/// Takes every path for a directory: for callers that only read the text.
#[derive(Clone, Copy, Debug, Default)]
pub struct AssumePresent;

impl HostFiles for AssumePresent {
    fn kind(&self, _path: &str) -> Option<FileKind> {
        Some(FileKind::Directory)
    }
}

/// Reads and checks a Sandboxfile; the report holds every error that was found.
pub fn load(source: &Source<'_>, files: &dyn HostFiles) -> Result<Model, Report> {
    let mut context = Context::new(source.format, source.folder, files);
    let text = match text_of(source.bytes) {
        Ok(text) => text,
        Err((diagnostic, shown)) => return Err(Report::new(source.name, &shown, vec![diagnostic])),
    };
    let items = match source.format {
        Format::Kdl => kdl::parse(&mut context, text),
        Format::Yaml => yaml::parse(&mut context, text),
    };
    let model = items.and_then(|items| {
        let raw = project::read(&mut context, &items);
        project::check(&mut context, &raw, source.project.clone(), source.default_project.clone())
    });
    match model {
        Some(model) => Ok(model),
        None => Err(Report::new(source.name, text, context.into_diagnostics())),
    }
}

/// The text of a file of bearable size, or what is wrong and the part of the text that shows it.
fn text_of(bytes: &[u8]) -> Result<&str, (Diagnostic, String)> {
    if bytes.len() > SANDBOXFILE_BYTES_MAX {
        let limit = SANDBOXFILE_BYTES_MAX / (1024 * 1024);
        let message = format!("this file has {} bytes, more than any Sandboxfile needs", bytes.len());
        let diagnostic = Diagnostic::error(Code::TooLarge, Span::default(), message)
            .help(format!("a Sandboxfile has at most {limit} MiB; put data into the image"));
        return Err((Diagnostic { labels: Vec::new(), ..diagnostic }, String::new()));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let good = error.valid_up_to();
        let shown = String::from_utf8_lossy(bytes).into_owned();
        let length = '\u{FFFD}'.len_utf8();
        let message = format!("this file is not UTF-8: byte {} is 0x{:02X}", good + 1, bytes[good]);
        let diagnostic = Diagnostic::error(Code::NotUtf8, Span::new(good, good + length), message)
            .label("not a character")
            .help("save the file as UTF-8");
        (diagnostic, shown)
    })
}

//! Compose files that override, include and extend each other, with their env files.

use crate::sandboxfile::check;
use compose::{Converted, Format, HostFiles, Input, SourceFile, convert};
use sandboxfile::{FileKind, Report, Source, Variables};
use schemas::model::Model;
use schemas::name::ProjectName;
use std::collections::BTreeMap;

/// The line between two files of an input.
const BETWEEN_FILES: &[u8] = b"#file\n";
/// The path of each file of an input. The second one overrides the first.
const PATHS: [&str; 5] = [
    "/project/compose.yaml",
    "/project/over.yaml",
    "/project/a.yaml",
    "/project/sub/b.yaml",
    "/project/a.env",
];
/// The number of files that are converted; the others can be included and extended.
const CONVERTED: usize = 2;

/// The files of an input; every other path is a directory.
struct Host<'a>(Vec<(&'static str, &'a [u8])>);

impl HostFiles for Host<'_> {
    fn kind(&self, path: &str) -> Option<FileKind> {
        let is_file = self.0.iter().any(|(own, _)| *own == path);
        Some(if is_file { FileKind::File } else { FileKind::Directory })
    }

    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, String> {
        let found = self.0.iter().find(|(own, _)| *own == path);
        let (_, bytes) = found.ok_or_else(|| "no such file".to_owned())?;
        Ok(bytes.iter().copied().take(limit + 1).collect())
    }
}

/// Either a report with places inside the files, or a Sandboxfile that reads as the same project in both spellings.
pub fn files(bytes: &[u8]) {
    let host = Host(PATHS.into_iter().zip(split(bytes)).collect());
    match (converted(&host, Format::Kdl), converted(&host, Format::Yaml)) {
        (Ok(kdl), Ok(yaml)) => {
            assert_eq!(kdl.entries, yaml.entries, "the report depends on the spelling");
            let is_read = |note: &Option<String>| note.as_deref() != Some("it was not read");
            assert!(kdl.entries.iter().all(|entry| is_read(&entry.note)), "{:#?}", kdl.entries);
            let models = (model(&kdl.text, Format::Kdl, &host), model(&yaml.text, Format::Yaml, &host));
            assert_eq!(models.0, models.1, "{}\n{}", kdl.text, yaml.text);
        }
        (Err(kdl), Err(yaml)) => {
            check(&kdl);
            assert_eq!(kdl.diagnostics().len(), yaml.diagnostics().len());
        }
        (Ok(converted), Err(report)) | (Err(report), Ok(converted)) => {
            panic!("one spelling alone: {:#?}\n{}", report.diagnostics(), converted.text);
        }
    }
}

/// Splits an input at each line between files.
fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut files = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(BETWEEN_FILES.len()).position(|line| line == BETWEEN_FILES) {
        files.push(&rest[..at]);
        rest = &rest[at + BETWEEN_FILES.len()..];
    }
    files.push(rest);
    files
}

fn environment() -> BTreeMap<String, String> {
    let set = [("A", "1"), ("EMPTY", ""), ("HOME", "/root")];
    set.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn converted(host: &Host<'_>, format: Format) -> Result<Converted, Report> {
    let files = host.0.iter().take(CONVERTED).map(|(path, bytes)| SourceFile {
        name: path.trim_start_matches("/project/"),
        bytes,
        folder: "/project",
    });
    let input = Input { files: files.collect(), variables: environment(), folder: "/project", format };
    convert(&input, host)
}

/// Reads a result. What is wrong with it comes from the values of the input, and it is always a Sandboxfile: `None`
/// if a value is refused.
fn model(text: &str, format: Format, host: &Host<'_>) -> Option<Model> {
    let source =
        Source { name: "Sandboxfile", path: None, bytes: text.as_bytes(), format, folder: "/project" };
    let input = sandboxfile::Input {
        default_project: ProjectName::new("project").ok(),
        variables: Variables { environment: environment(), files: Vec::new() },
        ..sandboxfile::Input::of(source)
    };
    let report = match sandboxfile::load(&input, host) {
        Ok(loaded) => return Some(loaded.model),
        Err(report) => report,
    };
    for found in report.diagnostics() {
        let code = found.code.as_str();
        let is_written_wrongly = ["syntax", "unknown_property", "duplicate_property", "wrong_type"];
        let is_sound = !is_written_wrongly.iter().any(|word| code.ends_with(word));
        assert!(is_sound, "{code}: {}\n{text}", found.message);
    }
    None
}

//! Compose files from the outside: fixtures, the account of every key, merged files, and hostile input.

#![allow(clippy::unwrap_used)]

mod accounts;
mod errors;
mod fixtures;
mod hostile;
mod include;
mod keys;
mod table;
mod tags;

use compose::{Converted, Format, HostFiles, Input, SourceFile, convert};
use sandboxfile::{EnvFile, FileKind, Loaded, Report, Source, Variables, load, read_env_file};
use schemas::name::ProjectName;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The files of a fixture, on a host where everything else that is mentioned exists too.
pub struct Host {
    /// The folder with the files; they are in `/project`.
    pub folder: PathBuf,
}

impl HostFiles for Host {
    fn kind(&self, path: &str) -> Option<FileKind> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_file = name.starts_with('.')
            || [".tar", ".conf", ".yml", ".env", ".txt"].iter().any(|end| name.ends_with(end));
        (!name.contains("missing")).then_some(if is_file { FileKind::File } else { FileKind::Directory })
    }

    fn read(&self, path: &str, _limit: usize) -> Result<Vec<u8>, String> {
        let own = path.strip_prefix("/project/").map(|path| self.folder.join(path));
        match own.map(std::fs::read) {
            Some(Ok(bytes)) => Ok(bytes),
            _ if path.ends_with(".yaml") || path.ends_with(".yml") => Err("no such file".to_owned()),
            _ => Ok(Vec::new()),
        }
    }
}

/// A host that has these files alone: their paths and contents.
pub struct Texts<'a>(pub &'a [(&'a str, &'a str)]);

impl HostFiles for Texts<'_> {
    fn kind(&self, path: &str) -> Option<FileKind> {
        self.0.iter().any(|(own, _)| *own == path).then_some(FileKind::File)
    }

    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, String> {
        let found = self.0.iter().find(|(own, _)| *own == path);
        let (_, text) = found.ok_or_else(|| "no such file".to_owned())?;
        Ok(text.bytes().take(limit + 1).collect())
    }
}

/// Converts texts in `/project`, each with its name.
pub fn convert_all(
    files: &[(&str, &str)],
    variables: &[(&str, &str)],
    format: Format,
    host: &dyn HostFiles,
) -> Result<Converted, Report> {
    let files =
        files.iter().map(|(name, text)| SourceFile { name, bytes: text.as_bytes(), folder: "/project" });
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let input = Input { files: files.collect(), variables: variables.collect(), folder: "/project", format };
    convert(&input, host)
}

/// Converts one text without variables.
pub fn convert_one(text: &str, format: Format) -> Result<Converted, Report> {
    convert_all(&[("compose.yaml", text)], &[], format, &Host { folder: PathBuf::new() })
}

/// Loads a result as `msb` does.
pub fn check(
    text: &str,
    variables: &BTreeMap<String, String>,
    format: Format,
    host: &dyn HostFiles,
) -> Result<Loaded, Report> {
    let name = match format {
        Format::Kdl => "Sandboxfile",
        Format::Yaml => "Sandboxfile.yaml",
    };
    let source = Source { name, path: None, bytes: text.as_bytes(), format, folder: "/project" };
    let mut environment = variables.clone();
    environment.insert("HOME".to_owned(), "/home/user".to_owned());
    let input = sandboxfile::Input {
        default_project: ProjectName::new("project").ok(),
        variables: Variables { environment, files: Vec::new() },
        ..sandboxfile::Input::of(source)
    };
    load(&input, host)
}

/// Returns the findings of a report as lines.
pub fn lines(report: &Report) -> Vec<String> {
    let line = |found: &sandboxfile::Diagnostic| {
        let place = report.place(found.span());
        let help = found.help.as_deref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{}:{}: {}{help}", place.file, place.line, found.message)
    };
    report.diagnostics().iter().map(line).collect()
}

/// Returns the variables of a `.env`.
pub fn variables_of(bytes: &[u8]) -> BTreeMap<String, String> {
    read_env_file(&EnvFile { name: ".env", bytes }, &BTreeMap::new()).unwrap()
}

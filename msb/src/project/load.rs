//! Finds the Sandboxfile and loads it.

use crate::cli::Global;
use crate::error::{CliError, Exit, Shown};
use crate::host;
use crate::output::OutputOptions;
use crate::project;
use crate::report;
use sandboxfile::{
    ENV_FILE_BYTES_MAX, EnvFile, FILE_NAMES, FileKind, Format, HostFiles, Input, Origins, ReadFile, Report,
    Source, Variables, WrittenName, load as load_source, written_name,
};
use schemas::digest::Digest;
use schemas::model::Model;
use schemas::name::{ProjectName, suggest_name};
use schemas::spec::limits::SANDBOXFILE_BYTES_MAX;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A loaded project.
#[derive(Debug)]
pub struct Loaded {
    /// What the Sandboxfile says.
    pub model: Model,
    /// The first file, as it is shown.
    pub file: String,
    /// Every Sandboxfile that was read, included ones too.
    pub read: Vec<ReadFile>,
    /// The files of variables that were looked for, whether they are there or not; the first one is `.env`.
    pub env_files: Vec<PathBuf>,
    /// Where each value comes from; empty unless it was asked for.
    pub origins: Origins,
    /// The project's folder.
    pub folder: PathBuf,
    /// Whether its name is that of its folder, because no file gives it one.
    pub is_named_after_folder: bool,
    /// Whether it was read from standard input: then no file stands for it.
    pub from_standard_input: bool,
    /// Every file that was read, by its absolute path, or `-` for standard input, and the digest of what it held.
    pub files: Vec<(String, Digest)>,
    /// Those of them that the command line named, or that were found.
    pub named: Vec<String>,
    /// Those of them that were read because another one said so.
    pub included: Vec<String>,
}

/// Answers questions about paths by looking.
pub struct OsFiles;

impl HostFiles for OsFiles {
    fn kind(&self, path: &str) -> Option<FileKind> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(match () {
            () if metadata.is_dir() => FileKind::Directory,
            () if metadata.is_file() => FileKind::File,
            () => FileKind::Other,
        })
    }

    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, String> {
        let refused = |error: &std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            std::io::ErrorKind::PermissionDenied => "not allowed to read it".to_owned(),
            _ => error.to_string(),
        };
        // A pipe would wait for its writer, and a directory cannot be read.
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err("not a file".to_owned()),
            Err(error) => return Err(refused(&error)),
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(|error| refused(&error))?;
        file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|error| refused(&error))?;
        Ok(bytes)
    }
}

/// One file of the command line, read.
struct Given {
    shown: String,
    path: Option<PathBuf>,
    bytes: Vec<u8>,
    folder: PathBuf,
}

impl Given {
    /// How it is spelled.
    fn format(&self) -> Format {
        self.path.as_deref().map_or_else(
            || Format::of_text(&self.bytes),
            |path| Format::of_file_name(&path.to_string_lossy()),
        )
    }
}

/// Reading less than this takes no time that anybody notices.
const TOLD_FROM_BYTES: usize = 128 * 1024;

/// Loads the project that the command line and the working directory name.
pub fn load(global: &Global) -> Result<Loaded, CliError> {
    load_as(global, OutputOptions::of(global), false)
}

/// Loads the project, and where each of its values comes from.
pub fn load_and_explain(global: &Global) -> Result<Loaded, CliError> {
    load_as(global, OutputOptions::of(global), true)
}

/// The same without a word about what is odd in it.
pub fn load_and_explain_silently(global: &Global) -> Result<Loaded, CliError> {
    load_as(global, OutputOptions { quiet: true, ..OutputOptions::of(global) }, true)
}

fn load_as(global: &Global, verbosity: OutputOptions, explain: bool) -> Result<Loaded, CliError> {
    let here = current_folder()?;
    let given = match global.files.as_slice() {
        [] => vec![open(&find(&here)?, &here)?],
        files if files.iter().filter(|file| file.as_os_str() == "-").count() > 1 => {
            return Err(CliError::new("standard input can be read only once: `-f -` is given again")
                .exit(Exit::Usage));
        }
        files => files.iter().map(|file| open(file, &here)).collect::<Result<_, _>>()?,
    };
    let bytes: usize = given.iter().map(|given| given.bytes.len()).sum();
    if bytes > TOLD_FROM_BYTES {
        let names: Vec<&str> = given.iter().map(|given| given.shown.as_str()).collect();
        verbosity.say(&format!("reading {} ({} KiB)", names.join(", "), bytes >> 10));
    }
    let own_folder = given.first().map_or_else(|| here.clone(), |first| first.folder.clone());
    let folder = folder_of(global, own_folder)?;
    let (env_files, read_env_files) = env_files(global, &folder, &here)?;
    let mut sources = Vec::new();
    for given in &given {
        let folder = if global.project_directory.is_some() { &folder } else { &given.folder };
        sources.push(Source {
            name: &given.shown,
            path: given.path.as_deref().map(utf8).transpose()?,
            bytes: &given.bytes,
            format: given.format(),
            folder: utf8(folder)?,
        });
    }
    let input = Input {
        sources,
        project: named_project(global)?,
        default_project: project::default_name_of(&folder),
        variables: Variables {
            environment: environment(),
            files: read_env_files.iter().map(|(name, bytes)| EnvFile { name, bytes }).collect(),
        },
        host_memory_mib: host::memory_mib(),
        explain,
    };
    let render = |report: &Report| report::diagnostics::text(report, &verbosity);
    match load_source(&input, &OsFiles) {
        Ok(loaded) => {
            if let Some(warnings) = &loaded.warnings {
                verbosity.say(render(warnings).trim_end());
            }
            let sandboxfile::Loaded { model, files: read, warnings: _, origins } = loaded;
            let path = |file: &ReadFile| file.path.clone().unwrap_or_else(|| "-".to_owned());
            let paths = |included| {
                read.iter().filter(move |file| file.included == included).map(path).collect::<Vec<_>>()
            };
            let is_unnamed =
                |given: &Given| written_name(&given.bytes, given.format()) == WrittenName::Unnamed;
            Ok(Loaded {
                is_named_after_folder: input.default_project.as_ref() == Some(model.project())
                    && given.iter().all(is_unnamed),
                model,
                from_standard_input: given.first().is_some_and(|first| first.path.is_none()),
                files: read.iter().map(|file| (path(file), file.digest.clone())).collect(),
                named: paths(false),
                included: paths(true),
                file: given.into_iter().next().map(|first| first.shown).unwrap_or_default(),
                read,
                env_files,
                origins,
                folder,
            })
        }
        Err(report) => Err(refused(&report, global)),
    }
}

/// The project's folder, whatever its Sandboxfile says.
pub fn project_folder(global: &Global) -> Result<PathBuf, CliError> {
    let here = current_folder()?;
    let own_folder = match global.files.first() {
        Some(file) if file.as_os_str() == "-" => here,
        Some(file) => folder_around(file, &here),
        None => here.ancestors().find(|folder| has_sandboxfile(folder)).unwrap_or(&here).to_owned(),
    };
    folder_of(global, own_folder)
}

/// The folder that relative paths start from, without links: the one named, else the Sandboxfile's own.
pub fn folder_of(global: &Global, own_folder: PathBuf) -> Result<PathBuf, CliError> {
    match &global.project_directory {
        Some(folder) => std::fs::canonicalize(folder).map_err(|error| {
            CliError::new(format!("cannot use --project-directory {}: {error}", folder.display()))
        }),
        None => Ok(std::fs::canonicalize(&own_folder).unwrap_or(own_folder)),
    }
}

/// The folder that a file is in.
fn folder_around(file: &Path, here: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    absolute.parent().map_or_else(|| here.to_owned(), Path::to_owned)
}

/// Reads one file of the command line; `-` is standard input.
fn open(path: &Path, here: &Path) -> Result<Given, CliError> {
    if path.as_os_str() == "-" {
        let shown = "standard input".to_owned();
        let bytes = read_bounded(std::io::stdin().lock(), &shown, SANDBOXFILE_BYTES_MAX)?;
        return Ok(Given { shown, path: None, bytes, folder: here.to_owned() });
    }
    let shown = shown(path, here);
    let file = std::fs::File::open(path)
        .map_err(|error| CliError::new(format!("cannot read the Sandboxfile {shown}: {error}")))?;
    let bytes = read_bounded(file, &shown, SANDBOXFILE_BYTES_MAX)?;
    let folder = folder_around(path, here);
    let folder = std::fs::canonicalize(&folder).unwrap_or(folder);
    let path = path.file_name().map(|name| folder.join(name));
    Ok(Given { shown, path, bytes, folder })
}

/// The files of variables, in the order in which they are looked in, and what those hold that are there.
type EnvFiles = (Vec<PathBuf>, Vec<(String, Vec<u8>)>);

fn env_files(global: &Global, folder: &Path, here: &Path) -> Result<EnvFiles, CliError> {
    let beside = folder.join(".env");
    let mut read = Vec::new();
    let name = |path: &Path| shown(path, here);
    if beside.is_file() {
        let file = std::fs::File::open(&beside)
            .map_err(|error| CliError::new(format!("cannot read {}: {error}", name(&beside))))?;
        read.push((name(&beside), read_bounded(file, &name(&beside), ENV_FILE_BYTES_MAX)?));
    }
    let mut paths = vec![beside];
    for path in global.env_files.iter().rev() {
        let file = std::fs::File::open(path)
            .map_err(|error| CliError::new(format!("cannot read the --env-file {}: {error}", name(path))))?;
        read.push((name(path), read_bounded(file, &name(path), ENV_FILE_BYTES_MAX)?));
        paths.push(std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    }
    Ok((paths, read))
}

fn utf8(path: &Path) -> Result<&str, CliError> {
    path.to_str().ok_or_else(|| CliError::new(format!("the path {} is not UTF-8", path.display())))
}

/// The host's environment, as far as it is text.
pub fn environment() -> BTreeMap<String, String> {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

/// What is wrong with the file.
fn refused(report: &Report, global: &Global) -> CliError {
    let shown = report::diagnostics::text(report, &OutputOptions::of(global));
    CliError::refused(report, annotated(report, shown))
}

/// What is shown of a report; on GitHub it is told also where the file is shown.
pub fn annotated(report: &Report, text: String) -> Shown {
    let annotations = match report::on_github() {
        true => report::github::annotations(&report::findings::of(report), &report::repository_path),
        false => String::new(),
    };
    Shown { text, annotations }
}

/// `-p` or `MSB_PROJECT`.
pub fn named_project(global: &Global) -> Result<Option<ProjectName>, CliError> {
    let Some(text) = &global.project else { return Ok(None) };
    ProjectName::new(text.clone()).map(Some).map_err(|error| {
        let failure =
            CliError::new(format!("{text:?} cannot be a project's name: {error}")).exit(Exit::Usage);
        match suggest_name(text) {
            Some(name) => failure.hint(format!("for example {name:?}")),
            None => failure,
        }
    })
}

/// The project that a folder's name stands for.
pub fn folder_project(folder: &Path) -> Option<ProjectName> {
    ProjectName::new(suggest_name(folder.file_name()?.to_str()?)?).ok()
}

/// The working directory.
pub fn current_folder() -> Result<PathBuf, CliError> {
    std::env::current_dir()
        .map_err(|error| CliError::new(format!("cannot tell the working directory: {error}")))
}

/// Whether a Sandboxfile stands in this very folder.
pub fn has_sandboxfile(folder: &Path) -> bool {
    FILE_NAMES.iter().any(|name| folder.join(name).is_file())
}

/// The Sandboxfile in this very folder, where there is exactly one.
pub fn file_in(folder: &Path) -> Option<PathBuf> {
    let mut found = FILE_NAMES.iter().map(|name| folder.join(name)).filter(|path| path.is_file());
    found.next().filter(|_| found.next().is_none())
}

/// Looks in a folder, then in each of its parents.
fn find(start: &Path) -> Result<PathBuf, CliError> {
    for folder in start.ancestors() {
        let found: Vec<_> =
            FILE_NAMES.iter().map(|name| folder.join(name)).filter(|path| path.is_file()).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one.clone()),
            several => {
                let names: Vec<_> = several.iter().map(|path| shown(path, start)).collect();
                return Err(CliError::new(format!(
                    "there is more than one Sandboxfile: {}",
                    names.join(" and ")
                ))
                .hint("keep one of them, or choose with -f FILE"));
            }
        }
    }
    Err(CliError::new(format!("there is no Sandboxfile in {} or above it", start.display()))
        .hint("`msb init` writes one; -f FILE names another"))
}

/// A path as a person in this folder would write it.
fn shown(path: &Path, here: &Path) -> String {
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// Reads a little more than is allowed, so that what is too large is told, and not read whole.
pub fn read_bounded(source: impl Read, name: &str, limit: usize) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    source
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::new(format!("cannot read {name}: {error}")))?;
    if bytes.len() > limit {
        return Err(CliError::new(format!("{name} is larger than the {} MiB that it may have", limit >> 20))
            .hint("put data into the image, and scripts' data into files"));
    }
    Ok(bytes)
}

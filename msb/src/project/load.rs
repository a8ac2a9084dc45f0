//! Finding and loading the Sandboxfile.

use crate::cli::Global;
use crate::error::{CliError, Context};
use crate::host;
use crate::output::OutputOptions;
use crate::project;
use crate::report;
use sandboxfile::{
    ENV_FILE_BYTES_MAX, EnvFile, FILE_NAMES, FileKind, Format, HostFiles, Input, Origins, ReadFile, Source,
    Variables, WrittenName, load as load_source, written_name,
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
    /// The resolved model.
    pub model: Model,
    /// The first file, as shown to the user.
    pub file: String,
    /// Every Sandboxfile that was read, included ones too.
    pub read: Vec<ReadFile>,
    /// Files of variables, existing or not; the first one is `.env`.
    pub env_files: Vec<PathBuf>,
    /// Origins of all values; empty unless requested.
    pub origins: Origins,
    /// The project's folder.
    pub folder: PathBuf,
    /// Whether the project is named after its folder, because no file names it.
    pub is_named_after_folder: bool,
    /// Whether the first file is standard input.
    pub from_standard_input: bool,
    /// Absolute path of every file that was read, or `-` for standard input, with the digest of its contents.
    pub files: Vec<(String, Digest)>,
    /// The paths of `files` that the command line named, or that were found.
    pub named: Vec<String>,
    /// The paths of `files` that other files included.
    pub included: Vec<String>,
}

/// The files of this machine.
pub struct OsFiles;

impl HostFiles for OsFiles {
    fn kind(&self, path: &str) -> Option<FileKind> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(if metadata.is_dir() {
            FileKind::Directory
        } else if metadata.is_file() {
            FileKind::File
        } else {
            FileKind::Other
        })
    }

    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, String> {
        let refused = |error: &std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            std::io::ErrorKind::PermissionDenied => "not allowed to read it".to_owned(),
            _ => error.to_string(),
        };
        // Opening a pipe would block.
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

/// A Sandboxfile from the command line, or the one that was found.
struct InputFile {
    shown: String,
    /// `None` for standard input.
    path: Option<PathBuf>,
    bytes: Vec<u8>,
    folder: PathBuf,
}

impl InputFile {
    fn format(&self) -> Format {
        self.path.as_deref().map_or_else(
            || Format::of_text(&self.bytes),
            |path| Format::of_file_name(&path.to_string_lossy()),
        )
    }
}

/// Size in bytes from which reading takes noticeable time and is announced.
const ANNOUNCED_BYTES_MIN: usize = 128 * 1024;

/// Loads the project that the command line or the working directory names.
///
/// # Errors
///
/// If there is no Sandboxfile, or it is invalid.
pub fn load(global: &Global) -> Result<Loaded, CliError> {
    load_as(global, OutputOptions::of(global), false, "")
}

/// Loads the project with the origins of its values.
///
/// # Errors
///
/// Those of [`load`].
pub fn load_and_explain(global: &Global) -> Result<Loaded, CliError> {
    load_as(global, OutputOptions::of(global), true, "")
}

/// The name of the layer of `--scale` in messages.
const SCALE: &str = "--scale";

/// Loads the project, with the origins of its values if `explain`. `scale` is the text of a last layer in KDL, which is
/// none of the project's files.
///
/// # Errors
///
/// Those of [`load`].
pub fn load_as(
    global: &Global,
    output: OutputOptions,
    explain: bool,
    scale: &str,
) -> Result<Loaded, CliError> {
    let here = current_folder()?;
    let inputs = match global.files.as_slice() {
        [] => vec![open(&find(&here)?, &here)?],
        files if files.iter().filter(|file| file.as_os_str() == "-").count() > 1 => {
            return Err(CliError::usage("standard input can be read only once: `-f -` is repeated"));
        }
        files => files.iter().map(|file| open(file, &here)).collect::<Result<_, _>>()?,
    };
    let bytes: usize = inputs.iter().map(|input| input.bytes.len()).sum();
    if bytes > ANNOUNCED_BYTES_MIN {
        let names: Vec<&str> = inputs.iter().map(|input| input.shown.as_str()).collect();
        output.say(&format!("reading {} ({} KiB)", names.join(", "), bytes >> 10));
    }
    let own_folder = inputs.first().map_or_else(|| here.clone(), |first| first.folder.clone());
    let folder = folder_of(global, own_folder)?;
    let EnvFiles { paths: env_files, read: read_env_files } = env_files(global, &folder, &here)?;
    let mut sources = Vec::new();
    for input in &inputs {
        let folder = if global.project_directory.is_some() { &folder } else { &input.folder };
        sources.push(Source {
            name: &input.shown,
            path: input.path.as_deref().map(utf8).transpose()?,
            bytes: &input.bytes,
            format: input.format(),
            folder: utf8(folder)?,
        });
    }
    if !scale.is_empty() {
        let (path, bytes, format) = (None, scale.as_bytes(), Format::Kdl);
        sources.push(Source { name: SCALE, path, bytes, format, folder: utf8(&folder)? });
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
    let loaded =
        load_source(&input, &OsFiles).map_err(|report| CliError::refused(&report, &output).annotated())?;
    if let Some(warnings) = &loaded.warnings {
        output.say(report::diagnostics::text(warnings, &output).trim_end());
    }
    let sandboxfile::Loaded { model, files: mut read, warnings: _, origins } = loaded;
    read.retain(|file| file.name != SCALE);
    let path = |file: &ReadFile| file.path.clone().unwrap_or_else(|| "-".to_owned());
    let paths =
        |included| read.iter().filter(move |file| file.included == included).map(path).collect::<Vec<_>>();
    let is_unnamed = |input: &InputFile| written_name(&input.bytes, input.format()) == WrittenName::Unnamed;
    Ok(Loaded {
        is_named_after_folder: input.default_project.as_ref() == Some(model.project())
            && inputs.iter().all(is_unnamed),
        model,
        from_standard_input: inputs.first().is_some_and(|first| first.path.is_none()),
        files: read.iter().map(|file| (path(file), file.digest.clone())).collect(),
        named: paths(false),
        included: paths(true),
        file: inputs.into_iter().next().map(|first| first.shown).unwrap_or_default(),
        read,
        env_files,
        origins,
        folder,
    })
}

/// Returns the project's folder without reading its Sandboxfile.
///
/// # Errors
///
/// If the working directory or `--project-directory` does not exist.
pub fn project_folder(global: &Global) -> Result<PathBuf, CliError> {
    let here = current_folder()?;
    let own_folder = match global.files.first() {
        Some(file) if file.as_os_str() == "-" => here,
        Some(file) => parent_of(file, &here),
        None => here.ancestors().find(|folder| has_sandboxfile(folder)).unwrap_or(&here).to_owned(),
    };
    folder_of(global, own_folder)
}

/// Returns the base folder of relative paths, with links resolved: `--project-directory`, else the Sandboxfile's own.
///
/// # Errors
///
/// If `--project-directory` does not exist.
pub fn folder_of(global: &Global, own_folder: PathBuf) -> Result<PathBuf, CliError> {
    match &global.project_directory {
        Some(folder) => std::fs::canonicalize(folder)
            .context(format_args!("cannot use --project-directory {}", folder.display())),
        None => Ok(std::fs::canonicalize(&own_folder).unwrap_or(own_folder)),
    }
}

fn parent_of(file: &Path, here: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    absolute.parent().map_or_else(|| here.to_owned(), Path::to_owned)
}

/// Reads a Sandboxfile; `-` is standard input.
fn open(path: &Path, here: &Path) -> Result<InputFile, CliError> {
    if path.as_os_str() == "-" {
        let shown = "standard input".to_owned();
        let bytes = read_bounded(std::io::stdin().lock(), &shown, SANDBOXFILE_BYTES_MAX)?;
        return Ok(InputFile { shown, path: None, bytes, folder: here.to_owned() });
    }
    let shown = shown(path, here);
    let bytes = read_file(path, &format!("the Sandboxfile {shown}"), SANDBOXFILE_BYTES_MAX)?;
    let folder = parent_of(path, here);
    let folder = std::fs::canonicalize(&folder).unwrap_or(folder);
    let path = path.file_name().map(|name| folder.join(name));
    Ok(InputFile { shown, path, bytes, folder })
}

/// Files of variables, in the order of their precedence.
struct EnvFiles {
    paths: Vec<PathBuf>,
    /// Names and contents of the files that exist.
    read: Vec<(String, Vec<u8>)>,
}

fn env_files(global: &Global, folder: &Path, here: &Path) -> Result<EnvFiles, CliError> {
    let beside = folder.join(".env");
    let mut read = Vec::new();
    if beside.is_file() {
        let name = shown(&beside, here);
        let bytes = read_file(&beside, &name, ENV_FILE_BYTES_MAX)?;
        read.push((name, bytes));
    }
    let mut paths = vec![beside];
    for path in global.env_files.iter().rev() {
        let name = shown(path, here);
        let bytes = read_file(path, &format!("the --env-file {name}"), ENV_FILE_BYTES_MAX)?;
        read.push((name, bytes));
        paths.push(std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    }
    Ok(EnvFiles { paths, read })
}

fn utf8(path: &Path) -> Result<&str, CliError> {
    path.to_str().ok_or_else(|| CliError::new(format!("the path {} is not UTF-8", path.display())))
}

/// Returns the variables of the environment that are UTF-8.
pub fn environment() -> BTreeMap<String, String> {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

/// Returns the project that `-p` or `MSB_PROJECT` names.
///
/// # Errors
///
/// If it is not a valid name.
pub fn named_project(global: &Global) -> Result<Option<ProjectName>, CliError> {
    let Some(text) = &global.project else { return Ok(None) };
    ProjectName::new(text.clone()).map(Some).map_err(|error| {
        CliError::usage(format!("{text:?} cannot be a project's name: {error}"))
            .maybe_hint(suggest_name(text).map(|name| format!("for example {name:?}")))
    })
}

/// Derives a project's name from the name of its folder.
pub fn folder_project(folder: &Path) -> Option<ProjectName> {
    ProjectName::new(suggest_name(folder.file_name()?.to_str()?)?).ok()
}

/// Returns the working directory.
///
/// # Errors
///
/// If it no longer exists.
pub fn current_folder() -> Result<PathBuf, CliError> {
    std::env::current_dir().context("cannot determine the working directory")
}

fn sandboxfiles(folder: &Path) -> impl Iterator<Item = PathBuf> {
    FILE_NAMES.iter().map(|name| folder.join(name)).filter(|path| path.is_file())
}

/// Returns whether a folder contains a Sandboxfile.
pub fn has_sandboxfile(folder: &Path) -> bool {
    sandboxfiles(folder).next().is_some()
}

/// Returns the Sandboxfile in a folder, if there is exactly one.
pub fn file_in(folder: &Path) -> Option<PathBuf> {
    let mut found = sandboxfiles(folder);
    found.next().filter(|_| found.next().is_none())
}

/// Searches a folder, then its parents.
fn find(start: &Path) -> Result<PathBuf, CliError> {
    for folder in start.ancestors() {
        let found: Vec<_> = sandboxfiles(folder).collect();
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
        .hint("`msb init` writes one; -f FILE selects another one"))
}

/// Returns a path relative to a folder, if it is inside.
fn shown(path: &Path, here: &Path) -> String {
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
///
/// If it is larger or cannot be read.
pub fn read_file(path: &Path, name: &str, limit: usize) -> Result<Vec<u8>, CliError> {
    read_bounded(std::fs::File::open(path).context(format_args!("cannot read {name}"))?, name, limit)
}

fn read_bounded(source: impl Read, name: &str, limit: usize) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    // One byte more, to detect that it is too large.
    let read = source.take(limit as u64 + 1).read_to_end(&mut bytes);
    read.context(format_args!("cannot read {name}"))?;
    if bytes.len() > limit {
        return Err(CliError::new(format!("{name} is larger than the limit of {} MiB", limit >> 20))
            .hint("put data into the image, and scripts' data into files"));
    }
    Ok(bytes)
}

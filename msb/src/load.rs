//! Finds the Sandboxfile and loads it.

use crate::account;
use crate::cli::Global;
use crate::error::{CliError, Exit};
use crate::output::Verbosity;
use crate::render;
use schemas::digest::Digest;
use schemas::model::Model;
use schemas::name::{ProjectName, suggest_name};
use schemas::sandboxfile::{FILE_NAMES, FileKind, Format, HostFiles, Report, Source, load as load_source};
use schemas::spec::limits::SANDBOXFILE_BYTES_MAX;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A loaded project.
#[derive(Debug)]
pub struct Loaded {
    /// What the Sandboxfile says.
    pub model: Model,
    /// The file, as it is shown.
    pub file: String,
    /// The project's folder.
    pub folder: PathBuf,
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
struct ThisHost;

impl HostFiles for ThisHost {
    fn kind(&self, path: &str) -> Option<FileKind> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(match () {
            () if metadata.is_dir() => FileKind::Directory,
            () if metadata.is_file() => FileKind::File,
            () => FileKind::Other,
        })
    }
}

/// Loads the project that the command line and the working directory name.
pub fn load(global: &Global) -> Result<Loaded, CliError> {
    let here = current_folder()?;
    let file = match &global.file {
        Some(file) if file.as_os_str() == "-" => None,
        Some(file) => Some(file.clone()),
        None => Some(find(&here)?),
    };
    let (name, bytes, own_folder) = match &file {
        None => (
            "standard input".to_owned(),
            read_bounded(std::io::stdin().lock(), "standard input")?,
            here.clone(),
        ),
        Some(path) => {
            let shown = shown(path, &here);
            let file = std::fs::File::open(path)
                .map_err(|error| CliError::new(format!("cannot read the Sandboxfile {shown}: {error}")))?;
            (shown.clone(), read_bounded(file, &shown)?, folder_around(path, &here))
        }
    };
    let folder = folder_of(global, own_folder)?;
    let Some(folder_text) = folder.to_str() else {
        return Err(CliError::new(format!("the project's folder {} is not UTF-8", folder.display())));
    };
    let source = Source {
        name: &name,
        bytes: &bytes,
        format: file
            .as_deref()
            .map_or_else(|| Format::of_text(&bytes), |path| Format::of_file_name(&path.to_string_lossy())),
        folder: folder_text,
        project: named_project(global)?,
        default_project: folder_project(&folder),
    };
    match load_source(&source, &ThisHost) {
        Ok(model) => {
            let path = file.as_deref().map_or_else(|| "-".into(), absolute_text);
            Ok(Loaded {
                model,
                from_standard_input: file.is_none(),
                file: name,
                folder,
                files: vec![(path.clone(), Digest::of_bytes(&bytes))],
                named: vec![path],
                included: Vec::new(),
            })
        }
        Err(report) => Err(refused(&report, global)),
    }
}

/// The project's folder, whatever its Sandboxfile says.
pub fn project_folder(global: &Global) -> Result<PathBuf, CliError> {
    let here = current_folder()?;
    let own_folder = match &global.file {
        Some(file) if file.as_os_str() == "-" => here,
        Some(file) => folder_around(file, &here),
        None => here.ancestors().find(|folder| has_sandboxfile(folder)).unwrap_or(&here).to_owned(),
    };
    folder_of(global, own_folder)
}

/// The folder that relative paths start from, without links: the one named, else the Sandboxfile's own.
fn folder_of(global: &Global, own_folder: PathBuf) -> Result<PathBuf, CliError> {
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

/// The absolute path of a file, its folder without links.
fn absolute_text(file: &Path) -> String {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let real = absolute.parent().and_then(|folder| std::fs::canonicalize(folder).ok());
    let path = real.zip(absolute.file_name()).map(|(folder, name)| folder.join(name));
    path.unwrap_or(absolute).to_string_lossy().into_owned()
}

/// What is wrong with the file, for a person, and on GitHub also where the file is shown.
fn refused(report: &Report, global: &Global) -> CliError {
    let mut shown = render::diagnostics::text(report, &Verbosity::of(global));
    if account::on_github() {
        let annotations =
            render::github::annotations(&render::findings::of(report), &account::repository_path);
        shown = render::github::inert(&shown) + &annotations;
    }
    CliError::refused(report, shown)
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
fn folder_project(folder: &Path) -> Option<ProjectName> {
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
fn read_bounded(source: impl Read, name: &str) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let limit = SANDBOXFILE_BYTES_MAX as u64;
    source
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::new(format!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > limit {
        return Err(CliError::new(format!(
            "{name} is larger than the {} MiB that a Sandboxfile may have",
            limit >> 20
        ))
        .hint("put data into the image, and scripts' data into files"));
    }
    Ok(bytes)
}

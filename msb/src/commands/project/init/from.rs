//! `msb init --from`: a Sandboxfile from compose files.

use crate::cli::Global;
use crate::error::{CliError, Context};
use crate::output::{OutputOptions, print_json, print_raw, words};
use crate::project::load::{OsFiles, current_folder, environment, read_file};
use compose::{Converted, Entry, FILE_NAMES, Input, Outcome, SourceFile, convert};
use sandboxfile::{ENV_FILE_BYTES_MAX, EnvFile, Format, Report, Source, Variables, load, read_env_file};
use schemas::spec::limits::SANDBOXFILE_BYTES_MAX;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is converted, and where the result goes.
pub(super) struct Request<'a> {
    /// The compose files; a folder stands for the one in it.
    pub from: &'a [PathBuf],
    /// The file to write; `-` is standard output, `None` the Sandboxfile of the folder.
    pub output: Option<&'a Path>,
    /// The spelling.
    pub format: Format,
    /// The folder of the result if `output` is `None`.
    pub folder: &'a Path,
    /// Whether something that is left out is a failure.
    pub is_strict: bool,
    /// Whether the report is a JSON document.
    pub is_json: bool,
}

/// What `init --from --json` prints.
#[derive(schemars::JsonSchema, Serialize)]
pub struct Document<'a> {
    version: u32,
    /// The file that was written.
    file: &'a str,
    /// Number of entries that mean the same, that mean something else, and that are left out.
    mapped: usize,
    changed: usize,
    left_out: usize,
    /// What has become of each key of the input, in the order of its files and lines.
    entries: Vec<EntryDocument<'a>>,
    /// What the result lacks on this host, such as images that are to be built.
    unfinished: Vec<String>,
}

/// A key of the input and what has become of it.
#[derive(schemars::JsonSchema, Serialize)]
struct EntryDocument<'a> {
    /// Its path, such as `services.web.ports[0]`.
    path: &'a str,
    file: &'a str,
    line: usize,
    /// `mapped`, `changed`, `left-out`, or `replaced` by another file.
    outcome: &'static str,
    /// The reason and the next step.
    note: Option<&'a str>,
    /// Number of keys and list elements that it includes, its own counted.
    keys: usize,
}

/// Version of the JSON format.
const VERSION: u32 = 1;

/// A compose file that was read.
struct ComposeFile {
    name: String,
    bytes: Vec<u8>,
    folder: PathBuf,
}

/// Converts compose files, writes the result and reports what has become of each part of them.
pub(super) fn run(global: &Global, request: &Request<'_>) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let here = current_folder()?;
    if request.is_json && request.output.is_some_and(|path| path.as_os_str() == "-") {
        return Err(CliError::usage("standard output takes either the Sandboxfile or the JSON")
            .hint("write the Sandboxfile to a file: -o FILE"));
    }
    let target = match request.output {
        Some(path) if path.as_os_str() == "-" => None,
        Some(path) => Some(here.join(path)),
        None => Some(here.join(request.folder).join(super::file_name(request.format))),
    };
    if let Some(existing) = target.as_ref().filter(|path| path.exists()) {
        let shown = shown(existing, &here);
        return Err(CliError::new(format!("{shown} exists already"))
            .hint("write another file with -o FILE, or print it with -o -"));
    }
    let folder = match &target {
        Some(path) => path.parent().unwrap_or(&here).to_owned(),
        None => here.join(request.folder),
    };
    let folder =
        std::fs::canonicalize(&folder).context(format_args!("cannot use the folder {}", folder.display()))?;
    let files = open_all(request, &here)?;
    let variables = variables(global, &files, &output)?;
    let sources = files.iter().map(|file| {
        let folder = utf8(&file.folder)?;
        Ok(SourceFile { name: &file.name, bytes: &file.bytes, folder })
    });
    let input = Input {
        files: sources.collect::<Result<_, CliError>>()?,
        variables: variables.clone(),
        folder: utf8(&folder)?,
        format: request.format,
    };
    let converted =
        convert(&input, &OsFiles).map_err(|report| CliError::refused(&report, &output).annotated())?;
    let name = match &target {
        Some(path) => {
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
            file.as_mut()
                .map_err(|error| std::io::Error::new(error.kind(), error.to_string()))
                .and_then(|file| file.write_all(converted.text.as_bytes()))
                .context(format_args!("cannot write {}", path.display()))?;
            shown(path, &here)
        }
        None => {
            print_raw(&converted.text);
            "standard output".to_owned()
        }
    };
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let unfinished = unfinished(&converted, &name, request.format, &folder, variables);
    if request.is_json {
        print_json(&document(&converted, &name, unfinished));
    } else {
        output.say(&summary(&converted, &format!("wrote {name} from {}", names.join(" and "))));
        if !unfinished.is_empty() {
            let count = words::count(unfinished.len(), "thing is", "things are");
            output.say(&format!("{count} to be done before it is valid:\n  {}", unfinished.join("\n  ")));
        }
    }
    let is_incomplete = converted.count(Outcome::LeftOut) > 0;
    Ok(if request.is_strict && is_incomplete { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn open_all(request: &Request<'_>, here: &Path) -> Result<Vec<ComposeFile>, CliError> {
    let mut files = Vec::new();
    for path in request.from {
        let path = here.join(path);
        let path = if path.is_dir() { find(&path)? } else { path };
        let name = shown(&path, here);
        let bytes = read_file(&path, &format!("the compose file {name}"), SANDBOXFILE_BYTES_MAX)?;
        let parent = path.parent().unwrap_or(here);
        let folder = std::fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
        files.push(ComposeFile { name, bytes, folder });
    }
    Ok(files)
}

/// Returns the compose file of a folder.
fn find(folder: &Path) -> Result<PathBuf, CliError> {
    let found = FILE_NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        CliError::new("there is no compose file in this folder")
            .hint(format!("looked for {}; name another one: --from FILE", FILE_NAMES.join(", ")))
    })
}

/// Returns the values of variables as compose finds them: of the environment, then of `.env` beside the first file, then of
/// the files of `--env-file`.
fn variables(
    global: &Global,
    files: &[ComposeFile],
    output: &OutputOptions,
) -> Result<BTreeMap<String, String>, CliError> {
    let mut known = environment();
    let beside = files.first().map(|file| file.folder.join(".env")).filter(|path| path.is_file());
    for path in beside.iter().chain(global.env_files.iter().rev()) {
        let name = path.display().to_string();
        let bytes = read_file(path, &name, ENV_FILE_BYTES_MAX)?;
        let file = EnvFile { name: &name, bytes: &bytes };
        let read =
            read_env_file(&file, &known).map_err(|report| CliError::refused(&report, output).annotated())?;
        for (name, value) in read {
            known.entry(name).or_insert(value);
        }
    }
    Ok(known)
}

/// Returns the report: counts, and a line for each change and each omission.
fn summary(converted: &Converted, head: &str) -> String {
    let count = |outcome| converted.count(outcome);
    let replaced = match count(Outcome::Replaced) {
        0 => String::new(),
        number => format!(", {number} replaced by other files"),
    };
    let mut text = format!(
        "{head}: {} mapped, {} changed, {} left out{replaced}",
        count(Outcome::Mapped),
        count(Outcome::Changed),
        count(Outcome::LeftOut)
    );
    for Entry { path, file, line, outcome, note, keys: _ } in &converted.entries {
        let word = match outcome {
            Outcome::Mapped | Outcome::Replaced => continue,
            Outcome::Changed => "changed",
            Outcome::LeftOut => "left out",
        };
        let note = note.as_deref().unwrap_or_default();
        text.push_str(&format!("\n  {word:<8}  {file}:{line}  {path}: {note}"));
    }
    text
}

fn document<'a>(converted: &'a Converted, file: &'a str, unfinished: Vec<String>) -> Document<'a> {
    let entry = |entry: &'a Entry| {
        let Entry { path, file, line, outcome, note, keys } = entry;
        let outcome = match outcome {
            Outcome::Mapped => "mapped",
            Outcome::Replaced => "replaced",
            Outcome::Changed => "changed",
            Outcome::LeftOut => "left-out",
        };
        EntryDocument { path, file, line: *line, outcome, note: note.as_deref(), keys: *keys }
    };
    Document {
        version: VERSION,
        file,
        mapped: converted.count(Outcome::Mapped),
        changed: converted.count(Outcome::Changed),
        left_out: converted.count(Outcome::LeftOut),
        entries: converted.entries.iter().map(entry).collect(),
        unfinished,
    }
}

/// Returns what the result still lacks on this host, such as images and files that do not exist yet.
fn unfinished(
    converted: &Converted,
    name: &str,
    format: Format,
    folder: &Path,
    environment: BTreeMap<String, String>,
) -> Vec<String> {
    let Some(folder_text) = folder.to_str() else { return Vec::new() };
    let source = Source { name, path: None, bytes: converted.text.as_bytes(), format, folder: folder_text };
    let input = sandboxfile::Input {
        default_project: crate::project::default_name_of(folder),
        variables: Variables { environment, files: Vec::new() },
        ..sandboxfile::Input::of(source)
    };
    let Err(report) = load(&input, &OsFiles) else { return Vec::new() };
    report.diagnostics().iter().map(|finding| line(&report, finding)).collect()
}

fn line(report: &Report, finding: &sandboxfile::Diagnostic) -> String {
    let place = report.place(finding.span());
    let help = finding.help.as_deref().map(|help| format!(": {help}")).unwrap_or_default();
    format!("{}:{}  {}{help}", place.file, place.line, finding.message)
}

fn shown(path: &Path, here: &Path) -> String {
    let path = path.strip_prefix(here).unwrap_or(path);
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

fn utf8(path: &Path) -> Result<&str, CliError> {
    path.to_str().ok_or_else(|| CliError::new(format!("the path {} is not UTF-8", path.display())))
}

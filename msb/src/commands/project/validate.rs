//! `msb validate`.

use crate::cli::Global;
use crate::error::CliError;
use crate::output::{OutputOptions, print_json, print_raw};
use crate::project::load::{self, Loaded};
use crate::report::findings::Finding;
use crate::report::github;
use crate::report::gitlab;
use crate::report::{Reports, RunReport, repository_path};
use clap::ValueEnum;
use sandboxfile::ReadFile;
use schemas::digest::Digest;
use schemas::spec::Role;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `msb validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is printed.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
    /// The same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    reports: Reports,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a person, on standard error.
    Text,
    /// One JSON document.
    Json,
    /// Annotations of GitHub Actions.
    Github,
    /// A code quality report of GitLab.
    Gitlab,
}

/// What `validate --format json` prints.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    valid: bool,
    file: Option<&'a str>,
    /// Every Sandboxfile that was read, in the order in which they lie over each other.
    files: Vec<ReadDocument<'a>>,
    /// The files of variables that were looked for.
    env_files: &'a [PathBuf],
    project: Option<&'a str>,
    sandboxes: Option<usize>,
    jobs: Option<usize>,
    diagnostics: &'a [Finding],
    /// How many more there are.
    omitted: usize,
}

/// A Sandboxfile that was read.
#[derive(Serialize)]
struct ReadDocument<'a> {
    name: &'a str,
    path: Option<&'a str>,
    digest: &'a Digest,
}

/// The version of the JSON.
const VERSION: u32 = 1;

/// Checks the file and says that it is good, or what is not.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let account = RunReport::open("validate", &arguments.reports, false)?;
    let loaded = load::load(global);
    let format = if arguments.json { Format::Json } else { arguments.format };
    let findings = loaded.as_ref().err().map(CliError::findings).unwrap_or_default();
    // What is wrong with anything but the file's contents is told as all errors are.
    let is_told = loaded.is_ok() || !findings.is_empty();
    match format {
        Format::Json if is_told => print_json(&document(&loaded)),
        Format::Github => print_raw(&github::annotations(findings, &repository_path)),
        Format::Gitlab if is_told => print_json(&gitlab::code_quality(findings, &repository_path)),
        _ => {}
    }
    let loaded = account.close(loaded);
    let loaded = match format {
        Format::Text => loaded?,
        _ => loaded.map_err(CliError::without_report)?,
    };
    let (sandboxes, jobs) = counts(&loaded);
    let plural =
        |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    if format != Format::Json {
        OutputOptions::of(global).say(&format!(
            "{} is valid: project {}, {}, {}",
            loaded.file,
            loaded.model.project(),
            plural(sandboxes, "sandbox", "sandboxes"),
            plural(jobs, "job", "jobs")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn counts(loaded: &Loaded) -> (usize, usize) {
    let sandboxes = loaded.model.sandboxes();
    let jobs = sandboxes.iter().filter(|sandbox| sandbox.definition().role == Role::Job).count();
    (sandboxes.len() - jobs, jobs)
}

fn document(loaded: &Result<Loaded, CliError>) -> Document<'_> {
    match loaded {
        Ok(loaded) => {
            let (sandboxes, jobs) = counts(loaded);
            let files = loaded.read.iter().map(|ReadFile { name, path, digest, included: _ }| ReadDocument {
                name,
                path: path.as_deref(),
                digest,
            });
            Document {
                version: VERSION,
                valid: true,
                file: Some(&loaded.file),
                files: files.collect(),
                env_files: &loaded.env_files,
                project: Some(loaded.model.project().as_str()),
                sandboxes: Some(sandboxes),
                jobs: Some(jobs),
                diagnostics: &[],
                omitted: 0,
            }
        }
        Err(error) => Document {
            version: VERSION,
            valid: false,
            file: error.findings().first().map(|finding| finding.file.as_str()),
            files: Vec::new(),
            env_files: &[],
            project: None,
            sandboxes: None,
            jobs: None,
            diagnostics: error.findings(),
            omitted: error.findings_omitted(),
        },
    }
}

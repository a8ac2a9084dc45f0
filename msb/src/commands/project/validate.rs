//! `msb validate`.

use crate::cli::Global;
use crate::error::CliError;
use crate::output::{OutputOptions, print_json, print_raw, words};
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
    /// The output format.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
    /// The same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    reports: Reports,
}

/// The formats of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text on standard error.
    Text,
    /// JSON document.
    Json,
    /// Annotations for GitHub Actions.
    Github,
    /// Code quality report for GitLab.
    Gitlab,
}

/// The output of `validate --format json`.
#[derive(Default, schemars::JsonSchema, Serialize)]
pub struct Document<'a> {
    version: u32,
    valid: bool,
    file: Option<&'a str>,
    /// Every Sandboxfile that was read; later ones override earlier ones.
    files: Vec<ReadDocument<'a>>,
    /// Files of variables, existing or not.
    env_files: &'a [PathBuf],
    project: Option<&'a str>,
    sandboxes: Option<usize>,
    jobs: Option<usize>,
    diagnostics: &'a [Finding],
    /// Number of findings beyond `diagnostics`.
    omitted: usize,
}

#[derive(schemars::JsonSchema, Serialize)]
struct ReadDocument<'a> {
    name: &'a str,
    path: Option<&'a str>,
    digest: &'a Digest,
}

/// Version of the JSON format.
const VERSION: u32 = 1;

/// Checks the Sandboxfile and reports all findings.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let run_report = RunReport::open("validate", &arguments.reports, false)?;
    let loaded = load::load(global);
    let format = if arguments.json { Format::Json } else { arguments.format };
    let findings = loaded.as_ref().err().map(CliError::findings).unwrap_or_default();
    // Errors outside of the file's contents have no findings and are printed like those of any command.
    let has_result = loaded.is_ok() || !findings.is_empty();
    match format {
        Format::Json if has_result => print_json(&document(&loaded)),
        Format::Github => print_raw(&github::annotations(findings, &repository_path)),
        Format::Gitlab if has_result => print_json(&gitlab::code_quality(findings, &repository_path)),
        _ => {}
    }
    let loaded = run_report.close(loaded);
    let loaded = match format {
        Format::Text => loaded?,
        _ => loaded.map_err(CliError::without_report)?,
    };
    let (sandboxes, jobs) = counts(&loaded);
    if format != Format::Json {
        OutputOptions::of(global).say(&format!(
            "{} is valid: project {}, {}, {}",
            loaded.file,
            loaded.model.project(),
            words::count(sandboxes, "sandbox", "sandboxes"),
            words::count(jobs, "job", "jobs")
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
    let document = Document { version: VERSION, valid: loaded.is_ok(), ..Document::default() };
    match loaded {
        Ok(loaded) => {
            let (sandboxes, jobs) = counts(loaded);
            let files = loaded.read.iter().map(|ReadFile { name, path, digest, included: _ }| ReadDocument {
                name,
                path: path.as_deref(),
                digest,
            });
            Document {
                file: Some(&loaded.file),
                files: files.collect(),
                env_files: &loaded.env_files,
                project: Some(loaded.model.project().as_str()),
                sandboxes: Some(sandboxes),
                jobs: Some(jobs),
                ..document
            }
        }
        Err(error) => Document {
            file: error.findings().first().map(|finding| finding.file.as_str()),
            diagnostics: error.findings(),
            omitted: error.findings_omitted(),
            ..document
        },
    }
}

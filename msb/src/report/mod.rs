//! The outcome of a command for other programs: report files, GitHub's summary, outputs and annotations, and the last
//! line of the event stream.

pub mod diagnostics;
pub mod findings;
pub mod github;
pub mod gitlab;
pub mod junit;
pub mod summary;

use crate::error::CliError;
use crate::host::path_variable;
use crate::output::document::ReportDocument;
use crate::output::file;
use crate::output::{OutputOptions, eprintln_raw, escape_controls};
use crate::progress::stream::{self, Counts, Finished, milliseconds};
use crate::progress::{Ended, StepRecord};
use crate::project::load::current_folder;
use crate::report::findings::Finding;
use clap::ValueEnum;
use schemas::report::Report;
use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// The option of commands that write reports.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Reports {
    /// Write a report for a CI system: junit, gitlab-terraform, gitlab-codequality or github-summary. Can be repeated.
    #[arg(long = "report", value_name = "KIND=FILE")]
    files: Vec<ReportFile>,
}

/// A requested report.
#[derive(Clone, Debug)]
struct ReportFile {
    kind: Kind,
    path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Junit,
    GitlabTerraform,
    GitlabCodequality,
    GithubSummary,
}

impl Kind {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Returns whether a command can write it.
    fn suits(self, command: &str) -> bool {
        match self {
            Self::Junit => ["up", "down"].contains(&command),
            Self::GitlabTerraform | Self::GithubSummary => ["plan", "up"].contains(&command),
            Self::GitlabCodequality => ["validate", "plan", "up"].contains(&command),
        }
    }
}

/// Returns the names of the kinds that `suits` accepts.
fn names(suits: impl Fn(Kind) -> bool) -> String {
    let kinds = Kind::value_variants().iter().copied().filter(|kind| suits(*kind));
    kinds.map(Kind::name).collect::<Vec<_>>().join(", ")
}

impl FromStr for ReportFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = names(|_| true);
        let (kind, path) = text
            .split_once('=')
            .ok_or_else(|| format!("expected KIND=FILE, where KIND is one of: {known}"))?;
        let kind = Kind::from_str(kind, false)
            .map_err(|_| format!("there is no report {kind:?}; there are: {known}"))?;
        if path.is_empty() {
            return Err(format!("{}= needs a file", kind.name()));
        }
        Ok(Self { kind, path: path.into() })
    }
}

/// The outcome of a command.
#[derive(Clone, Copy)]
pub struct RunOutcome<'a> {
    /// The command, such as `up`.
    pub command: &'static str,
    /// The project, if it is known.
    pub project: Option<&'a str>,
    /// The report of the plan, if there was one.
    pub report: Option<&'a Report>,
    /// The steps, in the order in which they ended.
    pub steps: &'a [StepRecord],
    /// Findings in the Sandboxfile.
    pub findings: &'a [Finding],
    /// The failure, if any.
    pub error: Option<&'a CliError>,
    /// The time of the start, as RFC 3339.
    pub began: &'a str,
    /// The duration.
    pub took: Duration,
}

/// Collects the outcome of a running command.
pub struct RunReport {
    command: &'static str,
    files: Vec<ReportFile>,
    events: bool,
    began: Instant,
    /// The time of the start, as RFC 3339.
    began_at: String,
    /// The project, once it is known.
    pub project: Option<String>,
    /// The report of the plan.
    pub report: Option<Report>,
    /// The steps, in the order in which they ended.
    pub steps: Vec<StepRecord>,
}

impl RunReport {
    /// Starts the report, and removes report files of an earlier run.
    ///
    /// # Errors
    ///
    /// If the command cannot write a requested report.
    pub fn open(command: &'static str, reports: &Reports, events: bool) -> Result<Self, CliError> {
        for ReportFile { kind, path } in &reports.files {
            if !kind.suits(command) {
                let suitable = names(|kind| kind.suits(command));
                return Err(CliError::usage(format!(
                    "`msb {command}` cannot write a {} report",
                    kind.name()
                ))
                .hint(format!("it writes: {suitable}")));
            }
            file::remove_stale(path).map_err(|error| unwritable(path, &error))?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder {
                fs::create_dir_all(folder).map_err(|error| unwritable(path, &error))?;
            }
        }
        Ok(Self {
            command,
            files: reports.files.clone(),
            events,
            began: Instant::now(),
            began_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            project: None,
            report: None,
            steps: Vec::new(),
        })
    }

    /// Writes all reports, and returns the result of the command.
    ///
    /// # Errors
    ///
    /// The failure of the command, or of writing a report.
    pub fn close<T>(self, ended: Result<T, CliError>) -> Result<T, CliError> {
        let error = ended.as_ref().err();
        let findings = error.map(CliError::findings).unwrap_or_default();
        let outcome = RunOutcome {
            command: self.command,
            project: self.project.as_deref(),
            report: self.report.as_ref(),
            steps: &self.steps,
            findings,
            error,
            began: &self.began_at,
            took: self.began.elapsed(),
        };
        let written = self.write(&outcome);
        if self.events {
            stream::finished(&finished(&outcome, written.as_ref().err()));
        }
        match (ended, written) {
            (Ok(_), Err(failure)) => Err(failure),
            (ended, written) => {
                if let Err(failure) = written {
                    OutputOptions::SILENT.warn(&failure.message);
                }
                ended
            }
        }
    }

    fn write(&self, outcome: &RunOutcome<'_>) -> Result<(), CliError> {
        for ReportFile { kind, path } in &self.files {
            let text = match kind {
                Kind::Junit => junit::text(outcome),
                Kind::GitlabTerraform => format!("{}\n", gitlab::terraform(outcome.report)),
                Kind::GitlabCodequality => {
                    format!("{:#}\n", gitlab::code_quality(outcome.findings, &repository_path))
                }
                Kind::GithubSummary => summary::text(outcome),
            };
            file::write(path, text.as_bytes()).map_err(|error| unwritable(path, &error))?;
        }
        if on_github() && Kind::GithubSummary.suits(self.command) {
            append("GITHUB_STEP_SUMMARY", &summary::text(outcome))?;
            if let Some(report) = outcome.report {
                let (changes, destroys) = (report.has_changes(), !report.losses().is_empty());
                append("GITHUB_OUTPUT", &format!("changes={changes}\ndestroys={destroys}\n"))?;
            }
        }
        if on_github() {
            for StepRecord { title, ended, .. } in outcome.steps {
                if let Ended::Failed(failure) = ended {
                    let lines: Vec<_> = [&failure.message]
                        .into_iter()
                        .chain(&failure.details)
                        .flat_map(|text| text.lines())
                        .map(escape_controls)
                        .collect();
                    eprintln_raw(github::error(title, &lines.join("\n")).trim_end());
                }
            }
        }
        Ok(())
    }
}

fn finished<'a>(outcome: &RunOutcome<'a>, unwritten: Option<&'a CliError>) -> Finished<'a> {
    let error = outcome.error.or(unwritten);
    Finished {
        command: outcome.command,
        project: outcome.project,
        ok: error.is_none(),
        exit_code: error.map_or(0, |error| error.code.exit()),
        changes: outcome.report.is_some_and(Report::has_changes),
        report: outcome.report.map(ReportDocument::new),
        steps: Counts::of(outcome.steps),
        took_ms: milliseconds(outcome.took),
        error,
        diagnostics: outcome.findings,
    }
}

/// Returns whether this runs in a GitHub Actions job.
pub fn on_github() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true")
}

/// Appends to the file that GitHub's runner names in a variable, if it is set.
fn append(variable: &str, text: &str) -> Result<(), CliError> {
    let Some(path) = path_variable(variable) else { return Ok(()) };
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| unwritable(&path, &error).hint(format!("{variable} names it")))
}

fn unwritable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new(format!("cannot write the report {}: {error}", path.display()))
}

/// Converts a file to a path in the repository of this CI job.
pub fn repository_path(file: &str) -> String {
    let root = ["GITHUB_WORKSPACE", "CI_PROJECT_DIR"].into_iter().find_map(std::env::var_os);
    let root = root.and_then(|root| fs::canonicalize(root).ok());
    match (root, current_folder()) {
        (Some(root), Ok(here)) => relative_to(&root, &here, file).unwrap_or_else(|| file.to_owned()),
        _ => file.to_owned(),
    }
}

/// Converts a path relative to `here` to one relative to `root`; `None` if it is not below `root`.
fn relative_to(root: &Path, here: &Path, file: &str) -> Option<String> {
    let mut whole = PathBuf::new();
    for component in here.join(file).components() {
        match component {
            Component::ParentDir => drop(whole.pop()),
            Component::CurDir => {}
            component => whole.push(component),
        }
    }
    Some(whole.strip_prefix(root).ok()?.to_str()?.to_owned())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::output::plan::tests::sample;
    use executor::apply::{Outcome, StepFailure};
    use schemas::name::SandboxName;
    use schemas::plan::StepId;
    use schemas::spec::Condition;

    /// Calls a function with an outcome that contains all kinds of steps.
    pub fn with_outcome(take: impl FnOnce(&RunOutcome<'_>)) {
        let failure = StepFailure::new("it never became <healthy>")
            .detail("it last printed:")
            .detail("  \x1b[31m::error::x]]>|`\0")
            .hint("is the disk full?");
        let step = |id: &str, title: &str, took_ms: u64, ended| StepRecord {
            id: id.parse().expect("it is a step's id"),
            title: title.to_owned(),
            sandbox: id.split('/').nth(1).map(str::to_owned),
            took: Duration::from_millis(took_ms),
            ended,
        };
        let because = Some(StepId::Wait(SandboxName::new("db").expect("it is a name"), Condition::Healthy));
        let steps = [
            step("start/db", "db started", 1_234, Ended::Succeeded(Outcome::Added)),
            step("start/web", "web started", 0, Ended::Succeeded(Outcome::NotNeeded)),
            step("wait/db/healthy", "db healthy", 20_000, Ended::Failed(failure)),
            step("start/api", "api started", 0, Ended::Skipped { because }),
            step("start/job", "job started", 0, Ended::Skipped { because: None }),
        ];
        let error = CliError::new("2 steps <failed>").hint("`msb up` tries again");
        take(&RunOutcome {
            command: "up",
            project: Some("shop"),
            report: Some(&sample()),
            steps: &steps,
            findings: &[],
            error: Some(&error),
            began: "2026-01-02T03:04:05Z",
            took: Duration::from_millis(21_500),
        });
    }

    #[test]
    fn reports_are_requested_by_kind_and_file() {
        let file: ReportFile = "junit=a=b.xml".parse().expect("it is right");
        assert_eq!((file.kind, file.path.as_path()), (Kind::Junit, Path::new("a=b.xml")));
        for wrong in ["junit", "junit=", "xml=a", "=a"] {
            assert!(wrong.parse::<ReportFile>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_are_relative_to_the_repository() {
        let relative = |here: &str, file: &str| relative_to(Path::new("/r"), Path::new(here), file);
        assert_eq!(relative("/r/sub", "Sandboxfile").as_deref(), Some("sub/Sandboxfile"));
        assert_eq!(relative("/r/sub", "../x/./Sandboxfile").as_deref(), Some("x/Sandboxfile"));
        assert_eq!(relative("/r/sub", "/r/Sandboxfile").as_deref(), Some("Sandboxfile"));
        assert_eq!(relative("/r/sub", "../../Sandboxfile"), None);
        assert_eq!(relative("/rest", "Sandboxfile"), None);
    }

    #[test]
    fn only_regular_files_of_an_earlier_run_are_removed() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (file, link) = (folder.path().join("old.xml"), folder.path().join("link.xml"));
        fs::write(&file, "old").expect("a file can be written");
        std::os::unix::fs::symlink("/dev/null", &link).expect("a link can be made");
        let files = [&file, &link].map(|path| ReportFile { kind: Kind::Junit, path: path.clone() });
        RunReport::open("up", &Reports { files: files.into() }, false).expect("both can be written");
        assert!(!file.exists());
        assert!(fs::symlink_metadata(&link).expect("it is still there").is_symlink());
    }

    #[test]
    fn the_last_line_counts_steps() {
        with_outcome(|outcome| {
            let Finished { ok, exit_code, changes, steps, .. } = finished(outcome, None);
            assert_eq!((ok, exit_code, changes), (false, 1, true));
            let Counts { succeeded, failed, interrupted, skipped } = steps;
            assert_eq!((succeeded, failed, interrupted, skipped), (2, 1, 0, 2));
        });
    }
}

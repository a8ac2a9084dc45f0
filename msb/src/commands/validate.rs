//! `msb validate`.

use crate::cli::Global;
use crate::error::CliError;
use crate::load;
use crate::output::{Verbosity, print_json};
use schemas::spec::Role;
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `msb validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    file: &'a str,
    project: &'a str,
    sandboxes: usize,
    jobs: usize,
}

/// Checks the file and says that it is good, or what is not.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let loaded = load::load(global)?;
    let sandboxes = loaded.model.sandboxes();
    let jobs = sandboxes.iter().filter(|sandbox| sandbox.definition().role == Role::Job).count();
    let services = sandboxes.len() - jobs;
    let project = loaded.model.project();
    if arguments.json {
        let document =
            Document { version: 1, file: &loaded.file, project: project.as_str(), sandboxes: services, jobs };
        print_json(&document);
    } else {
        let plural =
            |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        Verbosity::of(global).say(&format!(
            "{} is valid: project {project}, {}, {}",
            loaded.file,
            plural(services, "sandbox", "sandboxes"),
            plural(jobs, "job", "jobs")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

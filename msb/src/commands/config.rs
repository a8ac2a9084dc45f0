//! `msb config`.

use crate::cli::Global;
use crate::commands::unknown_sandbox;
use crate::error::CliError;
use crate::host;
use crate::load;
use crate::output::{print, print_raw};
use clap::ValueEnum;
use schemas::sandboxfile::{Origin, print as spelling};
use std::process::ExitCode;

/// Arguments of `msb config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The spelling.
    #[arg(long, value_enum, default_value_t = Format::Kdl, value_name = "SPELLING")]
    format: Format,
    /// Say where a value comes from, such as `web.env.PORT`, `web` or `project`; without a path, all of them.
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "")]
    explain: Option<String>,
    /// Print the settings in force instead: those of `config.json` in the state folder, and the defaults.
    #[arg(long, conflicts_with_all = ["format", "explain"])]
    home: bool,
}

/// A spelling of a Sandboxfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// KDL 2.
    Kdl,
    /// YAML.
    Yaml,
    /// JSON, for programs.
    Json,
}

/// Prints the resolved model.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    if arguments.home {
        return settings();
    }
    if let Some(path) = &arguments.explain {
        return explain(global, path);
    }
    let model = load::load(global)?.model;
    // What the printers write is read again, and has its own escapes.
    print_raw(&match arguments.format {
        Format::Kdl => spelling::kdl(&model),
        Format::Yaml => spelling::yaml(&model),
        Format::Json => spelling::json(&model),
    });
    Ok(ExitCode::SUCCESS)
}

/// Prints the settings in force; passwords as stars.
fn settings() -> Result<ExitCode, CliError> {
    let config = host::config(&host::open_home()?)?;
    let text = serde_json::to_string_pretty(&config)
        .map_err(|error| CliError::new(format!("a defect in msb: {error}")))?;
    print_raw(&format!("{text}\n"));
    Ok(ExitCode::SUCCESS)
}

/// Prints each value at a path or beneath it with the places that it was written at.
fn explain(global: &Global, path: &str) -> Result<ExitCode, CliError> {
    let loaded = load::load_and_explain(global)?;
    // Both spellings of a path are understood: `sandboxes.web.depends_on.db` is `web.depends-on.db`.
    let plain = |text: &str| text.replace("depends_on", "depends-on").replace("start_period", "start-period");
    let path = plain(path);
    let path = ["sandboxes.", "sandbox.", "jobs.", "job."]
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix))
        .unwrap_or(&path);
    let mut text = String::new();
    for (path, origins) in loaded.origins.beneath(path) {
        text.push_str(&format!("{path}\n"));
        for (number, origin) in origins.iter().enumerate() {
            text.push_str(&line(number == 0, origin));
        }
    }
    if text.is_empty() {
        return Err(nowhere(&loaded, path));
    }
    print(&text);
    Ok(ExitCode::SUCCESS)
}

fn line(holds: bool, origin: &Origin) -> String {
    let Origin { file, line, column, text, like, variables } = origin;
    let mut told = format!("  {}{file}:{line}:{column}  {text}", if holds { "" } else { "over " });
    if let Some(like) = like {
        told.push_str(&format!("  like {like}"));
    }
    for (name, place) in variables {
        told.push_str(&format!("  ${name} from {place}"));
    }
    told.push('\n');
    told
}

/// A path at which nothing is written: a default, or no path at all.
fn nowhere(loaded: &load::Loaded, path: &str) -> CliError {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let sandboxes = loaded.model.sandboxes();
    let mut families: Vec<&str> = sandboxes.iter().map(|sandbox| sandbox.family().as_str()).collect();
    families.dedup();
    if rest.is_empty() || !families.contains(&name) {
        return unknown_sandbox(name, families.into_iter());
    }
    CliError::new(format!("`{path}` is nowhere written: the default holds, if there is such a property"))
        .hint(format!("`msb config --explain {name}` shows what is written, `msb config` every value"))
}

//! `msb config`.

use crate::cli::Global;
use crate::error::CliError;
use crate::host;
use crate::output::{print, print_raw};
use crate::project::load;
use clap::ValueEnum;
use sandboxfile::{Format, NotFound, Origin, find, print as spelling};
use std::process::ExitCode;

/// Arguments of `msb config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The spelling.
    #[arg(long, value_enum, default_value_t = Spelling::Kdl, value_name = "SPELLING")]
    format: Spelling,
    /// Say where a value comes from, such as `web.env.PORT`, `web` or `project`; without a path, all of them.
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "")]
    explain: Option<String>,
    /// Print the settings in force instead: those of `config.json` in the state folder, and the defaults.
    #[arg(long, conflicts_with_all = ["format", "explain"])]
    home: bool,
}

/// A spelling of a Sandboxfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Spelling {
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
        Spelling::Kdl => spelling::kdl(&model),
        Spelling::Yaml => spelling::yaml(&model),
        Spelling::Json => spelling::json(&model),
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
    let format = Format::of_file_name(&loaded.file);
    let paths = find(&loaded.model, &loaded.origins, format, path).map_err(not_found)?;
    let mut text = String::new();
    for (path, origins) in paths.iter().flat_map(|path| loaded.origins.beneath(path)) {
        text.push_str(&format!("{path}\n"));
        for (number, origin) in origins.iter().enumerate() {
            text.push_str(&line(number == 0, origin));
        }
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

/// Neither a value nor a default, or a default.
fn not_found(NotFound { message, hint }: NotFound) -> CliError {
    let error = CliError::new(message);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

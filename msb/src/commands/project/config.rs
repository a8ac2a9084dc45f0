//! `msb config`.

use crate::cli::Global;
use crate::error::CliError;
use crate::host;
use crate::output::{print, print_json, print_raw};
use crate::project::load;
use clap::ValueEnum;
use sandboxfile::{Format, NotFound, Origin, find, print as spelling};
use std::process::ExitCode;

/// Arguments of `msb config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The output format.
    #[arg(long, value_enum, default_value_t = Spelling::Kdl, value_name = "SPELLING")]
    format: Spelling,
    /// Show where the values below a path, such as `web.env.PORT`, `web` or `project`, come from. Default: all values.
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "")]
    explain: Option<String>,
    /// Print the settings in effect instead: those of `config.json` in the state folder, and the defaults.
    #[arg(long, conflicts_with_all = ["format", "explain"])]
    home: bool,
}

/// The formats of a printed model.
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
    // Not sanitized: it is valid input with its own escapes.
    print_raw(&match arguments.format {
        Spelling::Kdl => spelling::kdl(&model),
        Spelling::Yaml => spelling::yaml(&model),
        Spelling::Json => spelling::json(&model),
    });
    Ok(ExitCode::SUCCESS)
}

/// Prints the settings in effect, with passwords masked.
fn settings() -> Result<ExitCode, CliError> {
    let config = host::config(&host::open_home()?)?;
    print_json(&config);
    Ok(ExitCode::SUCCESS)
}

/// Prints the origins of each value at or below a path.
fn explain(global: &Global, path: &str) -> Result<ExitCode, CliError> {
    let loaded = load::load_and_explain(global)?;
    let format = Format::of_file_name(&loaded.file);
    let paths = find(&loaded.model, &loaded.origins, format, path)
        .map_err(|NotFound { message, hint }| CliError::new(message).maybe_hint(hint))?;
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

/// Formats an origin. All but the first one are overridden.
fn line(is_first: bool, origin: &Origin) -> String {
    let Origin { file, line, column, text, like, variables } = origin;
    let mut shown = format!("  {}{file}:{line}:{column}  {text}", if is_first { "" } else { "over " });
    if let Some(like) = like {
        shown.push_str(&format!("  like {like}"));
    }
    for (name, place) in variables {
        shown.push_str(&format!("  ${name} from {place}"));
    }
    shown.push('\n');
    shown
}

//! The command line: global options, and options that several commands share.

use crate::commands::Command;
use crate::error::{CliError, ErrorCode};
use crate::output::OutputOptions;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, ValueEnum};
use executor_vm::DriverKind;
use rules::unit::{DURATION_FORMS, parse_duration};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The table at the end of `msb --help`.
const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    failure
  2    plan --detailed-exitcode: there are changes
  3    the lock file or a trusted Sandboxfile does not match
  4    a wait timed out
  5    the project is locked by another msb
  6    there is no such sandbox, volume, image or snapshot
  7    a sandbox, volume or snapshot of this name exists
  8    the sandbox runs, or something uses what would be removed
  9    the sandbox does not run, or is paused
  10   the sandbox's agent, the driver or the host cannot do that
  11   the guest does not answer
  64   the command line is invalid
  130  interrupted (143: terminated)
  exec and run exit with the command's own code: 126 and 127 as in a shell, 128+n for signal n, 124 on --timeout";

/// microVM sandboxes, declared in a file.
#[derive(Debug, Parser)]
#[command(name = "msb", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses the command line. Otherwise prints the error, the help or the version, and returns the exit code.
    pub fn read() -> Result<Self, ExitCode> {
        let parsed = Self::command().try_get_matches().and_then(|matches| {
            let mut cli = Self::from_arg_matches(&matches)?;
            cli.global.json = wants_json(&matches);
            Ok(cli)
        });
        parsed.map_err(|error| {
            if !error.use_stderr() {
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            let words = std::env::args_os().take_while(|word| word != "--");
            if words.into_iter().any(|word| word == "--json") {
                let message = error.to_string();
                let message = message.trim().strip_prefix("error: ").unwrap_or(message.trim()).to_owned();
                return CliError::usage(message).report(&OutputOptions::JSON_FAILURES);
            }
            let _ = error.print();
            ErrorCode::Usage.into()
        })
    }
}

/// Returns whether the command has the option `--json`.
fn wants_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, matches)) => {
            matches.try_get_one("json").ok().flatten().copied().unwrap_or(false) || wants_json(matches)
        }
        None => false,
    }
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The Sandboxfile; `-` reads standard input. Can be repeated; later files override earlier ones.
    // Its id must differ from those of the commands' own arguments.
    #[arg(id = "sandboxfile", short = 'f', long = "file", value_name = "FILE", global = true)]
    pub files: Vec<PathBuf>,
    /// File of NAME=value lines for `${NAME}`; the environment and `.env` take precedence. Can be repeated; later files
    /// override earlier ones.
    #[arg(long = "env-file", value_name = "FILE", global = true)]
    pub env_files: Vec<PathBuf>,
    /// Base folder for relative paths in the Sandboxfile.
    #[arg(long, value_name = "DIR", global = true)]
    pub project_directory: Option<PathBuf>,
    /// Project name; overrides the name in the Sandboxfile and that of its folder.
    #[arg(short, long, value_name = "NAME", env = "MSB_PROJECT", global = true)]
    pub project: Option<String>,
    /// VM driver, krun or qemu. Default: the best one that works here.
    #[arg(long, value_name = "DRIVER", env = "MSB_DRIVER", global = true)]
    pub driver: Option<DriverKind>,
    /// Form of progress output.
    #[arg(long, value_enum, default_value_t = Progress::Auto, value_name = "HOW", global = true)]
    pub progress: Progress,
    /// Interval between progress lines when bars are off; 0s disables them.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s", global = true)]
    pub heartbeat: Duration,
    /// Whether output is colored.
    #[arg(long = "color", value_enum, default_value_t = Color::Auto, value_name = "WHEN", global = true)]
    pub color: Color,
    /// Print only errors and results.
    #[arg(short, long, action = ArgAction::SetTrue, global = true)]
    pub quiet: bool,
    /// Whether the command has `--json`, so that a failure is JSON as well.
    #[arg(skip)]
    pub json: bool,
}

/// Forms of progress output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Bars on a terminal, lines elsewhere.
    Auto,
    /// Bars.
    Tty,
    /// Lines.
    Plain,
    /// Events on standard output, one JSON object per line.
    Json,
}

/// Whether output is colored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The option of commands that lock a project.
#[derive(Clone, Copy, Debug, Args)]
pub struct LockTimeout {
    /// How long to wait while another msb holds the project's lock.
    #[arg(id = "lock_timeout", long = "lock-timeout", value_name = "TIME", value_parser = duration, default_value = "0s")]
    pub timeout: Duration,
}

/// The option of commands whose results are JSON on request.
#[derive(Clone, Copy, Debug, Args)]
pub struct JsonResults {
    /// Print the result as JSON on standard output, and a failure as JSON on the last line of standard error.
    // Read for all commands at once, see `Global::json`.
    #[arg(long)]
    json: bool,
}

/// Parses a duration; `0` needs no unit.
///
/// # Errors
///
/// If the text is not a duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    parse_duration(text).map_err(|error| format!("{error}: a time is written like {DURATION_FORMS}"))
}

//! The command line: what stands before and after the name of a command.

use crate::commands::Command;
use crate::error::Exit;
use clap::{ArgAction, Args, Parser, ValueEnum};
use executor_vm::DriverKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The table at the end of `msb --help`.
const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed
  2    plan --detailed-exitcode: there are changes
  3    the lock file or a trusted Sandboxfile does not match
  4    a wait timed out
  5    the project is locked by another msb
  64   the command line cannot be understood
  130  interrupted (143: terminated)
  exec and run pass on the command's own code: 126 and 127 as a shell does, 128+n for signal n, 124 on --timeout";

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
    /// Reads the command line, or says what is wrong with it (or its help, or the version) and how to exit.
    pub fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS }
        })
    }
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The Sandboxfile; `-` reads it from standard input. Given again, each one lies over the ones before.
    // Named apart from the fields of the commands: clap knows arguments by their names alone.
    #[arg(id = "sandboxfile", short = 'f', long = "file", value_name = "FILE", global = true)]
    pub files: Vec<PathBuf>,
    /// A file of NAME=value lines for `${NAME}`, looked in after the environment and `.env`; the last one given
    /// is looked in first.
    #[arg(long = "env-file", value_name = "FILE", global = true)]
    pub env_files: Vec<PathBuf>,
    /// The folder that relative paths of the Sandboxfile start from.
    #[arg(long, value_name = "DIR", global = true)]
    pub project_directory: Option<PathBuf>,
    /// The project's name, instead of the one in the file or the folder's.
    #[arg(short, long, value_name = "NAME", env = "MSB_PROJECT", global = true)]
    pub project: Option<String>,
    /// The VM driver, instead of the best one that works here: krun or qemu.
    #[arg(long, value_name = "DRIVER", env = "MSB_DRIVER", global = true)]
    pub driver: Option<DriverKind>,
    /// How progress is shown.
    #[arg(long, value_enum, default_value_t = Progress::Auto, value_name = "HOW", global = true)]
    pub progress: Progress,
    /// Say this often which steps go on, where there are no bars; 0s is never.
    #[arg(long, value_name = "TIME", value_parser = crate::apply::lifecycle::parse_time, default_value = "10s", global = true)]
    pub heartbeat: Duration,
    /// How reports on a Sandboxfile are written.
    #[arg(long = "color", value_enum, default_value_t = Color::Auto, value_name = "WHEN", global = true)]
    pub color: Color,
    /// Say nothing but errors and results.
    #[arg(short, long, action = ArgAction::SetTrue, global = true)]
    pub quiet: bool,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Bars on a terminal, lines elsewhere.
    Auto,
    /// Bars.
    Tty,
    /// Lines.
    Plain,
    /// Events on standard output, one JSON object a line.
    Json,
}

/// Whether output has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

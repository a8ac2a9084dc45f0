//! `msb completion`.

use crate::cli::Cli;
use crate::output::print_raw;
use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::{Shell as Generator, generate};
use std::process::ExitCode;

/// Arguments of `msb completion`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// A shell with completion scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// `source <(msb completion bash)` in ~/.bashrc.
    Bash,
    /// `msb completion zsh > ~/.zfunc/_msb`, with that folder on the fpath.
    Zsh,
    /// `msb completion fish > ~/.config/fish/completions/msb.fish`.
    Fish,
}

/// Prints the completion script of a shell.
pub fn run(arguments: &Args) -> ExitCode {
    let generator = match arguments.shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let whole = Cli::command();
    // Hidden commands are not completed.
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut shown = Command::new("msb").args(whole.get_arguments().cloned()).subcommands(shown);
    let mut script = Vec::new();
    generate(generator, &mut shown, "msb", &mut script);
    print_raw(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}

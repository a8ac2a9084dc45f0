//! `docs/commands.md`: the reference of the command line, generated from the definitions of its commands.
//!
//! Updated by `UPDATE_GOLDEN=1 cargo test -p msb reference`.

use crate::cli::Cli;
use clap::{Arg, ArgAction, Command, CommandFactory};
use std::fmt::Write as _;
use std::path::Path;

const HEAD: &str = "\
# The command line

This page is generated from `msb COMMAND --help`. Options of every command can be written before or after the name of
the command.
";

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
    let page = generate();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
        return;
    }
    let present = std::fs::read_to_string(&path).unwrap();
    assert!(present == page, "docs/commands.md is out of date: UPDATE_GOLDEN=1 cargo test -p msb reference");
}

#[test]
fn every_shown_command_and_option_is_described() {
    fn check(command: &Command) {
        assert!(command.get_about().is_some(), "{} is not described", command.get_name());
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{} of {}", argument.get_id(), command.get_name());
        }
        shown_commands(command).for_each(check);
    }
    check(&Cli::command());
}

fn generate() -> String {
    let mut program = Cli::command();
    program.build();
    let mut page = HEAD.to_owned();
    page.push_str("\n## Commands\n\n| command | |\n| --- | --- |\n");
    for command in shown_commands(&program) {
        let name = full_name(command);
        let _ = writeln!(page, "| [`{name}`](#{}) | {} |", name.replace(' ', "-"), cell(&about(command)));
    }
    page.push_str("\n## Options of every command\n\n");
    page.push_str(&table(program.get_arguments().filter(|argument| argument.is_global_set())));
    for command in shown_commands(&program) {
        describe(command, "##", &mut page);
    }
    if let Some(after) = program.get_after_help() {
        let text = after.to_string();
        let text = text.strip_prefix("Exit codes:\n").unwrap_or(&text);
        let _ = write!(page, "\n## Exit codes\n\n```text\n{}\n```\n", text.trim_end());
    }
    page
}

fn shown_commands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

/// Appends a command and its subcommands, with headings of this level and below.
fn describe(command: &Command, level: &str, page: &mut String) {
    let _ = writeln!(page, "\n{level} {}\n\n{}.", full_name(command), about(command));
    let aliases: Vec<_> = command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
    if !aliases.is_empty() {
        let _ = writeln!(page, "\nAlias: {}.", aliases.join(", "));
    }
    let usage = command.clone().render_usage().to_string();
    let _ = write!(page, "\n```text\n{}\n```\n", usage.trim_start_matches("Usage: ").trim_end());
    let own =
        |argument: &&Arg| !argument.is_global_set() && !argument.is_hide_set() && argument.get_id() != "help";
    let arguments = table(command.get_arguments().filter(own));
    if !arguments.is_empty() {
        let _ = write!(page, "\n{arguments}");
    }
    for subcommand in shown_commands(command) {
        describe(subcommand, &format!("{level}#"), page);
    }
}

fn table<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let rows: String = arguments.map(row).collect();
    if rows.is_empty() { rows } else { format!("| option | |\n| --- | --- |\n{rows}") }
}

fn row(argument: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(argument.get_short().map(|short| format!("-{short}")));
    names.extend(argument.get_long().map(|long| format!("--{long}")));
    let values: Vec<_> =
        argument.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>")).collect();
    let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    let written = match (names.is_empty(), takes_value) {
        (true, _) => values.join(" "),
        (false, true) => format!("{} {}", names.join(", "), values.join(" ")),
        (false, false) => names.join(", "),
    };
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = sentence(&help);
    let choices: Vec<_> = argument
        .get_possible_values()
        .into_iter()
        .filter(|value| takes_value && !value.is_hide_set())
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({help})", value.get_name()),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    if !choices.is_empty() {
        let _ = write!(text, " Values: {}.", choices.join(", "));
    }
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes_value && !defaults.is_empty() {
        let _ = write!(text, " Default: `{}`.", defaults.join(" "));
    }
    if let Some(variable) = argument.get_env() {
        let _ = write!(text, " Environment: `{}`.", variable.to_string_lossy());
    }
    format!("| `{}` | {} |\n", written.trim().replace('|', "\\|"), cell(&text))
}

fn full_name(command: &Command) -> String {
    command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn about(command: &Command) -> String {
    command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default()
}

fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

/// Escapes a text for a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

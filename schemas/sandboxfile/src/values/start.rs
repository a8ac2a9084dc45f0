//! `start "serve"` or `start "python3" "/app/main.py"`: the main process.

use super::read::words;
use super::script::RawScript;
use super::{Parsed, PrintScope, Scope, Value};
use crate::check::RawSandbox;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::schema;
use crate::print::{Node, Printed};
use crate::syntax::{Item, Spanned};
use crate::variables::interpolate::escape;
use schemas::spec::Role;

/// Checks the words against the scripts; a script's name is a program like any other, being on PATH.
fn check(context: &mut Context<'_>, start: &[Spanned<String>], scripts: &[RawScript]) -> Option<Vec<String>> {
    let argv = check_command(context, start, "start", "to start", scripts)?;
    let [program] = start else { return Some(argv) };
    if program.value.contains('/') || is_script(scripts, program) {
        return Some(argv);
    }
    let near = context.nearest(&program.value, scripts.iter().map(|script| script.name.value.as_str()));
    let Some(RawScript { name, .. }) = scripts.iter().find(|script| near == Some(script.name.value.as_str()))
    else {
        return Some(argv);
    };
    let message = format!("there is no script `{}`", shorten(&program.value));
    let help = format!("did you mean `{}`? to start a program of this name, give its path", name.value);
    context.refuse(
        Diagnostic::error(Code::UnknownScript, program.span, message)
            .label("not a script of this sandbox")
            .also(name.span, "this one is close")
            .help(help),
    )
}

fn is_script(scripts: &[RawScript], program: &Spanned<String>) -> bool {
    scripts.iter().any(|script| script.name.value == program.value)
}

/// Checks that a command has a program, and that it is not a command line in one string, unless a script is called so.
/// `what` is about the command, for messages: `of a hook`.
pub(super) fn check_command(
    context: &mut Context<'_>,
    argv: &[Spanned<String>],
    property: &str,
    what: &str,
    scripts: &[RawScript],
) -> Option<Vec<String>> {
    let program = program_of(context, argv, what)?;
    if argv.len() == 1 && program.value.contains(char::is_whitespace) && !is_script(scripts, program) {
        return command_in_one_string(context, property, program);
    }
    Some(argv.iter().map(|word| word.value.clone()).collect())
}

/// Returns a text as written, its variables not replaced, without quotes.
fn as_written(context: &Context<'_>, text: &Spanned<String>) -> String {
    let source = context.sources.slice(text.span);
    let unquoted = ['"', '\''].iter().find_map(|quote| source.strip_prefix(*quote)?.strip_suffix(*quote));
    let written = unquoted.unwrap_or(source).replace("\\\"", "\"");
    // For other escapes and quotes the value is close enough.
    if written.contains(['\\', '\n']) || written.starts_with(['#', '|', '>', '&', '*']) {
        return escape(&text.value);
    }
    written
}

/// Returns the program of a command, unless it is empty; `what` is about the command, for messages: `of a hook`.
pub(super) fn program_of<'a>(
    context: &mut Context<'_>,
    argv: &'a [Spanned<String>],
    what: &str,
) -> Option<&'a Spanned<String>> {
    let program = argv.first()?;
    if program.value.trim().is_empty() {
        let message = format!("the program {what} is empty");
        return context
            .refuse(Diagnostic::error(Code::MissingValue, program.span, message).label("no program"));
    }
    Some(program)
}

/// Reports a command line in one string.
fn command_in_one_string<T>(context: &mut Context<'_>, property: &str, line: &Spanned<String>) -> Option<T> {
    let written = as_written(context, line);
    let message = format!("`{}` is one word, not a command line", shorten(&written));
    let split: Vec<&str> = written.split_whitespace().take(8).collect();
    // A command line with shell syntax needs a shell.
    let needs_shell = written.contains(['"', '\'', '|', '&', ';', '$', '>', '<', '*', '`', '\\', '\n']);
    let separate = if needs_shell {
        context.sample(property, &["sh", "-c", written.trim()])
    } else {
        context.sample(property, &split)
    };
    let help = if separate.contains('\n') || separate.len() > 200 {
        "give program and arguments as separate words, or write a script".to_owned()
    } else {
        format!("give program and arguments as separate words: `{separate}`")
    };
    context.refuse(
        Diagnostic::error(Code::CommandInOneString, line.span, message)
            .label("no shell splits this")
            .help(help),
    )
}

/// Arguments for the image's entrypoint.
pub(crate) struct Args;

impl Value for Args {
    type Raw = Parsed<Vec<Spanned<String>>>;
    type Model = Option<Vec<String>>;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let help = |context: &Context<'_>| {
            format!("give them as separate words: `{}`", context.sample("args", &["--port", "8080"]))
        };
        words(context, item, &help).into()
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, scope: &Scope<'_>) -> Option<Self::Model> {
        let Parsed::Value(args) = raw else { return Some(None) };
        if let Parsed::Value(start) = &scope.sandbox.start
            && let (Some(arg), Some(program)) = (args.first(), start.first())
        {
            let message = "`args` are for the image's entrypoint, which `start` replaces";
            return context.refuse(
                Diagnostic::error(Code::NoEffect, arg.span, message)
                    .label("never passed on")
                    .also(program.span, "this is started")
                    .help("append them to `start`, or remove `start`"),
            );
        }
        Some(Some(args.iter().map(|word| word.value.clone()).collect()))
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        match model {
            Some(args) if !args.is_empty() => Printed::One(Node::words(args)),
            _ => Printed::Nothing,
        }
    }

    fn schema() -> serde_json::Value {
        schema::words()
    }
}

/// The main process.
pub(crate) struct Start;

impl Value for Start {
    type Raw = Parsed<Vec<Spanned<String>>>;
    type Model = Option<Vec<String>>;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let help = |context: &Context<'_>| {
            format!(
                "name a script, or give a program and its arguments: `{}`",
                context.sample("start", &["sleep", "60"])
            )
        };
        words(context, item, &help).into()
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, scope: &Scope<'_>) -> Option<Self::Model> {
        let RawSandbox { name, role, scripts, args, .. } = scope.sandbox;
        // With arguments, a job has its image's entrypoint to run.
        if matches!(raw, Parsed::Missing) && (*role == Role::Service || matches!(args, Parsed::Value(_))) {
            return Some(None);
        }
        let start = raw.required(context, "start", name.span, |context| {
            let help =
                format!("add a script or a command: `{}`", context.sample("start", &["echo", "hello"]));
            (format!("the job `{}` has nothing to run", shorten(&name.value)), help)
        })?;
        check(context, start, scripts).map(Some)
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        match model {
            // A Sandboxfile cannot declare an empty command.
            Some(argv) if !argv.is_empty() => Printed::One(Node::words(argv)),
            _ => Printed::Nothing,
        }
    }

    fn schema() -> serde_json::Value {
        schema::words()
    }
}

//! `env="API_KEY"`, `file="./key"`, `command="pass" "api"` or `keyring="api" account="me"`: where a secret value is read.

use super::env::name_problem;
use super::path;
use super::read::{Fields, Takes, text, text_of, words};
use super::start::program_of;
use crate::Format;
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::SECRET_SOURCE;
use crate::merge::Layer;
use crate::print::{Item as PrintItem, Name, Node, Position, Scalar};
use crate::syntax::{Argument, Item, Span, Spanned};
use schemas::spec::SecretSource;

/// The properties that name a source.
const KINDS: [&str; 4] = ["env", "file", "command", "keyring"];

/// The source of a value, as typed.
#[derive(Clone, Debug)]
pub(crate) enum RawSource {
    /// A variable of the host.
    Env(Spanned<String>),
    /// A file of the host.
    File(Spanned<String>),
    /// A command of the host.
    Command(Vec<Spanned<String>>),
    /// An entry of the user's keyring.
    Keyring {
        /// The service.
        service: Spanned<String>,
        /// The account.
        account: Option<Spanned<String>>,
    },
}

impl Weight for RawSource {
    fn weight(&self) -> usize {
        match self {
            Self::Env(text) | Self::File(text) => text.weight(),
            Self::Command(words) => words.weight(),
            Self::Keyring { service, account } => service.weight() + account.weight(),
        }
    }
}

impl Layer for RawSource {
    fn overlay(self, _base: Self) -> Self {
        self
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        match self {
            Self::Env(text) | Self::File(text) => found("", text.span),
            Self::Command(words) => words.origins(found),
            Self::Keyring { service, account: _ } => found("", service.span),
        }
    }
}

/// The property that a source is written in, for messages.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    /// What has the source: `a secret`.
    pub what: &'static str,
    /// The name of the property.
    pub property: &'static str,
    /// A variable for examples.
    pub variable: &'a str,
}

/// Returns an example of a source.
pub(crate) fn sample(context: &Context<'_>, property: &str, variable: &str) -> String {
    match context.format {
        Format::Kdl => format!("{property} env=\"{variable}\""),
        Format::Yaml => format!("{property}: {{ env: {variable} }}"),
    }
}

/// Reads `from env="X"`, `from file="./x"`, `from command="a" "b"` or `from keyring="x" account="y"`.
pub(crate) fn read(context: &mut Context<'_>, item: &Item<'_>, owner: Owner<'_>) -> Option<RawSource> {
    let Owner { what, property: name, variable } = owner;
    let help = |context: &Context<'_>| {
        let sample = sample(context, name, &shorten(variable));
        format!("write `{sample}`; or name a `file`, a `command`, or a `keyring`")
    };
    let fields = Fields::read(context, &SECRET_SOURCE, &item.items);
    let mut found = KINDS.into_iter().filter_map(|kind| Some((kind, fields.one(kind)?)));
    let (kind, property) = match (found.next(), found.next()) {
        (Some(source), None) => source,
        (None, _) => {
            let is_named = KINDS.iter().any(|kind| fields.has_misspelling_of(kind));
            let diagnostic = if let Some(account) = fields.one("account") {
                let message = "an account belongs to a `keyring`";
                Some(
                    Diagnostic::error(Code::MissingProperty, account.name.span, message)
                        .label("no `keyring`"),
                )
            } else if is_named || !item.items.is_empty() {
                None
            } else if let Some(argument) = item.arguments.iter().find(|argument| !argument.is_null()) {
                let message = format!("`{name}` says what kind of source it is");
                let diagnostic = Diagnostic::error(Code::WrongType, argument.span, message);
                Some(diagnostic.label(argument.describe()))
            } else {
                let message = format!("`{name}` names no source");
                Some(Diagnostic::error(Code::MissingValue, item.name.span, message).label("nothing follows"))
            };
            if let Some(diagnostic) = diagnostic {
                context.push(diagnostic.help(help(context)));
            }
            return None;
        }
        (Some((_, first)), Some((_, second))) => {
            return context.refuse(
                Diagnostic::error(Code::Conflict, second.name.span, format!("{what} has one source"))
                    .label("one too many")
                    .also(first.name.span, "first given here")
                    .help("keep one of the two"),
            );
        }
    };
    // The arguments follow `command="a"`.
    let mut rest = item.arguments.iter().filter(|argument: &&Argument<'_>| !argument.is_null()).peekable();
    if kind != "command"
        && let Some(extra) = rest.peek()
    {
        return context.refuse(
            Diagnostic::error(Code::TooManyValues, extra.span, format!("{what} has one source"))
                .label("one too many")
                .help(help(context)),
        );
    }
    let account = fields.one("account");
    if kind != "keyring"
        && let Some(account) = account
    {
        return context.refuse(
            Diagnostic::error(Code::Conflict, account.name.span, "an account belongs to a `keyring`")
                .label("not used")
                .also(property.name.span, "the source")
                .help("remove it"),
        );
    }
    let takes = |what| Takes { what, bare: false };
    match kind {
        "env" => text(context, property, takes("the name of a variable"), &help).map(RawSource::Env),
        "file" => text(context, property, takes("a path"), &help).map(RawSource::File),
        "keyring" => {
            let service = text(context, property, takes("the name of a service"), &help);
            let account = account.map(|item| text(context, item, takes("the name of an account"), &help));
            let account = match account {
                Some(account) => Some(account?),
                None => None,
            };
            Some(RawSource::Keyring { service: service?, account })
        }
        _ => {
            let mut argv = words(context, property, &help)?;
            let takes = Takes { what: "words", bare: true };
            for argument in rest {
                argv.push(text_of(context, argument, "command", takes)?);
            }
            Some(RawSource::Command(argv))
        }
    }
}

/// Checks a source; `of` is about its owner, for messages: `of the secret`.
pub(crate) fn check(context: &mut Context<'_>, source: &RawSource, of: &str) -> Option<SecretSource> {
    match source {
        RawSource::Env(name) => match name_problem(&name.value) {
            None => Some(SecretSource::Env { name: name.value.clone() }),
            Some(problem) => {
                let message = format!("the name of a variable {problem}");
                context.refuse(Diagnostic::error(Code::InvalidEnv, name.span, message).label("not a name"))
            }
        },
        RawSource::File(file) if path::is_local(&file.value) => {
            Some(SecretSource::File { path: context.absolute(file) })
        }
        RawSource::File(file) => {
            let shown = shorten(&file.value);
            context.refuse(
                Diagnostic::error(Code::InvalidPath, file.span, format!("`{shown}` is not a path"))
                    .label("does not begin with `/`, `./` or `../`")
                    .help(if file.value.is_empty() {
                        "name a file, such as \"./api-key\"".to_owned()
                    } else {
                        format!("did you mean \"./{shown}\"?")
                    }),
            )
        }
        RawSource::Command(argv) => {
            program_of(context, argv, of)?;
            Some(SecretSource::Command { argv: argv.iter().map(|word| word.value.clone()).collect() })
        }
        RawSource::Keyring { service, account } => {
            let empty = [Some(service), account.as_ref()].into_iter().flatten();
            let empty = empty.into_iter().find(|text| text.value.is_empty());
            if let Some(empty) = empty {
                let message = "an entry of a keyring has a service, and may have an account";
                return context.refuse(
                    Diagnostic::error(Code::MissingValue, empty.span, message)
                        .label("empty")
                        .help("write the values that the entry was stored with"),
                );
            }
            let account = account.as_ref().map(|account| account.value.clone());
            Some(SecretSource::Keyring { service: service.value.clone(), account })
        }
    }
}

/// Prints a source.
pub(crate) fn print(source: &SecretSource) -> Node {
    let property = |name, node| PrintItem { name: Name::Word(name), position: Position::Property, node };
    Node::flow(match source {
        SecretSource::Env { name } => vec![property("env", Node::text(name))],
        SecretSource::File { path } => vec![property("file", Node::text(path))],
        SecretSource::Command { argv } => vec![property("command", Node::words(argv))],
        SecretSource::Keyring { service, account } => {
            let account = account.iter().map(|account| PrintItem::property("account", Scalar::text(account)));
            std::iter::once(property("keyring", Node::text(service))).chain(account).collect()
        }
    })
}

//! `secret "API_KEY" { from env="API_KEY"; hosts "api.example.org" }`: values that a sandbox uses without
//! ever containing them.

use super::block::layers;
use super::env::name_problem;
use super::network::name_beneath;
use super::path;
use super::read::{Entry, Fields, Takes, entries, no_value, text, text_of, words};
use super::repeats::{given_before, same_name};
use super::start::program_of;
use super::word::{check_word, read_word};
use super::{Named, Parsed, PrintScope, Reading, Scope, Value};
use crate::Format;
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten, shorten_message};
use crate::language::{SECRET, SECRET_SOURCE, schema};
use crate::merge::Layer;
use crate::print::{Item as PrintItem, Name, Node, Position, Printed, Scalar};
use crate::syntax::{Item, Span, Spanned};
use rules::rule::{HostPattern, InvalidRule, Reason};
use schemas::spec::{OnViolation, Secret, SecretSource};
use std::collections::{BTreeMap, BTreeSet, HashMap};

layers! {
    /// A secret as typed.
    RawSecret {
        /// Where its value is read.
        from: Parsed<RawSource> = "from",
        /// The hosts that it may be sent to.
        hosts: Parsed<Vec<Spanned<String>>> = "hosts",
        /// What happens when it is sent elsewhere.
        on_violation: Option<Spanned<String>> = "on-violation",
    }
}

/// The source of a value, as typed.
#[derive(Clone, Debug)]
pub(crate) enum RawSource {
    /// A variable of the host.
    Env(Spanned<String>),
    /// A file of the host.
    File(Spanned<String>),
    /// A command of the host.
    Command(Vec<Spanned<String>>),
}

impl Weight for RawSource {
    fn weight(&self) -> usize {
        match self {
            Self::Env(text) | Self::File(text) => text.weight(),
            Self::Command(words) => words.weight(),
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
        }
    }
}

fn read_one(context: &mut Context<'_>, entry: Entry<'_>) -> Named<RawSecret> {
    let help = |context: &Context<'_>| {
        format!("say where it is read: `{}`", sample_source(context, &shorten(&entry.name.value)))
    };
    let message = "a secret takes properties, not a value: its value is never written in a file";
    let wrong = no_value(context, entry.arguments, &message, &help);
    let mut fields = Fields::read(context, &SECRET, entry.items);
    if wrong.is_some() {
        fields.suspect_all();
    }
    let mut from = fields.reading("from", |item| Parsed::from(read_source(context, item, &entry.name.value)));
    // A source outside of `from` was reported: it is not missing as well.
    let is_source =
        |item: &Item<'_>| matches!(item.name.value.as_ref(), "env" | "file" | "command" | "value");
    if entry.items.iter().any(is_source) {
        from.ignore_missing();
    }
    let help = |context: &Context<'_>| {
        format!("name them: `{}`", context.sample_list("hosts", &["api.example.org"]))
    };
    let hosts = fields.reading("hosts", |item| words(context, item, &help).into());
    let on_violation = fields.reading("on-violation", |item| read_word::<OnViolation>(context, item));
    Named { name: entry.name, value: RawSecret { from, hosts, on_violation } }
}

fn sample_source(context: &Context<'_>, name: &str) -> String {
    match context.format {
        Format::Kdl => format!("from env=\"{name}\""),
        Format::Yaml => format!("from: {{ env: {name} }}"),
    }
}

/// `from env="X"`, `from file="./x"` or `from command="a" "b"`.
fn read_source(context: &mut Context<'_>, item: &Item<'_>, name: &str) -> Option<RawSource> {
    let help = |context: &Context<'_>| {
        format!("write `{}`; or name a `file`, or a `command`", sample_source(context, &shorten(name)))
    };
    let fields = Fields::read(context, &SECRET_SOURCE, &item.items);
    let kinds = ["env", "file", "command"];
    let mut found = kinds.into_iter().filter_map(|kind| Some((kind, fields.one(kind)?)));
    let (kind, property) = match (found.next(), found.next()) {
        (Some(source), None) => source,
        (None, _) => {
            if !kinds.iter().any(|kind| fields.has_misspelling_of(kind)) && item.items.is_empty() {
                let diagnostic = match item.arguments.iter().find(|argument| !argument.is_null()) {
                    Some(argument) => Diagnostic::error(
                        Code::WrongType,
                        argument.span,
                        "`from` says what kind of source it is",
                    )
                    .label(argument.describe()),
                    None => Diagnostic::error(Code::MissingValue, item.name.span, "`from` names no source")
                        .label("nothing follows"),
                };
                context.push(diagnostic.help(help(context)));
            }
            return None;
        }
        (Some((_, first)), Some((_, second))) => {
            return context.refuse(
                Diagnostic::error(Code::Conflict, second.name.span, "a secret has one source")
                    .label("one too many")
                    .also(first.name.span, "first given here")
                    .help("keep one of the two"),
            );
        }
    };
    // The arguments follow `command="a"`.
    let mut rest = item.arguments.iter().filter(|argument| !argument.is_null()).peekable();
    if kind != "command"
        && let Some(extra) = rest.peek()
    {
        let message = "a secret has one source";
        return context.refuse(
            Diagnostic::error(Code::TooManyValues, extra.span, message)
                .label("one too many")
                .help(help(context)),
        );
    }
    match kind {
        "env" => text(context, property, Takes { what: "the name of a variable", bare: false }, &help)
            .map(RawSource::Env),
        "file" => text(context, property, Takes { what: "a path", bare: false }, &help).map(RawSource::File),
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

fn check_name(
    context: &mut Context<'_>,
    name: &Spanned<String>,
    variables: &HashMap<&str, Span>,
    before: Option<Span>,
) -> Option<String> {
    let diagnostic = if let Some(problem) = name_problem(&name.value) {
        Diagnostic::error(Code::InvalidEnv, name.span, format!("the name of a secret {problem}"))
            .label("not a name")
            .help("it is the name of the variable that holds its placeholder, such as API_KEY")
    } else if let Some(before) = before {
        same_name("secrets", name, before)
    } else if let Some(&variable) = variables.get(name.value.as_str()) {
        let message = format!("`{}` is both a secret and a variable", shorten(&name.value));
        Diagnostic::error(Code::Conflict, name.span, message)
            .label("a secret")
            .also(variable, "a variable of the same name")
            .help("remove the variable: the secret sets it to a placeholder")
    } else {
        return Some(name.value.clone());
    };
    context.refuse(diagnostic)
}

fn check_source(
    context: &mut Context<'_>,
    name: &Spanned<String>,
    from: &Parsed<RawSource>,
) -> Option<SecretSource> {
    let shown = shorten(&name.value);
    let source = from.required(context, "from", name.span, |context| {
        let help = format!("say where it is read: `{}`", sample_source(context, &shown));
        (format!("the secret `{shown}` has no source"), help)
    })?;
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
            program_of(context, argv, "of the secret")?;
            Some(SecretSource::Command { argv: argv.iter().map(|word| word.value.clone()).collect() })
        }
    }
}

fn check_hosts(
    context: &mut Context<'_>,
    name: &Spanned<String>,
    hosts: &Parsed<Vec<Spanned<String>>>,
) -> Option<BTreeSet<HostPattern>> {
    let hosts = hosts.required(context, "hosts", name.span, |context| {
        let sample = context.sample_list("hosts", &["api.example.org"]);
        let message = format!("the secret `{}` has no hosts", shorten(&name.value));
        (message, format!("name those that it may be sent to: `{sample}`"))
    })?;
    let check = |host: &Spanned<String>| {
        let parsed = host.value.parse::<HostPattern>();
        parsed.map_err(|invalid| context.push(invalid_host(host.span, &invalid))).ok()
    };
    // All of them are checked, even after a wrong one.
    let checked: Vec<_> = hosts.iter().map(check).collect();
    checked.into_iter().collect()
}

fn invalid_host(span: Span, invalid: &InvalidRule) -> Diagnostic {
    let code = match invalid.reason {
        Reason::SuffixTooBroad { .. } => Code::SuffixTooBroad,
        _ => Code::InvalidHost,
    };
    let diagnostic = Diagnostic::error(code, span, shorten_message(&invalid.to_string())).label("not a host");
    match &invalid.suggestion {
        Some(suggestion) => diagnostic.help(format!("did you mean \"{}\"?", shorten(suggestion))),
        None if code == Code::SuffixTooBroad => diagnostic.help(name_beneath(&invalid.reason)),
        None => {
            diagnostic.help("a host is written like api.example.org, or *.example.org for all names below it")
        }
    }
}

/// Secrets by the variables that hold their placeholders.
pub(crate) struct Secrets;

impl Value for Secrets {
    type Raw = Vec<Named<RawSecret>>;
    type Model = BTreeMap<String, Secret>;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let found = entries(context, item, "API_KEY");
        found.into_iter().map(|entry| read_one(context, entry)).collect()
    }

    /// Checks all secrets of a sandbox, whose names must not be those of variables.
    fn check(
        context: &mut Context<'_>,
        secrets: &[Named<RawSecret>],
        scope: &Scope<'_>,
    ) -> Option<Self::Model> {
        let variables: HashMap<&str, Span> =
            scope.sandbox.env.iter().map(|Named { name, .. }| (name.value.as_str(), name.span)).collect();
        let mut first = BTreeMap::new();
        let mut checked = BTreeMap::new();
        for Named { name, value: RawSecret { from, hosts, on_violation } } in secrets {
            let before = given_before(&mut first, name.value.as_str(), name.span);
            let checked_name = check_name(context, name, &variables, before);
            let from = check_source(context, name, from);
            let hosts = check_hosts(context, name, hosts);
            let on_violation = check_word(context, on_violation.as_ref(), "on-violation");
            if let Some(name) = checked_name
                && let (Some(from), Some(hosts), Some(on_violation)) = (from, hosts, on_violation)
            {
                checked.insert(name, Secret { from, hosts, on_violation });
            }
        }
        Some(checked)
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        Printed::Named(model.iter().map(print_one).collect())
    }

    fn schema() -> serde_json::Value {
        schema::named("^[^=\\s]+$", &schema::definition("Secret"))
    }
}

fn print_one((name, secret): (&String, &Secret)) -> (Name, Node) {
    let Secret { from, hosts, on_violation } = secret;
    let (kind, source) = match from {
        SecretSource::Env { name } => ("env", Node::text(name)),
        SecretSource::File { path } => ("file", Node::text(path)),
        SecretSource::Command { argv } => ("command", Node::words(argv)),
    };
    let source = PrintItem { name: Name::Word(kind), position: Position::Property, node: source };
    let items = vec![
        PrintItem::child("from", Node::flow(vec![source])),
        PrintItem::child("hosts", Node::words(hosts)),
        PrintItem::child("on-violation", Node::Scalar(Scalar::text(on_violation.as_str()))),
    ];
    (Name::Key(name.clone()), Node::block(items))
}

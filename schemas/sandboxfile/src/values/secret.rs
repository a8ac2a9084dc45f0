//! `secret "API_KEY" { from env="API_KEY"; hosts "api.example.org" }`: values that a sandbox uses without
//! ever containing them.

use super::env::{RawPairs, name_problem};
use super::mount::shorten_message;
use super::network::name_beneath;
use super::path;
use super::read::{Entry, Fields, Takes, entries, no_value, text, text_of, words};
use super::word::{check_word, read_word};
use super::{PrintScope, Scope, Value};
use crate::Format;
use crate::check::{Parsed, Weight};
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{SECRET, SECRET_SOURCE, schema};
use crate::merge::{Keyed, Layer};
use crate::print::{Item as PrintItem, Name, Node, Position, Printed, Scalar};
use crate::syntax::{Item, Span, Spanned};
use rules::rule::{HostPattern, InvalidRule, Reason};
use schemas::spec::{OnViolation, Secret, SecretSource};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A secret as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawSecret {
    /// The variable that holds its placeholder.
    pub name: Spanned<String>,
    /// Where its value is read.
    pub from: Parsed<RawSource>,
    /// The hosts that it may be sent to.
    pub hosts: Parsed<Vec<Spanned<String>>>,
    /// What happens when it is sent elsewhere.
    pub on_violation: Option<Spanned<String>>,
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

impl Weight for RawSecret {
    fn weight(&self) -> usize {
        let Self { name, from, hosts, on_violation } = self;
        name.weight() + from.weight() + hosts.weight() + on_violation.weight()
    }
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

/// Secrets of the same name merge by their properties.
impl Keyed for RawSecret {
    fn key(&self) -> &str {
        &self.name.value
    }

    fn overlay(self, base: Self) -> Self {
        let Self { name: _, from, hosts, on_violation } = base;
        Self {
            name: self.name,
            from: self.from.overlay(from),
            hosts: self.hosts.overlay(hosts),
            on_violation: self.on_violation.overlay(on_violation),
        }
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        let Self { name, from, hosts, on_violation } = self;
        let mut inside = |property: &str, span: Span| found(&format!("{}.{property}", name.value), span);
        from.origins(&mut |_, span| inside("from", span));
        hosts.origins(&mut |_, span| inside("hosts", span));
        on_violation.origins(&mut |_, span| inside("on-violation", span));
    }
}

/// Reads one secret in KDL, all of them in YAML.
fn read(context: &mut Context<'_>, item: &Item<'_>) -> Vec<RawSecret> {
    let found = entries(context, item, "API_KEY");
    found.into_iter().map(|entry| read_one(context, entry)).collect()
}

fn read_one(context: &mut Context<'_>, entry: Entry<'_>) -> RawSecret {
    let help = |context: &Context<'_>| {
        format!("say where it is read: `{}`", sample_source(context, &shorten(&entry.name.value)))
    };
    let message = "a secret takes properties, not a value: its value is never written in a file";
    let wrong = no_value(context, entry.arguments, &message, &help);
    let fields = Fields::read(context, &SECRET, entry.items);
    let hosts_help = |context: &Context<'_>| {
        format!("name them: `{}`", context.sample_list("hosts", &["api.example.org"]))
    };
    // A source outside of `from` was reported: it is not missing as well.
    let is_source =
        |item: &Item<'_>| matches!(item.name.value.as_ref(), "env" | "file" | "command" | "value");
    let stands_outside = entry.items.iter().any(is_source);
    RawSecret {
        from: Parsed::read(&fields, "from", wrong.is_some() || stands_outside, |item| {
            read_source(context, item, &entry.name.value)
        }),
        hosts: Parsed::read(&fields, "hosts", wrong.is_some(), |item| words(context, item, &hosts_help)),
        on_violation: fields.one("on-violation").and_then(|item| read_word::<OnViolation>(context, item)),
        name: entry.name,
    }
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
    let found: Vec<(&str, &Item<'_>)> =
        ["env", "file", "command"].iter().filter_map(|name| Some((*name, fields.one(name)?))).collect();
    let (kind, property) = match found.as_slice() {
        [(kind, property)] => (*kind, *property),
        [] => {
            if !["env", "file", "command"].iter().any(|name| fields.has_misspelling_of(name))
                && item.items.is_empty()
            {
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
        [(_, first), (_, second), ..] => {
            context.push(
                Diagnostic::error(Code::Conflict, second.name.span, "a secret has one source")
                    .label("one too many")
                    .also(first.name.span, "first given here")
                    .help("keep one of the two"),
            );
            return None;
        }
    };
    // The arguments follow `command="a"`.
    let mut rest = item.arguments.iter().filter(|argument| !argument.is_null()).peekable();
    if kind != "command"
        && let Some(extra) = rest.peek()
    {
        let message = "a secret has one source";
        context.push(
            Diagnostic::error(Code::TooManyValues, extra.span, message)
                .label("one too many")
                .help(help(context)),
        );
        return None;
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

/// Checks all secrets of a sandbox, whose names must not be those of variables.
fn check(context: &mut Context<'_>, secrets: &[RawSecret], env: &RawPairs) -> BTreeMap<String, Secret> {
    if secrets.is_empty() {
        return BTreeMap::new();
    }
    let variables: HashMap<&str, Span> =
        env.iter().map(|(name, _)| (name.value.as_str(), name.span)).collect();
    let mut first: HashMap<&str, Span> = HashMap::new();
    let mut checked = BTreeMap::new();
    for raw in secrets {
        let name = raw.name.value.as_str();
        let is_sound = check_name(context, raw, &variables, first.get(name).copied());
        first.entry(name).or_insert(raw.name.span);
        let from = check_source(context, raw);
        let hosts = check_hosts(context, raw);
        let on_violation = check_word(context, raw.on_violation.as_ref(), "on-violation");
        if let (true, Some(from), Some(hosts), Some(on_violation)) = (is_sound, from, hosts, on_violation) {
            checked.insert(name.to_owned(), Secret { from, hosts, on_violation });
        }
    }
    checked
}

fn check_name(
    context: &mut Context<'_>,
    raw: &RawSecret,
    variables: &HashMap<&str, Span>,
    before: Option<Span>,
) -> bool {
    let name = raw.name.value.as_str();
    let shown = shorten(name);
    let diagnostic = if let Some(problem) = name_problem(name) {
        Diagnostic::error(Code::InvalidEnv, raw.name.span, format!("the name of a secret {problem}"))
            .label("not a name")
            .help("it is the name of the variable that holds its placeholder, such as API_KEY")
    } else if let Some(before) = before {
        Diagnostic::error(Code::DuplicateName, raw.name.span, format!("two secrets are called `{shown}`"))
            .label("the same name again")
            .also(before, "first given here")
            .help("rename or remove one of the two")
    } else if let Some(&variable) = variables.get(name) {
        Diagnostic::error(Code::Conflict, raw.name.span, format!("`{shown}` is both a secret and a variable"))
            .label("a secret")
            .also(variable, "a variable of the same name")
            .help("remove the variable: the secret sets it to a placeholder")
    } else {
        return true;
    };
    context.push(diagnostic);
    false
}

fn check_source(context: &mut Context<'_>, raw: &RawSecret) -> Option<SecretSource> {
    let source = match &raw.from {
        Parsed::Value(source) => source,
        Parsed::Invalid => return None,
        Parsed::Missing => {
            let shown = shorten(&raw.name.value);
            let help = format!("say where it is read: `{}`", sample_source(context, &shown));
            context.push(
                Diagnostic::error(
                    Code::MissingProperty,
                    raw.name.span,
                    format!("the secret `{shown}` has no source"),
                )
                .label("`from` is missing")
                .help(help),
            );
            return None;
        }
    };
    match source {
        RawSource::Env(name) => match name_problem(&name.value) {
            None => Some(SecretSource::Env { name: name.value.clone() }),
            Some(problem) => {
                let message = format!("the name of a variable {problem}");
                context.push(Diagnostic::error(Code::InvalidEnv, name.span, message).label("not a name"));
                None
            }
        },
        RawSource::File(file) if path::is_local(&file.value) => {
            Some(SecretSource::File { path: context.absolute(file) })
        }
        RawSource::File(file) => {
            let shown = shorten(&file.value);
            context.push(
                Diagnostic::error(Code::InvalidPath, file.span, format!("`{shown}` is not a path"))
                    .label("does not begin with `/`, `./` or `../`")
                    .help(if file.value.is_empty() {
                        "name a file, such as \"./api-key\"".to_owned()
                    } else {
                        format!("did you mean \"./{shown}\"?")
                    }),
            );
            None
        }
        RawSource::Command(argv) => {
            let program = argv.first()?;
            if program.value.trim().is_empty() {
                context.push(
                    Diagnostic::error(Code::MissingValue, program.span, "the program of the secret is empty")
                        .label("no program"),
                );
                return None;
            }
            Some(SecretSource::Command { argv: argv.iter().map(|word| word.value.clone()).collect() })
        }
    }
}

fn check_hosts(context: &mut Context<'_>, raw: &RawSecret) -> Option<BTreeSet<HostPattern>> {
    let hosts = match &raw.hosts {
        Parsed::Value(hosts) => hosts,
        Parsed::Invalid => return None,
        Parsed::Missing => {
            let shown = shorten(&raw.name.value);
            let help = format!(
                "name those that it may be sent to: `{}`",
                context.sample_list("hosts", &["api.example.org"])
            );
            context.push(
                Diagnostic::error(
                    Code::MissingProperty,
                    raw.name.span,
                    format!("the secret `{shown}` has no hosts"),
                )
                .label("`hosts` is missing")
                .help(help),
            );
            return None;
        }
    };
    let mut checked = BTreeSet::new();
    let mut is_sound = true;
    for host in hosts {
        match host.value.parse() {
            Ok(pattern) => _ = checked.insert(pattern),
            Err(invalid) => {
                context.push(invalid_host(host.span, &invalid));
                is_sound = false;
            }
        }
    }
    is_sound.then_some(checked)
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
    type Raw = Vec<RawSecret>;
    type Model = BTreeMap<String, Secret>;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        fields.all(property).flat_map(|item| read(context, item)).collect()
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, scope: &Scope<'_>) -> Option<Self::Model> {
        Some(check(context, raw, &scope.sandbox.env))
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

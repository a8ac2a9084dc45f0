//! `secret "API_KEY" { from env="API_KEY"; hosts "api.example.org" }`: values that a sandbox uses without
//! ever containing them.

mod interception;
mod request;

use super::block::layers;
use super::env::name_problem;
use super::hosts;
use super::read::{Entry, Fields, Takes, boolean, entries, no_value, text_like, words};
use super::repeats::{given_before, same_name};
use super::source::{self, RawSource};
use super::word::{check_word, read_word};
use super::{Named, Parsed, PrintScope, Reading, Scope, Value};
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{SECRET, schema};
use crate::merge::Layer;
use crate::print::{Item as PrintItem, Name, Node, Printed, Scalar};
use crate::syntax::{Item, Span, Spanned};
use interception::{Interception, check_passthrough};
use request::{check_apart, check_headers, check_parts, check_placeholder, place_of};
use rules::rule::HostPattern;
use schemas::spec::limits::SECRETS_PER_SANDBOX_MAX;
use schemas::spec::{OnViolation, Secret, SecretSource, default_parts};
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
        /// The text that stands for its value.
        placeholder: Option<Spanned<String>> = "placeholder",
        /// The parts of a request that it is put into.
        inject: Option<Vec<Spanned<String>>> = "inject",
        /// The headers that may contain it.
        headers: Option<Vec<Spanned<String>>> = "headers",
        /// The hosts that the placeholder is sent to unchanged.
        passthrough_hosts: Option<Vec<Spanned<String>>> = "passthrough-hosts",
        /// Whether it is sent over TLS only.
        require_tls: Option<Spanned<bool>> = "require-tls",
    }
}

fn read_one(context: &mut Context<'_>, entry: Entry<'_>) -> Named<RawSecret> {
    let help = |context: &Context<'_>| {
        format!("say where it is read: `{}`", source::sample(context, "from", &shorten(&entry.name.value)))
    };
    let message = "a secret takes properties, not a value: its value is never written in a file";
    let wrong = no_value(context, entry.arguments, &message, &help);
    let mut fields = Fields::read(context, &SECRET, entry.items);
    if wrong.is_some() {
        fields.suspect_all();
    }
    let owner = source::Owner { what: "a secret", property: "from", variable: &entry.name.value };
    let mut from = fields.reading("from", |item| Parsed::from(source::read(context, item, owner)));
    // A source outside of `from` was reported: it is not missing as well.
    let is_source = |item: &Item<'_>| {
        matches!(item.name.value.as_ref(), "env" | "file" | "command" | "keyring" | "value")
    };
    if entry.items.iter().any(is_source) {
        from.ignore_missing();
    }
    let hosts = fields.reading("hosts", |item| hosts::read(context, item, "hosts").into());
    let on_violation = fields.reading("on-violation", |item| read_word::<OnViolation>(context, item));
    let placeholder = fields.reading("placeholder", |item| {
        text_like(context, item, Takes { what: "a text", bare: false }, "sk-placeholder")
    });
    let help = |context: &Context<'_>| {
        format!("name parts of a request: `{}`", context.sample_list("inject", &["headers", "query"]))
    };
    let inject = fields.reading("inject", |item| words(context, item, &help));
    let help = |context: &Context<'_>| {
        format!("name headers: `{}`", context.sample_list("headers", &["Authorization"]))
    };
    let headers = fields.reading("headers", |item| words(context, item, &help));
    let passthrough_hosts =
        fields.reading("passthrough-hosts", |item| hosts::read(context, item, "passthrough-hosts"));
    let help = |context: &Context<'_>| {
        let value = context.format.pick("#false", "false");
        format!("write `{}`, or omit it", context.sample_bare("require-tls", value))
    };
    let require_tls = fields.reading("require-tls", |item| boolean(context, item, &help));
    let value =
        RawSecret { from, hosts, on_violation, placeholder, inject, headers, passthrough_hosts, require_tls };
    Named { name: entry.name, value }
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
    let written = from.required(context, "from", name.span, |context| {
        let help = format!("say where it is read: `{}`", source::sample(context, "from", &shown));
        (format!("the secret `{shown}` has no source"), help)
    })?;
    source::check(context, written, "of the secret")
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
    hosts::check(context, hosts)
}

/// Checks one secret, all parts of it even after a wrong one.
fn check_one(
    context: &mut Context<'_>,
    name: &Spanned<String>,
    raw: &RawSecret,
    is_named: bool,
    interception: &Interception,
) -> Option<Secret> {
    let from = check_source(context, name, &raw.from);
    let hosts = check_hosts(context, name, &raw.hosts);
    let on_violation = check_word(context, raw.on_violation.as_ref(), "on-violation");
    // A wrong name makes no placeholder.
    let placeholder = if is_named || raw.placeholder.is_some() {
        check_placeholder(context, name, raw.placeholder.as_ref())
    } else {
        None
    };
    let headers = check_headers(context, raw.headers.as_ref());
    let inject = check_parts(context, raw.inject.as_ref(), headers.as_ref());
    let passthrough_hosts = hosts::check_optional(context, raw.passthrough_hosts.as_ref());
    let require_tls = raw.require_tls.as_ref().is_none_or(|require| require.value);
    let written = if let Parsed::Value(hosts) = &raw.hosts { Some(hosts) } else { None };
    let is_apart = check_passthrough(context, written, raw.passthrough_hosts.as_ref());
    let is_sent = interception.check(context, name, written.map_or(&[], Vec::as_slice), require_tls);
    is_apart.and(is_sent)?;
    Some(Secret {
        from: from?,
        hosts: hosts?,
        on_violation: on_violation?,
        placeholder: placeholder?,
        inject: inject?,
        headers: headers?,
        passthrough_hosts: passthrough_hosts?,
        require_tls,
    })
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
        if let Some(extra) = secrets.get(SECRETS_PER_SANDBOX_MAX) {
            let message = format!("a sandbox has at most {SECRETS_PER_SANDBOX_MAX} secrets");
            return context.refuse(
                Diagnostic::error(Code::TooManySecrets, extra.name.span, message)
                    .label("one too many")
                    .help("remove those that it does not use"),
            );
        }
        let interception = Interception::of(scope.sandbox.tls.as_ref());
        let mut first = BTreeMap::new();
        let mut checked = BTreeMap::new();
        let mut placeholders = Vec::new();
        for Named { name, value: raw } in secrets {
            let before = given_before(&mut first, name.value.as_str(), name.span);
            let checked_name = check_name(context, name, &variables, before);
            let is_named = checked_name.is_some();
            let secret = check_one(context, name, raw, is_named, &interception);
            if let (Some(name_text), Some(secret)) = (checked_name, secret) {
                let place = place_of(name, raw.placeholder.as_ref());
                placeholders.push(Spanned::new(secret.placeholder(&name_text), place));
                checked.insert(name_text, secret);
            }
        }
        check_apart(context, &placeholders);
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
    let Secret { from, hosts, on_violation, placeholder, inject, headers, passthrough_hosts, require_tls } =
        secret;
    let mut items = vec![
        PrintItem::child("from", source::print(from)),
        PrintItem::child("hosts", Node::words(hosts)),
        PrintItem::child("on-violation", Node::Scalar(Scalar::text(on_violation.as_str()))),
    ];
    if let Some(placeholder) = placeholder {
        items.push(PrintItem::child("placeholder", Node::text(placeholder)));
    }
    // Its default depends on the headers.
    if *inject != default_parts() || !headers.is_empty() {
        items.push(PrintItem::child("inject", Node::words(inject)));
    }
    if !headers.is_empty() {
        items.push(PrintItem::child("headers", Node::words(headers)));
    }
    if !passthrough_hosts.is_empty() {
        items.push(PrintItem::child("passthrough-hosts", Node::words(passthrough_hosts)));
    }
    if !require_tls {
        items.push(PrintItem::child("require-tls", Node::Scalar(Scalar::Flag(false))));
    }
    (Name::Key(name.clone()), Node::block(items))
}

//! `ulimits { nofile "1024:2048" }` and `hosts { db "10.0.0.5" }`: maps of values with a grammar.

use super::read::{Takes, single, text_of};
use super::repeats::{given_before, given_twice};
use super::{Named, PrintScope, Scope, Value};
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::schema;
use crate::print::{Item as PrintItem, Name, Node, Position, Printed};
use crate::syntax::{Item, Spanned};
use rules::ulimit::{Resource, Ulimit};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::marker::PhantomData;
use std::net::IpAddr;

/// An entry of such a map.
pub(crate) trait Entry {
    /// The checked name.
    type Key: Ord + Display;
    /// The checked value.
    type Value: Display;
    /// An entry as an example.
    const SAMPLE: (&'static str, &'static str);

    /// Checks the name, and the value.
    fn check(
        context: &mut Context<'_>,
        name: &Spanned<String>,
        text: &Spanned<String>,
    ) -> Option<(Self::Key, Self::Value)>;
}

/// A map of such entries.
pub(crate) struct Entries<E>(PhantomData<E>);

impl<E: Entry> Value for Entries<E> {
    type Raw = Vec<Named<Spanned<String>>>;
    type Model = BTreeMap<E::Key, E::Value>;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let help = |context: &Context<'_>| {
            let (name, value) = E::SAMPLE;
            format!("write each in the block: `{}`", context.sample(name, &[value]))
        };
        if let Some(argument) = item.arguments.iter().find(|argument| !argument.is_null()) {
            let message = format!("`{}` takes a map", shorten(&item.name.value));
            let help = help(context);
            context.push(
                Diagnostic::error(Code::WrongType, argument.span, message)
                    .label(argument.describe())
                    .help(help),
            );
        }
        let mut pairs = Vec::new();
        for entry in &item.items {
            let Some(argument) = single(context, entry, &help) else { continue };
            let takes = Takes { what: "a text", bare: true };
            if let Some(value) = text_of(context, argument, &entry.name.value, takes) {
                pairs.push(Named { name: entry.own_name(), value });
            }
        }
        pairs
    }

    fn check(
        context: &mut Context<'_>,
        pairs: &[Named<Spanned<String>>],
        _scope: &Scope<'_>,
    ) -> Option<Self::Model> {
        let (mut checked, mut first) = (BTreeMap::new(), BTreeMap::new());
        for Named { name, value } in pairs {
            match given_before(&mut first, name.value.as_str(), name.span) {
                Some(before) => context.push(given_twice(&name.value, name.span, before)),
                None => checked.extend(E::check(context, name, value)),
            }
        }
        Some(checked)
    }

    fn print(entries: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        if entries.is_empty() {
            return Printed::Nothing;
        }
        let item = |(key, value): (&E::Key, &E::Value)| PrintItem {
            name: Name::Key(key.to_string()),
            position: Position::Child,
            node: Node::text(value.to_string()),
        };
        Printed::One(Node::block(entries.iter().map(item).collect()))
    }

    fn schema() -> serde_json::Value {
        schema::pairs()
    }
}

/// Limits of processes.
pub(crate) type Ulimits = Entries<UlimitEntry>;

/// A limit of processes.
pub(crate) struct UlimitEntry;

impl Entry for UlimitEntry {
    type Key = Resource;
    type Value = Ulimit;
    const SAMPLE: (&'static str, &'static str) = ("nofile", "1024:2048");

    fn check(
        context: &mut Context<'_>,
        name: &Spanned<String>,
        text: &Spanned<String>,
    ) -> Option<(Resource, Ulimit)> {
        let Some(resource) = Resource::from_word(&name.value) else {
            let known = Resource::ALL.iter().map(|resource| resource.as_str());
            let help = match context.nearest(&name.value, known.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", known.collect::<Vec<_>>().join(", ")),
            };
            let message = format!("there is no limit `{}`", shorten(&name.value));
            return context.refuse(
                Diagnostic::error(Code::InvalidUlimit, name.span, message).label("unknown").help(help),
            );
        };
        match text.value.parse() {
            Ok(limit) => Some((resource, limit)),
            Err(reason) => {
                let (message, label): (String, _) = (format!("{reason}"), "not a limit");
                context.refuse(
                    Diagnostic::error(Code::InvalidUlimit, text.span, message).label(label).help(
                        "a limit is a number or `unlimited`, or both the soft and the hard one: 1024:2048",
                    ),
                )
            }
        }
    }
}

/// Lines of the guest's `/etc/hosts`.
pub(crate) type HostLines = Entries<HostLine>;

/// A name, and the address that it has in a sandbox.
pub(crate) struct HostLine;

impl Entry for HostLine {
    type Key = String;
    type Value = IpAddr;
    const SAMPLE: (&'static str, &'static str) = ("db", "10.0.0.5");

    fn check(
        context: &mut Context<'_>,
        name: &Spanned<String>,
        text: &Spanned<String>,
    ) -> Option<(String, IpAddr)> {
        let is_name = !name.value.is_empty()
            && name.value.len() <= HOST_NAME_BYTES_MAX
            && name.value.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        if !is_name {
            let message = format!("`{}` is not a host name", shorten(&name.value));
            let help = "a host name has letters, digits and `-`, and `.` between its parts";
            return context.refuse(
                Diagnostic::error(Code::InvalidHostLine, name.span, message).label("not a name").help(help),
            );
        }
        // Compose writes IPv6 addresses in brackets.
        let bare = text.value.trim_start_matches('[').trim_end_matches(']');
        match bare.parse() {
            Ok(address) => Some((name.value.clone(), address)),
            Err(_) => {
                let message = format!("`{}` is not an address", shorten(&text.value));
                let help =
                    "give an address of IPv4 or IPv6, such as 10.0.0.5; the host is `host.msb.internal`";
                context.refuse(
                    Diagnostic::error(Code::InvalidHostLine, text.span, message)
                        .label("no address")
                        .help(help),
                )
            }
        }
    }
}

/// The longest name of a host, in bytes.
const HOST_NAME_BYTES_MAX: usize = 253;

//! `dns "1.1.1.1" { search "corp.example" }`: how the name server of a sandbox resolves names.

use super::block::layers;
use super::read::{Fields, missing_value, words, words_of};
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten_message};
use crate::language::DNS;
use crate::merge::Layer;
use crate::print::{Item as PrintItem, Node, Scalar};
use crate::syntax::{Item, Span, Spanned};
use rules::nameserver::InvalidNameServer;
use schemas::spec::Dns;
use schemas::spec::limits::{NAME_SERVERS_MAX, SEARCH_DOMAINS_MAX};
use std::fmt::Display;
use std::str::FromStr;

layers! {
    /// The resolution of names as typed.
    RawDns {
        /// The servers.
        servers: Option<Vec<Spanned<String>>> = "servers",
        /// The domains that names are looked up in.
        search: Option<Vec<Spanned<String>>> = "search",
    }
}

/// Reads the servers, which may follow the name, and the domains.
pub(super) fn read(context: &mut Context<'_>, item: &Item<'_>) -> RawDns {
    let fields = Fields::read(context, &DNS, &item.items);
    let help = |context: &Context<'_>| {
        format!("name their addresses: `{}`", context.sample_list("servers", &["1.1.1.1"]))
    };
    let mut servers = fields.reading("servers", |item| words(context, item, &help));
    let direct: Vec<_> = item.arguments.iter().filter(|argument| !argument.is_null()).cloned().collect();
    if let Some(first) = direct.first() {
        if servers.is_some() {
            context.push(
                Diagnostic::error(Code::TooManyValues, first.span, "the servers are given twice")
                    .label("given once here, and once as `servers`")
                    .help("put them into one list"),
            );
        }
        servers = words_of(context, &direct, &item.name.value);
    } else if item.items.is_empty() {
        missing_value(context, item, &|context: &Context<'_>| {
            format!("name a server: `{}`", context.sample_list("dns", &["1.1.1.1"]))
        });
    }
    let help = |context: &Context<'_>| {
        format!("name the domains: `{}`", context.sample_list("search", &["corp.example"]))
    };
    let search = fields.reading("search", |item| words(context, item, &help));
    RawDns { servers, search }
}

/// Checks each entry, even after a wrong one.
pub(super) fn check(context: &mut Context<'_>, raw: &RawDns) -> Option<Dns> {
    let RawDns { servers, search } = raw;
    let servers = check_list(context, servers.as_deref(), NAME_SERVERS_MAX, "name servers", |invalid| {
        let (label, help) = match invalid {
            InvalidNameServer::NotAnAddress { .. } => (
                "not an address",
                "a server is named by its address, such as 1.1.1.1, 10.0.0.53:5353 or [fd00::53]:5353",
            ),
            InvalidNameServer::Port { .. } => {
                ("not a port", "a port is a number from 1 to 65535; without it, 53")
            }
            InvalidNameServer::Unfit { .. } => {
                ("not the address of one server", "name the address that the server listens at")
            }
        };
        (invalid.to_string(), label, help)
    });
    let search = check_list(context, search.as_deref(), SEARCH_DOMAINS_MAX, "search domains", |invalid| {
        (format!("not a domain: {invalid}"), "not a domain", "a domain is written like corp.example")
    });
    Some(Dns { servers: servers?, search: search? })
}

fn check_list<T: FromStr + PartialEq + Display>(
    context: &mut Context<'_>,
    texts: Option<&[Spanned<String>]>,
    most: usize,
    what: &str,
    explain: impl Fn(T::Err) -> (String, &'static str, &'static str),
) -> Option<Vec<T>> {
    let texts = texts.unwrap_or_default();
    if let Some(extra) = texts.get(most) {
        let message = format!("a network has at most {most} {what}");
        let diagnostic = Diagnostic::error(Code::TooComplex, extra.span, message).label("one too many");
        return context.refuse(diagnostic.help("remove it: resolvers use no more of them"));
    }
    let mut checked: Vec<(T, Span)> = Vec::new();
    let mut is_valid = true;
    for Spanned { value, span } in texts {
        match value.parse::<T>() {
            Ok(entry) => match checked.iter().find(|(earlier, _)| *earlier == entry) {
                Some((_, earlier)) => context.push(
                    Diagnostic::warning(Code::NoEffect, *span, format!("{entry} is given twice"))
                        .label("one too many")
                        .also(*earlier, "given before")
                        .help("remove it"),
                ),
                None => checked.push((entry, *span)),
            },
            Err(invalid) => {
                let (message, label, help) = explain(invalid);
                let diagnostic = Diagnostic::error(Code::InvalidDns, *span, shorten_message(&message));
                context.push(diagnostic.label(label).help(help));
                is_valid = false;
            }
        }
    }
    is_valid.then(|| checked.into_iter().map(|(entry, _)| entry).collect())
}

/// Prints it; `None` where nothing is set.
pub(super) fn print(dns: &Dns) -> Option<PrintItem> {
    let Dns { servers, search } = dns;
    let list = |name: &'static str, entries: Vec<String>| {
        let entries: Vec<_> = entries.into_iter().map(Scalar::text).collect();
        (!entries.is_empty()).then(|| PrintItem::child(name, Node::Words(entries)))
    };
    let servers = list("servers", servers.iter().map(ToString::to_string).collect());
    let search = list("search", search.iter().map(ToString::to_string).collect());
    let items: Vec<_> = servers.into_iter().chain(search).collect();
    (!items.is_empty()).then(|| PrintItem::child("dns", Node::block(items)))
}

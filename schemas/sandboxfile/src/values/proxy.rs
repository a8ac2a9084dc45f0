//! `proxy "http://me@proxy.example:3128" { password env="PROXY_PASSWORD" }`: the proxy of a network.

use super::read::{Fields, MainValue, Takes, text_of};
use super::source::{self, Owner, RawSource};
use crate::Format;
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten_message};
use crate::language::PROXY;
use crate::merge::Layer;
use crate::print::{Item as PrintItem, Node, Scalar};
use crate::syntax::{Item, Span, Spanned};
use rules::proxy::{InvalidProxy, ProxyScheme, ProxyUrl};
use schemas::spec::UpstreamProxy;

/// The variable in examples.
const VARIABLE: &str = "PROXY_PASSWORD";
/// The URL in examples.
const EXAMPLE: &str = "http://proxy.example:3128";

/// A proxy as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawProxy {
    url: Spanned<String>,
    /// The source of its password.
    password: Option<RawSource>,
}

impl Weight for RawProxy {
    fn weight(&self) -> usize {
        let Self { url, password } = self;
        url.weight() + password.as_ref().map_or(0, Weight::weight)
    }
}

impl Layer for RawProxy {
    /// A password is that of one proxy: another one does not get it.
    fn overlay(self, _base: Self) -> Self {
        self
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        found("", self.url.span);
    }
}

/// Reads a proxy.
pub(super) fn read(context: &mut Context<'_>, item: &Item<'_>) -> Option<RawProxy> {
    let help = |context: &Context<'_>| format!("write `{}`", context.sample("proxy", &[EXAMPLE]));
    let fields = Fields::read(context, &PROXY, &item.items);
    let password = fields.one("password");
    let owner = Owner { what: "a password", property: "password", variable: VARIABLE };
    let password = password.map(|item| source::read(context, item, owner));
    let missing =
        || Diagnostic::error(Code::MissingProperty, item.name.span, "a proxy needs a URL").label("no URL");
    let too_many = "a network has one proxy";
    let main = MainValue { property: "url", missing: &missing, too_many, help: &help, too_many_help: None };
    let (argument, name) = main.find(context, &item.arguments, &fields)?;
    let takes = Takes { what: "a URL", bare: false };
    let url = text_of(context, argument, name.unwrap_or(&item.name.value), takes)?;
    match password {
        Some(password) => Some(RawProxy { url, password: Some(password?) }),
        None => Some(RawProxy { url, password: None }),
    }
}

/// Checks a proxy.
pub(super) fn check(context: &mut Context<'_>, raw: &RawProxy) -> Option<UpstreamProxy> {
    let RawProxy { url: text, password: source } = raw;
    let password = source.as_ref().map(|source| source::check(context, source, "of the password"));
    let url: ProxyUrl = match text.value.trim().parse() {
        Ok(url) => url,
        Err(invalid) => return context.refuse(invalid_url(context, text, &invalid)),
    };
    let password = match password {
        Some(password) => Some(password?),
        None => None,
    };
    let (message, label, help) = match (url.user(), &password) {
        (Some(_), Some(_)) | (None, None) => return Some(UpstreamProxy { url, password }),
        (Some(_), None) => {
            let sample = source::sample(context, "password", VARIABLE);
            let help = match context.format {
                Format::Kdl => format!("say where it is read: `proxy \"{url}\" {{ {sample} }}`"),
                Format::Yaml => format!("say where it is read: `proxy: {{ url: {url}, {sample} }}`"),
            };
            ("the user of the proxy has no password".to_owned(), "a user", help)
        }
        (None, Some(_)) => {
            let named = format!("{}://me@{}:{}", url.scheme(), url.host(), url.port());
            let help = format!("name the user in the URL: `{}`", context.sample("proxy", &[&named]));
            ("the password of the proxy has no user".to_owned(), "no user", help)
        }
    };
    context.refuse(Diagnostic::error(Code::InvalidProxy, text.span, message).label(label).help(help))
}

fn invalid_url(context: &Context<'_>, text: &Spanned<String>, invalid: &InvalidProxy) -> Diagnostic {
    let diagnostic = Diagnostic::error(Code::InvalidProxy, text.span, shorten_message(&invalid.to_string()));
    let (label, help) = match invalid {
        InvalidProxy::Password => {
            let sample = source::sample(context, "password", VARIABLE);
            ("a password", format!("write the user alone, and say where the password is read: `{sample}`"))
        }
        InvalidProxy::UnknownScheme { found } => {
            let known: Vec<_> = ProxyScheme::ALL.iter().map(|scheme| format!("`{scheme}`")).collect();
            let help = match found.as_str() {
                "https" => "the connection to the proxy itself is not encrypted: write `http://`".to_owned(),
                "socks5h" | "socks" => "write `socks5://`".to_owned(),
                _ => format!("the kinds are {}", known.join(" and ")),
            };
            ("not known", help)
        }
        InvalidProxy::User => {
            ("not a user", "write other characters than letters and digits as `%40` for `@`".to_owned())
        }
        InvalidProxy::Path => ("more than a port", format!("write it like \"{EXAMPLE}\"")),
        InvalidProxy::NoScheme
        | InvalidProxy::NoHost
        | InvalidProxy::Host { .. }
        | InvalidProxy::NoPort
        | InvalidProxy::Port { .. } => ("not the URL of a proxy", format!("write it like \"{EXAMPLE}\"")),
    };
    diagnostic.label(label).help(help)
}

/// Prints a proxy.
pub(super) fn print(UpstreamProxy { url, password }: &UpstreamProxy, format: Format) -> PrintItem {
    let url = Scalar::text(url.to_string());
    let Some(password) = password else {
        return match format {
            Format::Kdl => PrintItem::child("proxy", Node::flow(vec![PrintItem::argument("url", url)])),
            Format::Yaml => PrintItem::child("proxy", Node::Scalar(url)),
        };
    };
    let password = PrintItem::child("password", source::print(password));
    PrintItem::child("proxy", Node::block(vec![PrintItem::argument("url", url), password]))
}

//! `tls { ports 443 8443; bypass "*.pinned.example.org"; ca "./corp-ca.pem" }`: the interception of TLS.

use super::block::layers;
use super::mount::host_path;
use super::read::{Element, Fields, Help, MainValue, Takes, boolean, elements, no_value, text_of, words};
use super::repeats::given_before;
use super::{PrintScope, Scope, Value};
use super::{hosts, path};
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{TLS, TLS_CA, schema};
use crate::merge::{Keyed, Layer};
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{Item, Span, Spanned};
use crate::{FileKind, Format};
use schemas::spec::limits::CAS_PER_SANDBOX_MAX;
use schemas::spec::{ExtraCa, Tls};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

layers! {
    /// The settings of TLS as typed.
    RawTls {
        /// Whether it is intercepted.
        intercept: Option<Spanned<bool>> = "intercept",
        /// The ports at which it is intercepted.
        ports: Option<Vec<Spanned<String>>> = "ports",
        /// The hosts whose connections are not intercepted.
        bypass: Option<Vec<Spanned<String>>> = "bypass",
        /// The CAs of servers.
        cas: Vec<RawCa> = "ca",
    }
}

/// A CA as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawCa {
    file: Spanned<String>,
    hosts: Option<Vec<Spanned<String>>>,
}

impl Weight for RawCa {
    fn weight(&self) -> usize {
        let Self { file, hosts } = self;
        file.weight() + hosts.weight()
    }
}

impl Keyed for RawCa {
    fn key(&self) -> &str {
        &self.file.value
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        found("", self.file.span);
    }
}

/// Reads one CA in KDL, all of them in YAML.
fn read_cas(context: &mut Context<'_>, item: &Item<'_>) -> Vec<RawCa> {
    let help = |context: &Context<'_>| match context.format {
        Format::Kdl => "write `ca \"./ca.pem\"`".to_owned(),
        Format::Yaml => "write `- ./ca.pem` on a line below it".to_owned(),
    };
    let found = elements(context, item, &help);
    found.iter().filter_map(|element| read_ca(context, item, element, &help)).collect()
}

fn read_ca(
    context: &mut Context<'_>,
    item: &Item<'_>,
    element: &Element<'_>,
    help: &dyn Help,
) -> Option<RawCa> {
    let fields = Fields::read(context, &TLS_CA, element.items);
    let hosts = fields.one("hosts").and_then(|item| hosts::read(context, item, "hosts"));
    let missing = || {
        Diagnostic::error(Code::MissingProperty, element.span, "a CA needs a file")
            .label("the file is missing")
    };
    let too_many = "a CA has one file";
    let main = MainValue { property: "file", missing: &missing, too_many, help, too_many_help: None };
    let (argument, name) = main.find(context, element.arguments, &fields)?;
    let takes = Takes { what: "a path", bare: false };
    let file = text_of(context, argument, name.unwrap_or(&item.name.value), takes)?;
    Some(RawCa { file, hosts })
}

fn check_ports(
    context: &mut Context<'_>,
    ports: Option<&Vec<Spanned<String>>>,
) -> Option<BTreeSet<NonZeroU16>> {
    let check = |port: &Spanned<String>| {
        if let Ok(number) = port.value.trim().parse() {
            return Some(number);
        }
        let message = format!("`{}` is not a port", shorten(&port.value));
        context.refuse(
            Diagnostic::error(Code::InvalidPort, port.span, message)
                .label("not a number from 1 to 65535")
                .help("name the ports of servers, such as 443 and 8443"),
        )
    };
    let checked: Vec<_> = ports.into_iter().flatten().map(check).collect();
    checked.into_iter().collect()
}

fn check_ca(context: &mut Context<'_>, RawCa { file, hosts }: &RawCa) -> Option<ExtraCa> {
    let hosts = hosts::check_optional(context, hosts.as_ref());
    let shown = shorten(&file.value);
    if !path::is_local(&file.value) {
        return context.refuse(
            Diagnostic::error(Code::InvalidPath, file.span, format!("`{shown}` is not a path"))
                .label("does not begin with `/`, `./` or `../`")
                .help(if file.value.is_empty() || file.value.starts_with('~') {
                    "name a file, such as \"./ca.pem\"".to_owned()
                } else {
                    format!("did you mean \"./{shown}\"?")
                }),
        );
    }
    let (path, kind) = host_path(context, file, "read")?;
    if kind == FileKind::Directory {
        return context.refuse(
            Diagnostic::error(Code::HostPathNotUsable, file.span, format!("`{shown}` is not a file"))
                .label("a folder")
                .help("name a file with certificates in PEM"),
        );
    }
    Some(ExtraCa { path, hosts: hosts? })
}

/// Checks the CAs, which are sorted by their files.
fn check_cas(context: &mut Context<'_>, cas: &[RawCa]) -> Option<Vec<ExtraCa>> {
    if let Some(extra) = cas.get(CAS_PER_SANDBOX_MAX) {
        let message = format!("a sandbox has at most {CAS_PER_SANDBOX_MAX} files with CAs");
        return context.refuse(
            Diagnostic::error(Code::TooManyFiles, extra.file.span, message)
                .label("one too many")
                .help("put several certificates into one file"),
        );
    }
    let mut first = BTreeMap::new();
    let mut checked = BTreeMap::new();
    let mut is_sound = true;
    for ca in cas {
        let path = context.absolute(&ca.file);
        if let Some(before) = given_before(&mut first, path, ca.file.span) {
            let message = format!("two CAs have the file `{}`", shorten(&ca.file.value));
            context.push(
                Diagnostic::error(Code::Conflict, ca.file.span, message)
                    .label("the same file again")
                    .also(before, "first given here")
                    .help("keep one of the two, with the hosts of both"),
            );
            is_sound = false;
            continue;
        }
        match check_ca(context, ca) {
            Some(ca) => drop(checked.insert(ca.path.clone(), ca)),
            None => is_sound = false,
        }
    }
    is_sound.then(|| checked.into_values().collect())
}

/// Warns of settings that have no effect, as nothing is intercepted.
fn check_effect(context: &mut Context<'_>, raw: &RawTls) {
    let Some(off) = raw.intercept.as_ref().filter(|intercept| !intercept.value) else { return };
    let mut unused = None;
    raw.origins(&mut |name, span| {
        if name != "intercept" {
            unused.get_or_insert_with(|| (name.to_owned(), span));
        }
    });
    let Some((name, span)) = unused else { return };
    let message = format!("`{name}` has no effect: TLS is not intercepted");
    context.push(
        Diagnostic::warning(Code::NoEffect, span, message)
            .label("never used")
            .also(off.span, "turned off here")
            .help("remove one of the two"),
    );
}

/// The settings of TLS.
pub(crate) struct TlsSettings;

impl Value for TlsSettings {
    type Raw = Option<RawTls>;
    type Model = Tls;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let truth = |context: &Context<'_>| context.format.pick("#true", "true");
        let help = |context: &Context<'_>| {
            format!("write `{}` inside it", context.sample_bare("intercept", truth(context)))
        };
        no_value(context, &item.arguments, &"`tls` takes a block, not a value", &help);
        let fields = Fields::read(context, &TLS, &item.items);
        let help =
            |context: &Context<'_>| format!("write `{}`", context.sample_bare("intercept", truth(context)));
        let intercept = fields.reading("intercept", |item| boolean(context, item, &help));
        let help = |context: &Context<'_>| {
            format!("name ports: `{}`", context.format.pick("ports 443 8443", "ports: [443, 8443]"))
        };
        let ports = fields.reading("ports", |item| words(context, item, &help));
        let bypass = fields.reading("bypass", |item| hosts::read(context, item, "bypass"));
        let cas = fields.reading("ca", |item| read_cas(context, item));
        Some(RawTls { intercept, ports, bypass, cas })
    }

    fn check(context: &mut Context<'_>, raw: &RawTls, _scope: &Scope<'_>) -> Option<Tls> {
        let ports = check_ports(context, raw.ports.as_ref());
        let bypass = hosts::check_optional(context, raw.bypass.as_ref());
        let cas = check_cas(context, &raw.cas);
        check_effect(context, raw);
        let intercept = raw.intercept.as_ref().map(|intercept| intercept.value);
        Some(Tls { intercept, ports: ports?, bypass: bypass?, cas: cas? })
    }

    fn print(tls: &Tls, scope: &PrintScope<'_>) -> Printed {
        if tls.is_default() {
            return Printed::Nothing;
        }
        let Tls { intercept, ports, bypass, cas } = tls;
        let mut items = Vec::new();
        if let Some(intercept) = intercept {
            items.push(PrintItem::child("intercept", Node::Scalar(Scalar::Flag(*intercept))));
        }
        if !ports.is_empty() {
            let ports = ports.iter().map(|port| Scalar::Number(u16::from(*port).into())).collect();
            items.push(PrintItem::child("ports", Node::Words(ports)));
        }
        if !bypass.is_empty() {
            items.push(PrintItem::child("bypass", Node::words(bypass)));
        }
        let cas = cas.iter().map(|ca| print_ca(ca, scope.format));
        match scope.format {
            Format::Kdl => items.extend(cas.map(|ca| PrintItem::child("ca", ca))),
            Format::Yaml if cas.len() == 0 => {}
            Format::Yaml => items.push(PrintItem::child("cas", Node::Lines(cas.collect()))),
        }
        Printed::One(Node::block(items))
    }

    fn schema() -> serde_json::Value {
        schema::definition(TLS.definition)
    }
}

fn print_ca(ExtraCa { path, hosts }: &ExtraCa, format: Format) -> Node {
    if hosts.is_empty() && format == Format::Yaml {
        return Node::text(path);
    }
    let mut items = vec![PrintItem::argument("file", Scalar::text(path))];
    if !hosts.is_empty() {
        items.push(PrintItem::child("hosts", Node::words(hosts)));
    }
    Node::flow(items)
}

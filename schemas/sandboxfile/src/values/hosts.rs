//! Lists of host patterns: `hosts "api.example.org" "*.example.net"`.

use super::network::name_beneath;
use super::read::words;
use crate::diagnostics::{Code, Context, Diagnostic, shorten, shorten_message};
use crate::syntax::{Item, Span, Spanned};
use rules::rule::{HostPattern, InvalidRule, Reason};
use std::collections::{BTreeMap, BTreeSet};

/// Reads a list of hosts as typed.
pub(super) fn read(
    context: &mut Context<'_>,
    item: &Item<'_>,
    property: &str,
) -> Option<Vec<Spanned<String>>> {
    let help = |context: &Context<'_>| {
        format!("name them: `{}`", context.sample_list(property, &["api.example.org"]))
    };
    words(context, item, &help)
}

/// Checks each host of a list, even after a wrong one.
pub(super) fn check(context: &mut Context<'_>, hosts: &[Spanned<String>]) -> Option<BTreeSet<HostPattern>> {
    let check = |host: &Spanned<String>| {
        let parsed = host.value.parse::<HostPattern>();
        parsed.map_err(|invalid| context.push(invalid_host(host.span, &invalid))).ok()
    };
    let checked: Vec<_> = hosts.iter().map(check).collect();
    checked.into_iter().collect()
}

/// Checks a list of hosts that may be missing.
pub(super) fn check_optional(
    context: &mut Context<'_>,
    hosts: Option<&Vec<Spanned<String>>>,
) -> Option<BTreeSet<HostPattern>> {
    hosts.map_or_else(|| Some(BTreeSet::new()), |hosts| check(context, hosts))
}

/// The valid hosts of a list, each with its place.
pub(super) struct Placed(BTreeMap<HostPattern, Span>);

impl Placed {
    /// Takes the valid hosts; the others are reported elsewhere.
    pub fn of(hosts: Option<&Vec<Spanned<String>>>) -> Self {
        let valid = hosts.into_iter().flatten();
        Self(valid.filter_map(|host| Some((host.value.parse().ok()?, host.span))).collect())
    }

    /// Returns the host that matches every name that `pattern` matches, and its place.
    pub fn covering(&self, pattern: &HostPattern) -> Option<(HostPattern, Span)> {
        if self.0.is_empty() {
            return None;
        }
        pattern.covering().find_map(|wider| self.0.get(&wider).copied().map(|span| (wider, span)))
    }
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

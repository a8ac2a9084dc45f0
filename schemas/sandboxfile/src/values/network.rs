//! `network default="deny" { allow "example.org" }`: what a sandbox may reach, and what may reach it.

use super::block::layers;
use super::dns::{self, RawDns};
use super::port::{RawPort, valid_ports};
use super::proxy::{self, RawProxy};
use super::read::{Fields, Takes, is_map, missing_value, no_value, text, text_of};
use super::word::{advice, check_word, known_words, read_word};
use super::{PrintScope, Scope, Value};
use crate::Format;
use crate::check::{ENTRY_BYTES, Weight};
use crate::diagnostics::{Code, Context, Diagnostic, shorten, shorten_message};
use crate::language::{NETWORK, NETWORK_RULE, NETWORK_YAML, Vocabulary, schema};
use crate::merge::Layer;
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{Argument, Item, Span, Spanned};
use rules::pool::{InvalidPool, Ipv4Pool, Ipv6Pool};
use rules::rule::{Action, Direction, InvalidRule, Protocol, Reason, Rule};
use schemas::spec::limits::NETWORK_RULES_MAX;
use schemas::spec::{Dns, Network, NetworkDefault, PortProtocol};
use std::collections::HashSet;
use std::fmt::Display;
use std::str::FromStr;

layers! {
    /// The network as typed.
    RawNetwork {
        /// The action for traffic that no rule matches.
        default: Option<Spanned<String>> = "default",
        /// The pool of its IPv4 address.
        ipv4_pool: Option<Spanned<String>> = "ipv4-pool",
        /// The pool of its IPv6 address.
        ipv6_pool: Option<Spanned<String>> = "ipv6-pool",
        /// The proxy of its connections.
        proxy: Option<RawProxy> = "proxy",
        /// How names are resolved.
        dns: Option<RawDns> = "dns",
        /// The rules in the order of the file.
        rules: Vec<RawRule> = "rules",
    }
}

/// A rule as typed.
type RawRule = Spanned<RuleText>;

/// The text of a rule as typed.
#[derive(Clone, Debug)]
pub(crate) struct RuleText {
    /// KDL: the part after the `@`. YAML: the whole rule.
    text: String,
    /// KDL only: the action and the direction.
    head: Option<(Action, Option<Spanned<String>>)>,
}

impl RuleText {
    fn at(text: Spanned<String>, head: Option<(Action, Option<Spanned<String>>)>) -> RawRule {
        Spanned::new(Self { text: text.value, head }, text.span)
    }
}

impl Weight for RawRule {
    fn weight(&self) -> usize {
        let RuleText { text, head } = &self.value;
        ENTRY_BYTES + text.len() + head.as_ref().map_or(0, |(_, word)| word.weight())
    }
}

/// `allow "a" "b" direction="any"`.
fn read_node(context: &mut Context<'_>, item: &Item<'_>, action: Action) -> Vec<RawRule> {
    let fields = Fields::read(context, &NETWORK_RULE, &item.items);
    let direction = fields.one("direction").and_then(|item| read_word::<Direction>(context, item));
    if item.arguments.is_empty() {
        let help = |_: &Context<'_>| format!("name a target: `{action} \"api.example.org:tcp:443\"`");
        missing_value(context, item, &help);
    }
    let takes = Takes { what: "targets", bare: false };
    let texts = item.arguments.iter();
    let texts = texts.filter_map(|argument| text_of(context, argument, &item.name.value, takes));
    texts.map(|text| RuleText::at(text, Some((action, direction.clone())))).collect()
}

/// `rules: ["allow@a", "deny:any@b"]`.
fn read_tokens(context: &mut Context<'_>, item: &Item<'_>) -> Vec<RawRule> {
    let help = "write `rules: [\"allow@api.example.org:tcp:443\"]`";
    if is_map(context, item, &help) {
        return Vec::new();
    }
    let takes = Takes { what: "texts", bare: true };
    let texts = item.arguments.iter().filter(|argument: &&Argument<'_>| !argument.is_null());
    let texts = texts.filter_map(|argument| text_of(context, argument, &item.name.value, takes));
    texts.map(|text| RuleText::at(text, None)).collect()
}

/// Warns of published ports that `default "deny"` closes, as no rule opens them.
fn check_ports(context: &mut Context<'_>, raw: &RawNetwork, rules: &[Rule], ports: &[RawPort]) {
    let format = context.format;
    let mut seen = HashSet::new();
    for port in valid_ports(ports) {
        let protocol = match port.value.protocol {
            PortProtocol::Tcp => Protocol::Tcp,
            PortProtocol::Udp => Protocol::Udp,
        };
        let guest = port.value.guest;
        if !seen.insert((protocol, guest)) || rules.iter().any(|rule| rule.admits(protocol, guest)) {
            continue;
        }
        context.speak_as(port.span);
        let target = format!("any:{protocol}:{guest}");
        let help = match context.format {
            Format::Kdl => format!("add `allow \"{target}\" direction=\"ingress\"` to the network"),
            Format::Yaml => format!("add \"allow:ingress@{target}\" to the network's rules"),
        };
        let message = format!("the network lets no connection in through the port {}", port.value);
        let diagnostic = Diagnostic::warning(Code::NoEffect, port.span, message)
            .label(format!("no rule allows {protocol} port {guest}"))
            .help(help);
        context.push(match &raw.default {
            Some(default) => diagnostic.also(default.span, "denied by default"),
            None => diagnostic,
        });
    }
    context.format = format;
}

/// Parses an optional pool.
fn check_pool<P: FromStr<Err = InvalidPool> + Default + Display>(
    context: &mut Context<'_>,
    given: Option<&Spanned<String>>,
) -> Option<Option<P>> {
    let Some(given) = given else { return Some(None) };
    let refuse = |invalid: InvalidPool| {
        let example = P::default();
        context.push(
            Diagnostic::error(Code::InvalidPool, given.span, shorten_message(&invalid.to_string()))
                .label("not a pool")
                .help(format!(
                    "a pool is a private network with room for all who use it, such as \"{example}\""
                )),
        );
    };
    given.value.parse().map_err(refuse).ok().map(Some)
}

fn check_rule(context: &mut Context<'_>, raw: &RawRule) -> Option<Rule> {
    let parsed = match &raw.value.head {
        None => raw.value.text.parse(),
        Some((action, direction)) => {
            let direction = check_direction(context, direction.as_ref())?;
            Rule::of(*action, direction, &raw.value.text)
        }
    };
    parsed.map_err(|invalid| context.push(invalid_rule(raw, &invalid))).ok()
}

fn check_direction(context: &mut Context<'_>, given: Option<&Spanned<String>>) -> Option<Direction> {
    let Some(given) = given else { return Some(Direction::default()) };
    if let Some(known) = Direction::from_word(&given.value) {
        return Some(known);
    }
    let help = advice(context, &given.value, known_words::<Direction>(), Direction::FOREIGN);
    let message = format!("there is no direction `{}`", shorten(&given.value));
    context.refuse(
        Diagnostic::error(Code::UnknownValue, given.span, message).label("not a direction").help(help),
    )
}

fn invalid_rule(raw: &RawRule, invalid: &InvalidRule) -> Diagnostic {
    let code = match invalid.reason {
        Reason::SuffixTooBroad { .. } => Code::SuffixTooBroad,
        _ => Code::InvalidRule,
    };
    let label = if raw.value.head.is_some() { "not a target" } else { "not a rule" };
    let diagnostic = Diagnostic::error(code, raw.span, shorten_message(&invalid.to_string())).label(label);
    match (&invalid.suggestion, &invalid.reason) {
        (Some(suggestion), _) => diagnostic.help(format!("did you mean \"{}\"?", shorten(suggestion))),
        (None, reason @ Reason::SuffixTooBroad { .. }) => diagnostic.help(name_beneath(reason)),
        (None, Reason::UnknownPorts { .. }) => {
            diagnostic.help("it is `any`, one port such as 443, or a range such as 8000-8010")
        }
        (None, reason) if reason.is_about_direction() => diagnostic.help("remove it, or let it lead out"),
        (None, Reason::NameOnIngress { .. }) => {
            diagnostic.help("name addresses, or a sandbox of this project: \"domain=web\"")
        }
        (None, Reason::SeveralRules) => diagnostic.help("write each one by itself"),
        (None, _) if raw.value.head.is_some() => diagnostic
            .help("a target is written like api.example.org, *.example.org:tcp:443, public or 10.0.0.0/8"),
        (None, _) => {
            diagnostic.help("a rule is written like allow@api.example.org:tcp:443 or deny:ingress@any")
        }
    }
}

/// Returns the help about a suffix that is too broad.
pub(super) fn name_beneath(reason: &Reason) -> String {
    match reason.narrower() {
        Some(sample) => format!("name a domain below it, such as `{}`", shorten(&sample)),
        None => "name a domain below it".to_owned(),
    }
}

/// Reports a rule that earlier ones shadow.
fn check_reach(context: &mut Context<'_>, raw: &RawNetwork, earlier: &[Rule], rule: &Rule) {
    let Some(shadows) = rule.shadowed_by(earlier) else { return };
    let span = raw.rules[earlier.len()].span;
    let agrees = shadows.iter().all(|&index| earlier[index].action == rule.action);
    let twice = shadows.iter().any(|&index| earlier[index] == *rule);
    let mut diagnostic = if agrees {
        // The earlier rules have the same effect, so this is only a warning.
        let effect = if twice { "is given twice" } else { "changes nothing" };
        let message = format!("the rule `{rule}` {effect}");
        Diagnostic::warning(Code::ShadowedRule, span, message).label("one too many").help("remove it")
    } else {
        Diagnostic::error(Code::ShadowedRule, span, format!("the rule `{rule}` can never be reached"))
            .label("nothing is left for it")
            .help("the first rule that fits decides: put the narrower one first, or remove it")
    };
    for &index in &shadows {
        diagnostic = diagnostic.also(raw.rules[index].span, format!("`{}` comes first", earlier[index]));
    }
    context.push(diagnostic);
}

/// A network.
pub(crate) struct Networks;

impl Value for Networks {
    type Raw = Option<RawNetwork>;
    type Model = Network;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let (place, help) = match context.format {
            Format::Kdl => (&NETWORK, "write `network default=\"deny\"`"),
            Format::Yaml => (&NETWORK_YAML, "write `network: { default: deny }`"),
        };
        no_value(context, &item.arguments, &"`network` takes properties, not a value", &help);
        let fields = Fields::read(context, place, &item.items);
        let default = fields.one("default").and_then(|item| read_word::<NetworkDefault>(context, item));
        let mut pool = |name: &str, example: String| {
            let help = |_: &Context<'_>| format!("it is a network of addresses, such as \"{example}\"");
            fields
                .one(name)
                .and_then(|item| text(context, item, Takes { what: "a network", bare: false }, &help))
        };
        let ipv4_pool = pool("ipv4-pool", Ipv4Pool::default().to_string());
        let ipv6_pool = pool("ipv6-pool", Ipv6Pool::default().to_string());
        let proxy = fields.reading("proxy", |item| proxy::read(context, item));
        let dns = fields.one("dns").map(|item| dns::read(context, item));
        let mut rules = Vec::new();
        match context.format {
            Format::Kdl => {
                for action in Action::ALL.iter().copied() {
                    for item in fields.all(action.as_str()) {
                        rules.extend(read_node(context, item, action));
                    }
                }
                // The first rule that matches decides, so they keep the order of the file.
                rules.sort_by_key(|rule| rule.span.start);
            }
            Format::Yaml => {
                if let Some(item) = fields.one("rules") {
                    rules = read_tokens(context, item);
                }
            }
        }
        Some(RawNetwork { default, ipv4_pool, ipv6_pool, proxy, dns, rules })
    }

    /// Checks the words and each rule, that no rule is shadowed, and that published ports can be reached.
    fn check(context: &mut Context<'_>, raw: &RawNetwork, scope: &Scope<'_>) -> Option<Network> {
        let default = check_word(context, raw.default.as_ref(), "default");
        let ipv4_pool = check_pool::<Ipv4Pool>(context, raw.ipv4_pool.as_ref());
        let ipv6_pool = check_pool::<Ipv6Pool>(context, raw.ipv6_pool.as_ref());
        let proxy = raw.proxy.as_ref().map(|raw| proxy::check(context, raw));
        let dns = raw.dns.as_ref().map_or_else(|| Some(Dns::default()), |raw| dns::check(context, raw));
        if let Some(extra) = raw.rules.get(NETWORK_RULES_MAX) {
            let message = format!("a network has at most {NETWORK_RULES_MAX} rules");
            return context.refuse(
                Diagnostic::error(Code::TooComplex, extra.span, message)
                    .label("one too many")
                    .help("name whole networks, or suffixes such as `*.example.org`"),
            );
        }
        let parsed: Vec<Option<Rule>> = raw.rules.iter().map(|rule| check_rule(context, rule)).collect();
        let rules = parsed.into_iter().collect::<Option<Vec<Rule>>>()?;
        for (index, rule) in rules.iter().enumerate() {
            check_reach(context, raw, &rules[..index], rule);
        }
        if default == Some(NetworkDefault::Deny) {
            check_ports(context, raw, &rules, &scope.sandbox.ports);
        }
        let proxy = match proxy {
            Some(proxy) => Some(proxy?),
            None => None,
        };
        let (ipv4_pool, ipv6_pool) = (ipv4_pool?, ipv6_pool?);
        Some(Network { default: default?, rules, ipv4_pool, ipv6_pool, proxy, dns: dns? })
    }

    fn print(model: &Self::Model, scope: &PrintScope<'_>) -> Printed {
        let Network { default, rules, ipv4_pool, ipv6_pool, proxy, dns } = model;
        let mut items = vec![PrintItem::property("default", Scalar::text(default.as_str()))];
        let pools = [ipv4_pool.map(|pool| pool.to_string()), ipv6_pool.map(|pool| pool.to_string())];
        for (name, pool) in ["ipv4-pool", "ipv6-pool"].into_iter().zip(pools) {
            items.extend(pool.map(|pool| PrintItem::property(name, Scalar::text(pool))));
        }
        items.extend(proxy.iter().map(|proxy| proxy::print(proxy, scope.format)));
        items.extend(dns::print(dns));
        match scope.format {
            Format::Kdl => items.extend(rules.iter().map(print_rule)),
            Format::Yaml if rules.is_empty() => {}
            Format::Yaml => {
                let rules = rules.iter().map(|rule| Node::text(rule.to_string())).collect();
                items.push(PrintItem::child("rules", Node::Lines(rules)));
            }
        }
        Printed::One(Node::block(items))
    }

    fn schema() -> serde_json::Value {
        schema::definition("Network")
    }
}

/// Returns a rule as a node of KDL.
fn print_rule(rule: &Rule) -> PrintItem {
    let Rule { action, direction, target: _, protocol: _, ports: _ } = rule;
    let mut items = vec![PrintItem::argument("target", Scalar::text(rule.traffic()))];
    if *direction != Direction::Egress {
        items.push(PrintItem::property("direction", Scalar::text(direction.as_str())));
    }
    PrintItem::child(action.as_str(), Node::block(items))
}

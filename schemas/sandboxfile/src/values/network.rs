//! `network default="deny" { allow "example.org" }`: what a sandbox may reach, and what may reach it.

use super::mount::shorten_message;
use super::port::{RawPort, valid_ports};
use super::read::{Fields, Takes, missing_value, no_value, text, text_of};
use super::word::{advice, check_word, read_word, words_of};
use super::{PrintScope, Scope, Value};
use crate::Format;
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{NETWORK, NETWORK_RULE, NETWORK_YAML, Vocabulary, schema};
use crate::merge::Layer;
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{Argument, Item, Span, Spanned};
use rules::pool::{InvalidPool, Ipv4Pool, Ipv6Pool};
use rules::rule::{Action, Direction, InvalidRule, Protocol, Reason, Rule};
use schemas::spec::limits::NETWORK_RULES_MAX;
use schemas::spec::{Network, NetworkDefault, PortProtocol};
use std::collections::HashSet;
use std::fmt::Display;
use std::str::FromStr;

/// The network as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawNetwork {
    /// The action for traffic that no rule matches.
    pub default: Option<Spanned<String>>,
    /// The pool of its IPv4 address.
    pub ipv4_pool: Option<Spanned<String>>,
    /// The pool of its IPv6 address.
    pub ipv6_pool: Option<Spanned<String>>,
    /// The rules in the order of the file.
    pub rules: Vec<RawRule>,
}

/// A rule as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawRule {
    /// KDL: the part after the `@`. YAML: the whole rule.
    pub text: Spanned<String>,
    /// KDL only: the action and the direction.
    head: Option<(Action, Option<Spanned<String>>)>,
}

impl Layer for RawNetwork {
    /// The default and the pools are scalars, the rules are a list.
    fn overlay(self, base: Self) -> Self {
        let Self { default, ipv4_pool, ipv6_pool, rules } = base;
        Self {
            default: self.default.or(default),
            ipv4_pool: self.ipv4_pool.or(ipv4_pool),
            ipv6_pool: self.ipv6_pool.or(ipv6_pool),
            rules: if self.rules.is_empty() { rules } else { self.rules },
        }
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        let Self { default, ipv4_pool, ipv6_pool, rules } = self;
        for (name, value) in [("default", default), ("ipv4-pool", ipv4_pool), ("ipv6-pool", ipv6_pool)] {
            value.origins(&mut |_, span| found(name, span));
        }
        if let Some((first, last)) = rules.first().zip(rules.last()) {
            found("rules", first.text.span.join(last.text.span));
        }
    }
}

impl Weight for RawNetwork {
    fn weight(&self) -> usize {
        let Self { default, ipv4_pool, ipv6_pool, rules } = self;
        default.weight() + ipv4_pool.weight() + ipv6_pool.weight() + rules.weight()
    }
}

impl Weight for RawRule {
    fn weight(&self) -> usize {
        let Self { text, head } = self;
        text.weight() + head.as_ref().map_or(0, |(_, word)| word.weight())
    }
}

/// Reads the block as typed.
fn read(context: &mut Context<'_>, item: &Item<'_>) -> RawNetwork {
    let (place, help) = match context.format {
        Format::Kdl => (&NETWORK, "write `network default=\"deny\"`"),
        Format::Yaml => (&NETWORK_YAML, "write `network: { default: deny }`"),
    };
    no_value(context, &item.arguments, &"`network` takes properties, not a value", &help);
    let fields = Fields::read(context, place, &item.items);
    let default = fields.one("default").and_then(|item| read_word::<NetworkDefault>(context, item));
    let mut pool = |name: &str, example: String| {
        let help = |_: &Context<'_>| format!("it is a network of addresses, such as \"{example}\"");
        fields.one(name).and_then(|item| text(context, item, Takes { what: "a network", bare: false }, &help))
    };
    let ipv4_pool = pool("ipv4-pool", Ipv4Pool::default().to_string());
    let ipv6_pool = pool("ipv6-pool", Ipv6Pool::default().to_string());
    let mut rules = Vec::new();
    match context.format {
        Format::Kdl => {
            for action in Action::ALL.iter().copied() {
                for item in fields.all(action.as_str()) {
                    rules.extend(read_node(context, item, action));
                }
            }
            // The first rule that matches decides, so they keep the order of the file.
            rules.sort_by_key(|rule| rule.text.span.start);
        }
        Format::Yaml => {
            if let Some(item) = fields.one("rules") {
                rules = read_tokens(context, item);
            }
        }
    }
    RawNetwork { default, ipv4_pool, ipv6_pool, rules }
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
    texts.map(|text| RawRule { text, head: Some((action, direction.clone())) }).collect()
}

/// `rules: ["allow@a", "deny:any@b"]`.
fn read_tokens(context: &mut Context<'_>, item: &Item<'_>) -> Vec<RawRule> {
    let help = "write `rules: [\"allow@api.example.org:tcp:443\"]`";
    if let Some(wrong) = item.items.first() {
        context.push(
            Diagnostic::error(Code::WrongType, wrong.name.span, "`rules` takes a list, not a map")
                .label("a map")
                .help(help),
        );
        return Vec::new();
    }
    let takes = Takes { what: "texts", bare: true };
    let texts = item.arguments.iter().filter(|argument: &&Argument<'_>| !argument.is_null());
    let texts = texts.filter_map(|argument| text_of(context, argument, &item.name.value, takes));
    texts.map(|text| RawRule { text, head: None }).collect()
}

/// Checks the words and each rule, that no rule is shadowed, and that published ports can be reached.
fn check(context: &mut Context<'_>, raw: &RawNetwork, ports: &[RawPort]) -> Option<Network> {
    let default = check_word(context, raw.default.as_ref(), "default");
    let ipv4_pool = check_pool::<Ipv4Pool>(context, raw.ipv4_pool.as_ref());
    let ipv6_pool = check_pool::<Ipv6Pool>(context, raw.ipv6_pool.as_ref());
    if let Some(extra) = raw.rules.get(NETWORK_RULES_MAX) {
        let message = format!("a network has at most {NETWORK_RULES_MAX} rules");
        context.push(
            Diagnostic::error(Code::TooComplex, extra.text.span, message)
                .label("one too many")
                .help("name whole networks, or suffixes such as `*.example.org`"),
        );
        return None;
    }
    let parsed: Vec<Option<Rule>> = raw.rules.iter().map(|rule| check_rule(context, rule)).collect();
    let sound: Option<Vec<Rule>> = parsed.into_iter().collect();
    let sound = sound?;
    for (index, rule) in sound.iter().enumerate() {
        check_reach(context, raw, &sound[..index], rule);
    }
    if default == Some(NetworkDefault::Deny) {
        check_ports(context, raw, &sound, ports);
    }
    Some(Network { default: default?, rules: sound, ipv4_pool: ipv4_pool?, ipv6_pool: ipv6_pool? })
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
    let parsed = match &raw.head {
        None => raw.text.value.parse(),
        Some((action, direction)) => {
            let direction = check_direction(context, direction.as_ref())?;
            Rule::of(*action, direction, &raw.text.value)
        }
    };
    parsed.map_err(|invalid| context.push(invalid_rule(raw, &invalid))).ok()
}

fn check_direction(context: &mut Context<'_>, given: Option<&Spanned<String>>) -> Option<Direction> {
    let Some(given) = given else { return Some(Direction::default()) };
    if let Some(known) = Direction::from_word(&given.value) {
        return Some(known);
    }
    let help = advice(context, &given.value, words_of::<Direction>(), Direction::FOREIGN);
    let message = format!("there is no direction `{}`", shorten(&given.value));
    context
        .push(Diagnostic::error(Code::UnknownValue, given.span, message).label("not a direction").help(help));
    None
}

fn invalid_rule(raw: &RawRule, invalid: &InvalidRule) -> Diagnostic {
    let code = match invalid.reason {
        Reason::SuffixTooBroad { .. } => Code::SuffixTooBroad,
        _ => Code::InvalidRule,
    };
    let label = if raw.head.is_some() { "not a target" } else { "not a rule" };
    let diagnostic =
        Diagnostic::error(code, raw.text.span, shorten_message(&invalid.to_string())).label(label);
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
        (None, _) if raw.head.is_some() => diagnostic
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
    let span = raw.rules[earlier.len()].text.span;
    let agrees = shadows.iter().all(|&index| earlier[index].action == rule.action);
    let twice = shadows.iter().any(|&index| earlier[index] == *rule);
    let (diagnostic, help) = match agrees {
        // The earlier rules have the same effect, so this is only a warning.
        true => (
            Diagnostic::warning(
                Code::ShadowedRule,
                span,
                match twice {
                    true => format!("the rule `{rule}` is given twice"),
                    false => format!("the rule `{rule}` changes nothing"),
                },
            ),
            "remove it",
        ),
        false => (
            Diagnostic::error(Code::ShadowedRule, span, format!("the rule `{rule}` can never be reached")),
            "the first rule that fits decides: put the narrower one first, or remove it",
        ),
    };
    let diagnostic = diagnostic.label(if agrees { "one too many" } else { "nothing is left for it" });
    context.push(
        shadows
            .iter()
            .fold(diagnostic, |diagnostic, &index| {
                let label = format!("`{}` comes first", earlier[index]);
                diagnostic.also(raw.rules[index].text.span, label)
            })
            .help(help),
    );
}

/// A network.
pub(crate) struct Networks;

impl Value for Networks {
    type Raw = Option<RawNetwork>;
    type Model = Network;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        fields.one(property).map(|item| read(context, item))
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, scope: &Scope<'_>) -> Option<Self::Model> {
        let network = raw.as_ref();
        network.map_or(Some(Network::default()), |network| check(context, network, &scope.sandbox.ports))
    }

    fn print(model: &Self::Model, scope: &PrintScope<'_>) -> Printed {
        let Network { default, rules, ipv4_pool, ipv6_pool } = model;
        let mut items = vec![PrintItem::property("default", Scalar::text(default.as_str()))];
        let pools = [ipv4_pool.map(|pool| pool.to_string()), ipv6_pool.map(|pool| pool.to_string())];
        for (name, pool) in ["ipv4-pool", "ipv6-pool"].into_iter().zip(pools) {
            items.extend(pool.map(|pool| PrintItem::property(name, Scalar::text(pool))));
        }
        match scope.format {
            Format::Kdl => items.extend(rules.iter().map(print_rule)),
            Format::Yaml if rules.is_empty() => {}
            Format::Yaml => {
                let rules = rules.iter().map(|rule| Scalar::text(rule.to_string())).collect();
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

//! `restart "on-failure" max=5`: what happens when a sandbox ends by itself.

use super::healthcheck::check_time;
use super::read::{Fields, MainValue, Takes, integer, nothing_follows, quantity, text_of};
use super::resources::check_number;
use super::word::advice;
use super::{PrintScope, Scope, Value};
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{FOREIGN_RESTART_POLICIES, RESTART, RESTART_POLICIES, schema};
use crate::merge::Layer;
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{Item, Span, Spanned};
use rules::unit::format_duration_ms;
use schemas::spec::{RestartPolicy, Role};

/// A restart policy as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawRestart {
    /// The policy's word.
    pub policy: Spanned<String>,
    max: Option<(Span, Spanned<i128>)>,
    window: Option<(Span, Spanned<String>)>,
}

impl Weight for RawRestart {
    fn weight(&self) -> usize {
        let Self { policy, max, window } = self;
        let max = max.as_ref().map_or(0, |(_, max)| max.weight());
        policy.weight() + max + window.as_ref().map_or(0, |(_, window)| window.weight())
    }
}

impl Layer for RawRestart {
    fn overlay(self, _base: Self) -> Self {
        self
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        found("", self.policy.span);
    }
}

/// Splits compose's short form, `on-failure:5`.
fn short_form(policy: &str) -> (&str, Option<u32>) {
    match policy.split_once(':') {
        Some((word, max)) => max.parse().map_or((policy, None), |max| (word, Some(max))),
        None => (policy, None),
    }
}

fn check_max(context: &mut Context<'_>, max: &Spanned<i128>) -> Option<u32> {
    check_number(context, max, 1..=u32::MAX, || {
        let help = "for no restart at all, the policy is `no`; without `max` there is no limit";
        (format!("`max` cannot be {}", max.value), help.to_owned())
    })
}

/// A restart policy.
pub(crate) struct Restart;

impl Value for Restart {
    type Raw = Option<RawRestart>;
    type Model = RestartPolicy;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let help = |context: &Context<'_>| format!("write `{}`", context.sample("restart", &["on-failure"]));
        let takes = Takes { what: "a policy", bare: false };
        let fields = Fields::read(context, &RESTART, &item.items);
        let max =
            fields.one("max").and_then(|max| integer(context, max, "5").map(|value| (max.name.span, value)));
        let window = fields
            .one("window")
            .and_then(|window| quantity(context, window, "10m").map(|value| (window.name.span, value)));
        let policy = MainValue {
            property: "policy",
            missing: &|| nothing_follows(item),
            too_many: "`restart` takes one policy",
            help: &help,
            too_many_help: None,
        };
        let (argument, name) = policy.find(context, &item.arguments, &fields)?;
        let policy = text_of(context, argument, name.unwrap_or(&item.name.value), takes)?;
        Some(RawRestart { policy, max, window })
    }

    fn check(context: &mut Context<'_>, raw: &RawRestart, scope: &Scope<'_>) -> Option<RestartPolicy> {
        let (word, short_max) = short_form(&raw.policy.value);
        let max = match (&raw.max, short_max) {
            (Some((_, max)), None) => Some(check_max(context, max)?),
            (None, Some(max)) => Some(check_max(context, &Spanned::new(i128::from(max), raw.policy.span))?),
            (None, None) => None,
            (Some((name, _)), Some(_)) => {
                return context.refuse(
                    Diagnostic::error(Code::Conflict, *name, "the limit of restarts is given twice")
                        .label("given again")
                        .also(raw.policy.span, "first given here"),
                );
            }
        };
        let policy = match word {
            "no" => RestartPolicy::No,
            "on-failure" => RestartPolicy::OnFailure {
                max,
                window_ms: match &raw.window {
                    Some((_, window)) => Some(check_time(context, window)?),
                    None => None,
                },
            },
            "always" => RestartPolicy::Always,
            _ => {
                let help = advice(context, word, RESTART_POLICIES.iter().copied(), FOREIGN_RESTART_POLICIES);
                let message = format!("there is no restart policy `{}`", shorten(&raw.policy.value));
                return context.refuse(
                    Diagnostic::error(Code::UnknownValue, raw.policy.span, message)
                        .label("not a policy")
                        .help(help),
                );
            }
        };
        if max.is_some() && !matches!(policy, RestartPolicy::OnFailure { .. }) {
            let place = raw.max.as_ref().map_or(raw.policy.span, |(name, _)| *name);
            return context.refuse(
                Diagnostic::error(Code::Conflict, place, format!("`max` has no meaning with `{word}`"))
                    .label("a limit of restarts")
                    .also(raw.policy.span, "this policy has none")
                    .help("`max` belongs to `on-failure`"),
            );
        }
        if let (Some((name, _)), None) = (&raw.window, max) {
            return context.refuse(
                Diagnostic::error(Code::Conflict, *name, "`window` has no meaning without `max`")
                    .label("restarts are counted within it")
                    .help("give `max` too, or remove `window`"),
            );
        }
        if scope.sandbox.role == Role::Job && policy == RestartPolicy::Always {
            let message = "a job that always starts again never completes";
            return context.refuse(
                Diagnostic::error(Code::Conflict, raw.policy.span, message)
                    .label("no end")
                    .help("let a job restart `on-failure`, or make it a sandbox"),
            );
        }
        Some(policy)
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        let (policy, max, window_ms) = match model {
            RestartPolicy::No => ("no", None, None),
            RestartPolicy::OnFailure { max, window_ms } => ("on-failure", *max, *window_ms),
            RestartPolicy::Always => ("always", None, None),
        };
        let mut items = vec![PrintItem::argument("policy", Scalar::text(policy))];
        items.extend(max.map(|max| PrintItem::property("max", Scalar::Number(max))));
        let window = window_ms.map(|ms| Scalar::Quantity(format_duration_ms(ms)));
        items.extend(window.map(|window| PrintItem::property("window", window)));
        Printed::One(Node::flow(items))
    }

    fn schema() -> serde_json::Value {
        schema::any_of([schema::short_policy(), schema::definition("Restart")])
    }
}

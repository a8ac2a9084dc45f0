//! `healthcheck { exec "pg_isready"; interval "2s" }`: how to tell that a sandbox is well.

use super::read::{Fields, Takes, boolean, integer, quantity, text, words};
use super::resources::invalid_quantity;
use super::start::command_in_one_string;
use super::{PrintScope, Scope, Value};
use crate::Format;
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic};
use crate::language::{HEALTHCHECK, schema};
use crate::merge::{Layer, words_span};
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{Item, Span, Spanned};
use rules::unit::{DURATION_FORMS, format_duration_ms, parse_duration};
use schemas::spec::{HealthCheck, HealthSetting, defaults};

/// A health check as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawHealthCheck {
    name: Spanned<String>,
    has_exec: bool,
    exec: Option<Vec<Spanned<String>>>,
    interval: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    retries: Option<Spanned<i128>>,
    start_period: Option<Spanned<String>>,
    hint: Option<Spanned<String>>,
    disable: Option<Spanned<bool>>,
}

impl Layer for RawHealthCheck {
    /// A check that disables the other one, or the reverse, replaces it.
    fn overlay(self, base: Self) -> Self {
        if self.disable.is_none() && self.has_exec && base.is_disabled() {
            return self;
        }
        if self.is_disabled() && !self.has_exec {
            return self;
        }
        let Self { name, has_exec, exec, interval, timeout, retries, start_period, hint, disable } = base;
        Self {
            name,
            has_exec: self.has_exec || has_exec,
            exec: self.exec.or(exec),
            interval: self.interval.or(interval),
            timeout: self.timeout.or(timeout),
            retries: self.retries.or(retries),
            start_period: self.start_period.or(start_period),
            hint: self.hint.or(hint),
            disable: self.disable.or(disable),
        }
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        for (name, span) in self.places() {
            found(name, span);
        }
    }
}

impl RawHealthCheck {
    /// Whether it turns every check off, the image's too.
    pub fn is_disabled(&self) -> bool {
        self.disable.as_ref().is_some_and(|disable| disable.value)
    }

    /// What is written, by name, and where.
    fn places(&self) -> Vec<(&'static str, Span)> {
        let Self { name: _, has_exec: _, exec, interval, timeout, retries, start_period, hint, disable } =
            self;
        let words = exec.as_ref().and_then(|words| words_span(words));
        let spans = [
            ("exec", words),
            ("interval", interval.as_ref().map(|value| value.span)),
            ("timeout", timeout.as_ref().map(|value| value.span)),
            ("retries", retries.as_ref().map(|value| value.span)),
            ("start-period", start_period.as_ref().map(|value| value.span)),
            ("hint", hint.as_ref().map(|value| value.span)),
            ("disable", disable.as_ref().map(|value| value.span)),
        ];
        spans.into_iter().filter_map(|(name, span)| Some((name, span?))).collect()
    }
}

impl Weight for RawHealthCheck {
    fn weight(&self) -> usize {
        let Self { name, has_exec: _, exec, interval, timeout, retries, start_period, hint, disable: _ } =
            self;
        let texts = [interval, timeout, start_period, hint].map(Weight::weight);
        name.weight() + exec.weight() + retries.weight() + texts.iter().sum::<usize>()
    }
}

/// Reads the block as typed.
fn read(context: &mut Context<'_>, item: &Item<'_>) -> RawHealthCheck {
    if let Some(argument) = item.arguments.iter().find(|argument| !argument.is_null()) {
        let example = context.sample("exec", &["pg_isready"]);
        context.push(
            Diagnostic::error(Code::WrongType, argument.span, "`healthcheck` takes a block, not a value")
                .label(argument.describe())
                .help(format!("write `{example}` inside it")),
        );
    }
    let fields = Fields::read(context, &HEALTHCHECK, &item.items);
    let mut duration = |name: &str| {
        let item = fields.one(name)?;
        let help =
            |context: &Context<'_>| format!("write it with its unit: `{}`", context.sample(name, &["5s"]));
        quantity(context, item, &help)
    };
    let (interval, timeout, start_period) =
        (duration("interval"), duration("timeout"), duration("start-period"));
    let exec = fields.one("exec").and_then(|item| {
        let help = |context: &Context<'_>| {
            format!(
                "give a program and its arguments: `{}`",
                context.sample("exec", &["curl", "-f", "localhost"])
            )
        };
        words(context, item, &help)
    });
    let retries = fields.one("retries").and_then(|item| {
        let help = |context: &Context<'_>| {
            format!("write a whole number without quotes: `{}`", context.sample_bare("retries", "3"))
        };
        integer(context, item, &help)
    });
    let hint = fields.one("hint").and_then(|item| {
        let help =
            |context: &Context<'_>| format!("write `{}`", context.sample("hint", &["is the disk full?"]));
        text(context, item, Takes { what: "a text", bare: false }, &help)
    });
    let disable = fields.one("disable").and_then(|item| {
        let help = |context: &Context<'_>| {
            match context.format {
                Format::Kdl => "write `healthcheck disable=#true`",
                Format::Yaml => "write `healthcheck: { disable: true }`",
            }
            .to_owned()
        };
        boolean(context, item, &help)
    });
    // A command without words was reported, and the whole check may have been misread: do not ask for it again.
    let has_exec = fields.one("exec").is_some()
        || fields.is_meant("exec")
        || fields.one("disable").is_some() && disable.is_none()
        || item.arguments.iter().any(|argument| !argument.is_null());
    let name = item.own_name();
    RawHealthCheck { name, has_exec, exec, interval, timeout, retries, start_period, hint, disable }
}

/// Checks times and counts, and fills in the defaults.
fn check(context: &mut Context<'_>, raw: &RawHealthCheck) -> Option<HealthSetting> {
    if let Some(disable) = raw.disable.as_ref().filter(|disable| disable.value) {
        if let Some((name, span)) = raw.places().into_iter().find(|(name, _)| *name != "disable") {
            let message =
                format!("a health check cannot be disabled and have `{}`", context.spell_name(name));
            context.push(
                Diagnostic::error(Code::Conflict, span, message)
                    .label("never used")
                    .also(disable.span, "disabled here")
                    .help("keep one of the two"),
            );
            return None;
        }
        return Some(HealthSetting::Disabled);
    }
    let interval = check_duration(context, raw.interval.as_ref(), defaults::HEALTH_INTERVAL_MS, 1);
    let timeout = check_duration(context, raw.timeout.as_ref(), defaults::HEALTH_TIMEOUT_MS, 1);
    let start_period =
        check_duration(context, raw.start_period.as_ref(), defaults::HEALTH_START_PERIOD_MS, 0);
    let retries = check_retries(context, raw.retries.as_ref());
    let exec = check_exec(context, raw);
    Some(HealthSetting::Check(HealthCheck {
        exec: exec?,
        interval_ms: interval?,
        timeout_ms: timeout?,
        retries: retries?,
        start_period_ms: start_period?,
        hint: raw.hint.as_ref().map(|hint| hint.value.clone()),
    }))
}

fn check_exec(context: &mut Context<'_>, raw: &RawHealthCheck) -> Option<Vec<String>> {
    if !raw.has_exec {
        let help = format!(
            "add a program that exits 0 when all is well: `{}`",
            context.sample("exec", &["pg_isready"])
        );
        context.push(
            Diagnostic::error(Code::MissingProperty, raw.name.span, "a health check needs `exec`")
                .label("no command to run")
                .help(help),
        );
    }
    let exec = raw.exec.as_deref()?;
    let program = exec.first()?;
    // Compose's tests start with a word that says how to read the rest.
    if matches!(program.value.as_str(), "CMD" | "CMD-SHELL" | "NONE") {
        let rest: Vec<&str> = exec.iter().skip(1).map(|word| word.value.as_str()).collect();
        let help = match (program.value.as_str(), rest.as_slice()) {
            ("NONE", _) => format!(
                "to turn the image's check off, write `{}`",
                context.sample_bare(
                    "disable",
                    match context.format {
                        Format::Kdl => "#true",
                        Format::Yaml => "true",
                    }
                )
            ),
            ("CMD-SHELL", [line]) => format!("omit it: `{}`", context.sample("exec", &["sh", "-c", line])),
            ("CMD", rest) if !rest.is_empty() => format!("omit it: `{}`", context.sample("exec", rest)),
            _ => format!("omit it: `{}`", context.sample("exec", &["pg_isready"])),
        };
        context.push(
            Diagnostic::error(
                Code::UnknownValue,
                program.span,
                format!("`{}` is not a program", program.value),
            )
            .label("compose's word")
            .help(help),
        );
        return None;
    }
    if exec.len() == 1 && program.value.contains(char::is_whitespace) {
        command_in_one_string(context, "exec", program);
        return None;
    }
    if program.value.trim().is_empty() {
        let message = "the program of a health check is empty";
        context.push(Diagnostic::error(Code::MissingValue, program.span, message).label("no program"));
        return None;
    }
    Some(exec.iter().map(|word| word.value.clone()).collect())
}

fn check_duration(
    context: &mut Context<'_>,
    given: Option<&Spanned<String>>,
    default_ms: u64,
    least_ms: u64,
) -> Option<u64> {
    let Some(given) = given else { return Some(default_ms) };
    match parse_duration(&given.value) {
        Ok(duration) => {
            let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            if ms < least_ms {
                context.push(
                    Diagnostic::error(Code::OutOfRange, given.span, "this time cannot be zero")
                        .label("at least 1ms")
                        .help("omit it for the default"),
                );
                return None;
            }
            Some(ms)
        }
        Err(reason) => {
            context.push(invalid_quantity(given, &reason, "a duration", DURATION_FORMS, "s"));
            None
        }
    }
}

fn check_retries(context: &mut Context<'_>, given: Option<&Spanned<i128>>) -> Option<u32> {
    let Some(given) = given else { return Some(defaults::HEALTH_RETRIES) };
    let checked = u32::try_from(given.value).ok().filter(|&retries| retries >= 1);
    if checked.is_none() {
        let label = if given.value < 1 { "at least 1" } else { "too many" };
        let message = format!("`retries` cannot be {}", given.value);
        context.push(
            Diagnostic::error(Code::OutOfRange, given.span, message)
                .label(label)
                .help("it is the number of failures in a row that make a sandbox unhealthy"),
        );
    }
    checked
}

/// A health check.
pub(crate) struct HealthChecks;

impl Value for HealthChecks {
    type Raw = Option<RawHealthCheck>;
    type Model = Option<HealthSetting>;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        fields.one(property).map(|item| read(context, item))
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, _scope: &Scope<'_>) -> Option<Self::Model> {
        let Some(raw) = raw else { return Some(None) };
        check(context, raw).map(Some)
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        match model {
            None => Printed::Nothing,
            Some(HealthSetting::Disabled) => {
                Printed::One(Node::flow(vec![PrintItem::property("disable", Scalar::Flag(true))]))
            }
            Some(HealthSetting::Check(check)) => Printed::One(print_check(check)),
        }
    }

    fn schema() -> serde_json::Value {
        schema::definition("HealthCheck")
    }
}

fn print_check(check: &HealthCheck) -> Node {
    let HealthCheck { exec, interval_ms, timeout_ms, retries, start_period_ms, hint } = check;
    let duration = |ms: &u64| Node::Scalar(Scalar::Quantity(format_duration_ms(*ms)));
    let mut items = vec![
        PrintItem::child("exec", Node::words(exec)),
        PrintItem::child("interval", duration(interval_ms)),
        PrintItem::child("timeout", duration(timeout_ms)),
        PrintItem::child("retries", Node::Scalar(Scalar::Number(*retries))),
        PrintItem::child("start-period", duration(start_period_ms)),
    ];
    items.extend(hint.as_ref().map(|hint| PrintItem::child("hint", Node::text(hint))));
    Node::block(items)
}

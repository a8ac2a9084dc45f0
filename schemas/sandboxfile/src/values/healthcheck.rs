//! `healthcheck { exec "pg_isready"; interval "2s" }`: how to tell that a sandbox is healthy.

use super::block::{block, layers, values};
use super::read::{Fields, Takes, boolean, integer, no_value, quantity, text_like, words};
use super::resources::{check_number, invalid_quantity};
use super::start::check_command;
use super::{PrintScope, Scope, Value};
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic};
use crate::language::Instead::Say;
use crate::language::{Property, one, schema};
use crate::merge::Layer;
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{self, Item, Span, Spanned};
use rules::unit::{DURATION_FORMS, format_duration_ms, parse_duration};
use schemas::spec::{HealthCheck, HealthSetting, defaults};

schemas::healthcheck_properties! { block {
    /// Inside a health check.
    HEALTHCHECK {
        what: "a health check",
        definition: "HealthCheck",
        doc: "A command that tells whether a sandbox is healthy.",
        required: &[],
        foreign: &[
(&["enabled"], Say("omit it, or write `disable` to turn off the image's check")),
],
    }
    more: [Property {
        instead: &["disabled"],
        ..one("disable", "disable", schema::flag, "Whether no check runs, not even the image's.")
    }],
    /// The properties of a health check as typed.
    RawProperties => HealthCheck
} }

/// A health check as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawHealthCheck {
    name: Spanned<String>,
    /// Whether `exec` is written, or was probably meant.
    has_exec: bool,
    disable: Option<Spanned<bool>>,
    properties: RawProperties,
}

impl Layer for RawHealthCheck {
    /// A check that disables the other one, or the reverse, replaces it.
    fn overlay(self, base: Self) -> Self {
        let enables = self.disable.is_none() && self.has_exec && base.is_disabled();
        if enables || self.is_disabled() && !self.has_exec {
            return self;
        }
        Self {
            name: base.name,
            has_exec: self.has_exec || base.has_exec,
            disable: self.disable.or(base.disable),
            properties: self.properties.overlay(base.properties),
        }
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        self.properties.origins(found);
        self.disable.origins(&mut |_, span| found("disable", span));
    }
}

impl RawHealthCheck {
    /// Returns whether it turns every check off, the image's too.
    pub fn is_disabled(&self) -> bool {
        self.disable.as_ref().is_some_and(|disable| disable.value)
    }
}

impl Weight for RawHealthCheck {
    fn weight(&self) -> usize {
        let Self { name, has_exec: _, disable: _, properties } = self;
        name.weight() + properties.weight()
    }
}

values! {
    /// The command of a health check.
    HealthCommand: Vec<Spanned<String>> => Vec<String> {
        read: |context, item| words(context, item, &|context: &Context<'_>| {
            format!("give a program and its arguments: `{}`", context.sample("exec", &["curl", "-f", "localhost"]))
        }),
        check: |context, exec| check_exec(context, exec),
        print: |exec| Node::words(exec),
        schema: schema::words(),
    }
    /// A time that cannot be zero, in milliseconds.
    Time: Spanned<String> => u64 {
        read: read_time, check: check_time, print: print_time, schema: schema::duration(),
    }
    /// A time that can be zero, in milliseconds.
    Grace: Spanned<String> => u64 {
        read: read_time, check: check_grace, print: print_time, schema: schema::duration(),
    }
    /// The longest time that a sandbox runs, in milliseconds.
    MaxDuration: Spanned<String> => u64 {
        read: |context, item| quantity(context, item, "2h"),
        check: check_time,
        print: print_time,
        schema: schema::with(schema::duration(), "examples", ["30m", "2h"]),
    }
    /// The longest time that a sandbox is idle, in milliseconds.
    IdleTimeout: Spanned<String> => u64 {
        read: |context, item| quantity(context, item, "15m"),
        check: check_time,
        print: print_time,
        schema: schema::with(schema::duration(), "examples", ["15m", "1h"]),
    }
    /// The time to shut down, in milliseconds.
    StopTimeout: Spanned<String> => u64 {
        read: |context, item| quantity(context, item, "30s"),
        check: check_time,
        print: print_time,
        schema: schema::with(schema::duration(), "examples", ["30s", "1m30s"]),
    }
    /// A number of failures in a row.
    Failures: Spanned<i128> => u32 {
        read: |context, item| integer(context, item, "3"),
        check: check_failures,
        print: Node::number,
        schema: schema::count(),
    }
    /// A text for the report.
    Hint: Spanned<String> => String {
        read: |context, item| {
            text_like(context, item, Takes { what: "a text", bare: false }, "is the disk full?")
        },
        check: |_, hint| Some(hint.value.clone()),
        print: |hint| Node::text(hint),
        schema: schema::text(),
    }
}

fn read_time(context: &mut Context<'_>, item: &Item<'_>) -> Option<Spanned<String>> {
    quantity(context, item, "5s")
}

fn check_exec(context: &mut Context<'_>, exec: &[Spanned<String>]) -> Option<Vec<String>> {
    let program = exec.first()?;
    // Compose's tests start with a word that says how to read the rest.
    if matches!(program.value.as_str(), "CMD" | "CMD-SHELL" | "NONE") {
        let rest: Vec<&str> = exec.iter().skip(1).map(|word| word.value.as_str()).collect();
        let help = match (program.value.as_str(), rest.as_slice()) {
            ("NONE", _) => format!(
                "to turn the image's check off, write `{}`",
                context.sample_bare("disable", context.format.pick("#true", "true"))
            ),
            ("CMD-SHELL", [line]) => format!("omit it: `{}`", context.sample("exec", &["sh", "-c", line])),
            ("CMD", rest) if !rest.is_empty() => format!("omit it: `{}`", context.sample("exec", rest)),
            _ => format!("omit it: `{}`", context.sample("exec", &["pg_isready"])),
        };
        let message = format!("`{}` is not a program", program.value);
        return context.refuse(
            Diagnostic::error(Code::UnknownValue, program.span, message).label("compose's word").help(help),
        );
    }
    check_command(context, exec, "exec", "of a health check", &[])
}

pub(super) fn check_time(context: &mut Context<'_>, raw: &Spanned<String>) -> Option<u64> {
    let ms = check_grace(context, raw)?;
    if ms == 0 {
        return context.refuse(
            Diagnostic::error(Code::OutOfRange, raw.span, "this time cannot be zero")
                .label("at least 1ms")
                .help("omit it for the default"),
        );
    }
    Some(ms)
}

fn check_grace(context: &mut Context<'_>, raw: &Spanned<String>) -> Option<u64> {
    let invalid = |reason| context.push(invalid_quantity(raw, &reason, "a duration", DURATION_FORMS, "s"));
    let duration = parse_duration(&raw.value).map_err(invalid).ok()?;
    Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn print_time(ms: &u64) -> Node {
    Node::Scalar(Scalar::Quantity(format_duration_ms(*ms)))
}

fn check_failures(context: &mut Context<'_>, raw: &Spanned<i128>) -> Option<u32> {
    check_number(context, raw, 1..=u32::MAX, || {
        let help = "it is the number of failures in a row that make a sandbox unhealthy";
        (format!("`retries` cannot be {}", raw.value), help.to_owned())
    })
}

/// A health check.
pub(crate) struct HealthChecks;

impl Value for HealthChecks {
    type Raw = Option<RawHealthCheck>;
    type Model = HealthSetting;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let help =
            |context: &Context<'_>| format!("write `{}` inside it", context.sample("exec", &["pg_isready"]));
        let off = item.arguments.iter().find(
            |argument| matches!(&argument.value, syntax::Value::Scalar(scalar) if scalar.text == "off"),
        );
        let others = if off.is_some() { &[] } else { item.arguments.as_slice() };
        let wrong = no_value(context, others, &"`healthcheck` takes a block, not a value", &help);
        let fields = Fields::read(context, &HEALTHCHECK, &item.items);
        let properties = RawProperties::read(context, &fields);
        let help = context
            .format
            .pick("write `healthcheck disable=#true`", "write `healthcheck: { disable: true }`");
        let disable = fields.one("disable").and_then(|item| boolean(context, item, &help));
        let disable = disable.or_else(|| off.map(|off| Spanned::new(true, off.span)));
        // A command without words was reported, and the whole check may have been misread: do not ask for it again.
        let has_exec = fields.one("exec").is_some()
            || fields.has_misspelling_of("exec")
            || fields.one("disable").is_some() && disable.is_none()
            || wrong.is_some();
        Some(RawHealthCheck { name: item.own_name(), has_exec, disable, properties })
    }

    fn check(context: &mut Context<'_>, raw: &RawHealthCheck, scope: &Scope<'_>) -> Option<HealthSetting> {
        let RawHealthCheck { name, has_exec, disable, properties } = raw;
        if let Some(disable) = disable.as_ref().filter(|disable| disable.value) {
            let mut unused = None;
            properties.origins(&mut |name, span| {
                unused.get_or_insert_with(|| (context.spell_name(name), span));
            });
            let Some((name, span)) = unused else { return Some(HealthSetting::Disabled) };
            let message = format!("a health check cannot be disabled and have `{name}`");
            return context.refuse(
                Diagnostic::error(Code::Conflict, span, message)
                    .label("never used")
                    .also(disable.span, "disabled here")
                    .help("keep one of the two"),
            );
        }
        let checked = properties.check(context, scope);
        if !has_exec {
            let sample = context.sample("exec", &["pg_isready"]);
            context.push(
                Diagnostic::error(Code::MissingProperty, name.span, "a health check needs `exec`")
                    .label("no command to run")
                    .help(format!("add a program that exits 0 when all is well: `{sample}`")),
            );
        }
        properties.exec.as_ref()?;
        checked.map(HealthSetting::Check)
    }

    fn print(model: &HealthSetting, scope: &PrintScope<'_>) -> Printed {
        Printed::One(match model {
            HealthSetting::Disabled => Node::flow(vec![PrintItem::property("disable", Scalar::Flag(true))]),
            HealthSetting::Check(check) => Node::block(RawProperties::print(check, scope)),
        })
    }

    fn schema() -> serde_json::Value {
        schema::definition("HealthCheck")
    }
}

//! `logs { capture "off"; max-size "50M"; keep 2 }`: what is written down of what a sandbox prints.

use super::mount::check_word;
use super::read::{Fields, Takes, integer, quantity, text};
use super::resources::invalid_quantity;
use super::{PrintScope, Scope, Value};
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic};
use crate::language::{FOREIGN_CAPTURES, LOGS, schema};
use crate::merge::Layer;
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{Item, Span, Spanned};
use rules::unit::{SIZE_FORMS, format_size_bytes, parse_size_bytes};
use schemas::config::{KEEP_MAX, ROTATE_AT_BYTES_MAX, ROTATE_AT_BYTES_MIN};
use schemas::spec::{Capture, Logs};

/// The logs as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawLogs {
    capture: Option<Spanned<String>>,
    max_size: Option<Spanned<String>>,
    keep: Option<Spanned<i128>>,
}

impl Layer for RawLogs {
    fn overlay(self, base: Self) -> Self {
        let Self { capture, max_size, keep } = base;
        Self {
            capture: self.capture.or(capture),
            max_size: self.max_size.or(max_size),
            keep: self.keep.or(keep),
        }
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        let Self { capture, max_size, keep } = self;
        capture.origins(&mut |_, span| found("capture", span));
        max_size.origins(&mut |_, span| found("max-size", span));
        keep.origins(&mut |_, span| found("keep", span));
    }
}

impl Weight for RawLogs {
    fn weight(&self) -> usize {
        let Self { capture, max_size, keep } = self;
        capture.weight() + max_size.weight() + keep.weight()
    }
}

/// Reads the block as typed.
fn read(context: &mut Context<'_>, item: &Item<'_>) -> RawLogs {
    if let Some(argument) = item.arguments.iter().find(|argument| !argument.is_null()) {
        let example = context.sample("capture", &["off"]);
        context.push(
            Diagnostic::error(Code::WrongType, argument.span, "`logs` takes a block, not a value")
                .label(argument.describe())
                .help(format!("write `{example}` inside it")),
        );
    }
    let fields = Fields::read(context, &LOGS, &item.items);
    let capture = fields.one("capture").and_then(|item| {
        let help = |context: &Context<'_>| format!("write `{}`", context.sample("capture", &["off"]));
        // A truth value is told which word it stands for.
        text(context, item, Takes { what: "a word", bare: true }, &help)
    });
    let max_size = fields.one("max-size").and_then(|item| {
        let help = |context: &Context<'_>| {
            format!("write it with its unit: `{}`", context.sample("max-size", &["50M"]))
        };
        quantity(context, item, &help)
    });
    let keep = fields.one("keep").and_then(|item| {
        let help = |context: &Context<'_>| {
            format!("write a whole number without quotes: `{}`", context.sample_bare("keep", "2"))
        };
        integer(context, item, &help)
    });
    RawLogs { capture, max_size, keep }
}

/// Checks word, size and number.
fn check(context: &mut Context<'_>, raw: &RawLogs) -> Option<Logs> {
    let capture = check_capture(context, raw.capture.as_ref());
    let max_size = raw.max_size.as_ref().map(|size| check_size(context, size));
    let keep = raw.keep.as_ref().map(|keep| check_keep(context, keep));
    // One of the two that is wrong is not one that was not given.
    let (max_size_bytes, keep) = (max_size.map_or(Some(None), |size| size.map(Some)), keep);
    let keep = keep.map_or(Some(None), |keep| keep.map(Some));
    Some(Logs { capture: capture?, max_size_bytes: max_size_bytes?, keep: keep? })
}

fn check_capture(context: &mut Context<'_>, given: Option<&Spanned<String>>) -> Option<Capture> {
    if let Some(given) = given
        && let Some((_, ours)) = FOREIGN_CAPTURES.iter().find(|(theirs, _)| *theirs == given.value)
    {
        context.push(
            Diagnostic::error(
                Code::UnknownValue,
                given.span,
                format!("`capture` cannot be `{}`", given.value),
            )
            .label("not known here")
            .help(format!("did you mean `{ours}`?")),
        );
        return None;
    }
    check_word(context, given, "capture", Capture::ALL, Capture::as_str)
}

fn check_size(context: &mut Context<'_>, given: &Spanned<String>) -> Option<u64> {
    let bytes = match parse_size_bytes(&given.value) {
        Ok(bytes) => bytes,
        Err(reason) => {
            context.push(invalid_quantity(given, &reason, "a size", SIZE_FORMS, "M"));
            return None;
        }
    };
    let (least, most) = (ROTATE_AT_BYTES_MIN, ROTATE_AT_BYTES_MAX);
    if (least..=most).contains(&bytes) {
        return Some(bytes);
    }
    let property = context.spell_name("max-size");
    let (least_text, most_text) = (format_size_bytes(least), format_size_bytes(most));
    context.push(
        Diagnostic::error(
            Code::OutOfRange,
            given.span,
            format!("`{property}` cannot be {}", given.value.trim()),
        )
        .label(if bytes < least { "too small" } else { "too large" })
        .help(format!("give {least_text} to {most_text}")),
    );
    None
}

fn check_keep(context: &mut Context<'_>, given: &Spanned<i128>) -> Option<u32> {
    let checked = u32::try_from(given.value).ok().filter(|&keep| keep <= KEEP_MAX);
    if checked.is_none() {
        context.push(
            Diagnostic::error(Code::OutOfRange, given.span, format!("`keep` cannot be {}", given.value))
                .label(if given.value < 0 { "at least 0" } else { "too many" })
                .help(format!("it is the number of files beside the newest: give 0 to {KEEP_MAX}")),
        );
    }
    checked
}

/// Settings of logs.
pub(crate) struct LogSettings;

impl Value for LogSettings {
    type Raw = Option<RawLogs>;
    type Model = Logs;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        fields.one(property).map(|item| read(context, item))
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, _scope: &Scope<'_>) -> Option<Self::Model> {
        raw.as_ref().map_or(Some(Logs::default()), |raw| check(context, raw))
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        if model.is_default() {
            return Printed::Nothing;
        }
        let Logs { capture, max_size_bytes, keep } = model;
        let mut items = vec![PrintItem::child("capture", Node::text(capture.as_str()))];
        let size = max_size_bytes.map(|bytes| Scalar::Quantity(format_size_bytes(bytes)));
        items.extend(size.map(|size| PrintItem::child("max-size", Node::Scalar(size))));
        let keep = keep.map(Scalar::Number);
        items.extend(keep.map(|keep| PrintItem::child("keep", Node::Scalar(keep))));
        Printed::One(Node::block(items))
    }

    fn schema() -> serde_json::Value {
        schema::definition("Logs")
    }
}

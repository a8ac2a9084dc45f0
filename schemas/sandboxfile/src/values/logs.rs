//! `logs { capture "off"; max-size "50M"; keep 2 }`: whether output is written to files, and how much is kept.

use super::block::{block, layers, values};
use super::read::{Fields, Takes, integer, no_value, quantity, text_like};
use super::resources::{check_number, parse_size};
use super::word::check_word;
use super::{PrintScope, Scope, Value};
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic};
use crate::language::Instead::Say;
use crate::language::schema;
use crate::merge::Layer;
use crate::print::{Node, Printed, Scalar};
use crate::syntax::{Item, Span, Spanned};
use rules::unit::format_size_bytes;
use schemas::config::{KEEP_MAX, ROTATE_AT_BYTES_MAX, ROTATE_AT_BYTES_MIN};
use schemas::spec::{Capture, Logs};

schemas::logs_properties! { block {
    /// Inside the logs of a sandbox.
    LOGS {
        what: "the block `logs`",
        definition: "Logs",
        doc: "Whether a sandbox's output is written to log files, and how much of it is kept.",
        required: &[],
        foreign: &[
(&["driver"], Say("logs are files that `msb logs` reads: to write none, set `capture` to `off`")),
(&["options"], Say("its options belong here: `max-size` (`max_size` in YAML) and `keep`")),
(&["max_file", "max_files"], Say("`keep` counts the files beside the newest: one less")),
(&["disable"], Say("set `capture` to `off`")),
(&["level"], Say("MSB_LOG sets how much msb says of itself: remove it")),
],
    }
    more: [],
    /// The logs as typed.
    RawLogs => Logs
} }

values! {
    /// Whether output is written to files.
    LogCapture: Spanned<String> => Capture {
        // The check suggests a word for a truth value.
        read: |context, item| text_like(context, item, Takes { what: "a word", bare: true }, "off"),
        check: |context, word| check_word(context, Some(word), "capture"),
        print: |capture| Node::text(capture.as_str()),
        schema: schema::word::<Capture>(),
    }
    /// The largest size of a log file in bytes.
    LogSize: Spanned<String> => u64 {
        read: |context, item| quantity(context, item, "50M"),
        check: check_size,
        print: |bytes| Node::Scalar(Scalar::Quantity(format_size_bytes(*bytes))),
        schema: schema::with(schema::size(), "examples", ["10M", "512K"]),
    }
    /// The number of log files that are kept beside the newest.
    KeptLogs: Spanned<i128> => u32 {
        read: |context, item| integer(context, item, "2"),
        check: check_kept,
        print: Node::number,
        schema: schema::integer(0, Some(KEEP_MAX)),
    }
}

fn check_size(context: &mut Context<'_>, raw: &Spanned<String>) -> Option<u64> {
    let bytes = parse_size(context, raw, "M")?;
    let (least, most) = (ROTATE_AT_BYTES_MIN, ROTATE_AT_BYTES_MAX);
    if (least..=most).contains(&bytes) {
        return Some(bytes);
    }
    let message = format!("`{}` cannot be {}", context.spell_name("max-size"), raw.value.trim());
    context.refuse(
        Diagnostic::error(Code::OutOfRange, raw.span, message)
            .label(if bytes < least { "too small" } else { "too large" })
            .help(format!("give {} to {}", format_size_bytes(least), format_size_bytes(most))),
    )
}

fn check_kept(context: &mut Context<'_>, raw: &Spanned<i128>) -> Option<u32> {
    check_number(context, raw, 0..=KEEP_MAX, || {
        let help = format!("it is the number of files beside the newest: give 0 to {KEEP_MAX}");
        (format!("`keep` cannot be {}", raw.value), help)
    })
}

/// Settings of logs.
pub(crate) struct LogSettings;

impl Value for LogSettings {
    type Raw = Option<RawLogs>;
    type Model = Logs;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let help =
            |context: &Context<'_>| format!("write `{}` inside it", context.sample("capture", &["off"]));
        no_value(context, &item.arguments, &"`logs` takes a block, not a value", &help);
        let fields = Fields::read(context, &LOGS, &item.items);
        Some(RawLogs::read(context, &fields))
    }

    fn check(context: &mut Context<'_>, raw: &RawLogs, scope: &Scope<'_>) -> Option<Logs> {
        raw.check(context, scope)
    }

    fn print(logs: &Logs, scope: &PrintScope<'_>) -> Printed {
        if logs.is_default() {
            Printed::Nothing
        } else {
            Printed::One(Node::block(RawLogs::print(logs, scope)))
        }
    }

    fn schema() -> serde_json::Value {
        schema::definition("Logs")
    }
}

//! `logs { capture "off"; max-size "50M"; keep 2 }`: whether output is written to files, and how much is kept.

use super::block::{block, block_values};
use super::read::{Fields, Takes, integer, no_value, quantity, text_like};
use super::resources::{check_number, parse_size};
use super::word::check_word;
use super::{BlockValue, PrintScope, Scope, Value};
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic};
use crate::language::Instead::Say;
use crate::language::schema;
use crate::merge::Layer;
use crate::print::{Node, Printed, Scalar};
use crate::syntax::{Item, Spanned};
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
            ("driver", Say("logs are files that `msb logs` reads: to write none, set `capture` to `off`")),
            ("options", Say("its options belong here: `max-size` (`max_size` in YAML) and `keep`")),
            ("max_file", Say("`keep` counts the files beside the newest: one less")),
            ("max_files", Say("`keep` counts the files beside the newest: one less")),
            ("disable", Say("set `capture` to `off`")),
            ("level", Say("MSB_LOG sets how much msb says of itself: remove it")),
        ],
    }
    more: [],
    /// The logs as typed.
    RawLogs => Logs
} }

block_values! {
    /// Whether output is written to files.
    LogCapture: Spanned<String> => Capture {
        read: read_capture, check: check_capture, print: print_capture, schema: schema::word::<Capture>,
    }
    /// The largest size of a log file in bytes.
    LogSize: Spanned<String> => u64 {
        read: quantity, check: check_size, print: print_size, schema: schema::log_size,
    }
    /// The number of log files that are kept beside the newest.
    KeptLogs: Spanned<i128> => u32 {
        read: integer, check: check_kept, print: Node::number, schema: schema::kept,
    }
}

fn read_capture(context: &mut Context<'_>, item: &Item<'_>, sample: &str) -> Option<Spanned<String>> {
    // The check suggests a word for a truth value.
    text_like(context, item, Takes { what: "a word", bare: true }, sample)
}

fn check_capture(context: &mut Context<'_>, raw: &Spanned<String>, property: &str) -> Option<Capture> {
    check_word(context, Some(raw), property)
}

fn print_capture(capture: &Capture) -> Node {
    Node::text(capture.as_str())
}

fn check_size(context: &mut Context<'_>, raw: &Spanned<String>, property: &str) -> Option<u64> {
    let bytes = parse_size(context, raw, "M")?;
    let (least, most) = (ROTATE_AT_BYTES_MIN, ROTATE_AT_BYTES_MAX);
    if (least..=most).contains(&bytes) {
        return Some(bytes);
    }
    let message = format!("`{}` cannot be {}", context.spell_name(property), raw.value.trim());
    context.push(
        Diagnostic::error(Code::OutOfRange, raw.span, message)
            .label(if bytes < least { "too small" } else { "too large" })
            .help(format!("give {} to {}", format_size_bytes(least), format_size_bytes(most))),
    );
    None
}

fn print_size(bytes: &u64) -> Node {
    Node::Scalar(Scalar::Quantity(format_size_bytes(*bytes)))
}

fn check_kept(context: &mut Context<'_>, raw: &Spanned<i128>, property: &str) -> Option<u32> {
    check_number(context, raw, 0..=KEEP_MAX, || {
        let help = format!("it is the number of files beside the newest: give 0 to {KEEP_MAX}");
        (format!("`{property}` cannot be {}", raw.value), help)
    })
}

/// Settings of logs.
pub(crate) struct LogSettings;

impl Value for LogSettings {
    type Raw = Option<RawLogs>;
    type Model = Logs;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        let item = fields.one(property)?;
        let help =
            |context: &Context<'_>| format!("write `{}` inside it", context.sample("capture", &["off"]));
        no_value(context, &item.arguments, &"`logs` takes a block, not a value", &help);
        let fields = Fields::read(context, &LOGS, &item.items);
        Some(RawLogs::read(context, &fields))
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, _scope: &Scope<'_>) -> Option<Self::Model> {
        raw.as_ref().map_or(Some(Logs::default()), |raw| raw.check(context))
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        if model.is_default() { Printed::Nothing } else { Printed::One(Node::block(RawLogs::print(model))) }
    }

    fn schema() -> serde_json::Value {
        schema::definition("Logs")
    }
}

//! `cpus 2`, `memory "512M"` and `disk "4G"`.

use super::block::values;
use super::read::{integer, quantity};
use super::{PrintScope, Scope, Value};
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::schema;
use crate::print::{Node, Printed, Scalar};
use crate::syntax::{Item, Spanned};
use rules::unit::{InvalidQuantity, SIZE_FORMS, format_size_mib, parse_size_bytes};
use schemas::spec::defaults;
use schemas::spec::limits::{CPUS_MAX, DISK_MIB_MAX, DISK_MIB_MIN, MEMORY_MIB_MAX, MEMORY_MIB_MIN};
use std::ops::RangeInclusive;

/// Checks a whole number; `wrong` returns the message and the help about one out of range.
pub(super) fn check_number(
    context: &mut Context<'_>,
    number: &Spanned<i128>,
    range: RangeInclusive<u32>,
    wrong: impl FnOnce() -> (String, String),
) -> Option<u32> {
    let checked = u32::try_from(number.value).ok().filter(|number| range.contains(number));
    if checked.is_none() {
        let (message, help) = wrong();
        let least = range.start();
        let label =
            if number.value < (*least).into() { format!("at least {least}") } else { "too many".to_owned() };
        context.push(Diagnostic::error(Code::OutOfRange, number.span, message).label(label).help(help));
    }
    checked
}

/// Parses a size in bytes; `unit` is that of a suggestion for a number without one.
pub(super) fn parse_size(context: &mut Context<'_>, size: &Spanned<String>, unit: &str) -> Option<u64> {
    let invalid = |reason| context.push(invalid_quantity(size, &reason, "a size", SIZE_FORMS, unit));
    parse_size_bytes(&size.value).map_err(invalid).ok()
}

/// Checks the number of processors.
fn check_cpus(context: &mut Context<'_>, cpus: &Spanned<i128>) -> Option<u32> {
    check_number(context, cpus, 1..=CPUS_MAX, || {
        let message = if cpus.value < 1 {
            "a sandbox needs a processor"
        } else {
            "a sandbox cannot have so many processors"
        };
        (message.to_owned(), format!("give a number from 1 to {CPUS_MAX}"))
    })
}

/// Checks the memory.
fn check_memory(context: &mut Context<'_>, memory: &Spanned<String>) -> Option<u32> {
    let bytes = parse_size(context, memory, "M")?;
    let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    let (message, label) = if mib < MEMORY_MIB_MIN {
        ("no guest boots with so little memory", "too little")
    } else if mib > MEMORY_MIB_MAX {
        ("a sandbox cannot have so much memory", "too much")
    } else if !bytes.is_multiple_of(1 << 20) {
        ("memory comes in whole mebibytes", "not a multiple of 1M")
    } else {
        return Some(mib);
    };
    let (least, most) = (format_size_mib(MEMORY_MIB_MIN.into()), format_size_mib(MEMORY_MIB_MAX.into()));
    context.refuse(
        Diagnostic::error(Code::OutOfRange, memory.span, message)
            .label(label)
            .help(format!("give {least} to {most}")),
    )
}

/// Checks the size of a disk in whole MiB; `what` is its name in messages: `a disk`.
pub(super) fn check_disk(context: &mut Context<'_>, size: &Spanned<String>, what: &str) -> Option<u32> {
    check_mib(context, size, (what, "G"), DISK_MIB_MIN)
}

/// Checks the limit of a directory in whole MiB; `what` is its name in messages: `a mount`.
pub(super) fn check_limit(context: &mut Context<'_>, size: &Spanned<String>, what: &str) -> Option<u32> {
    check_mib(context, size, (what, "G"), 1)
}

/// Checks a size in whole MiB; `what` is its name in messages, and the unit of a suggestion for a number without one.
fn check_mib(
    context: &mut Context<'_>,
    size: &Spanned<String>,
    (what, unit): (&str, &str),
    least_mib: u32,
) -> Option<u32> {
    let bytes = parse_size(context, size, unit)?;
    let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    let label = if mib < least_mib {
        "too small"
    } else if mib > DISK_MIB_MAX {
        "too large"
    } else if !bytes.is_multiple_of(1 << 20) {
        "not a multiple of 1M"
    } else {
        return Some(mib);
    };
    let (least, most) = (format_size_mib(least_mib.into()), format_size_mib(DISK_MIB_MAX.into()));
    context.refuse(
        Diagnostic::error(Code::OutOfRange, size.span, format!("{what} cannot be of this size"))
            .label(label)
            .help(format!("give {least} to {most}")),
    )
}

/// Returns the diagnostic about an invalid size or duration.
pub(super) fn invalid_quantity(
    given: &Spanned<String>,
    reason: &InvalidQuantity,
    what: &str,
    forms: &str,
    unit: &str,
) -> Diagnostic {
    let shown = shorten(&given.value);
    let (not_one, help) = (format!("not {what}"), format!("{what} is written like {forms}"));
    let (message, label, help) = match reason {
        InvalidQuantity::NoUnit { .. } => {
            let help = format!("did you mean \"{}{unit}\"? {help}", shown.trim());
            (format!("`{shown}` has no unit"), "a unit is missing", help)
        }
        InvalidQuantity::UnknownUnit { unit } if unit.starts_with(['.', ',']) => {
            let help = format!("take a smaller unit: {help}");
            (format!("`{shown}` is not a whole number of units"), "a fraction", help)
        }
        InvalidQuantity::UnknownUnit { unit } => {
            (format!("`{}` is not a unit that is known here", shorten(unit)), "unknown unit", help)
        }
        InvalidQuantity::NoNumber { .. } => {
            (format!("`{shown}` does not start with a whole number"), not_one.as_str(), help)
        }
        InvalidQuantity::TooFine { .. } => {
            (format!("`{shown}` is not a whole number of milliseconds"), "finer than a millisecond", help)
        }
        InvalidQuantity::TooLarge { .. } => {
            (format!("`{shown}` is too large to be meant"), "too large", help)
        }
    };
    Diagnostic::error(Code::InvalidQuantity, given.span, message).label(label).help(help)
}

values! {
    /// A number of processors.
    Cpus: Spanned<i128> => u32 {
        read: |context, item| integer(context, item, "2"),
        check: check_cpus,
        print: Node::number,
        schema: schema::with(schema::integer(1, Some(CPUS_MAX)), "default", defaults::CPUS),
    }
    /// An amount of memory in MiB.
    Memory: Spanned<String> => u32 {
        read: |context, item| quantity(context, item, "512M"),
        check: check_memory,
        print: print_mib,
        schema: size_schema(["512M", "2G"], defaults::MEMORY_MIB),
    }
    /// The size of `/dev/shm` in MiB.
    ShmSize: Spanned<String> => u32 {
        read: |context, item| quantity(context, item, "64M"),
        check: |context, size| check_mib(context, size, ("`/dev/shm`", "M"), 1),
        print: print_mib,
        schema: schema::with(schema::size(), "examples", ["64M", "1G"]),
    }
    /// The size of a writable disk in MiB.
    Disk: Spanned<String> => u32 {
        read: |context, item| quantity(context, item, "4G"),
        check: |context, size| check_disk(context, size, "a sandbox's disk"),
        print: print_mib,
        schema: size_schema(["8G", "512M"], defaults::DISK_MIB),
    }
}

fn size_schema(examples: [&str; 2], default_mib: u32) -> serde_json::Value {
    let schema = schema::with(schema::size(), "examples", examples);
    schema::with(schema, "default", format_size_mib(default_mib.into()))
}

fn print_mib(mib: &u32) -> Node {
    Node::Scalar(Scalar::Quantity(format_size_mib((*mib).into())))
}

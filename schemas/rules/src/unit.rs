//! Sizes and durations with units, written like `512M`, `2G`, `1GiB`, `500ms`, `5s` and `1m30s`.

use std::time::Duration;

/// The forms of a size, for messages.
pub const SIZE_FORMS: &str = "512M, 2G or 1GiB";
/// The forms of a duration, for messages.
pub const DURATION_FORMS: &str = "500ms, 5s, 1m30s or 2h";

/// The reason why a text is not a size or a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// The number has no unit.
    #[error("{text:?} has no unit")]
    NoUnit {
        /// The whole text.
        text: String,
    },
    /// The unit is unknown.
    #[error("unknown unit {unit:?}")]
    UnknownUnit {
        /// The text after the number.
        unit: String,
    },
    /// The text does not begin with a number.
    #[error("{text:?} does not start with a whole number")]
    NoNumber {
        /// The whole text.
        text: String,
    },
    /// The duration has a fraction of a millisecond.
    #[error("{text:?} is not a whole number of milliseconds")]
    TooFine {
        /// The whole text.
        text: String,
    },
    /// The number exceeds the limit.
    #[error("{text:?} is too large")]
    TooLarge {
        /// The whole text.
        text: String,
    },
}

fn split(text: &str) -> Result<(u64, &str), InvalidQuantity> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(InvalidQuantity::NoNumber { text: text.to_owned() });
    }
    let number = number.parse().map_err(|_| InvalidQuantity::TooLarge { text: text.to_owned() })?;
    match unit.trim_start() {
        "" => Err(InvalidQuantity::NoUnit { text: text.to_owned() }),
        unit => Ok((number, unit)),
    }
}

/// Parses a size such as `512M`, in bytes. Units are powers of 1024, with or without a final `iB` or `B`.
///
/// # Errors
///
/// If the text is not a whole number with a known unit, or does not fit into 64 bits.
pub fn parse_size_bytes(text: &str) -> Result<u64, InvalidQuantity> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(InvalidQuantity::UnknownUnit { unit: unit.to_owned() }),
    };
    number.checked_mul(factor).ok_or_else(|| InvalidQuantity::TooLarge { text: text.to_owned() })
}

/// Parses a duration as Compose, Go and systemd write it: `500ms`, `5s`, `1m30s`, `1.5h`, `1h 30min`, `2 days`.
///
/// # Errors
///
/// If the text is not a sequence of numbers with known units, is not whole milliseconds, or exceeds ten years.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidQuantity> {
    let too_large = || InvalidQuantity::TooLarge { text: text.to_owned() };
    let mut rest = text.trim();
    let mut total_ns: u128 = 0;
    loop {
        let (number, after) =
            split_decimal(rest).ok_or_else(|| InvalidQuantity::NoNumber { text: text.to_owned() })?;
        let after = after.trim_start();
        let end = after.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(InvalidQuantity::NoUnit { text: text.to_owned() });
        }
        let unit_ns =
            duration_unit_ns(unit).ok_or_else(|| InvalidQuantity::UnknownUnit { unit: unit.to_owned() })?;
        total_ns += number.times(unit_ns, text)?;
        if total_ns > u128::from(MAX_DURATION_MS) * NS_PER_MS {
            return Err(too_large());
        }
        rest = after.trim_start();
        if rest.is_empty() {
            break;
        }
    }
    if !total_ns.is_multiple_of(NS_PER_MS) {
        return Err(InvalidQuantity::TooFine { text: text.to_owned() });
    }
    u64::try_from(total_ns / NS_PER_MS).map(Duration::from_millis).map_err(|_| too_large())
}

const NS_PER_MS: u128 = 1_000_000;

fn duration_unit_ns(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" | "nsec" => 1,
        "us" | "usec" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" | "msec" => NS_PER_MS,
        "s" | "sec" | "second" | "seconds" => 1_000 * NS_PER_MS,
        "m" | "min" | "minute" | "minutes" => 60_000 * NS_PER_MS,
        "h" | "hr" | "hour" | "hours" => 3_600_000 * NS_PER_MS,
        "d" | "day" | "days" => 24 * 3_600_000 * NS_PER_MS,
        "w" | "week" | "weeks" => 7 * 24 * 3_600_000 * NS_PER_MS,
        _ => return None,
    })
}

/// A decimal number as written: the digits before the point and those after it.
#[derive(Clone, Copy)]
struct Decimal<'t> {
    whole: &'t str,
    fraction: &'t str,
}

/// Splits the number off the start of a text; `None` when it does not start with a digit.
fn split_decimal(text: &str) -> Option<(Decimal<'_>, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at(digits(text));
    if whole.is_empty() {
        return None;
    }
    let fraction = rest.strip_prefix('.').map_or("", |rest| &rest[..digits(rest)]);
    let rest = if fraction.is_empty() { rest } else { &rest[1 + fraction.len()..] };
    Some((Decimal { whole, fraction }, rest))
}

impl Decimal<'_> {
    /// Returns the number times a unit, in nanoseconds. `text` is the whole duration, for errors.
    fn times(self, unit_ns: u128, text: &str) -> Result<u128, InvalidQuantity> {
        // A week has 15 digits of nanoseconds, so digits after the 18th of a fraction are below one.
        const FRACTION_DIGITS_MAX: usize = 18;
        let whole: u64 =
            self.whole.parse().map_err(|_| InvalidQuantity::TooLarge { text: text.to_owned() })?;
        let fraction = self.fraction.trim_end_matches('0');
        let too_fine = || InvalidQuantity::TooFine { text: text.to_owned() };
        if fraction.len() > FRACTION_DIGITS_MAX {
            return Err(too_fine());
        }
        let digits = fraction.bytes().map(|digit| u128::from(digit - b'0'));
        let (scaled, scale) =
            digits.fold((0, 1), |(scaled, scale), digit| (scaled * 10 + digit * unit_ns, scale * 10));
        if !scaled.is_multiple_of(scale) {
            return Err(too_fine());
        }
        Ok(u128::from(whole) * unit_ns + scaled / scale)
    }
}

/// The longest duration, in milliseconds: ten years.
const MAX_DURATION_MS: u64 = 10 * 366 * 24 * 3_600_000;

/// Formats a size in MiB with the largest unit that divides it.
pub fn format_size_mib(mib: u64) -> String {
    if mib != 0 && mib.is_multiple_of(1024) { format!("{}G", mib / 1024) } else { format!("{mib}M") }
}

/// Formats a size in bytes, rounded down to KiB, with the largest unit that divides it.
pub fn format_size_bytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format_size_mib(bytes >> 20) } else { format!("{}K", bytes >> 10) }
}

/// Formats a duration in milliseconds with the largest unit that divides it.
pub fn format_duration_ms(ms: u64) -> String {
    match ms {
        0 => "0s".to_owned(),
        ms if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        ms if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        ms if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("512M", 512 << 20), ("2G", 2 << 30), ("1GiB", 1 << 30), ("1kb", 1024), ("3 M", 3 << 20)]
        {
            assert_eq!(parse_size_bytes(text), Ok(bytes), "{text}");
        }
        assert!(matches!(parse_size_bytes("512"), Err(InvalidQuantity::NoUnit { .. })));
        assert!(matches!(parse_size_bytes("5X"), Err(InvalidQuantity::UnknownUnit { .. })));
        assert!(matches!(parse_size_bytes("-5M"), Err(InvalidQuantity::NoNumber { .. })));
        assert!(matches!(parse_size_bytes("99999999999T"), Err(InvalidQuantity::TooLarge { .. })));
    }

    #[test]
    fn durations_print_as_they_are_written() {
        for text in ["500ms", "5s", "2m", "1h", "90s"] {
            let parsed = parse_duration(text).unwrap();
            assert_eq!(format_duration_ms(parsed.as_millis() as u64), text);
        }
    }

    #[test]
    fn durations_of_compose_go_and_systemd() {
        let seconds = |text: &str| parse_duration(text).map(|duration| duration.as_secs_f64());
        for (text, expected) in [
            ("1m30s", 90.0),
            ("1h1m1s1ms", 3661.001),
            ("1m0s", 60.0),
            ("0.5s", 0.5),
            ("1.50h", 5400.0),
            ("3000us", 0.003),
            ("1min 30s", 90.0),
            ("1h 30 min", 5400.0),
            ("2 weeks", 14.0 * 86400.0),
            ("1d12hr", 36.0 * 3600.0),
            ("  5 s ", 5.0),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn invalid_durations() {
        for text in ["", " ", "s", "-1s", "1m s", "5sx s"] {
            let refused = parse_duration(text);
            assert!(
                matches!(
                    refused,
                    Err(InvalidQuantity::NoNumber { .. } | InvalidQuantity::UnknownUnit { .. })
                ),
                "{text}: {refused:?}"
            );
        }
        for text in ["5", "1m30", "1.5", "1 2s"] {
            assert!(matches!(parse_duration(text), Err(InvalidQuantity::NoUnit { .. })), "{text}");
        }
        for text in ["5x", "1M", "1m30S", "1,5s", "1..5s", "1.s", "1m-5s"] {
            assert!(matches!(parse_duration(text), Err(InvalidQuantity::UnknownUnit { .. })), "{text}");
        }
        for text in ["1us", "1.5ms", "0.0001s", "0.0000000000000000000001w", "1s1ns"] {
            assert!(matches!(parse_duration(text), Err(InvalidQuantity::TooFine { .. })), "{text}");
        }
        for text in ["11 years 1d", "600w", "18446744073709551615w", "18446744073709551616ns"] {
            let refused = parse_duration(text);
            assert!(
                matches!(
                    refused,
                    Err(InvalidQuantity::TooLarge { .. } | InvalidQuantity::UnknownUnit { .. })
                ),
                "{text}: {refused:?}"
            );
        }
        let many = "9999h".repeat(1 << 20);
        assert!(matches!(parse_duration(&many), Err(InvalidQuantity::TooLarge { .. })));
    }
}

//! Units in which people write sizes and times: `512M`, `2G`, `1GiB`, `500ms`, `5s`, `2m`.

use std::time::Duration;

/// The forms of a size, for messages.
pub const SIZE_FORMS: &str = "512M, 2G or 1GiB";
/// The forms of a duration, for messages.
pub const DURATION_FORMS: &str = "500ms, 5s, 2m or 1h";

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// A number without a unit.
    #[error("{text:?} has no unit")]
    NoUnit {
        /// What was given.
        text: String,
    },
    /// A unit that is not known.
    #[error("{unit:?} is not a unit known here")]
    UnknownUnit {
        /// What stood behind the number.
        unit: String,
    },
    /// No number in front.
    #[error("{text:?} does not start with a whole number")]
    NoNumber {
        /// What was given.
        text: String,
    },
    /// Too large to be meant.
    #[error("{text:?} is too large")]
    TooLarge {
        /// What was given.
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

/// Bytes from a size such as `512M`. Units are powers of 1024, with or without `iB` or `B` behind them.
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

/// A duration such as `500ms`, `5s`, `2m` or `1h`.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidQuantity> {
    let (number, unit) = split(text)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(InvalidQuantity::UnknownUnit { unit: unit.to_owned() }),
    };
    let total = number.checked_mul(millis).filter(|&total| total <= MAX_DURATION_MS);
    total.map(Duration::from_millis).ok_or_else(|| InvalidQuantity::TooLarge { text: text.to_owned() })
}

/// The longest duration that is taken: ten years, in milliseconds.
const MAX_DURATION_MS: u64 = 10 * 366 * 24 * 3_600_000;

/// A size as people write it: the largest unit that divides it.
pub fn format_size_mib(mib: u64) -> String {
    if mib != 0 && mib.is_multiple_of(1024) { format!("{}G", mib / 1024) } else { format!("{mib}M") }
}

/// A size as people write it: the largest unit that divides it; in whole KiB.
pub fn format_size_bytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format_size_mib(bytes >> 20) } else { format!("{}K", bytes >> 10) }
}

/// A duration as people write it: the largest unit that divides it.
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
    fn durations_round_trip() {
        for text in ["500ms", "5s", "2m", "1h", "90s"] {
            let parsed = parse_duration(text).unwrap();
            assert_eq!(format_duration_ms(parsed.as_millis() as u64), text);
        }
        assert!(matches!(parse_duration("5"), Err(InvalidQuantity::NoUnit { .. })));
        assert!(matches!(parse_duration("5d"), Err(InvalidQuantity::UnknownUnit { .. })));
    }
}

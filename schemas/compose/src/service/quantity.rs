//! Sizes, durations and processors as compose writes them.

use rules::unit::parse_duration;

/// Parses a size: a number of bytes, or one with a unit such as `64m`, `1.5g` or `512kb`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor: u64 = match unit.trim() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let (whole, fraction) = number.split_once('.')?;
    let fraction: String = fraction.chars().take(6).collect();
    let divisor = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor) / u128::from(divisor);
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    whole.checked_add(u64::try_from(part).ok()?)
}

/// Returns a size in whole MiB, rounded up, with a unit.
pub(super) fn size_of(bytes: u64) -> String {
    let mib = bytes.div_ceil(1 << 20).max(1);
    if mib.is_multiple_of(1024) { format!("{}G", mib / 1024) } else { format!("{mib}M") }
}

/// Returns a number of processors, rounded up: from `0.5`, `2` or `1.5`.
pub(super) fn processors(text: &str) -> Option<(u32, bool)> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) || text.is_empty() || text == "." {
        return None;
    }
    let is_whole = fraction.bytes().all(|byte| byte == b'0');
    let count = if is_whole { whole } else { whole.saturating_add(1) };
    Some((count, is_whole))
}

/// Returns whether a text is a duration that msb reads too, and whether it is zero.
pub(super) fn duration(text: &str) -> Option<bool> {
    parse_duration(text).ok().map(|duration| duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        assert_eq!(bytes("64m"), Some(64 << 20));
        assert_eq!(bytes("1.5GB"), Some(3 << 29));
        assert_eq!(bytes("1024"), Some(1024));
        assert_eq!(
            [bytes(""), bytes("x"), bytes("1x"), bytes("99999999999999999999"), bytes("1..2"), bytes(".")],
            [None; 6]
        );
        assert_eq!(
            (size_of(1), size_of(3 << 29), size_of(2 << 30)),
            ("1M".into(), "1536M".into(), "2G".into())
        );
        assert_eq!(
            [processors("0.5"), processors("2"), processors("2.0"), processors("1e3"), processors("-1")],
            [Some((1, false)), Some((2, true)), Some((2, true)), None, None]
        );
        assert_eq!([duration("1m30s"), duration("0s"), duration("5")], [Some(false), Some(true), None]);
    }
}

//! The forms of a text in the parts of a message.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use std::fmt::Write;
use zeroize::Zeroizing;

/// Base64 as servers read it: padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The kind of a body, by its `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// JSON, or lines of it.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// gRPC, whose messages start with their lengths.
    Grpc,
    /// All others.
    Other,
}

impl BodyKind {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        let essence = value.split(|&byte| byte == b';').next().unwrap_or_default();
        let essence = essence.trim_ascii().to_ascii_lowercase();
        match essence.as_slice() {
            b"application/json" | b"text/json" | b"application/x-ndjson" | b"application/jsonl" => Self::Json,
            b"application/x-www-form-urlencoded" => Self::Form,
            essence if essence.ends_with(b"+json") => Self::Json,
            essence if essence.starts_with(b"application/grpc") => Self::Grpc,
            _ => Self::Other,
        }
    }
}

/// Whether a body has a `Content-Encoding`, such as gzip.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|coding| {
            let coding = coding.trim_ascii();
            !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
        })
}

/// Percent-encodes all bytes that are not unreserved (RFC 3986, 2.3).
pub(super) fn percent_encode(text: &[u8]) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Zeroizing::new(Vec::with_capacity(text.len() * 3));
    for &byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(byte);
        } else {
            encoded.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
    encoded
}

/// How a library writes strings of JSON.
pub(super) struct JsonStyle {
    /// The characters that are written as `\uXXXX`, of those that need not be.
    escapes: fn(char) -> bool,
    /// Whether the digits of `\uXXXX` are upper case.
    upper_case: bool,
    /// Whether `/` is written as `\/`.
    slashes: bool,
}

impl JsonStyle {
    /// Only what has to be escaped.
    pub(super) const PLAIN: Self = Self::new(|_| false);

    /// The styles of common libraries.
    pub(super) const COMMON: [Self; 9] = [
        Self::PLAIN,
        Self::PLAIN.with_slashes(),
        // Python and others, which write ASCII only, and PHP.
        Self::new(|character| !character.is_ascii()),
        Self::new(|character| !character.is_ascii()).with_slashes(),
        // Go and Rails, whose strings are safe in HTML; Gson; .NET.
        Self::new(|character| matches!(character, '<' | '>' | '&' | '\u{2028}' | '\u{2029}')),
        Self::new(|character| matches!(character, '<' | '>' | '&' | '=' | '\'' | '\u{2028}' | '\u{2029}')),
        Self::new(|character| {
            !character.is_ascii() || matches!(character, '"' | '&' | '\'' | '+' | '<' | '>' | '`')
        })
        .with_upper_case(),
        // Everything.
        Self::new(|_| true),
        Self::new(|_| true).with_upper_case(),
    ];

    const fn new(escapes: fn(char) -> bool) -> Self {
        Self { escapes, upper_case: false, slashes: false }
    }

    const fn with_slashes(self) -> Self {
        Self { slashes: true, ..self }
    }

    const fn with_upper_case(self) -> Self {
        Self { upper_case: true, ..self }
    }

    /// Escapes a text for a string of JSON; `None` if it is not UTF-8.
    pub(super) fn escape(&self, text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let text = std::str::from_utf8(text).ok()?;
        // Six bytes for each at most, so that no copy is left by growing.
        let mut escaped = Zeroizing::new(String::with_capacity(text.len() * 6));
        for character in text.chars() {
            match character {
                _ if (self.escapes)(character) => self.escape_character(character, &mut escaped),
                '"' | '\\' => escaped.extend(['\\', character]),
                '/' if self.slashes => escaped.push_str("\\/"),
                '\n' => escaped.push_str("\\n"),
                '\r' => escaped.push_str("\\r"),
                '\t' => escaped.push_str("\\t"),
                '\0'..='\x1f' => self.escape_character(character, &mut escaped),
                _ => escaped.push(character),
            }
        }
        Some(Zeroizing::new(std::mem::take(&mut *escaped).into_bytes()))
    }

    fn escape_character(&self, character: char, escaped: &mut String) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = if self.upper_case {
                write!(escaped, "\\u{unit:04X}")
            } else {
                write!(escaped, "\\u{unit:04x}")
            };
        }
    }
}

/// Escapes a text for a string of JSON; `None` if it is not UTF-8.
pub(super) fn json_escape(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    JsonStyle::PLAIN.escape(text)
}

/// Whether a header can contain a text.
pub(super) fn fits_header(text: &[u8]) -> bool {
    text.iter().all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f))
}

/// Decodes the credentials of `Basic`; `None` if a header contains others.
pub(super) fn decode_basic(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    const SCHEME: &[u8] = b"basic ";
    let value = value.trim_ascii();
    let (scheme, credentials) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    BASE64.decode(credentials.trim_ascii()).ok().map(Zeroizing::new)
}

/// Encodes credentials as the value of a header.
pub(super) fn encode_basic(credentials: &[u8]) -> Zeroizing<String> {
    let mut value = Zeroizing::new(String::with_capacity(6 + credentials.len().div_ceil(3) * 4));
    value.push_str("Basic ");
    BASE64.encode_string(credentials, &mut value);
    value
}

/// The parts of the Base64 of any text that depend on nothing but the `value` which the text contains, by the position of
/// the value modulo 3.
pub(super) fn base64_cores(value: &[u8]) -> [Zeroizing<Vec<u8>>; 3] {
    [0, 1, 2].map(|shift| {
        let mut text = Zeroizing::new(vec![0; shift]);
        text.extend_from_slice(value);
        let encoded = Zeroizing::new(BASE64.encode(&*text).into_bytes());
        // Each character has six bits.
        let start = (shift * 8).div_ceil(6);
        let end = text.len() * 8 / 6;
        Zeroizing::new(encoded.get(start..end).unwrap_or_default().to_vec())
    })
}

/// A character of Base64 in the alphabet for URLs.
pub(super) fn url_letter(letter: u8) -> u8 {
    match letter {
        b'+' => b'-',
        b'/' => b'_',
        _ => letter,
    }
}

//! CBOR of the raw tier: payloads whose types this crate does not know.

use crate::error::{Error, Result};
use protocol::frame::{Frame, FrameDecoder};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use ciborium::Value;

/// The deepest nesting of lists and maps that is decoded.
const LEVELS_MAX: usize = 32;

/// Encodes a value as CBOR with definite lengths and the shortest integers.
///
/// # Errors
///
/// [`Error::InvalidArgument`] if the value cannot be encoded.
pub fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let written = ciborium::into_writer(value, &mut bytes);
    written.map_err(|error| Error::invalid(format!("a value cannot be encoded as CBOR: {error}")))?;
    Ok(bytes)
}

/// Decodes one value from all of the bytes. Tags are removed, and the keys of maps are distinct and no lists or maps.
///
/// # Errors
///
/// [`Error::ProtocolError`] for anything else, and for more than 32 levels.
pub fn decode(bytes: &[u8]) -> Result<Value> {
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, LEVELS_MAX + 1);
    let value: Value = value.map_err(|error| malformed(&error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed(&format!("{} bytes follow the value", rest.len())));
    }
    if has_nested_chunks(bytes) {
        return Err(malformed("a chunk of a string has chunks of its own"));
    }
    normalized(value, 0)
}

/// Decodes a value of a known type as [`decode`] does.
///
/// # Errors
///
/// [`Error::ProtocolError`].
pub fn decode_as<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    decode(bytes)?.deserialized().map_err(|error| malformed(&error.to_string()))
}

/// Returns the next complete frame of a byte stream; `None` if more bytes are needed.
///
/// # Errors
///
/// [`Error::InvalidFrame`], which every later call has too.
pub fn next_frame(decoder: &mut FrameDecoder) -> Result<Option<Frame>> {
    decoder.next_frame().map_err(|error| Error::new("invalid-frame", error.to_string()))
}

fn malformed(why: &str) -> Error {
    Error::new("protocol-error", format!("invalid CBOR: {}", crate::convert::text(why)))
}

/// Whether a string of indefinite length contains another one, in bytes that are well-formed otherwise.
///
/// The decoder joins them, but other languages refuse them.
fn has_nested_chunks(bytes: &[u8]) -> bool {
    const INDEFINITE: u8 = 31;
    const BREAK: u8 = 0xff;
    let (mut at, mut is_in_chunks) = (0, false);
    while let Some(&first) = bytes.get(at) {
        let (major, information) = (first >> 5, first & 31);
        let argument_bytes = match information {
            24..=27 => 1 << (information - 24),
            _ => 0,
        };
        let argument = bytes.get(at + 1..at + 1 + argument_bytes).unwrap_or_default();
        let argument = argument.iter().fold(0u64, |all, &byte| all << 8 | u64::from(byte));
        at += 1 + argument_bytes;
        match (major, information) {
            (2 | 3, INDEFINITE) if is_in_chunks => return true,
            (2 | 3, INDEFINITE) => is_in_chunks = true,
            (2 | 3, 0..24) => at += usize::from(information),
            (2 | 3, _) => at = at.saturating_add(usize::try_from(argument).unwrap_or(usize::MAX)),
            // The chunks of a string end before anything else does.
            _ if first == BREAK => is_in_chunks = false,
            _ => {}
        }
    }
    false
}

fn normalized(value: Value, level: usize) -> Result<Value> {
    if level > LEVELS_MAX {
        return Err(malformed("too many levels"));
    }
    match value {
        Value::Tag(_, inner) => normalized(*inner, level),
        Value::Array(items) => {
            let items = items.into_iter().map(|item| normalized(item, level + 1));
            Ok(Value::Array(items.collect::<Result<_>>()?))
        }
        Value::Map(entries) => {
            let mut checked: Vec<(Value, Value)> = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let key = normalized(key, level + 1)?;
                if matches!(key, Value::Array(_) | Value::Map(_)) {
                    return Err(malformed("a list or a map is a key"));
                }
                checked.push((key, normalized(value, level + 1)?));
            }
            let mut keys: Vec<Vec<u8>> = checked.iter().map(|(key, _)| encode(key)).collect::<Result<_>>()?;
            keys.sort_unstable();
            if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(malformed("a key is there twice"));
            }
            Ok(Value::Map(checked))
        }
        other => Ok(other),
    }
}

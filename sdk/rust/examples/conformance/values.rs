//! The values of the conformance kit as JSON.

use msb_sdk::Error;
use msb_sdk::cbor::Value as Cbor;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Returns the CBOR value of JSON with `$hex`, `$int` and `$float`.
pub fn decode(value: &Value) -> Cbor {
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(value) => Cbor::Bool(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().unwrap_or_default().into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => Cbor::Array(items.iter().map(decode).collect()),
        Value::Object(entries) => {
            let text = |name: &str| entries.get(name).and_then(Value::as_str);
            if let Some(hex) = text("$hex") {
                return Cbor::Bytes(from_hex(hex));
            }
            if let Some(number) = text("$int") {
                let number: i128 = number.parse().unwrap_or_default();
                return number.try_into().map_or(Cbor::Null, Cbor::Integer);
            }
            if let Some(number) = text("$float") {
                return Cbor::Float(number.parse().unwrap_or(f64::NAN));
            }
            Cbor::Map(entries.iter().map(|(key, value)| (key.as_str().into(), decode(value))).collect())
        }
    }
}

/// Returns a CBOR value as JSON with `$hex`, `$int` and `$float`.
pub fn encode(value: &Cbor) -> Value {
    match value {
        Cbor::Bool(value) => json!(value),
        Cbor::Integer(number) => {
            let number = i128::from(*number);
            match i64::try_from(number) {
                Ok(small) if small.unsigned_abs() < 1 << 53 => json!(small),
                _ => json!({ "$int": number.to_string() }),
            }
        }
        Cbor::Float(number) if number.is_nan() => json!({ "$float": "NaN" }),
        Cbor::Float(number) if number.is_infinite() => {
            json!({ "$float": if *number > 0.0 { "Infinity" } else { "-Infinity" } })
        }
        Cbor::Float(number) => json!({ "$float": number.to_string() }),
        Cbor::Bytes(bytes) => json!({ "$hex": hex(bytes) }),
        Cbor::Text(text) => json!(text),
        Cbor::Array(items) => items.iter().map(encode).collect(),
        Cbor::Map(entries) => {
            let key = |key: &Cbor| match key {
                Cbor::Text(text) => text.clone(),
                other => encode(other).to_string(),
            };
            Value::Object(entries.iter().map(|(name, value)| (key(name), encode(value))).collect())
        }
        _ => Value::Null,
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn from_hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    text.as_bytes().chunks(2).map(|pair| pair.iter().fold(0, |all, &byte| all << 4 | digit(byte))).collect()
}

/// Returns the bytes of a request.
pub fn to_bytes(value: &Value) -> Vec<u8> {
    if let Some(text) = value["hex"].as_str() {
        return from_hex(text);
    }
    if let Some(text) = value["repeat"].as_str() {
        let times = value["times"].as_u64().unwrap_or_default();
        return text.repeat(times as usize).into_bytes();
    }
    value["text"].as_str().unwrap_or_default().as_bytes().to_vec()
}

/// Returns bytes for an answer.
pub fn of_bytes(bytes: &[u8]) -> Value {
    let text = std::str::from_utf8(bytes).ok().filter(|_| bytes.len() <= 4096);
    let short = (bytes.len() <= 256).then(|| hex(bytes));
    json!({ "len": bytes.len(), "sha256": hex(&Sha256::digest(bytes)), "text": text, "hex": short })
}

/// Returns an error for an answer.
pub fn of_error(error: &Error) -> Value {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            fields.insert(name.to_owned(), value);
        }
    };
    set("code", json!(error.code()));
    set("message", json!(error.message()));
    set("hint", json!(error.hint()));
    set("name", json!(error.name()));
    set("exit_code", json!(error.exit_code()));
    set("kind", json!(error.kind()));
    set("errno", json!(error.errno()));
    set("errno_name", json!(error.errno_name()));
    match error {
        Error::ExecFailed(failure) => set("stage", json!(failure.stage)),
        Error::ExecTimeout(timeout) => {
            set("timeout_ms", json!(timeout.timeout.as_millis() as u64));
            set("stdout", of_bytes(&timeout.stdout));
            set("stderr", of_bytes(&timeout.stderr));
        }
        Error::FileFailed(failure) | Error::PathNotFound(failure) => set("path", json!(failure.path)),
        _ => {}
    }
    if let Some(report) = error.report() {
        set("raw", json!(report.raw));
        set("dropped_from_offset", json!(report.dropped_from_offset));
    }
    Value::Object(fields)
}

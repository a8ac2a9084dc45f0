//! The codec against the vectors that all SDKs share.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../examples/conformance/values.rs"]
#[allow(dead_code)]
mod values;

use msb_sdk::cbor;
use protocol::frame::FrameDecoder;
use protocol::latest::Envelope;
use serde_json::Value;

fn vectors() -> Option<Value> {
    let text = std::fs::read_to_string(common::kit()?.join("vectors.json")).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

fn hex(vector: &Value) -> Vec<u8> {
    values::from_hex(vector["hex"].as_str().unwrap())
}

#[test]
fn cbor_is_encoded_and_decoded() {
    let Some(vectors) = vectors() else { return };
    for vector in vectors["cbor"].as_array().unwrap() {
        // Objects of JSON have lost the order of their keys, which decoded maps have kept.
        let value = match &vector["value"] {
            Value::Object(object) if !object.keys().any(|key| key.starts_with('$')) => {
                cbor::decode(&hex(vector)).unwrap()
            }
            value => values::decode(value),
        };
        let encoded = values::hex(&cbor::encode(&value).unwrap());
        assert_eq!(encoded, vector["hex"].as_str().unwrap(), "{}", vector["name"]);
    }
    for part in ["cbor", "cbor_decode_only"] {
        for vector in vectors[part].as_array().unwrap() {
            let decoded = values::encode(&cbor::decode(&hex(vector)).unwrap());
            assert_eq!(decoded, vector["value"], "{}", vector["name"]);
        }
    }
}

#[test]
fn invalid_cbor_is_refused() {
    let Some(vectors) = vectors() else { return };
    for vector in vectors["cbor_invalid"].as_array().unwrap() {
        match cbor::decode(&hex(vector)) {
            Err(error) => assert_eq!(error.code(), "protocol-error", "{}", vector["name"]),
            Ok(value) => panic!("{} is {value:?}", vector["name"]),
        }
    }
}

#[test]
fn frames_are_decoded() {
    let Some(vectors) = vectors() else { return };
    for (name, vector) in vectors["frames"].as_object().unwrap() {
        let mut decoder = FrameDecoder::new();
        for byte in hex(vector) {
            decoder.feed(&[byte]);
        }
        let frame = cbor::next_frame(&mut decoder).unwrap().unwrap();
        assert_eq!(
            (frame.id(), frame.flags().0),
            (vector["id"].as_u64().unwrap() as u32, vector["flags"].as_u64().unwrap() as u8)
        );
        let kind = cbor::decode_as::<Envelope>(frame.body()).ok().map(|envelope| envelope.t);
        assert_eq!(kind.as_deref(), vector["type"].as_str(), "{name}");
    }
    for vector in vectors["frames_invalid"].as_array().unwrap() {
        let mut decoder = FrameDecoder::new();
        decoder.feed(&hex(vector));
        assert_eq!(cbor::next_frame(&mut decoder).unwrap_err().code(), "invalid-frame");
    }
}

//! Steps of CBOR and frames.

use crate::values::{decode, encode, from_hex, hex};
use crate::{Answer, Failure, Step};
use msb_sdk::agent::FrameDecoder;
use msb_sdk::cbor;
use serde_json::{Value, json};

pub fn step(name: &str, step: &Step) -> Answer {
    match name {
        "cbor_encode" => Ok(json!({ "hex": hex(&cbor::encode(&decode(step.value("value")))?) })),
        "cbor_decode" => Ok(json!({ "value": encode(&cbor::decode(&from_hex(step.text("hex")))?) })),
        "frames_decode" => {
            let (mut decoder, mut frames) = (FrameDecoder::new(), Vec::<Value>::new());
            let chunk = step.number("chunk").unwrap_or(1).max(1) as usize;
            for part in from_hex(step.text("hex")).chunks(chunk) {
                decoder.feed(part);
                while let Some(frame) = cbor::next_frame(&mut decoder)? {
                    let body_len = frame.body().len();
                    frames.push(json!({ "id": frame.id(), "flags": frame.flags().0, "body_len": body_len }));
                }
            }
            Ok(json!({ "frames": frames }))
        }
        _ => Err(Failure::Skip(format!("there is no step {name}"))),
    }
}

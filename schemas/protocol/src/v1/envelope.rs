//! The body of a frame: a CBOR map `{v, t, p}`, where `p` is a byte string with the CBOR of the payload.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::PROTOCOL_VERSION;
use crate::frame::{Flags, Frame, FrameError, HEADER_BYTES, MAX_FRAME_LEN};

/// The deepest nesting of CBOR that is decoded. Valid messages need five levels.
const RECURSION_LIMIT: usize = 32;

/// An empty payload, for messages whose fields are all optional.
const EMPTY_MAP: &[u8] = &[0xa0];
const NULL: &[u8] = &[0xf6];

/// An error of one message. The link stays usable.
#[derive(Debug, Error)]
pub enum MessageError {
    /// The body is not an envelope.
    #[error("the envelope is not the CBOR map {{v, t, p}}")]
    Envelope {
        /// The cause.
        source: ciborium::de::Error<std::io::Error>,
    },
    /// The payload is not that of its type.
    #[error("the payload of '{message_type}' cannot be decoded")]
    Payload {
        /// The type of the message.
        message_type: String,
        /// The cause.
        source: ciborium::de::Error<std::io::Error>,
    },
    /// More bytes follow the CBOR.
    #[error("{count} bytes follow the CBOR of {of}")]
    TrailingBytes {
        /// The decoded part of the message.
        of: &'static str,
        /// The number of bytes.
        count: usize,
    },
    /// The message cannot be encoded.
    #[error("cannot be encoded as CBOR: {reason}")]
    Encode {
        /// The reason.
        reason: String,
    },
    /// The message is too large.
    #[error("does not fit into a frame")]
    Frame {
        /// The cause.
        #[from]
        source: FrameError,
    },
}

/// A message whose payload is not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The sender's generation.
    pub v: u8,
    /// The type of the message, such as `core.exec.request`. It may be unknown.
    pub t: String,
    /// The CBOR of the payload.
    #[serde(with = "serde_bytes")]
    pub p: Vec<u8>,
}

#[derive(Serialize)]
struct EnvelopeRef<'a> {
    v: u8,
    t: &'a str,
    #[serde(with = "serde_bytes")]
    p: &'a [u8],
}

impl Envelope {
    /// Decodes the body of a frame.
    ///
    /// # Errors
    ///
    /// If the body is not exactly one envelope.
    pub fn decode(frame: &Frame) -> Result<Self, MessageError> {
        decode_all(frame.body(), "the envelope", |source| MessageError::Envelope { source })
    }

    /// Encodes it as a frame.
    ///
    /// # Errors
    ///
    /// If it does not fit into a frame.
    pub fn encode(&self, id: u32, flags: Flags) -> Result<Frame, MessageError> {
        encode_envelope(self.v, &self.t, &self.p, id, flags)
    }

    pub(super) fn payload<T: DeserializeOwned>(&self) -> Result<T, MessageError> {
        // An empty payload may be no bytes, null, or the empty map that this implementation sends.
        let bytes = if self.p.is_empty() || self.p == NULL { EMPTY_MAP } else { self.p.as_slice() };
        let failed = |source| MessageError::Payload { message_type: self.t.clone(), source };
        decode_all(bytes, "the payload", failed)
    }
}

/// Decodes one value from all of the bytes. `of` names it in errors.
fn decode_all<T: DeserializeOwned>(
    mut bytes: &[u8],
    of: &'static str,
    failed: impl FnOnce(ciborium::de::Error<std::io::Error>) -> MessageError,
) -> Result<T, MessageError> {
    let value =
        ciborium::de::from_reader_with_recursion_limit(&mut bytes, RECURSION_LIMIT).map_err(failed)?;
    match bytes.len() {
        0 => Ok(value),
        count => Err(MessageError::TrailingBytes { of, count }),
    }
}

fn encode_envelope(v: u8, t: &str, p: &[u8], id: u32, flags: Flags) -> Result<Frame, MessageError> {
    let mut written = Ok(());
    let frame = Frame::build(id, flags, p.len() + t.len() + 24, |wire| {
        written = ciborium::into_writer(&EnvelopeRef { v, t, p }, wire);
    });
    written.map_err(|error| MessageError::Encode { reason: error.to_string() })?;
    Ok(frame?)
}

pub(super) fn encode_payload<T: Serialize>(
    message_type: &str,
    payload: &T,
    id: u32,
    flags: Flags,
) -> Result<Frame, MessageError> {
    let bytes = to_cbor(payload)?;
    encode_envelope(PROTOCOL_VERSION, message_type, &bytes, id, flags)
}

/// Appends the frame of a message whose payload is `{data}`. The bytes are those of the [`super::Message`], but the data
/// is copied once instead of five times: most of what an agent sends is output.
pub(super) fn append_data(
    message_type: &str,
    data: &[u8],
    id: u32,
    flags: Flags,
    out: &mut Vec<u8>,
) -> Result<(), MessageError> {
    const BYTES: u8 = 2;
    const TEXT: u8 = 3;
    const MAP: u8 = 5;
    let payload = 1 + 1 + "data".len() + head_bytes(data.len()) + data.len();
    let body =
        1 + 3 * 2 + 1 + head_bytes(message_type.len()) + message_type.len() + head_bytes(payload) + payload;
    let len = (HEADER_BYTES - 4 + body) as u64;
    let Some(prefix) = u32::try_from(len).ok().filter(|len| *len <= MAX_FRAME_LEN) else {
        return Err(FrameError::TooLong { len }.into());
    };
    out.reserve(4 + prefix as usize);
    out.extend_from_slice(&prefix.to_be_bytes());
    out.extend_from_slice(&id.to_be_bytes());
    out.push(flags.0);
    let text = |out: &mut Vec<u8>, text: &str| {
        head(out, TEXT, text.len());
        out.extend_from_slice(text.as_bytes());
    };
    head(out, MAP, 3);
    text(out, "v");
    head(out, 0, usize::from(PROTOCOL_VERSION));
    text(out, "t");
    text(out, message_type);
    text(out, "p");
    head(out, BYTES, payload);
    head(out, MAP, 1);
    text(out, "data");
    head(out, BYTES, data.len());
    out.extend_from_slice(data);
    Ok(())
}

/// Returns the length of the head of a CBOR item, in bytes.
fn head_bytes(argument: usize) -> usize {
    match argument {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        _ => 5,
    }
}

/// Appends the shortest head of a CBOR item: its major type and its argument, which a frame limits to four bytes.
fn head(out: &mut Vec<u8>, major: u8, argument: usize) {
    let major = major << 5;
    let bytes = (argument as u32).to_be_bytes();
    match head_bytes(argument) {
        1 => out.push(major | bytes[3]),
        2 => out.extend_from_slice(&[major | 24, bytes[3]]),
        3 => out.extend_from_slice(&[major | 25, bytes[2], bytes[3]]),
        _ => {
            out.push(major | 26);
            out.extend_from_slice(&bytes);
        }
    }
}

pub(super) fn to_cbor<T: Serialize>(value: &T) -> Result<Vec<u8>, MessageError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes)
        .map_err(|error| MessageError::Encode { reason: error.to_string() })?;
    Ok(bytes)
}

pub(super) fn from_cbor<T: DeserializeOwned>(of: &'static str, bytes: &[u8]) -> Result<T, MessageError> {
    decode_all(bytes, of, |source| MessageError::Payload { message_type: of.to_owned(), source })
}

//! SHA-256 digests of contents and of normalized data. They are equal on all machines and in all versions of msb.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A SHA-256 digest, written `sha256:<64 hex digits>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// A text that is not `sha256:` and 64 lower-case hex digits.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a digest of the form sha256:<64 hex digits>")]
pub struct InvalidDigest {
    /// The text.
    pub text: String,
}

impl Digest {
    /// The prefix of the algorithm, with the colon.
    pub const PREFIX: &'static str = "sha256:";

    /// Returns the digest of some bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::from_sha256(Sha256::digest(bytes).into())
    }

    /// Returns the digest of the JSON of a value, whose maps must be sorted.
    pub fn of_json(value: &impl Serialize) -> Self {
        let json = serde_json::to_vec(value).expect("plain data serializes");
        Self::of_bytes(&json)
    }

    /// Creates a digest from a finished SHA-256.
    pub fn from_sha256(bytes: [u8; 32]) -> Self {
        Self(format!("{}{}", Self::PREFIX, hex(&bytes)))
    }

    /// Returns the hex digits without the prefix, usable as a file name.
    pub fn hex(&self) -> &str {
        &self.0[Self::PREFIX.len()..]
    }

    /// Returns the first 12 hex digits, for people.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

/// Returns the lower-case hex digits of some bytes.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xF]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.strip_prefix(Self::PREFIX) {
            Some(digits) if digits.len() == 64 && digits.bytes().all(is_hex) => Ok(Self(text)),
            _ => Err(InvalidDigest { text }),
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_other_text() {
        let digest = Digest::of_bytes(b"");
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert_eq!(Digest::try_from(digest.to_string()).unwrap(), digest);
        for bad in ["", "sha256:", "md5:00", &digest.to_string().to_uppercase(), &format!("{digest}0")] {
            assert!(Digest::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}

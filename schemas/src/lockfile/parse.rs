//! Parses a lock file.

use super::{LOCK_FILE_BYTES_MAX, LOCK_FILE_NAME, LOCK_FILE_VERSION, LockFile, Platform};
use crate::digest::Digest;
use crate::excerpt::{excerpt, json_error};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

/// The most characters of a key that a message quotes.
const QUOTED_MAX: usize = 80;

/// The reason why a text is not a lock file.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// It exceeds [`LOCK_FILE_BYTES_MAX`].
    #[error("{LOCK_FILE_NAME} is larger than {} MiB", LOCK_FILE_BYTES_MAX >> 20)]
    TooLarge,
    /// It contains the conflict markers of a merge.
    #[error("{LOCK_FILE_NAME} contains conflict markers of a merge, first at line {line}")]
    Conflict {
        /// The line of the first marker, from 1.
        line: usize,
    },
    /// It has another version.
    #[error("{LOCK_FILE_NAME} has version {found}, this msb reads version {LOCK_FILE_VERSION}")]
    Version {
        /// Its version.
        found: u64,
    },
    /// It is not JSON, or not a lock file.
    #[error("{LOCK_FILE_NAME} cannot be read: {message}")]
    Form {
        /// The error, with its position.
        message: String,
    },
}

impl LockFileError {
    /// Returns a hint.
    pub fn help(&self) -> &'static str {
        match self {
            Self::TooLarge => "remove it, or restore it from version control; `msb lock` writes a new one",
            Self::Conflict { line: _ } => "keep one of both sides, then run `msb lock`",
            Self::Version { found } if *found > LOCK_FILE_VERSION => {
                "use the msb that wrote it, or a newer one"
            }
            Self::Version { found: _ } => "remove it; `msb lock` writes a new one",
            Self::Form { message: _ } => {
                "restore it from version control, or remove it; `msb lock` writes a new one"
            }
        }
    }
}

impl LockFile {
    /// Parses the text of a lock file. A longer file must be read beyond [`LOCK_FILE_BYTES_MAX`] to be recognized.
    ///
    /// # Errors
    ///
    /// If the text is too large, is not a lock file or has another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, LockFileError> {
        if bytes.len() > LOCK_FILE_BYTES_MAX {
            return Err(LockFileError::TooLarge);
        }
        let malformed = |error: serde_json::Error| match conflict_line(bytes) {
            Some(line) => LockFileError::Conflict { line },
            None => LockFileError::Form { message: json_error(&error) },
        };
        // The version comes first, as a newer one may have other fields.
        let Version { version: found } = serde_json::from_slice(bytes).map_err(malformed)?;
        if found != LOCK_FILE_VERSION {
            return Err(LockFileError::Version { found });
        }
        let Document { version: _, images } = serde_json::from_slice(bytes).map_err(malformed)?;
        let images = images.0.into_iter().map(|(reference, pins)| (reference, pins.0));
        Ok(Self { images: images.filter(|(_, pins)| !pins.is_empty()).collect() })
    }
}

/// Returns the first line with a conflict marker of a merge; `None` without one.
fn conflict_line(bytes: &[u8]) -> Option<usize> {
    let is_marker = |line: &[u8]| line.starts_with(b"<<<<<<< ") || line.starts_with(b">>>>>>> ");
    bytes.split(|byte| *byte == b'\n').position(is_marker).map(|index| index + 1)
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[expect(dead_code, reason = "it is checked before")]
    version: u64,
    images: Unique<String, Unique<Platform, Digest>>,
}

/// A map without duplicate keys, which JSON readers treat differently.
struct Unique<K, V>(BTreeMap<K, V>);

impl<'de, K, V> Deserialize<'de> for Unique<K, V>
where
    K: Deserialize<'de> + Serialize + Ord,
    V: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UniqueVisitor<K, V>(PhantomData<(K, V)>);

        impl<'de, K, V> Visitor<'de> for UniqueVisitor<K, V>
        where
            K: Deserialize<'de> + Serialize + Ord,
            V: Deserialize<'de>,
        {
            type Value = Unique<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut map = BTreeMap::new();
                while let Some(key) = access.next_key::<K>()? {
                    match map.entry(key) {
                        Entry::Vacant(entry) => {
                            entry.insert(access.next_value()?);
                        }
                        Entry::Occupied(entry) => {
                            let key = quoted(entry.key());
                            return Err(A::Error::custom(format!("duplicate key {key}")));
                        }
                    }
                }
                Ok(Unique(map))
            }
        }

        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

/// Returns a key as JSON, shortened.
fn quoted(key: &impl Serialize) -> String {
    excerpt(&serde_json::to_string(key).unwrap_or_default(), QUOTED_MAX).into_owned()
}

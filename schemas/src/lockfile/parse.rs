//! Reading a lock file: bounded, strict, and with errors that say what to do.

use super::{LOCK_FILE_BYTES_MAX, LOCK_FILE_NAME, LOCK_FILE_VERSION, LockFile, Platform};
use crate::digest::Digest;
use crate::excerpt::{excerpt, json_error};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

/// How many characters of a key are quoted.
const QUOTED_MAX: usize = 80;

/// Why a text is no lock file.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// It is larger than any lock file needs to be.
    #[error("{LOCK_FILE_NAME} is larger than the {} MiB that it may have", LOCK_FILE_BYTES_MAX >> 20)]
    TooLarge,
    /// A merge was left undone.
    #[error("{LOCK_FILE_NAME} holds the conflict markers of a merge, at line {line}")]
    Conflict {
        /// The first marker's line.
        line: usize,
    },
    /// A newer msb wrote it.
    #[error("{LOCK_FILE_NAME} is of version {found}, this msb knows version {LOCK_FILE_VERSION}")]
    Version {
        /// Its version.
        found: u64,
    },
    /// It is not what this version writes.
    #[error("{LOCK_FILE_NAME} cannot be read: {message}")]
    Form {
        /// What is wrong, and where.
        message: String,
    },
}

impl LockFileError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::TooLarge => "remove it, or take it back from version control; `msb lock` writes it anew",
            Self::Conflict { line: _ } => "take either side whole, then run `msb lock`",
            Self::Version { found } if *found > LOCK_FILE_VERSION => {
                "use the msb that wrote it, or a newer one"
            }
            Self::Version { found: _ } => "remove it; `msb lock` writes it anew",
            Self::Form { message: _ } => {
                "take it back from version control, or remove it; `msb lock` writes it anew"
            }
        }
    }
}

impl LockFile {
    /// Reads a lock file. Give it a little more than [`LOCK_FILE_BYTES_MAX`] of what is longer.
    pub fn parse(bytes: &[u8]) -> Result<Self, LockFileError> {
        if bytes.len() > LOCK_FILE_BYTES_MAX {
            return Err(LockFileError::TooLarge);
        }
        let read = || -> Result<Result<Self, u64>, serde_json::Error> {
            // First the version alone: what a newer one holds beside it is not known here.
            let Version { version } = serde_json::from_slice(bytes)?;
            if version != LOCK_FILE_VERSION {
                return Ok(Err(version));
            }
            let Document { version: _, images } = serde_json::from_slice(bytes)?;
            let images = images.0.into_iter().map(|(reference, pins)| (reference, pins.0));
            Ok(Ok(Self { images: images.filter(|(_, pins)| !pins.is_empty()).collect() }))
        };
        match read() {
            Ok(Ok(lock_file)) => Ok(lock_file),
            Ok(Err(found)) => Err(LockFileError::Version { found }),
            Err(error) => Err(match conflict_line(bytes) {
                Some(line) => LockFileError::Conflict { line },
                None => LockFileError::Form { message: json_error(&error) },
            }),
        }
    }
}

/// The first line with a conflict marker of a merge.
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
    #[expect(dead_code, reason = "it has been looked at before")]
    version: u64,
    images: Unique<String, Unique<Platform, Digest>>,
}

/// A map in which no key is given twice. What JSON readers do with such a text differs from one to the next.
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
                            return Err(A::Error::custom(format!("{key} is given twice")));
                        }
                    }
                }
                Ok(Unique(map))
            }
        }

        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

/// A key as it is written, cut where it is long.
fn quoted(key: &impl Serialize) -> String {
    excerpt(&serde_json::to_string(key).unwrap_or_default(), QUOTED_MAX).into_owned()
}

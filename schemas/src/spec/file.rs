//! Files that are written into a sandbox at each start.

use super::defaults;
use crate::digest::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A file; its path in the sandbox is its key in the map.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestFile {
    /// The absolute path on the host that the contents were read from; `None` if the Sandboxfile contains them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The contents.
    pub contents: Contents,
    /// The permission bits.
    pub mode: u32,
    /// The user who owns it.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl fmt::Display for GuestFile {
    /// Writes the digest and the properties other than the defaults, as `sha256:e3b0c44298fc, mode 0600`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from: _, contents, mode, uid, gid } = self;
        write!(f, "{}{}", Digest::PREFIX, contents.digest.short())?;
        if *mode != defaults::FILE_MODE {
            write!(f, ", mode {mode:04o}")?;
        }
        for (id, word) in [(uid, "uid"), (gid, "gid")] {
            if *id != 0 {
                write!(f, ", {word} {id}")?;
            }
        }
        Ok(())
    }
}

/// The contents of a file, with their digest. Copies share the bytes.
#[derive(Clone, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(try_from = "Encoded", into = "Encoded")]
pub struct Contents {
    digest: Digest,
    bytes: Arc<[u8]>,
}

impl Contents {
    /// Computes the digest of some bytes.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { digest: Digest::of_bytes(&bytes), bytes }
    }

    /// Returns the digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Contents {
    /// Writes the digest alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.digest)
    }
}

/// Contents in JSON.
#[derive(schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    digest: Digest,
    base64: String,
}

/// The reason why a record is not the contents of a file.
#[derive(Debug, thiserror::Error)]
enum InvalidContents {
    #[error("the contents of a file are not base64")]
    Encoding(#[from] base64::DecodeError),
    #[error("the contents of a file do not have the digest {expected}")]
    Digest { expected: Digest },
}

impl TryFrom<Encoded> for Contents {
    type Error = InvalidContents;

    fn try_from(Encoded { digest, base64 }: Encoded) -> Result<Self, InvalidContents> {
        let contents = Self::new(STANDARD.decode(base64)?);
        if contents.digest == digest {
            Ok(contents)
        } else {
            Err(InvalidContents::Digest { expected: digest })
        }
    }
}

impl From<Contents> for Encoded {
    fn from(contents: Contents) -> Self {
        Self { base64: STANDARD.encode(&contents.bytes), digest: contents.digest }
    }
}

/// A file of the host with variables of the environment.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvFile {
    /// The absolute path.
    pub path: String,
    /// Whether the file must exist.
    pub required: bool,
}

impl std::fmt::Display for EnvFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{ChangeKind, FieldChange};
    use crate::spec::{Definition, ImageReference, PinnedImage, diff};

    fn file(contents: &[u8]) -> GuestFile {
        GuestFile {
            from: Some("/p/app.conf".to_owned()),
            contents: Contents::new(contents),
            mode: defaults::FILE_MODE,
            uid: 0,
            gid: 0,
        }
    }

    fn changes(old: Option<GuestFile>, new: Option<GuestFile>) -> Vec<FieldChange> {
        let definition = |file: Option<GuestFile>| Definition {
            files: file.into_iter().map(|file| ("/etc/app.conf".to_owned(), file)).collect(),
            ..Definition::default()
        };
        let image = PinnedImage {
            reference: ImageReference::Local { path: "/p/image".to_owned() },
            digest: Digest::of_bytes(b"image"),
        };
        diff::changes((&image, &definition(old)), (&image, &definition(new)))
    }

    #[test]
    fn any_bytes_round_trip_and_changed_ones_are_refused() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let json = serde_json::to_string(&file(&all)).unwrap();
        let read: GuestFile = serde_json::from_str(&json).unwrap();
        assert_eq!(read, file(&all));
        assert_eq!(read.contents.bytes(), all);
        let digest = Contents::new(all).digest().to_string();
        for (broken, message) in [
            (json.replace("AAEC", "AAED"), format!("do not have the digest {digest}")),
            (json.replace("AAEC", "A!EC"), "are not base64".to_owned()),
        ] {
            let error = serde_json::from_str::<GuestFile>(&broken).unwrap_err().to_string();
            assert!(error.contains(&message), "{error}");
        }
    }

    #[test]
    fn a_definition_without_files_is_recorded_as_before() {
        assert!(serde_json::to_value(Definition::default()).unwrap().get("files").is_none());
    }

    #[test]
    fn changes_are_told_by_digest_and_never_by_contents() {
        let (old, new) = (file(b"colour = blue\n"), file(b"colour = red\n"));
        let digest = |file: &GuestFile| format!("sha256:{}", file.contents.digest().short());
        let expected = |field: &str, old: Option<String>, new: Option<String>, kind| {
            vec![FieldChange { field: field.to_owned(), old, new, kind }]
        };
        let (before, after) = (Some(digest(&old)), Some(digest(&new)));
        let path = "file./etc/app.conf";
        assert_eq!(
            changes(Some(old.clone()), Some(new.clone())),
            expected(path, before.clone(), after, ChangeKind::Restart)
        );
        assert_eq!(
            changes(Some(old.clone()), None),
            expected(path, before.clone(), None, ChangeKind::Restart)
        );
        let private = GuestFile { mode: 0o600, uid: 33, gid: 7, ..old.clone() };
        let after = Some(format!("{}, mode 0600, uid 33, gid 7", digest(&old)));
        assert_eq!(
            changes(Some(old.clone()), Some(private)),
            expected(path, before, after, ChangeKind::Restart)
        );
        // The same contents from elsewhere change nothing in the sandbox.
        let moved = GuestFile { from: None, ..old.clone() };
        assert_eq!(
            changes(Some(old), Some(moved)),
            expected("file./etc/app.conf.from", Some("/p/app.conf".to_owned()), None, ChangeKind::None)
        );
    }
}

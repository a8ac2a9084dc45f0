//! Names of projects, sandboxes and volumes, and ids that are derived from them.

use crate::digest::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The longest name, in bytes: that of a label of a host name, which it becomes in the guest.
pub const NAME_BYTES_MAX: usize = 63;

/// The reason why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The text is empty.
    #[error("a name cannot be empty")]
    Empty,
    /// The text is longer than [`NAME_BYTES_MAX`].
    #[error("a name has at most {NAME_BYTES_MAX} characters, this one has {length}")]
    TooLong {
        /// Its length, in characters.
        length: usize,
    },
    /// The first character is not a lower-case letter or a digit.
    #[error("a name starts with a lower-case letter or a digit, not with {found:?}")]
    BadStart {
        /// The first character.
        found: char,
    },
    /// A character is not a lower-case letter, a digit, `-` or `_`.
    #[error("a name contains only a-z, 0-9, '-' and '_', not {found:?}")]
    BadCharacter {
        /// The first such character.
        found: char,
    },
}

/// Checks a text against `[a-z0-9][a-z0-9_-]*` and [`NAME_BYTES_MAX`].
///
/// # Errors
///
/// If the text is not a name.
pub fn check_name(text: &str) -> Result<(), InvalidName> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let first = text.chars().next().ok_or(InvalidName::Empty)?;
    if !plain(first) {
        return Err(InvalidName::BadStart { found: first });
    }
    if let Some(found) = text.chars().find(|&c| !plain(c) && c != '-' && c != '_') {
        return Err(InvalidName::BadCharacter { found });
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(InvalidName::TooLong { length: text.len() });
    }
    Ok(())
}

/// Returns a valid name that resembles a text, such as the name of a folder; `None` without one.
pub fn suggest_name(text: &str) -> Option<String> {
    let lowered: String = text
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '-' })
        .collect();
    let trimmed: String =
        lowered.trim_matches(|c| c == '-' || c == '_').chars().take(NAME_BYTES_MAX).collect();
    check_name(&trimmed).is_ok().then_some(trimmed)
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident: $recorded:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, schemars::JsonSchema, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Creates a name.
            ///
            /// # Errors
            ///
            /// If the text is not a name.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let text = text.into();
                check_name(&text)?;
                Ok(Self(text))
            }

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// Parses the name in a record.
        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                $recorded(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name_type! {
    /// The name of a project, such as `shop`, `@web` for the project of the sandbox `web` that flags declare, or `@` for
    /// volumes that belong to none.
    ProjectName: ProjectName::recorded
}
name_type! {
    /// The name of a sandbox in its project, such as `web`.
    SandboxName: SandboxName::new
}
name_type! {
    /// The name of a volume in its project, such as `pgdata`.
    VolumeName: VolumeName::new
}
name_type! {
    /// The name of a snapshot of a disk on this host, such as `web-seeded`.
    SnapshotName: SnapshotName::new
}

/// The prefix of the project of a single sandbox, and the project of volumes alone. No other name can begin with it.
const ALONE: char = '@';

impl ProjectName {
    /// Returns the project of the volumes that belong to none. It has no sandboxes.
    pub fn none() -> Self {
        Self(ALONE.to_string())
    }

    /// Returns whether it is the project of the volumes that belong to none.
    pub fn is_none(&self) -> bool {
        *self == Self::none()
    }

    /// Returns the project of a sandbox that flags declare. It has this sandbox only, whose full name is its own.
    pub fn of_one(sandbox: &SandboxName) -> Self {
        Self(format!("{ALONE}{sandbox}"))
    }

    /// Returns whether it is the project of a sandbox that flags declare.
    pub fn is_of_one(&self) -> bool {
        self.0.starts_with(ALONE) && !self.is_none()
    }

    /// Parses a recorded name, which may be one that a Sandboxfile cannot contain.
    fn recorded(text: String) -> Result<Self, InvalidName> {
        match text.strip_prefix(ALONE) {
            Some("") => Ok(Self::none()),
            Some(sandbox) => SandboxName::new(sandbox).map(|name| Self::of_one(&name)),
            None => Self::new(text),
        }
    }
}

/// The id of one instance of a sandbox, as 24 hex digits. It is derived from project, name and generation, so that another
/// plan finds an incomplete instance again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SandboxId(String);

rules::serde_as_text!(SandboxId);

impl SandboxId {
    /// Returns the id of a generation of a project's sandbox: the first 12 bytes of a SHA-256 in hex.
    pub fn derive(project: &ProjectName, sandbox: &SandboxName, generation: u32) -> Self {
        let text = format!("{project}/{sandbox}/{generation}");
        Self(hex(&Sha256::digest(text.as_bytes())[..12]))
    }

    /// Returns the id as text, usable as a file name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for SandboxId {
    type Err = InvalidSandboxId;

    fn from_str(text: &str) -> Result<Self, InvalidSandboxId> {
        let valid = text.len() == 24
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidSandboxId { text: text.to_owned() }) }
    }
}

/// A text that is not 24 lower-case hex digits.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a sandbox id (24 hex digits)")]
pub struct InvalidSandboxId {
    /// The text.
    pub text: String,
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the name of a sandbox on this machine: `<project>-<name>`, or its own if flags declare it.
pub fn full_name(project: &ProjectName, sandbox: &SandboxName) -> String {
    if project.is_of_one() { sandbox.to_string() } else { format!("{project}-{sandbox}") }
}

/// Returns the name of a volume on this machine: `<project>-<name>`, or its own if it belongs to no project.
pub fn full_volume_name(project: &ProjectName, volume: &VolumeName) -> String {
    if project.is_none() { volume.to_string() } else { format!("{project}-{volume}") }
}

/// Returns the name of the folder with a sandbox's sockets: the first 12 bytes of the SHA-256 of its full name, in hex.
/// It is short, as the path of a socket has at most 108 bytes.
pub fn run_folder_name(full_name: &str) -> String {
    hex(&Sha256::digest(full_name.as_bytes())[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "web", "0", "a-b_c9", &"x".repeat(63)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        assert_eq!(check_name(""), Err(InvalidName::Empty));
        assert_eq!(check_name("../x"), Err(InvalidName::BadStart { found: '.' }));
        assert_eq!(check_name("-rm"), Err(InvalidName::BadStart { found: '-' }));
        assert_eq!(check_name("Web"), Err(InvalidName::BadStart { found: 'W' }));
        assert_eq!(check_name("we b"), Err(InvalidName::BadCharacter { found: ' ' }));
        assert_eq!(check_name("w🦀"), Err(InvalidName::BadCharacter { found: '🦀' }));
        assert_eq!(check_name(&"x".repeat(64)), Err(InvalidName::TooLong { length: 64 }));
    }

    #[test]
    fn suggestions_are_valid() {
        assert_eq!(suggest_name("My App").as_deref(), Some("my-app"));
        assert_eq!(suggest_name("../x").as_deref(), Some("x"));
        assert_eq!(suggest_name("🦀"), None);
    }

    #[test]
    fn a_sandbox_declared_by_flags_keeps_its_name() {
        let web = SandboxName::new("web").unwrap();
        let alone = ProjectName::of_one(&web);
        assert_eq!(full_name(&alone, &web), "web");
        assert_eq!(full_name(&ProjectName::new("shop").unwrap(), &web), "shop-web");
        assert!(ProjectName::new(alone.as_str()).is_err(), "a Sandboxfile cannot contain it");
        assert_eq!(ProjectName::try_from(alone.to_string()), Ok(alone));
        for bad in ["@@web", "@../x"] {
            assert!(ProjectName::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes_of_no_project_have_their_own_names() {
        let (none, data) = (ProjectName::none(), VolumeName::new("data").unwrap());
        assert!(none.is_none() && !none.is_of_one());
        assert_eq!(full_volume_name(&none, &data), "data");
        assert_eq!(full_volume_name(&ProjectName::new("shop").unwrap(), &data), "shop-data");
        assert_eq!(ProjectName::try_from(none.to_string()), Ok(none));
    }

    #[test]
    fn ids_differ_by_each_part() {
        let id = |project: &str, sandbox: &str, generation| {
            SandboxId::derive(
                &ProjectName::new(project).unwrap(),
                &SandboxName::new(sandbox).unwrap(),
                generation,
            )
        };
        let base = id("a", "b", 1);
        assert_eq!(base, id("a", "b", 1));
        assert!(base != id("a", "c", 1) && base != id("c", "b", 1) && base != id("a", "b", 2));
        assert_eq!(base.as_str().parse::<SandboxId>().unwrap(), base);
        assert_eq!(serde_json::to_value(&base).unwrap(), base.as_str());
        assert!(
            serde_json::from_str::<SandboxId>("\"../../0123456789abcdef\"").is_err(),
            "it becomes a file name"
        );
    }
}

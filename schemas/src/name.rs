//! Names of projects and sandboxes, and the ids derived from them.

use crate::digest::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The longest name of a project or a sandbox, in bytes: it becomes a host name inside the guest.
pub const NAME_MAX_BYTES: usize = 63;

/// Why a text cannot be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing was given.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than [`NAME_MAX_BYTES`].
    #[error("a name has at most {NAME_MAX_BYTES} characters, this one has {length}")]
    TooLong {
        /// Its length in characters.
        length: usize,
    },
    /// It starts with something other than a lower-case letter or a digit.
    #[error("a name starts with a lower-case letter or a digit, not with {found:?}")]
    BadStart {
        /// The first character.
        found: char,
    },
    /// It holds something other than lower-case letters, digits, `-` and `_`.
    #[error("a name holds only a-z, 0-9, '-' and '_', not {found:?}")]
    BadCharacter {
        /// The first character that does not belong.
        found: char,
    },
}

/// Checks a text against `[a-z0-9][a-z0-9_-]*` and [`NAME_MAX_BYTES`].
pub fn check_name(text: &str) -> Result<(), InvalidName> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let first = text.chars().next().ok_or(InvalidName::Empty)?;
    if !plain(first) {
        return Err(InvalidName::BadStart { found: first });
    }
    if let Some(found) = text.chars().find(|&c| !plain(c) && c != '-' && c != '_') {
        return Err(InvalidName::BadCharacter { found });
    }
    if text.len() > NAME_MAX_BYTES {
        return Err(InvalidName::TooLong { length: text.len() });
    }
    Ok(())
}

/// The nearest valid name to a text, for suggestions and for a folder's name; `None` when nothing is left.
pub fn suggest_name(text: &str) -> Option<String> {
    let lowered: String = text
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '-' })
        .collect();
    let trimmed: String =
        lowered.trim_matches(|c| c == '-' || c == '_').chars().take(NAME_MAX_BYTES).collect();
    check_name(&trimmed).is_ok().then_some(trimmed)
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes a text that is a valid name.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let text = text.into();
                check_name(&text)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
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
    /// A project's name, as a person gives it; or `@web`, the project of the sandbox `web` that was made by flags.
    ProjectName
}
name_type! {
    /// A sandbox's name inside its project, such as `web`.
    SandboxName
}
name_type! {
    /// A volume's name inside its project, such as `pgdata`.
    VolumeName
}

/// In front of the name of a sandbox that is a project by itself. No name that a person gives begins with it.
const ALONE: char = '@';

impl ProjectName {
    /// The project of a sandbox that was made by flags: it has that one sandbox, whose full name is its own.
    pub fn of_one(sandbox: &SandboxName) -> Self {
        Self(format!("{ALONE}{sandbox}"))
    }

    /// Whether it is the project of a sandbox that was made by flags.
    pub fn is_of_one(&self) -> bool {
        self.0.starts_with(ALONE)
    }
}

/// As it is recorded: what a person cannot give is valid too.
impl TryFrom<String> for ProjectName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        match text.strip_prefix(ALONE) {
            Some(sandbox) => SandboxName::new(sandbox).map(|name| Self::of_one(&name)),
            None => Self::new(text),
        }
    }
}

impl TryFrom<String> for SandboxName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl TryFrom<String> for VolumeName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

/// The id of one instance of a sandbox: a function of project, name and generation, so that a
/// half-made one is found again by whoever plans the same thing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SandboxId(String);

impl SandboxId {
    /// The id of this generation of a project's sandbox: 12 bytes of SHA-256 in hex.
    pub fn derive(project: &ProjectName, sandbox: &SandboxName, generation: u32) -> Self {
        let text = format!("{project}/{sandbox}/{generation}");
        Self(hex(&Sha256::digest(text.as_bytes())[..12]))
    }

    /// The id as text, usable as a file name.
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
    /// What was given.
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

/// The name a sandbox has on the whole machine: `<project>-<name>`; its own where it was made by flags.
pub fn full_name(project: &ProjectName, sandbox: &SandboxName) -> String {
    if project.is_of_one() { sandbox.to_string() } else { format!("{project}-{sandbox}") }
}

/// The name a volume has on the whole machine: `<project>-<name>`.
pub fn full_volume_name(project: &ProjectName, volume: &VolumeName) -> String {
    format!("{project}-{volume}")
}

/// The name of the folder that holds a sandbox's sockets: the first 12 bytes of SHA-256 of its full
/// name, in hex. Short, because a socket's path holds 108 bytes.
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
    fn a_sandbox_made_by_flags_has_the_name_it_was_given() {
        let web = SandboxName::new("web").unwrap();
        let alone = ProjectName::of_one(&web);
        assert_eq!(full_name(&alone, &web), "web");
        assert_eq!(full_name(&ProjectName::new("shop").unwrap(), &web), "shop-web");
        assert!(ProjectName::new(alone.as_str()).is_err(), "nobody gives a project such a name");
        assert_eq!(ProjectName::try_from(alone.to_string()), Ok(alone));
        for bad in ["@", "@@web", "@../x"] {
            assert!(ProjectName::try_from(bad.to_owned()).is_err(), "{bad}");
        }
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
    }
}

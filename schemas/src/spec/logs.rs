//! What is written down of what a sandbox prints, and how much of it is kept.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The logs of one sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Whether what its processes print is written down at all.
    pub capture: Capture,
    /// A log file that has grown to this size is followed by a new one, in bytes; without it the user's settings say.
    pub max_size_bytes: Option<u64>,
    /// So many files of each log are kept beside the newest; without it the user's settings say.
    pub keep: Option<u32>,
}

impl Logs {
    /// Returns whether all values are defaults. Defaults are not serialized, so that specs recorded before this field
    /// existed compare equal.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether what the processes of a sandbox print is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capture {
    /// It is.
    #[default]
    On,
    /// It is passed on to whoever listens at the time, and to no file.
    Off,
}

impl Capture {
    /// All of them, in the order in which messages list them.
    pub const ALL: &[Self] = &[Self::On, Self::Off];

    /// The word that stands for it in a Sandboxfile.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

//! Directories in memory.

use rules::unit::format_size_mib;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A directory in the sandbox's memory that is empty at each start; its path in the sandbox is its key in the map.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// The most that it can contain, in MiB; `None` for half of the sandbox's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_mib: Option<u32>,
    /// Its mode.
    pub mode: u32,
    /// Its owner; `None` for root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its group; `None` for root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Whether nothing can be written to it.
    pub readonly: bool,
    /// Whether programs on it cannot be executed.
    pub noexec: bool,
    /// Whether set-user-id bits on it have no effect.
    pub nosuid: bool,
    /// Whether device nodes on it have no effect.
    pub nodev: bool,
}

impl Tmpfs {
    /// The mode without one of its own: anyone can create files, and only remove their own.
    pub const MODE: u32 = 0o1777;
}

impl Default for Tmpfs {
    fn default() -> Self {
        Self {
            size_mib: None,
            mode: Self::MODE,
            uid: None,
            gid: None,
            readonly: false,
            noexec: false,
            nosuid: false,
            nodev: false,
        }
    }
}

impl fmt::Display for Tmpfs {
    /// Writes the options other than the defaults, as `in memory, size 64M, mode 755`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size_mib, mode, uid, gid, readonly, noexec, nosuid, nodev } = self;
        f.write_str("in memory")?;
        if let Some(mib) = size_mib {
            write!(f, ", size {}", format_size_mib((*mib).into()))?;
        }
        if *mode != Self::MODE {
            write!(f, ", mode {mode:o}")?;
        }
        for (id, word) in [(uid, "uid"), (gid, "gid")] {
            if let Some(id) = id {
                write!(f, ", {word} {id}")?;
            }
        }
        for (is_set, word) in
            [(readonly, "readonly"), (noexec, "noexec"), (nosuid, "nosuid"), (nodev, "nodev")]
        {
            if *is_set {
                write!(f, ", {word}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_described_unless_they_are_defaults() {
        assert_eq!(Tmpfs::default().to_string(), "in memory");
        let tmpfs = Tmpfs {
            size_mib: Some(64),
            mode: 0o755,
            uid: Some(7),
            gid: Some(8),
            readonly: true,
            noexec: true,
            nosuid: true,
            nodev: true,
        };
        assert_eq!(
            tmpfs.to_string(),
            "in memory, size 64M, mode 755, uid 7, gid 8, readonly, noexec, nosuid, nodev"
        );
    }
}

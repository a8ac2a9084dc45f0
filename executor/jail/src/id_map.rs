//! The ids of a user namespace.

use crate::namespaces::Users;
use rustix::process::{getgid, getuid};
use rustix::thread::{CapabilitySet, capabilities};
use std::fs;
use std::io;
use std::process::{Command, Stdio};

/// The least number of subordinate ids: the largest id that distributions use is 65,534, of `nobody`.
const IDS_MIN: u32 = 65_534;

/// A failure to map the ids of a user namespace.
#[derive(Debug, thiserror::Error)]
pub enum IdMapError {
    /// This user has no subordinate ids, or the programs that map them are not installed.
    #[error("this user has no subordinate ids, or there is no newuidmap")]
    SubordinateIds {
        /// The cause.
        source: io::Error,
    },
    /// The programs that map them have failed.
    #[error("newuidmap and newgidmap cannot map this user's subordinate ids")]
    Programs,
    /// The kernel refused the map.
    #[error("the kernel refused to map ids")]
    Write {
        /// The cause.
        source: io::Error,
    },
}

/// A map of the ids of a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdMap {
    /// This user is root, and there are no others.
    Own,
    /// This user is root, and the others are subordinate ids. Only privileged programs may write such a map, which gives
    /// no privileges outside.
    Subordinate { users: IdRange, groups: IdRange },
}

/// A range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdRange {
    first: u32,
    count: u32,
}

impl IdMap {
    /// Returns the map with these users, for this user; `None` if they need no user namespace.
    pub fn of(users: Users) -> Result<Option<Self>, IdMapError> {
        let may = |capability| capabilities(None).is_ok_and(|sets| sets.effective.contains(capability));
        match users {
            Users::Own => Ok(Some(Self::Own)),
            // In a user namespace even root cannot create the device nodes of a guest.
            Users::Guest if may(CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::MKNOD) => {
                Ok(None)
            }
            Users::Guest => {
                let uid = getuid().as_raw();
                let name = user_name(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid);
                let range = |file| {
                    let text = fs::read_to_string(file).unwrap_or_default();
                    let missing = || IdMapError::SubordinateIds { source: io::ErrorKind::NotFound.into() };
                    subordinate_ids(&text, name.as_deref(), uid).ok_or_else(missing)
                };
                let (users, groups) = (range("/etc/subuid")?, range("/etc/subgid")?);
                Ok(Some(Self::Subordinate { users, groups }))
            }
        }
    }

    /// Writes it for a process in a new user namespace.
    pub fn write(self, pid: i32) -> Result<(), IdMapError> {
        let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
        let write = |file: &str, text: &str| {
            fs::write(format!("/proc/{pid}/{file}"), text).map_err(|source| IdMapError::Write { source })
        };
        match self {
            Self::Own => {
                // An ordinary user must give this up before the map of groups.
                write("setgroups", "deny")?;
                write("uid_map", &format!("0 {uid} 1\n"))?;
                write("gid_map", &format!("0 {gid} 1\n"))
            }
            Self::Subordinate { users, groups } => {
                map_by("newuidmap", pid, uid, users)?;
                map_by("newgidmap", pid, gid, groups)
            }
        }
    }
}

/// Maps ids with one of the privileged programs.
fn map_by(program: &str, pid: i32, id: u32, range: IdRange) -> Result<(), IdMapError> {
    let IdRange { first, count } = range;
    let ids = [pid.to_string(), "0".to_owned(), id.to_string(), "1".to_owned()];
    let others = ["1".to_owned(), first.to_string(), count.to_string()];
    let mut command = Command::new(program);
    command.args(ids).args(others).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        // They fail if they have lost their set-user-id bit or their capabilities, as copies do.
        Ok(_) => Err(IdMapError::Programs),
        Err(source) => Err(IdMapError::SubordinateIds { source }),
    }
}

/// Finds a user's name in an `/etc/passwd`.
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Finds a user's first sufficient range in an `/etc/subuid` or `/etc/subgid`, which name owners or have their numbers.
fn subordinate_ids(text: &str, name: Option<&str>, uid: u32) -> Option<IdRange> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        let range = IdRange { first: first.parse().ok()?, count: count.trim().parse().ok()? };
        let is_ours = Some(owner) == name || owner.parse() == Ok(uid);
        (is_ours && range.count >= IDS_MIN).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let range = |first, count| Some(IdRange { first, count });
        let text = "other:100000:65536\nwe:1:10\nwe:200000:65536\n1000:300000:65534\nbroken\n::\n";
        assert_eq!(subordinate_ids(text, Some("we"), 7), range(200_000, 65_536));
        assert_eq!(subordinate_ids(text, None, 1000), range(300_000, 65_534));
        assert_eq!(subordinate_ids(text, Some("nobody"), 7), None);
        assert_eq!(subordinate_ids("", None, 0), None);
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nwe:x:1000:1000::/home/we:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("we"));
        assert_eq!(user_name(passwd, 1), None);
    }
}

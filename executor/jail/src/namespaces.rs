//! The namespaces of a child, and the users in them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// A kind of namespace.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, schemars::JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// Users and capabilities: a child with all capabilities in its own has none outside.
    User,
    /// Mounts.
    Mount,
    /// Processes: all others in it end with its first one.
    Pid,
    /// Network devices, addresses and abstract sockets.
    Net,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// The host name.
    Uts,
}

impl Namespace {
    /// All kinds.
    pub const ALL: [Self; 6] = [Self::User, Self::Mount, Self::Pid, Self::Net, Self::Ipc, Self::Uts];

    /// Returns the name, as in `/proc/self/ns`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mnt",
            Self::Pid => "pid",
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
        }
    }

    /// Returns the flag of clone(2).
    pub(crate) const fn flag(self) -> u64 {
        let flag = match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Net => libc::CLONE_NEWNET,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
        };
        flag as u64
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The users that exist in a child's user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// The user of the launcher, as root.
    Own,
    /// Root, and all other users that a guest may have. For a privileged launcher these are the host's.
    Guest,
}

/// The namespaces that a child should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// All kinds, with these users. Where user namespaces are not allowed, all others if the launcher is privileged.
    All(Users),
    /// All but a user namespace and a mount namespace, if the launcher is privileged: the child works with the host's
    /// users and files.
    HostFiles,
}

impl Wish {
    /// Returns the sets to try, best first; the last one is empty. `users` says whether there are users for a namespace.
    pub(crate) fn attempts(self, users: bool) -> Vec<Vec<Namespace>> {
        let without = |left_out: &[Namespace]| {
            Namespace::ALL.into_iter().filter(|kind| !left_out.contains(kind)).collect::<Vec<_>>()
        };
        match self {
            Self::All(_) if users => vec![without(&[]), without(&[Namespace::User]), Vec::new()],
            Self::All(_) => vec![without(&[Namespace::User]), Vec::new()],
            Self::HostFiles => vec![without(&[Namespace::User, Namespace::Mount]), Vec::new()],
        }
    }
}

/// The namespaces that a child has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Obtained {
    /// Their kinds.
    pub kinds: Vec<Namespace>,
    /// The kernel's error number for more of them; `None` if the child has what it should have.
    pub refused: Option<i32>,
}

impl Obtained {
    /// Whether it has one of its own of this kind.
    pub fn has(&self, kind: Namespace) -> bool {
        self.kinds.contains(&kind)
    }
}

/// Whether an error of clone(2) says that these namespaces are not available here.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    // A filter of system calls, a limit, a kernel without a kind, or a kernel before 5.3.
    matches!(
        error.raw_os_error(),
        Some(libc::EPERM | libc::EACCES | libc::ENOSPC | libc::EUSERS | libc::EINVAL | libc::ENOSYS)
    )
}

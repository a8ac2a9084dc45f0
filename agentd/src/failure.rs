//! Why a command did not start, as protocol messages.

use crate::candidate::Candidate;
use protocol::latest::{ExecFailed, FailureKind};

/// The steps between the request and the running command, in order. The number travels from the child to its parent, so
/// it is never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    Session = 1,
    Terminal,
    ResourceLimits,
    Groups,
    Gid,
    Uid,
    WorkingDirectory,
    Execute,
}

impl Stage {
    /// All stages in order, with their system calls.
    const ALL: [(Self, &str); 8] = [
        (Self::Session, "setsid"),
        (Self::Terminal, "tiocsctty"),
        (Self::ResourceLimits, "setrlimit"),
        (Self::Groups, "setgroups"),
        (Self::Gid, "setgid"),
        (Self::Uid, "setuid"),
        (Self::WorkingDirectory, "chdir"),
        (Self::Execute, "execve"),
    ];

    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().map(|(stage, _)| stage).find(|stage| *stage as u8 == number)
    }

    fn name(self) -> &'static str {
        Self::ALL[self as usize - 1].1
    }
}

/// The attempt to execute a program.
#[derive(Default)]
pub struct Attempt<'a> {
    /// The requested program.
    pub command: &'a str,
    /// Its working directory.
    pub directory: &'a str,
    /// The file that the search found.
    pub candidate: Candidate,
}

/// Classifies a failure. `stage` is `None` if the child process could not be created.
pub fn classify(stage: Option<Stage>, errno: i32, attempt: &Attempt<'_>) -> ExecFailed {
    let Attempt { command, directory, candidate } = attempt;
    let (kind, what) = match (stage, errno) {
        (_, libc::ENOMEM) => (FailureKind::OutOfMemory, "the sandbox is out of memory".to_owned()),
        (None, _) => (FailureKind::ResourceLimit, "no process could be made".to_owned()),
        (Some(Stage::Session), _) => (FailureKind::Other, "no session could be made".to_owned()),
        (Some(Stage::Terminal), _) => {
            (FailureKind::PtySetupFailed, "the terminal could not be attached".to_owned())
        }
        (Some(Stage::ResourceLimits), _) => {
            (FailureKind::ResourceLimit, "a resource limit was refused".to_owned())
        }
        (Some(Stage::Groups | Stage::Gid | Stage::Uid), libc::EAGAIN) => {
            (FailureKind::ResourceLimit, "the user has too many processes".to_owned())
        }
        (Some(Stage::Groups | Stage::Gid | Stage::Uid), _) => {
            (FailureKind::UserSetupFailed, "the user could not be taken on".to_owned())
        }
        (Some(Stage::WorkingDirectory), _) => {
            (FailureKind::BadCwd, format!("workdir {directory:?}: {}", reason(errno)))
        }
        (Some(Stage::Execute), libc::ENOENT | libc::ENOTDIR) => {
            (FailureKind::NotFound, format!("exec: {command:?}: {}", absence(command, candidate)))
        }
        (Some(Stage::Execute), libc::EACCES | libc::EPERM | libc::EISDIR) => {
            let why = match candidate {
                Candidate::Directory => "is a directory",
                Candidate::NotExecutable => "permission denied: the file is not executable",
                _ => "permission denied",
            };
            (FailureKind::PermissionDenied, format!("exec: {command:?}: {why}"))
        }
        (Some(Stage::Execute), libc::ENOEXEC | libc::EINVAL | libc::ELIBBAD) => {
            let why =
                "exec format error: neither a program for this machine nor a script that begins with #!";
            (FailureKind::NotExecutable, format!("exec: {command:?}: {why}"))
        }
        (Some(Stage::Execute), libc::E2BIG) => {
            (FailureKind::BadArgs, "arguments and environment together are too large".to_owned())
        }
        (Some(Stage::Execute), libc::ELOOP | libc::ENAMETOOLONG) => {
            (FailureKind::BadArgs, format!("the path '{command}' cannot be followed"))
        }
        (Some(Stage::Execute), libc::EAGAIN | libc::EMFILE | libc::ENFILE) => {
            (FailureKind::ResourceLimit, format!("'{command}' ran into a resource limit"))
        }
        (Some(Stage::Execute), _) => (FailureKind::Other, format!("'{command}' could not be started")),
    };
    let errno_name = errno_name(errno);
    let message = match errno_name {
        Some(name) => format!("{what} ({name})"),
        None => format!("{what} (errno {errno})"),
    };
    ExecFailed {
        kind,
        errno: Some(errno),
        errno_name: errno_name.map(str::to_owned),
        message,
        stage: Some(stage.map_or("fork", Stage::name).to_owned()),
    }
}

/// Why there was nothing to execute.
fn absence(command: &str, candidate: &Candidate) -> String {
    match candidate {
        Candidate::WithoutInterpreter(interpreter) => {
            format!("its interpreter {interpreter:?} was not found")
        }
        _ if command.contains('/') => "no such file".to_owned(),
        _ => "not found in $PATH".to_owned(),
    }
}

/// Why a directory cannot be entered.
fn reason(errno: i32) -> &'static str {
    match errno {
        libc::ENOENT => "no such directory",
        libc::ENOTDIR => "not a directory",
        libc::EACCES | libc::EPERM => "permission denied",
        _ => "cannot be entered",
    }
}

/// A failure without a system call.
pub fn refused(kind: FailureKind, stage: &str, message: impl Into<String>) -> ExecFailed {
    ExecFailed { kind, errno: None, errno_name: None, message: message.into(), stage: Some(stage.to_owned()) }
}

/// The name of an errno that these steps can meet; `None` for others.
pub fn errno_name(errno: i32) -> Option<&'static str> {
    macro_rules! find {
        ($($name:ident)*) => {
            match errno {
                $(libc::$name => Some(stringify!($name)),)*
                _ => None,
            }
        };
    }
    find! {
        EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST
        EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ETXTBSY EFBIG ENOSPC EROFS EPIPE ENAMETOOLONG ELOOP
        ENOTEMPTY EDQUOT ELIBBAD ENOBUFS EADDRNOTAVAIL EAFNOSUPPORT ENETUNREACH EHOSTUNREACH ECONNREFUSED
        ECONNRESET ETIMEDOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(stage: Option<Stage>, errno: i32) -> FailureKind {
        failed(stage, errno, "prog", Candidate::Other).kind
    }

    fn failed(stage: Option<Stage>, errno: i32, command: &str, candidate: Candidate) -> ExecFailed {
        classify(stage, errno, &Attempt { command, directory: "/nowhere", candidate })
    }

    #[test]
    fn the_kind_follows_stage_and_errno() {
        assert_eq!(kind(Some(Stage::Execute), libc::ENOENT), FailureKind::NotFound);
        assert_eq!(kind(Some(Stage::WorkingDirectory), libc::ENOENT), FailureKind::BadCwd);
        assert_eq!(kind(Some(Stage::Execute), libc::EACCES), FailureKind::PermissionDenied);
        assert_eq!(kind(Some(Stage::WorkingDirectory), libc::EACCES), FailureKind::BadCwd);
        assert_eq!(kind(Some(Stage::Execute), libc::ENOEXEC), FailureKind::NotExecutable);
        assert_eq!(kind(Some(Stage::Uid), libc::EPERM), FailureKind::UserSetupFailed);
        assert_eq!(kind(None, libc::EAGAIN), FailureKind::ResourceLimit);
        assert_eq!(kind(Some(Stage::Uid), libc::ENOMEM), FailureKind::OutOfMemory);
        assert_eq!(kind(Some(Stage::Execute), 9999), FailureKind::Other);
    }

    #[test]
    fn the_message_names_the_request() {
        let failed = failed(Some(Stage::WorkingDirectory), libc::ENOENT, "prog", Candidate::Other);
        assert_eq!(failed.message, "workdir \"/nowhere\": no such directory (ENOENT)");
        assert_eq!(failed.stage.as_deref(), Some("chdir"));
        assert_eq!(failed.errno_name.as_deref(), Some("ENOENT"));
    }

    #[test]
    fn a_program_that_cannot_be_executed_is_named_with_the_reason() {
        let execute =
            |errno, command, candidate| failed(Some(Stage::Execute), errno, command, candidate).message;
        for (errno, command, candidate, message) in [
            (libc::ENOENT, "nosuch", Candidate::Nothing, "exec: \"nosuch\": not found in $PATH (ENOENT)"),
            (libc::ENOENT, "/no/such", Candidate::Nothing, "exec: \"/no/such\": no such file (ENOENT)"),
            (
                libc::ENOENT,
                "run",
                Candidate::WithoutInterpreter("/bin/sh\r".to_owned()),
                "exec: \"run\": its interpreter \"/bin/sh\\r\" was not found (ENOENT)",
            ),
            (
                libc::EACCES,
                "/a",
                Candidate::NotExecutable,
                "exec: \"/a\": permission denied: the file is not executable (EACCES)",
            ),
            (libc::EACCES, "/a", Candidate::Directory, "exec: \"/a\": is a directory (EACCES)"),
            (libc::EACCES, "/a\u{1b}", Candidate::Other, "exec: \"/a\\u{1b}\": permission denied (EACCES)"),
        ] {
            assert_eq!(execute(errno, command, candidate), message);
        }
    }

    #[test]
    fn stages_survive_the_pipe() {
        assert_eq!(Stage::from_number(Stage::Execute as u8), Some(Stage::Execute));
        assert_eq!(Stage::from_number(0), None);
        assert_eq!(Stage::from_number(200), None);
    }
}

//! Tries from inside a jail what it must not allow, and what it must.
#![allow(unsafe_code, reason = "system calls that no safe interface offers, by their numbers")]

use rustix::fs::{Mode, OFlags, open};
use rustix::process::getpid;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// The files that attempts are made on.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeTargets {
    /// Files of the host by their paths, and the system's own: none of them may be opened.
    pub foreign: Vec<String>,
    /// A process outside.
    pub outside_pid: i32,
    /// The descriptor of a file that is read-only for the process.
    pub read_only: RawFd,
    /// The descriptor of a file that it may write.
    pub writable: RawFd,
    /// Whether the process may execute programs in `/usr`.
    pub executes: bool,
    /// Whether the process may change the modes of its files.
    pub changes_modes: bool,
}

impl ProbeTargets {
    /// Creates the two files, without names, in a folder. Returns the targets, the read-only file and the writable one.
    ///
    /// # Errors
    ///
    /// If the folder is not writable, or its file system has no such files.
    pub fn create(folder: &Path, foreign: Vec<String>) -> io::Result<(Self, OwnedFd, OwnedFd)> {
        let file = || open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        let (read_only, writable) = (file()?, file()?);
        let targets = Self {
            foreign,
            outside_pid: getpid().as_raw_nonzero().get(),
            read_only: read_only.as_raw_fd(),
            writable: writable.as_raw_fd(),
            executes: false,
            changes_modes: false,
        };
        Ok((targets, read_only, writable))
    }
}

/// An attempt, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// What was tried.
    pub what: String,
    /// Whether it should have succeeded: a control.
    pub is_allowed: bool,
    /// Whether it names a file, which may also not be there.
    pub is_about_a_path: bool,
    /// The kernel's error number; 0 if it succeeded.
    pub errno: i32,
}

impl Attempt {
    /// Whether it ended as it should.
    pub fn is_as_expected(&self) -> bool {
        if self.is_allowed {
            return self.errno == 0;
        }
        let refused = matches!(self.errno, libc::ENOSYS | libc::EPERM | libc::EACCES);
        // Of a system call, any other error is the kernel's opinion on its arguments: the attempt has come through to it.
        refused || self.is_about_a_path && matches!(self.errno, libc::EROFS | libc::ENOENT)
    }
}

/// Makes all attempts.
pub fn run(targets: &ProbeTargets) -> Vec<Attempt> {
    let mut attempts = Attempts(Vec::new());
    attempts.files(targets);
    attempts.system_calls(targets);
    attempts.controls(targets);
    attempts.0
}

struct Attempts(Vec<Attempt>);

impl Attempts {
    fn add(&mut self, what: impl Into<String>, is_allowed: bool, outcome: io::Result<()>) {
        let errno = outcome.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1));
        self.0.push(Attempt { what: what.into(), is_allowed, is_about_a_path: false, errno });
    }

    fn forbidden(&mut self, what: impl Into<String>, outcome: io::Result<()>) {
        self.add(what, false, outcome);
    }

    fn open(&mut self, what: impl Into<String>, path: &str, flags: OFlags, is_allowed: bool) {
        let opened = open(path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        let errno = opened.err().map_or(0, rustix::io::Errno::raw_os_error);
        self.0.push(Attempt { what: what.into(), is_allowed, is_about_a_path: true, errno });
    }

    fn files(&mut self, targets: &ProbeTargets) {
        for path in &targets.foreign {
            self.open(format!("read {path}"), path, OFlags::RDONLY, false);
        }
        self.open("list /", "/", OFlags::RDONLY | OFlags::DIRECTORY, false);
        self.open("create a file in /", "/canary", OFlags::WRONLY | OFlags::CREATE, false);
        self.open("create a file in /dev", "/dev/canary", OFlags::WRONLY | OFlags::CREATE, false);
        let pid = targets.outside_pid;
        self.open("read another process's memory", &format!("/proc/{pid}/mem"), OFlags::RDONLY, false);
        self.open(
            "read another process's environment",
            &format!("/proc/{pid}/environ"),
            OFlags::RDONLY,
            false,
        );
        let read_only = format!("/proc/self/fd/{}", targets.read_only);
        self.open("write a read-only file", &read_only, OFlags::RDWR, false);
        self.open("truncate a read-only file", &read_only, OFlags::WRONLY | OFlags::TRUNC, false);
        if !targets.changes_modes {
            let number = libc::c_long::from(targets.read_only);
            self.forbidden("chmod a read-only file", call(libc::SYS_fchmod, &[number, 0o666]));
        }
    }

    fn system_calls(&mut self, targets: &ProbeTargets) {
        let pid = libc::c_long::from(targets.outside_pid);
        let (inet, unix, stream) =
            (libc::AF_INET.into(), libc::AF_UNIX.into(), libc::c_long::from(libc::SOCK_STREAM));
        let calls: &[(&str, libc::c_long, &[libc::c_long])] = &[
            ("open an internet socket", libc::SYS_socket, &[inet, stream, 0]),
            ("open a Unix socket", libc::SYS_socket, &[unix, stream, 0]),
            ("open a netlink socket", libc::SYS_socket, &[libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0]),
            ("open a vsock socket", libc::SYS_socket, &[libc::AF_VSOCK.into(), stream, 0]),
            ("connect", libc::SYS_connect, &[-1, 0, 0]),
            ("signal another process", libc::SYS_kill, &[pid, 0]),
            ("signal another process's thread", libc::SYS_tgkill, &[pid, pid, 0]),
            ("trace another process", libc::SYS_ptrace, &[libc::PTRACE_SEIZE.into(), pid, 0, 0]),
            ("read another process's memory by a call", libc::SYS_process_vm_readv, &[pid, 0, 0, 0, 0, 0]),
            ("open another process", libc::SYS_pidfd_open, &[pid, 0]),
            ("take another process's descriptor", libc::SYS_pidfd_getfd, &[-1, 0, 0]),
            ("enter a namespace", libc::SYS_setns, &[-1, 0]),
            ("create a user namespace", libc::SYS_unshare, &[libc::CLONE_NEWUSER.into()]),
            ("mount", libc::SYS_mount, &[0, 0, 0, 0, 0]),
            ("mount by descriptor", libc::SYS_fsopen, &[0, 0]),
            ("unmount", libc::SYS_umount2, &[0, 0]),
            ("change the root directory", libc::SYS_chroot, &[0]),
            ("swap the root directory", libc::SYS_pivot_root, &[0, 0]),
            ("load a BPF program", libc::SYS_bpf, &[0, 0, 0]),
            ("watch the kernel", libc::SYS_perf_event_open, &[0, 0, 0, 0, 0]),
            ("handle page faults", libc::SYS_userfaultfd, &[0]),
            ("use io_uring", libc::SYS_io_uring_setup, &[1, 0]),
            ("use a keyring", libc::SYS_keyctl, &[0, 0, 0, 0, 0]),
            ("load a kernel module", libc::SYS_finit_module, &[-1, 0, 0]),
            ("load a kernel", libc::SYS_kexec_load, &[0, 0, 0, -1]),
            // Not the kernel's magic numbers.
            ("reboot", libc::SYS_reboot, &[0, 0, 0, 0]),
            ("set the clock", libc::SYS_clock_settime, &[-1, 0]),
            ("set the host name", libc::SYS_sethostname, &[0, -1]),
            ("use swap", libc::SYS_swapon, &[0, 0]),
            ("use a System V queue", libc::SYS_msgctl, &[-1, 0, 0]),
            ("create a message queue", libc::SYS_mq_open, &[0, 0, 0, 0]),
        ];
        for (what, number, arguments) in calls {
            self.forbidden(*what, call(*number, arguments));
        }
        self.forbidden("start a process", start_process());
        if !targets.executes {
            self.forbidden("execute a program", execute());
        }
    }

    fn controls(&mut self, targets: &ProbeTargets) {
        let read_only = format!("/proc/self/fd/{}", targets.read_only);
        self.open("read a read-only file", &read_only, OFlags::RDONLY, true);
        let writable = format!("/proc/self/fd/{}", targets.writable);
        self.open("write a file", &writable, OFlags::RDWR, true);
        let thread = std::thread::Builder::new().spawn(|| {}).map(|thread| drop(thread.join()));
        self.add("start a thread", true, thread);
        let (socket, memory) = (call(libc::SYS_eventfd2, &[0, 0]), call(libc::SYS_brk, &[0]));
        self.add("be notified", true, socket);
        self.add("have memory", true, memory);
    }
}

/// Makes a system call.
fn call(number: libc::c_long, arguments: &[libc::c_long]) -> io::Result<()> {
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: all pointers among the arguments are null, so the kernel writes to no memory of this process.
    let answer = unsafe {
        libc::syscall(number, argument(0), argument(1), argument(2), argument(3), argument(4), argument(5))
    };
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Starts a process, which ends at once.
fn start_process() -> io::Result<()> {
    // SAFETY: the child only ends.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: as above.
        0 => unsafe { libc::_exit(0) },
        child => {
            // SAFETY: no status is wanted.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            Ok(())
        }
    }
}

/// Executes a program that does not exist: the kernel says so if it gets that far.
fn execute() -> io::Result<()> {
    let (path, none) = (c"/proc/self/exe/", [std::ptr::null::<libc::c_char>()]);
    // SAFETY: a NUL-terminated string and NULL-terminated arrays.
    unsafe { libc::execve(path.as_ptr(), none.as_ptr(), none.as_ptr()) };
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOTDIR) => Ok(()),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without this control, a probe that finds nothing would say nothing.
    #[test]
    fn attempts_come_through_where_there_is_no_jail() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name| std::fs::File::create_new(folder.path().join(name)).unwrap();
        let (read_only, writable) = (file("read-only"), file("writable"));
        let attempts = run(&ProbeTargets {
            foreign: vec!["/etc/passwd".to_owned()],
            outside_pid: 1,
            read_only: read_only.as_raw_fd(),
            writable: writable.as_raw_fd(),
            executes: false,
            changes_modes: false,
        });
        let unexpected: Vec<&str> = attempts
            .iter()
            .filter(|attempt| !attempt.is_as_expected())
            .map(|attempt| attempt.what.as_str())
            .collect();
        for what in [
            "read /etc/passwd",
            "list /",
            "write a read-only file",
            "chmod a read-only file",
            "open an internet socket",
            "open a Unix socket",
            "open another process",
            "enter a namespace",
            "start a process",
            "execute a program",
        ] {
            assert!(unexpected.contains(&what), "{what} is not among {unexpected:?}");
        }
        assert!(
            attempts.iter().all(|attempt| !attempt.is_allowed || attempt.is_as_expected()),
            "{attempts:?}"
        );
    }

    #[test]
    fn an_opinion_on_the_arguments_is_no_refusal() {
        let attempt = |errno, is_about_a_path| Attempt {
            what: String::new(),
            is_allowed: false,
            is_about_a_path,
            errno,
        };
        assert!(attempt(libc::ENOSYS, false).is_as_expected());
        assert!(!attempt(libc::EINVAL, false).is_as_expected());
        assert!(!attempt(libc::ENOENT, false).is_as_expected());
        assert!(attempt(libc::ENOENT, true).is_as_expected());
        assert!(!attempt(0, true).is_as_expected());
    }
}

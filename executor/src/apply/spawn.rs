//! Spawns a supervisor: detached, with nothing of ours but one end of a socket pair.
#![allow(unsafe_code)] // `pre_exec` is the only way to detach a child before it runs.

use executor_vm::launch::{FIRST_DESCRIPTOR, close_on_exec_from};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How `msb` calls itself as a supervisor.
#[derive(Clone, Debug)]
pub struct SuperviseCommand {
    /// The program: msb itself.
    pub program: PathBuf,
    /// Its environment; nothing else is passed on.
    pub environment: Vec<(OsString, OsString)>,
}

impl SuperviseCommand {
    /// Spawns `msb supervise <id> --watcher <descriptor>`; what it prints goes to `log`.
    ///
    /// Gives the child and the other end of its watcher: states come in there from the first one on.
    pub fn spawn(&self, id: &str, log: &Path) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
        let mut command = Command::new(&self.program);
        command
            .args(["supervise", id, "--watcher", &theirs.as_raw_fd().to_string()])
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let inherited = theirs.as_fd().as_raw_fd();
        // SAFETY: between fork and exec this calls nothing but system calls, one on a descriptor that
        // `theirs` keeps open until the spawn is over.
        unsafe {
            command.pre_exec(move || {
                // A session of its own: neither Ctrl-C nor a closed terminal reaches it.
                rustix::process::setsid()?;
                close_on_exec_from(FIRST_DESCRIPTOR);
                let inherited = std::os::fd::BorrowedFd::borrow_raw(inherited);
                rustix::io::fcntl_setfd(inherited, rustix::io::FdFlags::empty())?;
                Ok(())
            });
        }
        let child = command.spawn()?;
        Ok((child, ours))
    }
}

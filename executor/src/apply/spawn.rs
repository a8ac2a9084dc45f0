//! Spawns a supervisor: detached, with one end of a socket pair and no other descriptor.
#![allow(unsafe_code)] // `pre_exec` is the only way to detach a child before it runs.

use executor_jail::child::keep_descriptors;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// The command that runs `msb` as a supervisor.
#[derive(Clone, Debug)]
pub struct SuperviseCommand {
    /// The program, msb itself.
    pub program: PathBuf,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The read end of a pipe: the supervisor stops its sandbox and removes it when the write end is closed.
    pub lease: Option<Arc<OwnedFd>>,
}

impl SuperviseCommand {
    /// Spawns `msb supervise <id> --watcher <descriptor>`, whose output goes to `log`. `secrets` is a file in memory with
    /// the values of its secrets, if it has any.
    ///
    /// Returns the other end of the watcher, which receives all states from the first one on. The event loop reaps the
    /// child if it ends before this process.
    ///
    /// # Errors
    ///
    /// If the log cannot be opened, or the program does not start.
    pub fn spawn(&self, id: &str, log: &Path, secrets: Option<&OwnedFd>) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
        let mut command = Command::new(&self.program);
        command
            .args(["supervise", id, "--watcher", &theirs.as_raw_fd().to_string()])
            .args(self.lease.iter().flat_map(|lease| ["--lease".to_owned(), lease.as_raw_fd().to_string()]))
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(secrets) = secrets {
            command.args(["--secrets", &secrets.as_raw_fd().to_string()]);
        }
        let passed = self.lease.iter().map(|lease| lease.as_raw_fd());
        let passed = passed.chain(secrets.map(AsRawFd::as_raw_fd));
        let kept: Vec<_> = passed.chain([theirs.as_raw_fd()]).collect();
        // SAFETY: between fork and exec this calls nothing but system calls, on descriptors that `theirs`, `secrets` and
        // `self` keep open until the spawn is over.
        unsafe {
            command.pre_exec(move || {
                // A session of its own: Ctrl-C and a closed terminal do not affect it.
                rustix::process::setsid()?;
                Ok(keep_descriptors(&kept)?)
            });
        }
        // By a pidfd if the kernel has them: no thread waits for it.
        let mut child = tokio::process::Command::from(command).spawn()?;
        tokio::spawn(async move { child.wait().await });
        Ok(ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::Duration;

    /// Counts the threads of this process with this thread's name, which the threads it starts inherit.
    fn threads_by_this_name() -> usize {
        let name = std::fs::read("/proc/thread-self/comm").unwrap();
        let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        threads
            .filter(|thread| std::fs::read(thread.path().join("comm")).is_ok_and(|comm| comm == name))
            .count()
    }

    #[tokio::test]
    async fn supervisors_are_collected_by_the_event_loop_alone() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("supervisor");
        let log = folder.path().join("log");
        // It only writes its pid to the log.
        std::fs::write(&program, "#!/bin/sh\necho $$\nexec sleep 0.2\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&program, mode).unwrap();
        let environment = vec![("PATH".into(), std::env::var_os("PATH").unwrap_or_default())];
        let command = SuperviseCommand { program, environment, lease: None };
        let before = threads_by_this_name();
        let mut watchers: Vec<_> = (0..8).map(|_| command.spawn("id", &log, None).unwrap()).collect();
        assert_eq!(threads_by_this_name(), before);
        let pids = loop {
            let pids = std::fs::read_to_string(&log).unwrap();
            if pids.lines().count() == watchers.len() {
                break pids;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        for pid in pids.lines() {
            while Path::new("/proc").join(pid).exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        for watcher in &mut watchers {
            assert_eq!(watcher.read(&mut [0]).unwrap(), 0);
        }
    }
}

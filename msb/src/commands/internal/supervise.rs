//! `msb supervise`: one sandbox's supervisor. Spawned by `msb up` only.
#![allow(unsafe_code)] // Taking over an inherited descriptor.

use crate::apply::ephemeral::Cleanup;
use crate::error::{CliError, Context};
use crate::host;
use executor::launch::LaunchSpec;
use executor::supervisor::{Inherited, RuntimeLog, Supervisor};
use executor_log::Rotation;
use rustix::fs::{FileType, fstat};
use rustix::io::{FdFlags, fcntl_setfd};
use sandboxfile::print;
use schemas::config::Log;
use schemas::name::SandboxId;
use schemas::spec::SandboxSpec;
use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `msb supervise`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandbox's id.
    id: SandboxId,
    /// The descriptor of the spawner's socket.
    #[arg(long)]
    watcher: Option<RawFd>,
    /// The descriptor of a pipe whose other end is closed to have the sandbox removed.
    #[arg(long)]
    lease: Option<RawFd>,
    /// The descriptor of a file in memory with the values of its secrets.
    #[arg(long)]
    secrets: Option<RawFd>,
}

/// Prints the declaration of a sandbox as `msb config` does.
fn describe(launch: &LaunchSpec, spec: &SandboxSpec) -> String {
    let head = "// The declaration of this sandbox when it booted. Changes of this copy have no effect.\n";
    let folder = launch.folder.as_deref();
    format!("{head}{}", print::sandbox(&launch.project, &launch.name, spec, folder))
}

/// Takes the descriptors that the spawner passed.
fn inherited(Args { id: _, watcher, lease, secrets }: &Args) -> Result<Inherited, CliError> {
    let given: Vec<RawFd> = [watcher, lease, secrets].into_iter().copied().flatten().collect();
    if given.iter().collect::<BTreeSet<_>>().len() < given.len() {
        return Err(CliError::usage(
            "one descriptor cannot be two of the watcher, the lease and the secrets",
        ));
    }
    let adopt =
        |descriptor: &Option<RawFd>, kind| descriptor.map(|descriptor| adopt(descriptor, kind)).transpose();
    Ok(Inherited {
        watcher: adopt(watcher, FileType::Socket)?,
        lease: adopt(lease, FileType::Fifo)?,
        secrets: adopt(secrets, FileType::RegularFile)?,
    })
}

/// Takes ownership of an inherited descriptor. Rejects standard streams, closed descriptors and other kinds of files.
fn adopt(descriptor: RawFd, kind: FileType) -> Result<OwnedFd, CliError> {
    let refused = || CliError::usage(format!("{descriptor} is not an inherited descriptor"));
    if descriptor <= 2 {
        return Err(refused());
    }
    // SAFETY: the number is not negative, and the borrow ends before anything here could close it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    // Fails if it is not open.
    let status = fstat(borrowed).map_err(|_| refused())?;
    if FileType::from_raw_mode(status.st_mode) != kind {
        return Err(refused());
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC).map_err(|_| refused())?;
    // SAFETY: it is open, the spawner passed it to this process, and nothing else owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Supervises the sandbox until it has ended and is not restarted.
pub fn run(arguments: &Args) -> Result<ExitCode, CliError> {
    // Before another file can be opened under one of their numbers.
    let inherited = inherited(arguments)?;
    let level =
        std::env::var("MSB_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(tracing::Level::INFO);
    let runtime_log = Arc::new(RuntimeLog::default());
    let tracing = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).without_time();
    tracing.with_writer(Arc::clone(&runtime_log)).init();
    let home = host::open_home()?;
    let config = host::config(&home)?;
    let Log { rotate_at, keep } = config.log;
    let rotation = Rotation { max_bytes: rotate_at, keep };
    let lease = inherited.lease.as_ref().map(OwnedFd::try_clone).transpose();
    // Read now: another client may reuse the name later.
    let cleanup =
        lease.context("cannot use the lease")?.and_then(|lease| Cleanup::of(&home, &arguments.id, lease));
    let supervisor = Supervisor {
        home: &home,
        id: &arguments.id,
        describe,
        runtime_log: &runtime_log,
        rotation,
        metrics_capacity: config.metrics.capacity,
    };
    let ended = supervisor.run(inherited);
    cleanup.map_or(Ok(()), |cleanup| cleanup.run(&home))?;
    ended.map(|()| ExitCode::SUCCESS).map_err(|error| CliError::from_error(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn only_inherited_descriptors_are_adopted() {
        let (read_end, write_end) = std::io::pipe().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for refused in [-1, i32::MIN, 0, 1, 2, i32::MAX, file.as_raw_fd()] {
            let failure = adopt(refused, FileType::Fifo).unwrap_err();
            assert!(failure.message.contains(&refused.to_string()), "{}", failure.message);
        }
        adopt(read_end.as_raw_fd(), FileType::Socket).unwrap_err();
        let number = read_end.into_raw_fd();
        assert_eq!(adopt(number, FileType::Fifo).unwrap().as_raw_fd(), number);
        drop(write_end);
    }

    #[test]
    fn one_descriptor_is_not_adopted_twice() {
        let id = "0123456789abcdef01234567".parse().unwrap();
        let (read_end, _write_end) = std::io::pipe().unwrap();
        let number = Some(read_end.as_raw_fd());
        assert!(inherited(&Args { id, watcher: number, lease: number, secrets: None }).is_err());
    }
}

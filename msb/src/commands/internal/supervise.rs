//! `msb supervise`: one sandbox's supervisor. Spawned by `msb up` only.
#![allow(unsafe_code)] // Taking over an inherited descriptor.

use crate::apply::ephemeral::Tenancy;
use crate::error::CliError;
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
    /// The descriptor of a pipe whose other end is closed when the sandbox is to be removed.
    #[arg(long)]
    lease: Option<RawFd>,
}

/// The declaration of a sandbox as `msb config` prints it.
fn describe(orders: &LaunchSpec, spec: &SandboxSpec) -> String {
    let head = "// What this sandbox was made from, as it was when it booted. A change of this copy changes nothing.\n";
    let folder = orders.folder.as_deref();
    format!("{head}{}", print::one(&orders.project, &orders.name, spec, folder))
}

/// The descriptors that the spawner passed.
struct Inheritance {
    watcher: Option<OwnedFd>,
    lease: Option<OwnedFd>,
}

impl Inheritance {
    fn take(Args { id: _, watcher, lease }: &Args) -> Result<Self, CliError> {
        if watcher.is_some() && watcher == lease {
            return Err(CliError::usage("one descriptor cannot be both the watcher and the lease"));
        }
        let adopt = |descriptor: &Option<RawFd>, kind| {
            descriptor.map(|descriptor| adopt(descriptor, kind)).transpose()
        };
        Ok(Self { watcher: adopt(watcher, FileType::Socket)?, lease: adopt(lease, FileType::Fifo)? })
    }
}

/// Takes over an inherited descriptor. Standard streams, what is not open and what is of another kind are refused.
fn adopt(descriptor: RawFd, kind: FileType) -> Result<OwnedFd, CliError> {
    let refused = || CliError::usage(format!("{descriptor} is not a descriptor that was handed over"));
    if descriptor <= 2 {
        return Err(refused());
    }
    // SAFETY: the number is not negative, and the borrow ends before anything here could close it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    // Fails for what is not open.
    let status = fstat(borrowed).map_err(|_| refused())?;
    if FileType::from_raw_mode(status.st_mode) != kind {
        return Err(refused());
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC).map_err(|_| refused())?;
    // SAFETY: it is open, the spawner passed it for us to own, and nothing else here uses its number yet.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Supervises the sandbox until it has ended for good.
pub fn run(arguments: &Args) -> Result<ExitCode, CliError> {
    // Before anything is opened that could have one of their numbers.
    let inheritance = Inheritance::take(arguments)?;
    let level =
        std::env::var("MSB_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(tracing::Level::INFO);
    let runtime_log = Arc::new(RuntimeLog::default());
    let tracing = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).without_time();
    tracing.with_writer(Arc::clone(&runtime_log)).init();
    let home = host::open_home()?;
    let Log { rotate_at, keep } = host::config(&home)?.log;
    let rotation = Rotation { max_bytes: rotate_at, keep };
    let Inheritance { watcher, lease } = inheritance;
    let of_run = lease.as_ref().map(OwnedFd::try_clone).transpose();
    let of_run = of_run.map_err(|error| CliError::new(format!("cannot use the lease: {error}")))?;
    // Read at once: later the name may be that of another client's.
    let tenancy = lease.and_then(|lease| Tenancy::of(&home, &arguments.id, lease));
    let inherited = Inherited { watcher, lease: of_run };
    let supervisor =
        Supervisor { home: &home, id: &arguments.id, describe, runtime_log: &runtime_log, rotation };
    let ended = supervisor.run(inherited);
    tenancy.map_or(Ok(()), |tenancy| tenancy.end(&home))?;
    ended.map(|()| ExitCode::SUCCESS).map_err(|error| CliError::from_error(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn only_descriptors_that_were_handed_over_are_adopted() {
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
        assert!(Inheritance::take(&Args { id, watcher: number, lease: number }).is_err());
    }
}

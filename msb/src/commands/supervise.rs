//! `msb supervise`: one sandbox's supervisor. Spawned by `msb up` only.
#![allow(unsafe_code)] // Taking over an inherited descriptor.

use crate::error::CliError;
use crate::host;
use schemas::name::SandboxId;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

/// Arguments of `msb supervise`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandbox's id.
    id: SandboxId,
    /// The descriptor of the spawner's socket.
    #[arg(long)]
    watcher: Option<RawFd>,
}

/// Supervises the sandbox until it has ended for good.
pub fn run(arguments: &Args) -> Result<ExitCode, CliError> {
    let level =
        std::env::var("MSB_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(tracing::Level::INFO);
    // The spawner has made stderr the sandbox's runtime.log.
    tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(std::io::stderr).init();
    let home = host::open_home()?;
    // SAFETY: the spawner passed this descriptor for us to own, and nothing else here uses its number.
    let watcher = arguments.watcher.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) });
    executor::supervisor::run(&home, &arguments.id, watcher)
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| CliError::from_error(&error))
}

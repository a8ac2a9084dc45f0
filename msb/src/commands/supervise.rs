//! `msb supervise`: one sandbox's supervisor. Spawned by `msb up` only.
#![allow(unsafe_code)] // Taking over an inherited descriptor.

use crate::error::CliError;
use crate::host;
use executor::state::Orders;
use executor::supervisor::RuntimeLog;
use executor_log::Rotation;
use schemas::config::Log;
use schemas::name::SandboxId;
use schemas::sandboxfile::print;
use schemas::spec::SandboxSpec;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
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
}

/// The declaration of a sandbox as `msb config` prints it.
fn describe(orders: &Orders, spec: &SandboxSpec) -> String {
    let head = "// What this sandbox was made from, as it was when it booted. A change of this copy changes nothing.\n";
    let folder = orders.folder.as_deref();
    format!("{head}{}", print::one(&orders.project, &orders.name, spec, folder))
}

/// Supervises the sandbox until it has ended for good.
pub fn run(arguments: &Args) -> Result<ExitCode, CliError> {
    let level =
        std::env::var("MSB_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(tracing::Level::INFO);
    let runtime_log = Arc::new(RuntimeLog::default());
    let tracing = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).without_time();
    tracing.with_writer(Arc::clone(&runtime_log)).init();
    let home = host::open_home()?;
    let Log { rotate_at, keep } = host::config(&home)?.log;
    let rotation = Rotation { max_bytes: rotate_at, keep };
    // SAFETY: the spawner passed this descriptor for us to own, and nothing else here uses its number.
    let watcher = arguments.watcher.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) });
    executor::supervisor::run(&home, &arguments.id, watcher, describe, (&runtime_log, rotation))
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| CliError::from_error(&error))
}

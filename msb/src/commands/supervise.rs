//! `msb supervise`: one sandbox's supervisor. Spawned by `msb up` only.
#![allow(unsafe_code)] // Taking over an inherited descriptor.

use crate::error::CliError;
use crate::host;
use executor::state::Orders;
use schemas::name::SandboxId;
use schemas::sandboxfile::print;
use schemas::spec::SandboxSpec;
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
    // The spawner has made stderr the sandbox's runtime.log.
    tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(std::io::stderr).init();
    let home = host::open_home()?;
    // SAFETY: the spawner passed this descriptor for us to own, and nothing else here uses its number.
    let watcher = arguments.watcher.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) });
    executor::supervisor::run(&home, &arguments.id, watcher, describe)
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| CliError::from_error(&error))
}

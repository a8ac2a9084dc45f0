//! The state of a sandbox, as its supervisor reports it in `state.json` and over the control socket.

use crate::home::SandboxFolder;
use crate::process::ProcessIdentity;
use executor_fs::atomic::{self, Spared, Sync};
use executor_fs::file::read_start;
use executor_jail::Confinement;
use schemas::name::SandboxId;
use schemas::snapshot::{Exit, Health};
use schemas::spec::{Capture, Port};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The version of [`State`] and of a supervisor's launch spec.
pub const STATE_VERSION: u32 = 1;

/// The feature in [`State`] of a supervisor that supports jobs: listing them, and attaching to them.
pub const FEATURE_JOBS: &str = "jobs";

/// The state of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct State {
    /// [`STATE_VERSION`].
    pub version: u32,
    /// The sandbox; `None` if a supervisor of an earlier version wrote it.
    #[serde(default)]
    pub id: Option<SandboxId>,
    /// The supervisor that wrote the state.
    pub supervisor: ProcessIdentity,
    /// The virtual machine monitor; `None` while none runs.
    pub vmm: Option<ProcessIdentity>,
    /// The phase of its life.
    pub phase: Phase,
    /// Whether the main process or the guest has ended, while `phase` stays `running` until the virtual machine has.
    #[serde(default)]
    pub main_ended: bool,
    /// Whether its virtual machine is paused on request.
    #[serde(default)]
    pub paused: bool,
    /// Whether the guest has not answered for a while, for no known reason.
    #[serde(default)]
    pub silent: bool,
    /// The verdict of the health check.
    pub health: Health,
    /// The last probe; `None` before the first one.
    pub last_probe: Option<Probe>,
    /// Whether the guest's kernel killed a process in the last run because memory was exhausted.
    #[serde(default)]
    pub oom_killed: bool,
    /// The restarts by its restart policy.
    pub restarts: u32,
    /// The exit before the last restart; `None` without one.
    #[serde(default)]
    pub last_exit: Option<Exit>,
    /// The supervisor's start time, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// The duration of the last boot, from spawning the VMM to the guest's `core.ready`, in milliseconds.
    pub boot_ms: Option<u64>,
    /// Its published ports.
    #[serde(default)]
    pub published: Vec<PublishedPort>,
    /// Whether output is written to logs.
    #[serde(default)]
    pub capture: Capture,
    /// The effect of a full disk of the host; `None` while there is space.
    #[serde(default)]
    pub host_disk_full: Option<DiskFull>,
    /// What is in force round the virtual machine monitor; `None` until the guest is up.
    #[serde(default)]
    pub jail: Option<Confinement>,
    /// What the supervisor supports besides the requests of its first version: `jobs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

impl State {
    /// Returns the state of a sandbox that begins to boot.
    pub fn booting(id: Option<SandboxId>, supervisor: ProcessIdentity) -> Self {
        Self {
            version: STATE_VERSION,
            id,
            supervisor,
            vmm: None,
            phase: Phase::Booting,
            main_ended: false,
            paused: false,
            silent: false,
            health: Health::Booting,
            last_probe: None,
            oom_killed: false,
            restarts: 0,
            last_exit: None,
            started_unix_ms: 0,
            boot_ms: None,
            published: Vec::new(),
            capture: Capture::default(),
            host_disk_full: None,
            jail: None,
            features: Vec::new(),
        }
    }

    /// Whether its main process, guest or virtual machine has ended, while its phase does not say so yet. Looks at the process
    /// of the virtual machine, which may have been killed a moment ago.
    pub fn is_ending(&self) -> bool {
        self.main_ended || self.vmm.is_some_and(|vmm| !vmm.is_alive())
    }

    /// Whether the phase only changes with another start.
    pub fn is_final(&self) -> bool {
        matches!(self.phase, Phase::Exited { .. } | Phase::Stopped)
    }
}

/// The effect of a full disk of the host on a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFull {
    /// The guest is paused until there is space again.
    GuestWaits,
    /// Its writes fail.
    WritesFail,
}

/// A published port: connections to it are forwarded into the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The port as it was declared.
    pub port: Port,
    /// The port that is listened on; it differs from the declared one if that is 0.
    pub host: u16,
}

/// The phase of a sandbox's life.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Its virtual machine boots, or its main process is being started.
    Booting,
    /// Its main process runs, or it has none and its guest is up.
    Running,
    /// It has ended, and its restart policy waits before the next start.
    Backoff {
        /// The exit.
        exit: Exit,
    },
    /// It has ended and is not restarted.
    Exited {
        /// The exit.
        exit: Exit,
    },
    /// It has ended on request.
    Stopped,
}

/// The result of one probe of a health check.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct Probe {
    /// The exit code; `None` if the probe could not run or timed out.
    pub code: Option<i32>,
    /// The end of its output, or the reason for which it could not run.
    pub output: String,
    /// Consecutive failures, including this one.
    pub failures: u32,
}

/// Reads a JSON file; `None` if it does not exist.
///
/// # Errors
///
/// If the file is unreadable or invalid.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let Some(bytes) = read_start(path, u64::MAX)? else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&bytes)?))
}

/// Reads the state that a sandbox's supervisor wrote last; `None` if there is none or it is unreadable.
pub fn read_state(folder: &SandboxFolder) -> Option<State> {
    read_json(&folder.state()).ok().flatten()
}

/// Writes a JSON file atomically, and waits until it is on the disk.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    atomic::write(path, &serde_json::to_vec(value)?, Sync::Yes)
}

/// Reserves space for a supervisor's state, so that it can be written to a full disk.
///
/// # Errors
///
/// If there is no space.
pub fn prepare_state(folder: &SandboxFolder) -> io::Result<()> {
    Spared::new(folder.state()).prepare()
}

/// Writes a supervisor's state, even to a full disk. Only a final state waits for the disk: a power cut ends the sandbox in
/// any other one, and waiting would block the supervisor's event loop.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write_state(folder: &SandboxFolder, state: &State) -> io::Result<()> {
    let sync = if state.is_final() { Sync::Yes } else { Sync::No };
    Spared::new(folder.state()).write(&serde_json::to_vec(state)?, sync)
}

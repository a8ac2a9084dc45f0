//! What a supervisor says of its sandbox: kept in `state.json`, and streamed over the control socket.

use crate::home::SandboxFolder;
use crate::process::ProcessIdentity;
use executor_fs::atomic::{self, Spared, Sync};
use schemas::name::SandboxId;
use schemas::snapshot::{Exit, Health};
use schemas::spec::{Capture, Port};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The version of [`State`] and of a supervisor's launch spec.
pub const STATE_VERSION: u32 = 1;

/// How far a sandbox is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`STATE_VERSION`].
    pub version: u32,
    /// Which sandbox; one that runs since before this was told has none.
    #[serde(default)]
    pub id: Option<SandboxId>,
    /// The supervisor that wrote it.
    pub supervisor: ProcessIdentity,
    /// The virtual machine monitor, while one runs.
    pub vmm: Option<ProcessIdentity>,
    /// What it does.
    pub phase: Phase,
    /// Whether the main process has ended while the guest still shuts down: `phase` stays `running` until it has.
    #[serde(default)]
    pub main_ended: bool,
    /// What the health check says.
    pub health: Health,
    /// The last probe, if there was one.
    pub last_probe: Option<Probe>,
    /// How often it was started again by its restart policy.
    pub restarts: u32,
    /// How it ended before it was last started again.
    #[serde(default)]
    pub last_exit: Option<Exit>,
    /// When the supervisor began, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How long the last boot took, from spawning the VMM to the guest's `core.ready`, in milliseconds.
    pub boot_ms: Option<u64>,
    /// The host's ports that lead into it, as they are listened on.
    #[serde(default)]
    pub published: Vec<PublishedPort>,
    /// Whether what is printed is written down.
    #[serde(default)]
    pub capture: Capture,
    /// While the host's disk is full: what that does to the guest.
    #[serde(default)]
    pub host_disk_full: Option<DiskFull>,
}

impl State {
    /// The state of a sandbox that begins to boot.
    pub fn booting(id: Option<SandboxId>, supervisor: ProcessIdentity) -> Self {
        Self {
            version: STATE_VERSION,
            id,
            supervisor,
            vmm: None,
            phase: Phase::Booting,
            main_ended: false,
            health: Health::Booting,
            last_probe: None,
            restarts: 0,
            last_exit: None,
            started_unix_ms: 0,
            boot_ms: None,
            published: Vec::new(),
            capture: Capture::default(),
            host_disk_full: None,
        }
    }
}

/// What becomes of a guest whose disk cannot grow on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFull {
    /// It stands still until there is space again.
    GuestWaits,
    /// Its writes fail.
    WritesFail,
}

/// A port of the host that leads into the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// As it was asked for.
    pub port: Port,
    /// The host's port that is listened on: another one than asked for where that was 0.
    pub host: u16,
}

/// What a supervised sandbox does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Its virtual machine boots, or its main process is being started.
    Booting,
    /// Up.
    Running,
    /// It ended; the restart policy waits before the next start.
    Backoff {
        /// How it ended.
        exit: Exit,
    },
    /// It ended for good.
    Exited {
        /// How.
        exit: Exit,
    },
    /// It was told to stop, and has.
    Stopped,
}

/// One run of a health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Its exit code; `None` when it could not run or did not end in time.
    pub code: Option<i32>,
    /// The end of what it printed, or why it could not run.
    pub output: String,
    /// Failures in a row, this one included.
    pub failures: u32,
}

impl State {
    /// Whether anything can still come of it without somebody starting it again.
    pub fn is_final(&self) -> bool {
        matches!(self.phase, Phase::Exited { .. } | Phase::Stopped)
    }
}

/// Reads a state or orders file; `None` when there is none.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from)
}

/// The last state that a sandbox's supervisor wrote.
///
/// A file that cannot be read counts as none: it is rewritten at the next start.
pub fn read_state(folder: &SandboxFolder) -> Option<State> {
    read_json(&folder.state()).ok().flatten()
}

/// Writes a state or orders file.
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    atomic::write(path, &serde_json::to_vec(value)?, Sync::Yes)
}

/// Makes sure that a supervisor's state can be written when the host's disk is full.
pub fn prepare_state(folder: &SandboxFolder) -> io::Result<()> {
    Spared::new(folder.state()).prepare()
}

/// Writes a supervisor's state, on a full disk too. Only one that is final waits for the disk: with any other, a power cut ends what it
/// speaks of, and to wait would hold up everything else that the supervisor does.
pub fn write_state(folder: &SandboxFolder, state: &State) -> io::Result<()> {
    let sync = if state.is_final() { Sync::Yes } else { Sync::No };
    Spared::new(folder.state()).write(&serde_json::to_vec(state)?, sync)
}

//! The observed state of a project: the rows of the catalog, compared with the running processes.

use crate::digest::Digest;
use crate::name::{ProjectName, SandboxId, SandboxName, VolumeName};
use crate::spec::limits::SECRET_BYTES_MAX;
use crate::spec::{ImageReference, PortProtocol, SandboxSpec, ValueName, VolumeSpec};
use rules::unit::format_duration_ms;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// The observed state that a plan starts from.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct Snapshot {
    /// The project.
    pub project: ProjectName,
    /// The recorded sandboxes by name.
    pub sandboxes: BTreeMap<SandboxName, ObservedSandbox>,
    /// The sandboxes whose record this version cannot read.
    pub unreadable: BTreeMap<SandboxName, UnreadableSandbox>,
    /// The recorded volumes by name.
    pub volumes: BTreeMap<VolumeName, ObservedVolume>,
    /// The existing volumes that the model declares as external, by their full names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub external: BTreeMap<VolumeName, VolumeSpec>,
    /// The images of the model by their references.
    pub images: BTreeMap<String, ObservedImage>,
    /// The ports of the model that are in use on this host.
    #[serde(default)]
    pub held_ports: BTreeSet<HeldPort>,
    /// Why the driver cannot serve mounts on this host; `None` if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_obstacle: Option<MountObstacle>,
    /// The values of the model that cannot be read, by sandbox.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_problems: BTreeMap<SandboxName, BTreeMap<ValueName, SecretProblem>>,
    /// The values that have changed on this host since the running sandboxes received them, by sandbox.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changed_values: BTreeMap<SandboxName, BTreeSet<ValueName>>,
}

/// Why the value of a secret cannot be used. It never contains the value, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum SecretProblem {
    /// The environment variable is not set.
    #[error("the variable {variable} is not set")]
    NotSet {
        /// Its name.
        variable: String,
    },
    /// The file does not exist.
    #[error("there is no file {path}")]
    FileMissing {
        /// Its absolute path.
        path: String,
    },
    /// The file cannot be read.
    #[error("the file {path} cannot be read: {reason}")]
    FileUnreadable {
        /// Its absolute path.
        path: String,
        /// The reason of the operating system.
        reason: String,
    },
    /// The command fails.
    #[error("the command {program} {reason}")]
    CommandFailed {
        /// Its program, without the arguments.
        program: String,
        /// How it fails, as a verb phrase such as `exited with code 1`.
        reason: String,
    },
    /// The program that reads keyrings is not installed.
    #[error("`secret-tool`, which reads the keyring, is not installed: install the package {package}")]
    NoKeyringTool {
        /// The package that contains it.
        package: String,
    },
    /// The keyring has no such entry, or is locked or not there.
    #[error("the keyring has no entry with {attributes}, or is locked")]
    NotInKeyring {
        /// The attributes, as `secret-tool` takes them.
        attributes: String,
    },
    /// The value is empty.
    #[error("its value is empty")]
    Empty,
    /// The value has a line break before its end.
    #[error("its value has more than one line")]
    LineBreak,
    /// The value has a NUL byte.
    #[error("its value has a NUL byte")]
    Nul,
    /// The value is longer than [`SECRET_BYTES_MAX`].
    #[error("its value has more than {} KiB", SECRET_BYTES_MAX / 1024)]
    TooLarge,
}

/// Why the driver cannot serve mounts of the host's files and of directory volumes on this host, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct MountObstacle {
    /// The problem.
    pub problem: String,
    /// The next step.
    pub help: String,
}

/// A port of the host that is in use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, schemars::JsonSchema, Serialize, Deserialize)]
pub struct HeldPort {
    /// The host's address.
    pub bind: IpAddr,
    /// The host's port.
    pub host: u16,
    /// The protocol.
    pub protocol: PortProtocol,
    /// Its owner.
    pub holder: PortHolder,
}

/// The owner of a port of the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PortHolder {
    /// A sandbox, of this project or another one.
    Sandbox {
        /// Its project.
        project: ProjectName,
        /// Its name in that project.
        name: SandboxName,
    },
    /// A visible process.
    Process {
        /// The name of its program.
        program: String,
        /// Its process id.
        pid: u32,
    },
    /// An invisible process, such as one of another user.
    Unknown,
}

/// One recorded sandbox.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct ObservedSandbox {
    /// The instance's id.
    pub id: SandboxId,
    /// Counts replacements, from 1.
    pub generation: u32,
    /// The last applied spec.
    pub spec: SandboxSpec,
    /// Its current state.
    pub status: Status,
    /// Whether its `post-start` hook has yet to run since it was last started.
    pub post_start_pending: bool,
    /// Whether its creation was completed. If it is incomplete all the same, its disk has been lost.
    pub created: bool,
    /// Whether it should run, by the last command.
    pub should_run: bool,
}

/// A sandbox with an unreadable record.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct UnreadableSandbox {
    /// The instance's id.
    pub id: SandboxId,
    /// Counts replacements, from 1.
    pub generation: u32,
    /// The reason why its record cannot be read.
    pub reason: String,
}

/// One recorded volume.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct ObservedVolume {
    /// The last applied spec.
    pub spec: VolumeSpec,
    /// Whether its creation was completed.
    pub created: bool,
}

/// The state of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Status {
    /// Recorded, but its creation was interrupted or its disk is missing.
    Incomplete,
    /// Created, and not running on request.
    Stopped,
    /// Its supervisor runs.
    Running {
        /// The result of its health check.
        health: Health,
    },
    /// Its virtual machine is paused on request, and does nothing until it is resumed.
    Paused,
    /// It ended by itself, and its restart policy does not start it again.
    Exited {
        /// How it ended.
        exit: Exit,
    },
    /// It should run, but its supervisor has ended.
    Lost,
    /// It should run, but the host has been rebooted since.
    HostRebooted,
}

rules::words! {
    /// The state of a sandbox, as far as a plan depends on it: health does not matter.
    State {
        /// Its creation was interrupted, or its disk is missing.
        Incomplete = "incomplete",
        /// It was stopped.
        Stopped = "stopped",
        /// It runs.
        Running = "running",
        /// It is paused.
        Paused = "paused",
        /// It exited with code 0.
        Completed = "completed",
        /// It ended otherwise.
        Failed = "failed",
        /// Its supervisor is gone.
        Lost = "lost",
    }
}

impl Status {
    /// Returns the state without its details.
    pub fn state(&self) -> State {
        match self {
            Self::Incomplete => State::Incomplete,
            Self::Stopped => State::Stopped,
            Self::Running { health: _ } => State::Running,
            Self::Paused => State::Paused,
            Self::Exited { exit } if exit.is_success() => State::Completed,
            Self::Exited { exit: _ } => State::Failed,
            Self::Lost | Self::HostRebooted => State::Lost,
        }
    }

    /// Returns whether it has a virtual machine, or is about to get one: it runs or is paused.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Running { health: _ } | Self::Paused => true,
            Self::Incomplete | Self::Stopped | Self::Exited { .. } | Self::Lost | Self::HostRebooted => false,
        }
    }
}

/// The result of a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// The guest or its main process is not running yet.
    Booting,
    /// Running without a health check.
    Unchecked,
    /// Running, and no probe has passed yet.
    Starting,
    /// The last probe passed, or fewer than the limit failed since.
    Healthy,
    /// Too many probes in a row failed.
    Unhealthy,
}

/// The end of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Exit {
    /// Its main process exited.
    Code {
        /// The exit code, or 128 + n for signal n.
        code: i32,
    },
    /// Its main process could not be started.
    NotStarted {
        /// The exit code of a shell: 127 for a missing program, 126 for all else.
        code: i32,
        /// The reason, as text of the guest.
        message: String,
    },
    /// The virtual machine or the guest failed.
    Failure {
        /// The kind of the failure.
        #[serde(default)]
        cause: FailureCause,
        /// The reason.
        message: String,
    },
    /// It was stopped because a limit of its time was reached. No restart policy starts it again.
    Limit {
        /// The limit.
        limit: TimeLimit,
        /// Its value in milliseconds.
        ms: u64,
    },
}

/// The kind of a failure of a virtual machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCause {
    /// The guest's kernel panicked.
    GuestPanic,
    /// The guest's kernel panicked because no memory was left.
    GuestOutOfMemory,
    /// The guest did not answer for too long.
    GuestHung,
    /// The process of the virtual machine crashed or was killed.
    VmCrash,
    /// Anything else; the message says what.
    #[default]
    Other,
}

/// A limit of the time that a sandbox runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeLimit {
    /// The time since its start.
    MaxDuration,
    /// The time without activity.
    IdleTimeout,
}

/// The exit code of a sandbox that was stopped by a limit of its time, as of the program `timeout`.
pub const EXIT_CODE_OF_LIMIT: i32 = 124;

impl Exit {
    /// Returns whether the exit code is 0.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Code { code: 0 })
    }

    /// Returns the exit code, [`EXIT_CODE_OF_LIMIT`] after a limit; `None` if the virtual machine or the guest failed.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Code { code } | Self::NotStarted { code, .. } => Some(*code),
            Self::Limit { .. } => Some(EXIT_CODE_OF_LIMIT),
            Self::Failure { .. } => None,
        }
    }
}

/// Writes the end as a verb phrase, to follow the name of the sandbox.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code { code } => write!(f, "exited with code {code}"),
            Self::NotStarted { message, .. } => write!(f, "did not start: {message}"),
            Self::Failure { cause: _, message } => write!(f, "failed: {message}"),
            Self::Limit { limit: TimeLimit::MaxDuration, ms } => {
                write!(f, "was stopped: its max-duration of {} is over", format_duration_ms(*ms))
            }
            Self::Limit { limit: TimeLimit::IdleTimeout, ms } => {
                write!(f, "was stopped: it was idle for {}", format_duration_ms(*ms))
            }
        }
    }
}

/// An image on this host.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct ObservedImage {
    /// Its reference.
    pub reference: ImageReference,
    /// The digest of its current contents.
    pub digest: Digest,
    /// Whether its root file system is built already.
    pub built: bool,
    /// Whether it declares a health check.
    #[serde(default)]
    pub healthcheck: bool,
}

impl Snapshot {
    /// Returns the digest of the state that a plan depends on, which is all but health, ports in use, external volumes,
    /// abilities of the host and values of secrets: a port that is taken, a volume that is missing or a value that cannot be
    /// read blocks the sandbox in the plan, and if that happens later, it fails the start. Values are compared again when
    /// they are passed on.
    pub fn digest(&self) -> Digest {
        let Self {
            project,
            sandboxes,
            unreadable,
            volumes,
            external: _,
            images,
            held_ports: _,
            mount_obstacle: _,
            secret_problems: _,
            changed_values: _,
        } = self;
        let sandboxes: Vec<_> = sandboxes
            .iter()
            .map(|(name, sandbox)| {
                let ObservedSandbox {
                    id,
                    generation,
                    spec,
                    status,
                    post_start_pending,
                    created: _,
                    should_run: _,
                } = sandbox;
                (name, id, generation, spec.digest(), status.state(), post_start_pending)
            })
            .collect();
        let images: Vec<_> = images
            .iter()
            .map(|(key, ObservedImage { reference: _, digest, built: _, healthcheck: _ })| (key, digest))
            .collect();
        Digest::of_json(&(project, sandboxes, unreadable, volumes, images))
    }

    /// Returns the image of a reference; `None` if it was not observed.
    pub fn image(&self, reference: &ImageReference) -> Option<&ObservedImage> {
        self.images.get(&reference.to_string())
    }
}

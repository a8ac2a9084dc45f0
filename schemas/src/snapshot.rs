//! What was observed: the catalog's rows of one project, checked against the living processes.

use crate::digest::Digest;
use crate::name::{ProjectName, SandboxId, SandboxName, VolumeName};
use crate::spec::{ImageReference, PortProtocol, SandboxSpec, VolumeSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// Everything that a plan is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Whose it is.
    pub project: ProjectName,
    /// The project's sandboxes as recorded.
    pub sandboxes: BTreeMap<SandboxName, ObservedSandbox>,
    /// Sandboxes whose record this version cannot read.
    pub unreadable: BTreeMap<SandboxName, UnreadableSandbox>,
    /// The project's volumes as recorded.
    pub volumes: BTreeMap<VolumeName, ObservedVolume>,
    /// The images that the model asked about.
    pub images: BTreeMap<String, ObservedImage>,
    /// Who on this host has ports that the model publishes.
    #[serde(default)]
    pub held_ports: BTreeSet<HeldPort>,
}

/// A port of the host that somebody listens on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeldPort {
    /// The host's address.
    pub bind: IpAddr,
    /// The host's port.
    pub host: u16,
    /// What it speaks.
    pub protocol: PortProtocol,
    /// Who listens.
    pub holder: PortHolder,
}

/// Who listens on a port of the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PortHolder {
    /// A sandbox, of this project or another one.
    Sandbox {
        /// Its project.
        project: ProjectName,
        /// Its name in that project.
        name: SandboxName,
    },
    /// A program that can be seen.
    Process {
        /// What it is called.
        program: String,
        /// Its process.
        pid: u32,
    },
    /// Somebody who cannot be seen, such as another user's program.
    Unknown,
}

/// One recorded sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedSandbox {
    /// The instance's id.
    pub id: SandboxId,
    /// Counts replacements, from 1.
    pub generation: u32,
    /// As last applied.
    pub spec: SandboxSpec,
    /// What it does now.
    pub status: Status,
    /// Whether its `post-start` hook has yet to run since it was last started.
    pub hook_due: bool,
    /// Whether its making came to the end; then one that is incomplete has lost its disk since.
    pub made: bool,
    /// Whether it is to run, as far as msb was last told.
    pub wanted: bool,
}

/// A sandbox of which no more can be read than which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableSandbox {
    /// The instance's id.
    pub id: SandboxId,
    /// Counts replacements, from 1.
    pub generation: u32,
    /// Why its record cannot be read.
    pub reason: String,
}

/// One recorded volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedVolume {
    /// As last applied.
    pub spec: VolumeSpec,
    /// Whether its making came to the end.
    pub made: bool,
}

/// What a sandbox does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Status {
    /// Recorded, but its making was cut off.
    Incomplete,
    /// Made, not running, on purpose.
    Stopped,
    /// Its supervisor lives.
    Running {
        /// What its health check says.
        health: Health,
    },
    /// It ended by itself and its restart policy leaves it so.
    Exited {
        /// How it ended.
        exit: Exit,
    },
    /// It should run, but its supervisor is gone.
    Lost,
}

/// What a health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Booting: the guest or its main process is not up yet.
    Booting,
    /// Up; there is no health check.
    Unchecked,
    /// Up; no probe has passed yet.
    Starting,
    /// The last probes passed.
    Healthy,
    /// Too many probes in a row failed.
    Unhealthy,
}

/// How a sandbox ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Exit {
    /// Its main process exited; 128 + n stands for signal n.
    Code {
        /// The exit code.
        code: i32,
    },
    /// Its main process could not be started.
    NotStarted {
        /// What a shell would exit with: 127 for a program that was not found, else 126.
        code: i32,
        /// Why, in the guest's words.
        message: String,
    },
    /// The virtual machine or the guest failed.
    Failure {
        /// What happened.
        message: String,
    },
}

impl Exit {
    /// True for exit code 0.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Code { code: 0 })
    }

    /// The exit code of the main process, or that of a shell that could not start it.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Code { code } | Self::NotStarted { code, .. } => Some(*code),
            Self::Failure { .. } => None,
        }
    }
}

/// What a sandbox did: to follow its name.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code { code } => write!(f, "exited with code {code}"),
            Self::NotStarted { message, .. } => write!(f, "did not start: {message}"),
            Self::Failure { message } => write!(f, "failed: {message}"),
        }
    }
}

/// An image as found on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedImage {
    /// What was asked for.
    pub reference: ImageReference,
    /// The digest of its contents now.
    pub digest: Digest,
    /// Whether its root file system is built already.
    pub built: bool,
    /// Whether it says how to tell that it is well.
    #[serde(default)]
    pub healthcheck: bool,
}

impl Snapshot {
    /// Identifies what a plan relied on: everything but the passing states of health, and the ports of the host.
    /// Whoever has one keeps a sandbox out of the plan, and whoever takes one later has its start fail.
    pub fn digest(&self) -> Digest {
        let Self { project, sandboxes, unreadable, volumes, images, held_ports: _ } = self;
        let sandboxes: Vec<_> = sandboxes
            .iter()
            .map(|(name, ObservedSandbox { id, generation, spec, status, hook_due, made: _, wanted: _ })| {
                let state = match status {
                    Status::Incomplete => "incomplete",
                    Status::Stopped => "stopped",
                    Status::Running { health: _ } => "running",
                    Status::Exited { exit } if exit.is_success() => "completed",
                    Status::Exited { exit: _ } => "failed",
                    Status::Lost => "lost",
                };
                (name, id, generation, spec.digest(), state, hook_due)
            })
            .collect();
        let images: Vec<_> = images
            .iter()
            .map(|(key, ObservedImage { reference: _, digest, built: _, healthcheck: _ })| (key, digest))
            .collect();
        Digest::of_json(&(project, sandboxes, unreadable, volumes, images))
    }

    /// The image that a reference stands for, if it was observed.
    pub fn image(&self, reference: &ImageReference) -> Option<&ObservedImage> {
        self.images.get(reference.as_str())
    }
}

//! The plan: a graph of resolved end states. Carrying it out twice is harmless.

use crate::digest::Digest;
use crate::name::{ProjectName, SandboxId, SandboxName, VolumeName};
use crate::spec::{Condition, HookEvent, PinnedImage, SandboxSpec, VolumeSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The version of the plan's JSON.
pub const PLAN_VERSION: u32 = 2;

/// What is to hold, in which order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanGraph {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// Whose plan it is.
    pub project: ProjectName,
    /// The digest of the snapshot that it was made from; applying refuses any other.
    pub snapshot: Digest,
    /// The steps, by id.
    pub steps: BTreeMap<StepId, Step>,
}

impl PlanGraph {
    /// True when nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// One node of the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The end state.
    pub ensure: Ensure,
    /// Steps that must have succeeded before.
    pub after: BTreeSet<StepId>,
}

/// Names a step, the same for the same end state in every plan: `start/web`, `wait/db/healthy`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(String);

impl StepId {
    /// Names a step by a verb and what it is about.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One instance of one sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its name in the project.
    pub name: SandboxName,
    /// The instance's id.
    pub id: SandboxId,
    /// Counts replacements, from 1.
    pub generation: u32,
}

/// An end state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ensure", deny_unknown_fields)]
pub enum Ensure {
    /// The image's root file system is built and stored under its digest.
    Image {
        /// Which one.
        image: PinnedImage,
    },
    /// The volume is recorded, and has its disk, of this size or larger.
    Volume {
        /// Its name in the project.
        name: VolumeName,
        /// Its whole desired state.
        spec: VolumeSpec,
    },
    /// Nothing of the volume is left: disk, record.
    VolumeRemoved {
        /// Its name in the project.
        name: VolumeName,
    },
    /// The sandbox is recorded with this spec, and has its folder and writable disk. It does not run.
    Sandbox {
        /// Which instance.
        identity: Identity,
        /// Its whole desired state.
        spec: Box<SandboxSpec>,
    },
    /// The sandbox, recorded with a spec of this digest, has a living supervisor.
    Started {
        /// Which instance.
        identity: Identity,
        /// The digest of the spec it boots with.
        spec: Digest,
    },
    /// The sandbox has reached a condition.
    Condition {
        /// Which instance.
        identity: Identity,
        /// What is awaited.
        condition: Condition,
    },
    /// The hook has run, with success, since the sandbox was last started.
    Hook {
        /// Which instance.
        identity: Identity,
        /// At which moment of its life.
        event: HookEvent,
        /// The command that runs inside it.
        command: Vec<String>,
    },
    /// The running sandbox follows this spec, which differs only in what can change live; recorded.
    Live {
        /// Which instance.
        identity: Identity,
        /// Its whole desired state.
        spec: Box<SandboxSpec>,
    },
    /// No process of the sandbox runs with the spec of this digest.
    Stopped {
        /// Which instance.
        identity: Identity,
        /// The digest of the spec that is to run no longer.
        spec: Digest,
    },
    /// Nothing of this instance is left: process, socket, disk, record.
    Removed {
        /// Which instance.
        identity: Identity,
    },
}

impl Ensure {
    /// The sandbox that it is about, if any.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Image { image: _ } | Self::Volume { .. } | Self::VolumeRemoved { .. } => None,
            Self::Hook { identity, .. }
            | Self::Sandbox { identity, .. }
            | Self::Started { identity, .. }
            | Self::Condition { identity, .. }
            | Self::Live { identity, .. }
            | Self::Stopped { identity, .. }
            | Self::Removed { identity } => Some(identity),
        }
    }
}

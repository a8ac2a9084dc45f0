//! The plan: a graph of resolved end states. Carrying it out twice is harmless.

use crate::digest::Digest;
use crate::name::{ProjectName, SandboxId, SandboxName, VolumeName};
use crate::spec::{Condition, HookEvent, PinnedImage, SandboxSpec, ValueName, VolumeSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// The version of the JSON of a plan and its report.
pub const PLAN_VERSION: u32 = 3;

/// The end states to ensure, and their order.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanGraph {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The project.
    pub project: ProjectName,
    /// The digest of the snapshot that it was made from; apply refuses any other.
    pub snapshot: Digest,
    /// The steps, by id.
    pub steps: BTreeMap<StepId, Step>,
}

impl PlanGraph {
    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// One node of the graph.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The end state.
    pub ensure: Ensure,
    /// Steps that must have succeeded first.
    pub after: BTreeSet<StepId>,
}

/// The key of a step: equal end states have equal keys in every plan. Its text, as JSON and people have it, is
/// `start/web`, `wait/db/healthy`, `image/<64 hex digits>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepId {
    /// Runs a hook: `hook/web/post-start`.
    Hook(InstanceKey, HookEvent),
    /// Builds the image of this digest: `image/<hex>`.
    Image(Digest),
    /// Changes a sandbox while it runs: `live/web`.
    Live(InstanceKey),
    /// Removes a volume: `remove-volume/data`.
    RemoveVolume(VolumeName),
    /// Removes a sandbox: `remove/web`.
    Remove(InstanceKey),
    /// Records a sandbox and creates its folder and disk: `sandbox/web`.
    Sandbox(InstanceKey),
    /// Starts a sandbox: `start/web`.
    Start(InstanceKey),
    /// Stops a sandbox: `stop/web`.
    Stop(InstanceKey),
    /// Creates a volume or lets it grow: `volume/data`.
    Volume(VolumeName),
    /// Waits until a sandbox has reached a condition: `wait/db/healthy`.
    Wait(SandboxName, Condition),
}

/// A sandbox in a [`StepId`]: `web`, or `web@2` in a plan that has steps of two generations of `web`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey {
    /// Its name in the project.
    pub name: SandboxName,
    /// Its generation, where the plan has steps of two.
    pub generation: Option<u32>,
}

impl From<&SandboxName> for InstanceKey {
    fn from(name: &SandboxName) -> Self {
        Self { name: name.clone(), generation: None }
    }
}

impl fmt::Display for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, generation } = self;
        match generation {
            None => write!(f, "{name}"),
            Some(generation) => write!(f, "{name}@{generation}"),
        }
    }
}

impl InstanceKey {
    fn parse(text: &str) -> Option<Self> {
        let (name, generation) = text.split_once('@').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let generation = generation.map(str::parse).transpose().ok()?;
        Some(Self { name: SandboxName::new(name).ok()?, generation })
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook(instance, event) => write!(f, "hook/{instance}/{event}"),
            Self::Image(digest) => write!(f, "image/{}", digest.hex()),
            Self::Live(instance) => write!(f, "live/{instance}"),
            Self::RemoveVolume(volume) => write!(f, "remove-volume/{volume}"),
            Self::Remove(instance) => write!(f, "remove/{instance}"),
            Self::Sandbox(instance) => write!(f, "sandbox/{instance}"),
            Self::Start(instance) => write!(f, "start/{instance}"),
            Self::Stop(instance) => write!(f, "stop/{instance}"),
            Self::Volume(volume) => write!(f, "volume/{volume}"),
            Self::Wait(sandbox, condition) => write!(f, "wait/{sandbox}/{condition}"),
        }
    }
}

impl fmt::Debug for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not the text of a [`StepId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the id of a step")]
pub struct InvalidStepId {
    /// The text.
    pub text: String,
}

impl FromStr for StepId {
    type Err = InvalidStepId;

    fn from_str(text: &str) -> Result<Self, InvalidStepId> {
        let parse = || {
            let (verb, rest) = text.split_once('/')?;
            let volume = || VolumeName::new(rest).ok();
            Some(match verb {
                "hook" => {
                    let (instance, event) = rest.split_once('/')?;
                    Self::Hook(InstanceKey::parse(instance)?, HookEvent::from_word(event)?)
                }
                "image" => Self::Image(Digest::try_from(format!("{}{rest}", Digest::PREFIX)).ok()?),
                "live" => Self::Live(InstanceKey::parse(rest)?),
                "remove-volume" => Self::RemoveVolume(volume()?),
                "remove" => Self::Remove(InstanceKey::parse(rest)?),
                "sandbox" => Self::Sandbox(InstanceKey::parse(rest)?),
                "start" => Self::Start(InstanceKey::parse(rest)?),
                "stop" => Self::Stop(InstanceKey::parse(rest)?),
                "volume" => Self::Volume(volume()?),
                "wait" => {
                    let (sandbox, condition) = rest.split_once('/')?;
                    let condition = Condition::from_word(condition)?;
                    Self::Wait(SandboxName::new(sandbox).ok()?, condition)
                }
                _ => return None,
            })
        };
        parse().ok_or_else(|| InvalidStepId { text: text.to_owned() })
    }
}

rules::serde_as_text!(StepId);

/// One instance of one sandbox.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ensure", deny_unknown_fields)]
pub enum Ensure {
    /// The image's root file system is built and stored under its digest.
    Image {
        /// The image.
        image: PinnedImage,
    },
    /// The volume is recorded, and has its disk, of this size or larger.
    Volume {
        /// Its name in the project.
        name: VolumeName,
        /// Its whole desired state.
        spec: VolumeSpec,
    },
    /// The volume's disk and record are gone.
    VolumeRemoved {
        /// Its name in the project.
        name: VolumeName,
    },
    /// The sandbox is recorded with this spec, and has its folder and writable disk. It does not run.
    Sandbox {
        /// The instance.
        identity: Identity,
        /// Its whole desired state.
        spec: Box<SandboxSpec>,
    },
    /// The sandbox, recorded with a spec of this digest, has a living supervisor.
    Started {
        /// The instance.
        identity: Identity,
        /// The digest of the spec it boots with.
        spec: Digest,
    },
    /// The sandbox has reached a condition.
    Condition {
        /// The instance.
        identity: Identity,
        /// The condition.
        condition: Condition,
    },
    /// The hook has run, with success, since the sandbox was last started.
    Hook {
        /// The instance.
        identity: Identity,
        /// The event that triggers it.
        event: HookEvent,
        /// The command, run in the guest.
        command: Vec<String>,
    },
    /// The running sandbox has this spec, which differs only in fields that can change live, and the spec is recorded.
    Live {
        /// The instance.
        identity: Identity,
        /// Its whole desired state.
        spec: Box<SandboxSpec>,
        /// The values that are read again on this host and passed on if they differ.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        values: BTreeSet<ValueName>,
    },
    /// No process of the sandbox runs with the spec of this digest.
    Stopped {
        /// The instance.
        identity: Identity,
        /// The digest of the spec that must not run.
        spec: Digest,
    },
    /// The instance's processes, sockets, disk and record are gone.
    Removed {
        /// The instance.
        identity: Identity,
    },
}

impl Ensure {
    /// The instance that it is about; `None` for images and volumes.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_ids_round_trip_as_text() {
        let digest = Digest::of_bytes(b"");
        let texts = [
            "hook/web/post-start".to_owned(),
            "hook/web@2/pre-stop".to_owned(),
            format!("image/{}", digest.hex()),
            "live/web".to_owned(),
            "remove-volume/data".to_owned(),
            "remove/web@1".to_owned(),
            "sandbox/web".to_owned(),
            "start/web@2".to_owned(),
            "stop/web".to_owned(),
            "volume/data".to_owned(),
            "wait/db/healthy".to_owned(),
        ];
        for text in texts {
            let id: StepId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(serde_json::to_value(&id).unwrap(), text);
            assert_eq!(serde_json::from_value::<StepId>(text.into()).unwrap(), id);
        }
    }

    #[test]
    fn other_texts_are_no_step_ids() {
        for text in [
            "",
            "start",
            "start/",
            "start/Web",
            "start/web@",
            "start/web@x",
            "image/12",
            "hook/web",
            "hook/web/x",
            "wait/db",
            "wait/db/x",
            "run/web",
            "web/start",
        ] {
            assert_eq!(text.parse::<StepId>(), Err(InvalidStepId { text: text.to_owned() }));
        }
    }
}

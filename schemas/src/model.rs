//! The Sandboxfile as validated: every reference resolves, every value has its unit, nothing is left to check.
//!
//! There is no `Deserialize`: a [`Model`] comes out of the front end's validation, the only caller of [`Model::new`]
//! and [`Sandbox::new`].

use crate::name::{ProjectName, SandboxName, VolumeName};
use crate::spec::{Definition, ImageReference, VolumeSpec};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A whole project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    project: ProjectName,
    volumes: BTreeMap<VolumeName, VolumeSpec>,
    sandboxes: Vec<Sandbox>,
}

/// One sandbox of a project: of a sandbox with several replicas, one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sandbox {
    name: SandboxName,
    replica: Option<Replica>,
    profiles: BTreeSet<String>,
    image: ImageReference,
    definition: Definition,
}

/// Which one of several it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replica {
    /// The name in the Sandboxfile, which all of them share: `worker` for `worker-2`.
    pub family: SandboxName,
    /// From 1.
    pub number: u32,
    /// How many there are.
    pub count: u32,
}

impl Model {
    /// Puts checked parts together; the sandboxes are kept sorted by name, whatever order they were written in.
    pub fn new(
        project: ProjectName,
        volumes: BTreeMap<VolumeName, VolumeSpec>,
        mut sandboxes: Vec<Sandbox>,
    ) -> Self {
        sandboxes.sort_by(|a, b| a.name.cmp(&b.name));
        Self { project, volumes, sandboxes }
    }

    /// The same project, whose sandboxes run nothing by themselves where they are not told what to: not even what
    /// their images say.
    pub fn idle(mut self) -> Self {
        for sandbox in &mut self.sandboxes {
            sandbox.definition.start.get_or_insert_default();
        }
        self
    }

    /// The project's name.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// The volumes.
    pub fn volumes(&self) -> &BTreeMap<VolumeName, VolumeSpec> {
        &self.volumes
    }

    /// The sandboxes and jobs, each replica of its own, sorted by name.
    pub fn sandboxes(&self) -> &[Sandbox] {
        &self.sandboxes
    }

    /// One sandbox by its name in the project.
    pub fn sandbox(&self, name: &SandboxName) -> Option<&Sandbox> {
        self.sandboxes
            .binary_search_by(|sandbox| sandbox.name.cmp(name))
            .ok()
            .map(|index| &self.sandboxes[index])
    }

    /// The sandboxes that a name of the Sandboxfile stands for: itself, or all its replicas.
    pub fn family<'a>(&'a self, name: &'a SandboxName) -> impl Iterator<Item = &'a Sandbox> {
        self.sandboxes.iter().filter(move |sandbox| sandbox.family() == name)
    }
}

impl Sandbox {
    /// Puts checked parts together.
    pub fn new(
        name: SandboxName,
        replica: Option<Replica>,
        profiles: BTreeSet<String>,
        image: ImageReference,
        definition: Definition,
    ) -> Self {
        Self { name, replica, profiles, image, definition }
    }

    /// Its name inside the project.
    pub fn name(&self) -> &SandboxName {
        &self.name
    }

    /// Which of several replicas it is; nothing for the only one.
    pub fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref()
    }

    /// Its name in the Sandboxfile, which its replicas share.
    pub fn family(&self) -> &SandboxName {
        self.replica.as_ref().map_or(&self.name, |replica| &replica.family)
    }

    /// The profiles that it belongs to. Without any, it is part of each `up`; else only when one of them is
    /// asked for, or when it is named, or when another one depends on it.
    pub fn profiles(&self) -> &BTreeSet<String> {
        &self.profiles
    }

    /// What it boots from.
    pub fn image(&self) -> &ImageReference {
        &self.image
    }

    /// All else about it.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }
}

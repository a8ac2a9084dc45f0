//! The Sandboxfile as validated: every reference resolves, every value has its unit, nothing is left to check.
//!
//! There is no `Deserialize` and no public way to build one: a [`Model`] comes out of validation.

use crate::name::{ProjectName, SandboxName};
use crate::spec::{Definition, ImageReference};
use serde::Serialize;

/// A whole project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    project: ProjectName,
    sandboxes: Vec<Sandbox>,
}

/// One sandbox of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sandbox {
    name: SandboxName,
    image: ImageReference,
    definition: Definition,
}

impl Model {
    /// Puts checked parts together; the sandboxes are kept sorted by name, whatever order they were written in.
    #[cfg_attr(not(feature = "sandboxfile"), allow(dead_code))]
    pub(crate) fn new(project: ProjectName, mut sandboxes: Vec<Sandbox>) -> Self {
        sandboxes.sort_by(|a, b| a.name.cmp(&b.name));
        Self { project, sandboxes }
    }

    /// The project's name.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// The sandboxes and jobs, sorted by name.
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
}

impl Sandbox {
    /// Puts checked parts together.
    #[cfg_attr(not(feature = "sandboxfile"), allow(dead_code))]
    pub(crate) fn new(name: SandboxName, image: ImageReference, definition: Definition) -> Self {
        Self { name, image, definition }
    }

    /// Its name inside the project.
    pub fn name(&self) -> &SandboxName {
        &self.name
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

//! What is in force round a process, and why not more.

use crate::namespaces::{Namespace, Obtained};
use serde::{Deserialize, Serialize};

/// The name of the layer of limits, with which its gaps begin.
pub const LIMITS: &str = "limits (cgroup)";

/// A layer of the jail.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Layer {
    /// It is in force.
    InForce,
    /// A part of it is in force.
    Partial {
        /// The reason.
        why: String,
    },
    /// It is not in force.
    Missing {
        /// The reason.
        why: String,
    },
}

/// The layers round a process.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// The namespaces of its own.
    pub namespaces: Vec<Namespace>,
    /// Why these are not all that it should have.
    pub namespaces_refused: Option<String>,
    /// A root directory with nothing but what it needs.
    pub root: Layer,
    /// The loss of all capabilities that it does not need.
    pub capabilities: Layer,
    /// The files that it may open.
    pub files: Layer,
    /// The system calls that it may make.
    pub syscalls: Layer,
    /// The limits on what it uses; `None` from an earlier version.
    #[serde(default)]
    pub limits: Option<Layer>,
}

impl Confinement {
    /// Describes these namespaces and limits, and no other layers yet.
    pub(crate) fn new(namespaces: &Obtained, limits: &Layer) -> Self {
        let missing = || Layer::Missing { why: "it has not been set up".to_owned() };
        let refused = namespaces.refused.map(|errno| {
            let error = std::io::Error::from_raw_os_error(errno);
            format!("the kernel refuses others: {error}")
        });
        Self {
            namespaces: namespaces.kinds.clone(),
            namespaces_refused: refused,
            root: missing(),
            capabilities: missing(),
            files: missing(),
            syscalls: missing(),
            limits: Some(limits.clone()),
        }
    }
}

impl Confinement {
    /// Describes what is in force, in short phrases.
    pub fn in_force(&self) -> Vec<String> {
        let names: Vec<&str> = self.namespaces.iter().map(|kind| kind.name()).collect();
        let namespaces = (!names.is_empty()).then(|| format!("own namespaces ({})", names.join(", ")));
        let layers = self.layers().filter(|(_, layer)| !matches!(layer, Layer::Missing { .. }));
        namespaces.into_iter().chain(layers.map(|(name, _)| name.to_owned())).collect()
    }

    /// Describes what is not in force, with the reasons.
    pub fn gaps(&self) -> Vec<String> {
        let namespaces = self.namespaces_refused.iter().map(|why| format!("namespaces: {why}"));
        let layers = self.layers().filter_map(|(name, layer)| match layer {
            Layer::InForce => None,
            Layer::Partial { why } | Layer::Missing { why } => Some(format!("{name}: {why}")),
        });
        namespaces.chain(layers).collect()
    }

    fn layers(&self) -> impl Iterator<Item = (&'static str, &Layer)> {
        let layers = [
            ("own root directory", &self.root),
            ("no capabilities", &self.capabilities),
            ("few files (landlock)", &self.files),
            ("few system calls (seccomp)", &self.syscalls),
        ];
        layers.into_iter().chain(self.limits.as_ref().map(|layer| (LIMITS, layer)))
    }
}

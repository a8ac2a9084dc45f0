//! The declaration of one sandbox, for its guest.
//!
//! Paths below the project's folder are relative to it: a guest need not know where on the host they are. A secret has
//! its source, never its value.

use super::kdl_text::string;
use super::push_kdl;
use schemas::model::Sandbox;
use schemas::name::{ProjectName, SandboxName};
use schemas::spec::{ImageReference, PinnedImage, SandboxSpec};
use std::collections::BTreeSet;
use std::path::Path;

/// Returns one sandbox in KDL; host paths below `folder` are relative to it.
pub fn sandbox(
    project: &ProjectName,
    name: &SandboxName,
    spec: &SandboxSpec,
    folder: Option<&Path>,
) -> String {
    let SandboxSpec { image: PinnedImage { reference, digest: _ }, definition } = spec;
    let image = match reference {
        ImageReference::Local { path } => ImageReference::Local { path: from(folder, path) },
        ImageReference::Registry { .. } | ImageReference::Snapshot { .. } => reference.clone(),
    };
    let mut definition = definition.clone();
    definition.map_host_paths(&|path| from(folder, path));
    let sandbox = Sandbox::new(name.clone(), None, BTreeSet::new(), image, definition);
    let depends_on = sandbox.definition().depends_on.iter().map(|(on, condition)| (on, *condition)).collect();
    let mut text =
        if project.is_of_one() { String::new() } else { format!("project {}\n\n", string(project.as_str())) };
    push_kdl(&mut text, &sandbox, &depends_on);
    text
}

fn from(folder: Option<&Path>, path: &str) -> String {
    let below = folder.and_then(|folder| Path::new(path).strip_prefix(folder).ok()).and_then(Path::to_str);
    match below {
        None => path.to_owned(),
        Some("") => ".".to_owned(),
        Some(below) => format!("./{below}"),
    }
}

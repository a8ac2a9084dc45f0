//! One sandbox alone, for itself: what a guest is shown of its own declaration.
//!
//! Paths below the project's folder are written from there on, as the Sandboxfile has them: a guest need not
//! know where on the host they are. Of a secret there is the source, and never the value, which nobody here has.

use super::Family;
use super::kdl::push_sandbox;
use super::kdl_text::string;
use schemas::model::Sandbox;
use schemas::name::{ProjectName, SandboxName};
use schemas::spec::{
    Definition, ImageReference, Mount, MountSource, PinnedImage, SandboxSpec, Secret, SecretSource, Sync,
};
use std::collections::BTreeSet;
use std::path::Path;

/// A sandbox by itself in KDL.
pub fn one(project: &ProjectName, name: &SandboxName, spec: &SandboxSpec, folder: Option<&Path>) -> String {
    let SandboxSpec { image: PinnedImage { reference, digest: _ }, definition } = spec;
    let image = match reference {
        ImageReference::Local { path } => ImageReference::Local { path: from(folder, path) },
        ImageReference::Registry { name } => ImageReference::Registry { name: name.clone() },
    };
    let sandbox =
        Sandbox::new(name.clone(), None, BTreeSet::new(), image, definition_from(folder, definition.clone()));
    let depends_on = definition.depends_on.iter().map(|(on, condition)| (on, *condition)).collect();
    let mut text = match project.is_of_one() {
        true => String::new(),
        false => format!("project {}\n\n", string(project.as_str())),
    };
    push_sandbox(&mut text, &Family { sandbox: &sandbox, depends_on });
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

/// The same definition with every path of the host written from the folder on.
fn definition_from(folder: Option<&Path>, mut definition: Definition) -> Definition {
    // Whole, so that a new field with a path in it is looked at here before it is built.
    let Definition {
        role: _,
        cpus: _,
        memory_mib: _,
        disk_mib: _,
        env: _,
        workdir: _,
        user: _,
        shell: _,
        scripts: _,
        start: _,
        mounts,
        sync,
        ports: _,
        network: _,
        secrets,
        hooks: _,
        depends_on: _,
        healthcheck: _,
        restart: _,
        logs: _,
        labels: _,
    } = &mut definition;
    for Mount { source, readonly: _, noexec: _, nosuid: _, nodev: _, stat_virt: _, host_perms: _ } in
        mounts.values_mut()
    {
        match source {
            MountSource::Host { path } => *path = from(folder, path),
            MountSource::Volume { name: _ } => {}
        }
    }
    for Sync { source, ignore: _ } in sync.values_mut() {
        *source = from(folder, source);
    }
    for Secret { from: source, hosts: _, on_violation: _ } in secrets.values_mut() {
        match source {
            SecretSource::File { path } => *path = from(folder, path),
            SecretSource::Env { name: _ } | SecretSource::Command { argv: _ } => {}
        }
    }
    definition
}

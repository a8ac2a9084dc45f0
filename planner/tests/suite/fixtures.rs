//! Models from text, and the worlds that plans meet.

use sandboxfile::{AssumePresent, Format, Input, Source, load};
use schemas::digest::Digest;
use schemas::model::Model;
use schemas::name::{ProjectName, SandboxName};
use schemas::snapshot::{ObservedImage, Snapshot};
use schemas::spec::ImageReference;
use std::collections::{BTreeMap, BTreeSet};

/// A Sandboxfile in KDL as a model.
pub fn model(text: &str) -> Model {
    let source = Source {
        name: "Sandboxfile",
        path: None,
        bytes: text.as_bytes(),
        format: Format::Kdl,
        folder: "/shop",
    };
    let input = Input { default_project: Some(project()), ..Input::of(source) };
    let loaded = load(&input, &AssumePresent).unwrap_or_else(|report| {
        panic!(
            "{report:?}
{text}"
        )
    });
    loaded.model
}

pub fn project() -> ProjectName {
    ProjectName::new("shop").unwrap()
}

pub fn name(text: &str) -> SandboxName {
    SandboxName::new(text).unwrap()
}

pub fn names(texts: &[&str]) -> BTreeSet<SandboxName> {
    texts.iter().map(|text| name(text)).collect()
}

/// A project of which nothing is recorded.
pub fn nothing() -> Snapshot {
    Snapshot {
        project: project(),
        sandboxes: BTreeMap::new(),
        unreadable: BTreeMap::new(),
        volumes: BTreeMap::new(),
        images: BTreeMap::new(),
        held_ports: BTreeSet::new(),
        external: Default::default(),
        mount_obstacle: None,
        secret_problems: Default::default(),
        changed_values: Default::default(),
    }
}

/// Looks at a model's images; `contents` of a path stands for what is in it, the path itself by default.
pub fn observe_images(
    snapshot: &mut Snapshot,
    model: &Model,
    contents: &BTreeMap<String, String>,
    built: bool,
) {
    let references: BTreeSet<&ImageReference> =
        model.sandboxes().iter().map(|sandbox| sandbox.image()).collect();
    snapshot.images = references
        .into_iter()
        // What a registry holds is not known before it is pulled.
        .filter(|reference| matches!(reference, ImageReference::Local { .. }))
        .map(|reference| {
            let path = reference.to_string();
            let content = contents.get(&path).unwrap_or(&path);
            let digest = Digest::of_bytes(content.as_bytes());
            (path, ObservedImage { reference: reference.clone(), digest, built, healthcheck: false })
        })
        .collect();
}

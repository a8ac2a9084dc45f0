//! The differences between two snapshots: why a plan that was made from the first one is stale.

use schemas::name::{SandboxName, VolumeName};
use schemas::snapshot::{ObservedImage, ObservedSandbox, ObservedVolume, Snapshot, State};
use schemas::spec::VolumeSpec;
use schemas::spec::diff::changes;
use std::collections::{BTreeMap, BTreeSet};

/// A difference between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// What differs.
    pub subject: Subject,
    /// How.
    pub change: Change,
}

/// The part of a snapshot that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A sandbox.
    Sandbox(SandboxName),
    /// A volume.
    Volume(VolumeName),
    /// An image, by its reference.
    Image(String),
}

/// How a part of a snapshot differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another instance of the sandbox.
    Replaced,
    /// Fields of the sandbox differ.
    FieldsChanged {
        /// The first of them.
        first: String,
        /// How many more there are.
        more: usize,
    },
    /// The sandbox is in another state.
    StateChanged {
        /// Its state in the first snapshot.
        from: State,
        /// Its state now.
        to: State,
    },
    /// The sandbox's post-start hook has run.
    PostStartRan,
    /// The sandbox's post-start hook has to run.
    PostStartPending,
    /// The sandbox's record cannot be read.
    Unreadable,
    /// The sandbox's record could not be read, and is readable or gone.
    NoLongerUnreadable,
    /// The volume has another kind or size.
    VolumeChanged {
        /// Its spec in the first snapshot.
        from: VolumeSpec,
        /// Its spec now.
        to: VolumeSpec,
    },
    /// The volume was created again.
    Recreated,
    /// The image has other contents.
    ContentsChanged,
}

/// Returns what differs between two snapshots of a project, sorted by subject.
pub fn staleness(then: &Snapshot, now: &Snapshot) -> Vec<Staleness> {
    let Snapshot {
        project: _,
        sandboxes,
        unreadable,
        volumes,
        external: _,
        images,
        held_ports: _,
        mount_obstacle: _,
        secret_problems: _,
        changed_values: _,
    } = then;
    let mut found = differences([sandboxes, &now.sandboxes], Subject::Sandbox, |then, now| {
        compare(then, now, compare_sandboxes)
    });
    found.extend(differences([unreadable, &now.unreadable], Subject::Sandbox, |then, now| match now {
        now if then == now => None,
        Some(_) => Some(Change::Unreadable),
        None => Some(Change::NoLongerUnreadable),
    }));
    found.extend(differences([volumes, &now.volumes], Subject::Volume, |then, now| {
        compare(then, now, compare_volumes)
    }));
    found.extend(differences([images, &now.images], Subject::Image, |then, now| {
        compare(then, now, compare_images)
    }));
    found
}

fn differences<K: Clone + Ord, V>(
    [then, now]: [&BTreeMap<K, V>; 2],
    subject: fn(K) -> Subject,
    compare: impl Fn(Option<&V>, Option<&V>) -> Option<Change>,
) -> Vec<Staleness> {
    let names: BTreeSet<&K> = then.keys().chain(now.keys()).collect();
    let difference = |name: &K| {
        let change = compare(then.get(name), now.get(name))?;
        Some(Staleness { subject: subject(name.clone()), change })
    };
    names.into_iter().filter_map(difference).collect()
}

fn compare<T>(
    then: Option<&T>,
    now: Option<&T>,
    compare_both: impl Fn(&T, &T) -> Option<Change>,
) -> Option<Change> {
    match (then, now) {
        (Some(then), Some(now)) => compare_both(then, now),
        (Some(_), None) => Some(Change::Removed),
        (None, Some(_)) => Some(Change::Added),
        (None, None) => None,
    }
}

fn compare_sandboxes(then: &ObservedSandbox, now: &ObservedSandbox) -> Option<Change> {
    if then.id != now.id {
        return Some(Change::Replaced);
    }
    let (old, new) = (&then.spec, &now.spec);
    let changed = changes((&old.image, &old.definition), (&new.image, &new.definition));
    if let [first, more @ ..] = changed.as_slice() {
        return Some(Change::FieldsChanged { first: first.field.clone(), more: more.len() });
    }
    let (from, to) = (then.status.state(), now.status.state());
    if from != to {
        return Some(Change::StateChanged { from, to });
    }
    match (then.post_start_pending, now.post_start_pending) {
        (true, false) => Some(Change::PostStartRan),
        (false, true) => Some(Change::PostStartPending),
        (true, true) | (false, false) => None,
    }
}

fn compare_volumes(then: &ObservedVolume, now: &ObservedVolume) -> Option<Change> {
    if then.spec != now.spec {
        return Some(Change::VolumeChanged { from: then.spec.clone(), to: now.spec.clone() });
    }
    (then.created != now.created).then_some(Change::Recreated)
}

fn compare_images(then: &ObservedImage, now: &ObservedImage) -> Option<Change> {
    (then.digest != now.digest).then_some(Change::ContentsChanged)
}

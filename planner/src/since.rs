//! What has happened between two observations, in words: why a plan that was made then is stale now.

use crate::diff::fields;
use rules::unit::format_size_mib;
use schemas::snapshot::{ObservedImage, ObservedSandbox, ObservedVolume, Snapshot, Status};
use std::collections::BTreeSet;

/// What of a plan's snapshot is no longer true, one clause each, sorted by what it is about.
pub fn since(then: &Snapshot, now: &Snapshot) -> Vec<String> {
    let Snapshot { project: _, sandboxes, unreadable, volumes, images, held_ports: _ } = then;
    let mut found = Vec::new();
    let mut compare =
        |what: String, text: Option<String>| found.extend(text.map(|text| format!("{what} {text}")));
    for name in union(sandboxes.keys(), now.sandboxes.keys()) {
        compare(name.to_string(), either(sandboxes.get(name), now.sandboxes.get(name), sandbox));
    }
    for name in union(unreadable.keys(), now.unreadable.keys()) {
        let text = match (unreadable.get(name), now.unreadable.get(name)) {
            (then, now) if then == now => None,
            (_, Some(_)) => Some("has a record that cannot be read"),
            (_, None) => Some("has a record that could not be read, and now can, or is gone"),
        };
        compare(name.to_string(), text.map(str::to_owned));
    }
    for name in union(volumes.keys(), now.volumes.keys()) {
        compare(format!("the volume {name}"), either(volumes.get(name), now.volumes.get(name), volume));
    }
    for key in union(images.keys(), now.images.keys()) {
        compare(format!("the image {key}"), either(images.get(key), now.images.get(key), image));
    }
    found
}

fn union<'a, T: Ord>(then: impl Iterator<Item = &'a T>, now: impl Iterator<Item = &'a T>) -> BTreeSet<&'a T> {
    then.chain(now).collect()
}

fn either<T>(then: Option<&T>, now: Option<&T>, both: impl Fn(&T, &T) -> Option<String>) -> Option<String> {
    match (then, now) {
        (Some(then), Some(now)) => both(then, now),
        (Some(_), None) => Some("is there no longer".to_owned()),
        (None, Some(_)) => Some("is new".to_owned()),
        (None, None) => None,
    }
}

fn sandbox(then: &ObservedSandbox, now: &ObservedSandbox) -> Option<String> {
    if then.id != now.id {
        return Some("was replaced".to_owned());
    }
    let (old, new) = (&then.spec, &now.spec);
    let changed = fields((&old.image, &old.definition), (&new.image, &new.definition));
    if let Some(first) = changed.first() {
        let more = if changed.len() > 1 { " and more" } else { "" };
        return Some(format!("was changed: {}{more}", first.field));
    }
    let states = [&then.status, &now.status].map(state);
    if states[0] != states[1] {
        return Some(format!("was {}, and is {}", states[0], states[1]));
    }
    match (then.hook_due, now.hook_due) {
        (true, false) => Some("has run its post-start hook".to_owned()),
        (false, true) => Some("has to run its post-start hook".to_owned()),
        _ => None,
    }
}

/// As far as a plan relies on it: how well one that runs is, is not told.
fn state(status: &Status) -> &'static str {
    match status {
        Status::Incomplete => "half-made",
        Status::Stopped => "stopped",
        Status::Running { health: _ } => "running",
        Status::Exited { exit } if exit.is_success() => "completed",
        Status::Exited { exit: _ } => "failed",
        Status::Lost => "without its supervisor",
    }
}

fn volume(then: &ObservedVolume, now: &ObservedVolume) -> Option<String> {
    let sizes = [then, now].map(|volume| volume.spec.size_mib);
    if sizes[0] != sizes[1] {
        let [then, now] = sizes.map(|mib| format_size_mib(mib.into()));
        return Some(format!("had {then}, and has {now}"));
    }
    (then.made != now.made).then(|| "was made anew".to_owned())
}

fn image(then: &ObservedImage, now: &ObservedImage) -> Option<String> {
    (then.digest != now.digest).then(|| "holds something else".to_owned())
}

//! Replicas of a sandbox: `worker` with 3 replicas becomes `worker-1`, `worker-2` and `worker-3`.

use super::budget::{ENTRY_BYTES, Growth};
use super::sandbox::{Checked, Declaration, RawSandbox};
use crate::diagnostics::{Code, Context, Diagnostic};
use schemas::model::{Replica, Sandbox};
use schemas::name::SandboxName;
use schemas::spec::Condition;
use std::collections::{BTreeMap, HashMap};

/// Returns the name of a replica; `None` when it is too long.
fn replica_name(family: &SandboxName, number: u32) -> Option<SandboxName> {
    SandboxName::new(format!("{family}-{number}")).ok()
}

/// Charges every replica and its dependencies before they are made.
pub(crate) fn charge(context: &mut Context<'_>, raw: &[RawSandbox], checked: &[Checked]) -> Option<()> {
    let families = families(checked);
    for (sandbox, raw) in checked.iter().zip(raw) {
        context.speak_as(raw.name.span);
        let place = raw.replicas.as_ref().map_or(raw.name.span, |replicas| replicas.span);
        context.charge_sandboxes(sandbox.declaration.replicas, place)?;
        let (replicas, mut each) = (sandbox.declaration.replicas as usize, 0);
        if replicas > 1 {
            let files = sandbox.definition.files.values();
            let contents: usize = files.map(|file| file.contents.bytes().len()).sum();
            each = ENTRY_BYTES + raw.weight() + contents;
        }
        for on in sandbox.definition.depends_on.keys() {
            let copies = families.get(on).map_or(0, |count| *count as usize);
            each += copies * (ENTRY_BYTES + on.as_str().len());
        }
        context.charge(Growth::Replicas, replicas.saturating_mul(each), place)?;
    }
    Some(())
}

/// Returns the sandboxes with several replicas, and their numbers.
fn families(checked: &[Checked]) -> HashMap<SandboxName, u32> {
    let several = checked.iter().filter(|sandbox| sandbox.declaration.replicas > 1);
    several.map(|sandbox| (sandbox.name.clone(), sandbox.declaration.replicas)).collect()
}

/// Checks that the names of replicas are unique and not too long.
pub(crate) fn check_names(context: &mut Context<'_>, raw: &[RawSandbox], checked: &[Checked]) {
    if checked.iter().all(|sandbox| sandbox.declaration.replicas == 1) {
        return;
    }
    let taken: HashMap<&str, &RawSandbox> =
        checked.iter().zip(raw).map(|(sandbox, raw)| (sandbox.name.as_str(), raw)).collect();
    for (sandbox, raw) in checked.iter().zip(raw).filter(|(sandbox, _)| sandbox.declaration.replicas > 1) {
        context.speak_as(raw.name.span);
        let place = raw.replicas.as_ref().map_or(raw.name.span, |replicas| replicas.span);
        for number in 1..=sandbox.declaration.replicas {
            let name = replica_name(&sandbox.name, number);
            let Some(name) = name else {
                let message = "the names of the replicas are too long";
                context.push(
                    Diagnostic::error(Code::InvalidName, raw.name.span, message)
                        .label(format!("`-{number}` follows it"))
                        .also(place, "so many of them")
                        .help("choose a shorter name"),
                );
                break;
            };
            if let Some(other) = taken.get(name.as_str()) {
                let message = format!("two sandboxes are called `{name}`");
                context.push(
                    Diagnostic::error(Code::DuplicateName, other.name.span, message)
                        .label("the name of a replica")
                        .also(place, format!("replica {number} of `{}`", sandbox.name))
                        .help("choose another name for one of the two"),
                );
            }
        }
    }
}

/// Makes each replica a sandbox of its own. A dependency on a sandbox with replicas becomes one on each of them.
pub(crate) fn expand(checked: Vec<Checked>) -> Vec<Sandbox> {
    let families = families(&checked);
    let mut sandboxes = Vec::new();
    for Checked { name, declaration, mut definition } in checked {
        let Declaration { image, like: (), replicas, profiles } = declaration;
        if !families.is_empty() {
            definition.depends_on = expand_dependencies(definition.depends_on, &families);
        }
        if replicas == 1 {
            sandboxes.push(Sandbox::new(name, None, profiles, image, definition));
            continue;
        }
        for number in 1..=replicas {
            let replica = Replica { family: name.clone(), number, count: replicas };
            let Some(own) = replica_name(&name, number) else { continue };
            let (profiles, image, definition) = (profiles.clone(), image.clone(), definition.clone());
            sandboxes.push(Sandbox::new(own, Some(replica), profiles, image, definition));
        }
    }
    sandboxes
}

fn expand_dependencies(
    depends_on: BTreeMap<SandboxName, Condition>,
    families: &HashMap<SandboxName, u32>,
) -> BTreeMap<SandboxName, Condition> {
    let mut expanded = BTreeMap::new();
    for (on, condition) in depends_on {
        match families.get(&on) {
            Some(&count) => expanded
                .extend((1..=count).filter_map(|number| Some((replica_name(&on, number)?, condition)))),
            None => {
                expanded.insert(on, condition);
            }
        }
    }
    expanded
}

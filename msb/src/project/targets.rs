//! What a command is about: sandboxes and profiles by the names that people give; and what of it is blocked.

use crate::error::CliError;
use crate::output::suggest::hint_about;
use crate::output::words;
use schemas::listing::{LISTED_MAX, lines};
use schemas::model::Model;
use schemas::name::{ProjectName, SandboxName};
use schemas::report::{Blocked, Report};
use schemas::spec::{ImageReference, Port};
use std::collections::BTreeSet;

/// The images that a model names.
pub fn references(model: &Model) -> BTreeSet<ImageReference> {
    model.sandboxes().iter().map(|sandbox| sandbox.image().clone()).collect()
}

/// The ports of the host that a project publishes.
pub fn ports(model: &Model) -> BTreeSet<Port> {
    model.sandboxes().iter().flat_map(|sandbox| sandbox.definition().ports.iter().copied()).collect()
}

/// There is no such sandbox; perhaps one of these was meant.
pub fn unknown_sandbox<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> CliError {
    let hint = hint_about(name, known, "`msb up` brings the Sandboxfile's sandboxes up");
    CliError::new(format!("there is no sandbox {name:?}")).hint(hint)
}

/// Names from the command line as names of the project's sandboxes; full names are taken too.
pub fn targets(
    names: &[String],
    project: &ProjectName,
    known: &BTreeSet<&SandboxName>,
) -> Result<BTreeSet<SandboxName>, CliError> {
    let prefix = format!("{project}-");
    let find = |name: &str| known.iter().find(|known| known.as_str() == name).copied().cloned();
    names
        .iter()
        .map(|name| {
            find(name)
                .or_else(|| name.strip_prefix(&prefix).and_then(find))
                .ok_or_else(|| unknown_sandbox(name, known.iter().map(|known| known.as_str())))
        })
        .collect()
}

/// The names of a model's sandboxes, those among them that several replicas share.
pub fn names(model: &Model) -> BTreeSet<&SandboxName> {
    model.sandboxes().iter().flat_map(|sandbox| [sandbox.name(), sandbox.family()]).collect()
}

/// The sandboxes that targets stand for: of a name that replicas share, all of them.
pub fn expand(model: &Model, targets: &BTreeSet<SandboxName>) -> BTreeSet<SandboxName> {
    let meant = model
        .sandboxes()
        .iter()
        .filter(|sandbox| targets.contains(sandbox.name()) || targets.contains(sandbox.family()));
    meant.map(|sandbox| sandbox.name().clone()).collect()
}

/// Profiles from the command line, each of which some sandbox has.
pub fn profiles(names: &[String], model: &Model) -> Result<BTreeSet<String>, CliError> {
    let known: BTreeSet<&String> = model.sandboxes().iter().flat_map(|sandbox| sandbox.profiles()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        let none = "none has any: the Sandboxfile names no profiles";
        let hint = hint_about(name, known.iter().map(|known| known.as_str()), none);
        return Err(CliError::new(format!("no sandbox has the profile {name:?}")).hint(hint));
    }
    Ok(names.iter().cloned().collect())
}

/// A line for each blocked sandbox.
pub fn blocked_lines(blocked: &[Blocked]) -> Vec<String> {
    lines(blocked, LISTED_MAX, |Blocked { name, reason }| format!("{name}: {}", words::block_reason(reason)))
}

/// That something is blocked, as the end of a run that did all else; nothing when nothing is.
pub fn blocked(report: &Report) -> Option<CliError> {
    let failure = CliError::new(match report.blocked.len() {
        0 => return None,
        1 => "1 sandbox is blocked, and was left as it is".to_owned(),
        many => format!("{many} sandboxes are blocked, and were left as they are"),
    });
    let failure = blocked_lines(&report.blocked).into_iter().fold(failure, CliError::because);
    Some(
        failure.hint(
            "all others are as declared; change what cannot be done, or name the sandboxes to bring up",
        ),
    )
}

//! What a command is about: sandboxes and profiles by the names that people give; and what of it is blocked.

use crate::commands::unknown_sandbox;
use crate::error::CliError;
use schemas::model::Model;
use schemas::name::{ProjectName, SandboxName};
use schemas::report::{Blocked, Report};
use std::collections::BTreeSet;

/// So many blocked sandboxes are listed; the rest is counted.
const LISTED_MAX: usize = 20;

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
        let failure = CliError::new(format!("no sandbox has the profile {name:?}"));
        let near = known
            .iter()
            .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
            .min()
            .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4);
        return Err(match near {
            Some((_, near)) => failure.hint(format!("did you mean {near:?}?")),
            None if known.is_empty() => failure.hint("none has any: the Sandboxfile names no profiles"),
            None => {
                let known: Vec<_> = known.iter().map(|known| known.as_str()).collect();
                failure.hint(format!("there are: {}", known.join(", ")))
            }
        });
    }
    Ok(names.iter().cloned().collect())
}

/// That something is blocked, as the end of a run that did all else; nothing when nothing is.
pub fn blocked(report: &Report) -> Option<CliError> {
    let failure = CliError::new(match report.blocked.len() {
        0 => return None,
        1 => "1 sandbox is blocked, and was left as it is".to_owned(),
        many => format!("{many} sandboxes are blocked, and were left as they are"),
    });
    let listed = report.blocked.iter().take(LISTED_MAX);
    let failure = listed.fold(failure, |failure, Blocked { name, reason }| {
        failure.because(crate::output::escape_controls(&format!("{name}: {reason}")))
    });
    let rest = report.blocked.len().saturating_sub(LISTED_MAX);
    let failure = if rest > 0 { failure.because(format!("… and {rest} more")) } else { failure };
    Some(
        failure.hint(
            "all others are as declared; change what cannot be done, or name the sandboxes to bring up",
        ),
    )
}

//! What is known of all services before one is converted.

use crate::context::{At, Context, Fields};
use crate::project::Facts;
use crate::variables::expand;
use sandboxfile::yaml::{Node, NodeValue};
use std::collections::BTreeSet;

/// Gathers networks, jobs and health checks. Errors are reported when the values are converted.
pub(crate) fn gather(context: &mut Context<'_>, services: &[(&str, At<'_>)], facts: &mut Facts<'_>) {
    for (name, at) in services {
        if !matches!(at.node.value, NodeValue::Map(_)) {
            continue;
        }
        let fields = Fields::of(context, at);
        let networks = networks(&fields);
        for network in &networks {
            facts.members.entry(network.clone()).or_default().push((*name).to_owned());
        }
        facts.networks.insert((*name).to_owned(), networks);
        facts.copies.insert((*name).to_owned(), copies(context, &fields));
        for dependency in completed(&fields) {
            facts.jobs.insert(dependency);
        }
        if fields.peek("healthcheck").is_some_and(is_off) {
            facts.unchecked.insert((*name).to_owned());
        }
    }
    // Without a command, what a job has to run is known to its image alone.
    let has_command = |at: &At<'_>| match &at.node.value {
        NodeValue::Map(entries) => entries.iter().any(|(key, node)| {
            let is_empty = matches!(&node.value, NodeValue::List(words) if words.is_empty());
            matches!(key.value.as_str(), "command" | "entrypoint") && !node.is_null() && !is_empty
        }),
        _ => false,
    };
    let with_command: BTreeSet<&str> =
        services.iter().filter(|(_, at)| has_command(at)).map(|(name, _)| *name).collect();
    facts.jobs.retain(|job| with_command.contains(job.as_str()));
    facts.is_one_network = is_one_network(&facts.networks.values().collect::<Vec<_>>());
}

/// Returns whether any two services share a network. Where none is common to all, many services are not compared.
fn is_one_network(all: &[&BTreeSet<String>]) -> bool {
    const COMPARED_MAX: usize = 500;
    let Some((first, others)) = all.split_first() else { return false };
    let is_common = |network: &String| others.iter().all(|other| other.contains(network));
    if first.iter().any(is_common) {
        return true;
    }
    let share = |(index, one): (usize, &&BTreeSet<String>)| {
        all[index + 1..].iter().all(|other| !one.is_disjoint(other))
    };
    all.len() <= COMPARED_MAX && all.iter().enumerate().all(share)
}

/// Returns the number of copies of a service, if it is written as one number.
fn copies(context: &Context<'_>, fields: &Fields<'_>) -> u32 {
    let scalar = |node: &Node| match &node.value {
        NodeValue::Scalar { text, .. } => expand(text, context.variables).parse::<u32>().ok(),
        _ => None,
    };
    let in_deploy = |at: &At<'_>| match &at.node.value {
        NodeValue::Map(entries) => {
            entries.iter().find(|(key, _)| key.value == "replicas").and_then(|(_, node)| scalar(node))
        }
        _ => None,
    };
    let own = fields.peek("scale").and_then(|at| scalar(at.node));
    own.or_else(|| fields.peek("deploy").and_then(in_deploy)).unwrap_or(1)
}

fn names_of(at: &At<'_>) -> BTreeSet<String> {
    match &at.node.value {
        NodeValue::List(elements) => elements
            .iter()
            .filter_map(|element| match &element.value {
                NodeValue::Scalar { text, .. } => Some(text.clone()),
                _ => None,
            })
            .collect(),
        NodeValue::Map(entries) => entries.iter().map(|(key, _)| key.value.clone()).collect(),
        NodeValue::Scalar { .. } => BTreeSet::new(),
    }
}

/// Returns the networks of a service; none at all if its mode takes them away.
fn networks(fields: &Fields<'_>) -> BTreeSet<String> {
    let default = || BTreeSet::from(["default".to_owned()]);
    match fields.peek("network_mode").map(|at| &at.node.value) {
        Some(NodeValue::Scalar { text, .. }) if text != "bridge" => return BTreeSet::new(),
        _ => {}
    }
    fields.peek("networks").map_or_else(default, |at| {
        let names = names_of(at);
        if names.is_empty() { default() } else { names }
    })
}

fn completed(fields: &Fields<'_>) -> Vec<String> {
    let Some(At { node, .. }) = fields.peek("depends_on") else { return Vec::new() };
    let NodeValue::Map(entries) = &node.value else { return Vec::new() };
    let waits = |value: &NodeValue| {
        match value {
        NodeValue::Map(inside) => inside.iter().any(|(key, node)| {
            let is_completed = matches!(&node.value, NodeValue::Scalar { text, .. } if text == "service_completed_successfully");
            key.value == "condition" && is_completed
        }),
        _ => false,
    }
    };
    entries.iter().filter(|(_, node)| waits(&node.value)).map(|(key, _)| key.value.clone()).collect()
}

/// Returns whether a health check turns the image's off.
pub(super) fn is_off(at: &At<'_>) -> bool {
    let NodeValue::Map(entries) = &at.node.value else { return false };
    entries.iter().any(|(key, node)| match (key.value.as_str(), &node.value) {
        ("disable", NodeValue::Scalar { text, .. }) => text == "true",
        ("test", NodeValue::List(words)) => {
            matches!(words.first().map(|word| &word.value), Some(NodeValue::Scalar { text, .. }) if text == "NONE")
        }
        ("test", NodeValue::Scalar { text, .. }) => text == "NONE",
        _ => false,
    })
}

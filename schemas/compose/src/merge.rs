//! The rules by which compose merges files, and a service with the one that it extends.

use crate::context::Context;
use crate::ledger::key_path;
use sandboxfile::yaml::{MergeTag, Node, NodeValue};
use sandboxfile::{ScalarKind, Spanned};
use std::collections::{HashMap, HashSet};

/// Keys of a service whose lists are maps written differently, with the separators of their pairs.
const PAIRS: [(&str, &[char]); 7] = [
    ("environment", &['=']),
    ("labels", &['=']),
    ("annotations", &['=']),
    ("sysctls", &['=']),
    ("extra_hosts", &['=', ':']),
    ("depends_on", &[]),
    ("networks", &[]),
];

/// Keys whose lists replace each other.
const REPLACED: [&str; 3] = ["command", "entrypoint", "test"];

/// Merges a node over another one.
pub(crate) fn merge(context: &mut Context<'_>, base: Node, over: Node, path: &str) -> Node {
    let key = path.rsplit('.').next().unwrap_or_default();
    if let Some(tag) = over.tag {
        let by = context.shown_place(over.span);
        match tag {
            MergeTag::Reset => context.ledger.reset(path, &base, &by),
            MergeTag::Override => context.ledger.replace(path, &base, &by),
        }
        // It keeps its tag, as the service may be merged over the one that it extends later.
        return over;
    }
    if base.tag == Some(MergeTag::Reset) {
        context.ledger.applied_reset(path, &base);
        return Node { tag: Some(MergeTag::Override), ..over };
    }
    if over.is_null() && !base.is_null() {
        let by = context.shown_place(base.span);
        context.ledger.replace(path, &over, &by);
        return base;
    }
    let tag = base.tag;
    let (base, over) =
        (without_reset_elements(context, base, path), without_reset_elements(context, over, path));
    let separators = PAIRS.iter().find(|(name, _)| *name == key).map(|(_, separators)| *separators);
    let (base, over) = match separators {
        Some(separators) if is_service_key(path) => (as_map(base, separators), as_map(over, separators)),
        _ => (base, over),
    };
    let (base_span, span) = (base.span, over.span);
    match (base.value, over.value) {
        (NodeValue::Map(base), NodeValue::Map(over)) => {
            Node { value: NodeValue::Map(merge_maps(context, base, over, path)), span, tag }
        }
        (NodeValue::List(base), NodeValue::List(over)) if !REPLACED.contains(&key) => {
            Node { value: NodeValue::List(merge_lists(context, base, over, path)), span, tag }
        }
        (base, over) => {
            let by = context.shown_place(span);
            context.ledger.replace(path, &Node { value: base, span: base_span, tag }, &by);
            Node { value: over, span, tag }
        }
    }
}

/// Removes the elements of a list that have `!reset`: they have no counterpart in another list.
fn without_reset_elements(context: &mut Context<'_>, mut node: Node, path: &str) -> Node {
    if let NodeValue::List(elements) = &mut node.value {
        remove_reset_elements(elements, path, &mut |path, node| context.ledger.applied_reset(path, node));
    }
    node
}

fn remove_reset_elements(elements: &mut Vec<Node>, path: &str, removed: &mut impl FnMut(&str, &Node)) {
    let mut index = 0;
    elements.retain(|element| {
        let is_reset = element.tag == Some(MergeTag::Reset);
        if is_reset {
            removed(&format!("{path}[{index}]"), element);
        }
        index += 1;
        !is_reset
    });
}

/// Returns whether a value counts, rather than one with `!reset`.
pub(crate) fn is_kept(node: &Node) -> bool {
    node.tag != Some(MergeTag::Reset)
}

/// Removes all values with `!reset` from what is merged with nothing else, and calls a function for each with its path.
pub(crate) fn settle(node: &mut Node, path: &str, removed: &mut impl FnMut(&str, &Node)) {
    node.tag = None;
    match &mut node.value {
        NodeValue::Scalar { .. } => {}
        NodeValue::List(elements) => {
            remove_reset_elements(elements, path, removed);
            for (index, element) in elements.iter_mut().enumerate() {
                settle(element, &format!("{path}[{index}]"), removed);
            }
        }
        NodeValue::Map(entries) => {
            entries.retain(|(key, node)| {
                if !is_kept(node) {
                    removed(&key_path(path, &key.value), node);
                }
                is_kept(node)
            });
            for (key, node) in entries {
                settle(node, &key_path(path, &key.value), removed);
            }
        }
    }
}

fn is_service_key(path: &str) -> bool {
    path.starts_with("services.")
}

fn merge_maps(
    context: &mut Context<'_>,
    base: Vec<(Spanned<String>, Node)>,
    over: Vec<(Spanned<String>, Node)>,
    path: &str,
) -> Vec<(Spanned<String>, Node)> {
    let mut merged: Vec<Option<(Spanned<String>, Node)>> = base.into_iter().map(Some).collect();
    let mut index_of: HashMap<String, usize> = HashMap::new();
    for (index, entry) in merged.iter().enumerate() {
        index_of.extend(entry.as_ref().map(|(key, _)| (key.value.clone(), index)));
    }
    for (key, node) in over {
        match index_of.get(&key.value).copied().and_then(|index| Some((index, merged[index].take()?))) {
            Some((index, (_, before))) => {
                let path = key_path(path, &key.value);
                let node = merge(context, before, node, &path);
                merged[index] = Some((key, node));
            }
            None => {
                index_of.insert(key.value.clone(), merged.len());
                merged.push(Some((key, node)));
            }
        }
    }
    merged.into_iter().flatten().collect()
}

/// Appends a list to another one; of elements for the same target, the later one stays.
fn merge_lists(context: &mut Context<'_>, base: Vec<Node>, over: Vec<Node>, path: &str) -> Vec<Node> {
    let targets: HashSet<String> = over.iter().filter_map(|node| target(node, path)).collect();
    let mut merged = Vec::new();
    for (index, node) in base.into_iter().enumerate() {
        match target(&node, path).filter(|own| targets.contains(own)) {
            Some(_) => {
                let by = over.first().map(|node| context.shown_place(node.span)).unwrap_or_default();
                context.ledger.replace(&format!("{path}[{index}]"), &node, &by);
            }
            None => merged.push(node),
        }
    }
    merged.extend(over);
    merged
}

/// Returns what two elements of a list cannot both have.
fn target(node: &Node, path: &str) -> Option<String> {
    let key = path.rsplit('.').next().unwrap_or_default();
    let member = |name: &str| match &node.value {
        NodeValue::Map(entries) => {
            entries.iter().find(|(key, _)| key.value == name).and_then(|(_, node)| scalar(node))
        }
        _ => None,
    };
    match (key, &node.value) {
        ("volumes", NodeValue::Scalar { text, .. }) => {
            let parts = crate::variables::split(text, ':');
            Some((*parts.get(1).or(parts.first())?).to_owned())
        }
        ("volumes" | "configs" | "secrets", NodeValue::Map(_)) => {
            member("target").or_else(|| member("source"))
        }
        (_, NodeValue::Scalar { text, .. }) => Some(text.clone()),
        _ => None,
    }
}

fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        NodeValue::Scalar { text, .. } => Some(text.clone()),
        _ => None,
    }
}

/// Returns a list of pairs as the map that it stands for; anything else as it is.
pub(crate) fn as_map(node: Node, separators: &[char]) -> Node {
    let Node { value: NodeValue::List(elements), span, tag } = node else { return node };
    if !elements.iter().all(|element| matches!(element.value, NodeValue::Scalar { .. })) {
        return Node { value: NodeValue::List(elements), span, tag };
    }
    let mut entries: Vec<Option<(Spanned<String>, Node)>> = Vec::new();
    let mut index_of: HashMap<String, usize> = HashMap::new();
    for Node { value, span, tag } in elements {
        let NodeValue::Scalar { text, .. } = value else { continue };
        let (key, value) = match text.split_once(separators) {
            Some((key, value)) => {
                (key.to_owned(), NodeValue::Scalar { kind: ScalarKind::Text, text: value.to_owned() })
            }
            None => (text, NodeValue::Scalar { kind: ScalarKind::Null, text: String::new() }),
        };
        if let Some(before) = index_of.insert(key.clone(), entries.len()) {
            entries[before] = None;
        }
        entries.push(Some((Spanned::new(key, span), Node { value, span, tag })));
    }
    Node { value: NodeValue::Map(entries.into_iter().flatten().collect()), span, tag }
}

//! Printed values in YAML.

use super::item::{Item, Name, Node, Position, Printed, Scalar};
use super::yaml_text::{block, string, value};

/// The columns that a block is indented by.
const STEP: usize = 2;

/// Appends a property of a sandbox.
pub(super) fn push(out: &mut String, indent: usize, property: &str, printed: &Printed) {
    match printed {
        Printed::Nothing => {}
        Printed::One(node) => push_entry(out, indent, property, node),
        Printed::Named(nodes) => {
            if !nodes.is_empty() {
                push_line(out, indent, &format!("{property}:"));
            }
            for (key, node) in nodes {
                push_entry(out, indent + STEP, &spell(key), node);
            }
        }
        Printed::List(nodes) if nodes.is_empty() => {}
        Printed::List(nodes) if nodes.iter().all(|node| matches!(node, Node::Scalar(_))) => {
            let shown: Vec<String> = nodes.iter().map(flow).collect();
            push_line(out, indent, &format!("{property}: [{}]", shown.join(", ")));
        }
        Printed::List(nodes) => {
            push_line(out, indent, &format!("{property}:"));
            nodes.iter().for_each(|node| push_line(out, indent + STEP, &format!("- {}", flow(node))));
        }
    }
}

/// Appends an entry of a map.
fn push_entry(out: &mut String, indent: usize, key: &str, node: &Node) {
    match node {
        Node::Lines(lines) => {
            push_line(out, indent, &format!("{key}:"));
            lines.iter().for_each(|line| push_line(out, indent + STEP, &format!("- {}", flow(line))));
        }
        // A single argument needs no name.
        Node::Map { items, .. }
            if matches!(items.as_slice(), [Item { position: Position::Argument, .. }]) =>
        {
            push_entry(out, indent, key, &items[0].node);
        }
        Node::Map { items, is_flow: false } => {
            push_line(out, indent, &format!("{key}:"));
            items.iter().for_each(|item| push_entry(out, indent + STEP, &spell(&item.name), &item.node));
        }
        Node::Scalar(one) => push_line(out, indent, &format!("{key}: {}", scalar(indent, one))),
        Node::Words(_) | Node::Map { .. } => push_line(out, indent, &format!("{key}: {}", flow(node))),
    }
}

fn push_line(out: &mut String, indent: usize, line: &str) {
    out.extend(std::iter::repeat_n(' ', indent));
    out.push_str(line);
    out.push('\n');
}

/// Returns a value on one line.
fn flow(node: &Node) -> String {
    match node {
        Node::Scalar(one) => scalar(0, one),
        Node::Words(words) => {
            let shown: Vec<String> = words.iter().map(|word| scalar(0, word)).collect();
            format!("[{}]", shown.join(", "))
        }
        Node::Lines(lines) => {
            let shown: Vec<String> = lines.iter().map(flow).collect();
            format!("[{}]", shown.join(", "))
        }
        Node::Map { items, is_flow: _ } => {
            let shown: Vec<String> =
                items.iter().map(|item| format!("{}: {}", spell(&item.name), flow(&item.node))).collect();
            format!("{{ {} }}", shown.join(", "))
        }
    }
}

fn spell(name: &Name) -> String {
    match name {
        Name::Word(word) => word.replace('-', "_"),
        Name::Key(key) => string(key),
    }
}

fn scalar(indent: usize, one: &Scalar) -> String {
    match one {
        Scalar::Text(text) => value(text),
        Scalar::Script(text) => block(text, &" ".repeat(indent + STEP)),
        Scalar::Quantity(text) => text.clone(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Flag(flag) => flag.to_string(),
    }
}

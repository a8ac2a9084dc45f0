//! Printed values in KDL.

use super::item::{Item, Name, Node, Position, Printed, Scalar};
use super::kdl_text::{block, name, string, value};

/// The columns that a block is indented by.
const STEP: usize = 4;

/// Appends a property of a sandbox.
pub(super) fn push(out: &mut String, indent: usize, property: &str, printed: &Printed) {
    match printed {
        Printed::Nothing => {}
        Printed::One(node) => push_node(out, indent, property, node),
        Printed::Named(nodes) => {
            for (key, node) in nodes {
                let key = match key {
                    Name::Word(word) => word,
                    Name::Key(key) => key.as_str(),
                };
                push_node(out, indent, &format!("{property} {}", value(key)), node);
            }
        }
        Printed::List(nodes) => nodes.iter().for_each(|node| push_node(out, indent, property, node)),
    }
}

/// Appends a node that begins with `head`.
fn push_node(out: &mut String, indent: usize, head: &str, node: &Node) {
    push_indent(out, indent);
    out.push_str(head);
    match node {
        Node::Scalar(one) => push_scalar(out, indent, one),
        Node::Words(words) => words.iter().for_each(|word| push_scalar(out, indent, word)),
        Node::Lines(_) => {}
        Node::Map { items, is_flow: _ } => push_items(out, indent, items),
    }
    out.push('\n');
}

fn push_items(out: &mut String, indent: usize, items: &[Item]) {
    let (children, beside): (Vec<&Item>, Vec<&Item>) =
        items.iter().partition(|item| item.position == Position::Child);
    for Item { name, position, node } in beside {
        let values = match node {
            Node::Scalar(one) => std::slice::from_ref(one),
            Node::Words(words) => words,
            Node::Lines(_) | Node::Map { .. } => &[],
        };
        // The first value follows the name; the others are arguments.
        for (index, one) in values.iter().enumerate() {
            if *position == Position::Property && index == 0 {
                out.push_str(&format!(" {}={}", spell(name), scalar(indent, one)));
            } else {
                push_scalar(out, indent, one);
            }
        }
    }
    if children.is_empty() {
        return;
    }
    out.push_str(" {\n");
    for Item { name, position: _, node } in children {
        push_node(out, indent + STEP, &spell(name), node);
    }
    push_indent(out, indent);
    out.push('}');
}

fn push_indent(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn push_scalar(out: &mut String, indent: usize, one: &Scalar) {
    out.push(' ');
    out.push_str(&scalar(indent, one));
}

fn spell(given: &Name) -> String {
    match given {
        Name::Word(word) => (*word).to_owned(),
        Name::Key(key) => name(key),
    }
}

fn scalar(indent: usize, one: &Scalar) -> String {
    match one {
        Scalar::Text(text) => value(text),
        Scalar::Script(text) => block(text, &" ".repeat(indent + STEP)),
        Scalar::Quantity(text) => string(text),
        Scalar::Number(number) => number.to_string(),
        Scalar::Flag(flag) => format!("#{flag}"),
    }
}

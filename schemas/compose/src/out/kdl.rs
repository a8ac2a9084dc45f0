//! A Sandboxfile in KDL.

use super::{Body, Document, Element, Network, Property, Sandbox, Value, Volume, left_out, push_comments};
use sandboxfile::{Format, key_in};

const MARK: &str = "//";

pub(super) fn print(document: &Document) -> String {
    let Document { comments, project, volumes, sandboxes, left_out: omitted } = document;
    let mut out = String::new();
    push_comments(&mut out, 0, MARK, comments);
    if let Some(project) = project {
        out.push('\n');
        push_comments(&mut out, 0, MARK, &project.comments);
        out.push_str(&format!("project {}\n", spelled(&project.value)));
    }
    if !volumes.is_empty() {
        out.push('\n');
    }
    for Volume { comments, name, properties } in volumes {
        push_comments(&mut out, 0, MARK, comments);
        out.push_str(&format!("volume {}", spelled(&Value::literal(name))));
        for (property, value) in properties {
            out.push_str(&format!(" {property}={}", spelled(value)));
        }
        out.push('\n');
    }
    for sandbox in sandboxes {
        out.push('\n');
        push_sandbox(&mut out, sandbox);
    }
    if !omitted.is_empty() {
        out.push('\n');
        push_comments(&mut out, 0, MARK, &left_out(omitted));
    }
    out
}

fn push_sandbox(out: &mut String, sandbox: &Sandbox) {
    let Sandbox { comments, name, is_job, properties, left_out: omitted } = sandbox;
    push_comments(out, 0, MARK, comments);
    let word = if *is_job { "job" } else { "sandbox" };
    out.push_str(&format!("{word} {} {{\n", spelled(&Value::literal(name))));
    for property in properties {
        push_property(out, 4, property);
    }
    push_comments(out, 4, MARK, &left_out(omitted));
    out.push_str("}\n");
}

fn push_property(out: &mut String, indent: usize, property: &Property) {
    let Property { comments, kdl, yaml: _, body } = property;
    push_comments(out, indent, MARK, comments);
    let margin = " ".repeat(indent);
    match body {
        Body::One(value) => out.push_str(&format!("{margin}{kdl} {}\n", spelled(value))),
        Body::Beside { name: _, value, beside } => {
            out.push_str(&format!("{margin}{kdl} {}", spelled(value)));
            for (name, value) in beside {
                out.push_str(&format!(" {name}={}", spelled(value)));
            }
            out.push('\n');
        }
        Body::Words(words) => out.push_str(&format!("{margin}{kdl}{}\n", spaced(words))),
        Body::Map(entries) => {
            out.push_str(&format!("{margin}{kdl} {{\n"));
            for entry in entries {
                push_comments(out, indent + 4, MARK, &entry.comments);
                let (name, value) = &entry.value;
                let value = value.as_ref().map(|value| format!(" {}", spelled(value))).unwrap_or_default();
                out.push_str(&format!("{margin}    {}{value}\n", key_in(Format::Kdl, name)));
            }
            out.push_str(&format!("{margin}}}\n"));
        }
        Body::Block(properties) => {
            out.push_str(&format!("{margin}{kdl} {{\n"));
            properties.iter().for_each(|property| push_property(out, indent + 4, property));
            out.push_str(&format!("{margin}}}\n"));
        }
        Body::Each { elements, is_map: _ } => {
            for element in elements {
                let Element { comments, argument, source: _, properties, words, short: _ } = element;
                push_comments(out, indent, MARK, comments);
                out.push_str(&format!("{margin}{kdl} {}", spelled(argument)));
                for (name, _, value) in properties {
                    out.push_str(&format!(" {name}={}", spelled(value)));
                }
                if let Some((name, words)) = words {
                    out.push_str(&format!(" {{ {name}{} }}", spaced(words)));
                }
                out.push('\n');
            }
        }
        Body::Network(network) => push_network(out, &margin, network),
        Body::Hooks(moments) => {
            for (moment, _, command) in moments {
                push_comments(out, indent, MARK, &command.comments);
                out.push_str(&format!("{margin}{kdl} \"{moment}\"{}\n", spaced(&command.value)));
            }
        }
    }
}

fn push_network(out: &mut String, margin: &str, network: &Network) {
    let Network { default, servers, search, rules } = network;
    let default = default.map(|word| format!(" default=\"{word}\"")).unwrap_or_default();
    let has_dns = !servers.is_empty() || !search.is_empty();
    if rules.is_empty() && !has_dns {
        out.push_str(&format!("{margin}network{default}\n"));
        return;
    }
    out.push_str(&format!("{margin}network{default} {{\n"));
    if has_dns {
        let inside =
            if search.is_empty() { String::new() } else { format!(" {{ search{} }}", spaced(search)) };
        out.push_str(&format!("{margin}    dns{}{inside}\n", spaced(servers)));
    }
    for (target, direction) in rules {
        let direction = direction.map(|word| format!(" direction=\"{word}\"")).unwrap_or_default();
        out.push_str(&format!("{margin}    allow {}{direction}\n", spelled(&Value::literal(target))));
    }
    out.push_str(&format!("{margin}}}\n"));
}

fn spelled(value: &Value) -> String {
    value.spelled(Format::Kdl)
}

fn spaced(words: &[Value]) -> String {
    words.iter().map(|word| format!(" {}", spelled(word))).collect()
}

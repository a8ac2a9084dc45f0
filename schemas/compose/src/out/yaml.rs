//! A Sandboxfile in YAML.

use super::{Body, Document, Element, Network, Property, Sandbox, Value, Volume, left_out, push_comments};
use sandboxfile::{Format, key_in};

const MARK: &str = "#";

pub(super) fn print(document: &Document) -> String {
    let Document { comments, project, volumes, sandboxes, left_out: omitted } = document;
    let mut out = String::new();
    push_comments(&mut out, 0, MARK, comments);
    if let Some(project) = project {
        out.push('\n');
        push_comments(&mut out, 0, MARK, &project.comments);
        out.push_str(&format!("project: {}\n", spelled(&project.value)));
    }
    if !volumes.is_empty() {
        out.push_str("\nvolumes:\n");
    }
    for Volume { comments, name, properties } in volumes {
        push_comments(&mut out, 2, MARK, comments);
        out.push_str(&format!("  {}:", key_in(Format::Yaml, name)));
        if !properties.is_empty() {
            let properties: Vec<String> = properties
                .iter()
                .map(|(property, value)| format!("{property}: {}", spelled(value)))
                .collect();
            out.push_str(&format!(" {{ {} }}", properties.join(", ")));
        }
        out.push('\n');
    }
    for (heading, are_jobs) in [("sandboxes", false), ("jobs", true)] {
        let members: Vec<&Sandbox> = sandboxes.iter().filter(|sandbox| sandbox.is_job == are_jobs).collect();
        if !members.is_empty() {
            out.push_str(&format!("\n{heading}:\n"));
        }
        for (index, sandbox) in members.into_iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            push_sandbox(&mut out, sandbox);
        }
    }
    if !omitted.is_empty() {
        out.push('\n');
        push_comments(&mut out, 0, MARK, &left_out(omitted));
    }
    out
}

fn push_sandbox(out: &mut String, sandbox: &Sandbox) {
    let Sandbox { comments, name, is_job: _, properties, left_out: omitted } = sandbox;
    push_comments(out, 2, MARK, comments);
    out.push_str(&format!("  {}:\n", key_in(Format::Yaml, name)));
    for property in properties {
        push_property(out, 4, property);
    }
    push_comments(out, 4, MARK, &left_out(omitted));
}

fn push_property(out: &mut String, indent: usize, property: &Property) {
    let Property { comments, kdl: _, yaml, body } = property;
    push_comments(out, indent, MARK, comments);
    let margin = " ".repeat(indent);
    match body {
        Body::One(value) => out.push_str(&format!("{margin}{yaml}: {}\n", spelled(value))),
        Body::Beside { name, value, beside } => {
            let beside: String =
                beside.iter().map(|(name, value)| format!(", {name}: {}", spelled(value))).collect();
            out.push_str(&format!("{margin}{yaml}: {{ {name}: {}{beside} }}\n", spelled(value)));
        }
        Body::Words(words) => out.push_str(&format!("{margin}{yaml}: {}\n", flow(words))),
        Body::Map(entries) => {
            out.push_str(&format!("{margin}{yaml}:\n"));
            for entry in entries {
                push_comments(out, indent + 2, MARK, &entry.comments);
                let (name, value) = &entry.value;
                let value = value.as_ref().map(|value| format!(" {}", spelled(value))).unwrap_or_default();
                out.push_str(&format!("{margin}  {}:{value}\n", key_in(Format::Yaml, name)));
            }
        }
        Body::Block(properties) => {
            out.push_str(&format!("{margin}{yaml}:\n"));
            properties.iter().for_each(|property| push_property(out, indent + 2, property));
        }
        Body::Each { elements, is_map } => {
            out.push_str(&format!("{margin}{yaml}:\n"));
            elements.iter().for_each(|element| push_element(out, indent + 2, element, *is_map));
        }
        Body::Network(network) => push_network(out, &margin, yaml, network),
        Body::Hooks(moments) => {
            out.push_str(&format!("{margin}{yaml}:\n"));
            for (_, moment, command) in moments {
                push_comments(out, indent + 2, MARK, &command.comments);
                out.push_str(&format!("{margin}  {moment}: {}\n", flow(&command.value)));
            }
        }
    }
}

fn push_element(out: &mut String, indent: usize, element: &Element, is_map: bool) {
    let Element { comments, argument, source, properties, words, short } = element;
    push_comments(out, indent, MARK, comments);
    let margin = " ".repeat(indent);
    let mut inside: Vec<String> =
        properties.iter().map(|(_, name, value)| format!("{name}: {}", spelled(value))).collect();
    inside.extend(words.as_ref().map(|(name, words)| format!("{name}: {}", flow(words))));
    if is_map {
        let Value::Text(key) = argument else { return };
        let key = key_in(Format::Yaml, key);
        let inside = if inside.is_empty() { String::new() } else { format!(" {{ {} }}", inside.join(", ")) };
        out.push_str(&format!("{margin}{key}:{inside}\n"));
    } else if let Some(short) = short {
        out.push_str(&format!("{margin}- {}\n", spelled(&Value::Text(short.clone()))));
    } else if inside.is_empty() {
        out.push_str(&format!("{margin}- {}\n", spelled(argument)));
    } else {
        inside.insert(0, format!("{source}: {}", spelled(argument)));
        out.push_str(&format!("{margin}- {{ {} }}\n", inside.join(", ")));
    }
}

fn push_network(out: &mut String, margin: &str, yaml: &str, network: &Network) {
    let Network { default, servers, search, rules } = network;
    out.push_str(&format!("{margin}{yaml}:\n"));
    if let Some(word) = default {
        out.push_str(&format!("{margin}  default: {word}\n"));
    }
    let dns: Vec<String> = [("servers", servers), ("search", search)]
        .into_iter()
        .filter(|(_, entries)| !entries.is_empty())
        .map(|(name, entries)| format!("{name}: {}", flow(entries)))
        .collect();
    if !dns.is_empty() {
        out.push_str(&format!("{margin}  dns: {{ {} }}\n", dns.join(", ")));
    }
    if !rules.is_empty() {
        let rule = |(target, direction): &(String, Option<&str>)| {
            let direction = direction.map(|word| format!(":{word}")).unwrap_or_default();
            Value::literal(&format!("allow{direction}@{target}"))
        };
        let rules: Vec<Value> = rules.iter().map(rule).collect();
        out.push_str(&format!("{margin}  rules: {}\n", flow(&rules)));
    }
}

fn spelled(value: &Value) -> String {
    value.spelled(Format::Yaml)
}

fn flow(words: &[Value]) -> String {
    let words: Vec<String> = words.iter().map(spelled).collect();
    format!("[{}]", words.join(", "))
}

//! The name of the project in a Sandboxfile, without reading the rest.
//!
//! For commands that only look at running sandboxes: no variables, no includes, no diagnostics, and in KDL nothing
//! after the name is read.

use super::kdl::reader::Reader;
use super::{Argument, Item, ScalarKind, Value};
use super::{kdl, yaml};
use crate::Format;
use schemas::name::ProjectName;

/// The name of the project in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrittenName {
    /// The text has this name.
    Named(ProjectName),
    /// The text has no name, so that of the folder applies.
    Unnamed,
    /// Unknown without loading the file: it has errors, or the name contains variables.
    Unclear,
}

/// Finds the project's name in a text.
pub fn written_name(bytes: &[u8], format: Format) -> WrittenName {
    let Ok(text) = std::str::from_utf8(bytes) else { return WrittenName::Unclear };
    match format {
        Format::Kdl => in_kdl(text),
        Format::Yaml => {
            let document = yaml::reader::read(text);
            if document.problems.is_empty() {
                document.items.iter().find_map(name_of).unwrap_or(WrittenName::Unnamed)
            } else {
                WrittenName::Unclear
            }
        }
    }
}

fn in_kdl(text: &str) -> WrittenName {
    if kdl::looks_like_yaml(text) {
        return WrittenName::Unclear;
    }
    let mut reader = Reader::new(text);
    while let Some(item) = reader.next_node() {
        if let Some(name) = name_of(&item) {
            return name;
        }
    }
    if reader.has_problem() { WrittenName::Unclear } else { WrittenName::Unnamed }
}

/// Returns the name, if this is the item of the name.
fn name_of(item: &Item<'_>) -> Option<WrittenName> {
    if item.name.value != "project" {
        return None;
    }
    let name = match item.arguments.as_slice() {
        [Argument { value: Value::Scalar(scalar), .. }] if scalar.kind == ScalarKind::Text => {
            ProjectName::new(scalar.text.clone().into_owned()).ok()
        }
        _ => None,
    };
    Some(name.map_or(WrittenName::Unclear, WrittenName::Named))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> WrittenName {
        WrittenName::Named(ProjectName::new(name).unwrap())
    }

    #[test]
    fn the_name_is_found_without_the_rest() {
        let kdl = |text: &str| written_name(text.as_bytes(), Format::Kdl);
        assert_eq!(kdl("project \"shop\"\nsandbox \"web\" { image \"./image\" }\n"), named("shop"));
        assert_eq!(kdl("sandbox \"web\" { project \"inner\" }\nproject shop\n"), named("shop"));
        assert_eq!(
            kdl("include \"/etc/passwd\"\nsandbox \"web\" { env { A \"$NOT_SET\" } }\n"),
            WrittenName::Unnamed
        );
        // What follows the name may be broken.
        assert_eq!(kdl("project \"shop\"\nsandbox {"), named("shop"));
        assert_eq!(kdl("/- project \"old\"\nproject \"shop\""), named("shop"));
        for unclear in
            ["project \"$NAME\"", "project \"a\" \"b\"", "project", "project 5", "sandbox {", "project: shop"]
        {
            assert_eq!(kdl(unclear), WrittenName::Unclear, "{unclear}");
        }
        let yaml = |text: &str| written_name(text.as_bytes(), Format::Yaml);
        assert_eq!(yaml("sandboxes: { web: { image: ./image } }\nproject: shop\n"), named("shop"));
        assert_eq!(yaml("sandboxes: { web: { image: ./image } }\n"), WrittenName::Unnamed);
        for unclear in ["project: ${NAME}", "project: {", "project: { name: shop }", "project: 5"] {
            assert_eq!(yaml(unclear), WrittenName::Unclear, "{unclear}");
        }
        assert_eq!(written_name(b"project \"\xff\"", Format::Kdl), WrittenName::Unclear);
    }
}

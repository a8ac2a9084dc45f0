//! The Sandboxfile of a command line: JSON, which is valid YAML, so that all texts are quoted.

use schemas::name::SandboxName;
use schemas::terminal::steers;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Properties by their YAML names.
pub type Properties = Map<String, Value>;

/// Sets a property, unless the value is null or empty.
pub fn set(properties: &mut Properties, name: &str, value: impl Into<Value>) {
    let value = value.into();
    let is_empty = match &value {
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        value => value.is_null(),
    };
    if !is_empty {
        properties.insert(name.to_owned(), value);
    }
}

/// Converts a text in which `$` is literal, because the shell has already expanded variables.
pub fn literal(text: &str) -> Value {
    text.replace('$', "$$").into()
}

/// Converts a list of literals.
pub fn list(values: &[String]) -> Value {
    values.iter().map(|value| literal(value)).collect()
}

/// Converts a map of literals.
pub fn map(values: &BTreeMap<String, String>) -> Value {
    values.iter().map(|(name, value)| (name.clone(), literal(value))).collect()
}

/// Returns the Sandboxfile of a sandbox with these volumes and properties.
pub fn sandboxfile(name: &SandboxName, volumes: Properties, properties: Properties) -> String {
    let mut document = Properties::new();
    set(&mut document, "volumes", volumes);
    set(&mut document, "sandboxes", Properties::from_iter([(name.to_string(), properties.into())]));
    let mut text = String::new();
    for c in format!("{:#}\n", Value::Object(document)).chars() {
        // YAML does not allow these characters, or reads them in another way.
        if (steers(c) && c != '\n') || matches!(c, '\u{a0}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandboxfile::{AssumePresent, Format, Input, Source, load};
    use schemas::model::Model;
    use schemas::name::ProjectName;
    use serde_json::json;

    fn model(properties: Properties) -> Model {
        let name = SandboxName::new("web").unwrap();
        let text = sandboxfile(&name, Properties::new(), properties);
        let source =
            Source { name: "flags", path: None, bytes: text.as_bytes(), format: Format::Yaml, folder: "/" };
        let input = Input { project: Some(ProjectName::of_one(&name)), ..Input::of(source) };
        load(&input, &AssumePresent).unwrap_or_else(|report| panic!("{report:?}\n{text}")).model
    }

    #[test]
    fn every_character_is_preserved() {
        let odd: String =
            ('\u{1}'..='\u{200}').chain(['\u{2028}', '\u{2029}', '\u{feff}', '\u{ffff}', '🦀']).collect();
        let texts = [odd.as_str(), "$HOME ${X:?no} $$", "yes", "1e3", "a: b # c", "- x", "{}", "'\"\\n"];
        let env: BTreeMap<String, String> =
            texts.iter().enumerate().map(|(index, text)| (format!("V{index}"), (*text).to_owned())).collect();
        let script = |body: &str| json!({ "body": body, "raw": true });
        let mut properties = Properties::new();
        set(&mut properties, "image", literal("./image"));
        set(&mut properties, "env", map(&env));
        set(&mut properties, "scripts", json!({ "odd": script(&odd), "run": script("echo $HOME $$") }));
        set(&mut properties, "start", list(&["echo".to_owned(), "$HOME".to_owned(), "no".to_owned()]));
        let model = model(properties);
        let definition = model.sandboxes()[0].definition();
        assert_eq!(definition.env, env);
        assert_eq!(definition.scripts["odd"], odd);
        assert_eq!(definition.scripts["run"], "echo $HOME $$");
        assert_eq!(definition.start.as_deref().unwrap(), ["echo", "$HOME", "no"]);
    }

    #[test]
    fn unset_properties_are_omitted() {
        let mut properties = Properties::new();
        set(&mut properties, "image", literal("./image"));
        set(&mut properties, "network", Properties::new());
        set(&mut properties, "ports", list(&[]));
        set(&mut properties, "workdir", None::<String>);
        let volumes = Properties::from_iter([("data".to_owned(), json!({}))]);
        let text = sandboxfile(&SandboxName::new("web").unwrap(), volumes, properties);
        let expected = json!({ "volumes": { "data": {} }, "sandboxes": { "web": { "image": "./image" } } });
        assert_eq!(text.parse::<Value>().unwrap(), expected);
    }
}

//! Generates the Sandboxfile of a command line: YAML, one line per flag, every text in quotes.

use super::script::Script;
use schemas::name::SandboxName;
use schemas::terminal::steers;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A Sandboxfile under construction.
pub struct Declaration {
    text: String,
}

impl Declaration {
    /// Starts the declaration of one sandbox, with these volumes in its project.
    pub fn new(name: &SandboxName, volumes: &[&str]) -> Self {
        let mut text = String::new();
        if !volumes.is_empty() {
            text.push_str("volumes:\n");
        }
        for volume in volumes {
            let _ = writeln!(text, "  {}: {{}}", quoted(volume));
        }
        let _ = write!(text, "sandboxes:\n  {}:\n", quoted(name.as_str()));
        Self { text }
    }

    /// Adds a property with a text.
    pub fn text(&mut self, property: &str, value: &str) {
        let _ = writeln!(self.text, "    {property}: {}", literal(value));
    }

    /// Adds a property with a number.
    pub fn number(&mut self, property: &str, value: &str) {
        let _ = writeln!(self.text, "    {property}: {value}");
    }

    /// Adds a property with a map of texts, unless it is empty.
    pub fn map(&mut self, property: &str, values: &BTreeMap<String, String>) {
        if !values.is_empty() {
            let _ = writeln!(self.text, "    {property}:");
        }
        for (name, value) in values {
            let _ = writeln!(self.text, "      {}: {}", quoted(name), literal(value));
        }
    }

    /// Adds a property with a list of texts, unless it is empty.
    pub fn list(&mut self, property: &str, values: &[String]) {
        if !values.is_empty() {
            let _ = writeln!(self.text, "    {property}:");
        }
        for value in values {
            let _ = writeln!(self.text, "      - {}", literal(value));
        }
    }

    /// Adds the scripts. Their dollar signs belong to the shell, as in any Sandboxfile.
    pub fn scripts(&mut self, scripts: &BTreeMap<String, Script>) {
        if !scripts.is_empty() {
            self.text.push_str("    scripts:\n");
        }
        for (name, Script { body, raw }) in scripts {
            let _ = writeln!(self.text, "      {}: {{ body: {}, raw: {raw} }}", quoted(name), quoted(body));
        }
    }

    /// Adds the network, unless nothing is set.
    pub fn network(&mut self, default: Option<&str>, [ipv4, ipv6]: [Option<&str>; 2], rules: &[String]) {
        let values = [("default", default), ("ipv4_pool", ipv4), ("ipv6_pool", ipv6)];
        if values.iter().any(|(_, value)| value.is_some()) || !rules.is_empty() {
            self.text.push_str("    network:\n");
        }
        for (property, value) in values {
            if let Some(value) = value {
                let _ = writeln!(self.text, "      {property}: {}", literal(value));
            }
        }
        if !rules.is_empty() {
            self.text.push_str("      rules:\n");
        }
        for rule in rules {
            let _ = writeln!(self.text, "        - {}", literal(rule));
        }
    }

    /// Adds secrets with their hosts. Each value is read from the variable with the secret's name.
    pub fn secrets(&mut self, secrets: &[(&str, Vec<&str>)]) {
        if !secrets.is_empty() {
            self.text.push_str("    secrets:\n");
        }
        for (name, hosts) in secrets {
            let hosts: Vec<_> = hosts.iter().map(|host| literal(host)).collect();
            let (name, from, hosts) = (quoted(name), literal(name), hosts.join(", "));
            let _ = writeln!(self.text, "      {name}: {{ from: {{ env: {from} }}, hosts: [{hosts}] }}");
        }
    }

    /// Returns the text.
    pub fn finish(self) -> String {
        self.text
    }
}

/// Quotes a text in which `$` is literal, because the shell has already expanded variables.
fn literal(text: &str) -> String {
    quoted(&text.replace('$', "$$"))
}

/// Quotes a text for YAML.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if steers(c) || matches!(c, '\u{a0}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandboxfile::{AssumePresent, Format, Input, Source, load};
    use schemas::model::Model;
    use schemas::name::ProjectName;

    fn model(declaration: Declaration) -> Model {
        let text = declaration.finish();
        let source =
            Source { name: "flags", path: None, bytes: text.as_bytes(), format: Format::Yaml, folder: "/" };
        let project = ProjectName::of_one(&SandboxName::new("web").unwrap());
        let input = Input { project: Some(project), ..Input::of(source) };
        load(&input, &AssumePresent).unwrap_or_else(|report| panic!("{report:?}\n{text}")).model
    }

    #[test]
    fn every_character_is_preserved() {
        let odd: String =
            ('\u{1}'..='\u{200}').chain(['\u{2028}', '\u{2029}', '\u{feff}', '\u{ffff}', '🦀']).collect();
        let texts = [odd.as_str(), "$HOME ${X:?no} $$", "yes", "1e3", "a: b # c", "- x", "{}", "'\"\\n"];
        let env: BTreeMap<String, String> =
            texts.iter().enumerate().map(|(index, text)| (format!("V{index}"), (*text).to_owned())).collect();
        let script = |body: &str| Script { body: body.to_owned(), raw: true };
        let scripts =
            BTreeMap::from([("odd".to_owned(), script(&odd)), ("run".to_owned(), script("echo $HOME $$"))]);
        let mut declared = Declaration::new(&SandboxName::new("web").unwrap(), &[]);
        declared.text("image", "./image");
        declared.map("env", &env);
        declared.scripts(&scripts);
        declared.list("start", &["echo".to_owned(), "$HOME".to_owned(), "no".to_owned()]);
        let model = model(declared);
        let definition = model.sandboxes()[0].definition();
        assert_eq!(definition.env, env);
        assert_eq!(definition.scripts["odd"], odd);
        assert_eq!(definition.scripts["run"], "echo $HOME $$");
        assert_eq!(definition.start.as_deref().unwrap(), ["echo", "$HOME", "no"]);
    }

    #[test]
    fn unset_properties_are_omitted() {
        let mut declared = Declaration::new(&SandboxName::new("web").unwrap(), &["data"]);
        declared.text("image", "./image");
        declared.network(None, [None, None], &[]);
        declared.secrets(&[]);
        declared.list("ports", &[]);
        declared.map("labels", &BTreeMap::new());
        assert_eq!(
            declared.finish(),
            "volumes:\n  \"data\": {}\nsandboxes:\n  \"web\":\n    image: \"./image\"\n"
        );
    }
}

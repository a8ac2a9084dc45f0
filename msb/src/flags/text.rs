//! Writes the Sandboxfile that a command line stands for: YAML, one line a flag, every text in quotes.

use super::script::Script;
use schemas::name::SandboxName;
use schemas::terminal::steers;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A Sandboxfile in the making.
pub struct Declaration {
    text: String,
}

impl Declaration {
    /// Of one sandbox, with these volumes in its project.
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

    /// A property with a text.
    pub fn text(&mut self, property: &str, value: &str) {
        self.some("    ", property, Some(value));
    }

    /// A property with a text, if there is any.
    pub fn some(&mut self, indent: &str, property: &str, value: Option<&str>) {
        if let Some(value) = value {
            let _ = writeln!(self.text, "{indent}{property}: {}", plain(value));
        }
    }

    /// Adds a property with a number.
    pub fn number(&mut self, property: &str, value: &str) {
        let _ = writeln!(self.text, "    {property}: {value}");
    }

    /// A property with a map of texts, if there is anything in it.
    pub fn map(&mut self, property: &str, values: &BTreeMap<String, String>) {
        if !values.is_empty() {
            let _ = writeln!(self.text, "    {property}:");
        }
        for (name, value) in values {
            let _ = writeln!(self.text, "      {}: {}", quoted(name), plain(value));
        }
    }

    /// A property with a list of texts, if there is anything in it.
    pub fn list(&mut self, property: &str, values: &[String]) {
        if !values.is_empty() {
            let _ = writeln!(self.text, "    {property}:");
        }
        for value in values {
            let _ = writeln!(self.text, "      - {}", plain(value));
        }
    }

    /// The scripts. Their dollar signs are the shell's, here as in any Sandboxfile.
    pub fn scripts(&mut self, scripts: &BTreeMap<String, Script>) {
        if !scripts.is_empty() {
            self.text.push_str("    scripts:\n");
        }
        for (name, Script { body, raw }) in scripts {
            let _ = writeln!(self.text, "      {}: {{ body: {}, raw: {raw} }}", quoted(name), quoted(body));
        }
    }

    /// The network, if anything is said of it.
    pub fn network(&mut self, default: Option<&str>, pools: [Option<&str>; 2], rules: &[String]) {
        if default.is_some() || pools.iter().any(Option::is_some) || !rules.is_empty() {
            self.text.push_str("    network:\n");
        }
        self.some("      ", "default", default);
        for (property, pool) in ["ipv4_pool", "ipv6_pool"].into_iter().zip(pools) {
            self.some("      ", property, pool);
        }
        if !rules.is_empty() {
            self.text.push_str("      rules:\n");
        }
        for rule in rules {
            let _ = writeln!(self.text, "        - {}", plain(rule));
        }
    }

    /// Secrets and the hosts that they are for; each value is read from the variable of its name.
    pub fn secrets(&mut self, secrets: &[(&str, Vec<String>)]) {
        if !secrets.is_empty() {
            self.text.push_str("    secrets:\n");
        }
        for (name, hosts) in secrets {
            let hosts: Vec<_> = hosts.iter().map(|host| plain(host)).collect();
            let (name, from, hosts) = (quoted(name), plain(name), hosts.join(", "));
            let _ = writeln!(self.text, "      {name}: {{ from: {{ env: {from} }}, hosts: [{hosts}] }}");
        }
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.text
    }
}

/// A text in which nothing is a variable: the shell has replaced what there was.
fn plain(text: &str) -> String {
    quoted(&text.replace('$', "$$"))
}

/// A text in double quotes, every character of which a YAML reader takes for itself.
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
    fn every_character_arrives_as_it_was_typed() {
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
    fn what_is_not_said_is_not_declared() {
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

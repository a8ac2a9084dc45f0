//! The rules in effect in a sandbox's network and their sources, for `inspect` and `net`.

use crate::cli::Global;
use crate::output::{self, OutputOptions};
use crate::project::load;
use crate::project::load::Loaded;
use executor::catalog::{Catalog, ProjectHome};
use executor::observe::Observation;
use executor_net::policy::{Origin, Policy, Verdict};
use sandboxfile::{Format, Line};
use schemas::spec::NetworkDefault;
use serde::Serialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The rules of one sandbox.
#[derive(Debug, schemars::JsonSchema, Serialize)]
pub struct Rules {
    /// In their order: the first match decides.
    rules: Vec<Row>,
    /// Applies if no rule matches.
    default: DefaultRule,
    #[serde(skip)]
    policy: Policy,
    #[serde(skip)]
    is_yaml: bool,
}

#[derive(Debug, schemars::JsonSchema, Serialize)]
struct Row {
    rule: String,
    #[serde(flatten)]
    source: RuleSource,
}

#[derive(Debug, schemars::JsonSchema, Serialize)]
struct DefaultRule {
    /// `allow` or `deny`.
    action: &'static str,
    /// As in a Sandboxfile; `public` also adds the base rules.
    word: &'static str,
    #[serde(flatten)]
    source: RuleSource,
}

/// The source of a rule.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
struct RuleSource {
    origin: SourceKind,
    /// The Sandboxfile, if it still has the rule.
    file: Option<String>,
    /// The line in `file`, from 1.
    line: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum SourceKind {
    Sandboxfile,
    Flag,
    Base,
}

impl RuleSource {
    fn at(origin: SourceKind, place: Option<&Line>) -> Self {
        let place = place.filter(|_| origin == SourceKind::Sandboxfile);
        Self { origin, file: place.map(|place| place.file.clone()), line: place.map(|place| place.line) }
    }

    /// Formats the source for a table; `flag` is the flag that sets the rule.
    fn text(&self, flag: &str) -> String {
        match (self.origin, &self.file, self.line) {
            (SourceKind::Sandboxfile, Some(file), Some(line)) => format!("{file}:{line}"),
            (SourceKind::Sandboxfile, _, _) => "Sandboxfile".to_owned(),
            (SourceKind::Flag, _, _) => flag.to_owned(),
            (SourceKind::Base, _, _) => "base".to_owned(),
        }
    }
}

/// The lines of a Sandboxfile that declare rules.
#[derive(Debug, Default)]
struct RuleLocations {
    rules: Vec<Line>,
    default: Option<Line>,
    /// Whether the file is in YAML.
    is_yaml: bool,
}

/// Cache of loaded projects, so that several sandboxes of a project load it once.
#[derive(Default)]
pub struct Projects(HashMap<(Vec<PathBuf>, Option<String>), Option<Loaded>>);

impl Rules {
    /// Returns the rules of a recorded sandbox.
    pub fn of(global: &Global, catalog: &Catalog, projects: &mut Projects, seen: &Observation) -> Self {
        let by_flags = seen.row.project.is_of_one();
        let mut locations = RuleLocations::default();
        if !by_flags {
            let home = catalog.project_home(&seen.row.project).ok().flatten();
            locations = locate(global, projects, seen, home.as_ref());
        }
        Self::new(&seen.row.spec.definition.network, by_flags, &locations)
    }

    fn new(network: &schemas::spec::Network, by_flags: bool, written: &RuleLocations) -> Self {
        let policy = Policy::new(network);
        let own = if by_flags { SourceKind::Flag } else { SourceKind::Sandboxfile };
        let rules = policy.rules().iter().enumerate().map(|(index, known)| Row {
            rule: known.rule.to_string(),
            source: match known.origin {
                Origin::Sandbox => RuleSource::at(own, written.rules.get(index)),
                Origin::Base | Origin::Default => RuleSource::at(SourceKind::Base, None),
            },
        });
        let rules = rules.collect();
        let word = policy.default();
        let default = DefaultRule {
            action: if word == NetworkDefault::Allow { "allow" } else { "deny" },
            word: word.as_str(),
            source: match (word, &written.default) {
                (NetworkDefault::Public, None) => RuleSource::at(SourceKind::Base, None),
                (_, place) => RuleSource::at(own, place.as_ref()),
            },
        };
        Self { rules, default, policy, is_yaml: written.is_yaml }
    }

    /// Returns the rules of a network, without their lines.
    #[cfg(test)]
    pub fn without_places(network: &schemas::spec::Network, by_flags: bool) -> Self {
        Self::new(network, by_flags, &RuleLocations::default())
    }

    /// The policy made of the rules.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns whether the Sandboxfile is in YAML.
    pub fn is_yaml(&self) -> bool {
        self.is_yaml
    }

    /// Rows of number, rule and origin; the default is the last one.
    fn cells(&self) -> Vec<Vec<String>> {
        let rules = self.rules.iter().zip(1..);
        let mut cells: Vec<_> = rules
            .map(|(Row { rule, source }, number): (_, usize)| {
                vec![number.to_string(), rule.clone(), source.text("--net-rule")]
            })
            .collect();
        let DefaultRule { action, word, source } = &self.default;
        let origin = format!("{} (default {word})", source.text("--net-default"));
        cells.push(vec!["-".to_owned(), format!("{action} the rest"), origin]);
        cells
    }

    /// Formats the rules as a table.
    pub fn table(&self) -> String {
        output::table::text(&["#", "RULE", "ORIGIN"], &self.cells())
    }

    /// Formats the source of the rule that a verdict is based on.
    pub fn origin(&self, verdict: &Verdict) -> String {
        match verdict.rule.and_then(|position| self.rules.get(position)) {
            Some(Row { rule: _, source }) => source.text("--net-rule"),
            None => self.default.source.text("--net-default"),
        }
    }
}

/// Returns the lines of a sandbox's rules. There are none if the Sandboxfile cannot be read or has changed since.
fn locate(
    global: &Global,
    projects: &mut Projects,
    seen: &Observation,
    home: Option<&ProjectHome>,
) -> RuleLocations {
    let mut global = global.clone();
    if let (true, Some(home)) = (global.files.is_empty(), home) {
        let folder = Path::new(&home.folder);
        global.files = match home.files.as_slice() {
            [] => load::file_in(folder).into_iter().collect(),
            files => files.iter().map(PathBuf::from).collect(),
        };
        if !global.files.is_empty() {
            global.project = Some(seen.row.project.to_string());
            // By default, the paths of each file are relative to its own folder.
            let is_elsewhere = global.files.first().and_then(|file| file.parent()) != Some(folder);
            global.project_directory = is_elsewhere.then(|| folder.to_owned());
        }
    }
    // Standard input must not be read for this.
    if global.files.iter().any(|file| file.as_os_str() == "-") {
        return RuleLocations::default();
    }
    let key = (global.files.clone(), global.project.clone());
    let loaded =
        projects.0.entry(key).or_insert_with(|| load::load_as(&global, OutputOptions::SILENT, true, "").ok());
    let Some(loaded) = loaded else { return RuleLocations::default() };
    let is_yaml = Format::of_file_name(&loaded.file) == Format::Yaml;
    let model = &loaded.model;
    let declared = model.sandbox(&seen.row.name).filter(|_| model.project() == &seen.row.project);
    match declared.filter(|declared| declared.definition().network == seen.row.spec.definition.network) {
        Some(declared) => {
            let family = declared.family().as_str();
            let default = loaded.origins.of(&format!("{family}.network.default"));
            let default = default.and_then(|origins| origins.into_iter().next());
            RuleLocations {
                rules: loaded.origins.rules_of(family),
                default: default.map(|origin| Line { file: origin.file, line: origin.line }),
                is_yaml,
            }
        }
        None => RuleLocations { is_yaml, ..RuleLocations::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::spec::Network;

    fn network(default: NetworkDefault, rules: &[&str]) -> Network {
        let rules = rules.iter().map(|text| text.parse().unwrap()).collect();
        Network { default, rules, ..Network::default() }
    }

    fn shown(rules: &Rules) -> Vec<String> {
        rules.cells().iter().map(|cells| cells.join(" | ")).collect()
    }

    #[test]
    fn each_rule_has_its_source() {
        let place = |line| Line { file: "Sandboxfile".to_owned(), line };
        let written = RuleLocations { rules: vec![place(7), place(9)], ..RuleLocations::default() };
        let own = ["deny@10.0.0.0/8", "allow@*.example.org"];
        let public = network(NetworkDefault::Public, &own);
        assert_eq!(
            shown(&Rules::new(&public, false, &written)),
            [
                "1 | deny@10.0.0.0/8 | Sandboxfile:7",
                "2 | allow@*.example.org | Sandboxfile:9",
                "3 | allow@dns | base",
                "4 | allow@public | base",
                "5 | allow:ingress@any | base",
                "- | deny the rest | base (default public)",
            ]
        );
        let deny = network(NetworkDefault::Deny, &own[..1]);
        assert_eq!(
            shown(&Rules::new(&deny, true, &RuleLocations::default())),
            ["1 | deny@10.0.0.0/8 | --net-rule", "- | deny the rest | --net-default (default deny)"]
        );
        let written =
            RuleLocations { rules: vec![place(3)], default: Some(place(2)), ..RuleLocations::default() };
        let rules = Rules::new(&network(NetworkDefault::Allow, &own[..1]), false, &written);
        assert_eq!(shown(&rules)[1], "- | allow the rest | Sandboxfile:2 (default allow)");
        assert_eq!(
            serde_json::to_value(&rules).unwrap(),
            serde_json::json!({
                "rules": [
                    { "rule": "deny@10.0.0.0/8", "origin": "sandboxfile", "file": "Sandboxfile", "line": 3 },
                ],
                "default": {
                    "action": "allow", "word": "allow", "origin": "sandboxfile", "file": "Sandboxfile", "line": 2,
                },
            })
        );
        // No lines are known if the Sandboxfile has changed since.
        let unknown = Rules::new(&deny, false, &RuleLocations::default());
        assert_eq!(shown(&unknown)[0], "1 | deny@10.0.0.0/8 | Sandboxfile");
    }
}

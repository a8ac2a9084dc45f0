//! The rules in force in a sandbox's network, in their order, and who wrote each: for `inspect` and `net`.

use crate::cli::Global;
use crate::output;
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

/// All rules of one sandbox.
#[derive(Debug, Serialize)]
pub struct Rules {
    /// The first one that fits decides.
    rules: Vec<Row>,
    /// What is done where none fits.
    default: DefaultRule,
    #[serde(skip)]
    policy: Policy,
    #[serde(skip)]
    is_yaml: bool,
}

/// One rule.
#[derive(Debug, Serialize)]
struct Row {
    rule: String,
    #[serde(flatten)]
    source: RuleSource,
}

/// What is left when no rule fits.
#[derive(Debug, Serialize)]
struct DefaultRule {
    /// `allow` or `deny`.
    action: &'static str,
    /// The word that says so: `public` also stands for the base rules.
    word: &'static str,
    #[serde(flatten)]
    source: RuleSource,
}

/// Who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct RuleSource {
    origin: SourceKind,
    /// Where it is written, as far as the Sandboxfile still says the same.
    file: Option<String>,
    /// RuleSource 1.
    line: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum SourceKind {
    Sandboxfile,
    Flag,
    Base,
}

impl RuleSource {
    fn plain(origin: SourceKind) -> Self {
        Self { origin, file: None, line: None }
    }

    fn at(origin: SourceKind, place: Option<&Line>) -> Self {
        let place = place.filter(|_| origin == SourceKind::Sandboxfile);
        Self { origin, file: place.map(|place| place.file.clone()), line: place.map(|place| place.line) }
    }

    /// In a table, where `flag` is the one that says it.
    fn text(&self, flag: &str) -> String {
        match (self.origin, &self.file, self.line) {
            (SourceKind::Sandboxfile, Some(file), Some(line)) => format!("{file}:{line}"),
            (SourceKind::Sandboxfile, _, _) => "Sandboxfile".to_owned(),
            (SourceKind::Flag, _, _) => flag.to_owned(),
            (SourceKind::Base, _, _) => "base".to_owned(),
        }
    }
}

/// Where the Sandboxfile has what is in force.
#[derive(Debug, Default)]
struct RuleLocations {
    rules: Vec<Line>,
    default: Option<Line>,
    /// Whether the file that was read is in YAML.
    is_yaml: bool,
}

/// The projects that were loaded to find where rules are written: each one once, whatever the number of
/// sandboxes that are asked for.
#[derive(Default)]
pub struct Projects(HashMap<(Vec<PathBuf>, Option<String>), Option<Loaded>>);

impl Rules {
    /// Those of a recorded sandbox.
    pub fn of(global: &Global, catalog: &Catalog, projects: &mut Projects, seen: &Observation) -> Self {
        let by_flags = seen.row.project.is_of_one();
        let written = match by_flags {
            true => RuleLocations::default(),
            false => {
                let home = catalog.project_home(&seen.row.project).ok().flatten();
                written(global, projects, seen, home.as_ref())
            }
        };
        Self::new(&seen.row.spec.definition.network, by_flags, &written)
    }

    fn new(network: &schemas::spec::Network, by_flags: bool, written: &RuleLocations) -> Self {
        let policy = Policy::new(network);
        let own = if by_flags { SourceKind::Flag } else { SourceKind::Sandboxfile };
        let rules = policy.rules().iter().enumerate().map(|(index, known)| Row {
            rule: known.rule.to_string(),
            source: match known.origin {
                Origin::Sandbox => RuleSource::at(own, written.rules.get(index)),
                Origin::Base | Origin::Default => RuleSource::plain(SourceKind::Base),
            },
        });
        let rules = rules.collect();
        let word = policy.default();
        let default = DefaultRule {
            action: if word == NetworkDefault::Allow { "allow" } else { "deny" },
            word: word.as_str(),
            source: match (word, &written.default) {
                (NetworkDefault::Public, None) => RuleSource::plain(SourceKind::Base),
                (_, place) => RuleSource::at(own, place.as_ref()),
            },
        };
        Self { rules, default, policy, is_yaml: written.is_yaml }
    }

    /// Those of a network, without a word about where they are written.
    #[cfg(test)]
    pub fn without_places(network: &schemas::spec::Network, by_flags: bool) -> Self {
        Self::new(network, by_flags, &RuleLocations::default())
    }

    /// What decides.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether they are written in YAML.
    pub fn is_yaml(&self) -> bool {
        self.is_yaml
    }

    /// A line for each, and one for the default: number, rule, origin.
    fn cells(&self) -> Vec<Vec<String>> {
        let rules = self.rules.iter().zip(1..);
        let mut cells: Vec<_> = rules
            .map(|(Row { rule, source }, number): (_, usize)| {
                vec![number.to_string(), rule.clone(), source.text("--net-rule")]
            })
            .collect();
        let DefaultRule { action, word, source } = &self.default;
        let origin = format!("{} (default {word})", source.text("--net-default"));
        cells.push(vec!["-".to_owned(), format!("{action} what is left"), origin]);
        cells
    }

    /// The same as a table.
    pub fn table(&self) -> String {
        output::table::text(&["#", "RULE", "ORIGIN"], &self.cells())
    }

    /// Who wrote what has decided.
    pub fn origin(&self, verdict: &Verdict) -> String {
        match verdict.rule.and_then(|position| self.rules.get(position)) {
            Some(Row { rule: _, source }) => source.text("--net-rule"),
            None => self.default.source.text("--net-default"),
        }
    }
}

/// Where the Sandboxfile has the rules of a sandbox. Nothing where it cannot be read now, or says something else by now.
fn written(
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
            // Otherwise each file is where its own relative paths start.
            let is_elsewhere = global.files.first().and_then(|file| file.parent()) != Some(folder);
            global.project_directory = is_elsewhere.then(|| folder.to_owned());
        }
    }
    // Standard input was not meant for this.
    if global.files.iter().any(|file| file.as_os_str() == "-") {
        return RuleLocations::default();
    }
    let key = (global.files.clone(), global.project.clone());
    let loaded = projects.0.entry(key).or_insert_with(|| load::load_and_explain_silently(&global).ok());
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
    fn each_rule_has_its_writer() {
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
                "- | deny what is left | base (default public)",
            ]
        );
        let deny = network(NetworkDefault::Deny, &own[..1]);
        assert_eq!(
            shown(&Rules::new(&deny, true, &RuleLocations::default())),
            ["1 | deny@10.0.0.0/8 | --net-rule", "- | deny what is left | --net-default (default deny)"]
        );
        let written =
            RuleLocations { rules: vec![place(3)], default: Some(place(2)), ..RuleLocations::default() };
        let rules = Rules::new(&network(NetworkDefault::Allow, &own[..1]), false, &written);
        assert_eq!(shown(&rules)[1], "- | allow what is left | Sandboxfile:2 (default allow)");
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
        // A Sandboxfile that says something else by now has no lines for them.
        let unknown = Rules::new(&deny, false, &RuleLocations::default());
        assert_eq!(shown(&unknown)[0], "1 | deny@10.0.0.0/8 | Sandboxfile");
    }
}

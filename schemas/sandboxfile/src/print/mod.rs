//! A model back as text, in either spelling or as JSON: sorted, complete, defaults written out.

mod kdl;
mod kdl_outward;
mod kdl_text;
mod one;
mod yaml;
mod yaml_outward;
mod yaml_text;

pub use kdl::kdl;
pub use one::one;
pub use yaml::yaml;

pub(crate) use kdl_text::string as kdl_string;
pub(crate) use yaml_text::string as yaml_string;

use super::section::script::first_line;
use schemas::model::{Model, Sandbox};
use schemas::name::SandboxName;
use schemas::spec::Condition;
use std::collections::BTreeMap;

/// The model as JSON, in the form that plans and digests have it.
pub fn json(model: &Model) -> String {
    // A tree of maps, texts and numbers always has a JSON form.
    let value = serde_json::to_value(model).unwrap_or_default();
    format!("{value:#}\n")
}

/// The sandboxes as they are declared: of several replicas, the first one.
fn declared(model: &Model) -> impl Iterator<Item = &Sandbox> {
    model.sandboxes().iter().filter(|sandbox| sandbox.replica().is_none_or(|replica| replica.number == 1))
}

/// A sandbox as it is declared, its dependencies by their names in the Sandboxfile.
struct Family<'a> {
    sandbox: &'a Sandbox,
    depends_on: BTreeMap<&'a SandboxName, Condition>,
}

impl<'a> Family<'a> {
    fn of(model: &'a Model, sandbox: &'a Sandbox) -> Self {
        let dependencies = sandbox.definition().depends_on.iter();
        let depends_on = dependencies.map(|(on, condition)| {
            (model.sandbox(on).map_or(on, |dependency| dependency.family()), *condition)
        });
        Self { sandbox, depends_on: depends_on.collect() }
    }
}

/// A script as somebody would write it.
enum Script<'a> {
    /// The body alone; the shell makes its first line.
    Wrapped(&'a str),
    /// The whole text.
    Raw(&'a str),
}

/// Takes off what wrapping would add, where wrapping gives back the very same text.
fn unwrap_script<'a>(text: &'a str, shell: &str) -> Script<'a> {
    let body = text.strip_prefix(first_line(shell).as_str()).and_then(|rest| rest.strip_suffix('\n'));
    match body {
        // Another line break at the end would be taken for the final one.
        Some(body) if !body.trim().is_empty() && !body.ends_with('\n') => Script::Wrapped(body),
        _ => Script::Raw(text),
    }
}

//! Prints a model in KDL, in YAML or as JSON: sorted, complete, with the defaults.

mod item;
mod kdl;
mod kdl_text;
mod quotes;
mod sandbox;
mod yaml;
mod yaml_text;

pub use sandbox::sandbox;

pub(crate) use item::{Item, Name, Node, Position, Printed, Scalar};
pub(crate) use kdl_text::{name as kdl_name, string as kdl_string};
pub(crate) use yaml_text::string as yaml_string;

use crate::Format;
use crate::check::{Declaration, word};
use crate::values::{self, PrintScope, Value};
use rules::unit::format_size_mib;
use schemas::model::{Model, Sandbox};
use schemas::name::SandboxName;
use schemas::spec::{Condition, Role, VolumeSpec};
use std::collections::BTreeMap;

/// Returns the model as JSON, in the form of plans and digests.
pub fn json(model: &Model) -> String {
    // A tree of maps, texts and numbers always has a JSON form.
    let value = serde_json::to_value(model).unwrap_or_default();
    format!("{value:#}\n")
}

/// Returns the model in KDL.
pub fn kdl(model: &Model) -> String {
    let mut out = format!("project {}\n", kdl_string(model.project().as_str()));
    for (name, spec) in model.volumes() {
        out.push_str(&format!("\nvolume {}", kdl_string(name.as_str())));
        for (property, value) in volume_properties(spec) {
            out.push_str(&format!(" {property}={}", kdl_string(&value)));
        }
        if spec.shared {
            out.push_str(" shared=#true");
        }
        out.push('\n');
    }
    for (name, volume) in model.external() {
        let external = if name == volume { "#true".to_owned() } else { kdl_string(volume.as_str()) };
        out.push_str(&format!("\nvolume {} external={external}\n", kdl_string(name.as_str())));
    }
    for sandbox in declared(model) {
        out.push('\n');
        push_kdl(&mut out, sandbox, &dependencies(model, sandbox));
    }
    out
}

/// Returns the model in YAML.
pub fn yaml(model: &Model) -> String {
    let mut out = format!("project: {}\n", yaml_string(model.project().as_str()));
    if !(model.volumes().is_empty() && model.external().is_empty()) {
        out.push_str("volumes:\n");
    }
    for (name, spec) in model.volumes() {
        let properties = volume_properties(spec).map(|(property, value)| format!("{property}: {value}"));
        let shared = spec.shared.then(|| "shared: true".to_owned());
        let properties = properties.chain(shared).collect::<Vec<_>>().join(", ");
        let properties = if properties.is_empty() { "{}".to_owned() } else { format!("{{ {properties} }}") };
        out.push_str(&format!("  {}: {properties}\n", yaml_string(name.as_str())));
    }
    for (name, volume) in model.external() {
        let external = if name == volume { "true".to_owned() } else { yaml_string(volume.as_str()) };
        out.push_str(&format!("  {}: {{ external: {external} }}\n", yaml_string(name.as_str())));
    }
    for (heading, role) in [("sandboxes", Role::Service), ("jobs", Role::Job)] {
        let mut members = declared(model).filter(|sandbox| sandbox.definition().role == role).peekable();
        if members.peek().is_some() {
            out.push_str(&format!("{heading}:\n"));
        }
        for sandbox in members {
            out.push_str(&format!("  {}:\n", yaml_string(sandbox.family().as_str())));
            let dependencies = dependencies(model, sandbox);
            for_each_property(sandbox, &dependencies, Format::Yaml, &mut |property, printed| {
                yaml::push(&mut out, 4, property, printed);
            });
        }
    }
    out
}

/// Returns the properties with texts of a volume that its declaration needs, whose values need no quotes in YAML.
fn volume_properties(spec: &VolumeSpec) -> impl Iterator<Item = (&'static str, String)> {
    let VolumeSpec { kind, size_mib, shared: _ } = spec;
    // The kind follows from the size otherwise.
    let kind = (*kind != VolumeSpec::kind_of(*size_mib)).then_some(("kind", kind.to_string()));
    let size = size_mib.map(|mib| ("size", format_size_mib(mib.into())));
    kind.into_iter().chain(size)
}

fn push_kdl(out: &mut String, sandbox: &Sandbox, depends_on: &BTreeMap<&SandboxName, Condition>) {
    let role = sandbox.definition().role;
    out.push_str(&format!("{} {} {{\n", word(role), kdl_string(sandbox.family().as_str())));
    for_each_property(sandbox, depends_on, Format::Kdl, &mut |property, printed| {
        kdl::push(out, 4, property, printed);
    });
    out.push_str("}\n");
}

/// Returns the declared sandboxes: the first one of each group of replicas.
fn declared(model: &Model) -> impl Iterator<Item = &Sandbox> {
    model.sandboxes().iter().filter(|sandbox| sandbox.replica().is_none_or(|replica| replica.number == 1))
}

/// Returns the dependencies of a sandbox by their names in the Sandboxfile.
fn dependencies<'a>(model: &'a Model, sandbox: &'a Sandbox) -> BTreeMap<&'a SandboxName, Condition> {
    let dependencies = sandbox.definition().depends_on.iter();
    let family = |on: &'a SandboxName| model.sandbox(on).map_or(on, |dependency| dependency.family());
    dependencies.map(|(on, condition)| (family(on), *condition)).collect()
}

macro_rules! print_each {
    ($from:ident, $scope:ident, $print:ident: $(
        $(#[$attribute:meta])+
        $field:ident $(: $type:ty = $default:expr)? => $value:ident {
            names: $count:ident($kdl:literal, $yaml:literal), $($rest:tt)*
        };
    )+) => { $(
        let name = $scope.format.pick($kdl, $yaml);
        // From a reference to a value, or to an option of one.
        let value: Option<&<values::$value as Value>::Model> = (&$from.$field).into();
        $print(name, &value.map_or(Printed::Nothing, |value| values::$value::print(value, &$scope)));
    )+ };
}

macro_rules! define_print {
    (first { $($first:tt)* } definition { $($definition:tt)* } last { $($last:tt)* }) => {
        /// Calls `print` with the name and the value of each property of a sandbox, in the order of the table.
        fn for_each_property(
            sandbox: &Sandbox,
            depends_on: &BTreeMap<&SandboxName, Condition>,
            format: Format,
            print: &mut dyn FnMut(&str, &Printed),
        ) {
            let definition = sandbox.definition();
            let declaration = Declaration::of(sandbox);
            let scope = PrintScope { definition, depends_on, format };
            print_each! { declaration, scope, print: $($first)* }
            print_each! { definition, scope, print: $($definition)* }
            print_each! { declaration, scope, print: $($last)* }
        }
    };
}

schemas::sandbox_properties!(define_print);

//! A project: its name, its services, and what they share.

use crate::context::{At, Context, Fields, keyed, shown};
use crate::ledger::key_path;
use crate::out::{Commented, Document, Value, Volume};
use crate::service;
use sandboxfile::Code;
use sandboxfile::yaml::{Node, NodeValue};
use schemas::name::{check_name, suggest_name};
use std::collections::{BTreeMap, BTreeSet};

/// Names with a meaning of their own in the network of a sandbox.
const RESERVED: [&str; 4] = ["localhost", "host", "gateway", "msb"];

/// The most names of variables in a message.
const NAMES_MAX: usize = 10;

/// What services need to know of each other.
#[derive(Default)]
pub(crate) struct Facts<'n> {
    /// The names of services and those of their sandboxes.
    pub names: BTreeMap<String, String>,
    /// The networks of each service.
    pub networks: BTreeMap<String, BTreeSet<String>>,
    /// The services of each network.
    pub members: BTreeMap<String, Vec<String>>,
    /// The number of copies of each service.
    pub copies: BTreeMap<String, u32>,
    /// The number of rules that were written.
    pub rules: usize,
    /// Networks that lead to no other machine.
    pub internal: BTreeSet<String>,
    /// Services that others wait for until they have ended, and that become jobs.
    pub jobs: BTreeSet<String>,
    /// Services whose health check is turned off.
    pub unchecked: BTreeSet<String>,
    /// Whether every service shares a network with every other one.
    pub is_one_network: bool,
    /// The names of volumes and those of the Sandboxfile.
    pub volumes: BTreeMap<String, String>,
    /// Volumes that stand for a folder of the host.
    pub binds: BTreeMap<String, String>,
    /// The top-level `secrets` and `configs`, by their names.
    pub secrets: BTreeMap<&'n str, At<'n>>,
    pub configs: BTreeMap<&'n str, At<'n>>,
    /// Ports of the host that are taken, and by which service.
    pub ports: BTreeMap<String, String>,
    /// Volumes without a name, and the volumes that are written to by each sandbox and its replicas.
    pub anonymous: BTreeMap<String, String>,
    pub writers: BTreeMap<String, usize>,
}

/// Converts a whole project; `None` after reporting that it has no services.
pub(crate) fn convert(context: &mut Context<'_>, root: &Node, names: &[&str]) -> Option<Document> {
    let at = At { path: String::new(), span: root.span, node: root };
    let mut fields = Fields::of(context, &at);
    let mut document = Document { comments: heading(names), ..Document::default() };
    document.project = project_name(context, &mut fields);
    if let Some(at) = fields.take(context, "version") {
        context.mapped_as(&at, "compose ignores it too");
    }
    if let Some(at) = fields.take(context, "include") {
        include(context, &at);
        document.comments.extend(context.take_notes());
    }
    let services = fields.take(context, "services");
    let Some(services) =
        services.filter(|at| !matches!(&at.node.value, NodeValue::Map(all) if all.is_empty()))
    else {
        let help = "add a service: `services: { web: { image: nginx } }`";
        return context.refuse(Code::NoSandboxes, root.span, "there are no services in this file", help);
    };
    context.mapped(&services);
    let services = context.entries(&services);
    let mut facts = Facts::default();
    name_services(context, &services, &mut facts);
    service::facts::gather(context, &services, &mut facts);
    let volumes = fields.take(context, "volumes");
    let volumes = volumes.map(|at| section(context, &at)).unwrap_or_default();
    name_volumes(context, &volumes, &mut facts);
    let networks = fields.take(context, "networks");
    let networks = networks.map(|at| section(context, &at)).unwrap_or_default();
    convert_networks(context, &networks, &mut facts);
    document.left_out.extend(context.take_left_out());
    check_networks(context, &services, &networks, &facts);
    for key in ["secrets", "configs"] {
        let Some(at) = fields.take(context, key) else { continue };
        let all: BTreeMap<&str, At<'_>> = section(context, &at).into_iter().collect();
        if key == "secrets" { facts.secrets = all } else { facts.configs = all }
    }
    for (name, at) in &services {
        document.sandboxes.extend(service::convert(context, name, at, &mut facts));
    }
    document.volumes = convert_volumes(context, &volumes, &facts);
    unused(context, &facts);
    fields.leave_unknown(context, "");
    document.left_out.extend(context.take_left_out());
    Some(document)
}

fn heading(names: &[&str]) -> Vec<String> {
    vec![
        format!("Written from {} by `msb init`.", names.join(" and ")),
        "Compose sets no limits where a file sets none. A sandbox has 1 processor and 256M of memory unless `cpus` and \
         `memory` say otherwise."
            .to_owned(),
    ]
}

/// Accounts for `include`, which was resolved when the files were read.
fn include(context: &mut Context<'_>, at: &At<'_>) {
    context.mapped_as(at, "the included files are merged into this one");
    if !context.fixed.is_empty() {
        let names: Vec<String> = context.fixed.iter().take(NAMES_MAX).map(|name| shown(name)).collect();
        let note = format!(
            "these variables have the values of env files, which contain `}}` as no default may: {}",
            names.join(", ")
        );
        context.changed(at, note);
    }
    for at in context.elements(at) {
        let NodeValue::Map(_) = &at.node.value else { continue };
        let mut fields = Fields::of(context, &at);
        for key in ["path", "project_directory"] {
            if let Some(at) = fields.take(context, key) {
                context.mapped(&at);
            }
        }
        if let Some(at) = fields.take(context, "env_file") {
            context.mapped_as(&at, "its values are the defaults of the variables in the included files");
        }
        fields.leave_unknown(context, "include.");
    }
}

/// Marks a section of the top level and returns its entries.
fn section<'n>(context: &mut Context<'_>, at: &At<'n>) -> Vec<(&'n str, At<'n>)> {
    context.mapped(at);
    context.entries(at)
}

fn project_name(context: &mut Context<'_>, fields: &mut Fields<'_>) -> Option<Commented<Value>> {
    let at = fields.take(context, "name")?;
    let text = context.text(&at)?;
    context.mapped(&at);
    let value = if check_name(&text.value).is_ok() {
        Value::of(&text)
    } else {
        let Some(name) = suggest_name(&text.value) else {
            context.left_out(&at, "name", "it cannot be the name of a project: choose one with `project`");
            return None;
        };
        context.changed(
            &at,
            format!(
                "the name of a project has lower-case letters, digits, `-` and `_`: {} is {name} here",
                shown(&text.value)
            ),
        );
        Value::literal(&name)
    };
    Some(Commented { comments: context.take_notes(), value })
}

/// The last number that was tried for each name, as many names may resemble each other.
type Tried = BTreeMap<String, usize>;

/// Returns a valid name that is not taken.
fn free_name(wanted: &str, taken: &BTreeSet<String>, tried: &mut Tried) -> String {
    let base = suggest_name(wanted).unwrap_or_else(|| "service".to_owned());
    // Room for a suffix, and for the number of a replica.
    let base: String = base.chars().take(50).collect();
    let mut name = base.clone();
    let number = tried.entry(base.clone()).or_insert(1);
    while taken.contains(&name) || RESERVED.contains(&name.as_str()) {
        *number += 1;
        name = format!("{base}-{number}");
    }
    name
}

fn name_services(context: &mut Context<'_>, services: &[(&str, At<'_>)], facts: &mut Facts<'_>) {
    let is_good = |name: &str| check_name(name).is_ok() && !RESERVED.contains(&name) && name.len() <= 57;
    let mut taken: BTreeSet<String> =
        services.iter().map(|(name, _)| (*name).to_owned()).filter(|name| is_good(name)).collect();
    let mut tried = Tried::new();
    for (name, at) in services {
        if !matches!(at.node.value, NodeValue::Map(_)) {
            context.refuse_type::<()>(at, "a map");
        }
        let chosen = if is_good(name) { (*name).to_owned() } else { free_name(name, &taken, &mut tried) };
        taken.insert(chosen.clone());
        facts.names.insert((*name).to_owned(), chosen);
    }
}

fn name_volumes(context: &mut Context<'_>, volumes: &[(&str, At<'_>)], facts: &mut Facts<'_>) {
    let mut taken: BTreeSet<String> =
        volumes.iter().map(|(name, _)| (*name).to_owned()).filter(|name| check_name(name).is_ok()).collect();
    let mut tried = Tried::new();
    for (name, at) in volumes {
        let chosen =
            if check_name(name).is_ok() { (*name).to_owned() } else { free_name(name, &taken, &mut tried) };
        taken.insert(chosen.clone());
        facts.volumes.insert((*name).to_owned(), chosen);
        if let Some(device) = bind_of(context, at) {
            facts.binds.insert((*name).to_owned(), device);
        }
    }
}

/// Returns the folder of the host that a volume with the options of a bind mount stands for, as written.
fn bind_of(context: &mut Context<'_>, at: &At<'_>) -> Option<String> {
    let options = Fields::of(context, at).peek("driver_opts")?.clone();
    let options = context.entries(&options);
    let text = |name: &str| {
        let (_, at) = options.iter().find(|(key, _)| *key == name)?;
        match &at.node.value {
            NodeValue::Scalar { text, .. } => Some(text.clone()),
            _ => None,
        }
    };
    let is_bind = text("o").is_some_and(|o| o.split(',').any(|word| matches!(word, "bind" | "rbind")));
    text("device").filter(|_| is_bind)
}

fn convert_volumes(context: &mut Context<'_>, volumes: &[(&str, At<'_>)], facts: &Facts<'_>) -> Vec<Volume> {
    let mut converted = Vec::new();
    for (name, at) in volumes {
        context.mapped(at);
        let chosen = &facts.volumes[*name];
        if chosen != name {
            context.changed(at, format!("{} is called {chosen} here", shown(name)));
        }
        let mut fields = Fields::of(context, at);
        let mut properties = Vec::new();
        let is_bind = facts.binds.contains_key(*name);
        for key in ["driver", "driver_opts"] {
            let Some(at) = fields.take(context, key) else { continue };
            let is_local = matches!(&at.node.value, NodeValue::Scalar { text, .. } if text == "local");
            let is_empty = matches!(&at.node.value, NodeValue::Map(entries) if entries.is_empty());
            if is_local || is_empty {
                context.mapped(&at);
            } else if is_bind {
                context.mapped_as(&at, "the folder of the host is mounted where the volume was");
            } else {
                let reason =
                    "volumes are on this host only: mount a folder of the host in which you have mounted it";
                context.left_out(&at, &format!("volumes.{name}.{key}"), reason);
            }
        }
        let own_name = fields.take(context, "name");
        let external = fields.take(context, "external");
        let is_external = external.as_ref().is_some_and(|at| is_external(context, at));
        if let Some(at) = &external {
            context.mapped(at);
        }
        if is_external {
            let full = own_name.as_ref().and_then(|at| context.text(at)).map(|text| text.value);
            let full = full.filter(|full| check_name(full).is_ok() && full != chosen);
            let shown_name = full.as_deref().unwrap_or(chosen).to_owned();
            let note = format!(
                "msb has volumes of its own: `msb volume create {shown_name}` makes this one before the first start"
            );
            if let Some(at) = &external {
                context.changed(at, note);
            }
            if let Some(at) = &own_name {
                context.mapped(at);
            }
            properties.push(("external", full.map_or(Value::Flag(true), |full| Value::literal(&full))));
        } else {
            if let Some(at) = own_name {
                context.left_out(&at, &format!("volumes.{name}.name"), "a volume is called by its project and its own name; `external` refers to one of another project");
            }
            if facts.writers.get(chosen).is_some_and(|writers| *writers > 1) {
                properties.push(("shared", Value::Flag(true)));
            }
        }
        if let Some(at) = fields.take(context, "labels") {
            context.left_out(&at, &format!("volumes.{name}.labels"), "volumes have no labels: remove it");
        }
        fields.leave_unknown(context, &format!("volumes.{name}."));
        let comments = context.take_notes();
        if !is_bind {
            converted.push(Volume { comments, name: chosen.clone(), properties });
        }
    }
    for (name, comment) in &facts.anonymous {
        let mut properties = Vec::new();
        if facts.writers.get(name).is_some_and(|writers| *writers > 1) {
            properties.push(("shared", Value::Flag(true)));
        }
        converted.push(Volume { comments: vec![comment.clone()], name: name.clone(), properties });
    }
    converted
}

/// Returns whether something is declared elsewhere: `external: true`, or the old form with a name.
pub(crate) fn is_external(context: &mut Context<'_>, at: &At<'_>) -> bool {
    match &at.node.value {
        NodeValue::Map(_) => true,
        _ => context.flag(at) == Some(true),
    }
}

fn convert_networks(context: &mut Context<'_>, networks: &[(&str, At<'_>)], facts: &mut Facts<'_>) {
    for (name, at) in networks {
        context.mapped_as(at, "the rules of the sandboxes in it keep its edges");
        let mut fields = Fields::of(context, at);
        if let Some(at) = fields.take(context, "internal") {
            context.mapped(&at);
            if context.flag(&at) == Some(true) {
                facts.internal.insert((*name).to_owned());
            }
        }
        for key in ["name", "attachable", "enable_ipv4", "enable_ipv6"] {
            if let Some(at) = fields.take(context, key) {
                context.mapped_as(&at, "a network is not an object of its own here: nothing is needed");
            }
        }
        if let Some(at) = fields.take(context, "driver") {
            match context.text(&at) {
                Some(text) if !matches!(text.value.as_str(), "bridge" | "default" | "") => {
                    let reason = "each sandbox has a network of its own, and no driver: remove it";
                    context.left_out(&at, &format!("networks.{name}.driver"), reason);
                }
                _ => context.mapped(&at),
            }
        }
        if let Some(at) = fields.take(context, "external") {
            context.mapped(&at);
            if is_external(context, &at) {
                let reason = "sandboxes of other projects are not reached: put both into one project, or publish a port and allow `host`";
                context.left_out(&at, &format!("networks.{name}.external"), reason);
            }
        }
        for (key, reason) in [
            ("ipam", "msb chooses addresses; `ipv4-pool` in `network` names another range"),
            ("driver_opts", "each sandbox has a network of its own, and no driver: remove it"),
            ("labels", "a network is not an object of its own here, and has no labels: remove it"),
        ] {
            if let Some(at) = fields.take(context, key) {
                context.left_out(&at, &format!("networks.{name}.{key}"), reason);
            }
        }
        fields.leave_unknown(context, &format!("networks.{name}."));
    }
}

/// Reports networks of services that no file declares.
fn check_networks(
    context: &mut Context<'_>,
    services: &[(&str, At<'_>)],
    networks: &[(&str, At<'_>)],
    facts: &Facts<'_>,
) {
    let declared: BTreeSet<&str> = networks.iter().map(|(name, _)| *name).collect();
    for (name, at) in services {
        let unknown = facts
            .networks
            .get(*name)
            .into_iter()
            .flatten()
            .find(|network| !declared.contains(network.as_str()) && network.as_str() != "default");
        if let Some(network) = unknown {
            let message = format!(
                "the service `{}` is in the network `{}`, which is not declared",
                shown(name),
                shown(network)
            );
            context.refuse::<()>(
                Code::UnknownVolume,
                at.span,
                message,
                format!("add it: `networks: {{ {}: }}`", shown(network)),
            );
        }
    }
}

/// Says what no service uses.
fn unused(context: &mut Context<'_>, facts: &Facts<'_>) {
    for (key, all) in [("secrets", &facts.secrets), ("configs", &facts.configs)] {
        for (name, at) in all {
            context.mapped_as(at, format!("in each sandbox that uses it; see {}", key_path(key, name)));
            if let NodeValue::Map(entries) = &at.node.value {
                service::files::account(context, key, name, &keyed(&at.path, entries));
            }
        }
    }
}

//! One sandbox or job: as typed, and checked apart from the others.

use super::code::Code;
use super::context::{Context, shorten};
use super::diagnostic::Diagnostic;
use super::names::SANDBOX;
use super::read::{Entry, Fields};
use super::section::depends_on::RawDependency;
use super::section::env::RawPairs;
use super::section::healthcheck::RawHealthCheck;
use super::section::hook::RawHook;
use super::section::logs::RawLogs;
use super::section::mount::RawMount;
use super::section::network::RawNetwork;
use super::section::restart::RawRestart;
use super::section::script::{RawScript, invalid_name};
use super::section::secret::RawSecret;
use super::section::sync::RawSync;
use super::section::{
    depends_on, env, healthcheck, hook, image, logs, mount, network, place, port, process, resources,
    restart, script, secret, start, sync,
};
use super::span::Spanned;
use super::tree::Argument;
use schemas::name::{SandboxName, suggest_name};
use schemas::spec::{
    Condition, Definition, ImageReference, Logs, Network, Port, RestartPolicy, Role, defaults,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A sandbox or a job as typed. `None` means that it is not written, or that its reading failed; the
/// failures are in the context.
#[derive(Clone, Debug)]
pub(crate) struct RawSandbox {
    /// Its name.
    pub name: Spanned<String>,
    /// Service or job.
    pub role: Role,
    /// What it waits for.
    pub depends_on: Vec<RawDependency>,
    /// How to tell that it is well.
    pub healthcheck: Option<RawHealthCheck>,
    /// The sandbox that it is like.
    pub like: Option<Spanned<String>>,
    /// What it boots from.
    pub image: Written<Spanned<String>>,
    /// Processors.
    pub cpus: Option<Spanned<i128>>,
    /// Memory.
    pub memory: Option<Spanned<String>>,
    /// The writable disk.
    pub disk: Option<Spanned<String>>,
    /// Variables.
    pub env: RawPairs,
    /// The working directory.
    pub workdir: Option<Spanned<String>>,
    /// The user.
    pub user: Option<Spanned<String>>,
    /// The shell of wrapped scripts.
    pub shell: Option<Spanned<String>>,
    /// Scripts.
    pub scripts: Vec<RawScript>,
    /// What is mounted.
    pub mounts: Vec<RawMount>,
    /// What is copied into it.
    pub syncs: Vec<RawSync>,
    /// Ports of the host.
    pub ports: Vec<Spanned<String>>,
    /// What it may reach.
    pub network: Option<RawNetwork>,
    /// Secrets.
    pub secrets: Vec<RawSecret>,
    /// Commands at moments of its life.
    pub hooks: Vec<RawHook>,
    /// The main process.
    pub start: Written<Vec<Spanned<String>>>,
    /// What happens when it ends by itself.
    pub restart: Option<RawRestart>,
    /// What is written down of what it prints.
    pub logs: Option<RawLogs>,
    /// Labels.
    pub labels: RawPairs,
    /// Profiles.
    pub profiles: Option<Vec<Spanned<String>>>,
    /// How many of it there are.
    pub replicas: Option<Spanned<i128>>,
}

/// Names that stand for something else inside a sandbox's network.
const RESERVED_NAMES: [&str; 4] = ["localhost", "host", "gateway", "msb"];

/// A property that somebody asks for when it is not written.
#[derive(Clone, Debug)]
pub(crate) enum Written<T> {
    /// It does not stand there.
    Absent,
    /// It stands there and cannot be read; that was reported.
    Broken,
    /// It stands there.
    Read(T),
}

impl<T> Written<T> {
    /// What was read, or that it could not be.
    pub(crate) fn from_read(read: Option<T>) -> Self {
        read.map_or(Self::Broken, Self::Read)
    }
}

/// Reads one sandbox as typed.
pub(crate) fn read(context: &mut Context<'_>, entry: Entry<'_>, role: Role) -> RawSandbox {
    if let Some(argument) = entry.arguments.iter().find(|argument| !argument.is_null()) {
        let message = format!("`{}` takes its properties as a block", shorten(&entry.name.value));
        let help = format!("write `{}` inside it", context.sample("image", &["./image"]));
        context.push(
            Diagnostic::error(Code::WrongType, argument.span, message).label(argument.describe()).help(help),
        );
    }
    let is_block = entry.arguments.iter().all(Argument::is_null);
    let fields = Fields::read(context, &SANDBOX, entry.items);
    RawSandbox {
        name: entry.name,
        role,
        image: match fields.one("image") {
            Some(item) => Written::from_read(image::read(context, item)),
            None if fields.is_meant("image") || !is_block => Written::Broken,
            None => Written::Absent,
        },
        cpus: fields.one("cpus").and_then(|item| resources::read_cpus(context, item)),
        memory: fields.one("memory").and_then(|item| resources::read_memory(context, item)),
        disk: fields.one("disk").and_then(|item| resources::read_disk(context, item)),
        env: fields.one("env").map(|item| env::read(context, item)).unwrap_or_default(),
        workdir: fields.one("workdir").and_then(|item| process::read_workdir(context, item)),
        user: fields.one("user").and_then(|item| process::read_user(context, item)),
        shell: fields.one("shell").and_then(|item| process::read_shell(context, item)),
        scripts: fields.all("script").flat_map(|item| script::read(context, item)).collect(),
        mounts: fields.all("mount").flat_map(|item| mount::read(context, item)).collect(),
        syncs: fields.all("sync").flat_map(|item| sync::read(context, item)).collect(),
        ports: fields.all("port").flat_map(|item| port::read(context, item)).collect(),
        network: fields.one("network").map(|item| network::read(context, item)),
        secrets: fields.all("secret").flat_map(|item| secret::read(context, item)).collect(),
        hooks: fields.all("hook").flat_map(|item| hook::read(context, item)).collect(),
        start: match fields.one("start") {
            Some(item) => Written::from_read(start::read(context, item)),
            None if fields.is_meant("start") || !is_block => Written::Broken,
            None => Written::Absent,
        },
        depends_on: fields.all("depends-on").flat_map(|item| depends_on::read(context, item)).collect(),
        healthcheck: fields.one("healthcheck").map(|item| healthcheck::read(context, item)),
        restart: fields.one("restart").and_then(|item| restart::read(context, item)),
        logs: fields.one("logs").map(|item| logs::read(context, item)),
        labels: fields.one("labels").map(|item| env::read(context, item)).unwrap_or_default(),
        like: fields.one("like").and_then(|item| place::read_like(context, item)),
        profiles: fields.one("profiles").and_then(|item| place::read_profiles(context, item)),
        replicas: fields.one("replicas").and_then(|item| place::read_replicas(context, item)),
    }
}

/// A sandbox that is sound by itself.
pub(crate) struct Checked {
    /// Its name in the Sandboxfile.
    pub name: SandboxName,
    /// What it boots from.
    pub image: ImageReference,
    /// All else; its dependencies are names of the Sandboxfile.
    pub definition: Definition,
    /// The profiles that it belongs to.
    pub profiles: BTreeSet<String>,
    /// How many of it there are.
    pub replicas: u32,
    /// Its ports, where each one is written.
    pub ports: Vec<Spanned<Port>>,
}

/// Checks everything about one sandbox; its dependencies come in checked already.
pub(crate) fn check(
    context: &mut Context<'_>,
    raw: &RawSandbox,
    depends_on: BTreeMap<SandboxName, Condition>,
    taken: &HashSet<&str>,
    volumes: &BTreeSet<&str>,
) -> Option<Checked> {
    context.speak_as(raw.name.span);
    let name = check_name(context, raw, taken);
    let image = check_image(context, raw);
    let cpus = raw.cpus.as_ref().map_or(Some(defaults::CPUS), |cpus| resources::check_cpus(context, cpus));
    let memory = raw.memory.as_ref();
    let memory_mib =
        memory.map_or(Some(defaults::MEMORY_MIB), |memory| resources::check_memory(context, memory));
    let disk = raw.disk.as_ref();
    let disk_mib = disk
        .map_or(Some(defaults::DISK_MIB), |disk| resources::check_disk(context, disk, "a sandbox's disk"));
    let env = env::check(context, &raw.env, "a variable");
    let workdir = raw.workdir.as_ref().and_then(|workdir| process::check_workdir(context, workdir));
    let user = raw.user.as_ref().and_then(|user| process::check_user(context, user));
    let shell = raw.shell.as_ref();
    let shell = shell.map_or(Some(defaults::SHELL.to_owned()), |shell| process::check_shell(context, shell));
    let scripts = script::check(context, &raw.scripts, shell.as_deref().unwrap_or(defaults::SHELL));
    let mounts = mount::check(context, &raw.mounts, volumes);
    let sync = sync::check(context, &raw.syncs);
    let ports = port::check(context, &raw.ports);
    let network = raw.network.as_ref();
    let network =
        network.map_or(Some(Network::default()), |network| network::check(context, network, &ports));
    let secrets = secret::check(context, &raw.secrets, &raw.env);
    let hooks = hook::check(context, &raw.hooks, &raw.scripts);
    let start = check_start(context, raw);
    let healthcheck = raw.healthcheck.as_ref().and_then(|raw| healthcheck::check(context, raw));
    let restart = raw.restart.as_ref();
    let restart =
        restart.map_or(Some(RestartPolicy::No), |restart| restart::check(context, restart, raw.role));
    let logs = raw.logs.as_ref().map_or(Some(Logs::default()), |logs| logs::check(context, logs));
    let labels = env::check(context, &raw.labels, "a label");
    let definition = Definition {
        role: raw.role,
        cpus: cpus?,
        memory_mib: memory_mib?,
        disk_mib: disk_mib?,
        env,
        workdir,
        user,
        shell: shell?,
        scripts,
        start,
        mounts,
        sync,
        ports: ports.iter().map(|port| port.value).collect(),
        network: network?,
        secrets,
        hooks,
        depends_on,
        healthcheck,
        restart: restart?,
        logs: logs?,
        labels,
    };
    let profiles = raw.profiles.as_ref().map(|raw| place::check_profiles(context, raw)).unwrap_or_default();
    let replicas = raw.replicas.as_ref().map_or(Some(1), |raw| place::check_replicas(context, raw));
    Some(Checked { name: name?, image: image?, definition, profiles, replicas: replicas?, ports })
}

fn check_name(context: &mut Context<'_>, raw: &RawSandbox, taken: &HashSet<&str>) -> Option<SandboxName> {
    match SandboxName::new(raw.name.value.as_str()) {
        Ok(name) if RESERVED_NAMES.contains(&name.as_str()) => {
            let message = format!("`{name}` cannot be the name of a {}", word(raw.role));
            context.push(
                Diagnostic::error(Code::ReservedName, raw.name.span, message)
                    .label("has a meaning of its own inside a sandbox")
                    .help("choose another name"),
            );
            None
        }
        Ok(name) => Some(name),
        Err(reason) => {
            let diagnostic = invalid_name(&raw.name, word(raw.role), &reason.to_string());
            // Two names that differ by case only cannot both become the lower one.
            let twin = suggest_name(&raw.name.value).filter(|suggestion| taken.contains(suggestion.as_str()));
            context.push(match twin {
                Some(twin) => diagnostic.help(format!("choose another name: `{twin}` is taken")),
                None => diagnostic,
            });
            None
        }
    }
}

fn check_image(context: &mut Context<'_>, raw: &RawSandbox) -> Option<ImageReference> {
    match &raw.image {
        Written::Read(image) => image::check(context, image),
        Written::Broken => None,
        Written::Absent => {
            let message = format!("the {} `{}` has no image", word(raw.role), shorten(&raw.name.value));
            let help = format!("say what it boots from: `{}`", context.sample("image", &["./image"]));
            context.push(
                Diagnostic::error(Code::MissingProperty, raw.name.span, message)
                    .label("`image` is missing")
                    .help(help),
            );
            None
        }
    }
}

fn check_start(context: &mut Context<'_>, raw: &RawSandbox) -> Option<Vec<String>> {
    match &raw.start {
        Written::Read(words) => start::check(context, words, &raw.scripts),
        Written::Broken => None,
        Written::Absent => {
            if raw.role == Role::Job {
                let message = format!("the job `{}` has nothing to run", shorten(&raw.name.value));
                let help =
                    format!("add a script or a command: `{}`", context.sample("start", &["echo", "hello"]));
                context.push(
                    Diagnostic::error(Code::MissingProperty, raw.name.span, message)
                        .label("`start` is missing")
                        .help(help),
                );
            }
            None
        }
    }
}

/// The word for a role.
pub(crate) fn word(role: Role) -> &'static str {
    match role {
        Role::Service => "sandbox",
        Role::Job => "job",
    }
}

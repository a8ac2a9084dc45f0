//! The YAML spelling as types. Nobody builds one of them: their schema is what they are for, and their
//! comments are what an editor shows.

#![allow(dead_code)]

use super::kinds::{
    Captured, Count, Cpus, Default, Disk, Duration, Flag, GuestPath, Hosts, Ipv4Pool, Ipv6Pool, Kept,
    LogSize, Memory, MountText, NAME, Name, Pairs, Perms, Policy, Ports, Reached, Replicas, Rule, Script,
    ShortPolicy, Stat, Text, Violation, Words, Workdir,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Named things of one kind; in a `required` of its own an item says what has to be there.
fn named<T: JsonSchema>(generator: &mut SchemaGenerator, pattern: &str, empty: bool) -> Schema {
    let one = generator.subschema_for::<T>();
    let one = if empty { json_schema!({ "anyOf": [one, { "type": "null" }] }) } else { one };
    json_schema!({
        "type": ["object", "null"],
        "patternProperties": { pattern: one },
        "additionalProperties": false
    })
}

fn sandboxes(generator: &mut SchemaGenerator) -> Schema {
    named::<Sandbox>(generator, NAME, false)
}

fn volumes(generator: &mut SchemaGenerator) -> Schema {
    named::<Volume>(generator, NAME, true)
}

fn scripts(generator: &mut SchemaGenerator) -> Schema {
    named::<AnyScript>(generator, NAME, false)
}

fn secrets(generator: &mut SchemaGenerator) -> Schema {
    named::<Secret>(generator, "^[^=\\s]+$", false)
}

fn dependencies(generator: &mut SchemaGenerator) -> Schema {
    let named = named::<AnyDependency>(generator, NAME, true);
    let words = generator.subschema_for::<Words>();
    json_schema!({ "anyOf": [named, words] })
}

/// A project: sandboxes, jobs and volumes. Each sandbox is a virtual machine of its own.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "Sandboxfile")]
pub struct Sandboxfile {
    /// The project's name: a-z, 0-9, `-` and `_`. Without it, the folder's name.
    project: Name,
    /// Sandboxfiles that lie beneath this one; paths in them start from their own folders.
    include: Words,
    /// Disks that outlive the sandboxes that mount them.
    #[schemars(schema_with = "volumes")]
    volumes: (),
    /// What is meant to run on.
    #[schemars(schema_with = "sandboxes")]
    sandboxes: (),
    /// What runs once and must exit 0.
    #[schemars(schema_with = "sandboxes")]
    jobs: (),
}

/// A disk that outlives the sandboxes that mount it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Volume {
    /// Its size; the space is taken as it is filled.
    size: Disk,
}

/// A sandbox or a job.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Sandbox {
    /// What it boots from: an image of a registry, or `./` and a directory or an archive.
    #[schemars(extend("examples" = ["python:3.12-slim", "./image"]))]
    image: Text,
    /// Virtual processors.
    cpus: Cpus,
    /// Memory.
    memory: Memory,
    /// The size of its writable disk; the space is taken as it is filled.
    disk: Disk,
    /// Another sandbox, whose image, resources, disk size, variables, working directory, user, shell, scripts, mounts, copied folders, network, secrets and logs it takes over.
    like: Name,
    /// The environment of every process.
    env: Pairs,
    /// The working directory of every process.
    workdir: Workdir,
    /// `user[:group]`, by name or number; root without it.
    #[schemars(extend("examples" = ["app", "1000:1000"]))]
    user: Text,
    /// The shell that scripts run under.
    #[schemars(extend("default" = "/bin/sh"))]
    shell: Text,
    /// Programs in text form that the sandbox finds on its PATH.
    #[schemars(schema_with = "scripts")]
    scripts: (),
    /// The main process: a script, or a program and its arguments.
    start: Words,
    /// Files and folders of the host, and volumes, inside the sandbox.
    mounts: Mounts,
    /// Folders of the host that `msb up --watch` copies into the sandbox.
    sync: Syncs,
    /// Ports of the host that lead into the sandbox, as `[address:]host:guest[/protocol]`; host port 0 takes a free one.
    ports: Ports,
    /// What it may reach, and who may reach it.
    network: Network,
    /// Values that it uses without ever holding them, by the variables that stand for them.
    #[schemars(schema_with = "secrets")]
    secrets: (),
    /// Commands that run inside it at moments of its life.
    hooks: Hooks,
    /// What must hold before it starts.
    #[schemars(schema_with = "dependencies")]
    depends_on: (),
    /// How to tell that it is well.
    healthcheck: HealthCheck,
    /// What happens when it ends by itself.
    restart: AnyRestart,
    /// What is written down of what it prints, and how much of it is kept.
    logs: Logs,
    /// How many of it there are.
    replicas: Replicas,
    /// With profiles, it takes part only when one of them is asked for.
    profiles: Words,
    /// Free-form labels.
    labels: Pairs,
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum AnyScript {
    Text(Script),
    Map(ScriptMap),
}

/// A script with more to say than its text.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("x-required" = ["body"]))]
struct ScriptMap {
    /// The text.
    body: Script,
    /// Whether the text is the whole script, its first line included.
    raw: Flag,
}

/// Files and folders of the host, and volumes, inside the sandbox.
#[derive(JsonSchema)]
#[schemars(transparent, inline)]
struct Mounts(Vec<AnyMount>);

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum AnyMount {
    Map(Mount),
    Text(MountText),
}

/// Something mounted into a sandbox.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("x-required" = ["source", "to"]))]
struct Mount {
    /// A path of the host, which begins with `/`, `./` or `../`; or the name of a volume.
    source: Text,
    /// The path in the sandbox.
    to: GuestPath,
    /// Whether nobody in the sandbox can write to it.
    readonly: Flag,
    /// Whether programs on it cannot be executed.
    noexec: Flag,
    /// Whether set-user-id bits on it have no effect.
    nosuid: Flag,
    /// Whether device nodes on it have no effect.
    nodev: Flag,
    /// Where owners, modes and devices of the host's files are kept: in extended attributes, there where
    /// possible, or nowhere.
    stat_virt: Stat,
    /// Which modes the host's files have: only for their owner, or as the sandbox sets them.
    host_perms: Perms,
}

/// Folders of the host that `msb up --watch` copies into the sandbox.
#[derive(JsonSchema)]
#[schemars(transparent, inline)]
struct Syncs(Vec<SyncFolder>);

/// A folder of the host whose changes are copied into the sandbox.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("x-required" = ["source", "to"]))]
struct SyncFolder {
    /// The folder of the host.
    source: Text,
    /// The path in the sandbox.
    to: GuestPath,
    /// Patterns, as in a .gitignore, of what is not copied.
    ignore: Words,
}

/// What a sandbox may reach, and who may reach it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Network {
    /// What is done with all that no rule speaks of: public addresses may be reached, all is allowed, or all is denied.
    default: Default,
    /// The network that its IPv4 address is taken from: each sandbox gets a /30 of it.
    ipv4_pool: Ipv4Pool,
    /// The network that its IPv6 address is taken from: each sandbox gets a /64 of it.
    ipv6_pool: Ipv6Pool,
    /// In this order; the first one that fits decides. `<allow|deny>[:direction]@<target>[:<protocol>[:<ports>]]`
    rules: Vec<Rule>,
}

/// A value that the sandbox uses without ever holding it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Secret {
    /// Where its value is read when the sandbox starts.
    from: SecretSource,
    /// The hosts that it may be sent to: names, or `*.` and a name.
    hosts: Hosts,
    /// What happens when it is sent elsewhere.
    on_violation: Violation,
}

/// Where a secret's value is read: one of the three.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
struct SecretSource {
    /// A variable of the host's environment.
    env: Text,
    /// A file of the host.
    file: Text,
    /// A program of the host and its arguments, which prints the value.
    command: Words,
}

/// Commands that run inside a sandbox at moments of its life.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Hooks {
    /// Behind each start, before whoever depends on the sandbox starts.
    post_start: Words,
    /// Before an orderly stop.
    pre_stop: Words,
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum AnyDependency {
    Word(Reached),
    Map(Dependency),
}

/// What must hold before a sandbox starts.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Dependency {
    /// What the other one must have reached.
    condition: Reached,
}

/// How to tell that a sandbox is well.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct HealthCheck {
    /// A program and its arguments; exit code 0 is well.
    exec: Words,
    /// The time between two probes.
    interval: Duration,
    /// After this time a probe counts as failed.
    timeout: Duration,
    /// Failures in a row that make it unhealthy.
    retries: Count,
    /// Failures within this time from the start do not count.
    start_period: Duration,
    /// Shown with the report when it is unhealthy.
    hint: Text,
    /// No check runs, not even the image's.
    disable: Flag,
}

/// What is written down of what a sandbox prints, and how much of it is kept.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Logs {
    /// Whether it is written down at all.
    capture: Captured,
    /// A log file that has grown to this size is followed by a new one; without it, `rotate_at` of config.json.
    max_size: LogSize,
    /// So many files of each log are kept beside the newest; without it, `keep` of config.json.
    keep: Kept,
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum AnyRestart {
    Word(ShortPolicy),
    Map(Restart),
}

/// What happens when a sandbox ends by itself.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("x-required" = ["policy"]))]
struct Restart {
    /// Never again, after a failure, or always.
    policy: Policy,
    /// At most so often in a row.
    max: Count,
}

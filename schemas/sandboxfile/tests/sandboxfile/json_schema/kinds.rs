//! What kinds of values there are in the YAML spelling, each with its schema.
//!
//! Every value but a script's text may hold variables; what `${NAME}` stands for is not known to an editor, so
//! that each kind lets through what holds a dollar sign.

use rules::rule::{Action, Direction, Group, Protocol};
use sandboxfile::names::RESTART_POLICIES;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use schemas::config::KEEP_MAX;
use schemas::spec::{Capture, Condition, HostPerms, NetworkDefault, OnViolation, StatVirt, defaults, limits};
use serde_json::{Value, json};
use std::borrow::Cow;

/// Names of projects, sandboxes, volumes and scripts.
pub const NAME: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";
const SIZE: &str = r"^\s*[0-9]+\s*[KkMmGgTt]([Ii]?[Bb])?\s*$";
const DURATION: &str = r"^\s*([0-9]+(\.[0-9]+)?\s*([num]s|[num]sec|µs|μs|s|sec|seconds?|m|min|minutes?|h|hr|hours?|d|days?|w|weeks?)\s*)+$";
const PORT: &str =
    r"^(([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\]):)?[0-9]{1,5}:[0-9]{1,5}(/(tcp|udp))?$";
const IPV4_POOL: &str = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/([1-9]|[12][0-9]|30)$";
const IPV6_POOL: &str = r"^[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*/([1-9]|[1-5][0-9]|6[0-4])$";
const GUEST_PATH: &str = "^/.*[^/]$";
const VARIABLE: &str = r"\$";
/// `*.` and one part alone would be a whole top-level domain.
const HOST: &str = r"^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\.?$";

/// A schema, or a text with a variable in it.
fn or_variable(schema: &Value) -> Schema {
    json_schema!({ "anyOf": [schema, { "type": "string", "pattern": VARIABLE }] })
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    json!({ "type": "string", "enum": words.into_iter().collect::<Vec<_>>() })
}

fn matching(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn with(mut schema: Schema, key: &str, value: Value) -> Schema {
    schema.insert(key.to_owned(), value);
    schema
}

/// A bare number or truth value stands for its own text.
fn any_text() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $schema:expr;)+) => {
        $(
            $(#[$doc])*
            pub struct $name;

            impl JsonSchema for $name {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    $schema
                }
            }
        )+
    };
}

kinds! {
    /// Any text.
    Text = json_schema!({ "type": ["string", "number", "boolean"] });
    /// A whole script.
    Script = json_schema!({ "type": "string", "minLength": 1 });
    /// A name.
    Name = or_variable(&matching(NAME));
    /// A word, or a list of them.
    Words = json_schema!({
        "anyOf": [any_text(), { "type": "array", "items": any_text(), "minItems": 1 }]
    });
    /// Names and their values.
    Pairs = json_schema!({
        "anyOf": [
            { "type": "object", "additionalProperties": any_text(), "propertyNames": { "pattern": "^[^=\\s]+$" } },
            { "type": "array", "items": { "type": "string", "pattern": "^[^=\\s]+=" } },
            { "type": "null" }
        ]
    });
    /// Memory.
    Memory = with(with(or_variable(&matching(SIZE)), "examples", json!(["512M", "2G"])), "default", json!(format!("{}M", defaults::MEMORY_MIB)));
    /// A disk.
    Disk = with(with(or_variable(&matching(SIZE)), "examples", json!(["8G", "512M"])), "default", json!(format!("{}M", defaults::DISK_MIB)));
    /// A duration.
    Duration = with(or_variable(&matching(DURATION)), "examples", json!(["500ms", "5s", "1m30s"]));
    /// Processors.
    Cpus = with(or_variable(&json!({ "type": "integer", "minimum": 1, "maximum": limits::CPUS_MAX })), "default", json!(defaults::CPUS));
    /// A number of replicas.
    Replicas = or_variable(&json!({ "type": "integer", "minimum": 1, "maximum": limits::REPLICAS_MAX }));
    /// At least one.
    Count = or_variable(&json!({ "type": "integer", "minimum": 1 }));
    /// Yes or no.
    Flag = or_variable(&json!({ "type": "boolean" }));
    /// A path in the sandbox.
    GuestPath = or_variable(&matching(GUEST_PATH));
    /// A directory in the sandbox.
    Workdir = or_variable(&matching("^/"));
    /// The short form of a mount.
    MountText = json_schema!({ "type": "string", "pattern": r":|\$", "examples": ["./src:/app", "pgdata:/var/lib/data:ro"] });
    /// Ports of the host that lead into the sandbox.
    Ports = {
        let port = with(or_variable(&matching(PORT)), "examples", json!(["8080:80", "0.0.0.0:9000:9000/udp", "0:80"]));
        json_schema!({ "anyOf": [{ "type": "array", "items": port, "minItems": 1 }, port] })
    };
    /// A rule.
    Rule = {
        let one_of = |words: Vec<&str>| words.join("|");
        let actions = one_of(Action::ALL.iter().map(|one| one.as_str()).collect());
        let directions = one_of(Direction::ALL.iter().map(|one| one.as_str()).collect());
        let protocols = one_of(Protocol::ALL.iter().map(|one| one.as_str()).collect());
        let groups = one_of(Group::ALL.iter().map(|one| one.as_str()).collect());
        let name = "[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)";
        let address = "[0-9.]+/[0-9]{1,2}|\\[[0-9A-Fa-f:.]+(/[0-9]{1,3})?\\]";
        let target = format!("any|dns|{groups}|{address}|domain={name}*\\.?|(\\*\\.|suffix=)?{name}+\\.?");
        let pattern = format!(
            "^({actions})(:({directions}))?@({target})(:({protocols})(:(any|[0-9]{{1,5}}(-[0-9]{{1,5}})?))?)?$"
        );
        with(
            or_variable(&matching(&pattern)),
            "examples",
            json!(["allow@*.example.org", "allow@api.github.com:tcp:443", "allow:ingress@public", "deny@169.254.169.254"]),
        )
    };
    /// What is done with all that no rule speaks of.
    Default = with(or_variable(&words(NetworkDefault::ALL.iter().map(|one| one.as_str()))), "default", json!("public"));
    /// A network of IPv4 addresses with room for a /30.
    Ipv4Pool = with(or_variable(&matching(IPV4_POOL)), "default", json!("172.16.0.0/12"));
    /// A network of IPv6 addresses with room for a /64.
    Ipv6Pool = with(or_variable(&matching(IPV6_POOL)), "default", json!("fd42:6d73:62::/48"));
    /// The hosts that a secret is for.
    Hosts = {
        let host = with(or_variable(&matching(HOST)), "examples", json!(["api.example.org", "*.example.org"]));
        json_schema!({ "anyOf": [{ "type": "array", "items": host, "minItems": 1 }, host] })
    };
    /// What happens when a secret is sent elsewhere.
    Violation = with(or_variable(&words(OnViolation::ALL.iter().map(|one| one.as_str()))), "default", json!("block-and-log"));
    /// Where owners and modes are kept.
    Stat = with(or_variable(&words(StatVirt::ALL.iter().map(|one| one.as_str()))), "default", json!("strict"));
    /// Which modes the host's files have.
    Perms = with(or_variable(&words(HostPerms::ALL.iter().map(|one| one.as_str()))), "default", json!("private"));
    /// Whether something is written down.
    Captured = with(or_variable(&words(Capture::ALL.iter().map(|one| one.as_str()))), "default", json!("on"));
    /// A log's size.
    LogSize = with(or_variable(&matching(SIZE)), "examples", json!(["10M", "512K"]));
    /// A number of files.
    Kept = or_variable(&json!({ "type": "integer", "minimum": 0, "maximum": KEEP_MAX }));
    /// What a dependency must have reached.
    Reached = with(or_variable(&words(Condition::ALL.iter().map(|one| one.as_str()))), "default", json!("started"));
    /// A restart policy.
    Policy = with(or_variable(&words(RESTART_POLICIES.iter().copied())), "default", json!("no"));
    /// A restart policy, with its limit if it has one.
    ShortPolicy = json_schema!({
        "anyOf": [words(RESTART_POLICIES.iter().copied()), matching("^on-failure:[1-9][0-9]*$"), matching(VARIABLE)]
    });
}

//! The vocabulary of mounts, copied folders, networks, secrets and hooks.

use super::Instead::{Say, Use};
use super::schema;
use super::{Place, Property, each, one, plain};
use rules::rule::Direction;
use schemas::spec::{HostPerms, NetworkDefault, OnViolation, StatVirt};

/// Beside a mount's source.
pub static MOUNT: Place = Place {
    what: "a mount",
    definition: "Mount",
    doc: "Something mounted into a sandbox.",
    required: &["source", "to"],
    properties: &[
        plain(
            "source",
            schema::text,
            "A path of the host, which begins with `/`, `./` or `../`; or the name of a volume.",
        ),
        plain("to", schema::guest_path, "The path in the sandbox."),
        plain("readonly", schema::flag, "Whether the sandbox cannot write to it."),
        plain("noexec", schema::flag, "Whether programs on it cannot be executed."),
        plain("nosuid", schema::flag, "Whether set-user-id bits on it have no effect."),
        plain("nodev", schema::flag, "Whether device nodes on it have no effect."),
        one(
            "stat-virt",
            "stat_virt",
            schema::word::<StatVirt>,
            "Where owners, modes and devices of the host's files are kept: in extended attributes, there where possible, or nowhere.",
        ),
        one(
            "host-perms",
            "host_perms",
            schema::word::<HostPerms>,
            "Which modes the host's files have: only for their owner, or as the sandbox sets them.",
        ),
    ],
    foreign: &[
        (&["src", "from", "host", "volume"], Use("source")),
        (&["target", "destination", "dest", "dst", "path", "mount_path"], Use("to")),
        (&["read_only", "ro"], Use("readonly")),
        (&["type"], Say("a path begins with `/`, `./` or `../`; all else is the name of a volume")),
        (&["size"], Say("`size` belongs to the volume's declaration, at the top of the file")),
        (&["rw"], Say("a mount can be written to unless it is `readonly`")),
    ],
};

/// Beside a copied folder.
pub static SYNC: Place = Place {
    what: "a folder to copy",
    definition: "SyncFolder",
    doc: "A folder of the host whose changes are copied into the sandbox.",
    required: &["source", "to"],
    properties: &[
        plain("source", schema::text, "The folder of the host."),
        plain("to", schema::guest_path, "The path in the sandbox."),
        plain("ignore", schema::words, "Patterns, as in a .gitignore, of what is not copied."),
    ],
    foreign: &[
        (&["path", "src", "from"], Use("source")),
        (&["target", "dest", "destination"], Use("to")),
        (&["exclude", "except"], Use("ignore")),
        (&["action"], Say("changed files are copied: remove it")),
    ],
};

// A network has these in both spellings.
const NETWORK_DEFAULT: Property = plain(
    "default",
    schema::word::<NetworkDefault>,
    "What is done with traffic that no rule matches: public addresses may be reached, all is allowed, or all is denied.",
);
const IPV4_POOL: Property = one(
    "ipv4-pool",
    "ipv4_pool",
    schema::ipv4_pool,
    "The network that its IPv4 address is taken from: each sandbox gets a /30 of it.",
);
const IPV6_POOL: Property = one(
    "ipv6-pool",
    "ipv6_pool",
    schema::ipv6_pool,
    "The network that its IPv6 address is taken from: each sandbox gets a /64 of it.",
);

/// Inside a network in KDL, where each rule is a node.
pub static NETWORK: Place = Place {
    what: "a network",
    definition: "",
    doc: "",
    required: &[],
    properties: &[
        NETWORK_DEFAULT,
        IPV4_POOL,
        IPV6_POOL,
        each(
            "allow",
            "allow",
            schema::rules,
            "Traffic that is allowed; the first rule that matches decides.",
        ),
        each("deny", "deny", schema::rules, "Traffic that is denied; the first rule that matches decides."),
    ],
    foreign: &[
        (&["rules", "rule"], Say("each rule is a line of its own: `allow \"api.example.org\"`")),
        (&["policy", "mode"], Use("default")),
        (&["pool", "subnet", "ipam"], Use("ipv4-pool")),
        (&["accept", "permit"], Use("allow")),
        (&["block", "drop", "reject"], Use("deny")),
    ],
};

/// Inside a network in YAML, where the rules are a list, because their order counts.
pub static NETWORK_YAML: Place = Place {
    what: "a network",
    definition: "Network",
    doc: "What a sandbox may reach, and what may reach it.",
    required: &[],
    properties: &[
        NETWORK_DEFAULT,
        IPV4_POOL,
        IPV6_POOL,
        plain(
            "rules",
            schema::rules,
            "In this order; the first one that matches decides. `<allow|deny>[:direction]@<target>[:<protocol>[:<ports>]]`",
        ),
    ],
    foreign: &[
        (
            &["allow"],
            Say("their order counts, so the rules are one list: `rules: [\"allow@api.example.org\"]`"),
        ),
        (
            &["deny"],
            Say("their order counts, so the rules are one list: `rules: [\"deny@api.example.org\"]`"),
        ),
        (&["rule"], Use("rules")),
        (&["policy", "mode"], Use("default")),
        (&["pool", "subnet", "ipam"], Use("ipv4-pool")),
    ],
};

/// Beside the targets of a rule.
pub static NETWORK_RULE: Place = Place {
    what: "a rule",
    definition: "",
    doc: "",
    required: &[],
    properties: &[plain(
        "direction",
        schema::word::<Direction>,
        "Whether the rule is about connections out of the sandbox, into it, or both.",
    )],
    foreign: &[
        (&["dir"], Use("direction")),
        (&["port"], Say("the port follows the target: `api.example.org:tcp:443`")),
        (&["ports"], Say("the ports follow the target: `api.example.org:tcp:8000-8010`")),
        (&["protocol"], Say("the protocol follows the target: `api.example.org:udp`")),
        (&["to", "host"], Say("the target is a value: `allow \"api.example.org\"`")),
    ],
};

/// Beside a secret's name.
pub static SECRET: Place = Place {
    what: "a secret",
    definition: "Secret",
    doc: "A value that the sandbox uses without ever holding it.",
    required: &[],
    properties: &[
        plain(
            "from",
            || schema::definition("SecretSource"),
            "Where its value is read when the sandbox starts.",
        ),
        plain("hosts", schema::hosts, "The hosts that it may be sent to: names, or `*.` and a name."),
        one(
            "on-violation",
            "on_violation",
            schema::word::<OnViolation>,
            "What happens when it is sent elsewhere.",
        ),
    ],
    foreign: &[
        (&["host", "allow", "domains"], Use("hosts")),
        (&["source"], Use("from")),
        (
            &["env", "environment"],
            Say("it belongs inside `from`: `from env=\"NAME\"`, or `from: { env: NAME }` in YAML"),
        ),
        (
            &["file"],
            Say("it belongs inside `from`: `from file=\"./key\"`, or `from: { file: ./key }` in YAML"),
        ),
        (
            &["command"],
            Say("it belongs inside `from`: `from command=\"pass\"`, or `from: { command: [pass] }` in YAML"),
        ),
        (&["value"], Say("a secret's value is never written here: `from` says where it is read")),
        (&["external"], Say("`from` says where a secret is read")),
    ],
};

/// Inside the source of a secret.
pub static SECRET_SOURCE: Place = Place {
    what: "the source of a secret",
    definition: "SecretSource",
    doc: "Where a secret's value is read: one of the three.",
    required: &[],
    properties: &[
        plain("env", schema::text, "A variable of the host's environment."),
        plain("file", schema::text, "A file of the host."),
        plain("command", schema::words, "A program of the host and its arguments, which prints the value."),
    ],
    foreign: &[
        (&["environment", "variable"], Use("env")),
        (&["path"], Use("file")),
        (&["exec", "cmd", "run"], Use("command")),
        (&["value"], Say("a secret's value is never written here")),
    ],
};

/// The moments at which hooks run.
pub static HOOKS: Place = Place {
    what: "the list of hooks",
    definition: "Hooks",
    doc: "Commands that run inside a sandbox at moments of its life.",
    required: &[],
    properties: &[
        one(
            "post-start",
            "post_start",
            schema::words,
            "After each start, before the sandboxes that depend on it start.",
        ),
        one("pre-stop", "pre_stop", schema::words, "Before an orderly stop."),
    ],
    foreign: &[
        (&["start", "started", "on_start", "after_start"], Use("post-start")),
        (&["stop", "on_stop", "before_stop"], Use("pre-stop")),
        (&["pre_start"], Say("what has to run first is a job that the sandbox depends on")),
        (&["post_stop"], Say("nothing runs in a sandbox that has stopped")),
    ],
};

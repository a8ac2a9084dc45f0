//! The vocabulary of networks and secrets.

use super::Instead::{Say, Use};
use super::schema;
use super::{Property, PropertyTable, each, one, plain};
use rules::rule::Direction;
use schemas::spec::{NetworkDefault, OnViolation};

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
pub static NETWORK: PropertyTable = PropertyTable {
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
pub static NETWORK_YAML: PropertyTable = PropertyTable {
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
pub static NETWORK_RULE: PropertyTable = PropertyTable {
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
pub static SECRET: PropertyTable = PropertyTable {
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
pub static SECRET_SOURCE: PropertyTable = PropertyTable {
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

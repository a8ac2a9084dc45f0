//! The vocabulary of networks.

use super::Instead::{Say, Use, Write};
use super::schema;
use super::{Property, PropertyTable, each, one, plain};
use rules::rule::Direction;
use schemas::spec::NetworkDefault;

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

const PROXY_OF_NETWORK: Property = plain(
    "proxy",
    schema::proxy,
    "The proxy that its TCP connections to other machines go through, as `http://host:port` or `socks5://host:port`.",
);

const DNS_OF_NETWORK: Property = plain(
    "dns",
    schema::dns,
    "The name servers that are asked for names that the rules allow, and the domains in which names without a dot are looked up.",
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
        PROXY_OF_NETWORK,
        DNS_OF_NETWORK,
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
        (
            &["http_proxy", "https_proxy", "all_proxy", "socks5", "upstream_proxy", "egress_proxy"],
            Use("proxy"),
        ),
        (&["no_proxy"], Say("connections to other machines all go through the proxy: remove it")),
        (&["nameserver", "nameservers", "name_servers", "resolver", "resolvers"], Use("dns")),
        (
            &["search", "dns_search", "domain"],
            Write {
                kdl: "write `dns { search \"corp.example\" }`",
                yaml: "write `dns: { search: [corp.example] }`",
            },
        ),
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
        PROXY_OF_NETWORK,
        DNS_OF_NETWORK,
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
        (
            &["http_proxy", "https_proxy", "all_proxy", "socks5", "upstream_proxy", "egress_proxy"],
            Use("proxy"),
        ),
        (&["no_proxy"], Say("connections to other machines all go through the proxy: remove it")),
        (&["nameserver", "nameservers", "name_servers", "resolver", "resolvers"], Use("dns")),
        (
            &["search", "dns_search", "domain"],
            Write {
                kdl: "write `dns { search \"corp.example\" }`",
                yaml: "write `dns: { search: [corp.example] }`",
            },
        ),
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

/// Beside the URL of a proxy.
pub static PROXY: PropertyTable = PropertyTable {
    what: "a proxy",
    definition: "Proxy",
    doc: "The proxy that the TCP connections of a sandbox go through.",
    required: &["url"],
    properties: &[
        plain("url", schema::proxy_url, "Its URL, with the user and without the password."),
        plain(
            "password",
            || schema::definition("SecretSource"),
            "Where the password of its user is read when the sandbox starts.",
        ),
    ],
    foreign: &[
        (&["address", "server", "host"], Use("url")),
        (&["pass", "passwd", "secret"], Use("password")),
        (
            &["user", "username"],
            Write {
                kdl: "name the user in the URL: `proxy \"http://me@proxy.example:3128\"`",
                yaml: "name the user in the URL: `url: http://me@proxy.example:3128`",
            },
        ),
        (&["no_proxy", "bypass"], Say("connections to other machines all go through the proxy: remove it")),
    ],
};

/// Beside the addresses of name servers.
pub static DNS: PropertyTable = PropertyTable {
    what: "dns",
    definition: "Dns",
    doc: "How the name server of a sandbox resolves the names that the rules allow.",
    required: &[],
    properties: &[
        plain(
            "servers",
            schema::name_servers,
            "The addresses of the name servers that are asked, in this order; without it, the host's.",
        ),
        plain(
            "search",
            schema::search_domains,
            "The domains in which the guest looks up names without a dot.",
        ),
    ],
    foreign: &[
        (&["server", "nameserver", "nameservers", "address", "addresses"], Use("servers")),
        (&["domain", "domains", "search_domains", "dns_search"], Use("search")),
        (&["options", "opts", "dns_opt"], Say("options of the guest's resolver are not set: remove it")),
    ],
};

//! The network of a sandbox and its hooks.

use super::SecretSource;
use rules::nameserver::NameServerAddress;
use rules::pool::{Ipv4Pool, Ipv6Pool};
use rules::proxy::ProxyUrl;
use rules::rule::{DomainName, Rule};
use serde::{Deserialize, Serialize};

/// The network of a sandbox: its policy and its address pools.
#[derive(Clone, Debug, Default, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The policy for connections that no rule matches.
    pub default: NetworkDefault,
    /// The rules, of which the first match decides.
    pub rules: Vec<Rule>,
    /// The pool of its IPv4 address; without it that of the user's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_pool: Option<Ipv4Pool>,
    /// The pool of its IPv6 address; without it that of the user's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_pool: Option<Ipv6Pool>,
    /// The proxy that its TCP connections to other machines go through; `None` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<UpstreamProxy>,
    /// How names are resolved.
    #[serde(default, skip_serializing_if = "Dns::is_default")]
    pub dns: Dns,
}

/// How the name server of a sandbox resolves the names that the policy allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The name servers that it asks, in this order; without any, those of the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<NameServerAddress>,
    /// The domains in which the guest looks up names without a dot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<DomainName>,
}

impl Dns {
    /// Returns whether the host's servers are asked, and no domain is searched.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A proxy between a sandbox and other machines. It has a password exactly when its URL has a user.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamProxy {
    /// Its URL, with the user.
    pub url: ProxyUrl,
    /// The source of the user's password, which is read when the sandbox starts. No plan or record contains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretSource>,
}

rules::words! {
    /// The policy for connections that no rule matches.
    #[derive(Default)]
    NetworkDefault {
        /// Connections to public addresses and names and to published ports are allowed, all others are denied.
        #[default]
        Public = "public",
        /// All connections are allowed in both directions.
        Allow = "allow",
        /// All connections are denied in both directions.
        Deny = "deny",
    }
}

rules::words! {
    /// An event at which a hook runs inside a sandbox.
    #[derive(Default)]
    HookEvent {
        /// After each start, before the sandboxes that depend on it start.
        #[default]
        PostStart = "post-start",
        /// Before an orderly stop.
        PreStop = "pre-stop",
    }
}

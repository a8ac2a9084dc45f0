//! The network of a sandbox, its secrets and its hooks.

use rules::pool::{Ipv4Pool, Ipv6Pool};
use rules::rule::{HostPattern, Rule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// The network of a sandbox: its policy and its address pools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// A value that the sandbox uses without ever containing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// The source of its value, which is read when the sandbox starts. No plan or record contains the value.
    pub from: SecretSource,
    /// The hosts that it may be sent to.
    pub hosts: BTreeSet<HostPattern>,
    /// The action on a request to another host.
    pub on_violation: OnViolation,
}

/// The source of the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretSource {
    /// An environment variable of the host.
    Env {
        /// Its name.
        name: String,
    },
    /// A file of the host.
    File {
        /// The absolute path, without `.` or `..`.
        path: String,
    },
    /// The output of a command of the host.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
    },
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env { name } => write!(f, "${name}"),
            Self::File { path } => write!(f, "{path}"),
            Self::Command { argv } => write!(f, "`{}`", argv.join(" ")),
        }
    }
}

rules::words! {
    /// The action when the placeholder of a secret is sent to a host that is not among its own.
    #[derive(Default)]
    OnViolation {
        /// The request is refused.
        Block = "block",
        /// The request is refused and logged.
        #[default]
        BlockAndLog = "block-and-log",
        /// The request is refused, and the sandbox is stopped.
        BlockAndTerminate = "block-and-terminate",
        /// The request is sent unchanged: with the placeholder, never with the value.
        Passthrough = "passthrough",
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

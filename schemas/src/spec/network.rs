//! What a sandbox may reach, what reaches it, and the secrets that leave it.

use rules::rule::Rule;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// What a sandbox may reach, and who may reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// What is done with all that no rule speaks of.
    pub default: NetworkDefault,
    /// In this order; the first one that fits decides.
    pub rules: Vec<Rule>,
    /// The network that its IPv4 address is taken from, in its normal form; else the user's settings say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_pool: Option<String>,
    /// The network that its IPv6 address is taken from, in its normal form; else the user's settings say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_pool: Option<String>,
}

rules::words! {
    /// What is done with all that no rule speaks of.
    #[derive(Default)]
    NetworkDefault {
        /// Public addresses and names may be reached, published ports lead in; all else is denied.
        #[default]
        Public = "public",
        /// Everything is allowed, both ways.
        Allow = "allow",
        /// Everything is denied, both ways.
        Deny = "deny",
    }
}

/// A value that the sandbox uses without ever holding it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// Where its value is read when the sandbox starts. The value itself is in no plan and no record.
    pub from: SecretSource,
    /// The hosts that it may be sent to: names, or `*.` and a name.
    pub hosts: BTreeSet<String>,
    /// What happens when it is sent elsewhere.
    pub on_violation: OnViolation,
}

/// Where a secret's value is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretSource {
    /// A variable of the host's environment.
    Env {
        /// Its name.
        name: String,
    },
    /// A file of the host.
    File {
        /// The absolute path, without `.` or `..`.
        path: String,
    },
    /// What a command of the host prints.
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
    /// What happens when a secret's placeholder is sent to a host that it is not for.
    #[derive(Default)]
    OnViolation {
        /// The request is refused.
        Block = "block",
        /// The request is refused and logged.
        #[default]
        BlockAndLog = "block-and-log",
        /// The request is refused and the sandbox ends.
        BlockAndTerminate = "block-and-terminate",
        /// The request goes on as it is: with the placeholder, never with the value.
        Passthrough = "passthrough",
    }
}

rules::words! {
    /// A moment of a sandbox's life at which a hook runs inside it.
    #[derive(Default)]
    HookEvent {
        /// Behind each start, before whoever depends on the sandbox starts.
        #[default]
        PostStart = "post-start",
        /// Before an orderly stop.
        PreStop = "pre-stop",
    }
}

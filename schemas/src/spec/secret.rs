//! Secrets, and the interception of TLS that puts their values into requests.

use rules::rule::HostPattern;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// A value that the sandbox uses without ever containing it.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// The source of its value, which is read when the sandbox starts. No plan or record contains the value.
    pub from: SecretSource,
    /// The hosts that it may be sent to.
    pub hosts: BTreeSet<HostPattern>,
    /// The action on a request to another host.
    pub on_violation: OnViolation,
    /// The text that stands for the value in the sandbox; `None` for [`default_placeholder`]. No placeholder of a sandbox
    /// is a part of another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<String>,
    /// The parts of a request in which the value replaces the placeholder.
    #[serde(default = "default_parts", skip_serializing_if = "is_default_parts")]
    pub inject: BTreeSet<RequestPart>,
    /// The names of the headers that may contain it, in lower case; empty for all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub headers: BTreeSet<String>,
    /// Hosts that requests with the placeholder are sent to unchanged, whatever `on_violation` says.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub passthrough_hosts: BTreeSet<HostPattern>,
    /// Whether it is sent over TLS only.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub require_tls: bool,
}

impl Secret {
    /// A secret with the defaults of a Sandboxfile.
    pub fn new(from: SecretSource, hosts: BTreeSet<HostPattern>) -> Self {
        Self {
            from,
            hosts,
            on_violation: OnViolation::default(),
            placeholder: None,
            inject: default_parts(),
            headers: BTreeSet::new(),
            passthrough_hosts: BTreeSet::new(),
            require_tls: true,
        }
    }

    /// The text that stands for the value in the sandbox.
    pub fn placeholder(&self, name: &str) -> String {
        self.placeholder.clone().unwrap_or_else(|| default_placeholder(name))
    }
}

/// The placeholder of a secret without one of its own: `$MSB_API_KEY$` for `API_KEY`.
///
/// Between its two dollar signs there is none, unless the name contains one, which a Sandboxfile refuses. So no default
/// placeholder is a part of another one, though `API` is a part of `API_KEY`.
pub fn default_placeholder(name: &str) -> String {
    format!("$MSB_{name}$")
}

/// The parts of a request in which a value replaces the placeholder unless the secret says otherwise.
pub fn default_parts() -> BTreeSet<RequestPart> {
    BTreeSet::from([RequestPart::Headers, RequestPart::BasicAuth])
}

fn is_default_parts(parts: &BTreeSet<RequestPart>) -> bool {
    *parts == default_parts()
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

/// The source of the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
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
    /// An entry of the user's keyring.
    Keyring {
        /// Its attribute `service`.
        service: String,
        /// Its attribute `username`; `None` for an entry that is found by its service alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account: Option<String>,
    },
}

/// A value of a sandbox that is read on the host and stays there. Its text is a path in the sandbox's definition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueName {
    /// The password of the network's proxy: `network.proxy.password`.
    ProxyPassword,
    /// The value of the secret of this name: `secrets.API_KEY`.
    Secret(String),
}

/// The text of [`ValueName::ProxyPassword`].
const PROXY_PASSWORD: &str = "network.proxy.password";
/// The start of the text of [`ValueName::Secret`].
const SECRET_PREFIX: &str = "secrets.";

impl fmt::Display for ValueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProxyPassword => f.write_str(PROXY_PASSWORD),
            Self::Secret(name) => write!(f, "{SECRET_PREFIX}{name}"),
        }
    }
}

/// A text that is not the text of a [`ValueName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the name of a value")]
pub struct InvalidValueName {
    /// The text.
    pub text: String,
}

impl FromStr for ValueName {
    type Err = InvalidValueName;

    fn from_str(text: &str) -> Result<Self, InvalidValueName> {
        match text.strip_prefix(SECRET_PREFIX) {
            Some(name) => Ok(Self::Secret(name.to_owned())),
            None if text == PROXY_PASSWORD => Ok(Self::ProxyPassword),
            None => Err(InvalidValueName { text: text.to_owned() }),
        }
    }
}

rules::serde_as_text!(ValueName);

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env { name } => write!(f, "${name}"),
            Self::File { path } => write!(f, "{path}"),
            Self::Command { argv } => write!(f, "`{}`", argv.join(" ")),
            Self::Keyring { service, account: None } => write!(f, "the keyring's {service}"),
            Self::Keyring { service, account: Some(account) } => {
                write!(f, "the keyring's {service} of {account}")
            }
        }
    }
}

rules::words! {
    /// A part of a request in which the value of a secret replaces its placeholder.
    RequestPart {
        /// Header fields.
        Headers = "headers",
        /// The user name and password of `Authorization: Basic`, which are decoded for it.
        BasicAuth = "basic-auth",
        /// The query of the URL.
        Query = "query",
        /// The body, unless it has a `Content-Encoding`.
        Body = "body",
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

/// The interception of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Whether TLS is intercepted; `None` for: if the sandbox has a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intercept: Option<bool>,
    /// The ports at which it is intercepted; empty for [`DEFAULT_TLS_PORT`] alone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ports: BTreeSet<NonZeroU16>,
    /// The hosts whose connections are not intercepted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub bypass: BTreeSet<HostPattern>,
    /// CAs of servers that the host does not trust.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cas: Vec<ExtraCa>,
}

/// The port at which TLS is intercepted unless others are named.
pub const DEFAULT_TLS_PORT: u16 = 443;

impl Tls {
    /// Whether nothing is said of it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A CA that servers are verified with, besides those that the host trusts.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraCa {
    /// The absolute path of a file with certificates in PEM, without `.` or `..`.
    pub path: String,
    /// The servers that it is for; empty for all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hosts: BTreeSet<HostPattern>,
}

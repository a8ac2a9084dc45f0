//! The user's settings: `config.json` in msb's state folder.
//!
//! ```json
//! {
//!   "driver": "qemu",
//!   "log": { "rotate_at": "10M", "keep": 4 },
//!   "registries": {
//!     "hosts": {
//!       "docker.io": { "mirrors": ["mirror.example.org"] },
//!       "registry.example.org:5000": { "ca": "/etc/ssl/own-ca.pem", "auth": { "username": "me", "password": "…" } }
//!     }
//!   },
//!   "network": { "ipv4_pool": "172.16.0.0/12", "ipv6_pool": "fd42:6d73:62::/48" },
//!   "metrics": { "capacity": 1024 }
//! }
//! ```
//!
//! All keys are optional. Unknown keys are errors, and so are values out of their bounds.

mod masked;
mod read;

pub use masked::Masked;
pub use read::{ConfigError, parse};

use rules::pool::{Ipv4Pool, Ipv6Pool};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The largest `config.json` that is read, in bytes.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// The smallest size at which a log is rotated, in bytes.
pub const ROTATE_AT_BYTES_MIN: u64 = 64 * 1024;
/// The largest size at which a log is rotated, in bytes.
pub const ROTATE_AT_BYTES_MAX: u64 = 1 << 40;
/// The most rotated files of one log that are kept.
pub const KEEP_MAX: u32 = 1000;
/// The most sandboxes that can have metrics at a time.
pub const METRICS_CAPACITY_MAX: u32 = 65_536;

/// The user's settings, defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The VM driver without `--driver` and `MSB_DRIVER`; `None` selects the best one that works.
    pub driver: Option<Driver>,
    /// The logs of sandboxes.
    pub log: Log,
    /// The registries of images.
    pub registries: Registries,
    /// The addresses of sandboxes.
    pub network: Network,
    /// The metrics of sandboxes.
    pub metrics: Metrics,
}

/// A VM driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// libkrun.
    Krun,
    /// QEMU.
    Qemu,
}

/// The logs of sandboxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The size at which a log file is rotated, in bytes; written like `10M`.
    #[serde(with = "read::size")]
    pub rotate_at: u64,
    /// The number of rotated files of each log, besides the current one.
    pub keep: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self { rotate_at: 10 << 20, keep: 4 }
    }
}

/// The metrics of sandboxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// The number of sandboxes that can have metrics at a time.
    pub capacity: u32,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { capacity: 1024 }
    }
}

/// The registries of images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registries {
    /// Settings by registry, which is a host with an optional port, as in references.
    pub hosts: BTreeMap<String, RegistryHost>,
}

/// The settings of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryHost {
    /// Whether http, and https with any certificate, are allowed.
    pub insecure: bool,
    /// A PEM file with certificate authorities of the registry, in addition to those of the host.
    pub ca: Option<PathBuf>,
    /// The credentials.
    pub auth: Option<Auth>,
    /// The hosts of token servers that may get the credentials, besides those of the registry and its parent domain.
    pub realms: Vec<String>,
    /// The mirrors to ask first, in this order: hosts, with an optional prefix of the repository after a slash.
    pub mirrors: Vec<String>,
}

/// Credentials for a registry: a user name and a password, or a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// The user name.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Masked>,
    /// The identity token, as of `docker login`.
    pub token: Option<Masked>,
}

/// The addresses of sandboxes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Each sandbox gets a /30 of these.
    pub ipv4_pool: Ipv4Pool,
    /// Each sandbox gets a /64 of these.
    pub ipv6_pool: Ipv6Pool,
}

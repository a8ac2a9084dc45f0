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
//!   "network": { "ipv4_pool": "172.16.0.0/12", "ipv6_pool": "fd42:6d73:62::/48" }
//! }
//! ```
//!
//! Everything may be left out. A key that nobody knows is an error, and so is a value out of its bounds.

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

/// The user's settings, defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The VM driver, where neither `--driver` nor `MSB_DRIVER` says; without it, the best one that works.
    pub driver: Option<Driver>,
    /// The logs of sandboxes.
    pub log: Log,
    /// Where images are pulled from.
    pub registries: Registries,
    /// The addresses of sandboxes.
    pub network: Network,
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

/// How much of the logs is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A log file that has grown to this size is rotated; written `10M`, in bytes here.
    #[serde(with = "read::size")]
    pub rotate_at: u64,
    /// So many rotated files of each log are kept beside the current one.
    pub keep: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self { rotate_at: 10 << 20, keep: 4 }
    }
}

/// Where images are pulled from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registries {
    /// Host, with its port where it is not the usual one, as it stands in references → how to speak to it.
    pub hosts: BTreeMap<String, RegistryHost>,
}

/// How to speak to one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryHost {
    /// Speak http, or https with any certificate.
    pub insecure: bool,
    /// A PEM file with the authority that signed the registry's certificate, taken besides the host's own ones.
    pub ca: Option<PathBuf>,
    /// What the registry knows the user by.
    pub auth: Option<Auth>,
    /// Token servers that may know the credentials, besides the registry itself and the domain above it.
    pub realms: Vec<String>,
    /// Hosts that are asked first, in this order; what stands behind a slash goes in front of the image's name.
    pub mirrors: Vec<String>,
}

/// What a registry knows a user by: a name and a password, or a token in the place of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// The name.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Masked>,
    /// What `docker login` calls an identity token.
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

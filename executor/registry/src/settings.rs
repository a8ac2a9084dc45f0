//! The configuration of a registry client. Nothing is read from the environment.

use schemas::config::{self, Masked};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How registries are reached. The default has no hosts.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// By the registry's name as in references, with its port if it has one: `ghcr.io`, `localhost:5000`. Mirrors and
    /// token servers are hosts as well.
    pub hosts: BTreeMap<String, HostSettings>,
    /// The path of docker's `config.json`, which may contain credentials or name a helper. It need not exist.
    pub docker_config: Option<PathBuf>,
    /// The proxies.
    pub proxies: Proxies,
    /// The limits.
    pub limits: Limits,
}

/// The settings of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// Skips certificate verification and allows plain HTTP, even for credentials.
    pub insecure: bool,
    /// A PEM file with additional trusted CA certificates for this host.
    pub ca: Option<PathBuf>,
    /// The credentials. They take precedence over docker's configuration.
    pub auth: Option<Auth>,
    /// Token servers that may get the credentials. The registry itself and its parent domains are trusted anyway.
    pub realms: Vec<String>,
    /// Mirrors that are tried first, in order: `HOST[:PORT][/PREFIX]`.
    pub mirrors: Vec<String>,
}

impl HostSettings {
    /// The settings in the user's `config.json`.
    pub fn of_config(config::Registries { hosts }: &config::Registries) -> BTreeMap<String, Self> {
        hosts.iter().map(|(name, host)| (name.clone(), Self::of_host(host))).collect()
    }

    fn of_host(host: &config::RegistryHost) -> Self {
        let config::RegistryHost { insecure, ca, auth, realms, mirrors } = host;
        let auth = auth.as_ref().and_then(|config::Auth { username, password, token }| {
            match (token.clone(), username.clone(), password.clone()) {
                (Some(token), _, _) => Some(Auth::IdentityToken(token)),
                (None, Some(username), Some(password)) => Some(Auth::Password { username, password }),
                // Parsing the file refuses any other combination.
                (None, _, _) => None,
            }
        });
        let (ca, realms, mirrors) = (ca.clone(), realms.clone(), mirrors.clone());
        Self { insecure: *insecure, ca, auth, realms, mirrors }
    }
}

/// Credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A user name and a password.
    Password {
        /// The user name.
        username: String,
        /// The password, or an access token in its place.
        password: Masked,
    },
    /// A token that is exchanged at the registry's token server.
    IdentityToken(Masked),
    /// A token that the registry accepts as is.
    BearerToken(Masked),
}

/// The proxies in the usual environment variables. Loopback is always reached directly.
#[derive(Clone, Default)]
pub struct Proxies {
    /// The proxy for `http://`: `http://[USER:PASSWORD@]HOST[:PORT]`.
    pub http: Option<String>,
    /// The proxy for `https://`.
    pub https: Option<String>,
    /// Names, domains and networks that are reached directly, separated by commas.
    pub no: Option<String>,
}

impl Proxies {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`; lower-case spellings take precedence.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| {
            let lower = variable(&name.to_ascii_lowercase()).filter(|value| !value.is_empty());
            lower.or_else(|| variable(name)).filter(|value| !value.is_empty())
        };
        let all = read("ALL_PROXY");
        Self {
            http: read("HTTP_PROXY").or_else(|| all.clone()),
            https: read("HTTPS_PROXY").or(all),
            no: read("NO_PROXY"),
        }
    }
}

// They may contain a password.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { http, https, no } = self;
        let set = |proxy: &Option<String>| if proxy.is_some() { "set" } else { "none" };
        write!(f, "Proxies(http: {}, https: {}, no: {no:?})", set(http), set(https))
    }
}

/// Time limits and counts.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The connect timeout.
    pub connect: Duration,
    /// The idle timeout, and the timeout of each 64 KiB.
    pub idle_timeout: Duration,
    /// The timeout of a credential helper.
    pub helper: Duration,
    /// The number of retries without progress.
    pub retries: u32,
    /// The first backoff; each further one is twice as long.
    pub backoff: Duration,
    /// The longest backoff. A longer `Retry-After` is an error.
    pub backoff_max: Duration,
    /// The number of layers that are pulled at once.
    pub layers_at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            helper: Duration::from_secs(30),
            retries: 5,
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            layers_at_once: 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_come_from_the_usual_variables() {
        let read = |set: &'static [(&str, &str)]| {
            let find =
                move |name: &str| set.iter().find(|(key, _)| *key == name).map(|pair| pair.1.to_owned());
            let Proxies { http, https, no } = Proxies::from_variables(find);
            [http, https, no].map(Option::unwrap_or_default)
        };
        assert_eq!(read(&[]), ["", "", ""]);
        assert_eq!(read(&[("HTTPS_PROXY", "a"), ("NO_PROXY", "n")]), ["", "a", "n"]);
        assert_eq!(read(&[("HTTP_PROXY", "upper"), ("http_proxy", "lower")]), ["lower", "", ""]);
        assert_eq!(read(&[("http_proxy", ""), ("HTTP_PROXY", "upper")]), ["upper", "", ""]);
        assert_eq!(read(&[("ALL_PROXY", "all"), ("https_proxy", "s")]), ["all", "s", ""]);
    }

    #[test]
    fn all_settings_of_a_users_configuration_are_read() {
        let text = br#"{ "registries": { "hosts": {
            "a.b:5000": { "insecure": true, "ca": "/ca.pem", "realms": ["auth.b"], "mirrors": ["m.b/x"],
                          "auth": { "username": "me", "password": "secret" } },
            "c.d": { "auth": { "token": "identity" } },
            "e.f": {}
        } } }"#;
        let hosts = HostSettings::of_config(&config::parse(text).unwrap().registries);
        let first = HostSettings {
            insecure: true,
            ca: Some("/ca.pem".into()),
            auth: Some(Auth::Password { username: "me".to_owned(), password: Masked::new("secret") }),
            realms: vec!["auth.b".to_owned()],
            mirrors: vec!["m.b/x".to_owned()],
        };
        let auth = Some(Auth::IdentityToken(Masked::new("identity")));
        let second = HostSettings { auth, ..HostSettings::default() };
        let expected = [("a.b:5000", first), ("c.d", second), ("e.f", HostSettings::default())];
        assert_eq!(hosts, BTreeMap::from(expected.map(|(name, host)| (name.to_owned(), host))));
    }

    #[test]
    fn secrets_are_not_printed() {
        let auth = Auth::Password { username: "me".to_owned(), password: Masked::new("hunter2") };
        let proxies = Proxies { https: Some("http://me:hunter2@proxy".to_owned()), ..Proxies::default() };
        let text = format!("{auth:?} {proxies:?} {:?}", Auth::IdentityToken(Masked::new("hunter2")));
        assert!(!text.contains("hunter2") && text.contains("me"), "{text}");
    }
}

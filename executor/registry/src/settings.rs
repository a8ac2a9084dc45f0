//! What a client of registries is told: everything comes in as values, nothing is read from the environment.

use schemas::config;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How registries are reached. The default knows none in particular.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// By the registry's name as references have it, with its port if it has one: `ghcr.io`, `localhost:5000`.
    /// A mirror or a token server is a host as well.
    pub hosts: BTreeMap<String, HostSettings>,
    /// Docker's `config.json`, which may hold credentials or name the helper that does. It need not exist.
    pub docker_config: Option<PathBuf>,
    /// Who stands between.
    pub proxies: Proxies,
    /// How long and how often.
    pub limits: Limits,
}

/// What is said about one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// Its certificate is not checked, and plain HTTP is good enough, even for credentials.
    pub insecure: bool,
    /// A file of certificates in PEM that are trusted for this host, besides those this machine trusts.
    pub ca: Option<PathBuf>,
    /// Who we are there. It goes before docker's configuration.
    pub auth: Option<Auth>,
    /// Hosts that the credentials may be sent to when the registry asks for a token from there. The registry
    /// itself, and a host whose subdomain it is, need not be named.
    pub realms: Vec<String>,
    /// Asked first, in order: `HOST[:PORT][/PREFIX]`.
    pub mirrors: Vec<String>,
}

impl HostSettings {
    /// What the user's `config.json` says about every host.
    pub fn of_config(registries: &config::Registries) -> BTreeMap<String, Self> {
        let config::Registries { hosts } = registries;
        hosts.iter().map(|(name, host)| (name.clone(), Self::from(host))).collect()
    }
}

impl From<&config::RegistryHost> for HostSettings {
    fn from(host: &config::RegistryHost) -> Self {
        let config::RegistryHost { insecure, ca, auth, realms, mirrors } = host;
        let auth = auth.as_ref().and_then(|config::Auth { username, password, token }| {
            let secret = |text: &config::Masked| Secret::new(text.reveal());
            match (token, username, password) {
                (Some(token), _, _) => Some(Auth::IdentityToken(secret(token))),
                (None, Some(username), Some(password)) => {
                    Some(Auth::Password { username: username.clone(), password: secret(password) })
                }
                // Reading the file has refused any other.
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
    /// A name and a password.
    Password {
        /// The name.
        username: String,
        /// The password, or an access token that takes its place.
        password: Secret,
    },
    /// What is exchanged for a token at the registry's token server.
    IdentityToken(Secret),
    /// A token that the registry takes as it is.
    BearerToken(Secret),
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Proxies, as the usual environment variables name them. Loopback is always reached directly.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For `http://`: `http://[USER:PASSWORD@]HOST[:PORT]`.
    pub http: Option<String>,
    /// For `https://`.
    pub https: Option<String>,
    /// Names, domains and networks that are reached directly, with commas between.
    pub no: Option<String>,
}

impl Proxies {
    /// Takes them from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`; spelled in lower case they go
    /// first.
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

// They may hold a password.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { http, https, no } = self;
        let set = |proxy: &Option<String>| if proxy.is_some() { "set" } else { "none" };
        write!(f, "Proxies(http: {}, https: {}, no: {no:?})", set(http), set(https))
    }
}

/// Bounds in time and number.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long it may take until a connection stands.
    pub connect: Duration,
    /// How long a registry may be silent, and how long it may take over each 64 KiB.
    pub idle_timeout: Duration,
    /// How long a helper may take to tell credentials.
    pub helper: Duration,
    /// How often the same thing is tried again without any progress.
    pub retries: u32,
    /// How long the first pause is; each one after it is twice as long.
    pub backoff: Duration,
    /// The longest pause, also when a registry asks for a longer one: that is an error then.
    pub backoff_max: Duration,
    /// How many layers are pulled at once.
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
    fn a_users_configuration_says_it_all() {
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
            auth: Some(Auth::Password { username: "me".to_owned(), password: Secret::new("secret") }),
            realms: vec!["auth.b".to_owned()],
            mirrors: vec!["m.b/x".to_owned()],
        };
        let auth = Some(Auth::IdentityToken(Secret::new("identity")));
        let second = HostSettings { auth, ..HostSettings::default() };
        let expected = [("a.b:5000", first), ("c.d", second), ("e.f", HostSettings::default())];
        assert_eq!(hosts, BTreeMap::from(expected.map(|(name, host)| (name.to_owned(), host))));
    }

    #[test]
    fn secrets_are_not_printed() {
        let auth = Auth::Password { username: "me".to_owned(), password: Secret::new("hunter2") };
        let proxies = Proxies { https: Some("http://me:hunter2@proxy".to_owned()), ..Proxies::default() };
        let text = format!("{auth:?} {proxies:?} {:?}", Auth::IdentityToken(Secret::new("hunter2")));
        assert!(!text.contains("hunter2") && text.contains("me"), "{text}");
    }
}

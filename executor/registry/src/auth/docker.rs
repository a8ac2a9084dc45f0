//! Credentials in docker's `config.json`.

use crate::error::RegistryError;
use crate::host::canonical;
use crate::settings::Auth;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use rules::reference::DEFAULT_REGISTRY;
use schemas::config::Masked;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest configuration file, in bytes.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// Docker's name for its own registry.
const DEFAULT_REGISTRY_KEY: &str = "https://index.docker.io/v1/";
/// The user name that marks the password as an identity token.
pub const IDENTITY_TOKEN_USER: &str = "<token>";

/// The entry for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// No entry.
    None,
    /// Credentials.
    Auth(Auth),
    /// A credential helper, by its name without `docker-credential-`.
    Helper(String),
}

/// The parts of the file that are read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: BTreeMap<String, StoredAuth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StoredAuth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// The server name that a helper is queried for.
pub fn server_key(registry: &str) -> &str {
    if canonical(registry) == DEFAULT_REGISTRY { DEFAULT_REGISTRY_KEY } else { registry }
}

/// Finds the entry for a registry. A missing file has none.
///
/// # Errors
///
/// If the file cannot be read, is too large, or is malformed.
pub fn find(path: &Path, registry: &str) -> Result<Entry, RegistryError> {
    let failed = |source| RegistryError::DockerConfig { path: path.to_owned(), source };
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Entry::None);
        }
        Err(error) => return Err(failed(error)),
    };
    find_in(&text, registry).map_err(|reason| failed(io::Error::new(io::ErrorKind::InvalidData, reason)))
}

fn find_in(text: &[u8], registry: &str) -> Result<Entry, String> {
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(format!("it has more than {CONFIG_BYTES_MAX} bytes"));
    }
    // serde's own message would print the value.
    let config: Config = serde_json::from_slice(text)
        .map_err(|error| format!("it is not docker's: line {}, column {}", error.line(), error.column()))?;
    let Config { auths, creds_store, cred_helpers } = config;
    let is_it = |key: &str| host_of(key) == canonical(registry);
    if let Some((_, helper)) = cred_helpers.iter().find(|(key, _)| is_it(key)) {
        return Ok(Entry::Helper(helper.clone()));
    }
    if let Some(helper) = creds_store.filter(|helper| !helper.is_empty()) {
        return Ok(Entry::Helper(helper));
    }
    match auths.into_iter().find(|(key, _)| is_it(key)) {
        Some((key, stored)) => stored.auth(&key),
        None => Ok(Entry::None),
    }
}

/// The host in a key; old keys are URLs.
fn host_of(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    canonical(bare.split('/').next().unwrap_or_default())
}

impl StoredAuth {
    fn auth(self, key: &str) -> Result<Entry, String> {
        let Self { auth, mut username, mut password, identitytoken, registrytoken } = self;
        if !registrytoken.is_empty() {
            return Ok(Entry::Auth(Auth::BearerToken(Masked::new(registrytoken))));
        }
        if !identitytoken.is_empty() {
            return Ok(Entry::Auth(Auth::IdentityToken(Masked::new(identitytoken))));
        }
        if !auth.is_empty() {
            let wrong = || format!("the value of `auth` for {key} is not base64 of NAME:PASSWORD");
            let bytes =
                STANDARD.decode(&auth).or_else(|_| STANDARD_NO_PAD.decode(&auth)).map_err(|_| wrong())?;
            let text = String::from_utf8(bytes).map_err(|_| wrong())?;
            let pair = text.split_once(':').ok_or_else(wrong)?;
            // Some tools append a NUL byte.
            (username, password) = (pair.0.to_owned(), pair.1.trim_end_matches('\0').to_owned());
        }
        Ok(match (username.as_str(), password.is_empty()) {
            ("", _) | (_, true) => Entry::None,
            (IDENTITY_TOKEN_USER, _) => Entry::Auth(Auth::IdentityToken(Masked::new(password))),
            _ => Entry::Auth(Auth::Password { username, password: Masked::new(password) }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(username: &str, password: &str) -> Entry {
        Entry::Auth(Auth::Password { username: username.to_owned(), password: Masked::new(password) })
    }

    #[test]
    fn every_form_of_an_entry() {
        let text = br#"{
            "auths": {
                "https://index.docker.io/v1/": { "auth": "bWU6c2VjcmV0OndpdGggY29sb24=" },
                "ghcr.io": { "username": "me", "password": "plain" },
                "https://old.example/v2/": { "auth": "bWU6eA" },
                "localhost:5000": { "identitytoken": "identity" },
                "token.example": { "auth": "PHRva2VuPjppZGVudGl0eQ==" },
                "bearer.example": { "registrytoken": "bearer" },
                "empty.example": {}
            },
            "HttpHeaders": { "x": "y" }, "detachKeys": "ctrl-e"
        }"#;
        let identity = Entry::Auth(Auth::IdentityToken(Masked::new("identity")));
        for (registry, expected) in [
            ("docker.io", password("me", "secret:with colon")),
            ("registry-1.docker.io", password("me", "secret:with colon")),
            ("ghcr.io", password("me", "plain")),
            ("old.example", password("me", "x")),
            ("localhost:5000", identity.clone()),
            ("localhost:5001", Entry::None),
            ("localhost", Entry::None),
            ("token.example", identity),
            ("bearer.example", Entry::Auth(Auth::BearerToken(Masked::new("bearer")))),
            ("empty.example", Entry::None),
            ("sub.ghcr.io", Entry::None),
        ] {
            assert_eq!(find_in(text, registry), Ok(expected), "{registry}");
        }
    }

    #[test]
    fn helpers_go_first() {
        let text = br#"{
            "auths": { "ghcr.io": { "username": "me", "password": "x" }, "a.example": {} },
            "credsStore": "store",
            "credHelpers": { "ghcr.io": "gh", "https://index.docker.io/v1/": "hub" }
        }"#;
        for (registry, helper) in
            [("ghcr.io", "gh"), ("docker.io", "hub"), ("a.example", "store"), ("b", "store")]
        {
            assert_eq!(find_in(text, registry), Ok(Entry::Helper(helper.to_owned())), "{registry}");
        }
    }

    #[test]
    fn errors_do_not_contain_the_secret() {
        for text in [
            r#"{ "auths": { "ghcr.io": { "auth": "c2VjcmV0" } } }"#,
            r#"{ "auths": { "ghcr.io": { "auth": "secret!" } } }"#,
            r#"{ "auths": { "ghcr.io": "secret" } }"#,
            "secret",
        ] {
            let error = find_in(text.as_bytes(), "ghcr.io").unwrap_err();
            assert!(!error.contains("secret") && !error.contains("c2Vj"), "{error}");
        }
        assert!(find_in(&vec![b' '; CONFIG_BYTES_MAX as usize + 1], "a").unwrap_err().contains("more than"));
        assert_eq!(find(Path::new("/nonexistent/config.json"), "a").unwrap(), Entry::None);
    }
}

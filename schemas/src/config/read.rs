//! Parses and checks `config.json`.

use super::{
    Auth, CONFIG_BYTES_MAX, Config, KEEP_MAX, METRICS_CAPACITY_MAX, ROTATE_AT_BYTES_MAX, ROTATE_AT_BYTES_MIN,
};
use crate::excerpt::{excerpt, json_message};
use rules::suggest::nearest;
use rules::unit::format_size_bytes;

/// The most characters of a host that a message quotes.
const NAME_SHOWN_MAX: usize = 80;

/// The reason why a `config.json` is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It exceeds [`CONFIG_BYTES_MAX`].
    #[error("it has more than {CONFIG_BYTES_MAX} bytes")]
    TooLarge,
    /// It is not JSON, or has an unknown key or an invalid value.
    #[error("line {line}, column {column}: {message}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in bytes.
        column: usize,
        /// The error.
        message: String,
        /// The key that was probably meant.
        suggestion: Option<String>,
    },
    /// A value is out of its bounds.
    #[error("{path}: {message}")]
    Value {
        /// The path of the key, such as `log.rotate_at`.
        path: String,
        /// The error.
        message: String,
    },
}

impl ConfigError {
    /// Returns the key that was probably meant; `None` without one.
    pub fn suggestion(&self) -> Option<&str> {
        match self {
            Self::Malformed { suggestion, .. } => suggestion.as_deref(),
            Self::TooLarge | Self::Value { .. } => None,
        }
    }
}

/// Parses and checks settings. An empty text has the defaults.
///
/// # Errors
///
/// If the text is too large, is not valid JSON, or a value is out of its bounds.
pub fn parse(bytes: &[u8]) -> Result<Config, ConfigError> {
    if bytes.len() > CONFIG_BYTES_MAX {
        return Err(ConfigError::TooLarge);
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(Config::default());
    }
    let config: Config = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    check(&config)?;
    Ok(config)
}

fn malformed(error: &serde_json::Error) -> ConfigError {
    let (line, column) = (error.line(), error.column());
    let message = json_message(error);
    // serde quotes the unknown key and then the known ones in backticks.
    let mut named = message.split('`').skip(1).step_by(2);
    let suggestion = match (message.starts_with("unknown "), named.next()) {
        (true, Some(key)) => nearest(key, named).map(str::to_owned),
        _ => None,
    };
    ConfigError::Malformed { line, column, message, suggestion }
}

fn check(Config { driver: _, log, registries, network: _, metrics }: &Config) -> Result<(), ConfigError> {
    let refuse = |path: String, message: String| Err(ConfigError::Value { path, message });
    if log.rotate_at < ROTATE_AT_BYTES_MIN {
        return refuse("log.rotate_at".to_owned(), format!("at least {}K", ROTATE_AT_BYTES_MIN >> 10));
    }
    if log.rotate_at > ROTATE_AT_BYTES_MAX {
        let most = format_size_bytes(ROTATE_AT_BYTES_MAX);
        return refuse("log.rotate_at".to_owned(), format!("at most {most}"));
    }
    if log.keep > KEEP_MAX {
        return refuse("log.keep".to_owned(), format!("at most {KEEP_MAX}"));
    }
    if !(1..=METRICS_CAPACITY_MAX).contains(&metrics.capacity) {
        return refuse("metrics.capacity".to_owned(), format!("1 to {METRICS_CAPACITY_MAX}"));
    }
    for (name, host) in &registries.hosts {
        let at = |key: &str| format!("registries.hosts.{}.{key}", excerpt(name, NAME_SHOWN_MAX));
        let host_of = |mirror: &String| mirror.split('/').next().unwrap_or_default().to_owned();
        let named = std::iter::once(("", name.clone()))
            .chain(host.realms.iter().map(|realm| ("realms", realm.clone())))
            .chain(host.mirrors.iter().map(|mirror| ("mirrors", host_of(mirror))));
        for (key, host) in named {
            if host.is_empty() || host.contains(['/', ' ', '@']) || host.ends_with(':') {
                let message =
                    "a host is written as in a reference: `registry.example.org` or `localhost:5000`";
                return refuse(at(key).trim_end_matches('.').to_owned(), message.to_owned());
            }
        }
        if host.ca.as_ref().is_some_and(|path| !path.is_absolute()) {
            return refuse(at("ca"), "must be an absolute path".to_owned());
        }
        match &host.auth {
            None
            | Some(Auth { username: Some(_), password: Some(_), token: None })
            | Some(Auth { username: None, password: None, token: Some(_) }) => {}
            Some(_) => {
                let message = "takes a `username` and a `password`, or a `token`";
                return refuse(at("auth"), message.to_owned());
            }
        }
    }
    Ok(())
}

/// A size in bytes, written with a unit.
pub mod size {
    use super::format_size_bytes;
    use rules::unit::{SIZE_FORMS, parse_size_bytes};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes it as `10M`, or as `512K` if it is not a whole number of MiB.
    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_size_bytes(*bytes))
    }

    /// Parses a size with any unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        parse_size_bytes(&text)
            .map_err(|error| D::Error::custom(format!("{error}: a size is written {SIZE_FORMS}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Driver;

    fn refused(text: &str) -> String {
        let error = parse(text.as_bytes()).expect_err(text);
        match error.suggestion() {
            Some(suggestion) => format!("{error} (did you mean {suggestion}?)"),
            None => error.to_string(),
        }
    }

    #[test]
    fn missing_keys_have_defaults() {
        assert_eq!(parse(b"").unwrap(), Config::default());
        assert_eq!(parse(b"{}").unwrap(), Config::default());
        let config = parse(br#"{"driver": "qemu", "log": {"keep": 2}}"#).unwrap();
        assert_eq!((config.driver, config.log.keep, config.log.rotate_at), (Some(Driver::Qemu), 2, 10 << 20));
        assert_eq!(parse(&serde_json::to_vec(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn errors_have_a_position() {
        assert_eq!(
            refused("{\n  \"registrys\": {}\n}"),
            "line 2, column 13: unknown field `registrys`, expected one of `driver`, `log`, `registries`, \
             `network`, `metrics` (did you mean registries?)"
        );
        assert!(refused(r#"{"driver": "kvm"}"#).contains("unknown variant `kvm`"));
        assert!(refused(r#"{"log": {"rotate_at": "10"}}"#).contains("has no unit"));
        assert_eq!(refused(r#"{"log": {"rotate_at": "1K"}}"#), "log.rotate_at: at least 64K");
        assert_eq!(refused(r#"{"log": {"rotate_at": "2048G"}}"#), "log.rotate_at: at most 1024G");
        assert!(
            refused(r#"{"registries": {"hosts": {"a.b": {"auth": {"username": "u"}}}}}"#)
                .starts_with("registries.hosts.a.b.auth: takes a `username` and a `password`")
        );
        assert!(
            refused(r#"{"registries": {"hosts": {"https://a.b": {}}}}"#)
                .starts_with("registries.hosts.https://a.b: a host is written as in a reference")
        );
        for (key, text) in
            [("realms", "auth.b/token"), ("realms", ""), ("mirrors", "https://m.b"), ("mirrors", "/m")]
        {
            let config = format!(r#"{{"registries": {{"hosts": {{"a.b": {{"{key}": ["{text}"]}}}}}}}}"#);
            assert!(
                refused(&config).starts_with(&format!("registries.hosts.a.b.{key}: a host is")),
                "{text}"
            );
        }
        let config =
            r#"{"registries": {"hosts": {"a.b": {"realms": ["auth.b"], "mirrors": ["m.b:5000/cache"]}}}}"#;
        assert_eq!(parse(config.as_bytes()).unwrap().registries.hosts["a.b"].mirrors, ["m.b:5000/cache"]);
        assert_eq!(
            refused(r#"{"network": {"ipv4_pool": "10.0.0.0/31"}}"#),
            "line 1, column 40: a pool must have room for a /30, which a sandbox gets"
        );
        assert!(
            refused(r#"{"network": {"ipv6_pool": "fe80::/48"}}"#)
                .contains("`fe80::/48` contains addresses that no sandbox can have")
        );
        assert!(refused("{").starts_with("line 1, column 1: EOF"));
    }

    #[test]
    fn passwords_are_not_shown() {
        let text = br#"{"registries": {"hosts": {"a.b": {"auth": {"username": "u", "password": "hush"}}}}}"#;
        let config = parse(text).unwrap();
        let password = config.registries.hosts["a.b"].auth.as_ref().and_then(|auth| auth.password.as_ref());
        assert_eq!(password.map(|password| password.reveal()), Some("hush"));
        assert!(!format!("{config:?}").contains("hush"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hush"));
    }
}

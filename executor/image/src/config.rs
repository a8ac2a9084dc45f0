//! The execution parameters in an image's config (OCI image specification, "Image Configuration"), for hostile input.

use crate::oci::{IMAGE_CONFIG, OciError, parse_json};
use schemas::signal::parse_signal;
use schemas::spec::HealthCheck;
use schemas::spec::defaults::HEALTH_RETRIES;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Docker's default interval of health checks, in ms.
const HEALTH_INTERVAL_MS: u64 = 30_000;
const HEALTH_TIMEOUT_MS: u64 = 30_000;
/// Configs use nanoseconds.
const NANOSECONDS_PER_MS: u64 = 1_000_000;
/// The longest duration of a health check, in ms: a day.
const HEALTH_MS_MAX: u64 = 86_400_000;
/// The default shell of a health check in one string.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The execution parameters of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// The entry point, which precedes every command.
    pub entrypoint: Vec<String>,
    /// The command, or the arguments of the entry point.
    pub cmd: Vec<String>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// The absolute working directory.
    pub workdir: Option<String>,
    /// The signal for a graceful stop: `SIGQUIT`, `3`.
    pub stop_signal: Option<String>,
    /// The exposed ports: `8080/tcp`.
    pub exposed_ports: BTreeSet<String>,
    /// The absolute paths of data that should outlive the container.
    pub volumes: BTreeSet<String>,
    /// The health check.
    pub healthcheck: Option<HealthCheck>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
}

/// The part of the config's JSON that is read.
#[derive(Deserialize)]
struct Document {
    config: Option<Raw>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Raw {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    exposed_ports: Option<BTreeMap<String, IgnoredAny>>,
    volumes: Option<BTreeMap<String, IgnoredAny>>,
    healthcheck: Option<RawHealthCheck>,
    labels: Option<BTreeMap<String, String>>,
    shell: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawHealthCheck {
    test: Option<Vec<String>>,
    interval: u64,
    timeout: u64,
    start_period: u64,
    retries: u32,
}

impl ImageConfig {
    /// Parses the execution parameters of a config.
    ///
    /// # Errors
    ///
    /// If it is not a config, or has a text with a NUL.
    pub fn parse(bytes: &[u8]) -> Result<Self, OciError> {
        let raw = parse_json::<Document>(IMAGE_CONFIG, bytes)?.config.unwrap_or_default();
        let not_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
        let config = Self {
            entrypoint: raw.entrypoint.unwrap_or_default(),
            cmd: raw.cmd.unwrap_or_default(),
            env: raw.env.unwrap_or_default().iter().filter_map(|entry| variable(entry)).collect(),
            user: not_empty(raw.user),
            workdir: not_empty(raw.working_dir).map(|path| absolute(&path)),
            stop_signal: not_empty(raw.stop_signal),
            exposed_ports: raw.exposed_ports.unwrap_or_default().into_keys().collect(),
            volumes: raw.volumes.unwrap_or_default().into_keys().map(|path| absolute(&path)).collect(),
            healthcheck: raw.healthcheck.and_then(|check| check.read(raw.shell)),
            labels: raw.labels.unwrap_or_default(),
        };
        let unusable = config.texts().find(|text| text.contains('\0')).map(|text| text.replace('\0', "\\0"));
        match unusable {
            Some(text) => Err(OciError::Nul { text }),
            None => Ok(config),
        }
    }

    /// Checks that a config from elsewhere could be the result of [`Self::parse`].
    ///
    /// # Errors
    ///
    /// If it could not, with the reason.
    pub fn check(&self) -> Result<(), &'static str> {
        let check = |good: bool, problem| if good { Ok(()) } else { Err(problem) };
        check(self.texts().all(|text| !text.contains('\0')), "a parameter has a NUL")?;
        let mut paths = self.workdir.iter().chain(&self.volumes);
        check(paths.all(|path| path.starts_with('/')), "a path is not absolute")?;
        let mut names = self.env.keys();
        check(names.all(|name| !name.is_empty() && !name.contains('=')), "a variable has no name")?;
        let Some(health) = &self.healthcheck else { return Ok(()) };
        let HealthCheck { exec, interval_ms, timeout_ms, retries, start_period_ms, hint } = health;
        let is_time = |ms: &u64| (1..=HEALTH_MS_MAX).contains(ms);
        let are_times = is_time(interval_ms) && is_time(timeout_ms) && *start_period_ms <= HEALTH_MS_MAX;
        check(are_times && *retries > 0 && !exec.is_empty() && hint.is_none(), "the health check is invalid")
    }

    /// The full default command; `None` if there is none.
    pub fn command(&self) -> Option<Vec<String>> {
        let command: Vec<String> = self.entrypoint.iter().chain(&self.cmd).cloned().collect();
        (!command.is_empty()).then_some(command)
    }

    /// The number of the stop signal; `None` if it is unset or not a signal of Linux.
    pub fn stop_signal_number(&self) -> Option<i32> {
        parse_signal(self.stop_signal.as_deref()?)
    }

    /// All texts that are passed to a command of the guest.
    fn texts(&self) -> impl Iterator<Item = &String> {
        let check = self.healthcheck.iter().flat_map(|check| &check.exec);
        let words = self.entrypoint.iter().chain(&self.cmd).chain(check);
        let env = self.env.iter().flat_map(|(name, value)| [name, value]);
        let paths = self.workdir.iter().chain(&self.user).chain(&self.volumes);
        words.chain(env).chain(paths)
    }
}

impl RawHealthCheck {
    fn read(self, shell: Option<Vec<String>>) -> Option<HealthCheck> {
        let Self { test, interval, timeout, start_period, retries } = self;
        let test = test?;
        let (kind, words) = test.split_first()?;
        let exec = match (kind.as_str(), words) {
            ("CMD", [_, ..]) => words.to_vec(),
            ("CMD-SHELL", [line, ..]) => {
                let shell = shell.filter(|shell| !shell.is_empty());
                let mut exec = shell.unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
                exec.push(line.clone());
                exec
            }
            // `NONE` disables the check of the base image.
            _ => return None,
        };
        let ms = |nanoseconds: u64, default: u64| match nanoseconds / NANOSECONDS_PER_MS {
            0 => default,
            ms => ms.min(HEALTH_MS_MAX),
        };
        Some(HealthCheck {
            exec,
            interval_ms: ms(interval, HEALTH_INTERVAL_MS),
            timeout_ms: ms(timeout, HEALTH_TIMEOUT_MS),
            retries: if retries == 0 { HEALTH_RETRIES } else { retries },
            start_period_ms: ms(start_period, 0),
            hint: None,
        })
    }
}

/// Parses `NAME=VALUE`; `None` for anything else, as docker does.
fn variable(entry: &str) -> Option<(String, String)> {
    let (name, value) = entry.split_once('=')?;
    (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(config: &serde_json::Value) -> ImageConfig {
        ImageConfig::parse(json!({ "config": config }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn all_fields_of_a_config_are_read() {
        let config = parse(&json!({
            "Entrypoint": ["/entry"], "Cmd": ["-v"], "Env": ["A=1", "B=x=y", "C=", "=no", "no"],
            "User": "app:1000", "WorkingDir": "srv", "StopSignal": "SIGQUIT",
            "ExposedPorts": { "80/tcp": {}, "53/udp": {} }, "Volumes": { "/data": {}, "more": {} },
            "Labels": { "a": "b" },
            "Healthcheck": { "Test": ["CMD-SHELL", "curl -f x"], "Interval": 2_000_000_000u64, "Retries": 5 },
            "OnBuild": ["RUN x"], "Unknown": 7,
        }));
        assert_eq!(config.command(), Some(vec!["/entry".to_owned(), "-v".to_owned()]));
        let env: Vec<_> = config.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["A=1", "B=x=y", "C="]);
        assert_eq!((config.user.as_deref(), config.workdir.as_deref()), (Some("app:1000"), Some("/srv")));
        assert_eq!(config.stop_signal_number(), Some(3));
        assert_eq!(config.exposed_ports.iter().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(config.volumes.iter().collect::<Vec<_>>(), ["/data", "/more"]);
        let check = config.healthcheck.unwrap();
        assert_eq!(check.exec, ["/bin/sh", "-c", "curl -f x"]);
        assert_eq!((check.interval_ms, check.timeout_ms, check.retries), (2_000, 30_000, 5));
    }

    #[test]
    fn empty_and_null_fields_are_ignored() {
        let nothing = json!({ "Entrypoint": null, "Cmd": [], "Env": null, "User": "", "WorkingDir": "" });
        assert_eq!(parse(&nothing), ImageConfig::default());
        assert_eq!(ImageConfig::parse(b"{}").unwrap(), ImageConfig::default());
        assert_eq!(parse(&json!({ "Healthcheck": { "Test": ["NONE"] } })), ImageConfig::default());
        assert_eq!(parse(&json!({ "Healthcheck": { "Test": [] } })), ImageConfig::default());
        assert_eq!(ImageConfig::default().command(), None);
    }

    #[test]
    fn texts_with_nul_are_refused() {
        for config in [
            json!({ "Cmd": ["a\0b"] }),
            json!({ "Env": ["A=\0"] }),
            json!({ "User": "a\0" }),
            json!({ "Healthcheck": { "Test": ["CMD", "\0"] } }),
        ] {
            let bytes = json!({ "config": config }).to_string();
            assert!(matches!(ImageConfig::parse(bytes.as_bytes()), Err(OciError::Nul { .. })), "{config}");
        }
    }
}

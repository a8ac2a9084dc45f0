//! Events of a sandbox, as `events.log`, `network.log` and `flows.log` record them: JSON objects, and text by [`fmt::Display`].
//!
//! Parts of the text come from a guest, such as names of hosts and processes: escape it before it is shown.

use executor_host::state::{DiskFull, Phase, State};
use schemas::snapshot::{Exit, Health};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The longest quote of a health check's output in characters.
const QUOTED_CHARS_MAX: usize = 200;

/// An event of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum SandboxEvent {
    /// A virtual machine was started.
    Started {
        /// The restarts so far.
        restarts: u32,
    },
    /// The guest is up.
    Ready {
        /// The duration of the boot in milliseconds.
        boot_ms: u64,
    },
    /// Its health check passes.
    Healthy,
    /// Its health check fails.
    Unhealthy {
        /// Consecutive failures.
        failures: u32,
        /// The last line of the check's output.
        output: String,
    },
    /// The guest's kernel killed a process because memory was exhausted.
    Oom {
        /// The process's name.
        process: String,
        /// The occurrences since the last event of the kind, including this one.
        count: u64,
    },
    /// The host's disk is full.
    HostDiskFull {
        /// The effect on the guest.
        guest: DiskFull,
    },
    /// The host's disk has space again.
    HostDiskFreed,
    /// The running sandbox follows another spec.
    Changed,
    /// The guest does not answer, for no known reason.
    Silent,
    /// The guest answers again.
    Answers,
    /// Its virtual machine is paused on request.
    Paused,
    /// Its virtual machine goes on after a pause.
    Resumed,
    /// The sandbox has ended by itself.
    Exited {
        /// The exit.
        exit: Exit,
    },
    /// The restart policy is about to start it again.
    Restarting {
        /// The restarts, including this one.
        restarts: u32,
    },
    /// The sandbox has ended on request.
    Stopped,
    /// The network has refused something.
    Refused(Refused),
    /// The network has allowed something.
    Allowed(Allowed),
    /// A request contained the placeholder of a secret that may not be sent to its host.
    SecretViolation {
        /// The secret's name.
        secret: String,
        /// The host of the request.
        host: String,
        /// What happened, as text.
        text: String,
        /// The occurrences since the last event of the kind, including this one.
        count: u64,
    },
    /// The proxy that intercepts TLS has refused or could not forward a request.
    RequestFailed {
        /// The host of the request.
        host: String,
        /// What happened, as text.
        text: String,
        /// The occurrences since the last event of the kind, including this one.
        count: u64,
    },
}

/// A refusal of the network.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct Refused {
    /// `egress` from the sandbox, `ingress` into it, `any` for several directions.
    pub direction: String,
    /// `tcp`, `udp`, `icmpv4`, `icmpv6`; `dns` for the lookup of a name; `any` for several protocols.
    pub protocol: String,
    /// The peer's address; for a name, the address in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The destination port: the peer's, or the sandbox's own for `ingress`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The peer's name, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The reason as text.
    pub reason: String,
    /// The rule that decided; `None` if no rule did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The origin of the decision: `sandboxfile`, `flag`, `base`, or `default` if no rule matches. `None` if the rules did
    /// not decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The rule that would allow it, where no rule matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
    /// The occurrences since the last refusal of the kind, including this one.
    pub count: u64,
}

/// Traffic that the network has allowed.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct Allowed {
    /// `egress` from the sandbox, `ingress` into it, `any` for several directions.
    pub direction: String,
    /// `tcp`, `udp`; `any` for several protocols.
    pub protocol: String,
    /// The peer's address; `None` if a rule for the name suffices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The destination port: the peer's, or the sandbox's own for `ingress`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The peer's name, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The connections since the last event of the kind, including this one.
    pub count: u64,
}

impl SandboxEvent {
    /// Returns the events between two consecutive states.
    pub fn between(old: &State, new: &State) -> Vec<Self> {
        let mut events = Vec::new();
        let is_other_machine = new.vmm.is_some() && new.vmm != old.vmm;
        if is_other_machine {
            events.push(Self::Started { restarts: new.restarts });
        }
        if let Some(boot_ms) = new.boot_ms.filter(|_| is_other_machine || old.boot_ms.is_none()) {
            events.push(Self::Ready { boot_ms });
        }
        match (old.host_disk_full, new.host_disk_full) {
            (old, Some(guest)) if old != Some(guest) => events.push(Self::HostDiskFull { guest }),
            (Some(_), None) if new.vmm == old.vmm => events.push(Self::HostDiskFreed),
            _ => {}
        }
        match (old.silent, new.silent) {
            (false, true) => events.push(Self::Silent),
            (true, false) if !new.main_ended && !new.paused => events.push(Self::Answers),
            _ => {}
        }
        match (old.paused, new.paused) {
            (false, true) => events.push(Self::Paused),
            // A paused machine may also have ended.
            (true, false) if !new.main_ended => events.push(Self::Resumed),
            _ => {}
        }
        if new.health != old.health {
            let probe = new.last_probe.as_ref();
            match new.health {
                Health::Healthy => events.push(Self::Healthy),
                Health::Unhealthy => events.push(Self::Unhealthy {
                    failures: probe.map_or(0, |probe| probe.failures),
                    output: probe.map(|probe| last_line(&probe.output)).unwrap_or_default(),
                }),
                Health::Booting | Health::Unchecked | Health::Starting => {}
            }
        }
        if new.phase != old.phase {
            match &new.phase {
                Phase::Booting | Phase::Running => {}
                Phase::Backoff { exit } => {
                    events.push(Self::Exited { exit: exit.clone() });
                    events.push(Self::Restarting { restarts: new.restarts });
                }
                Phase::Exited { exit } => events.push(Self::Exited { exit: exit.clone() }),
                Phase::Stopped => events.push(Self::Stopped),
            }
        }
        events
    }
}

fn last_line(output: &str) -> String {
    let line = output.trim_end().lines().last().unwrap_or_default();
    line.chars().take(QUOTED_CHARS_MAX).collect()
}

impl fmt::Display for SandboxEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { restarts: 0 } => f.write_str("started"),
            Self::Started { restarts } => write!(f, "started again (restart {restarts})"),
            Self::Ready { boot_ms } => write!(f, "ready after {boot_ms} ms"),
            Self::Healthy => f.write_str("healthy"),
            Self::Unhealthy { failures, output } => {
                write!(f, "unhealthy after {failures} failures")?;
                if output.is_empty() { Ok(()) } else { write!(f, ": {output}") }
            }
            Self::Oom { process, count } => {
                write!(f, "out of memory: {process} was killed")?;
                times(f, *count)
            }
            Self::HostDiskFull { guest: DiskFull::GuestWaits } => {
                f.write_str("the host's disk is full: the guest waits until there is space")
            }
            Self::HostDiskFull { guest: DiskFull::WritesFail } => {
                f.write_str("the host's disk is full: the guest's writes fail")
            }
            Self::HostDiskFreed => f.write_str("the host's disk has space again"),
            Self::Changed => f.write_str("changed while it runs"),
            Self::Silent => f.write_str("the guest does not answer"),
            Self::Answers => f.write_str("the guest answers again"),
            Self::Paused => f.write_str("paused"),
            Self::Resumed => f.write_str("resumed"),
            Self::Exited { exit } => exit.fmt(f),
            Self::Restarting { restarts } => write!(f, "restarting (restart {restarts})"),
            Self::Stopped => f.write_str("stopped"),
            Self::Refused(refused) => refused.fmt(f),
            Self::Allowed(allowed) => allowed.fmt(f),
            Self::SecretViolation { secret: _, host: _, text, count }
            | Self::RequestFailed { host: _, text, count } => {
                f.write_str(text)?;
                times(f, *count)
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, protocol, address, port, name, reason, rule: _, origin: _, allow, count } =
            self;
        let named = name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        match (protocol.as_str(), address, port, name) {
            ("dns", None, _, Some(name)) => write!(f, "refused to look up {name}")?,
            ("dns", Some(address), _, Some(name)) => {
                write!(f, "dropped the answer that {name} is {address}")?;
            }
            (_, Some(address), Some(port), _) if direction == "ingress" => {
                write!(f, "refused {protocol} from {address}{named} to port {port}")?;
            }
            (_, Some(address), Some(port), _) => {
                write!(f, "refused {protocol} to {}{named}", SocketAddr::new(*address, *port))?;
            }
            (_, Some(address), None, _) => write!(f, "refused {protocol} to {address}{named}")?,
            (_, None, _, _) => f.write_str("refused more than can be listed separately")?,
        }
        write!(f, ": {reason}")?;
        if let Some(rule) = allow {
            write!(f, "; to allow it: {rule}")?;
        }
        times(f, *count)
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, protocol, address, port, name, count } = self;
        let peer = match (name, address) {
            (Some(name), Some(address)) => format!("{name} ({address})"),
            (Some(name), None) => name.clone(),
            (None, Some(address)) => address.to_string(),
            (None, None) => {
                f.write_str("allowed more than can be listed separately")?;
                return times(f, *count);
            }
        };
        let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
        if direction == "ingress" {
            write!(f, "allowed {protocol} from {peer} to{port}")?;
        } else {
            write!(f, "allowed {protocol} to {peer}{port}")?;
        }
        times(f, *count)
    }
}

fn times(f: &mut fmt::Formatter<'_>, count: u64) -> fmt::Result {
    if count > 1 { write!(f, " ({count} times)") } else { Ok(()) }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;

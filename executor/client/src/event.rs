//! What happens to a sandbox, as it is written down in `events.log` and `network.log`: JSON objects, and in a person's
//! words by [`fmt::Display`].
//!
//! What is told comes from a guest in part (names that it asked for, processes that were killed in it), so whoever shows
//! it has to escape it.

use executor_host::state::{DiskFull, Phase, State};
use schemas::snapshot::{Exit, Health};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// So much is quoted of what a health check has printed, in characters.
const QUOTED_CHARS_MAX: usize = 200;

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum SandboxEvent {
    /// A virtual machine was started for it.
    Started {
        /// How often the restart policy has started it again by now.
        restarts: u32,
    },
    /// Its guest is up.
    Ready {
        /// How long that took, in milliseconds.
        boot_ms: u64,
    },
    /// Its health check passes.
    Healthy,
    /// Its health check fails.
    Unhealthy {
        /// Failures in a row.
        failures: u32,
        /// The last line that the check has printed.
        output: String,
    },
    /// The guest's kernel killed a process because there was no memory left.
    Oom {
        /// The process's name.
        process: String,
        /// How often since this was told last, this time included.
        count: u64,
    },
    /// The host's disk is full.
    HostDiskFull {
        /// What becomes of the guest.
        guest: DiskFull,
    },
    /// The host's disk has space again.
    HostDiskFreed,
    /// It follows another spec while it runs.
    Changed,
    /// It has ended by itself.
    Exited {
        /// How.
        exit: Exit,
    },
    /// It is about to be started again by its restart policy.
    Restarting {
        /// How often, this time included.
        restarts: u32,
    },
    /// It was told to stop, and has.
    Stopped,
    /// Its network has refused something.
    Refused(Refused),
}

/// Something that the network has refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// `egress` from the sandbox, `ingress` into it, `any` where that was not told apart.
    pub direction: String,
    /// `tcp`, `udp`, `icmpv4`, `icmpv6`; `dns` for the question for a name; `any` where that was not told apart.
    pub protocol: String,
    /// The other end; for a name, the address that an answer held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port that was asked for: the other end's, or the sandbox's own for `ingress`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What the other end is called, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Why, in words.
    pub reason: String,
    /// The rule that decided, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Who wrote it: `sandboxfile`, `flag`, `base`; `default` where no rule fits. Nothing where something else than the
    /// rules stood in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// How often since this was told last, this time included.
    pub count: u64,
}

impl SandboxEvent {
    /// What one state tells beyond the one before it.
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
            Self::Exited { exit } => exit.fmt(f),
            Self::Restarting { restarts } => write!(f, "restarting (restart {restarts})"),
            Self::Stopped => f.write_str("stopped"),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, protocol, address, port, name, reason, rule: _, origin: _, count } = self;
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
            (_, None, _, _) => f.write_str("refused more than can be told apart")?,
        }
        write!(f, ": {reason}")?;
        times(f, *count)
    }
}

fn times(f: &mut fmt::Formatter<'_>, count: u64) -> fmt::Result {
    if count > 1 { write!(f, " ({count} times)") } else { Ok(()) }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;

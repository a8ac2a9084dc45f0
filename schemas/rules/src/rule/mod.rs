//! Rules about what a sandbox may reach and who may reach it, as flags and Sandboxfiles write them:
//!
//! ```text
//! <allow|deny>[:egress|ingress|any]@<target>[:<any|tcp|udp|icmpv4|icmpv6>[:<any|port|lo-hi>]]
//! ```
//!
//! A [`Rule`] comes out of [`str::parse`], and its [`Display`](fmt::Display) is the normal form: what is
//! usual is left away, names are in lower case, networks begin with their first address.
//!
//! Architecture invariant: this module knows texts and addresses; it asks nobody and reads no clock.

mod cover;
mod fit;
mod invalid;
mod name;
mod parse;
mod public_suffix;
mod target;

pub use invalid::{InvalidRule, Reason};
pub use name::{DomainName, HostPattern, NameProblem};
pub use parse::parse_list;
pub use target::{Group, Target};

use std::fmt;
use std::num::NonZeroU16;

/// The longest text that is read as a rule, in bytes: the longest name, and room for all else.
pub const RULE_BYTES_MAX: usize = 512;

/// What the names of sandboxes end with inside a project, where they have more than one part.
pub const SANDBOX_ZONE: &str = ".msb.internal";
/// The name of the host, as sandboxes see it.
pub const HOST_NAME: &str = "host.msb.internal";

/// What is done with what goes to, or comes from, a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Whether it may pass.
    pub action: Action,
    /// Which way it goes.
    pub direction: Direction,
    /// The other end.
    pub target: Target,
    /// What it speaks.
    pub protocol: Protocol,
    /// The ports that it goes to.
    pub ports: Ports,
}

impl Rule {
    /// The part behind the `@`.
    pub fn traffic(&self) -> String {
        let Self { action: _, direction: _, target, protocol, ports } = self;
        match (protocol, ports) {
            (Protocol::Any, Ports::Any) => target.to_string(),
            (protocol, Ports::Any) => format!("{target}:{protocol}"),
            (protocol, ports) => format!("{target}:{protocol}:{ports}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.action)?;
        if self.direction != Direction::Egress {
            write!(f, ":{}", self.direction)?;
        }
        write!(f, "@{}", self.traffic())
    }
}

crate::serde_as_text!(Rule);

impl Rule {
    /// Whether it allows connections from somewhere to a port of the sandbox.
    pub fn admits(&self, protocol: Protocol, port: u16) -> bool {
        let covers = match self.ports {
            Ports::Any => true,
            Ports::Range { first, last } => (first.get()..=last.get()).contains(&port),
        };
        self.action == Action::Allow
            && self.direction.leads_in()
            && (self.protocol == Protocol::Any || self.protocol == protocol)
            && covers
    }
}

crate::words! {
    /// Whether something may pass.
    Action {
        /// It may.
        Allow = "allow",
        /// It may not.
        Deny = "deny",
    }
}

crate::words! {
    /// Which way a connection goes.
    #[derive(Default)]
    Direction {
        /// From the sandbox.
        #[default]
        Egress = "egress",
        /// Into the sandbox.
        Ingress = "ingress",
        /// Both.
        Any = "any",
    }
}

impl Direction {
    /// Whether it holds for what leaves the sandbox.
    pub fn leads_out(self) -> bool {
        self != Self::Ingress
    }

    /// Whether it holds for what enters the sandbox.
    pub fn leads_in(self) -> bool {
        self != Self::Egress
    }
}

crate::words! {
    /// What a connection speaks.
    Protocol {
        /// Anything.
        Any = "any",
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
        /// ICMP over IPv4, such as `ping`.
        Icmpv4 = "icmpv4",
        /// ICMP over IPv6.
        Icmpv6 = "icmpv6",
    }
}

impl Protocol {
    /// Whether it is ICMP, which has no ports.
    pub fn is_icmp(self) -> bool {
        matches!(self, Self::Icmpv4 | Self::Icmpv6)
    }
}

/// The ports that a connection goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// All of them, and what has no ports.
    Any,
    /// These, both ends included; the first one is not above the last one.
    Range {
        /// The first one.
        first: NonZeroU16,
        /// The last one.
        last: NonZeroU16,
    },
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Range { first, last } if first == last => write!(f, "{first}"),
            Self::Range { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests;

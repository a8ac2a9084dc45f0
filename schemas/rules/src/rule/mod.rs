//! Network rules, as flags and Sandboxfiles write them:
//!
//! ```text
//! <allow|deny>[:egress|ingress|any]@<target>[:<any|tcp|udp|icmpv4|icmpv6>[:<any|port|lo-hi>]]
//! ```
//!
//! A [`Rule`] comes out of [`str::parse`], and its [`Display`](fmt::Display) is the normal form: without defaults, with
//! names in lower case, and networks by their first address.

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

/// The longest text of a rule, in bytes: the longest name, and room for the rest.
pub const RULE_BYTES_MAX: usize = 512;

/// The domain of full host names of sandboxes, with a leading dot.
pub const SANDBOX_ZONE: &str = ".msb.internal";
/// The host name of the host in sandboxes.
pub const HOST_NAME: &str = "host.msb.internal";

/// A rule about the connections to or from a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Whether they are allowed.
    pub action: Action,
    /// Their direction.
    pub direction: Direction,
    /// The remote end.
    pub target: Target,
    /// The protocol.
    pub protocol: Protocol,
    /// The destination ports.
    pub ports: Ports,
}

impl Rule {
    /// Returns the part after the `@`, in the normal form.
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
    /// Returns whether it allows some connections to a port of the sandbox.
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
    /// The effect of a rule.
    Action {
        /// Connections are allowed.
        Allow = "allow",
        /// Connections are denied.
        Deny = "deny",
    }
}

crate::words! {
    /// The direction of a connection.
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
    /// Returns whether it includes egress.
    pub fn leads_out(self) -> bool {
        self != Self::Ingress
    }

    /// Returns whether it includes ingress.
    pub fn leads_in(self) -> bool {
        self != Self::Egress
    }
}

crate::words! {
    /// The protocol of a connection.
    Protocol {
        /// All of them.
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
    /// Returns whether it is ICMP, which has no ports.
    pub fn is_icmp(self) -> bool {
        matches!(self, Self::Icmpv4 | Self::Icmpv6)
    }
}

/// The destination ports of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// All ports, and protocols without ports.
    Any,
    /// An inclusive range, whose first port is at most the last one.
    Range {
        /// The first port.
        first: NonZeroU16,
        /// The last port.
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

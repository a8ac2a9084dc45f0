//! Why a text is not a rule, and what was probably meant.

use super::name::{HostPattern, NameProblem};

/// Why a text is not a rule. The suggestion stands for the whole text that was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidRule {
    /// What is wrong.
    pub reason: Reason,
    /// What was probably meant; it is valid where the text was not.
    pub suggestion: Option<String>,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Nothing was given.
    #[error("a rule cannot be empty")]
    Empty,
    /// Longer than any rule.
    #[error("a rule has at most {limit} bytes")]
    TooLong {
        /// So many.
        limit: usize,
    },
    /// Blanks, tabs or line breaks.
    #[error("a rule holds no white space")]
    WhiteSpace,
    /// Several rules where one is expected.
    #[error("several rules stand in one text")]
    SeveralRules,
    /// No `@`.
    #[error("`{found}` says nothing about a target: there is no `@`")]
    NoTarget {
        /// The whole text.
        found: String,
    },
    /// More than one `@`.
    #[error("a rule has one `@`")]
    SecondAt,
    /// Neither allow nor deny.
    #[error("`{found}` is neither `allow` nor `deny`")]
    UnknownAction {
        /// What stands in its place.
        found: String,
    },
    /// A direction that does not exist.
    #[error("there is no direction `{found}`: there are `egress`, `ingress` and `any`")]
    UnknownDirection {
        /// What stands in its place.
        found: String,
    },
    /// Something behind the direction.
    #[error("`{found}` in front of the `@` is one part too many")]
    TrailingHead {
        /// What stands there.
        found: String,
    },
    /// Nothing behind the `@`.
    #[error("a rule needs a target")]
    EmptyTarget,
    /// A word without a dot that is no group.
    #[error("`{found}` is neither a group of addresses nor a name with a dot")]
    BareLabel {
        /// The word.
        found: String,
    },
    /// Something other than `domain=` and `suffix=`.
    #[error("there is no `{found}=`: there are `domain=` and `suffix=`")]
    UnknownKey {
        /// What stands in front of the `=`.
        found: String,
    },
    /// Something like an address that is none.
    #[error("`{found}` is not an address")]
    InvalidAddress {
        /// What was given.
        found: String,
    },
    /// A prefix that is too long, or no number.
    #[error("`/{found}` is not the length of a network's prefix: it goes from 0 to {most}")]
    InvalidPrefix {
        /// What stands behind the `/`.
        found: String,
        /// The longest one.
        most: u8,
    },
    /// An IPv6 address without brackets.
    #[error("an IPv6 address stands in brackets")]
    NoBrackets,
    /// A bracket that is not closed.
    #[error("the `[` is not closed")]
    OpenBracket,
    /// Something right behind the bracket.
    #[error("`{found}` behind the `]` does not belong there")]
    BehindBracket {
        /// What stands there.
        found: String,
    },
    /// A text that cannot be a name.
    #[error("`{found}` is not the name of a host: {problem}")]
    InvalidName {
        /// What was given.
        found: String,
        /// Why.
        #[source]
        problem: NameProblem,
    },
    /// A star where none can be.
    #[error("`{found}` has its `*` in the wrong place: it stands for whole parts, in front of a name")]
    Wildcard {
        /// What was given.
        found: String,
    },
    /// A suffix of one part, or another one beneath which strangers have names of their own.
    #[error("`*.{suffix}` is as broad as a whole {}", breadth(suffix))]
    SuffixTooBroad {
        /// The suffix.
        suffix: String,
    },
    /// The address of a page.
    #[error("`{scheme}://` does not belong here: hosts have names, not URLs")]
    Url {
        /// What stands in front of the `://`.
        scheme: String,
    },
    /// Nothing between two colons, or behind the last one.
    #[error("nothing follows a `:`")]
    EmptyPart,
    /// A protocol that is not known.
    #[error("there is no protocol `{found}`: there are `any`, `tcp`, `udp`, `icmpv4` and `icmpv6`")]
    UnknownProtocol {
        /// What was given.
        found: String,
    },
    /// Ports in the place of the protocol.
    #[error("`{found}` stands where the protocol belongs")]
    PortInProtocolSlot {
        /// The ports.
        found: String,
    },
    /// A protocol in the place of the ports.
    #[error("`{found}` stands where the ports belong")]
    ProtocolInPortSlot {
        /// The protocol.
        found: String,
    },
    /// Neither a port nor a range of them.
    #[error("`{found}` is neither a port nor a range of ports")]
    UnknownPorts {
        /// What was given.
        found: String,
    },
    /// A number that no port has.
    #[error("there is no port {found}: they go from 1 to 65535")]
    PortOutOfRange {
        /// What was given.
        found: String,
    },
    /// A range whose first port is above its last one.
    #[error("the range `{found}` begins above its end")]
    PortsReversed {
        /// What was given.
        found: String,
    },
    /// Ports of something that has none.
    #[error("`{protocol}` has no ports")]
    IcmpPorts {
        /// Which one.
        protocol: &'static str,
    },
    /// A rule about ICMP that comes in.
    #[error("`{protocol}` never comes in: only published ports lead into a sandbox")]
    IcmpOnIngress {
        /// Which one.
        protocol: &'static str,
    },
    /// ICMP of the other family than that of an address.
    #[error("`icmpv4` never goes to `{found}`, which is IPv6")]
    IcmpFamily {
        /// The target.
        found: String,
    },
    /// The name server in a rule about what comes in.
    #[error("`dns` is the sandbox's own name server: a rule for it is about egress only")]
    DnsOnIngress,
    /// A protocol in which the name server is not asked.
    #[error("the name server is asked over `udp` and `tcp`, not over `{protocol}`")]
    DnsProtocol {
        /// Which one.
        protocol: &'static str,
    },
    /// A port at which the name server is not asked.
    #[error("`dns` is the name server at port 53, not at `{found}`")]
    DnsPorts {
        /// What was given.
        found: String,
    },
    /// The long name of a sandbox.
    #[error("a rule names a sandbox by its short name, as in `domain=web`, not by `{found}`")]
    SandboxName {
        /// What was given.
        found: String,
    },
    /// A name that nobody who comes in has.
    #[error("`{found}` matches no ingress: only other sandboxes have names there, as in `domain=web`")]
    NameOnIngress {
        /// The name, or the suffix.
        found: String,
    },
    /// A group of machines in a rule about what comes in.
    #[error("`{found}` matches no ingress: a multicast address is never a source")]
    MulticastOnIngress {
        /// The target.
        found: String,
    },
    /// TCP to a group of machines.
    #[error("TCP has no multicast: `tcp` never goes to `{found}`")]
    MulticastTcp {
        /// The target.
        found: String,
    },
    /// Addresses that nothing may go to.
    #[error("`{found}` is unspecified, and nothing may connect there, whatever the rules say")]
    Unspecified {
        /// The target.
        found: String,
    },
    /// Something behind the ports.
    #[error("`{found}` behind the ports is one part too many")]
    TrailingText {
        /// What stands there.
        found: String,
    },
    /// No host.
    #[error("a host cannot be empty")]
    EmptyHost,
    /// An address where a name is needed.
    #[error("`{found}` is an address, and only names can be told apart here")]
    AddressAsHost {
        /// What was given.
        found: String,
    },
    /// A port where none belongs.
    #[error("`:{port}` does not belong here: a host has no port")]
    PortBehindHost {
        /// The port.
        port: String,
    },
    /// A name without a dot where a whole one is needed.
    #[error("`{found}` is not a whole name: it has no dot")]
    BareHost {
        /// What was given.
        found: String,
    },
}

/// What a suffix is that is too broad.
fn breadth(suffix: &str) -> &'static str {
    match suffix.contains('.') {
        true => "public suffix: beneath it are names of many owners",
        false => "top-level domain",
    }
}

impl Reason {
    /// With what was probably meant.
    pub(super) fn or_rather(self, suggestion: impl Into<String>) -> InvalidRule {
        InvalidRule { reason: self, suggestion: Some(suggestion.into()) }
    }

    /// Of a suffix that is too broad, one that is not: a sample of what stands beneath it.
    pub fn narrower(&self) -> Option<String> {
        let Self::SuffixTooBroad { suffix } = self else { return None };
        let suffix = if suffix.is_empty() { "org" } else { suffix };
        let samples = [format!("*.example.{suffix}"), format!("*.example.any.{suffix}")];
        samples.into_iter().find(|sample| sample.parse::<HostPattern>().is_ok())
    }

    /// Whether the rule would be sound if it led out only.
    pub fn is_about_direction(&self) -> bool {
        matches!(self, Self::IcmpOnIngress { .. } | Self::DnsOnIngress | Self::MulticastOnIngress { .. })
    }

    /// With what was probably meant, if that is known.
    pub(super) fn perhaps(self, suggestion: Option<String>) -> InvalidRule {
        InvalidRule { reason: self, suggestion }
    }
}

impl From<Reason> for InvalidRule {
    fn from(reason: Reason) -> Self {
        Self { reason, suggestion: None }
    }
}

impl InvalidRule {
    /// Follows suggestions until one is valid: a text may be wrong in several ways.
    pub(super) fn settled(mut self, mut read: impl FnMut(&str) -> Result<(), Self>) -> Self {
        const STEPS_MAX: usize = 4;
        let mut suggestion = self.suggestion.take();
        for _ in 0..STEPS_MAX {
            let Some(text) = suggestion else { break };
            match read(&text) {
                Ok(()) => return Self { suggestion: Some(text), ..self },
                Err(next) => suggestion = next.suggestion,
            }
        }
        self
    }

    /// The suggestion made over, where it is a part of a longer text.
    pub(super) fn map_suggestion(self, complete: impl FnOnce(String) -> String) -> Self {
        Self { suggestion: self.suggestion.map(complete), ..self }
    }
}

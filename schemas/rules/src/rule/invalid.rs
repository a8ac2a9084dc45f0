//! The reason why a text is not a rule, and the rule that was probably meant.

use super::name::{HostPattern, NameProblem};

/// An error about the text of a rule or a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidRule {
    /// The reason.
    pub reason: Reason,
    /// A valid text to replace the whole text with.
    pub suggestion: Option<String>,
}

/// The reason why a text is not a rule or a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The text is empty.
    #[error("a rule cannot be empty")]
    Empty,
    /// The text is longer than any rule.
    #[error("a rule has at most {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// It contains white space or control characters.
    #[error("a rule contains no white space")]
    WhiteSpace,
    /// It contains several rules.
    #[error("this is more than one rule")]
    SeveralRules,
    /// The `@` is missing.
    #[error("`{found}` has no target: the `@` is missing")]
    NoTarget {
        /// The whole text.
        found: String,
    },
    /// It has more than one `@`.
    #[error("a rule has one `@`")]
    SecondAt,
    /// The action is unknown.
    #[error("`{found}` is neither `allow` nor `deny`")]
    UnknownAction {
        /// The text in its place.
        found: String,
    },
    /// The direction is unknown.
    #[error("unknown direction `{found}`: expected `egress`, `ingress` or `any`")]
    UnknownDirection {
        /// The text in its place.
        found: String,
    },
    /// The direction is followed by another part.
    #[error("unexpected `{found}` before the `@`")]
    TrailingHead {
        /// The part.
        found: String,
    },
    /// Nothing follows the `@`.
    #[error("a rule needs a target")]
    EmptyTarget,
    /// The target is a word without a dot that is not a group.
    #[error("`{found}` is neither a group of addresses nor a name with a dot")]
    BareLabel {
        /// The word.
        found: String,
    },
    /// The key of the target is unknown.
    #[error("unknown key `{found}=`: expected `domain=` or `suffix=`")]
    UnknownKey {
        /// The key.
        found: String,
    },
    /// The target resembles an address and is not one.
    #[error("`{found}` is not an address")]
    InvalidAddress {
        /// The text.
        found: String,
    },
    /// The prefix length is too large, or not a number.
    #[error("`/{found}` is not a prefix length: expected 0 to {most}")]
    InvalidPrefix {
        /// The text after the `/`.
        found: String,
        /// The largest prefix length.
        most: u8,
    },
    /// An IPv6 address has no brackets.
    #[error("an IPv6 address needs brackets")]
    NoBrackets,
    /// A bracket is not closed.
    #[error("the `[` is not closed")]
    OpenBracket,
    /// The closing bracket is followed by other text.
    #[error("unexpected `{found}` after the `]`")]
    AfterBracket {
        /// The text.
        found: String,
    },
    /// The text cannot be a host name.
    #[error("`{found}` is not a host name: {problem}")]
    InvalidName {
        /// The text.
        found: String,
        /// The reason.
        #[source]
        problem: NameProblem,
    },
    /// A `*` is not the first label.
    #[error("`{found}` has a misplaced `*`: it stands for whole labels at the start of a name")]
    Wildcard {
        /// The text.
        found: String,
    },
    /// The names below a suffix belong to many owners.
    #[error("`*.{suffix}` matches a whole {}", breadth(suffix))]
    SuffixTooBroad {
        /// The suffix.
        suffix: String,
    },
    /// The text is a URL.
    #[error("unexpected `{scheme}://`: write a host name, not a URL")]
    Url {
        /// The scheme.
        scheme: String,
    },
    /// A `:` is followed by nothing.
    #[error("a part after a `:` is empty")]
    EmptyPart,
    /// The protocol is unknown.
    #[error("unknown protocol `{found}`: expected `any`, `tcp`, `udp`, `icmpv4` or `icmpv6`")]
    UnknownProtocol {
        /// The text in its place.
        found: String,
    },
    /// The protocol is missing before ports.
    #[error("expected a protocol, found `{found}`")]
    PortInProtocolSlot {
        /// The ports.
        found: String,
    },
    /// A second protocol replaces the ports.
    #[error("expected ports, found `{found}`")]
    ProtocolInPortSlot {
        /// The protocol.
        found: String,
    },
    /// The ports are neither a port nor a range.
    #[error("`{found}` is neither a port nor a range of ports")]
    UnknownPorts {
        /// The text in their place.
        found: String,
    },
    /// A port is 0 or too large.
    #[error("port {found} is out of range: expected 1 to 65535")]
    PortOutOfRange {
        /// The number.
        found: String,
    },
    /// The first port of a range is above the last one.
    #[error("the range `{found}` is reversed")]
    PortsReversed {
        /// The range.
        found: String,
    },
    /// ICMP has ports.
    #[error("`{protocol}` has no ports")]
    IcmpPorts {
        /// The protocol.
        protocol: &'static str,
    },
    /// ICMP has the direction ingress.
    #[error("`{protocol}` has no ingress: only published ports lead into a sandbox")]
    IcmpOnIngress {
        /// The protocol.
        protocol: &'static str,
    },
    /// ICMP of IPv4 has a target of IPv6.
    #[error("`icmpv4` never goes to `{found}`, which is IPv6")]
    IcmpFamily {
        /// The target.
        found: String,
    },
    /// The name server has the direction ingress.
    #[error("`dns` is the sandbox's own name server: its rules are about egress only")]
    DnsOnIngress,
    /// The name server has another protocol than UDP and TCP.
    #[error("the name server answers over `udp` and `tcp`, not over `{protocol}`")]
    DnsProtocol {
        /// The protocol.
        protocol: &'static str,
    },
    /// The name server has another port than 53.
    #[error("`dns` is the name server at port 53, not at `{found}`")]
    DnsPorts {
        /// The ports.
        found: String,
    },
    /// A sandbox is named by its full host name.
    #[error("a rule names a sandbox by its short name, as in `domain=web`, not by `{found}`")]
    SandboxName {
        /// The name.
        found: String,
    },
    /// A name that is not a sandbox's has the direction ingress.
    #[error("`{found}` matches no ingress: only other sandboxes have names there, as in `domain=web`")]
    NameOnIngress {
        /// The name or the suffix.
        found: String,
    },
    /// Multicast has the direction ingress.
    #[error("`{found}` matches no ingress: a multicast address is never a source")]
    MulticastOnIngress {
        /// The target.
        found: String,
    },
    /// Multicast has the protocol TCP.
    #[error("TCP has no multicast: `tcp` never goes to `{found}`")]
    MulticastTcp {
        /// The target.
        found: String,
    },
    /// An unspecified address is allowed.
    #[error("`{found}` is unspecified: connections to it are always denied")]
    Unspecified {
        /// The target.
        found: String,
    },
    /// The ports are followed by another part.
    #[error("unexpected `{found}` after the ports")]
    TrailingText {
        /// The part.
        found: String,
    },
    /// The host is empty.
    #[error("a host cannot be empty")]
    EmptyHost,
    /// The host is an address.
    #[error("`{found}` is an address: a host is a name here")]
    AddressAsHost {
        /// The address.
        found: String,
    },
    /// The host has a port.
    #[error("unexpected `:{port}`: a host has no port")]
    PortAfterHost {
        /// The port.
        port: String,
    },
    /// The host has no dot.
    #[error("`{found}` is not a full host name: it has no dot")]
    BareHost {
        /// The text.
        found: String,
    },
}

/// Returns the kind of a suffix that is too broad.
fn breadth(suffix: &str) -> &'static str {
    if suffix.contains('.') {
        "public suffix: the names below it belong to many owners"
    } else {
        "top-level domain"
    }
}

impl Reason {
    /// Adds a suggestion.
    pub(super) fn suggest(self, suggestion: impl Into<String>) -> InvalidRule {
        self.suggest_if(Some(suggestion.into()))
    }

    /// Adds a suggestion, if there is one.
    pub(super) fn suggest_if(self, suggestion: Option<String>) -> InvalidRule {
        InvalidRule { reason: self, suggestion }
    }

    /// Returns a sample of a narrower suffix; `None` unless the suffix is too broad.
    pub fn narrower(&self) -> Option<String> {
        let Self::SuffixTooBroad { suffix } = self else { return None };
        let suffix = if suffix.is_empty() { "org" } else { suffix };
        let samples = [format!("*.example.{suffix}"), format!("*.example.any.{suffix}")];
        samples.into_iter().find(|sample| sample.parse::<HostPattern>().is_ok())
    }

    /// Returns whether the rule would be valid for egress only.
    pub fn is_about_direction(&self) -> bool {
        matches!(self, Self::IcmpOnIngress { .. } | Self::DnsOnIngress | Self::MulticastOnIngress { .. })
    }
}

impl From<Reason> for InvalidRule {
    fn from(reason: Reason) -> Self {
        Self { reason, suggestion: None }
    }
}

impl InvalidRule {
    /// Follows suggestions until one is valid, as a text may have several mistakes.
    pub(super) fn settled<T>(mut self, read: impl Fn(&str) -> Result<T, Self>) -> Self {
        const STEPS_MAX: usize = 4;
        let mut suggestion = self.suggestion.take();
        for _ in 0..STEPS_MAX {
            let Some(text) = suggestion else { break };
            match read(&text) {
                Ok(_) => return Self { suggestion: Some(text), ..self },
                Err(next) => suggestion = next.suggestion,
            }
        }
        self
    }

    /// Completes the suggestion, where it replaces a part of the text.
    pub(super) fn map_suggestion(self, complete: impl FnOnce(String) -> String) -> Self {
        Self { suggestion: self.suggestion.map(complete), ..self }
    }
}

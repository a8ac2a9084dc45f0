//! Published ports, written like `8080:80`, `0.0.0.0:9000:9000/udp` and `[::1]:8080:80`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A port of the host that is forwarded into a sandbox.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, schemars::JsonSchema, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The host's address.
    pub bind: IpAddr,
    /// The host's port; 0 selects a free one.
    pub host: u16,
    /// The port inside the sandbox.
    pub guest: u16,
    /// TCP or UDP.
    pub protocol: PortProtocol,
}

/// The default address of a port: the loopback.
pub const DEFAULT_BIND: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl fmt::Display for Port {
    /// Writes the normal form, without the default address and protocol.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bind {
            bind if bind == DEFAULT_BIND => {}
            IpAddr::V4(bind) => write!(f, "{bind}:")?,
            IpAddr::V6(bind) => write!(f, "[{bind}]:")?,
        }
        write!(f, "{}:{}", self.host, self.guest)?;
        match self.protocol {
            PortProtocol::Tcp => Ok(()),
            PortProtocol::Udp => f.write_str("/udp"),
        }
    }
}

crate::words! {
    /// The protocol of a port.
    #[derive(Default)]
    PortProtocol {
        /// TCP.
        #[default]
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
}

/// The accepted forms, for messages.
pub const PORT_FORMS: &str = "8080:80, 8080:80/udp, 0.0.0.0:8080:80 or [::1]:8080:80";

/// An error about the text of a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidPort {
    /// The reason.
    pub reason: Reason,
    /// A valid text to replace the whole text with.
    pub suggestion: Option<String>,
}

/// The reason why a text is not a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The text is empty.
    #[error("a port cannot be empty")]
    Empty,
    /// It has one port only.
    #[error("`{found}` is a single port: expected one of the host and one of the sandbox")]
    Single {
        /// The number.
        found: String,
    },
    /// A part is not a number of a port.
    #[error("`{found}` is not a port: expected a number up to 65535")]
    Number {
        /// The text.
        found: String,
    },
    /// The port of the sandbox is 0.
    #[error("nothing can listen on port 0 of the sandbox")]
    GuestZero,
    /// A part is a range of ports.
    #[error("`{found}` is a range")]
    Range {
        /// The range.
        found: String,
    },
    /// The protocol is unknown.
    #[error("unknown protocol `{found}`: expected `tcp` or `udp`")]
    Protocol {
        /// The text.
        found: String,
    },
    /// The address is invalid.
    #[error("`{found}` is not an address of the host")]
    Bind {
        /// The text.
        found: String,
    },
    /// An IPv6 address has no brackets.
    #[error("an IPv6 address needs brackets")]
    NoBrackets,
    /// It has too many parts.
    #[error("`{found}` has too many parts")]
    TooManyParts {
        /// The whole text.
        found: String,
    },
}

impl FromStr for Port {
    type Err = InvalidPort;

    fn from_str(text: &str) -> Result<Self, InvalidPort> {
        read(text).map_err(|(reason, suggestion)| {
            let suggestion = suggestion.filter(|suggestion| read(suggestion).is_ok());
            InvalidPort { reason, suggestion }
        })
    }
}

/// The most ports that a range has.
const RANGE_MAX: u16 = 1000;

/// Returns the texts of the single ports of a range, such as `8000-8010:9000-9010/udp`; `None` if the text is none, or if
/// its two sides have different lengths.
pub fn expand(text: &str) -> Option<Vec<String>> {
    let (ends, suffix) = text.split_at(text.find('/').unwrap_or(text.len()));
    let (front, guest) = ends.rsplit_once(':')?;
    let (bind, host) = match front.rsplit_once(':') {
        Some((bind, host)) => (format!("{bind}:"), host),
        None => (String::new(), front),
    };
    let range = |text: &str| {
        let (first, last) = text.split_once('-')?;
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        (first > 0 && first <= last && last - first < RANGE_MAX).then_some(first..=last)
    };
    let (hosts, guests) = (range(host)?, range(guest)?);
    let pairs = || hosts.clone().zip(guests.clone());
    let is_even = hosts.len() == guests.len();
    is_even.then(|| pairs().map(|(host, guest)| format!("{bind}{host}:{guest}{suffix}")).collect())
}

type Wrong = (Reason, Option<String>);

fn read(text: &str) -> Result<Port, Wrong> {
    if text.is_empty() {
        return Err((Reason::Empty, None));
    }
    let (ends, protocol) = match text.split_once('/') {
        Some((ends, word)) => {
            let protocol = PortProtocol::from_word(word).ok_or_else(|| {
                let lowered = word.to_ascii_lowercase();
                (Reason::Protocol { found: word.to_owned() }, Some(format!("{ends}/{lowered}")))
            })?;
            (ends, protocol)
        }
        None => (text, PortProtocol::Tcp),
    };
    let suffix = &text[ends.len()..];
    let (bind, rest) = bind_of(ends, suffix)?;
    let Some((host, guest)) = rest.split_once(':') else {
        let single = Reason::Single { found: rest.to_owned() };
        number(rest)?;
        let front = &ends[..ends.len() - rest.len()];
        return Err((single, Some(format!("{front}{rest}:{rest}{suffix}"))));
    };
    if guest.contains(':') {
        return Err((Reason::TooManyParts { found: ends.to_owned() }, None));
    }
    let (host, guest) = (number(host)?, number(guest)?);
    match guest {
        0 => Err((Reason::GuestZero, None)),
        guest => Ok(Port { bind, host, guest, protocol }),
    }
}

/// Splits off the address; the default one where the text begins with a port.
fn bind_of<'a>(text: &'a str, suffix: &str) -> Result<(IpAddr, &'a str), Wrong> {
    let bad = |found: &str| Reason::Bind { found: found.to_owned() };
    if let Some(inner) = text.strip_prefix('[') {
        let Some((address, rest)) = inner.split_once("]:") else {
            return Err((bad(text), None));
        };
        let parsed: Ipv6Addr = address.parse().map_err(|_| (bad(address), None))?;
        return Ok((IpAddr::V6(parsed), rest));
    }
    // Two ports have one colon, and an address adds one.
    match text.matches(':').count() {
        0 | 1 => Ok((DEFAULT_BIND, text)),
        2 => {
            let (address, rest) = text.split_once(':').unwrap_or_default();
            let parsed: Ipv4Addr = address.parse().map_err(|_| {
                let meant = match address {
                    "localhost" => Some("127.0.0.1"),
                    "*" | "any" | "all" | "" => Some("0.0.0.0"),
                    _ => None,
                };
                (bad(address), meant.map(|meant| format!("{meant}:{rest}{suffix}")))
            })?;
            Ok((IpAddr::V4(parsed), rest))
        }
        _ => {
            // The last two parts are the ports, and the rest is the address.
            let (address, ports) = text.split_at(text.rmatch_indices(':').nth(1).map_or(0, |(at, _)| at));
            if address.parse::<Ipv6Addr>().is_ok() {
                return Err((Reason::NoBrackets, Some(format!("[{address}]{ports}{suffix}"))));
            }
            Err((Reason::TooManyParts { found: text.to_owned() }, None))
        }
    }
}

fn number(text: &str) -> Result<u16, Wrong> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((first, last)) = text.split_once('-')
        && digits(first)
        && digits(last)
    {
        return Err((Reason::Range { found: text.to_owned() }, None));
    }
    let parsed = text.parse().ok().filter(|_| digits(text));
    parsed.ok_or_else(|| (Reason::Number { found: text.to_owned() }, None))
}

/// Returns whether the same port cannot be bound on two addresses of the host: they are equal, or one is unspecified and
/// includes the other. As in the kernel, `::` includes IPv4.
pub fn binds_overlap(a: IpAddr, b: IpAddr) -> bool {
    let includes = |wide: IpAddr, other: IpAddr| match wide {
        IpAddr::V6(address) => address.is_unspecified(),
        IpAddr::V4(address) => address.is_unspecified() && other.is_ipv4(),
    };
    a == b || includes(a, b) || includes(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, normal) in [
            ("8080:80", "8080:80"),
            ("127.0.0.1:8080:80/tcp", "8080:80"),
            ("0.0.0.0:9000:9000/udp", "0.0.0.0:9000:9000/udp"),
            ("[::1]:8080:80", "[::1]:8080:80"),
            ("[::]:53:53/udp", "[::]:53:53/udp"),
            ("[0:0::1]:0:80", "[::1]:0:80"),
            ("0:80", "0:80"),
            ("65535:65535", "65535:65535"),
        ] {
            let port: Port = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(port.to_string(), normal, "{text}");
            assert_eq!(normal.parse::<Port>().as_ref(), Ok(&port), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_ports() {
        for (text, message, suggestion) in [
            ("", "a port cannot be empty", None),
            ("80", "`80` is a single port: expected one of the host and one of the sandbox", Some("80:80")),
            (
                "53/udp",
                "`53` is a single port: expected one of the host and one of the sandbox",
                Some("53:53/udp"),
            ),
            (
                "[::1]:80",
                "`80` is a single port: expected one of the host and one of the sandbox",
                Some("[::1]:80:80"),
            ),
            ("0", "`0` is a single port: expected one of the host and one of the sandbox", None),
            ("80:0", "nothing can listen on port 0 of the sandbox", None),
            ("80:", "`` is not a port: expected a number up to 65535", None),
            (":80", "`` is not a port: expected a number up to 65535", None),
            ("http:80", "`http` is not a port: expected a number up to 65535", None),
            ("80:65536", "`65536` is not a port: expected a number up to 65535", None),
            ("80:+1", "`+1` is not a port: expected a number up to 65535", None),
            ("-1:80", "`-1` is not a port: expected a number up to 65535", None),
            (" 80:80", "` 80` is not a port: expected a number up to 65535", None),
            ("8000-8010:80", "`8000-8010` is a range", None),
            ("8000-8010", "`8000-8010` is a range", None),
            ("80:80/sctp", "unknown protocol `sctp`: expected `tcp` or `udp`", None),
            ("80:80/UDP", "unknown protocol `UDP`: expected `tcp` or `udp`", Some("80:80/udp")),
            ("80:80/", "unknown protocol ``: expected `tcp` or `udp`", None),
            ("localhost:80:80", "`localhost` is not an address of the host", Some("127.0.0.1:80:80")),
            ("*:80:80/udp", "`*` is not an address of the host", Some("0.0.0.0:80:80/udp")),
            ("example.org:80:80", "`example.org` is not an address of the host", None),
            ("[::g]:80:80", "`::g` is not an address of the host", None),
            ("[::1]", "`[::1]` is not an address of the host", None),
            ("::1:80:80", "an IPv6 address needs brackets", Some("[::1]:80:80")),
            ("1:2:3:4:5", "`1:2:3:4:5` has too many parts", None),
            ("[::1]:1:2:3", "`[::1]:1:2:3` has too many parts", None),
        ] {
            let found = text.parse::<Port>().expect_err(text);
            assert_eq!(
                (found.to_string().as_str(), found.suggestion.as_deref()),
                (message, suggestion),
                "{text}"
            );
        }
    }

    #[test]
    fn wildcards_take_in_all_of_their_family() {
        let overlap = |a: &str, b: &str| binds_overlap(a.parse().unwrap(), b.parse().unwrap());
        assert!(overlap("127.0.0.1", "127.0.0.1") && overlap("0.0.0.0", "127.0.0.1") && overlap("::", "::1"));
        assert!(overlap("::", "127.0.0.1") && overlap("127.0.0.1", "0.0.0.0"));
        assert!(
            !overlap("127.0.0.1", "127.0.0.2") && !overlap("0.0.0.0", "::1") && !overlap("127.0.0.1", "::1")
        );
    }

    #[test]
    fn ranges_become_single_ports() {
        let expanded = |text| expand(text).map(|texts| texts.join(" "));
        assert_eq!(expanded("8000-8002:80-82/udp").unwrap(), "8000:80/udp 8001:81/udp 8002:82/udp");
        assert_eq!(expanded("[::1]:1-2:3-4").unwrap(), "[::1]:1:3 [::1]:2:4");
        assert_eq!(expanded("127.0.0.1:7-7:7-7").unwrap(), "127.0.0.1:7:7");
        for text in ["80:80", "1-2:3", "1-2:3-5", "2-1:2-1", "0-1:0-1", "1-2", "1-60000:1-60000", "a-b:c-d"] {
            assert_eq!(expanded(text), None, "{text}");
        }
    }
}

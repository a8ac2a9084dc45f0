//! Upstream proxies: `http://proxy.example:3128`, `socks5://me@10.0.0.1:1080`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The longest user name, in bytes: the limit of SOCKS5.
const USER_BYTES_MAX: usize = 255;
/// The longest name of a host, in bytes.
const HOST_BYTES_MAX: usize = 253;
/// The longest part of the name of a host, in bytes.
const LABEL_BYTES_MAX: usize = 63;

crate::words! {
    /// The protocol of a proxy.
    ProxyScheme {
        /// HTTP, by `CONNECT`.
        Http = "http",
        /// SOCKS version 5.
        Socks5 = "socks5",
    }
}

/// The host of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProxyHost {
    /// An address.
    Address(IpAddr),
    /// A name in lower case, which the host resolves.
    Name(String),
}

/// The URL of a proxy, with its user and without a password.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProxyUrl {
    scheme: ProxyScheme,
    user: Option<String>,
    host: ProxyHost,
    port: u16,
}

/// The reason why a text is not the URL of a proxy. It never contains a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxy {
    /// It has no scheme.
    #[error("a proxy is named by a URL, and this one has no scheme")]
    NoScheme,
    /// The scheme is not one of [`ProxyScheme`].
    #[error("`{found}` is not a kind of proxy")]
    UnknownScheme {
        /// The scheme.
        found: String,
    },
    /// It has a password.
    #[error("the URL of a proxy must not contain a password")]
    Password,
    /// The user is empty, too long, or has characters that no proxy accepts.
    #[error("the user in the URL is not valid")]
    User,
    /// It has no host.
    #[error("the URL names no host")]
    NoHost,
    /// The host is neither a name nor an address.
    #[error("`{found}` is not a host")]
    Host {
        /// The host.
        found: String,
    },
    /// It has no port.
    #[error("the URL names no port")]
    NoPort,
    /// The port is not a number from 1 to 65535.
    #[error("`{found}` is not a port")]
    Port {
        /// The port.
        found: String,
    },
    /// A path or a query follows.
    #[error("the URL of a proxy ends with its port")]
    Path,
}

impl ProxyUrl {
    /// Returns the protocol.
    pub fn scheme(&self) -> ProxyScheme {
        self.scheme
    }

    /// Returns the user; `None` for a proxy that asks for none.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the host.
    pub fn host(&self) -> &ProxyHost {
        &self.host
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL without its user.
    pub fn without_user(&self) -> Self {
        Self { user: None, ..self.clone() }
    }
}

impl fmt::Display for ProxyHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, user, host, port } = self;
        write!(f, "{scheme}://")?;
        if let Some(user) = user {
            write!(f, "{}@", encoded(user))?;
        }
        write!(f, "{host}:{port}")
    }
}

impl FromStr for ProxyUrl {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidProxy::NoScheme)?;
        let scheme = ProxyScheme::from_word(&scheme.to_ascii_lowercase())
            .ok_or_else(|| InvalidProxy::UnknownScheme { found: scheme.to_owned() })?;
        // The last one, as a password is refused whatever it contains.
        let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
        if user.is_some_and(|user| user.contains(':')) {
            return Err(InvalidProxy::Password);
        }
        let user = user.map(|user| decoded(user).filter(|user| is_user(user)).ok_or(InvalidProxy::User));
        let user = user.transpose()?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(InvalidProxy::Path);
        }
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => {
                let host = address.parse::<Ipv6Addr>().map(|address| ProxyHost::Address(address.into()));
                (host.map_err(|_| InvalidProxy::Host { found: address.to_owned() })?, port)
            }
            None => {
                let end = rest.find(':').unwrap_or(rest.len());
                let (host, port) = rest.split_at(end);
                (name_or_ipv4(host)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port,
            None if port.is_empty() => return Err(InvalidProxy::NoPort),
            None => return Err(InvalidProxy::Host { found: rest.to_owned() }),
        };
        let number = port.parse().ok().filter(|number| *number != 0 && !port.starts_with('+'));
        let port = number.ok_or_else(|| InvalidProxy::Port { found: port.to_owned() })?;
        Ok(Self { scheme, user, host, port })
    }
}

crate::serde_as_text!(ProxyUrl);

fn name_or_ipv4(text: &str) -> Result<ProxyHost, InvalidProxy> {
    if text.is_empty() {
        return Err(InvalidProxy::NoHost);
    }
    if let Ok(address) = text.parse() {
        return Ok(ProxyHost::Address(IpAddr::V4(address)));
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // Resolvers take a last label of digits for a part of an address.
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = text.len() <= HOST_BYTES_MAX
        && text.split('.').all(is_label)
        && !text.rsplit('.').next().is_some_and(is_number);
    if is_name {
        Ok(ProxyHost::Name(text.to_ascii_lowercase()))
    } else {
        Err(InvalidProxy::Host { found: text.to_owned() })
    }
}

/// Whether a text can be a user: `Basic` has no way to write a colon, and a line break would end a header field.
fn is_user(text: &str) -> bool {
    !text.is_empty() && text.len() <= USER_BYTES_MAX && !text.contains(|c: char| c == ':' || c.is_control())
}

/// Returns whether a byte stands for itself in the user of a URL.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Decodes `%40`; `None` if that is not possible.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = others.first_chunk::<2>()?;
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit(digits[0])? << 4 | digit(digits[1])?);
        rest = &others[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_normalized() {
        for (text, normal) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("HTTP://Proxy.Example:3128/", "http://proxy.example:3128"),
            ("socks5://10.0.0.1:1080", "socks5://10.0.0.1:1080"),
            ("http://[2001:DB8::1]:80", "http://[2001:db8::1]:80"),
            ("http://me@proxy:1", "http://me@proxy:1"),
            ("http://a%40b.example@proxy:1", "http://a%40b.example@proxy:1"),
            ("http://a@b.example@proxy:1", "http://a%40b.example@proxy:1"),
            ("http://corp%5cm%C3%A9@proxy:65535", "http://corp%5Cm%C3%A9@proxy:65535"),
        ] {
            let url: ProxyUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), normal, "{text}");
            assert_eq!(normal.parse::<ProxyUrl>().unwrap(), url);
            assert_eq!(serde_json::from_str::<ProxyUrl>(&format!("\"{normal}\"")).unwrap(), url);
        }
        let url: ProxyUrl = "socks5://corp%5Cme@proxy.example:1080".parse().unwrap();
        assert_eq!((url.scheme(), url.user(), url.port()), (ProxyScheme::Socks5, Some("corp\\me"), 1080));
        assert_eq!(*url.host(), ProxyHost::Name("proxy.example".to_owned()));
        assert_eq!(url.without_user().to_string(), "socks5://proxy.example:1080");
    }

    #[test]
    fn other_texts_are_refused_and_passwords_are_not_repeated() {
        let host = |found: &str| InvalidProxy::Host { found: found.to_owned() };
        for (text, expected) in [
            ("", InvalidProxy::NoScheme),
            ("proxy.example:3128", InvalidProxy::NoScheme),
            ("https://proxy:1", InvalidProxy::UnknownScheme { found: "https".to_owned() }),
            ("socks5h://proxy:1", InvalidProxy::UnknownScheme { found: "socks5h".to_owned() }),
            ("http://me:hunter2@proxy:1", InvalidProxy::Password),
            ("http://me:hun@ter2@proxy:1", InvalidProxy::Password),
            ("http://:@proxy:1", InvalidProxy::Password),
            ("http://@proxy:1", InvalidProxy::User),
            ("http://a%3Ab@proxy:1", InvalidProxy::User),
            ("http://a%0d%0aX@proxy:1", InvalidProxy::User),
            ("http://a%4@proxy:1", InvalidProxy::User),
            ("http://a%é@proxy:1", InvalidProxy::User),
            ("http://a%FF@proxy:1", InvalidProxy::User),
            ("http://", InvalidProxy::NoHost),
            ("http://:3128", InvalidProxy::NoHost),
            ("http://me@:3128", InvalidProxy::NoHost),
            ("http://a b:1", host("a b")),
            ("http://a..b:1", host("a..b")),
            ("http://127.1:1", host("127.1")),
            ("http://10.0.0.256:1", host("10.0.0.256")),
            ("http://[::1:1", host("[")),
            ("http://[1.2.3.4]:1", host("1.2.3.4")),
            ("http://[::1]x:1", host("[::1]x:1")),
            ("http://proxy", InvalidProxy::NoPort),
            ("http://[::1]", InvalidProxy::NoPort),
            ("http://proxy:0", InvalidProxy::Port { found: "0".to_owned() }),
            ("http://proxy:+1", InvalidProxy::Port { found: "+1".to_owned() }),
            ("http://proxy:65536", InvalidProxy::Port { found: "65536".to_owned() }),
            ("http://proxy:", InvalidProxy::Port { found: String::new() }),
            ("http://proxy:1/path", InvalidProxy::Path),
            ("http://proxy:1?x", InvalidProxy::Path),
        ] {
            let refused = text.parse::<ProxyUrl>().unwrap_err();
            assert_eq!(refused, expected, "{text}");
            assert!(!refused.to_string().contains("hunter2"));
        }
    }
}

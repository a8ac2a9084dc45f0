//! Addresses of name servers: `1.1.1.1`, `10.0.0.53:5353`, `2606:4700::1111`, `[fd00::53]:5353`.

use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::rule::Group;

/// The port of DNS.
const PORT: u16 = 53;

/// The address of a name server, and its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameServerAddress(SocketAddr);

/// The reason why a text is not the address of a name server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNameServer {
    /// It is not an address.
    #[error("`{text}` is not the address of a name server")]
    NotAnAddress {
        /// The text.
        text: String,
    },
    /// The port is not a number from 1 to 65535.
    #[error("`{text}` is not a port")]
    Port {
        /// The part after the address.
        text: String,
    },
    /// No server has this address.
    #[error("no server has the address {address}")]
    Unfit {
        /// The address.
        address: IpAddr,
    },
}

impl NameServerAddress {
    /// Returns the address and the port of its socket.
    pub fn socket(self) -> SocketAddr {
        self.0
    }

    /// Returns whether its address is public.
    pub fn is_public(self) -> bool {
        Group::Public.contains(&IpNet::from(self.0.ip()))
    }
}

impl fmt::Display for NameServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.port() == PORT { fmt::Display::fmt(&self.0.ip(), f) } else { fmt::Display::fmt(&self.0, f) }
    }
}

impl FromStr for NameServerAddress {
    type Err = InvalidNameServer;

    fn from_str(text: &str) -> Result<Self, InvalidNameServer> {
        let invalid = || InvalidNameServer::NotAnAddress { text: text.to_owned() };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(invalid)?,
            // An IPv6 address without brackets has several colons, and no port.
            None => match text.split_once(':') {
                Some((host, rest)) if !rest.contains(':') => (host, &text[host.len()..]),
                _ => (text, ""),
            },
        };
        let ip: IpAddr = host.parse().map_err(|_| invalid())?;
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => PORT,
            None => return Err(invalid()),
            Some(digits) => match digits.parse() {
                Ok(port) if port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => port,
                _ => return Err(InvalidNameServer::Port { text: digits.to_owned() }),
            },
        };
        let ip = ip.to_canonical();
        if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255; 4]) {
            return Err(InvalidNameServer::Unfit { address: ip });
        }
        Ok(Self(SocketAddr::new(ip, port)))
    }
}

crate::serde_as_text!(NameServerAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for (text, socket) in [
            ("1.1.1.1", "1.1.1.1:53"),
            ("10.0.0.53:5353", "10.0.0.53:5353"),
            ("2606:4700::1111", "[2606:4700::1111]:53"),
            ("[fd00::53]:5353", "[fd00::53]:5353"),
        ] {
            let address: NameServerAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.socket().to_string(), socket);
        }
        let address = |text: &str| text.parse::<NameServerAddress>();
        assert_eq!(address("[::1]").unwrap().to_string(), "::1");
        assert_eq!(address("1.1.1.1:53").unwrap().to_string(), "1.1.1.1");
        assert_eq!(address("::ffff:1.1.1.1").unwrap().to_string(), "1.1.1.1");
        for text in ["", "dns.example", "1.1.1", "[::1", "[::1]5353", "1.1.1.1 ", "[1.1.1.1"] {
            assert!(matches!(address(text), Err(InvalidNameServer::NotAnAddress { .. })), "{text}");
        }
        for text in ["1.1.1.1:", "1.1.1.1:0", "1.1.1.1:+53", "[::1]:65536"] {
            assert!(matches!(address(text), Err(InvalidNameServer::Port { .. })), "{text}");
        }
        for text in ["0.0.0.0", "::", "224.0.0.251", "255.255.255.255"] {
            assert!(matches!(address(text), Err(InvalidNameServer::Unfit { .. })), "{text}");
        }
    }

    #[test]
    fn public_ones_are_told_apart() {
        let is_public = |text: &str| text.parse::<NameServerAddress>().unwrap().is_public();
        assert!(is_public("1.1.1.1") && is_public("2606:4700::1111"));
        assert!(!is_public("127.0.0.53") && !is_public("10.0.0.53") && !is_public("::ffff:10.0.0.1"));
    }
}

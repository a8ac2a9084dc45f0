//! Ports of the host that lead into a sandbox.

use crate::error::{Error, Result};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};

/// The protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the host that leads into a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Port {
    /// The address of the host.
    pub bind: IpAddr,
    /// The port of the host; 0 takes a free one, which [`Sandbox::ports`](crate::Sandbox::ports) has.
    pub host: u16,
    /// The port in the sandbox.
    pub guest: u16,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

impl Port {
    /// A TCP port of 127.0.0.1.
    pub fn tcp(host: u16, guest: u16) -> Self {
        Self { bind: Ipv4Addr::LOCALHOST.into(), host, guest, protocol: Protocol::Tcp }
    }

    /// A UDP port of 127.0.0.1.
    pub fn udp(host: u16, guest: u16) -> Self {
        Self { protocol: Protocol::Udp, ..Self::tcp(host, guest) }
    }

    /// Sets the address of the host.
    pub fn bind(self, bind: IpAddr) -> Self {
        Self { bind, ..self }
    }

    pub(crate) fn argument(&self) -> Result<String> {
        if self.guest == 0 {
            return Err(Error::invalid("the guest port is from 1 to 65535"));
        }
        let bind = match self.bind {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let protocol = if self.protocol == Protocol::Udp { "/udp" } else { "" };
        Ok(format!("{bind}:{}:{}{protocol}", self.host, self.guest))
    }

    /// Parses `[BIND:]HOST:GUEST[/PROTOCOL]`, as `ps` has it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (numbers, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.split('/').next()?, Protocol::Tcp),
            Some((numbers, "udp")) => (numbers, Protocol::Udp),
            Some(_) => return None,
        };
        let (rest, guest) = numbers.rsplit_once(':')?;
        let (bind, host) = rest.rsplit_once(':').unwrap_or(("127.0.0.1", rest));
        let bind = bind.trim_matches(['[', ']']).parse().ok()?;
        Some(Self { bind, host: host.parse().ok()?, guest: guest.parse().ok()?, protocol })
    }

    /// Returns ports with those of the host that are in use, which `ps` has in the same order.
    pub(crate) fn real(declared: Vec<Self>, listed: &[String]) -> Vec<Self> {
        let parsed: Option<Vec<Self>> = listed.iter().map(|text| Self::parse(text)).collect();
        match parsed {
            Some(real) if real.iter().map(|port| port.guest).eq(declared.iter().map(|port| port.guest)) => {
                declared.iter().zip(real).map(|(port, now)| Self { host: now.host, ..*port }).collect()
            }
            _ => declared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_and_read_in_the_same_form() {
        for port in [Port::tcp(80, 8080), Port::udp(0, 53), Port::tcp(1, 2).bind("::1".parse().unwrap())] {
            assert_eq!(Port::parse(&port.argument().unwrap()), Some(port));
        }
        assert_eq!(Port::parse("41681:8080"), Some(Port::tcp(41681, 8080)));
        assert_eq!(Port::parse("x:8080"), None);
        assert_eq!(Port::tcp(80, 0).argument().unwrap_err().code(), "invalid-argument");
    }

    #[test]
    fn a_free_port_is_replaced_by_the_real_one() {
        let declared = vec![Port::tcp(0, 80), Port::udp(0, 53)];
        let real = Port::real(declared.clone(), &["4000:80".into(), "4001:53/udp".into()]);
        assert_eq!(real, [Port::tcp(4000, 80), Port::udp(4001, 53)]);
        assert_eq!(Port::real(declared.clone(), &["4000:81".into()]), declared);
    }
}

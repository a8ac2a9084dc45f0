//! Configures the network interface: addresses, routes and name servers of the boot document.
//!
//! The few rtnetlink(7) messages are encoded by hand.

use std::fs::{create_dir_all, read_to_string, remove_file, write};
use std::net::IpAddr;

use protocol::latest::Network;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink, recv, sendto,
    socket_with,
};

use crate::root::{RootError, step};

/// The name of the only network interface.
const INTERFACE: &str = "eth0";
/// The path of the list of name servers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
/// NLM_F_REQUEST and NLM_F_ACK.
const REQUEST_FLAGS: u16 = 0x1 | 0x4;
/// The same with NLM_F_CREATE and NLM_F_REPLACE, which RTM_NEWLINK does not support for an existing link.
const REPLACE_FLAGS: u16 = REQUEST_FLAGS | 0x400 | 0x100;
const NLMSG_ERROR: u16 = 2;
const HEADER_BYTES: usize = 16;

const IFF_UP: u32 = 1;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Skips duplicate address detection, which takes a second: the link has one other end.
const IFA_F_NODAD: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;

/// Brings the interface up. Returns its addresses.
pub fn configure(network: &Network) -> Result<Vec<IpAddr>, RootError> {
    let mut own = Vec::new();
    let index = interface_index()?;
    let mut link = vec![0, 0, 0, 0];
    link.extend(index.to_ne_bytes());
    link.extend(IFF_UP.to_ne_bytes());
    link.extend(IFF_UP.to_ne_bytes());
    attribute(&mut link, IFLA_MTU, &u32::from(network.mtu).to_ne_bytes());
    step(request(RTM_NEWLINK, &link), "bring the network interface up")?;
    for text in &network.addresses {
        let (address, prefix) = address_and_prefix(text)?;
        let mut message = vec![family(address), prefix, IFA_F_NODAD, 0];
        message.extend(index.to_ne_bytes());
        attribute(&mut message, IFA_LOCAL, &octets(address));
        attribute(&mut message, IFA_ADDRESS, &octets(address));
        step(request(RTM_NEWADDR, &message), format!("set the address {text}"))?;
        own.push(address);
    }
    for text in &network.gateways {
        let gateway = address_of(text)?;
        let mut message =
            vec![family(gateway), 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST, 0, 0, 0, 0];
        attribute(&mut message, RTA_GATEWAY, &octets(gateway));
        attribute(&mut message, RTA_OIF, &index.to_ne_bytes());
        step(request(RTM_NEWROUTE, &message), format!("set the route by {text}"))?;
    }
    Ok(own)
}

/// Writes the list of name servers, and the domains in which names without a dot are looked up.
pub fn write_resolv_conf(Network { nameservers, search, .. }: &Network) -> Result<(), RootError> {
    let lines = nameservers.iter().map(|server| Ok(format!("nameserver {}\n", address_of(server)?)));
    let mut text = lines.collect::<Result<String, RootError>>()?;
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    step(create_dir_all("/etc"), "make /etc")?;
    // An image may have a dangling link there.
    let _ = remove_file(RESOLV_CONF);
    step(write(RESOLV_CONF, text), format!("write {RESOLV_CONF}"))
}

fn interface_index() -> Result<u32, RootError> {
    let path = format!("/sys/class/net/{INTERFACE}/ifindex");
    let text = step(read_to_string(path), "find the network interface")?;
    text.trim().parse().map_err(|_| invalid_address(&text))
}

fn invalid_address(text: &str) -> RootError {
    let source = std::io::ErrorKind::InvalidData.into();
    RootError::Step { step: format!("understand '{text}' as an address"), source }
}

fn address_of(text: &str) -> Result<IpAddr, RootError> {
    text.parse().map_err(|_| invalid_address(text))
}

fn address_and_prefix(text: &str) -> Result<(IpAddr, u8), RootError> {
    let parts = text.split_once('/').and_then(|(address, prefix)| {
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        Some((address, prefix.parse().ok().filter(|prefix| *prefix <= most)?))
    });
    parts.ok_or_else(|| invalid_address(text))
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    u8::try_from(family.as_raw()).unwrap_or_default()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

/// Appends an attribute: length, type, value, and padding to four bytes.
fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn encode(kind: u16, body: &[u8]) -> Vec<u8> {
    let flags = if kind == RTM_NEWLINK { REQUEST_FLAGS } else { REPLACE_FLAGS };
    let length = u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and port id; the kernel fills in the latter.
    message.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    message.extend(body);
    message
}

/// Sends a request and waits for the acknowledgement.
fn request(kind: u16, body: &[u8]) -> Result<(), Errno> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, &encode(kind, body), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 1024];
    let (_, count) = recv(&socket, &mut answer, RecvFlags::empty())?;
    match answer.get(..count).and_then(error_in) {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw_os_error(error.saturating_neg())),
        None => Err(Errno::PROTO),
    }
}

/// The errno in an acknowledgement, 0 for success; `None` if it is not one.
fn error_in(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let error = i32::from_ne_bytes(answer.get(HEADER_BYTES..HEADER_BYTES + 4)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_padded_and_counted() {
        let mut body = vec![2, 30, 2, 0];
        attribute(&mut body, IFA_LOCAL, &[1, 2, 3]);
        assert_eq!(body[4..], [7, 0, 2, 0, 1, 2, 3, 0]);
        let message = encode(RTM_NEWADDR, &body);
        assert_eq!(message.len(), 28);
        assert_eq!(message[..8], [28, 0, 0, 0, 20, 0, 5, 5]);
    }

    #[test]
    fn answers_are_read() {
        let mut answer = encode(NLMSG_ERROR, &(-17i32).to_ne_bytes());
        assert_eq!(error_in(&answer), Some(-17));
        answer[4] = 3;
        assert_eq!(error_in(&answer), None);
        assert_eq!(error_in(&answer[..10]), None);
    }

    #[test]
    fn addresses_are_checked() {
        assert_eq!(address_and_prefix("172.16.0.2/30").unwrap(), ("172.16.0.2".parse().unwrap(), 30));
        for text in ["172.16.0.2", "172.16.0.2/33", "fd42::2/129", "x/1", "1.2.3.4/"] {
            assert!(address_and_prefix(text).is_err(), "{text}");
        }
    }
}

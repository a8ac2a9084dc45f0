//! Finds out which processes hold ports of the host, from the kernel's socket tables (proc_net(5)).

use rules::port::binds_overlap;
use schemas::spec::{Port, PortProtocol};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A socket that prevents binding to a port of the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldSocket {
    /// The host's address.
    pub bind: IpAddr,
    /// The host's port.
    pub host: u16,
    /// The transport protocol.
    pub protocol: PortProtocol,
    /// The socket's inode, which identifies its process.
    inode: u64,
}

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The command name.
    pub name: String,
    /// The process id.
    pub pid: u32,
}

/// Finds the sockets that prevent binding to these ports.
///
/// They come from the kernel's tables, as a trial bind would take the port for a moment. Only what the tables do not
/// say is tried: whether a socket on `::` accepts IPv4 as well.
pub fn held(ports: &BTreeSet<Port>) -> BTreeSet<HeldSocket> {
    let mut held = BTreeSet::new();
    for protocol in [PortProtocol::Tcp, PortProtocol::Udp] {
        let wanted: Vec<_> =
            ports.iter().filter(|port| port.protocol == protocol && port.host != 0).collect();
        if wanted.is_empty() {
            continue;
        }
        held.extend(listening_sockets(protocol).into_iter().filter(|socket| {
            wanted.iter().any(|port| {
                port.host == socket.host
                    && binds_overlap(port.bind, socket.bind)
                    && (port.bind.is_ipv4() == socket.bind.is_ipv4() || is_taken(port))
            })
        }));
    }
    held
}

fn is_taken(port: &Port) -> bool {
    let address = SocketAddr::new(port.bind, port.host);
    let tried = match port.protocol {
        PortProtocol::Tcp => std::net::TcpListener::bind(address).map(drop),
        PortProtocol::Udp => std::net::UdpSocket::bind(address).map(drop),
    };
    tried.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

/// The processes that hold sockets, as far as this user may see them.
pub fn programs<'a>(
    listening_sockets: impl IntoIterator<Item = &'a HeldSocket>,
) -> BTreeMap<HeldSocket, Program> {
    let mut open: Vec<_> =
        listening_sockets.into_iter().map(|socket| (format!("socket:[{}]", socket.inode), socket)).collect();
    let mut found = BTreeMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if open.is_empty() {
            break;
        }
        // `self` is an alias of this process.
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let descriptor_links = descriptor_links(&process.path());
        if !open.iter().any(|(link, _)| descriptor_links.contains(link)) {
            continue;
        }
        let Ok(name) = fs::read_to_string(process.path().join("comm")) else { continue };
        let program = Program { name: name.trim_end().to_owned(), pid };
        open.retain(|(link, socket)| {
            let is_its = descriptor_links.contains(link);
            if is_its {
                found.insert((*socket).clone(), program.clone());
            }
            !is_its
        });
    }
    found
}

/// The link targets of a process's descriptors.
fn descriptor_links(process: &Path) -> BTreeSet<String> {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let descriptor_links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    descriptor_links.filter_map(|link| link.into_os_string().into_string().ok()).collect()
}

/// The bound sockets of a protocol: for TCP only listening ones.
fn listening_sockets(protocol: PortProtocol) -> Vec<HeldSocket> {
    let tables: &[&str] = match protocol {
        PortProtocol::Tcp => &["/proc/net/tcp", "/proc/net/tcp6"],
        PortProtocol::Udp => &["/proc/net/udp", "/proc/net/udp6"],
    };
    let texts = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
    texts
        .flat_map(|text| text.lines().filter_map(|line| parse_socket(line, protocol)).collect::<Vec<_>>())
        .collect()
}

/// Parses a line of a table; `None` for a TCP connection, which does not prevent listening.
fn parse_socket(line: &str, protocol: PortProtocol) -> Option<HeldSocket> {
    const LISTENS: &str = "0A";
    let mut fields = line.split_whitespace();
    let (address, host) = fields.nth(1)?.rsplit_once(':')?;
    let (state, inode) = (fields.nth(1)?, fields.nth(5)?);
    if protocol == PortProtocol::Tcp && state != LISTENS {
        return None;
    }
    let host = u16::from_str_radix(host, 16).ok()?;
    Some(HeldSocket { bind: parse_address(address)?, host, protocol, inode: inode.parse().ok()? })
}

/// Parses 32-bit words that the kernel prints in its own byte order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let number = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        Some(number.to_ne_bytes())
    };
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut octets = [0; 16];
            for (index, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            // A dual-stack socket that is bound to an IPv4 address.
            Some(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    fn port(text: &str) -> Port {
        text.parse().unwrap()
    }

    #[test]
    fn socket_table_lines_are_parsed() {
        let line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0";
        let read = parse_socket(line, PortProtocol::Tcp).unwrap();
        assert_eq!((read.bind.to_string().as_str(), read.host, read.inode), ("127.0.0.1", 8080, 4711));
        let six = line.replace("0100007F", "00000000000000000000000001000000");
        assert_eq!(parse_socket(&six, PortProtocol::Tcp).unwrap().bind.to_string(), "::1");
        let mapped = line.replace("0100007F", "0000000000000000FFFF00000100007F");
        assert_eq!(parse_socket(&mapped, PortProtocol::Tcp).unwrap().bind.to_string(), "127.0.0.1");
        let connected = line.replace(" 0A ", " 01 ");
        assert_eq!(parse_socket(&connected, PortProtocol::Tcp), None);
        assert!(parse_socket(&connected, PortProtocol::Udp).is_some());
        for broken in
            ["", "sl local", "1: 0100007F", "1: x:1F90 0:0 0A 0 0 0 0 0 1", "1: 0:1F90 0:0 0A 0 0 0 0 0 1"]
        {
            assert_eq!(parse_socket(broken, PortProtocol::Udp), None, "{broken}");
        }
    }

    #[test]
    fn a_listener_holds_its_port_on_its_address_and_a_wildcard_on_all() {
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = own.local_addr().unwrap().port();
        for (text, is_held) in [
            (format!("{number}:80"), true),
            (format!("0.0.0.0:{number}:80"), true),
            (format!("[::]:{number}:80"), true),
            (format!("127.0.0.2:{number}:80"), false),
            (format!("[::1]:{number}:80"), false),
            (format!("{number}:80/udp"), false),
        ] {
            let held = held(&[port(&text)].into());
            assert_eq!(held.len(), usize::from(is_held), "{text}");
            // Binding gives the same result.
            assert_eq!(crate::published::bind(&[port(&text)].into()).is_err(), is_held, "{text}");
        }
        let wide = TcpListener::bind("[::]:0").unwrap();
        let number = wide.local_addr().unwrap().port();
        for text in [format!("{number}:80"), format!("[::1]:{number}:80"), format!("0.0.0.0:{number}:80")] {
            assert_eq!(held(&[port(&text)].into()).len(), 1, "{text}");
        }
        let found = held(&[port(&format!("{number}:80"))].into());
        let programs = programs(&found);
        assert_eq!(programs.len(), 1);
        assert!(
            programs.values().all(|program| program.pid == std::process::id() && !program.name.is_empty())
        );
    }

    #[test]
    fn tcp_connections_do_not_hold_a_port_and_udp_sockets_do() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let number = client.local_addr().unwrap().port();
        assert!(held(&[port(&format!("{number}:80"))].into()).is_empty());
        let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        one.connect(other.local_addr().unwrap()).unwrap();
        for socket in [one, other] {
            let number = socket.local_addr().unwrap().port();
            assert_eq!(held(&[port(&format!("{number}:80/udp"))].into()).len(), 1);
        }
    }
}

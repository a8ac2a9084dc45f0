//! Ports of the host for tests that must name one before it is listened on.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Mutex, PoisonError};

/// Below the ports that the kernel gives out by itself, so that no connection of any program has one by chance.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// The reservations of this process: sockets without a file, whose names no other process can have meanwhile.
static RESERVED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// Returns a port on which nobody listens, over TCP or UDP, and that no other test of this machine is given before this
/// process ends.
pub fn free() -> u16 {
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    for offset in 0..COUNT {
        let port = FIRST + (start + offset) % COUNT;
        let Some(reservation) = reserve(port) else { continue };
        if TcpListener::bind(("0.0.0.0", port)).is_ok()
            && TcpListener::bind(("::1", port)).is_ok()
            && UdpSocket::bind(("0.0.0.0", port)).is_ok()
        {
            RESERVED.lock().unwrap_or_else(PoisonError::into_inner).push(reservation);
            return port;
        }
    }
    panic!("no port of {FIRST} to {} is free", FIRST + COUNT - 1);
}

fn reserve(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("msb-test-port-{port}")).ok()?;
    UnixListener::bind_addr(&name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_once_and_listened_on_by_nobody() {
        let ports: Vec<u16> = (0..20).map(|_| free()).collect();
        let listeners: Vec<_> = ports.iter().map(|port| TcpListener::bind(("127.0.0.1", *port))).collect();
        assert!(listeners.iter().all(Result::is_ok), "{ports:?}");
        assert!(ports.iter().all(|port| (FIRST..FIRST + COUNT).contains(port)), "{ports:?}");
        assert!(reserve(ports[0]).is_none(), "another process could take it");
    }
}

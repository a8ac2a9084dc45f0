//! Ports of the host for tests that must name one before they listen on it.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Mutex, PoisonError};

/// Below the kernel's ephemeral ports, so that no connection of another program uses one.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// The reservations of this process: abstract sockets, whose names no other process can bind.
static RESERVED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// Reserves a port that is unused over TCP and UDP. No other test on this machine gets it before this process ends.
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

//! Published ports: ports of the host that lead into the sandbox.

use crate::holder::{self, Program};
use schemas::spec::{Port, PortProtocol};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

/// A bound port.
#[derive(Debug)]
pub struct BoundPort {
    /// As requested.
    pub port: Port,
    /// The bound port of the host.
    pub host: u16,
    pub(crate) socket: Listening,
}

#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Why a port cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Another process has it.
    #[error("{} is taken{}: publish another port, or stop who has it", shown(port), by(holder.as_ref()))]
    Taken {
        /// The port.
        port: Port,
        /// The process that has it, if it is visible.
        holder: Option<String>,
    },
    /// Any other failure.
    #[error("cannot listen on {}", shown(port))]
    Listen {
        /// The port.
        port: Port,
        /// The cause.
        source: io::Error,
    },
}

fn shown(port: &Port) -> String {
    format!("port {} of the host's address {}", port.host, port.bind)
}

fn by(holder: Option<&String>) -> String {
    holder.map(|holder| format!(" by {holder}")).unwrap_or_default()
}

/// Binds all ports.
///
/// # Errors
///
/// If one of them cannot be bound; then none is.
pub fn bind(ports: &BTreeSet<Port>) -> Result<Vec<BoundPort>, PortError> {
    ports.iter().map(|port| bind_one(*port)).collect()
}

fn bind_one(port: Port) -> Result<BoundPort, PortError> {
    let address = SocketAddr::new(port.bind, port.host);
    let bound = match port.protocol {
        PortProtocol::Tcp => TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?.port(), Listening::Tcp(listener)))
        }),
        PortProtocol::Udp => UdpSocket::bind(address).and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?.port(), Listening::Udp(socket)))
        }),
    };
    match bound {
        Ok((host, socket)) => Ok(BoundPort { port, host, socket }),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(PortError::Taken { port, holder: holder(port) })
        }
        Err(source) => Err(PortError::Listen { port, source }),
    }
}

/// The process that listens on a port, if this user may see it.
fn holder(port: Port) -> Option<String> {
    let held = holder::held(&[port].into());
    let Program { name, pid } = holder::programs(&held).into_values().next()?;
    Some(format!("{name} (pid {pid})"))
}

impl BoundPort {
    /// The bound address.
    pub fn address(&self) -> (IpAddr, u16) {
        (self.port.bind, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_owner_and_port_0_binds_a_free_one() {
        let free = bind(&["0:80".parse().unwrap()].into()).unwrap();
        let taken: Port = format!("{}:81", free[0].host).parse().unwrap();
        let error = bind(&[taken].into()).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(
            error.starts_with(&format!("port {} of the host's address 127.0.0.1 is taken by ", free[0].host))
        );
        assert!(error.contains(&format!("(pid {pid})")), "{error}");
        let udp = bind(&["0:53/udp".parse().unwrap()].into()).unwrap();
        assert!(udp[0].host != 0 && matches!(udp[0].socket, Listening::Udp(_)));
    }
}

//! Ports of the host that lead into the sandbox.

use crate::holder::{self, Program};
use schemas::spec::{Port, PortProtocol};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

/// A port that is listened on.
#[derive(Debug)]
pub struct BoundPort {
    /// As it was asked for.
    pub port: Port,
    /// The host's port that it came to.
    pub host: u16,
    pub(crate) socket: Listening,
}

#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Somebody else has it.
    #[error("{} is taken{}: publish another port, or stop who has it", shown(port), by(holder.as_ref()))]
    Taken {
        /// The port.
        port: Port,
        /// Who has it, if that can be seen.
        holder: Option<String>,
    },
    /// Another reason.
    #[error("cannot listen on {}", shown(port))]
    Listen {
        /// The port.
        port: Port,
        /// Why.
        source: io::Error,
    },
}

fn shown(port: &Port) -> String {
    format!("port {} of the host's address {}", port.host, port.bind)
}

fn by(holder: Option<&String>) -> String {
    holder.map(|holder| format!(" by {holder}")).unwrap_or_default()
}

/// Listens on ports; on all of them, or on none.
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

/// The program that listens on a port, as far as this user may see it.
fn holder(port: Port) -> Option<String> {
    let held = holder::held(&[port].into());
    let Program { name, pid } = holder::programs(&held).into_values().next()?;
    Some(format!("{name} (pid {pid})"))
}

impl BoundPort {
    /// Where it is reached.
    pub fn address(&self) -> (IpAddr, u16) {
        (self.port.bind, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder_and_a_free_one_is_found() {
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

//! Connections and packets between this sandbox and its peers.

use super::budget::FlowKind;
use super::ports::ACCEPT_RETRY;
use super::tcp::Flow;
use super::udp::UdpFlow;
use super::{FlowKey, Worker};
use crate::event::Subject;
use crate::host;
use crate::peer::{self, ConnectRequest, PeerDirectory, Received, Transport};
use crate::policy::{Connection, FlowDirection, Locality};
use crate::poller::Token;
use crate::wire::{Packet, Unreachable};
use rules::rule::{DomainName, Protocol};
use schemas::name::{ProjectName, SandboxName};
use std::collections::HashMap;
use std::io;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The limit of control connections without a request.
const PENDING_MAX: usize = 256;
/// How long a control connection may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The control socket, and its connections without a request.
pub(super) struct Peers {
    pub(super) project: ProjectName,
    pub(super) name: SandboxName,
    listener: OwnedFd,
    pending: HashMap<u64, (OwnedFd, Instant)>,
    /// When to accept again after running out of descriptors.
    retry: Option<Instant>,
}

impl Peers {
    pub(super) fn purge(&mut self, now: Instant) {
        self.pending.retain(|_, (_, since)| now.saturating_duration_since(*since) < REQUEST_TIMEOUT);
    }
}

impl Worker {
    pub(super) fn join_project(&mut self, peers: PeerDirectory) -> io::Result<()> {
        let PeerDirectory { project, name, listener, lookup } = peers;
        self.poller.add(&listener, Token::Peers)?;
        self.names.set_peers(lookup);
        self.peers = Some(Peers { project, name, listener, pending: HashMap::new(), retry: None });
        Ok(())
    }

    /// Whether an address is a peer's that the guest has resolved.
    pub(super) fn is_peer(&self, key: &FlowKey) -> bool {
        self.names.is_peer(key.remote.ip())
    }

    /// Sends one end of a connection to a peer.
    fn request(
        &self,
        key: FlowKey,
        transport: Transport,
        end: impl std::os::fd::AsFd,
    ) -> io::Result<OwnedFd> {
        let absent = io::ErrorKind::ConnectionRefused;
        let Some(Peers { project, name, .. }) = &self.peers else { return Err(absent.into()) };
        // It is looked up each time: the peer may have been replaced, and its address reused.
        let peer = self.names.peer_at(key.remote.ip()).ok_or(absent)?;
        let request = ConnectRequest {
            project: project.clone(),
            name: name.clone(),
            from: key.guest,
            to: key.remote,
            transport,
        };
        peer::send_request(&peer.socket, &request, end)
    }

    /// Starts a connection to a peer.
    pub(super) fn connect_peer(&mut self, key: FlowKey, packet: &Packet<'_>, names: Arc<[DomainName]>) {
        let Some(grant) = self.reserve_outbound(FlowKind::Outbound, key, packet) else { return };
        let connected =
            peer::tcp_pair().and_then(|(near, far)| Ok((near, self.request(key, Transport::Tcp, &far)?)));
        match connected {
            Ok((near, control)) => {
                let mut flow = Flow::outbound(key, near, packet.bytes.to_vec(), grant);
                (flow.names, flow.control, flow.locality) = (names, Some(control), Locality::Peer);
                let id = self.insert_flow(flow);
                let watched = self
                    .flows
                    .get(&id)
                    .and_then(|flow| flow.control.as_ref())
                    .map(|control| self.add(control, Token::Tcp(id)));
                if watched != Some(true) {
                    self.remove_flow(id);
                }
            }
            Err(error) => {
                tracing::debug!("{}: {error}", key.remote);
                self.budget.release(grant);
                self.refuse_tcp(packet.bytes);
            }
        }
    }

    /// Starts a UDP flow to a peer.
    pub(super) fn open_peer_udp(&mut self, key: FlowKey, packet: &Packet<'_>) -> Option<u64> {
        let connected =
            peer::udp_pair().and_then(|(near, far)| Ok((near, self.request(key, Transport::Udp, &far)?)));
        match connected {
            // A refusal closes the socket, which is noticed later.
            Ok((near, _line)) => Some(self.insert_udp_flow(key, near)),
            Err(error) => {
                tracing::debug!("{}: {error}", key.remote);
                self.unreachable(packet, Unreachable::Port);
                None
            }
        }
    }

    /// When to accept control connections again.
    pub(super) fn peers_retry_at(&self) -> Option<Instant> {
        self.peers.as_ref().and_then(|peers| peers.retry)
    }

    /// Accepts control connections again if it is time.
    pub(super) fn retry_peers(&mut self) {
        let due = |retry: &mut Instant| *retry <= self.now;
        if let Some(peers) = &mut self.peers
            && peers.retry.take_if(due).is_some()
        {
            self.accept_callers();
        }
    }

    /// Accepts pending control connections.
    pub(super) fn accept_callers(&mut self) {
        loop {
            let Some(peers) = &self.peers else { return };
            let control = match peer::accept_caller(&peers.listener) {
                Ok(Some(control)) => control,
                Ok(None) => return,
                Err(error) => {
                    self.warn_rate_limited("the control socket for peers", &error);
                    let retry = Some(self.now + ACCEPT_RETRY);
                    if let Some(peers) = &mut self.peers {
                        peers.retry = retry;
                    }
                    return;
                }
            };
            if peers.pending.len() >= PENDING_MAX {
                continue;
            }
            let id = self.next_id();
            if self.add(&control, Token::Caller(id))
                && let Some(peers) = &mut self.peers
            {
                peers.pending.insert(id, (control, self.now));
            }
        }
    }

    /// Reads the request of a control connection.
    pub(super) fn read_request(&mut self, id: u64) {
        let Some(peers) = &mut self.peers else { return };
        let Some((control, _)) = peers.pending.get(&id) else { return };
        let received = peer::receive_request(control);
        if matches!(received, Received::Pending) {
            return;
        }
        let Some((control, _)) = peers.pending.remove(&id) else { return };
        // Dropping the control connection refuses the request.
        if let Received::Request(request, end) = received
            && request.project == peers.project
            && self.addresses.is_guest(request.to.ip())
            && request.from.is_ipv4() == request.to.is_ipv4()
            && request.to.port() != 0
        {
            self.handle_request(&request, end, control);
        }
    }

    fn handle_request(&mut self, request: &ConnectRequest, end: OwnedFd, control: OwnedFd) {
        let key = FlowKey { guest: request.to, remote: request.from };
        let Ok(name) = DomainName::new(request.name.as_str()) else { return };
        let names: Arc<[DomainName]> = Arc::new([name]);
        let protocol = match request.transport {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
        };
        let connection = Connection {
            direction: FlowDirection::Inbound,
            protocol,
            address: key.remote.ip(),
            port: Some(key.guest.port()),
            names: &names,
            locality: Locality::Peer,
        };
        let verdict = self.policy.decide(&connection);
        if !verdict.allowed {
            let reason = self.policy.reason(&verdict);
            let subject = Subject::inbound(protocol, key.remote.ip(), key.guest.port(), names.first());
            return self.refuse(subject, reason);
        }
        match request.transport {
            Transport::Tcp => {
                if self.flow_of.contains_key(&key) {
                    return;
                }
                let Some(grant) = self.budget.reserve(FlowKind::Peers) else { return };
                let stream = TcpStream::from(end);
                let _ = stream.set_nonblocking(true);
                let Some(mut flow) = Flow::inbound(key, stream, &mut self.interface, grant) else {
                    return self.budget.release(grant);
                };
                (flow.names, flow.control, flow.locality) = (names, Some(control), Locality::Peer);
                let id = self.insert_flow(flow);
                self.watch_host(id);
            }
            Transport::Udp => {
                let socket = UdpSocket::from(end);
                if self.udp.is_open(&key)
                    || self.udp.is_full(&self.budget)
                    || socket.set_nonblocking(true).is_err()
                {
                    return;
                }
                self.record_inbound(Protocol::Udp, key.remote.ip(), key.guest.port(), names.first().cloned());
                let id = self.insert_udp_flow(key, socket);
                self.udp_ready(id);
            }
        }
    }

    /// Adds a UDP flow; returns its number.
    pub(super) fn insert_udp_flow(&mut self, key: FlowKey, socket: UdpSocket) -> u64 {
        let id = self.next_id();
        self.add(&socket, Token::Udp(id));
        self.udp.insert(id, UdpFlow { key, socket, used: self.now });
        id
    }

    /// Whether a pending connection has succeeded; `None` while that is unknown.
    pub(super) fn has_connected(flow: &Flow, writable: bool) -> Option<io::Result<()>> {
        if let Some(control) = &flow.control {
            let answer = peer::is_confirmed(control)?;
            return Some(if answer { Ok(()) } else { Err(io::ErrorKind::ConnectionRefused.into()) });
        }
        writable.then(|| match &flow.endpoint {
            super::tcp::Endpoint::Host(stream) => match host::error_of(stream) {
                Some(error) => Err(error),
                None => Ok(()),
            },
            super::tcp::Endpoint::NameServer(_) | super::tcp::Endpoint::Pending(_) => Ok(()),
        })
    }
}

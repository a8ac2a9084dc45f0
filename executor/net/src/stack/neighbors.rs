//! Connections and packets between this sandbox and others of its project.

use super::budget::Side;
use super::ports::ACCEPT_RETRY;
use super::tcp::Flow;
use super::udp::Conversation;
use super::{Key, Worker};
use crate::host;
use crate::neighbor::{self, Call, Carried, Heard, Neighborhood};
use crate::policy::{Connection, Place, Way};
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

/// How many callers may be about to say what they want.
const LINES_MAX: usize = 256;
/// How long they may take.
const LINE_PATIENCE: Duration = Duration::from_secs(5);

/// Where the others call, and who is about to say what it wants.
pub(super) struct Neighbors {
    pub(super) project: ProjectName,
    pub(super) name: SandboxName,
    listener: OwnedFd,
    lines: HashMap<u64, (OwnedFd, Instant)>,
    /// When to look again for callers that there was no descriptor for.
    retry: Option<Instant>,
}

impl Neighbors {
    pub(super) fn purge(&mut self, now: Instant) {
        self.lines.retain(|_, (_, since)| now.saturating_duration_since(*since) < LINE_PATIENCE);
    }
}

impl Worker {
    pub(super) fn join(&mut self, neighborhood: Neighborhood) -> io::Result<()> {
        let Neighborhood { project, name, listener, find } = neighborhood;
        self.poller.add(&listener, Token::Neighbors)?;
        self.names.set_neighbors(find);
        self.neighbors = Some(Neighbors { project, name, listener, lines: HashMap::new(), retry: None });
        Ok(())
    }

    /// Whether an address is another sandbox's, which the guest has asked for by name.
    pub(super) fn is_neighbor(&self, key: &Key) -> bool {
        self.names.is_neighbor(key.remote.ip())
    }

    /// Hands one end of a connection to the sandbox that is called.
    fn call(&self, key: Key, carried: Carried, end: impl std::os::fd::AsFd) -> io::Result<OwnedFd> {
        let absent = io::ErrorKind::ConnectionRefused;
        let Some(Neighbors { project, name, .. }) = &self.neighbors else { return Err(absent.into()) };
        // Anew for each: it may have been replaced, and its address be another's.
        let neighbor = self.names.neighbor_at(key.remote.ip()).ok_or(absent)?;
        let call =
            Call { project: project.clone(), name: name.clone(), from: key.guest, to: key.remote, carried };
        neighbor::call(&neighbor.socket, &call, end)
    }

    /// Begins a connection to another sandbox.
    pub(super) fn connect_neighbor(&mut self, key: Key, packet: &Packet<'_>, names: Arc<[DomainName]>) {
        let Some(grant) = self.grant_out(Side::Outbound, key, packet) else { return };
        let called =
            neighbor::tcp_pair().and_then(|(near, far)| Ok((near, self.call(key, Carried::Tcp, &far)?)));
        match called {
            Ok((near, line)) => {
                let mut flow = Flow::outward(key, near, packet.bytes.to_vec(), grant);
                (flow.names, flow.line) = (names, Some(line));
                let id = self.keep(flow);
                let watched = self
                    .flows
                    .get(&id)
                    .and_then(|flow| flow.line.as_ref())
                    .map(|line| self.add(line, Token::Tcp(id)));
                if watched != Some(true) {
                    self.forget(id);
                }
            }
            Err(error) => {
                tracing::debug!("{}: {error}", key.remote);
                self.budget.give_back(grant);
                self.refuse_tcp(packet.bytes);
            }
        }
    }

    /// Begins to send packets to another sandbox.
    pub(super) fn packets_to_neighbor(&mut self, key: Key, packet: &Packet<'_>) -> Option<u64> {
        let called =
            neighbor::udp_pair().and_then(|(near, far)| Ok((near, self.call(key, Carried::Udp, &far)?)));
        match called {
            // Whether it is refused the packets themselves will show.
            Ok((near, _line)) => Some(self.converse(key, near)),
            Err(error) => {
                tracing::debug!("{}: {error}", key.remote);
                self.unreachable(packet, Unreachable::Port);
                None
            }
        }
    }

    /// When callers are to be looked for again.
    pub(super) fn retry_neighbors(&self) -> Option<Instant> {
        self.neighbors.as_ref().and_then(|neighbors| neighbors.retry)
    }

    /// Looks for callers again, if it is time.
    pub(super) fn resume_neighbors(&mut self) {
        let due = |retry: &mut Instant| *retry <= self.now;
        if let Some(neighbors) = &mut self.neighbors
            && neighbors.retry.take_if(due).is_some()
        {
            self.take_callers();
        }
    }

    /// Takes those who call.
    pub(super) fn take_callers(&mut self) {
        loop {
            let Some(neighbors) = &self.neighbors else { return };
            let line = match neighbor::take_caller(&neighbors.listener) {
                Ok(Some(line)) => line,
                Ok(None) => return,
                Err(error) => {
                    self.complain("the socket for other sandboxes", &error);
                    let retry = Some(self.now + ACCEPT_RETRY);
                    if let Some(neighbors) = &mut self.neighbors {
                        neighbors.retry = retry;
                    }
                    return;
                }
            };
            if neighbors.lines.len() >= LINES_MAX {
                continue;
            }
            let id = self.number();
            if self.add(&line, Token::Caller(id))
                && let Some(neighbors) = &mut self.neighbors
            {
                neighbors.lines.insert(id, (line, self.now));
            }
        }
    }

    /// Hears what a caller wants.
    pub(super) fn hear_caller(&mut self, id: u64) {
        let Some(neighbors) = &mut self.neighbors else { return };
        let Some((line, _)) = neighbors.lines.get(&id) else { return };
        let heard = neighbor::hear(line);
        if matches!(heard, Heard::Nothing) {
            return;
        }
        let Some((line, _)) = neighbors.lines.remove(&id) else { return };
        // Dropping the line is the refusal.
        if let Heard::Call(call, end) = heard
            && call.project == neighbors.project
            && self.addresses.is_guest(call.to.ip())
            && call.from.is_ipv4() == call.to.is_ipv4()
            && call.to.port() != 0
        {
            self.take_call(&call, end, line);
        }
    }

    fn take_call(&mut self, call: &Call, end: OwnedFd, line: OwnedFd) {
        let key = Key { guest: call.to, remote: call.from };
        let Ok(name) = DomainName::new(call.name.as_str()) else { return };
        let names: Arc<[DomainName]> = Arc::new([name]);
        let protocol = match call.carried {
            Carried::Tcp => Protocol::Tcp,
            Carried::Udp => Protocol::Udp,
        };
        let connection = Connection {
            way: Way::In,
            protocol,
            address: key.remote.ip(),
            port: Some(key.guest.port()),
            names: &names,
            place: Place::Elsewhere,
        };
        let verdict = self.policy.decide(&connection);
        if !verdict.allowed {
            let reason = self.policy.reason(&verdict);
            return self.refuse_in(protocol, (key.remote.ip(), key.guest.port()), names.first(), reason);
        }
        match call.carried {
            Carried::Tcp => {
                if self.flow_of.contains_key(&key) {
                    return;
                }
                let Some(grant) = self.budget.take(Side::Neighbors) else { return };
                let stream = TcpStream::from(end);
                let _ = stream.set_nonblocking(true);
                let Some(mut flow) = Flow::inward(key, stream, &mut self.interface, grant) else {
                    return self.budget.give_back(grant);
                };
                (flow.names, flow.line) = (names, Some(line));
                let id = self.keep(flow);
                self.watch_host(id);
            }
            Carried::Udp => {
                let socket = UdpSocket::from(end);
                if self.udp.is_open(&key)
                    || self.udp.is_full(&self.budget)
                    || socket.set_nonblocking(true).is_err()
                {
                    return;
                }
                let id = self.converse(key, socket);
                self.udp_ready(id);
            }
        }
    }

    /// Keeps a conversation.
    pub(super) fn converse(&mut self, key: Key, socket: UdpSocket) -> u64 {
        let id = self.number();
        self.add(&socket, Token::Udp(id));
        self.udp.insert(id, Conversation::new(key, socket, self.now));
        id
    }

    /// Whether a connection that is on its way has come about; nothing while that is not known.
    pub(super) fn has_connected(flow: &Flow, writable: bool) -> Option<io::Result<()>> {
        if let Some(line) = &flow.line {
            let answer = neighbor::is_connected(line)?;
            return Some(if answer { Ok(()) } else { Err(io::ErrorKind::ConnectionRefused.into()) });
        }
        writable.then(|| match &flow.peer {
            super::tcp::Peer::Host(stream) => match host::error_of(stream) {
                Some(error) => Err(error),
                None => Ok(()),
            },
            super::tcp::Peer::Names(_) => Ok(()),
        })
    }
}

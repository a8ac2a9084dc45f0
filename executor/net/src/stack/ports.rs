//! Published ports: connections and packets from outside, led into the guest.

use super::budget::Side;
use super::rules::incoming;
use super::tcp::Flow;
use super::{Key, Worker};
use crate::host;
use crate::poller::Token;
use crate::published::{Bound, Listening};
use crate::wire;
use rules::rule::Protocol;
use schemas::spec::Port;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// The ports of the gateway that connections from outside come from, as the guest sees them.
const SOURCE_PORTS: std::ops::Range<u16> = 32_768..65_535;
/// How long a peer over UDP may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How many peers over UDP are told apart.
const PEERS_MAX: usize = 4096;

/// How many packets or connections of one port are taken before others have their turn.
const TURNS_MAX: usize = 64;
/// How long a port waits that failed: there may be descriptors or memory again.
pub(super) const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How often it is said that ports fail.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// A peer over UDP: who it is, which port it came to, and when it was last heard of.
struct UdpPeer {
    published: u64,
    address: SocketAddr,
    used: Instant,
}

/// How many peers' visits are told apart at a time.
const VISITORS_MAX: usize = 256;

#[derive(Default)]
pub(super) struct Published {
    bound: HashMap<u64, Bound>,
    /// Who came to which of the sandbox's ports, and how often since that was told of.
    visits: HashMap<(IpAddr, u16), u64>,
    peers: HashMap<u16, UdpPeer>,
    source_of: HashMap<(u64, SocketAddr), u16>,
    last: u16,
    /// Ports on which more may have come than was taken.
    pub(super) unfinished: BTreeSet<u64>,
    /// Ports that failed.
    failed: BTreeSet<u64>,
    /// When these are tried again.
    pub(super) retry: Option<Instant>,
    /// When it was last said that something failed.
    complained: Option<Instant>,
}

/// How taking from a port ended.
enum Taken {
    /// There is nothing more.
    All,
    /// Others have their turn.
    Some,
    /// For now nothing can be taken.
    Failed(io::Error),
}

impl Published {
    pub(super) fn purge(&mut self, now: Instant) {
        self.peers.retain(|_, peer| now.saturating_duration_since(peer.used) < SILENCE_MAX);
        let peers = &self.peers;
        self.source_of.retain(|_, source| peers.contains_key(source));
        self.tell_of_visits();
    }

    /// Sends the guest's packet to the peer whose stand-in it was sent to.
    pub(super) fn answer(&mut self, key: Key, data: &[u8], now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(&key.remote.port()) else { return false };
        let Some(Bound { port, socket: Listening::Udp(socket), .. }) = self.bound.get(&peer.published) else {
            return false;
        };
        if port.guest != key.guest.port() {
            return false;
        }
        peer.used = now;
        let _ = socket.send_to(data, peer.address);
        true
    }

    /// Keeps in the log who connects: the first time at once, and further times as a number.
    fn visited(&mut self, peer: SocketAddr, port: u16) {
        if let Some(again) = self.visits.get_mut(&(peer.ip(), port)) {
            *again += 1;
        } else if self.visits.len() < VISITORS_MAX {
            self.visits.insert((peer.ip(), port), 0);
            tracing::info!("network: {peer} connects to port {port}");
        } else {
            tracing::debug!("network: {peer} connects to port {port}");
        }
    }

    pub(super) fn tell_of_visits(&mut self) {
        self.visits.retain(|(peer, port), again| {
            if *again > 0 {
                tracing::info!("network: {peer} has connected to port {port} again ({again} times)");
            }
            std::mem::take(again) > 0
        });
    }

    fn next_source(&mut self) -> u16 {
        let next = self.last.saturating_add(1);
        self.last = if SOURCE_PORTS.contains(&next) { next } else { SOURCE_PORTS.start };
        self.last
    }
}

impl Worker {
    /// Forgets the peers over UDP whom the rules let in no longer: each next packet of theirs is judged anew.
    pub(super) fn judge_peers(&mut self) {
        let Published { bound, peers, source_of, .. } = &mut self.ports;
        let policy = &self.policy;
        peers.retain(|_, UdpPeer { published, address, used: _ }| {
            let Some(Bound { port, .. }) = bound.get(published) else { return false };
            policy.decide(&incoming(Protocol::Udp, address.ip(), port.guest)).allowed
        });
        source_of.retain(|_, source| peers.contains_key(source));
    }

    pub(super) fn publish(&mut self, ports: Vec<Bound>) -> io::Result<()> {
        for bound in ports {
            let number = self.number();
            let token = Token::Published(number);
            match &bound.socket {
                Listening::Tcp(listener) => self.poller.add(listener, token)?,
                Listening::Udp(socket) => self.poller.add(socket, token)?,
            }
            self.ports.bound.insert(number, bound);
        }
        Ok(())
    }

    pub(super) fn unpublish(&mut self, ports: &BTreeSet<Port>) {
        self.ports.bound.retain(|_, bound| !ports.contains(&bound.port));
        let bound = &self.ports.bound;
        self.ports.peers.retain(|_, peer| bound.contains_key(&peer.published));
        let source_of = &mut self.ports.source_of;
        source_of.retain(|(published, _), _| bound.contains_key(published));
        let led_in = |flow: &Flow| flow.published.is_some_and(|published| !bound.contains_key(&published));
        let cut: Vec<u64> = self.flows.iter().filter(|(_, flow)| led_in(flow)).map(|(id, _)| *id).collect();
        for id in cut {
            if let Some(flow) = self.flows.get_mut(&id) {
                flow.abort();
                self.busy.push(id);
            }
        }
    }

    /// Takes what has come to a published port. It is watched at its edges: what is left must not be forgotten.
    pub(super) fn accept(&mut self, number: u64) {
        match self.accept_some(number) {
            Taken::All => {}
            Taken::Some => _ = self.ports.unfinished.insert(number),
            Taken::Failed(error) => {
                self.ports.failed.insert(number);
                self.complain("a published port", &error);
                self.ports.retry.get_or_insert(self.now + ACCEPT_RETRY);
            }
        }
    }

    /// Says that something cannot take what comes, but not at every attempt.
    pub(super) fn complain(&mut self, what: &str, error: &io::Error) {
        let last = self.ports.complained.map(|last| self.now.saturating_duration_since(last));
        if last.is_none_or(|since| since >= COMPLAINT_INTERVAL) {
            self.ports.complained = Some(self.now);
            tracing::warn!("{what} cannot take what comes, and tries again: {error}");
        }
    }

    /// Goes on with ports that were not emptied.
    pub(super) fn resume_ports(&mut self) {
        if self.ports.retry.take_if(|retry| *retry <= self.now).is_some() {
            let failed = std::mem::take(&mut self.ports.failed);
            self.ports.unfinished.extend(failed);
        }
        for number in std::mem::take(&mut self.ports.unfinished) {
            self.accept(number);
        }
        self.resume_neighbors();
    }

    fn accept_some(&mut self, number: u64) -> Taken {
        for _ in 0..TURNS_MAX {
            let Some(bound) = self.ports.bound.get(&number) else { return Taken::All };
            let guest = bound.port.guest;
            match &bound.socket {
                Listening::Udp(_) => return self.udp_from_outside(number),
                Listening::Tcp(listener) => match listener.accept() {
                    Ok((stream, peer)) => {
                        let _ = stream.set_nonblocking(true);
                        let _ = stream.set_nodelay(true);
                        host::keep_alive(&stream);
                        self.connect_guest(stream, peer, (number, guest));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Taken::All,
                    // Of the one that has gone again: others may still come.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => return Taken::Failed(error),
                },
            }
        }
        Taken::Some
    }

    fn connect_guest(
        &mut self,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        (published, port): (u64, u16),
    ) {
        let (allowed, place) = self.decide_in(Protocol::Tcp, peer.ip(), port);
        let grant = if allowed { self.budget.take(Side::Published) } else { None };
        let Some(grant) = grant else {
            if allowed {
                let most = self.budget.connections(Side::Published);
                let reason = format!("there are {most} connections already");
                self.refuse_in(Protocol::Tcp, (peer.ip(), port), None, reason.as_str());
            }
            host::reset(&stream);
            return;
        };
        self.ports.visited(peer, port);
        let guest = SocketAddr::new(self.addresses.guest_ipv4.into(), port);
        let gateway = IpAddr::V4(self.addresses.gateway_ipv4);
        let free = (0..SOURCE_PORTS.len()).find_map(|_| {
            let key = Key { guest, remote: SocketAddr::new(gateway, self.ports.next_source()) };
            (!self.flow_of.contains_key(&key)).then_some(key)
        });
        let flow = free.and_then(|key| Flow::inward(key, stream, &mut self.interface, grant));
        let Some(mut flow) = flow else { return self.budget.give_back(grant) };
        (flow.place, flow.other, flow.published) = (place, peer.ip(), Some(published));
        let id = self.keep(flow);
        self.watch_host(id);
    }

    fn udp_from_outside(&mut self, number: u64) -> Taken {
        let mut buffer = vec![0; 65_536];
        for _ in 0..TURNS_MAX {
            let Some(Bound { port, socket: Listening::Udp(socket), .. }) = self.ports.bound.get(&number)
            else {
                return Taken::All;
            };
            let guest = port.guest;
            let (count, peer) = match socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Taken::All,
                // An answer of ours found nobody.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Taken::Failed(error),
            };
            let known = self.ports.source_of.get(&(number, peer)).copied();
            let Some(source) = known.or_else(|| self.new_peer(number, peer, guest)) else { continue };
            if let Some(known) = self.ports.peers.get_mut(&source) {
                known.used = self.now;
            }
            if count + 48 > self.mtu || self.outgoing.is_congested() {
                continue;
            }
            let guest = SocketAddr::new(self.addresses.guest_ipv4.into(), guest);
            let gateway = SocketAddr::new(self.addresses.gateway_ipv4.into(), source);
            self.outgoing.frame(&wire::udp_frame(gateway, guest, &buffer[..count]));
        }
        Taken::Some
    }

    fn new_peer(&mut self, number: u64, peer: SocketAddr, guest: u16) -> Option<u16> {
        if !self.decide_in(Protocol::Udp, peer.ip(), guest).0 || self.ports.peers.len() >= PEERS_MAX {
            return None;
        }
        let source = (0..SOURCE_PORTS.len()).find_map(|_| {
            let source = self.ports.next_source();
            (!self.ports.peers.contains_key(&source)).then_some(source)
        })?;
        self.ports.visited(peer, guest);
        self.ports.peers.insert(source, UdpPeer { published: number, address: peer, used: self.now });
        self.ports.source_of.insert((number, peer), source);
        Some(source)
    }
}

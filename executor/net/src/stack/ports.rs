//! Published ports: connections and packets from outside to the guest.

use super::budget::FlowKind;
use super::rules::inbound_connection;
use super::tcp::Flow;
use super::{FlowKey, Worker};
use crate::event::Subject;
use crate::host;
use crate::poller::Token;
use crate::published::{BoundPort, Listening};
use crate::wire;
use rules::rule::Protocol;
use schemas::spec::Port;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// The gateway's ports that stand for outside clients.
const SOURCE_PORTS: std::ops::Range<u16> = 32_768..65_535;
/// The idle timeout of a UDP client.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// The limit of UDP clients.
const CLIENTS_MAX: usize = 4096;

/// The number of packets or connections of one port before others get their turn.
const BATCH_MAX: usize = 64;
/// How long a failed port waits: descriptors or memory may be free again.
pub(super) const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The least time between two warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// A UDP client: its port and address, and when it was last active.
struct UdpClient {
    published: u64,
    address: SocketAddr,
    used: Instant,
}

/// The limit of clients that are logged separately.
const SEEN_CLIENTS_MAX: usize = 256;

#[derive(Default)]
pub(super) struct Published {
    bound: HashMap<u64, BoundPort>,
    /// Clients and ports that were logged, with the number of further connections.
    seen: HashMap<(IpAddr, u16), u64>,
    clients: HashMap<u16, UdpClient>,
    source_of: HashMap<(u64, SocketAddr), u16>,
    last: u16,
    /// Ports that may have more to accept.
    pub(super) unfinished: BTreeSet<u64>,
    /// Ports that failed.
    failed: BTreeSet<u64>,
    /// When failed ports are tried again.
    pub(super) retry: Option<Instant>,
    /// When the last warning was logged.
    last_warning: Option<Instant>,
}

/// The result of accepting from a port.
enum Accepted {
    /// Nothing is left.
    All,
    /// There may be more.
    Some,
    /// Accepting fails for now.
    Failed(io::Error),
}

impl Published {
    pub(super) fn purge(&mut self, now: Instant) {
        self.clients.retain(|_, client| now.saturating_duration_since(client.used) < IDLE_TIMEOUT);
        let clients = &self.clients;
        self.source_of.retain(|_, source| clients.contains_key(source));
        self.log_repeated_clients();
    }

    /// Sends the guest's packet to the client that the gateway's port stands for; returns false if there is none.
    pub(super) fn answer(&mut self, key: FlowKey, data: &[u8], now: Instant) -> bool {
        let Some(client) = self.clients.get_mut(&key.remote.port()) else { return false };
        let Some(BoundPort { port, socket: Listening::Udp(socket), .. }) = self.bound.get(&client.published)
        else {
            return false;
        };
        if port.guest != key.guest.port() {
            return false;
        }
        client.used = now;
        let _ = socket.send_to(data, client.address);
        true
    }

    /// Logs a client: its first connection at once, further ones as a count.
    fn log_client(&mut self, client: SocketAddr, port: u16) {
        if let Some(again) = self.seen.get_mut(&(client.ip(), port)) {
            *again += 1;
        } else if self.seen.len() < SEEN_CLIENTS_MAX {
            self.seen.insert((client.ip(), port), 0);
            tracing::info!("network: {client} connects to port {port}");
        } else {
            tracing::debug!("network: {client} connects to port {port}");
        }
    }

    pub(super) fn log_repeated_clients(&mut self) {
        self.seen.retain(|(client, port), again| {
            if *again > 0 {
                tracing::info!("network: {client} has connected to port {port} again ({again} times)");
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
    /// Forgets the UDP clients that the rules no longer allow; their next packet is decided again.
    pub(super) fn reevaluate_clients(&mut self) {
        let Published { bound, clients, source_of, .. } = &mut self.ports;
        let policy = &self.policy;
        clients.retain(|_, UdpClient { published, address, used: _ }| {
            let Some(BoundPort { port, .. }) = bound.get(published) else { return false };
            policy.decide(&inbound_connection(Protocol::Udp, address.ip(), port.guest)).allowed
        });
        source_of.retain(|_, source| clients.contains_key(source));
    }

    pub(super) fn publish(&mut self, ports: Vec<BoundPort>) -> io::Result<()> {
        for bound in ports {
            let number = self.next_id();
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
        self.ports.clients.retain(|_, client| bound.contains_key(&client.published));
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

    /// Accepts from a published port. Events are edge-triggered: a port that is not drained must be remembered.
    pub(super) fn accept(&mut self, number: u64) {
        match self.accept_batch(number) {
            Accepted::All => {}
            Accepted::Some => _ = self.ports.unfinished.insert(number),
            Accepted::Failed(error) => {
                self.ports.failed.insert(number);
                self.warn_rate_limited("a published port", &error);
                self.ports.retry.get_or_insert(self.now + ACCEPT_RETRY);
            }
        }
    }

    /// Logs that accepting fails, at a limited rate.
    pub(super) fn warn_rate_limited(&mut self, what: &str, error: &io::Error) {
        let last = self.ports.last_warning.map(|last| self.now.saturating_duration_since(last));
        if last.is_none_or(|since| since >= WARNING_INTERVAL) {
            self.ports.last_warning = Some(self.now);
            tracing::warn!("{what} cannot accept connections, and retries: {error}");
        }
    }

    /// Continues with ports that were not drained.
    pub(super) fn resume_ports(&mut self) {
        if self.ports.retry.take_if(|retry| *retry <= self.now).is_some() {
            let failed = std::mem::take(&mut self.ports.failed);
            self.ports.unfinished.extend(failed);
        }
        for number in std::mem::take(&mut self.ports.unfinished) {
            self.accept(number);
        }
        self.retry_peers();
    }

    fn accept_batch(&mut self, number: u64) -> Accepted {
        for _ in 0..BATCH_MAX {
            let Some(bound) = self.ports.bound.get(&number) else { return Accepted::All };
            let guest = bound.port.guest;
            match &bound.socket {
                Listening::Udp(_) => return self.accept_udp(number),
                Listening::Tcp(listener) => match listener.accept() {
                    Ok((stream, client)) => {
                        let _ = stream.set_nonblocking(true);
                        let _ = stream.set_nodelay(true);
                        host::keep_alive(&stream);
                        self.accept_tcp(stream, client, number, guest);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Accepted::All,
                    // The client has gone again; others may follow.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => return Accepted::Failed(error),
                },
            }
        }
        Accepted::Some
    }

    fn accept_tcp(&mut self, stream: std::net::TcpStream, client: SocketAddr, published: u64, port: u16) {
        let (allowed, locality) = self.decide_inbound(Protocol::Tcp, client.ip(), port);
        let grant = if allowed { self.budget.reserve(FlowKind::Published) } else { None };
        let Some(grant) = grant else {
            if allowed {
                let most = self.budget.connections(FlowKind::Published);
                let reason = format!("there are {most} connections already");
                let subject = Subject::inbound(Protocol::Tcp, client.ip(), port, None);
                self.refuse(subject, reason.as_str());
            }
            host::reset(&stream);
            return;
        };
        self.ports.log_client(client, port);
        let guest = SocketAddr::new(self.addresses.guest_ipv4.into(), port);
        let gateway = IpAddr::V4(self.addresses.gateway_ipv4);
        let free = (0..SOURCE_PORTS.len()).find_map(|_| {
            let key = FlowKey { guest, remote: SocketAddr::new(gateway, self.ports.next_source()) };
            (!self.flow_of.contains_key(&key)).then_some(key)
        });
        let flow = free.and_then(|key| Flow::inbound(key, stream, &mut self.interface, grant));
        let Some(mut flow) = flow else { return self.budget.release(grant) };
        (flow.locality, flow.other, flow.published) = (locality, client.ip(), Some(published));
        let id = self.insert_flow(flow);
        self.watch_host(id);
    }

    fn accept_udp(&mut self, number: u64) -> Accepted {
        let mut buffer = vec![0; 65_536];
        for _ in 0..BATCH_MAX {
            let Some(BoundPort { port, socket: Listening::Udp(socket), .. }) = self.ports.bound.get(&number)
            else {
                return Accepted::All;
            };
            let guest = port.guest;
            let (count, client) = match socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Accepted::All,
                // An earlier reply was refused by its client.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Accepted::Failed(error),
            };
            let known = self.ports.source_of.get(&(number, client)).copied();
            let Some(source) = known.or_else(|| self.new_client(number, client, guest)) else { continue };
            if let Some(known) = self.ports.clients.get_mut(&source) {
                known.used = self.now;
            }
            if count + 48 > self.mtu || self.tx.is_congested() {
                continue;
            }
            let guest = SocketAddr::new(self.addresses.guest_ipv4.into(), guest);
            let gateway = SocketAddr::new(self.addresses.gateway_ipv4.into(), source);
            self.tx.frame(&wire::udp_frame(gateway, guest, &buffer[..count]));
        }
        Accepted::Some
    }

    fn new_client(&mut self, number: u64, client: SocketAddr, guest: u16) -> Option<u16> {
        if !self.decide_inbound(Protocol::Udp, client.ip(), guest).0
            || self.ports.clients.len() >= CLIENTS_MAX
        {
            return None;
        }
        let source = (0..SOURCE_PORTS.len()).find_map(|_| {
            let source = self.ports.next_source();
            (!self.ports.clients.contains_key(&source)).then_some(source)
        })?;
        self.ports.log_client(client, guest);
        self.record_inbound(Protocol::Udp, client.ip(), guest, None);
        self.ports.clients.insert(source, UdpClient { published: number, address: client, used: self.now });
        self.ports.source_of.insert((number, client), source);
        Some(source)
    }
}

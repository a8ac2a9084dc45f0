//! UDP flows from the guest: a socket of the host for each pair of addresses, with an idle timeout.

use super::budget::Budget;
use super::frames::NAMES_PORT;
use super::rules::{host_target, locality_of};
use super::{FlowKey, Worker};
use crate::dns::Client;
use crate::event::Subject;
use crate::host;
use crate::policy::Locality;
use crate::quic;
use crate::wire::{self, Packet, Unreachable};
use rules::rule::Protocol;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// The port of QUIC, whatever the packets look like.
const QUIC_PORT: u16 = 443;
/// The idle timeout of a flow.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// The number of packets of one flow that are received while the link is congested.
const RECEIVES_WHEN_CONGESTED_MAX: usize = 64;
/// The number of packets of one flow per event: a further one raises another event.
const RECEIVES_MAX: usize = 4096;

pub(super) struct UdpFlow {
    pub(super) key: FlowKey,
    pub(super) socket: UdpSocket,
    pub(super) used: Instant,
}

#[derive(Default)]
pub(super) struct UdpFlows {
    open: HashMap<u64, UdpFlow>,
    of: HashMap<FlowKey, u64>,
}

impl UdpFlows {
    pub(super) fn purge(&mut self, now: Instant) {
        self.open.retain(|_, one| now.saturating_duration_since(one.used) < IDLE_TIMEOUT);
        self.of.retain(|_, id| self.open.contains_key(id));
    }

    /// Closes all flows: each next packet is decided again.
    pub(super) fn close_all(&mut self) {
        self.open.clear();
        self.of.clear();
    }

    pub(super) fn insert(&mut self, id: u64, one: UdpFlow) {
        self.of.insert(one.key, id);
        self.open.insert(id, one);
    }

    pub(super) fn is_open(&self, key: &FlowKey) -> bool {
        self.of.contains_key(key)
    }

    pub(super) fn is_full(&self, budget: &Budget) -> bool {
        self.open.len() >= budget.udp_flows
    }

    fn remove(&mut self, id: u64) {
        if let Some(one) = self.open.remove(&id) {
            self.of.remove(&one.key);
        }
    }
}

impl Worker {
    pub(super) fn on_udp(&mut self, packet: &Packet<'_>) {
        let Some(datagram) = packet.udp() else { return };
        let guest = SocketAddr::new(packet.source, datagram.src_port());
        let remote = SocketAddr::new(packet.target, datagram.dst_port());
        let data = datagram.payload();
        let key = FlowKey { guest, remote };
        if self.addresses.is_gateway(remote.ip()) {
            if remote.port() == NAMES_PORT {
                return self.handle_query(data, Client::Udp { guest, server: remote });
            }
            if self.ports.answer(key, data, self.now) {
                return;
            }
        }
        let known = self.udp.of.get(&key).copied();
        let is_quic = quic::is_initial(data) || key.remote.port() == QUIC_PORT;
        let known = match known {
            // A later packet of a flow may start QUIC: it is decided like a first one.
            Some(id) if quic::is_initial(data) && !self.is_permitted(key, packet, is_quic) => {
                return self.udp.remove(id);
            }
            known => known,
        };
        let Some(id) = known.or_else(|| self.open_udp_flow(key, packet, is_quic)) else { return };
        let Some(one) = self.udp.open.get_mut(&id) else { return };
        one.used = self.now;
        match one.socket.send(data) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.udp.remove(id);
                self.unreachable(packet, unreachable_kind(&error));
            }
        }
    }

    /// Decides on a packet and answers a refused one. Where a domain rule decides, QUIC is refused, as its server name
    /// is encrypted; where TLS is intercepted, all of UDP is.
    fn is_permitted(&mut self, key: FlowKey, packet: &Packet<'_>, is_quic: bool) -> bool {
        let (verdict, _, locality) = self.decide_outbound(Protocol::Udp, key.remote);
        let is_shared = locality != Locality::Gateway && !self.is_peer(&key);
        let port = key.remote.port();
        let is_intercepted = !self.is_peer(&key)
            && self.interception.as_ref().is_some_and(|interception| interception.tls_ports.contains(&port));
        let through = self.upstream.as_ref().filter(|_| self.uses_proxy(locality) && !self.is_peer(&key));
        let text = if !verdict.allowed {
            None
        } else if let Some(upstream) = through {
            let proxy = upstream.proxy.url.without_user();
            Some(format!("UDP does not go through the proxy {proxy}: use TCP, or remove `proxy`"))
        } else if is_intercepted {
            Some(format!("TLS is intercepted on port {port}, and QUIC cannot be: use TCP"))
        } else if verdict.by_name && is_quic && is_shared {
            Some(format!("QUIC shows no name: {}", verdict.reason))
        } else {
            None
        };
        let through_proxy = through.is_some();
        let is_permitted = verdict.allowed && text.is_none();
        if let Some(text) = text {
            // No rule would let it through the proxy.
            let reason =
                if through_proxy { text.as_str().into() } else { self.policy.reason(&verdict).with(text) };
            self.refuse(
                Subject::outbound(Protocol::Udp, key.remote, self.name_of(key.remote.ip()).as_ref()),
                reason,
            );
        }
        if !is_permitted {
            self.unreachable(packet, Unreachable::Port);
        }
        is_permitted
    }

    fn open_udp_flow(&mut self, key: FlowKey, packet: &Packet<'_>, is_quic: bool) -> Option<u64> {
        if !self.is_permitted(key, packet, is_quic) {
            return None;
        }
        if self.udp.is_full(&self.budget) {
            let name = self.name_of(key.remote.ip());
            let text = format!("there are {} UDP flows already", self.budget.udp_flows);
            self.refuse(Subject::outbound(Protocol::Udp, key.remote, name.as_ref()), text.as_str());
            self.unreachable(packet, Unreachable::Port);
            return None;
        }
        let locality = locality_of(&self.addresses, key.remote.ip());
        self.record_outbound(Protocol::Udp, key.remote, locality, None);
        if self.is_peer(&key) {
            return self.open_peer_udp(key, packet);
        }
        match host::udp_to(host_target(key.remote, locality)) {
            Ok(socket) => Some(self.insert_udp_flow(key, socket)),
            Err(error) => {
                self.unreachable(packet, unreachable_kind(&error));
                None
            }
        }
    }

    pub(super) fn udp_ready(&mut self, id: u64) {
        let mut buffer = vec![0; 65_536];
        // Events are edge-triggered, so the socket has to be drained; excess packets are dropped.
        for turn in 0..RECEIVES_MAX {
            let Some(one) = self.udp.open.get_mut(&id) else { return };
            match one.socket.recv(&mut buffer) {
                Ok(count) if turn < RECEIVES_WHEN_CONGESTED_MAX || !self.tx.is_congested() => {
                    one.used = self.now;
                    let key = one.key;
                    if count + 48 <= self.mtu {
                        self.tx.frame(&wire::udp_frame(key.remote, key.guest, &buffer[..count]));
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    let key = one.key;
                    self.udp.remove(id);
                    let sent = wire::udp_frame(key.guest, key.remote, &[]);
                    let (source, target) = (key.remote.ip(), key.guest.ip());
                    let answer =
                        wire::unreachable(wire::packet_of(&sent), source, target, unreachable_kind(&error));
                    self.tx.frame(&answer);
                    return;
                }
            }
        }
    }
}

fn unreachable_kind(error: &io::Error) -> Unreachable {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Unreachable::Port,
        _ => Unreachable::Host,
    }
}

//! Dispatches the guest's frames.

use super::budget::{FlowKind, Grant};
use super::rules::host_target;
use super::tcp::{Endpoint, Flow, Next, Phase, Wire};
use super::{FlowKey, Worker};
use crate::dns::Client;
use crate::event::Subject;
use crate::guard::Guard;
use crate::host;
use crate::http;
use crate::intercept::{Intercepted, InterceptedProtocol};
use crate::link::LinkDevice;
use crate::peer;
use crate::policy::{Locality, is_unspecified};
use crate::poller::{Ready, Token};
use crate::wire::{self, Frame, Packet, Unreachable};
use rules::rule::Protocol;
use smoltcp::wire::IpProtocol;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The name server's port on the gateway's address.
pub(super) const NAMES_PORT: u16 = 53;
/// The longest SYN packet that is kept until the host's side is connected, in bytes. A longer one carries data; its
/// sender retries without.
const SYN_BYTES_MAX: usize = 1024;

impl Worker {
    pub(super) fn frame(&mut self, frame: &[u8]) {
        match wire::read_frame(frame) {
            Frame::Arp(request) => {
                if let Some(reply) = wire::arp_reply(&request, &self.addresses) {
                    self.tx.frame(&reply);
                }
            }
            Frame::Ip(packet) => self.packet(&packet),
            Frame::Other => {}
        }
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        if let Some(answer) = wire::neighbor_advertisement(packet, &self.addresses) {
            self.tx.frame(&answer);
            return;
        }
        let for_many = match packet.target {
            IpAddr::V4(four) => four.is_multicast() || four.is_broadcast(),
            IpAddr::V6(six) => six.is_multicast(),
        };
        // The link has one other end, whatever source address the guest writes; and there are no multicast groups.
        if !self.addresses.is_guest(packet.source)
            || for_many
            || self.tx.is_congested() && packet.protocol != IpProtocol::Tcp
        {
            return;
        }
        match packet.protocol {
            IpProtocol::Tcp => self.on_tcp(packet),
            IpProtocol::Udp => self.on_udp(packet),
            IpProtocol::Icmp | IpProtocol::Icmpv6 => self.on_icmp(packet),
            _ => {}
        }
    }

    fn on_icmp(&mut self, packet: &Packet<'_>) {
        if self.addresses.is_gateway(packet.target)
            && let Some(reply) = wire::echo_reply(packet)
        {
            self.tx.frame(&reply);
            return;
        }
        if packet.is_echo_request() {
            let protocol = if packet.target.is_ipv4() { Protocol::Icmpv4 } else { Protocol::Icmpv6 };
            let target = SocketAddr::new(packet.target, 0);
            if self.decide_outbound(protocol, target).0.allowed {
                self.refuse(Subject::outbound(protocol, target, None), "only the gateway answers pings");
            }
            self.unreachable(packet, Unreachable::Prohibited);
        }
    }

    pub(super) fn unreachable(&mut self, packet: &Packet<'_>, why: Unreachable) {
        // No guest accepts a packet from the unspecified address: the gateway answers instead.
        let source = if is_unspecified(packet.target) {
            self.addresses.gateway_like(packet.target)
        } else {
            packet.target
        };
        self.tx.frame(&wire::unreachable(packet.bytes, source, packet.source, why));
    }

    fn on_tcp(&mut self, packet: &Packet<'_>) {
        let Some(segment) = packet.tcp() else { return };
        let key = FlowKey {
            guest: SocketAddr::new(packet.source, segment.src_port()),
            remote: SocketAddr::new(packet.target, segment.dst_port()),
        };
        let now = self.engine_time();
        if let Some(&id) = self.flow_of.get(&key) {
            let Some(flow) = self.flows.get_mut(&id) else { return };
            match &flow.phase {
                Phase::Connecting { .. } if segment.rst() => self.remove_flow(id),
                // A retransmitted SYN, or a packet that is not possible yet.
                Phase::Connecting { .. } => {}
                Phase::Guarded { .. } | Phase::Open | Phase::Forbidden { .. } => {
                    let Self { interface, tx, mtu, .. } = self;
                    flow.take(packet.bytes, &mut Wire { interface, tx, now, mtu: *mtu });
                    self.busy.push(id);
                }
            }
        } else if segment.syn() && !segment.ack() {
            self.new_connection(key, packet);
        } else if !segment.rst() {
            self.refuse_tcp(packet.bytes);
        }
    }

    /// Lets the engine answer with a reset.
    pub(super) fn refuse_tcp(&mut self, bytes: &[u8]) {
        let time = self.engine_time();
        let mut port = LinkDevice { rx: Some(bytes), tx: &mut self.tx, mtu: self.mtu };
        self.interface.poll_ingress_single(time, &mut port, &mut self.no_sockets);
    }

    fn new_connection(&mut self, key: FlowKey, packet: &Packet<'_>) {
        if key.guest.port() == 0 {
            return;
        }
        // The engine does not answer to port 0.
        if key.remote.port() == 0 {
            return self.unreachable(packet, Unreachable::Port);
        }
        if packet.bytes.len() > SYN_BYTES_MAX {
            return;
        }
        if self.addresses.is_gateway(key.remote.ip()) && key.remote.port() == NAMES_PORT {
            let Some(grant) = self.reserve_outbound(FlowKind::NameServer, key, packet) else { return };
            let id = self.insert_flow(Flow::to_name_server(key, grant));
            return self.accept_syn(id, packet.bytes);
        }
        let (verdict, names, locality) = self.decide_outbound(Protocol::Tcp, key.remote);
        if !verdict.allowed {
            if is_unspecified(packet.target) {
                // The engine does not answer to these either.
                self.unreachable(packet, Unreachable::Port);
            } else {
                self.refuse_tcp(packet.bytes);
            }
            return;
        }
        if self.is_peer(&key) {
            return self.connect_peer(key, packet, names);
        }
        if self.uses_proxy(locality) {
            return self.connect_through_proxy(key, packet, (verdict.by_name, names));
        }
        let Some(grant) = self.reserve_outbound(FlowKind::Outbound, key, packet) else { return };
        match host::begin_tcp(host_target(key.remote, locality)) {
            Ok(stream) => {
                let mut flow = Flow::outbound(key, stream, packet.bytes.to_vec(), grant);
                (flow.names, flow.locality) = (names, locality);
                let id = self.insert_flow(flow);
                self.watch_host(id);
            }
            Err(error) => {
                tracing::debug!("{}: {error}", key.remote);
                self.budget.release(grant);
                self.unreachable(packet, Unreachable::Host);
            }
        }
    }

    /// Reserves resources for a connection from the guest; refuses it if there are none.
    pub(super) fn reserve_outbound(
        &mut self,
        side: FlowKind,
        key: FlowKey,
        packet: &Packet<'_>,
    ) -> Option<Grant> {
        let grant = self.budget.reserve(side);
        if grant.is_none() {
            let reason = format!("there are {} connections already", self.budget.connections(side));
            self.refuse(Subject::outbound(Protocol::Tcp, key.remote, None), reason.as_str());
            self.refuse_tcp(packet.bytes);
        }
        grant
    }

    pub(super) fn insert_flow(&mut self, flow: Flow) -> u64 {
        let id = self.next_id();
        self.flow_of.insert(flow.key, id);
        self.flows.insert(id, flow);
        self.busy.push(id);
        id
    }

    pub(super) fn watch_host(&mut self, id: u64) {
        let watched = match self.flows.get(&id).map(|flow| &flow.endpoint) {
            Some(Endpoint::Host(stream)) => self.add(stream, Token::Tcp(id)),
            _ => true,
        };
        if !watched {
            self.remove_flow(id);
        }
    }

    pub(super) fn remove_flow(&mut self, id: u64) {
        if let Some(flow) = self.flows.remove(&id) {
            self.flow_of.remove(&flow.key);
            self.budget.release(flow.grant);
        }
        if let Some(due) = self.deadline_of.remove(&id) {
            self.deadlines.remove(&(due, id));
        }
    }

    fn accept_syn(&mut self, id: u64, syn: &[u8]) {
        let now = self.engine_time();
        let Self { flows, interface, tx, mtu, busy, .. } = self;
        if let Some(flow) = flows.get_mut(&id) {
            flow.accept(syn, &mut Wire { interface, tx, now, mtu: *mtu });
            busy.push(id);
        }
    }

    /// Handles an event of the host's socket.
    pub(super) fn tcp_ready(&mut self, id: u64, ready: Ready) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        if !matches!(flow.phase, Phase::Connecting { .. }) {
            flow.host_ready(ready);
            self.busy.push(id);
            return;
        }
        let Some(connected) = Self::has_connected(flow, ready.writable) else { return };
        match connected {
            Ok(()) => self.on_connected(id),
            Err(error) => {
                let key = flow.key;
                let Phase::Connecting { syn } = std::mem::replace(&mut flow.phase, Phase::Open) else {
                    return;
                };
                self.record_tcp(id);
                self.remove_flow(id);
                match error.kind() {
                    std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::ConnectionReset => {
                        self.refuse_tcp(&syn);
                    }
                    _ => {
                        let (source, target) = (key.remote.ip(), key.guest.ip());
                        self.tx.frame(&wire::unreachable(&syn, source, target, Unreachable::Host));
                    }
                }
            }
        }
    }

    /// Accepts the guest's connection after the host's side was connected.
    pub(super) fn on_connected(&mut self, id: u64) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let Phase::Connecting { syn } = std::mem::replace(&mut flow.phase, Phase::Open) else { return };
        let called = flow.control.take().is_some();
        (flow.readable, flow.writable) = (true, true);
        // An address of a peer or of the host has no other tenants.
        let is_shared = !called && flow.locality != Locality::Gateway;
        let by_name = is_shared && self.policy.decide(&flow.connection()).by_name;
        let intercepted = if called { None } else { self.intercepted(id) };
        let Some(flow) = self.flows.get_mut(&id) else { return };
        if by_name || intercepted == Some(InterceptedProtocol::Tls) {
            flow.phase = Phase::Guarded { guard: Guard::default(), passing: 0 };
        }
        if let Some(protocol) = intercepted
            && let Err(error) = self.hand_over(id, protocol)
        {
            tracing::warn!("a connection cannot be intercepted: {error}");
            self.remove_flow(id);
            return self.refuse_tcp(&syn);
        }
        if called || intercepted.is_some() {
            self.watch_host(id);
        }
        self.accept_syn(id, &syn);
    }

    /// What is intercepted of a connection that the guest has opened; `None` for nothing.
    fn intercepted(&self, id: u64) -> Option<InterceptedProtocol> {
        let port = self.flows.get(&id)?.key.remote.port();
        self.interception.as_ref()?.protocol(port)
    }

    /// Hands the connection to the server over to the proxy, with one end of a pair whose other end takes its place.
    fn hand_over(&mut self, id: u64, protocol: InterceptedProtocol) -> io::Result<()> {
        let (Some(flow), Some(interception)) = (self.flows.get_mut(&id), &mut self.interception) else {
            return Ok(());
        };
        let (near, far) = peer::tcp_pair()?;
        let Endpoint::Host(upstream) = std::mem::replace(&mut flow.endpoint, Endpoint::Host(near)) else {
            return Ok(());
        };
        self.poller.remove(&upstream)?;
        let (remote, names) = (flow.key.remote, flow.names.clone());
        (interception.take_over)(Intercepted { guest: far, upstream, remote, names, protocol });
        Ok(())
    }

    /// Advances every busy connection.
    pub(super) fn advance(&mut self) {
        let now = self.engine_time();
        let mut busy = std::mem::take(&mut self.busy);
        busy.sort_unstable();
        busy.dedup();
        for id in busy.drain(..) {
            let Some(flow) = self.flows.get_mut(&id) else { continue };
            for question in flow.questions() {
                self.handle_query(&question, Client::Tcp(id));
            }
            let Self { flows, interface, tx, mtu, .. } = self;
            let Some(flow) = flows.get_mut(&id) else { continue };
            let next = flow.advance(&mut Wire { interface, tx, now, mtu: *mtu });
            if flow.is_allowed() {
                self.record_tcp(id);
            }
            match next {
                Next::Continue(due) => self.set_deadline(id, due),
                Next::Stalled => self.stalled.push(id),
                Next::CheckName(server_name) => self.check_server_name(id, server_name),
                Next::Closed => self.remove_flow(id),
            }
        }
    }

    fn check_server_name(&mut self, id: u64, server_name: Result<rules::rule::DomainName, &'static str>) {
        let now = self.engine_time();
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let verdict = self.policy.decide(&flow.connection());
        self.busy.push(id);
        let shown = server_name.as_ref().ok().filter(|name| flow.names.contains(name)).cloned();
        let requested = server_name.as_ref().ok().cloned();
        let text = match server_name {
            Ok(name) if self.policy.allows_server_name(&flow.connection(), &name) => return flow.admit(name),
            Ok(name) => format!("it is for {name}: {}", verdict.reason),
            // Without interception, only rules on names need one.
            Err(why) if !verdict.by_name => {
                format!("{why}, and TLS is intercepted on port {}", flow.key.remote.port())
            }
            Err(why) => format!("{why}: {}", verdict.reason),
        };
        let (remote, name) = (flow.key.remote, shown.or_else(|| flow.names.first().cloned()));
        let reason = self.policy.reason(&verdict).with(text);
        // Nothing is checked after this.
        let answer = http::forbidden(&flow.first_bytes(), requested.as_ref(), &reason.text);
        if !flow.forbid(&answer, now) {
            // The engine resets the guest's side.
            flow.abort();
        }
        self.refuse(Subject::outbound(Protocol::Tcp, remote, name.as_ref()), reason);
    }

    fn set_deadline(&mut self, id: u64, due: Option<smoltcp::time::Instant>) {
        let due = due.map(|due| {
            let micros = u64::try_from(due.total_micros()).unwrap_or_default();
            self.started + Duration::from_micros(micros)
        });
        let known = match due {
            Some(due) => self.deadline_of.insert(id, due),
            None => self.deadline_of.remove(&id),
        };
        if let Some(known) = known {
            self.deadlines.remove(&(known, id));
        }
        if let Some(due) = due {
            self.deadlines.insert((due, id));
        }
    }
}

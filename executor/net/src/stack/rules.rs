//! Applies the policy to flows and DNS queries, and reports refusals.

use super::handle::Command;
use super::own::OwnAddresses;
use super::tcp::{Endpoint, Flow, Phase, ServerName};
use super::{Worker, wake_up};
use crate::address::{Addresses, gateway_to_loopback};
use crate::allowed::Traffic;
use crate::dns::{Client, NameRules, NameServer, query_tcp};
use crate::event::{Reason, Reporter, Subject};
use crate::host;
use crate::policy::{Connection, FlowDirection, Locality, Policy, Verdict, group_of, plain};
use crate::poller::Token;
use hickory_proto::op::Message;
use rules::rule::{DomainName, Group, Protocol};
use schemas::spec::Network;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// The limit of DNS queries over TCP, each of which has a thread.
const TCP_QUERIES_MAX: usize = 8;

/// The policy as the name server needs it.
pub(super) struct PolicyEvaluator<'a> {
    pub(super) policy: &'a Policy,
    pub(super) addresses: &'a Addresses,
    pub(super) reporter: &'a mut Reporter,
    pub(super) own: &'a mut OwnAddresses,
    pub(super) now: Instant,
}

impl NameRules for PolicyEvaluator<'_> {
    fn allows_query(&mut self, name: &DomainName, transport: Protocol) -> bool {
        let verdict = self.policy.decide_name(name, transport);
        if !verdict.allowed {
            let subject = Subject::Name { name: name.to_string() };
            self.reporter.refused(subject, self.policy.reason(&verdict), self.now);
        }
        verdict.allowed
    }

    fn allows_alias(&mut self, name: &DomainName, alias: &DomainName, transport: Protocol) -> bool {
        let denied = self.policy.denies_alias(alias, transport);
        if denied {
            let reason = self.policy.reason(&self.policy.decide_name(alias, transport));
            let text = format!("it is an alias of {alias}: {}", reason.text);
            self.reporter.refused(Subject::Name { name: name.to_string() }, reason.with(text), self.now);
        }
        !denied
    }

    fn allows_peer(&mut self, name: &DomainName, address: IpAddr, transport: Protocol) -> bool {
        self.policy.allows_answer(address, Locality::Peer) || self.allows_query(name, transport)
    }

    fn allows_address(&mut self, name: &DomainName, address: IpAddr) -> bool {
        let now = self.now;
        let locality = locality_by(self.addresses, address, |address| self.own.contains(address, now));
        let allowed = self.policy.allows_answer(address, locality);
        if !allowed {
            let subject = Subject::Answer { name: name.to_string(), address };
            self.reporter.refused(subject, "it is not public, and no rule allows the address", self.now);
        }
        allowed
    }
}

/// Where an address is, as seen from the host.
pub(super) fn locality_of(addresses: &Addresses, address: IpAddr) -> Locality {
    locality_by(addresses, address, host::is_own)
}

/// Where the host reaches the target of a connection from the guest.
pub(super) fn host_target(remote: SocketAddr, locality: Locality) -> SocketAddr {
    match locality {
        Locality::Gateway => gateway_to_loopback(remote),
        Locality::Host | Locality::Peer | Locality::Elsewhere => {
            SocketAddr::new(plain(remote.ip()), remote.port())
        }
    }
}

fn locality_by(addresses: &Addresses, address: IpAddr, is_own: impl FnOnce(IpAddr) -> bool) -> Locality {
    let address = plain(address);
    if addresses.is_gateway(address) {
        Locality::Gateway
    } else if is_own(address) {
        Locality::Host
    } else {
        Locality::Elsewhere
    }
}

/// An outside connection to a published port.
pub(super) fn inbound_connection(protocol: Protocol, peer: IpAddr, port: u16) -> Connection<'static> {
    let locality = if host::is_own(peer) { Locality::Host } else { Locality::Elsewhere };
    Connection {
        direction: FlowDirection::Inbound,
        protocol,
        address: peer,
        port: Some(port),
        names: &[],
        locality,
    }
}

impl Worker {
    pub(super) fn name_server_and_rules(&mut self) -> (&mut NameServer, PolicyEvaluator<'_>) {
        let judge = PolicyEvaluator {
            policy: &self.policy,
            addresses: &self.addresses,
            reporter: &mut self.reporter,
            own: &mut self.own,
            now: self.now,
        };
        (&mut self.names, judge)
    }

    /// Decides on a connection from the guest and reports a refusal.
    pub(super) fn decide_outbound(
        &mut self,
        protocol: Protocol,
        target: SocketAddr,
    ) -> (Verdict, Arc<[DomainName]>, Locality) {
        let names = self.names.names_of(target.ip(), self.now);
        let locality = if self.names.is_peer(target.ip()) {
            Locality::Peer
        } else {
            locality_of(&self.addresses, target.ip())
        };
        let port = (!protocol.is_icmp()).then_some(target.port());
        let connection = Connection {
            direction: FlowDirection::Outbound,
            protocol,
            address: target.ip(),
            port,
            names: &names,
            locality,
        };
        let verdict = self.policy.decide(&connection);
        if !verdict.allowed {
            let reason = self.policy.reason(&verdict);
            self.refuse(Subject::outbound(protocol, target, self.name_of(target.ip()).as_ref()), reason);
        }
        (verdict, names, locality)
    }

    /// The name that stands for an address in reports.
    pub(super) fn name_of(&self, address: IpAddr) -> Option<DomainName> {
        self.names.local_name_of(address).or_else(|| self.names.last_name_of(address, self.now))
    }

    pub(super) fn refuse(&mut self, subject: Subject, reason: impl Into<Reason>) {
        self.reporter.refused(subject, reason, self.now);
    }

    /// Records a connection that the rules have allowed, once.
    pub(super) fn record_tcp(&mut self, id: u64) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        if std::mem::replace(&mut flow.recorded, true) || matches!(flow.endpoint, Endpoint::NameServer(_)) {
            return;
        }
        let shown = match &flow.server_name {
            ServerName::Name(name) if flow.names.contains(name) => Some(name.clone()),
            _ => None,
        };
        match flow.direction {
            FlowDirection::Outbound => {
                let (remote, locality) = (flow.key.remote, flow.locality);
                self.record_outbound(Protocol::Tcp, remote, locality, shown);
            }
            FlowDirection::Inbound => {
                let (peer, port, name) = (flow.other, flow.key.guest.port(), flow.names.first().cloned());
                self.record_inbound(Protocol::Tcp, peer, port, name);
            }
        }
    }

    /// Records allowed traffic of the guest; `shown` is the server name, if it was inspected.
    pub(super) fn record_outbound(
        &mut self,
        protocol: Protocol,
        remote: SocketAddr,
        locality: Locality,
        shown: Option<DomainName>,
    ) {
        let address = plain(remote.ip());
        let is_local = self.names.local_name_of(remote.ip()).is_some();
        // A rule for the name alone does not let an answer pass that leads to another group.
        let is_public = locality == Locality::Elsewhere && group_of(address) == Some(Group::Public);
        let is_enough = is_local || is_public;
        let name = shown.or_else(|| self.name_of(remote.ip()));
        let address = Some(address).filter(|_| name.is_none() || !is_enough);
        let (direction, protocol, port) = (FlowDirection::Outbound, protocol.as_str(), remote.port());
        self.recorder.record(Traffic::Flow { direction, protocol, name, address, port }, self.now);
    }

    /// Records allowed traffic to the guest; `name` is that of a peer.
    pub(super) fn record_inbound(
        &mut self,
        protocol: Protocol,
        peer: IpAddr,
        port: u16,
        name: Option<DomainName>,
    ) {
        let address = Some(plain(peer)).filter(|_| name.is_none());
        let (direction, protocol) = (FlowDirection::Inbound, protocol.as_str());
        self.recorder.record(Traffic::Flow { direction, protocol, name, address, port }, self.now);
    }

    /// Decides on a connection to the guest and reports a refusal.
    pub(super) fn decide_inbound(&mut self, protocol: Protocol, peer: IpAddr, port: u16) -> (bool, Locality) {
        let connection = inbound_connection(protocol, peer, port);
        let verdict = self.policy.decide(&connection);
        if !verdict.allowed {
            let reason = self.policy.reason(&verdict);
            self.refuse(Subject::inbound(protocol, peer, port, None), reason);
        }
        (verdict.allowed, connection.locality)
    }

    /// Replaces the rules and resets the connections that they forbid.
    pub(super) fn set_rules(&mut self, network: &Network) {
        self.policy = Policy::new(network);
        let (policy, names) = (&self.policy, &self.names);
        let is_forbidden = |flow: &Flow| {
            if matches!(flow.endpoint, Endpoint::NameServer(_)) {
                return false;
            }
            let verdict = policy.decide(&flow.connection());
            let is_shared = flow.direction == FlowDirection::Outbound
                && flow.locality != Locality::Gateway
                && !names.is_peer(flow.key.remote.ip());
            let name_decides = verdict.allowed && verdict.by_name && is_shared;
            !verdict.allowed
                || name_decides
                    && match (&flow.server_name, &flow.phase) {
                        (ServerName::Name(name), _) => !policy.allows_server_name(&flow.connection(), name),
                        (ServerName::Absent, _) => false,
                        // The name is still to be checked.
                        (ServerName::Unknown, Phase::Connecting { .. } | Phase::Guarded { .. }) => false,
                        // Its name was not inspected, as no domain rule decided.
                        (ServerName::Unknown, Phase::Open | Phase::Forbidden { .. }) => true,
                    }
        };
        let cut: Vec<u64> =
            self.flows.iter().filter(|(_, flow)| is_forbidden(flow)).map(|(id, _)| *id).collect();
        for id in cut {
            if let Some(flow) = self.flows.get(&id) {
                let (direction, key, other) = (flow.direction, flow.key, flow.other);
                let name = flow.names.first().cloned();
                self.cut(id);
                let reason = "cut: the rules have changed";
                let subject = match direction {
                    FlowDirection::Outbound => Subject::outbound(Protocol::Tcp, key.remote, name.as_ref()),
                    FlowDirection::Inbound => {
                        Subject::inbound(Protocol::Tcp, other, key.guest.port(), name.as_ref())
                    }
                };
                self.refuse(subject, reason);
            }
        }
        self.udp.close_all();
        self.reevaluate_clients();
    }

    /// Closes a connection; the guest's side is reset.
    pub(super) fn cut(&mut self, id: u64) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        if let Phase::Connecting { syn } = &mut flow.phase {
            let syn = std::mem::take(syn);
            self.remove_flow(id);
            self.refuse_tcp(&syn);
        } else {
            flow.abort();
            self.busy.push(id);
        }
    }

    /// Handles a DNS query of the guest.
    pub(super) fn handle_query(&mut self, bytes: &[u8], client: Client) {
        let now = self.now;
        let (names, mut rules) = self.name_server_and_rules();
        if let Some(answered) = names.handle_query(bytes, client, &mut rules, now) {
            self.on_answered(answered);
        }
    }

    pub(super) fn watch_upstream(&mut self, number: u64) {
        if let Some(socket) = self.names.socket(number) {
            let _ = self.poller.add(socket, Token::Question(number));
        }
    }

    /// Reads the response of a name server.
    pub(super) fn on_upstream_readable(&mut self, number: u64) {
        let now = self.now;
        let (names, mut rules) = self.name_server_and_rules();
        if let Some(answered) = names.on_readable(number, &mut rules, now) {
            self.on_answered(answered);
        }
    }

    /// Queries over TCP, in a thread of its own.
    pub(super) fn query_over_tcp(&mut self, client: Client, question: Message, server: SocketAddr) {
        let (commands, wake) = (self.commands.clone(), self.wake.clone());
        let answer = move || {
            let bytes = query_tcp(&question, server);
            let _ = commands.send(Command::TcpAnswer { bytes, question: Box::new(question), client });
            wake_up(&wake);
        };
        if self.tcp_queries < TCP_QUERIES_MAX
            && std::thread::Builder::new().name("long answer".to_owned()).spawn(answer).is_ok()
        {
            self.tcp_queries += 1;
        }
    }

    /// Sends a DNS response to its client.
    pub(super) fn send_answer(&mut self, client: Client, bytes: &[u8]) {
        match client {
            Client::Udp { guest, server } => {
                self.tx.frame(&crate::wire::udp_frame(server, guest, bytes));
            }
            Client::Tcp(id) => {
                if let Some(flow) = self.flows.get_mut(&id) {
                    flow.answer(bytes);
                    self.busy.push(id);
                }
            }
        }
    }
}

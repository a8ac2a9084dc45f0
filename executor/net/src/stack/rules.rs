//! The rules at work: asked about connections and names, told of to whoever watches.

use super::handle::Command;
use super::own::OwnAddresses;
use super::tcp::{Flow, Peer, Phase, Shown};
use super::{Worker, wake_up};
use crate::address::Addresses;
use crate::dns::{Client, NameRules, Names, Outcome, over_tcp};
use crate::event::{Reason, Reporter, Subject};
use crate::host;
use crate::policy::{Connection, Place, Policy, Verdict, Way};
use crate::poller::Token;
use hickory_proto::op::Message;
use rules::rule::{DomainName, Protocol};
use schemas::spec::Network;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// How many questions may be open over TCP, each with a thread.
const LONG_QUESTIONS_MAX: usize = 8;

/// The rules, for the name server.
pub(super) struct Judge<'a> {
    pub(super) policy: &'a Policy,
    pub(super) addresses: &'a Addresses,
    pub(super) reporter: &'a mut Reporter,
    pub(super) own: &'a mut OwnAddresses,
    pub(super) now: Instant,
}

impl NameRules for Judge<'_> {
    fn may_ask(&mut self, name: &DomainName, transport: Protocol) -> bool {
        let verdict = self.policy.decide_name(name, transport);
        if !verdict.allowed {
            let subject = Subject::Name { name: name.to_string() };
            self.reporter.refused(subject, self.policy.reason(&verdict), self.now);
        }
        verdict.allowed
    }

    fn may_be_alias(&mut self, name: &DomainName, alias: &DomainName, transport: Protocol) -> bool {
        let denied = self.policy.denies_alias(alias, transport);
        if denied {
            let reason = self.policy.reason(&self.policy.decide_name(alias, transport));
            let text = format!("it is an alias of {alias}: {}", reason.text);
            self.reporter.refused(Subject::Name { name: name.to_string() }, reason.with(text), self.now);
        }
        !denied
    }

    fn may_meet(&mut self, name: &DomainName, address: IpAddr, transport: Protocol) -> bool {
        self.policy.may_be_answered(address, Place::Elsewhere) || self.may_ask(name, transport)
    }

    fn may_be(&mut self, name: &DomainName, address: IpAddr) -> bool {
        let now = self.now;
        let place = place_by(self.addresses, address, |address| self.own.hold(address, now));
        let allowed = self.policy.may_be_answered(address, place);
        if !allowed {
            let subject = Subject::Answer { name: name.to_string(), address };
            self.reporter.refused(subject, "it is not public, and no rule allows the address", self.now);
        }
        allowed
    }
}

/// What an address is to the host.
pub(super) fn place_of(addresses: &Addresses, address: IpAddr) -> Place {
    place_by(addresses, address, host::is_own)
}

fn place_by(addresses: &Addresses, address: IpAddr, is_own: impl FnOnce(IpAddr) -> bool) -> Place {
    let plain = crate::policy::plain(address);
    if addresses.is_gateway(plain) {
        Place::Gateway
    } else if is_own(plain) {
        Place::Host
    } else {
        Place::Elsewhere
    }
}

/// What comes to a published port, from outside.
pub(super) fn incoming(protocol: Protocol, peer: IpAddr, port: u16) -> Connection<'static> {
    let place = if host::is_own(peer) { Place::Host } else { Place::Elsewhere };
    Connection { way: Way::In, protocol, address: peer, port: Some(port), names: &[], place }
}

impl Worker {
    pub(super) fn names_and_rules(&mut self) -> (&mut Names, Judge<'_>) {
        let judge = Judge {
            policy: &self.policy,
            addresses: &self.addresses,
            reporter: &mut self.reporter,
            own: &mut self.own,
            now: self.now,
        };
        (&mut self.names, judge)
    }

    /// Decides on a connection from the guest, and tells of a refusal.
    pub(super) fn decide_out(
        &mut self,
        protocol: Protocol,
        target: SocketAddr,
    ) -> (Verdict, Arc<[DomainName]>, Place) {
        let names = self.names.names_of(target.ip(), self.now);
        let place = place_of(&self.addresses, target.ip());
        let port = (!protocol.is_icmp()).then_some(target.port());
        let connection =
            Connection { way: Way::Out, protocol, address: target.ip(), port, names: &names, place };
        let verdict = self.policy.decide(&connection);
        if !verdict.allowed {
            let reason = self.policy.reason(&verdict);
            self.refuse_out(protocol, target, names.first(), reason);
        }
        (verdict, names, place)
    }

    pub(super) fn refuse_out(
        &mut self,
        protocol: Protocol,
        target: SocketAddr,
        name: Option<&DomainName>,
        reason: impl Into<Reason>,
    ) {
        let subject =
            Subject::Out { protocol: protocol.as_str(), target, name: name.map(ToString::to_string) };
        self.reporter.refused(subject, reason, self.now);
    }

    /// Decides on a connection to the guest, and tells of a refusal.
    pub(super) fn decide_in(&mut self, protocol: Protocol, peer: IpAddr, port: u16) -> (bool, Place) {
        let connection = incoming(protocol, peer, port);
        let verdict = self.policy.decide(&connection);
        if !verdict.allowed {
            let reason = self.policy.reason(&verdict);
            self.refuse_in(protocol, (peer, port), None, reason);
        }
        (verdict.allowed, connection.place)
    }

    pub(super) fn refuse_in(
        &mut self,
        protocol: Protocol,
        (peer, port): (IpAddr, u16),
        name: Option<&DomainName>,
        reason: impl Into<Reason>,
    ) {
        let name = name.map(ToString::to_string);
        let subject = Subject::In { protocol: protocol.as_str(), peer, port, name };
        self.reporter.refused(subject, reason, self.now);
    }

    /// Other rules: what they forbid is cut.
    pub(super) fn follow(&mut self, network: &Network) {
        self.policy = Policy::new(network);
        let (policy, names) = (&self.policy, &self.names);
        let forbidden = |flow: &Flow| {
            if matches!(flow.peer, Peer::Names(_)) {
                return false;
            }
            let verdict = policy.decide(&flow.connection());
            let is_shared = flow.way == Way::Out
                && flow.place != Place::Gateway
                && !names.is_neighbor(flow.key.remote.ip());
            let names_decide = verdict.allowed && verdict.by_name && is_shared;
            !verdict.allowed
                || names_decide
                    && match (&flow.shown, &flow.phase) {
                        (Shown::Name(name), _) => !policy.may_show(&flow.connection(), name),
                        (Shown::Nameless, _) => false,
                        // It will be looked at.
                        (Shown::Unknown, Phase::Connecting { .. } | Phase::Guarded { .. }) => false,
                        // What it has shown was not looked at, as no name decided.
                        (Shown::Unknown, Phase::Open) => true,
                    }
        };
        let cut: Vec<u64> =
            self.flows.iter().filter(|(_, flow)| forbidden(flow)).map(|(id, _)| *id).collect();
        for id in cut {
            if let Some(flow) = self.flows.get_mut(&id) {
                let (way, key, other) = (flow.way, flow.key, flow.other);
                let name = flow.names.first().cloned();
                flow.abort();
                self.busy.push(id);
                let reason = "cut: the rules have changed";
                match way {
                    Way::Out => self.refuse_out(Protocol::Tcp, key.remote, name.as_ref(), reason),
                    Way::In => {
                        self.refuse_in(Protocol::Tcp, (other, key.guest.port()), name.as_ref(), reason)
                    }
                }
            }
        }
        self.udp.close_all();
        self.judge_peers();
    }

    /// Takes a question for the name server.
    pub(super) fn ask(&mut self, bytes: &[u8], client: Client) {
        let now = self.now;
        let (names, mut rules) = self.names_and_rules();
        match names.ask(bytes, client, &mut rules, now) {
            Outcome::Answer(bytes) => self.give(client, &bytes),
            Outcome::Asked(number) => self.watch_question(number),
            Outcome::Nothing => {}
        }
    }

    pub(super) fn watch_question(&mut self, number: u64) {
        if let Some(socket) = self.names.socket(number) {
            let _ = self.poller.add(socket, Token::Question(number));
        }
    }

    /// Hears a name server of the host.
    pub(super) fn hear(&mut self, number: u64) {
        let now = self.now;
        let (names, mut rules) = self.names_and_rules();
        if let Some(answered) = names.hear(number, &mut rules, now) {
            self.answered(answered);
        }
    }

    /// Asks over TCP, in a thread that may wait.
    pub(super) fn ask_long(&mut self, client: Client, question: Message, server: SocketAddr) {
        let (commands, wake) = (self.commands.clone(), self.wake.clone());
        let answer = move || {
            let bytes = over_tcp(&question, server);
            let _ = commands.send(Command::LongAnswer { bytes, question: Box::new(question), client });
            wake_up(&wake);
        };
        if self.long_questions < LONG_QUESTIONS_MAX
            && std::thread::Builder::new().name("long answer".to_owned()).spawn(answer).is_ok()
        {
            self.long_questions += 1;
        }
    }

    /// Gives an answer to whoever has asked.
    pub(super) fn give(&mut self, client: Client, bytes: &[u8]) {
        match client {
            Client::Udp { guest, server } => {
                self.outgoing.frame(&crate::wire::udp_frame(server, guest, bytes));
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

//! The DNS forwarder of a sandbox: it queries the name servers of the Sandboxfile or of the host, and only for names that
//! the rules allow.
//!
//! Answers are checked before the sandbox gets them, and remembered: a domain rule allows connections to an address for
//! as long as the answer that contained it was valid.

mod answer;
mod cache;
mod peers;
mod pins;
mod session;
mod upstream;

pub use session::TcpSession;
pub(crate) use upstream::query_tcp;

use crate::peer::{PeerLookup, PeerRecord};
pub(crate) use answer::Answered;
use answer::{AnswerFilter, refuse, reply};
use cache::{Cache, CachedAnswer};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, rdata};
use peers::{PeerAnswer, Peers};
use pins::Pins;
use rules::rule::{DomainName, Protocol};
use schemas::spec::Dns;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};
use upstream::Upstreams;

pub use answer::NameRules;

/// The response timeout of one server, after which the next one is queried.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// The number of attempts over all servers.
const ATTEMPTS: usize = 4;
/// The limit of pending queries.
const QUERIES_MAX: usize = 256;
/// The TTL of local names, in seconds.
const LOCAL_TTL: u32 = 5;
/// The largest UDP message that is advertised and accepted, in bytes.
const UDP_BYTES: usize = 4096;

/// The origin of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// A UDP packet.
    Udp { guest: SocketAddr, server: SocketAddr },
    /// A TCP connection, by its number.
    Tcp(u64),
}

impl Client {
    /// The transport of the query.
    fn transport(self) -> Protocol {
        match self {
            Self::Udp { .. } => Protocol::Udp,
            Self::Tcp(_) => Protocol::Tcp,
        }
    }
}

/// A query of the guest, and its origin.
#[derive(Clone, Copy)]
pub(crate) struct ClientQuery<'a> {
    pub(crate) question: &'a Message,
    pub(crate) client: Client,
}

/// The response of a server, and its length in bytes on the wire.
struct ServerAnswer {
    message: Message,
    length: usize,
}

struct Pending {
    client: Client,
    question: Message,
    id: u16,
    socket: UdpSocket,
    attempt: usize,
    deadline: Instant,
}

/// The name server.
pub(crate) struct NameServer {
    upstreams: Upstreams,
    pending: HashMap<u64, Pending>,
    next: u64,
    cache: Cache,
    pins: Pins,
    /// Names that are answered locally.
    local: BTreeMap<DomainName, Vec<IpAddr>>,
    peers: Peers,
    /// The domains in which the guest's resolver looks up names without a dot.
    search: Vec<DomainName>,
}

impl NameServer {
    pub(crate) fn new(local: BTreeMap<DomainName, Vec<IpAddr>>) -> Self {
        Self {
            upstreams: Upstreams::default(),
            pending: HashMap::new(),
            next: 0,
            cache: Cache::default(),
            pins: Pins::default(),
            local,
            peers: Peers::default(),
            search: Vec::new(),
        }
    }

    /// The names that an address was answered for.
    pub(crate) fn names_of(&self, address: IpAddr, now: Instant) -> Arc<[DomainName]> {
        let pinned = self.pins.names_of(address, now);
        let local = self.local.iter().filter(|(_, addresses)| addresses.contains(&address));
        let local = local.map(|(name, _)| name.clone());
        let mut own = local.chain(self.peers.name_at(address)).peekable();
        if own.peek().is_none() {
            return pinned;
        }
        pinned.iter().cloned().chain(own).collect()
    }

    /// The name of the host or of a peer, if the address is one's.
    pub(crate) fn local_name_of(&self, address: IpAddr) -> Option<DomainName> {
        let local = self.local.iter().find(|(_, addresses)| addresses.contains(&address));
        local.map(|(name, _)| name.clone()).or_else(|| self.peers.name_at(address))
    }

    /// The name that an address was last answered for.
    pub(crate) fn last_name_of(&self, address: IpAddr, now: Instant) -> Option<DomainName> {
        self.pins.last_name_of(address, now)
    }

    #[cfg(test)]
    pub(crate) fn pin(&mut self, address: IpAddr, name: DomainName, now: Instant) {
        self.pins.pin(address, name, Duration::from_secs(3600), now);
    }

    /// Sets how peers are looked up.
    pub(crate) fn set_peers(&mut self, find: PeerLookup) {
        self.peers = Peers::new(find);
    }

    /// Sets the servers and the search domains. Answers of other servers are forgotten.
    pub(crate) fn set_dns(&mut self, dns: &Dns) {
        if self.upstreams.declare(dns.servers.iter().map(|server| server.socket()).collect()) {
            self.cache = Cache::default();
        }
        self.search.clone_from(&dns.search);
    }

    /// Whether an address was answered for a peer, even if that peer is gone.
    pub(crate) fn is_peer(&self, address: IpAddr) -> bool {
        self.peers.name_at(address).is_some()
    }

    /// The peer that an address was answered for, if it still has that address.
    pub(crate) fn peer_at(&self, address: IpAddr) -> Option<PeerRecord> {
        self.peers.at(address)
    }

    /// Removes expired entries, except for addresses that are in use.
    pub(crate) fn purge(&mut self, now: Instant, in_use: impl Fn(IpAddr) -> bool) {
        self.pins.purge(now, in_use);
        self.cache.purge(now);
    }

    /// The socket of a pending query.
    pub(crate) fn socket(&self, number: u64) -> Option<&UdpSocket> {
        self.pending.get(&number).map(|pending| &pending.socket)
    }

    /// Answers or forwards a query of the guest.
    pub(crate) fn handle_query(
        &mut self,
        bytes: &[u8],
        client: Client,
        rules: &mut impl NameRules,
        now: Instant,
    ) -> Option<Answered> {
        let question = Message::from_vec(bytes).ok()?;
        if question.message_type() != MessageType::Query {
            return None;
        }
        let refused = |code| Some(Answered::Message(client, refuse(&question, code)));
        let query = match question.queries() {
            [query] if question.op_code() == OpCode::Query && query.query_class() == DNSClass::IN => {
                query.clone()
            }
            _ => return refused(ResponseCode::NotImp),
        };
        let Some(name) = domain_name(query.name()) else { return refused(ResponseCode::Refused) };
        let local = |addresses: &[IpAddr]| {
            let records = addresses.iter().filter_map(|address| local_record(&query, *address)).collect();
            let bytes = reply(&question, ResponseCode::NoError, records, limit(&question, client));
            Some(Answered::Message(client, bytes))
        };
        if let Some(addresses) = self.local.get(&name) {
            return local(addresses);
        }
        let transport = client.transport();
        match self.peers.look_up(&name, query.query_type(), transport, rules) {
            PeerAnswer::Addresses(addresses) => return local(&addresses),
            PeerAnswer::NoSuchPeer => return refused(ResponseCode::NXDomain),
            PeerAnswer::Refused => return refused(ResponseCode::Refused),
            PeerAnswer::NotAPeer => {}
        }
        if !rules.allows_query(&name, transport) {
            // The guest's resolver may have added the domain, and some give up at REFUSED before they try the name itself.
            let is_searched = self.search.iter().any(|domain| name.is_within(domain));
            return refused(if is_searched { ResponseCode::NXDomain } else { ResponseCode::Refused });
        }
        if let Some(answer) = self.cache.get(&query, now) {
            let query = ClientQuery { question: &question, client };
            return Some(Answered::Message(client, self.filter(&answer, query, rules, now)));
        }
        if self.pending.len() >= QUERIES_MAX {
            return refused(ResponseCode::ServFail);
        }
        Some(self.forward(question, client, 0, now))
    }

    /// Forwards a query to the server of this attempt, or to a later one if that fails.
    fn forward(&mut self, question: Message, client: Client, first: usize, now: Instant) -> Answered {
        for attempt in first..ATTEMPTS {
            let Some(server) = self.upstreams.server(attempt, now) else { break };
            let Some((id, bytes)) = upstream::question(&question) else { break };
            let Ok(socket) = crate::host::udp_to(server) else { continue };
            if socket.send(&bytes).is_err() {
                continue;
            }
            let number = self.next;
            self.next += 1;
            let deadline = now + SERVER_TIMEOUT;
            self.pending.insert(number, Pending { client, question, id, socket, attempt, deadline });
            return Answered::Forwarded(number);
        }
        Answered::Message(client, refuse(&question, ResponseCode::ServFail))
    }

    /// Reads the response of a server; `None` if there is nothing to do yet.
    pub(crate) fn on_readable(
        &mut self,
        number: u64,
        rules: &mut impl NameRules,
        now: Instant,
    ) -> Option<Answered> {
        let mut buffer = [0; UDP_BYTES];
        loop {
            let pending = self.pending.get(&number)?;
            let count = match pending.socket.recv(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
                // No server listens there.
                Err(_) => return self.try_next_server(number, now),
            };
            let Ok(answer) = Message::from_vec(&buffer[..count]) else { continue };
            // Responses to anything but this query are ignored.
            if answer.id() != pending.id
                || answer.message_type() != MessageType::Response
                || !is_same_question(&answer, &pending.question)
            {
                continue;
            }
            if matches!(answer.response_code(), ResponseCode::ServFail | ResponseCode::Refused)
                && pending.attempt + 1 < ATTEMPTS.min(self.upstreams.count())
            {
                return self.try_next_server(number, now);
            }
            let Pending { client, question, attempt: pending_attempt, .. } = self.pending.remove(&number)?;
            if answer.truncated()
                && matches!(client, Client::Tcp(_))
                && let Some(server) = self.upstreams.server(pending_attempt, now)
            {
                return Some(Answered::Truncated { client, question, server });
            }
            let answer = ServerAnswer { message: answer, length: count };
            return Some(self.finish(answer, ClientQuery { question: &question, client }, rules, now));
        }
    }

    /// Takes the response to a query over TCP; `None` if there was none.
    pub(crate) fn on_tcp_answer(
        &mut self,
        bytes: Option<&[u8]>,
        query: ClientQuery<'_>,
        rules: &mut impl NameRules,
        now: Instant,
    ) -> Answered {
        let length = bytes.map(<[u8]>::len).unwrap_or_default();
        let message = bytes.and_then(|bytes| Message::from_vec(bytes).ok());
        match message.filter(|message| is_same_question(message, query.question)) {
            Some(message) => self.finish(ServerAnswer { message, length }, query, rules, now),
            None => Answered::Message(query.client, refuse(query.question, ResponseCode::ServFail)),
        }
    }

    /// Answers with the response of a server.
    fn finish(
        &mut self,
        answer: ServerAnswer,
        query: ClientQuery<'_>,
        rules: &mut impl NameRules,
        now: Instant,
    ) -> Answered {
        let ServerAnswer { mut message, length } = answer;
        // The guest gets none of these.
        message.take_name_servers();
        message.take_additionals();
        let answer = Arc::new(message);
        let bytes = self.filter(&CachedAnswer { answer: answer.clone(), age: 0 }, query, rules, now);
        self.cache.put(query.question.query().cloned().unwrap_or_default(), answer, length, now);
        Answered::Message(query.client, bytes)
    }

    fn filter(
        &mut self,
        aged: &CachedAnswer,
        query: ClientQuery<'_>,
        rules: &mut impl NameRules,
        now: Instant,
    ) -> Vec<u8> {
        let ClientQuery { question, client } = query;
        let answer = &*aged.answer;
        if answer.truncated() {
            return answer::truncated(question);
        }
        let Some(name) = question.query().and_then(|query| domain_name(query.name())) else {
            return refuse(question, ResponseCode::ServFail);
        };
        let judged = AnswerFilter { answer, name: &name, transport: client.transport(), rules }.filter();
        match judged {
            Some(mut records) => {
                for record in &mut records {
                    record.set_ttl(record.ttl().saturating_sub(aged.age));
                    if let Some(address) = answer::address(record) {
                        self.pins.pin(address, name.clone(), Duration::from_secs(record.ttl().into()), now);
                    }
                }
                reply(question, answer.response_code(), records, limit(question, client))
            }
            None => refuse(question, ResponseCode::Refused),
        }
    }

    /// Forwards a query to the next server after one that failed; a failure response if there is none left.
    fn try_next_server(&mut self, number: u64, now: Instant) -> Option<Answered> {
        let Pending { client, question, attempt, .. } = self.pending.remove(&number)?;
        Some(self.forward(question, client, attempt + 1, now))
    }

    /// Moves timed-out queries to their next server.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Answered> {
        let late: Vec<u64> =
            self.pending.iter().filter(|(_, one)| one.deadline <= now).map(|(number, _)| *number).collect();
        late.into_iter().filter_map(|number| self.try_next_server(number, now)).collect()
    }

    /// The earliest timeout of a pending query.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.deadline).min()
    }
}

/// The longest response to a client, in bytes.
fn limit(question: &Message, client: Client) -> usize {
    match client {
        Client::Tcp(_) => usize::from(u16::MAX),
        Client::Udp { .. } => usize::from(question.max_payload()).clamp(512, UDP_BYTES),
    }
}

fn is_same_question(answer: &Message, question: &Message) -> bool {
    match (answer.queries(), question.queries()) {
        ([theirs], [ours]) => {
            theirs.query_type() == ours.query_type()
                && theirs.query_class() == ours.query_class()
                && domain_name(theirs.name()) == domain_name(ours.name())
        }
        _ => false,
    }
}

/// A name in the form that rules use; `None` if it is not a valid host name.
pub(crate) fn domain_name(name: &Name) -> Option<DomainName> {
    DomainName::new(&name.to_ascii()).ok()
}

fn local_record(query: &Query, address: IpAddr) -> Option<Record> {
    let data = match (query.query_type(), address) {
        (RecordType::A | RecordType::ANY, IpAddr::V4(four)) => RData::A(rdata::A(four)),
        (RecordType::AAAA | RecordType::ANY, IpAddr::V6(six)) => RData::AAAA(rdata::AAAA(six)),
        _ => return None,
    };
    Some(Record::from_rdata(query.name().clone(), LOCAL_TTL, data))
}

#[cfg(test)]
mod tests;

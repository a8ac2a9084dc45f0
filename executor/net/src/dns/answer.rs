//! Filters the answers of name servers: the guest gets only records that answer its query and that the rules allow.

use super::Client;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::svcb::{SVCB, SvcParamKey};
use hickory_proto::rr::rdata::{HTTPS, SVCB as SvcbRecord};
use hickory_proto::rr::{RData, Record, RecordType};
use rules::rule::{DomainName, Protocol};
use std::net::{IpAddr, SocketAddr};

/// The longest CNAME chain that is followed.
const ALIASES_MAX: usize = 16;

/// The next step for a query.
#[derive(Debug)]
pub(crate) enum Answered {
    /// Send this message to the client.
    Message(Client, Vec<u8>),
    /// A server was queried; its response arrives at the socket of the query with this number.
    Forwarded(u64),
    /// The answer did not fit into a UDP message; query this server over TCP.
    Truncated { client: Client, question: Message, server: SocketAddr },
}

/// The decisions of the rules about names and their addresses. Implementations report each refusal.
pub trait NameRules {
    /// Whether a name may be queried over a transport.
    fn allows_query(&mut self, name: &DomainName, transport: Protocol) -> bool;
    /// Whether a name may be an alias of another one.
    fn allows_alias(&mut self, name: &DomainName, alias: &DomainName, transport: Protocol) -> bool;
    /// Whether the name of a peer with this address may be resolved.
    fn allows_peer(&mut self, name: &DomainName, address: IpAddr, transport: Protocol) -> bool;
    /// Whether a name may resolve to an address.
    fn allows_address(&mut self, name: &DomainName, address: IpAddr) -> bool;
}

/// Filters one answer.
pub(super) struct AnswerFilter<'a, R> {
    pub(super) answer: &'a Message,
    pub(super) name: &'a DomainName,
    /// The transport of the query.
    pub(super) transport: Protocol,
    pub(super) rules: &'a mut R,
}

impl<R: NameRules> AnswerFilter<'_, R> {
    /// Returns the records to pass on; `None` if the whole answer is refused.
    pub(super) fn filter(self) -> Option<Vec<Record>> {
        let Self { answer, name, transport, rules } = self;
        let mut owner = name.clone();
        let mut kept = Vec::new();
        for _ in 0..ALIASES_MAX {
            let own: Vec<_> = answer
                .answers()
                .iter()
                .filter(|record| super::domain_name(record.name()).as_ref() == Some(&owner))
                .collect();
            let alias = own.iter().find_map(|record| match record.data() {
                RData::CNAME(alias) => Some((*record, super::domain_name(&alias.0)?)),
                _ => None,
            });
            match alias {
                Some((record, alias)) => {
                    if !rules.allows_alias(name, &alias, transport) {
                        return None;
                    }
                    kept.push(record.clone());
                    owner = alias;
                }
                None => {
                    kept.extend(own.into_iter().filter_map(|record| passed_on(record, name, rules)));
                    return Some(kept);
                }
            }
        }
        None
    }
}

fn passed_on(record: &Record, name: &DomainName, rules: &mut impl NameRules) -> Option<Record> {
    if let Some(address) = address(record) {
        return rules.allows_address(name, address).then(|| record.clone());
    }
    let mut record = record.clone();
    let data = match record.data() {
        RData::HTTPS(HTTPS(service)) => Some(RData::HTTPS(HTTPS(without_hints(service)))),
        RData::SVCB(service) => Some(RData::SVCB(without_hints(service))),
        _ => None,
    };
    if let Some(data) = data {
        record.set_data(data);
    }
    Some(record)
}

/// Removes ECH keys, which would hide the server name, and address hints, which no rule has checked.
fn without_hints(service: &SvcbRecord) -> SVCB {
    let hidden = [SvcParamKey::EchConfigList, SvcParamKey::Ipv4Hint, SvcParamKey::Ipv6Hint];
    let parameters = service.svc_params().iter().filter(|(key, _)| !hidden.contains(key)).cloned().collect();
    SVCB::new(service.svc_priority(), service.target_name().clone(), parameters)
}

/// The address in an A or AAAA record; `None` for other types.
pub(super) fn address(record: &Record) -> Option<IpAddr> {
    match record.data() {
        RData::A(four) => Some(four.0.into()),
        RData::AAAA(six) => Some(six.0.into()),
        _ => None,
    }
}

fn begin(question: &Message, code: ResponseCode) -> Message {
    let mut message = Message::new();
    message.set_id(question.id()).set_message_type(MessageType::Response).set_op_code(OpCode::Query);
    message.set_recursion_desired(question.recursion_desired()).set_recursion_available(true);
    message.set_response_code(code).add_queries(question.queries().iter().cloned());
    message
}

/// A response without records.
pub(super) fn refuse(question: &Message, code: ResponseCode) -> Vec<u8> {
    begin(question, code).to_vec().unwrap_or_default()
}

/// A response with the TC bit set, so that the client retries over TCP.
pub(super) fn truncated(question: &Message) -> Vec<u8> {
    let mut message = begin(question, ResponseCode::NoError);
    message.set_truncated(true);
    message.to_vec().unwrap_or_default()
}

/// A response with records, or a truncated one if it would be longer than `limit` bytes.
pub(super) fn reply(question: &Message, code: ResponseCode, records: Vec<Record>, limit: usize) -> Vec<u8> {
    let mut message = begin(question, code);
    message.add_answers(records.into_iter().filter(|record| record.record_type() != RecordType::OPT));
    match message.to_vec() {
        Ok(bytes) if bytes.len() <= limit => bytes,
        _ => truncated(question),
    }
}

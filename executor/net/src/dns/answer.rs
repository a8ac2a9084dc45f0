//! What the guest is told: only what answers its question, and leads where it may.

use super::Client;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::svcb::{SVCB, SvcParamKey};
use hickory_proto::rr::rdata::{HTTPS, SVCB as SvcbRecord};
use hickory_proto::rr::{RData, Record, RecordType};
use rules::rule::{DomainName, Protocol};
use std::net::{IpAddr, SocketAddr};

/// The longest chain of aliases that is followed.
const ALIASES_MAX: usize = 16;

/// What is done next for a question.
#[derive(Debug)]
pub(crate) enum Answered {
    /// This goes to whoever has asked.
    Message(Client, Vec<u8>),
    /// Another server was asked: the question's new number.
    Retried(u64),
    /// It did not fit into one packet, so this server is asked over TCP.
    Truncated { client: Client, question: Message, server: SocketAddr },
}

/// What the rules say about names and what they stand for; each refusal is told of.
pub trait NameRules {
    /// Whether a name may be asked for, over a transport.
    fn allows_query(&mut self, name: &DomainName, transport: Protocol) -> bool;
    /// Whether a name may stand for another one.
    fn allows_alias(&mut self, name: &DomainName, alias: &DomainName, transport: Protocol) -> bool;
    /// Whether another sandbox of the project, at this address, may be found.
    fn allows_peer(&mut self, name: &DomainName, address: IpAddr, transport: Protocol) -> bool;
    /// Whether a name may stand for an address.
    fn allows_address(&mut self, name: &DomainName, address: IpAddr) -> bool;
}

/// Judges one answer.
pub(super) struct AnswerFilter<'a, R> {
    pub(super) answer: &'a Message,
    pub(super) name: &'a DomainName,
    /// What the question came over.
    pub(super) transport: Protocol,
    pub(super) rules: &'a mut R,
}

impl<R: NameRules> AnswerFilter<'_, R> {
    /// The records that are passed on; nothing when the answer is refused.
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

/// Without keys to hide names with, and without addresses that nobody has judged.
fn without_hints(service: &SvcbRecord) -> SVCB {
    let hidden = [SvcParamKey::EchConfigList, SvcParamKey::Ipv4Hint, SvcParamKey::Ipv6Hint];
    let parameters = service.svc_params().iter().filter(|(key, _)| !hidden.contains(key)).cloned().collect();
    SVCB::new(service.svc_priority(), service.target_name().clone(), parameters)
}

/// The address that a record is about.
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

/// An answer of no records.
pub(super) fn refuse(question: &Message, code: ResponseCode) -> Vec<u8> {
    begin(question, code).to_vec().unwrap_or_default()
}

/// Tells the client to ask over TCP.
pub(super) fn truncated(question: &Message) -> Vec<u8> {
    let mut message = begin(question, ResponseCode::NoError);
    message.set_truncated(true);
    message.to_vec().unwrap_or_default()
}

/// An answer with records, or, where they do not fit, the word that they do not.
pub(super) fn reply(question: &Message, code: ResponseCode, records: Vec<Record>, limit: usize) -> Vec<u8> {
    let mut message = begin(question, code);
    message.add_answers(records.into_iter().filter(|record| record.record_type() != RecordType::OPT));
    match message.to_vec() {
        Ok(bytes) if bytes.len() <= limit => bytes,
        _ => truncated(question),
    }
}

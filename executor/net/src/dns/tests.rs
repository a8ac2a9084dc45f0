use super::*;
use hickory_proto::rr::rdata::svcb::{EchConfigList, IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, CNAME, HTTPS};
use rules::rule::HOST_NAME;
use std::str::FromStr;

/// Allows all names but those with `evil` in them, and all addresses but those in 10.0.0.0/8.
struct Rules(Vec<String>);

impl NameRules for Rules {
    fn allows_query(&mut self, name: &DomainName, _transport: Protocol) -> bool {
        self.0.push(format!("ask {name}"));
        !name.as_str().contains("evil")
    }

    fn allows_alias(&mut self, _name: &DomainName, alias: &DomainName, _transport: Protocol) -> bool {
        self.0.push(format!("alias {alias}"));
        !alias.as_str().contains("evil")
    }

    fn allows_peer(&mut self, name: &DomainName, _address: IpAddr, transport: Protocol) -> bool {
        self.allows_query(name, transport)
    }

    fn allows_address(&mut self, _name: &DomainName, address: IpAddr) -> bool {
        self.0.push(format!("address {address}"));
        !matches!(address, IpAddr::V4(four) if four.octets()[0] == 10)
    }
}

fn name(text: &str) -> Name {
    Name::from_str(text).unwrap()
}

fn question(text: &str, kind: RecordType) -> Message {
    let mut message = Message::new();
    message.set_id(7).set_recursion_desired(true).add_query(Query::query(name(text), kind));
    message
}

fn address(owner: &str, four: [u8; 4]) -> Record {
    Record::from_rdata(name(owner), 30, RData::A(A(four.into())))
}

fn alias(owner: &str, target: &str) -> Record {
    Record::from_rdata(name(owner), 30, RData::CNAME(CNAME(name(target))))
}

fn client() -> Client {
    Client::Udp { guest: "172.16.0.2:4000".parse().unwrap(), server: "172.16.0.1:53".parse().unwrap() }
}

/// The response that the guest gets for an answer of a server: its code and its records as text.
fn respond(query: &Message, records: Vec<Record>) -> (ResponseCode, Vec<String>, NameServer) {
    let mut names = NameServer::new(BTreeMap::new());
    let mut answer = query.clone();
    answer.set_message_type(MessageType::Response).add_answers(records);
    let Answered::Message(_, bytes) = names.finish(
        ServerAnswer { message: answer, length: 0 },
        ClientQuery { question: query, client: client() },
        &mut Rules(Vec::new()),
        Instant::now(),
    ) else {
        panic!("an answer is due")
    };
    let message = Message::from_vec(&bytes).unwrap();
    assert_eq!((message.id(), message.queries()), (7, query.queries()));
    (
        message.response_code(),
        message.answers().iter().map(|record| record.data().to_string()).collect(),
        names,
    )
}

#[test]
fn denied_names_are_refused_without_forwarding() {
    let mut names = NameServer::new(BTreeMap::new());
    let mut rules = Rules(Vec::new());
    let bytes = question("www.EVIL.test.", RecordType::TXT).to_vec().unwrap();
    let answered = names.handle_query(&bytes, client(), &mut rules, Instant::now());
    let Some(Answered::Message(_, bytes)) = answered else { panic!("an answer is due") };
    assert_eq!(Message::from_vec(&bytes).unwrap().response_code(), ResponseCode::Refused);
    assert_eq!(rules.0, ["ask www.evil.test"]);
    assert!(names.pending.is_empty());
    for garbage in [&b""[..], &[0; 11], &[0xff; 40]] {
        assert!(matches!(
            names.handle_query(garbage, client(), &mut rules, Instant::now()),
            None | Some(Answered::Message(..))
        ));
    }
    assert!(names.pending.is_empty());
}

#[test]
fn declared_servers_are_asked_and_the_cache_is_theirs() {
    let first = UdpSocket::bind("127.0.0.1:0").unwrap();
    let second = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dns = |socket: &UdpSocket| Dns {
        servers: vec![socket.local_addr().unwrap().to_string().parse().unwrap()],
        search: vec![DomainName::new("corp.test").unwrap()],
    };
    let (mut names, mut rules) = (NameServer::new(BTreeMap::new()), Rules(Vec::new()));
    let now = Instant::now();
    for socket in [&first, &second] {
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        names.set_dns(&dns(socket));
        for is_cached in [false, true] {
            let bytes = question("a.test.", RecordType::A).to_vec().unwrap();
            let answered = names.handle_query(&bytes, client(), &mut rules, now);
            let Some(Answered::Forwarded(number)) = answered else {
                assert!(is_cached, "it is not forwarded");
                continue;
            };
            assert!(!is_cached, "it is asked again");
            let mut buffer = [0; UDP_BYTES];
            let (count, forwarder) = socket.recv_from(&mut buffer).unwrap();
            let mut answer = Message::from_vec(&buffer[..count]).unwrap();
            answer.set_message_type(MessageType::Response).add_answer(address("a.test.", [1, 2, 3, 4]));
            socket.send_to(&answer.to_vec().unwrap(), forwarder).unwrap();
            let answered = loop {
                match names.on_readable(number, &mut rules, now) {
                    Some(answered) => break answered,
                    None => std::thread::sleep(Duration::from_millis(1)),
                }
            };
            assert!(matches!(answered, Answered::Message(..)));
        }
    }
    // A searched name that is refused does not keep resolvers from the name itself.
    for (name, code) in [("evil.corp.test.", ResponseCode::NXDomain), ("evil.test.", ResponseCode::Refused)] {
        let bytes = question(name, RecordType::A).to_vec().unwrap();
        let answered = names.handle_query(&bytes, client(), &mut rules, now);
        let Some(Answered::Message(_, bytes)) = answered else { panic!("an answer is due") };
        assert_eq!(Message::from_vec(&bytes).unwrap().response_code(), code, "{name}");
    }
}

#[test]
fn local_names_are_answered_locally() {
    let host = DomainName::new(HOST_NAME).unwrap();
    let mut names = NameServer::new(BTreeMap::from([(host, vec!["172.16.0.1".parse().unwrap()])]));
    for (kind, count) in [(RecordType::A, 1), (RecordType::AAAA, 0)] {
        let bytes = question("host.msb.internal.", kind).to_vec().unwrap();
        let answered = names.handle_query(&bytes, client(), &mut Rules(Vec::new()), Instant::now());
        let Some(Answered::Message(_, bytes)) = answered else { panic!("an answer is due") };
        let message = Message::from_vec(&bytes).unwrap();
        assert_eq!((message.response_code(), message.answers().len()), (ResponseCode::NoError, count));
    }
}

#[test]
fn only_records_that_answer_the_query_are_passed_on_and_pinned() {
    let query = question("a.test.", RecordType::A);
    let records = vec![
        alias("a.test.", "b.test."),
        address("b.test.", [1, 2, 3, 4]),
        address("b.test.", [10, 0, 0, 1]),
        // Records that answer another query.
        address("c.test.", [5, 6, 7, 8]),
        address("evil.test.", [5, 6, 7, 9]),
    ];
    let (code, answers, names) = respond(&query, records);
    assert_eq!((code, answers), (ResponseCode::NoError, vec!["b.test.".to_owned(), "1.2.3.4".to_owned()]));
    let pinned = |address: [u8; 4]| names.names_of(IpAddr::from(address), Instant::now());
    assert_eq!(*pinned([1, 2, 3, 4]), [DomainName::new("a.test").unwrap()]);
    for address in [[10, 0, 0, 1], [5, 6, 7, 8], [5, 6, 7, 9]] {
        assert!(pinned(address).is_empty(), "{address:?}");
    }
}

#[test]
fn alias_chains_through_denied_names_and_loops_are_refused() {
    let query = question("a.test.", RecordType::A);
    for records in [
        vec![alias("a.test.", "evil.test."), address("evil.test.", [1, 2, 3, 4])],
        vec![alias("a.test.", "b.test."), alias("b.test.", "a.test.")],
    ] {
        let (code, answers, names) = respond(&query, records);
        assert_eq!((code, answers.len()), (ResponseCode::Refused, 0));
        assert!(names.names_of(IpAddr::from([1, 2, 3, 4]), Instant::now()).is_empty());
    }
}

#[test]
fn service_records_lose_ech_keys_and_address_hints() {
    let parameters = vec![
        (SvcParamKey::Port, SvcParamValue::Port(8443)),
        (SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(vec![A([10, 0, 0, 1].into())]))),
        (SvcParamKey::EchConfigList, SvcParamValue::EchConfigList(EchConfigList(vec![1, 2, 3]))),
    ];
    let service = RData::HTTPS(HTTPS(SVCB::new(1, name("."), parameters)));
    let query = question("a.test.", RecordType::HTTPS);
    let (_, answers, _) = respond(&query, vec![Record::from_rdata(name("a.test."), 30, service)]);
    assert_eq!(answers.len(), 1);
    assert!(
        answers[0].contains("port") && !answers[0].contains("ech") && !answers[0].contains("hint"),
        "{answers:?}"
    );
}

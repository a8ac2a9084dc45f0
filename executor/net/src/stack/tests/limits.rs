//! Resource limits against guests and outside clients, and how a failed stack is noticed.

use super::clock::Clocked;
use super::*;
use crate::stack::budget::FlowKind;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use smoltcp::wire::UdpPacket;
use std::net::TcpStream;

/// A number of descriptors that allows ten connections each way.
const FEW: usize = 512 + 32;

fn publish(clocked: &mut Clocked, port: &str) -> SocketAddr {
    let ports = crate::published::bind(&[port.parse().unwrap()].into()).unwrap();
    let at = ports[0].address().into();
    clocked.worker.publish(ports).unwrap();
    at
}

#[test]
fn clients_of_a_published_port_cannot_starve_the_guest() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut clocked = Clocked::new(network(NetworkDefault::Deny, &["allow@host", "allow:ingress@any"]));
    clocked.worker.budget = Budget::new(FEW, false);
    let most = clocked.worker.budget.connections(FlowKind::Published);
    let at = publish(&mut clocked, "0:80");
    let mut clients = Vec::new();
    for number in 0..most {
        clients.push(TcpStream::connect(at).unwrap());
        clocked.first();
        assert_eq!(clocked.worker.flows.len(), number + 1);
    }
    let mut late = TcpStream::connect(at).unwrap();
    late.set_nonblocking(true).unwrap();
    let began = Instant::now();
    let error = loop {
        clocked.turn();
        match late.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => assert!(began.elapsed() < TIMEOUT),
            other => break other.unwrap_err(),
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    clocked.segments();
    // The guest still resolves names and connects.
    let gateway = clocked.worker.addresses.gateway_ipv4.into();
    let guest = SocketAddr::new(clocked.worker.addresses.guest_ipv4.into(), 3000);
    let mut question = Message::new();
    let name = Name::from_ascii("host.msb.internal.").unwrap();
    question.set_id(7).add_query(Query::query(name, RecordType::A));
    let names = SocketAddr::new(gateway, 53);
    clocked.send_frame(&wire::udp_frame(guest, names, &question.to_vec().unwrap()));
    let answer = clocked.first();
    let answer = Message::from_vec(UdpPacket::new_checked(&answer[..]).unwrap().payload()).unwrap();
    assert_eq!((answer.id(), answer.answers().len()), (7, 1));
    for port in [53, listener.local_addr().unwrap().port()] {
        (clocked.guest, clocked.remote) = (guest, SocketAddr::new(gateway, port));
        clocked.syn();
        let segment = TcpPacket::new_checked(clocked.first()).unwrap();
        assert!(segment.syn() && segment.ack(), "{port}");
    }
    // Closed connections free their resources.
    clients.truncate(most - 1);
    let began = Instant::now();
    while clocked.worker.budget.reserve(FlowKind::Published).is_none() {
        clocked.now += Duration::from_secs(5);
        clocked.turn();
        assert!(began.elapsed() < TIMEOUT);
    }
}

#[test]
fn more_connections_than_the_limit_are_refused() {
    let mut guest = Guest::new(Network::default(), &[]);
    let names = guest.gateway(53);
    let most = Budget::of_process(false).connections(FlowKind::NameServer);
    let answer_to = |guest: &mut Guest, port: u16| {
        guest.syn(port, names);
        loop {
            // Earlier connections wait for the guest's acknowledgement, and may retransmit.
            match guest.receive() {
                Received::Tcp { to, syn: true, .. } if to != port => {}
                received => return received,
            }
        }
    };
    for port in (10_000..).take(most) {
        let received = answer_to(&mut guest, port);
        assert_eq!(received, Received::Tcp { from: names, to: port, syn: true, reset: false });
    }
    let received = answer_to(&mut guest, 9999);
    assert_eq!(received, Received::Tcp { from: names, to: 9999, syn: false, reset: true });
    assert_eq!(guest.reasons(), [format!("tcp to {names}: there are {most} connections already")]);
}

#[test]
fn a_flooded_port_yields_to_others_and_is_drained_later() {
    const PACKETS: usize = 100;
    let mut clocked = Clocked::new(Network::default());
    let at = publish(&mut clocked, "0:53/udp");
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..PACKETS {
        peer.send_to(b"x", at).unwrap();
    }
    clocked.worker.wait(Duration::from_secs(1)).unwrap();
    assert_eq!(clocked.worker.ports.unfinished.len(), 1);
    clocked.turn();
    assert_eq!(clocked.segments().len(), PACKETS);
    clocked.turn();
    assert!(clocked.worker.ports.unfinished.is_empty());
}

#[test]
fn a_failed_stack_is_reported_and_takes_no_commands() {
    let mut guest = Guest::new(Network::default(), &[]);
    guest.stack.set_rules(Network::default(), None).unwrap();
    // No frame on the link has this length.
    guest.link.write_all(&u32::MAX.to_be_bytes()).unwrap();
    assert_eq!(guest.failure.recv_timeout(TIMEOUT).unwrap(), "a frame is too long");
    for error in [
        guest.stack.set_rules(Network::default(), None).unwrap_err(),
        guest.stack.publish(Vec::new()).unwrap_err(),
        guest.stack.unpublish(BTreeSet::new()).unwrap_err(),
    ] {
        assert!(matches!(error, CommandError::Ended), "{error}");
    }
}

#[test]
fn the_end_of_the_vm_is_not_a_failure() {
    let Guest { link, stack: _stack, failure, .. } = Guest::new(Network::default(), &[]);
    drop(link);
    // The thread drops its callback.
    assert_eq!(failure.recv_timeout(TIMEOUT), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn a_panic_of_the_thread_is_reported() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (failed, failure) = mpsc::channel();
    let settings = Settings {
        addresses: Pools::default().addresses(7).unwrap(),
        mtu: 1500,
        network: Network::default(),
        proxy_password: None,
        ports: Vec::new(),
        peers: None,
        interception: None,
        counters: Arc::default(),
        on_refusal: Box::new(|_| panic!("induced")),
        on_allowed: Box::new(|_| ()),
        on_failure: Box::new(move |why| drop(failed.send(why))),
    };
    let addresses = settings.addresses;
    let stack = Stack::start(ours.into(), settings).unwrap();
    let guest = SocketAddr::new(addresses.guest_ipv4.into(), 2000);
    let frame = wire::udp_frame(guest, "10.1.2.3:5000".parse().unwrap(), b"refused");
    let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
    (&theirs).write_all(&[&length[..], &frame].concat()).unwrap();
    assert!(failure.recv_timeout(TIMEOUT).unwrap().contains("panicked"));
    assert!(matches!(stack.set_rules(Network::default(), None), Err(CommandError::Ended)));
}

#[test]
fn unpublishing_a_port_closes_only_its_connections() {
    let mut clocked = Clocked::new(Network::default());
    let [kept, gone] = ["0:80", "127.0.0.2:0:80"].map(|port| port.parse::<schemas::spec::Port>().unwrap());
    let at: Vec<SocketAddr> = [kept, gone]
        .into_iter()
        .map(|port| {
            let ports = crate::published::bind(&[port].into()).unwrap();
            let at = ports[0].address().into();
            clocked.worker.publish(ports).unwrap();
            at
        })
        .collect();
    let _clients: Vec<_> = at
        .iter()
        .map(|at| {
            let client = TcpStream::connect(at).unwrap();
            clocked.first();
            client
        })
        .collect();
    clocked.worker.unpublish(&[gone].into());
    clocked.turn();
    assert_eq!(clocked.worker.flows.len(), 1);
}

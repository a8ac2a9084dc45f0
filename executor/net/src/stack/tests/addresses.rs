//! Addresses that no answer contains and that no connection leads to.

use super::*;

#[test]
fn answers_with_addresses_that_no_rule_allows_are_dropped() {
    let (policy, addresses) = (Policy::new(&Network::default()), Pools::default().addresses(7).unwrap());
    let reports = Arc::new(Mutex::new(Vec::new()));
    let received = reports.clone();
    let mut reporter = Reporter::new(
        Box::new(move |refusal| received.lock().unwrap().push(refusal.subject)),
        Arc::default(),
    );
    let name = DomainName::new("rebind.example.org").unwrap();
    let mut own = super::own::OwnAddresses::default();
    let gateway = addresses.gateway_ipv4.to_string();
    for (number, address) in
        ["10.1.2.3", "127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a01:203", "fd12::7", &gateway]
            .into_iter()
            .enumerate()
    {
        let mut evaluator = PolicyEvaluator {
            policy: &policy,
            addresses: &addresses,
            reporter: &mut reporter,
            own: &mut own,
            now: Instant::now(),
        };
        let address: IpAddr = address.parse().unwrap();
        assert!(!evaluator.allows_address(&name, address), "{address}");
        assert!(evaluator.allows_address(&name, "93.184.216.10".parse().unwrap()));
        let subject = Subject::Answer { name: name.to_string(), address };
        let reports = reports.lock().unwrap();
        assert_eq!((reports.len(), reports.last()), (number + 1, Some(&subject)));
    }
}

#[test]
fn connections_to_unspecified_addresses_and_port_0_are_refused_at_once() {
    let mut guest = Guest::new(network(NetworkDefault::Allow, &[]), &[]);
    for (number, target) in
        ["0.0.0.0:80", "0.0.0.1:80", "[::]:80", "[::ffff:0.0.0.0]:80"].into_iter().enumerate()
    {
        let target: SocketAddr = target.parse().unwrap();
        let gateway = guest.addresses.gateway_like(target.ip());
        guest.syn(4000 + u16::try_from(number).unwrap(), target);
        assert_eq!(guest.receive(), Received::Unreachable { from: gateway }, "tcp {target}");
        guest.udp(target, b"ping");
        assert_eq!(guest.receive(), Received::Unreachable { from: gateway }, "udp {target}");
    }
    for target in ["8.8.8.8:0", "[2606:4700::1]:0"] {
        let target: SocketAddr = target.parse().unwrap();
        guest.syn(5000, target);
        assert_eq!(guest.receive(), Received::Unreachable { from: target.ip() }, "{target}");
    }
}

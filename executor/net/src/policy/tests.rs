use super::*;

fn policy(default: NetworkDefault, rules: &[&str]) -> Policy {
    let rules = rules.iter().map(|text| text.parse().unwrap()).collect();
    Policy::new(&Network { default, rules, ..Network::default() })
}

fn names(texts: &[&str]) -> Vec<DomainName> {
    texts.iter().map(|text| DomainName::new(text).unwrap()).collect()
}

fn out(policy: &Policy, address: &str, port: u16, known: &[&str]) -> Verdict {
    let names = names(known);
    policy.decide(&Connection {
        direction: FlowDirection::Outbound,
        protocol: Protocol::Tcp,
        address: address.parse().unwrap(),
        port: Some(port),
        names: &names,
        locality: Locality::Elsewhere,
    })
}

#[test]
fn the_default_allows_the_internet_alone() {
    let policy = policy(NetworkDefault::Public, &[]);
    for (address, allowed) in [
        ("0.0.0.0", false),
        ("::", false),
        ("8.8.8.8", true),
        ("2606:4700::1", true),
        ("10.0.0.1", false),
        ("169.254.169.254", false),
        ("127.0.0.1", false),
        ("::1", false),
        ("::ffff:10.0.0.1", false),
        ("64:ff9b::a9fe:a9fe", false),
        ("192.0.2.1", false),
        ("fd42:6d73:62::1", false),
    ] {
        assert_eq!(out(&policy, address, 80, &[]).allowed, allowed, "{address}");
    }
    assert!(policy.decide_name(&names(&["example.org"])[0], Protocol::Udp).allowed);
    for locality in [Locality::Host, Locality::Gateway] {
        let verdict = policy.decide(&Connection {
            direction: FlowDirection::Outbound,
            protocol: Protocol::Tcp,
            address: "8.8.8.8".parse().unwrap(),
            port: Some(80),
            names: &[],
            locality,
        });
        assert!(!verdict.allowed, "{locality:?}");
        assert_eq!(verdict.reason, "no rule allows it");
    }
}

#[test]
fn the_first_matching_rule_decides_in_each_direction() {
    let policy = policy(
        NetworkDefault::Public,
        &["deny@8.8.8.8:tcp:80", "allow@10.0.0.0/8", "deny:ingress@any:tcp:22", "deny@public:udp"],
    );
    assert!(!out(&policy, "8.8.8.8", 80, &[]).allowed);
    assert!(out(&policy, "8.8.8.8", 81, &[]).allowed);
    assert!(out(&policy, "10.1.1.1", 80, &[]).allowed);
    assert!(out(&policy, "::ffff:10.1.1.1", 80, &[]).allowed);
    assert_eq!(out(&policy, "8.8.8.8", 81, &[]).reason, "allow@public (base)");
    let way_in = |port| {
        policy
            .decide(&Connection {
                direction: FlowDirection::Inbound,
                protocol: Protocol::Tcp,
                address: "127.0.0.1".parse().unwrap(),
                port: Some(port),
                names: &[],
                locality: Locality::Host,
            })
            .allowed
    };
    assert!(!way_in(22) && way_in(80));
}

#[test]
fn domain_rules_allow_resolved_addresses_alone() {
    let policy = policy(NetworkDefault::Deny, &["allow@*.example.org:tcp:443", "allow@api.test.net"]);
    let verdict = out(&policy, "8.8.8.8", 443, &["www.example.org"]);
    assert!(verdict.allowed && verdict.by_name);
    assert!(policy.rule_covers(&verdict, &names(&["cdn.example.org"])[0]));
    assert!(!policy.rule_covers(&verdict, &names(&["api.test.net"])[0]));
    assert!(!out(&policy, "8.8.8.8", 80, &["www.example.org"]).allowed);
    assert!(!out(&policy, "8.8.8.8", 443, &["example.com"]).allowed);
    assert!(!out(&policy, "8.8.8.8", 443, &[]).allowed);
    for (name, allowed) in
        [("example.org", true), ("a.b.example.org", true), ("notexample.org", false), ("test.net", false)]
    {
        assert_eq!(policy.decide_name(&names(&[name])[0], Protocol::Udp).allowed, allowed, "{name}");
    }
}

#[test]
fn the_first_matching_domain_rule_decides_on_a_query() {
    let allows_query = |rules: &[&str], name: &str| {
        let policy = policy(NetworkDefault::Deny, rules);
        policy.decide_name(&names(&[name])[0], Protocol::Udp).allowed
    };
    assert!(!allows_query(&["deny@*.evil.test", "allow@any"], "a.evil.test"));
    assert!(allows_query(&["allow@a.evil.test", "deny@*.evil.test"], "a.evil.test"));
    assert!(!allows_query(&["allow@a.evil.test", "deny@*.evil.test", "allow@any"], "b.evil.test"));
    assert!(allows_query(&["deny@*.evil.test", "allow@dns"], "good.test"));
    // A rule that denies only a port of a name does not hide the name.
    assert!(allows_query(&["deny@good.test:tcp:80", "allow@any"], "good.test"));
    // An ingress rule does not concern names.
    assert!(allows_query(&["deny:ingress@domain=good", "allow@any"], "good"));
}

#[test]
fn dns_rules_distinguish_transports() {
    let allows_query = |rules: &[&str]| {
        let policy = policy(NetworkDefault::Deny, rules);
        [Protocol::Udp, Protocol::Tcp].map(|transport| {
            let verdict = policy.decide_name(&names(&["a.test"])[0], transport);
            verdict.allowed
        })
    };
    assert_eq!(allows_query(&["allow@dns"]), [true, true]);
    assert_eq!(allows_query(&["allow@dns:udp:53"]), [true, false]);
    assert_eq!(allows_query(&["allow@dns:tcp"]), [false, true]);
    assert_eq!(allows_query(&["deny@dns:tcp", "allow@any"]), [true, false]);
}

#[test]
fn names_that_share_an_address_are_distinguished_by_server_name() {
    let allows_server_name = |rules: &[&str], answered: &[&str], shown: &str| {
        let names = names(answered);
        let address = "93.184.216.10".parse().unwrap();
        let (direction, protocol, locality) = (FlowDirection::Outbound, Protocol::Tcp, Locality::Elsewhere);
        let policy = policy(NetworkDefault::Deny, rules);
        // A rule without a port matches each.
        let ports = if rules.iter().any(|rule| rule.contains(":tcp:443")) {
            vec![443]
        } else {
            vec![22, 80, 443, 8443]
        };
        let may = ports.into_iter().map(|port| {
            let connection =
                Connection { direction, protocol, address, port: Some(port), names: &names, locality };
            policy.allows_server_name(&connection, &DomainName::new(shown).unwrap())
        });
        let may: Vec<bool> = may.collect();
        assert!(may.iter().all(|one| *one == may[0]), "{rules:?}: {may:?}");
        may[0]
    };
    let both = ["allow@a.test:tcp:443", "allow@b.test:tcp:443"];
    assert!(allows_server_name(&both, &["a.test", "b.test"], "a.test"));
    assert!(allows_server_name(&both, &["a.test", "b.test"], "b.test"));
    // Neither a name that no rule allows, nor one that the address was not answered for.
    assert!(!allows_server_name(&both, &["a.test", "b.test", "c.test"], "c.test"));
    assert!(!allows_server_name(&both, &["a.test"], "b.test"));
    assert!(!allows_server_name(&both, &[], "a.test"));
    assert!(!allows_server_name(
        &["allow@a.test:tcp:443", "allow@b.test:tcp:80"],
        &["a.test", "b.test"],
        "b.test"
    ));
    assert!(allows_server_name(&["allow@*.a.test"], &["www.a.test"], "cdn.a.test"));
    // Where the address itself is allowed, no server name is needed.
    assert!(allows_server_name(&["allow@public"], &[], "any.test"));
}

#[test]
fn the_gateway_is_in_the_host_group_and_in_no_network() {
    let gateway = |rule: &str| {
        let verdict = policy(NetworkDefault::Public, &[rule]).decide(&Connection {
            direction: FlowDirection::Outbound,
            protocol: Protocol::Tcp,
            address: "172.16.0.1".parse().unwrap(),
            port: Some(80),
            names: &[],
            locality: Locality::Gateway,
        });
        verdict.allowed
    };
    assert!(gateway("allow@host") && gateway("allow@any") && gateway("allow@172.16.0.1"));
    assert!(!gateway("allow@private") && !gateway("allow@172.16.0.0/12") && !gateway("allow@loopback"));
    assert!(!gateway("allow@public"));
}

#[test]
fn unspecified_addresses_are_always_refused() {
    for address in ["0.0.0.0", "0.0.0.1", "0.255.255.255", "::", "::ffff:0.0.0.0"] {
        let address: IpAddr = address.parse().unwrap();
        for rules in
            [&["allow@any"][..], &["allow@0.0.0.0/0", "allow@[::/0]"], &["deny@host"], &["allow@a.test"]]
        {
            let policy = policy(NetworkDefault::Allow, rules);
            for locality in [Locality::Host, Locality::Elsewhere, Locality::Gateway] {
                let names = names(&["a.test"]);
                let (direction, protocol, port) = (FlowDirection::Outbound, Protocol::Tcp, Some(5432));
                let verdict = policy.decide(&Connection {
                    direction,
                    protocol,
                    address,
                    port,
                    names: &names,
                    locality,
                });
                assert!(!verdict.allowed && policy.reason(&verdict).origin.is_none(), "{address} {rules:?}");
                assert!(!policy.allows_answer(address, locality), "{address} {rules:?}");
            }
        }
    }
}

#[test]
fn answers_are_public_unless_an_address_rule_allows_more() {
    let may = |rules: &[&str], address: &str| {
        policy(NetworkDefault::Public, rules).allows_answer(address.parse().unwrap(), Locality::Elsewhere)
    };
    assert!(may(&[], "8.8.8.8") && !may(&[], "10.0.0.1") && !may(&[], "127.0.0.1"));
    assert!(!may(&["allow@intern.example.org"], "10.0.0.1"));
    assert!(may(&["allow@10.0.0.1:tcp:5432"], "10.0.0.1") && may(&["allow@private"], "10.0.0.1"));
    assert!(!may(&["deny@10.0.0.1", "allow@private"], "10.0.0.1"));
    assert!(!may(&["allow@private"], "169.254.169.254"));
}

#[test]
fn a_record_with_a_rule_that_cannot_be_parsed_is_refused() {
    let read = |rule: &str| {
        let text = format!(r#"{{"default":"allow","rules":["{rule}"]}}"#);
        serde_json::from_str::<Network>(&text)
    };
    assert!(read("allow@public").is_ok());
    assert!(read("allow@no such thing").unwrap_err().is_data());
}

use super::*;
use executor_client::event::{Allowed, Refused};
use executor_net::Pools;
use executor_net::policy::{Connection, FlowDirection, Locality, Policy};
use proptest::prelude::*;
use rules::rule::{DomainName, HOST_NAME, Protocol, Rule};
use sandboxfile::{AssumePresent, Input, Source, load};
use schemas::spec::{Network, NetworkDefault};
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

fn addresses() -> Addresses {
    Pools::default().addresses(7).unwrap()
}

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_323_000 + second)
}

/// Traffic that was allowed, as `DIRECTION PROTOCOL NAME ADDRESS PORT`, with `-` for what is not known.
fn allowed(text: &str, count: u64) -> Allowed {
    let [direction, protocol, name, address, port] = fields(text);
    Allowed {
        direction: direction.to_owned(),
        protocol: protocol.to_owned(),
        address: known(address).map(|address| address.parse().unwrap()),
        port: known(port).map(|port| port.parse().unwrap()),
        name: known(name).map(str::to_owned),
        count,
    }
}

/// The same for refused traffic, with the deciding rule after it.
fn refused(text: &str, rule: Option<&str>, origin: Option<&str>, count: u64) -> Refused {
    let Allowed { direction, protocol, address, port, name, count } = allowed(text, count);
    let (rule, origin) = (rule.map(str::to_owned), origin.map(str::to_owned));
    let reason = rule.clone().unwrap_or_else(|| "a reason".to_owned());
    Refused { direction, protocol, address, port, name, reason, rule, origin, allow: None, count }
}

fn fields(text: &str) -> [&str; 5] {
    text.split(' ').collect::<Vec<_>>().try_into().unwrap()
}

fn known(field: &str) -> Option<&str> {
    (field != "-").then_some(field)
}

fn example() -> Learned {
    let mut learner = Learner::new(Some(addresses()));
    for (second, text, count) in [
        (0, "egress tcp api.example.org - 443", 1),
        (60, "egress tcp api.example.org - 443", 11),
        (5, "egress tcp host.msb.internal - 8080", 1),
        (6, "egress tcp db.corp.example 10.1.2.3 5432", 2),
        (7, "egress tcp app - 8000", 1),
        (8, "egress udp - 9.9.9.9 123", 3),
        (9, "egress udp - 9.9.9.9 125", 1),
        (9, "egress udp - 9.9.9.9 124", 1),
        (10, "ingress tcp - 127.0.0.1 80", 4),
        (11, "ingress tcp worker - 80", 1),
    ] {
        learner.allowed(at(second), &allowed(text, count));
    }
    let default = Some("default");
    for (second, text, rule, origin, count) in [
        (20, "egress tcp api.example.org 93.184.215.14 443", None, default, 2),
        (21, "egress tcp - 1.1.1.1 80", Some("deny@any"), Some("sandboxfile"), 1),
        (22, "egress dns pypi.example - -", None, default, 5),
        // It is reached as well, so that its ports are known.
        (22, "egress dns api.example.org - -", None, default, 5),
        (23, "egress dns nas.corp.example 192.168.1.9 -", None, None, 1),
        (24, "egress dns other.msb.internal - -", None, default, 1),
        // The name that a connection showed is not the one that the rule allows.
        (
            25,
            "egress tcp b.example.org 93.184.215.14 443",
            Some("allow@*.example.net"),
            Some("sandboxfile"),
            1,
        ),
        // No rule would allow these.
        (
            26,
            "egress udp a.example.net 93.184.215.14 443",
            Some("allow@*.example.net"),
            Some("sandboxfile"),
            1,
        ),
        (27, "egress icmpv4 - 8.8.8.8 -", None, default, 1),
        (28, "egress tcp - 0.0.0.0 80", None, None, 1),
    ] {
        learner.refused(at(second), &refused(text, rule, origin, count));
    }
    learner.learn()
}

#[test]
fn rules_are_printed_in_each_syntax() {
    let learned = example();
    insta::assert_snapshot!("kdl", print::text("api", &learned, RuleSyntax::Kdl));
    insta::assert_snapshot!("yaml", print::text("api", &learned, RuleSyntax::Yaml));
    insta::assert_snapshot!("flags", print::text("api", &learned, RuleSyntax::Flags));
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&learned).unwrap());
    let nothing = Learner::new(None).learn();
    insta::assert_snapshot!("nothing", print::text("api", &nothing, RuleSyntax::Kdl));
}

/// A Sandboxfile with the printed text has exactly these rules.
#[test]
fn the_printed_text_is_valid() {
    let learned = example();
    let rules: Vec<Rule> = learned.rules.iter().map(|learned| learned.rule.clone()).collect();
    let kdl = print::text("api", &learned, RuleSyntax::Kdl);
    let yaml = print::text("api", &learned, RuleSyntax::Yaml).replace('\n', "\n    ");
    for (name, text) in [
        ("Sandboxfile", format!("project \"p\"\nsandbox \"api\" {{\n image \"alpine\"\n{kdl}}}\n")),
        ("Sandboxfile.yaml", format!("project: p\nsandboxes:\n  api:\n    image: alpine\n    {yaml}\n")),
    ] {
        let format = sandboxfile::Format::of_file_name(name);
        let source = Source { name, path: None, bytes: text.as_bytes(), format, folder: "/project" };
        let loaded = load(&Input::of(source), &AssumePresent);
        let loaded = loaded.map_err(|_| text.clone()).unwrap();
        let [sandbox] = loaded.model.sandboxes() else { panic!("one sandbox") };
        assert_eq!(sandbox.definition().network.rules, rules);
        assert_eq!(sandbox.definition().network.default, NetworkDefault::Deny);
    }
}

#[test]
fn an_incomplete_record_is_told() {
    let mut learner = Learner::new(None);
    learner.allowed(at(0), &allowed("any any - - -", 7));
    assert!(!learner.learn().complete);
    let mut learner = Learner::new(None);
    learner.refused(at(0), &refused("any any - - -", None, None, 7));
    assert!(!learner.learn().complete);
    // A guest cannot make the result grow beyond a limit.
    let mut learner = Learner::new(None);
    for number in 0..10_000_u32 {
        learner.refused(at(0), &refused(&format!("egress dns n{number}.test - -"), None, Some("default"), 1));
        learner.refused(at(0), &refused(&format!("egress tcp - 0.0.0.0 {number}"), None, None, 1));
        let address = IpAddr::from(number.to_be_bytes().map(|byte| byte | 1));
        learner.allowed(at(0), &allowed(&format!("egress tcp - {address} 80"), 1));
    }
    let learned = learner.learn();
    assert!(!learned.complete && learned.rules.len() <= 8192 && learned.other_refusals.len() <= 4096);
}

/// What a sandbox did, as the generator of the property tests makes it.
#[derive(Clone, Debug)]
struct Flow {
    is_ingress: bool,
    protocol: Protocol,
    name: Option<&'static str>,
    address: IpAddr,
    port: u16,
    was_refused: bool,
}

/// Names with their addresses. Those that are not public are reached on one port.
const SERVERS: [(&str, &str, Option<u16>); 5] = [
    ("a.example.org", "93.184.215.14", None),
    ("b.example.org", "93.184.215.14", None),
    ("db.corp.example", "10.1.2.3", Some(5432)),
    ("nas.corp.example", "192.168.1.9", Some(445)),
    ("app", "172.16.0.10", None),
];

fn flows() -> impl Strategy<Value = Vec<Flow>> {
    let flow = (0..8_usize, any::<bool>(), prop_oneof![Just(80), 440..446_u16], any::<bool>()).prop_map(
        |(which, is_udp, port, was_refused)| {
            let protocol = if is_udp { Protocol::Udp } else { Protocol::Tcp };
            match (which, SERVERS.get(which)) {
                (_, Some((name, address, only))) => Flow {
                    is_ingress: false,
                    protocol: if only.is_some() { Protocol::Tcp } else { protocol },
                    name: Some(name),
                    address: address.parse().unwrap(),
                    port: only.unwrap_or(port),
                    was_refused,
                },
                (5, _) => Flow {
                    is_ingress: false,
                    protocol,
                    name: Some(HOST_NAME),
                    address: addresses().gateway_ipv4.into(),
                    port,
                    was_refused,
                },
                (6, _) => Flow {
                    is_ingress: false,
                    protocol,
                    name: None,
                    address: [8, 8, 4, if is_udp { 4 } else { 8 }].into(),
                    port,
                    was_refused,
                },
                _ => Flow {
                    is_ingress: true,
                    protocol,
                    name: None,
                    address: [198, 51, 100, 7].into(),
                    port,
                    was_refused,
                },
            }
        },
    );
    prop::collection::vec(flow, 0..40)
}

fn learn(flows: &[Flow]) -> Learned {
    let mut learner = Learner::new(Some(addresses()));
    for flow in flows {
        let Flow { is_ingress, protocol, name, address, port, was_refused } = flow;
        let direction = if *is_ingress { "ingress" } else { "egress" };
        let is_public = address.to_string().starts_with("93.");
        let is_local = name.is_some_and(|name| name == "app" || name == HOST_NAME);
        // A refusal always has the address.
        let is_omitted = name.is_some() && (is_public || is_local) && !was_refused;
        let address = if is_omitted { "-".to_owned() } else { address.to_string() };
        let text = format!("{direction} {protocol} {} {address} {port}", name.unwrap_or("-"));
        if *was_refused {
            learner.refused(at(0), &refused(&text, None, Some("default"), 1));
        } else {
            learner.allowed(at(0), &allowed(&text, 1));
        }
    }
    learner.learn()
}

/// Whether rules allow a flow under `deny`: its lookup, the answer to it, and the connection.
fn is_possible(rules: &[Rule], flow: &Flow) -> bool {
    let Flow { is_ingress, protocol, name, address, port, was_refused: _ } = flow;
    let policy =
        Policy::new(&Network { default: NetworkDefault::Deny, rules: rules.to_vec(), ..Network::default() });
    let locality = if addresses().is_gateway(*address) { Locality::Gateway } else { Locality::Elsewhere };
    let domain = name.map(|name| DomainName::new(name).unwrap());
    let is_resolved = domain.as_ref().is_none_or(|name| match name.as_str() {
        HOST_NAME => true,
        "app" => policy.decide_name(name, Protocol::Udp).allowed,
        _ => policy.decide_name(name, Protocol::Udp).allowed && policy.allows_answer(*address, locality),
    });
    is_resolved
        && policy
            .decide(&Connection {
                direction: if *is_ingress { FlowDirection::Inbound } else { FlowDirection::Outbound },
                protocol: *protocol,
                address: *address,
                port: Some(*port),
                names: domain.as_slice(),
                locality,
            })
            .allowed
}

proptest! {
    #[test]
    fn every_flow_is_allowed_and_every_rule_is_needed(flows in flows()) {
        let learned = learn(&flows);
        let rules: Vec<Rule> = learned.rules.iter().map(|learned| learned.rule.clone()).collect();
        for flow in &flows {
            prop_assert!(is_possible(&rules, flow), "{flow:?} {rules:?}");
        }
        for removed in 0..rules.len() {
            let mut fewer = rules.clone();
            let rule = fewer.remove(removed);
            prop_assert!(!flows.iter().all(|flow| is_possible(&fewer, flow)), "{rule} of {rules:?}");
        }
        // The same, in whatever order it happened.
        let reversed: Vec<Flow> = flows.into_iter().rev().collect();
        prop_assert_eq!(learned, learn(&reversed));
    }

    #[test]
    fn no_other_port_protocol_or_name_is_allowed(flows in flows()) {
        let learned = learn(&flows);
        let rules: Vec<Rule> = learned.rules.iter().map(|learned| learned.rule.clone()).collect();
        for flow in &flows {
            for other in [
                Flow { port: flow.port + 100, ..flow.clone() },
                Flow { protocol: Protocol::Any, ..flow.clone() },
                Flow { name: Some("c.example.org"), address: [93, 184, 215, 15].into(), ..flow.clone() },
            ] {
                prop_assert!(!is_possible(&rules, &other), "{other:?} {rules:?}");
            }
        }
    }
}

//! The network's reports, as events of the sandbox.

use executor_client::event::{Allowed, Refused};
use executor_net::policy::{FlowDirection, Origin};
use executor_net::{Reason, Refusal, Subject, Traffic};
use rules::rule::{
    Action, Direction, DomainName, Group, HOST_NAME, Ports, Protocol, Rule, SANDBOX_ZONE, Target,
};
use std::net::IpAddr;
use std::num::NonZeroU16;

/// Describes a refusal of a sandbox that was declared by flags or by a Sandboxfile.
pub fn refused(refusal: Refusal, by_flags: bool) -> Refused {
    let allow = allowing(&refusal).map(|rule| rule.to_string());
    let Refusal { subject, reason: Reason { text, rule, origin }, count } = refusal;
    let (direction, protocol, address, port, name) = match subject {
        Subject::Out { protocol, target, name } => {
            // A ping has no port.
            let port = Some(target.port()).filter(|port| *port != 0);
            ("egress", protocol, Some(target.ip()), port, name)
        }
        Subject::In { protocol, peer, port, name } => ("ingress", protocol, Some(peer), Some(port), name),
        Subject::Name { name } => ("egress", "dns", None, None, Some(name)),
        Subject::Answer { name, address } => ("egress", "dns", Some(address), None, Some(name)),
        Subject::Others => ("any", "any", None, None, None),
    };
    let origin = origin.map(|origin| origin_word(origin, by_flags).to_owned());
    let (direction, protocol) = (direction.to_owned(), protocol.to_owned());
    Refused { direction, protocol, address, port, name, reason: text, rule, origin, allow, count }
}

/// Returns the rule that would allow what no rule matched. Where a rule denies it, its author meant that.
fn allowing(Refusal { subject, reason, count: _ }: &Refusal) -> Option<Rule> {
    if reason.rule.is_some() || reason.origin != Some(Origin::Default) {
        return None;
    }
    let rule = |direction, protocol, target, ports| Rule {
        action: Action::Allow,
        direction,
        target,
        protocol,
        ports,
    };
    let port = |port| {
        let port = NonZeroU16::new(port)?;
        Some(Ports::Range { first: port, last: port })
    };
    match subject {
        Subject::Out { protocol, target, name } => {
            let to = peer(target.ip(), name.as_deref());
            Some(rule(Direction::Egress, Protocol::from_word(protocol)?, to, port(target.port())?))
        }
        Subject::In { protocol, peer: address, port: own, name } => {
            let from = peer(*address, name.as_deref());
            Some(rule(Direction::Ingress, Protocol::from_word(protocol)?, from, port(*own)?))
        }
        Subject::Name { name } => Some(rule(Direction::Egress, Protocol::Any, named(name)?, Ports::Any)),
        Subject::Answer { .. } | Subject::Others => None,
    }
}

/// Returns the target for a peer: its name where a rule with the name suffices, else its address.
fn peer(address: IpAddr, name: Option<&str>) -> Target {
    let network = address.into();
    match name.and_then(named) {
        // A name in the internet opens public addresses only.
        Some(Target::Domain(name)) if !name.is_label() && !Group::Public.contains(&network) => {
            Target::Network(network)
        }
        Some(target) => target,
        None => Target::Network(network),
    }
}

/// Returns the target for a name. A sandbox is a single label in rules.
fn named(name: &str) -> Option<Target> {
    if name == HOST_NAME {
        return Some(Target::Group(Group::Host));
    }
    let name = name.strip_suffix(SANDBOX_ZONE).unwrap_or(name);
    DomainName::new(name).ok().map(Target::Domain)
}

/// Describes allowed traffic.
pub fn allowed(executor_net::Allowed { traffic, count }: executor_net::Allowed) -> Allowed {
    match traffic {
        Traffic::Flow { direction, protocol, name, address, port } => {
            let direction = match direction {
                FlowDirection::Outbound => "egress",
                FlowDirection::Inbound => "ingress",
            };
            let (direction, protocol) = (direction.to_owned(), protocol.to_owned());
            let name = name.map(|name| name.to_string());
            Allowed { direction, protocol, address, port: Some(port), name, count }
        }
        Traffic::Others => {
            let any = || "any".to_owned();
            Allowed { direction: any(), protocol: any(), address: None, port: None, name: None, count }
        }
    }
}

/// Returns the word for the origin of a rule.
fn origin_word(origin: Origin, by_flags: bool) -> &'static str {
    match origin {
        Origin::Sandbox if by_flags => "flag",
        Origin::Sandbox => "sandboxfile",
        Origin::Base => "base",
        Origin::Default => "default",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor_client::event::SandboxEvent;
    use std::net::SocketAddr;

    #[test]
    fn refusals_are_the_same_in_json_and_in_words() {
        let rule = |rule: &str, origin| Reason {
            text: rule.to_owned(),
            rule: Some(rule.to_owned()),
            origin: Some(origin),
        };
        let target = SocketAddr::from(([10, 1, 2, 3], 80));
        let peer = IpAddr::from([192, 168, 0, 1]);
        let named = Some("db.example".to_owned());
        let cases = [
            (
                Subject::Out { protocol: "tcp", target, name: named.clone() },
                rule("deny@db.example", Origin::Sandbox),
                "refused tcp to 10.1.2.3:80 (db.example): deny@db.example (4 times)",
                r#"{"kind":"refused","direction":"egress","protocol":"tcp","address":"10.1.2.3","port":80,"name":"db.example","reason":"deny@db.example","rule":"deny@db.example","origin":"sandboxfile","count":4}"#,
            ),
            (
                Subject::Out { protocol: "icmpv4", target: SocketAddr::new(peer, 0), name: None },
                "pings are answered by the gateway alone".into(),
                "refused icmpv4 to 192.168.0.1: pings are answered by the gateway alone (4 times)",
                r#"{"kind":"refused","direction":"egress","protocol":"icmpv4","address":"192.168.0.1","reason":"pings are answered by the gateway alone","count":4}"#,
            ),
            (
                Subject::In { protocol: "udp", peer, port: 53, name: None },
                rule("deny:ingress@any", Origin::Base),
                "refused udp from 192.168.0.1 to port 53: deny:ingress@any (4 times)",
                r#"{"kind":"refused","direction":"ingress","protocol":"udp","address":"192.168.0.1","port":53,"reason":"deny:ingress@any","rule":"deny:ingress@any","origin":"base","count":4}"#,
            ),
            (
                Subject::Name { name: "x.example".to_owned() },
                Reason { text: "no rule allows it".to_owned(), rule: None, origin: Some(Origin::Default) },
                "refused to look up x.example: no rule allows it; to allow it: allow@x.example (4 times)",
                r#"{"kind":"refused","direction":"egress","protocol":"dns","name":"x.example","reason":"no rule allows it","origin":"default","allow":"allow@x.example","count":4}"#,
            ),
            (
                Subject::Answer { name: "x.example".to_owned(), address: peer },
                "it is not public".into(),
                "dropped the answer that x.example is 192.168.0.1: it is not public (4 times)",
                r#"{"kind":"refused","direction":"egress","protocol":"dns","address":"192.168.0.1","name":"x.example","reason":"it is not public","count":4}"#,
            ),
            (
                Subject::Others,
                "too many to list".into(),
                "refused more than can be listed separately: too many to list (4 times)",
                r#"{"kind":"refused","direction":"any","protocol":"any","reason":"too many to list","count":4}"#,
            ),
        ];
        for (subject, reason, words, json) in cases {
            let event = SandboxEvent::Refused(refused(Refusal { subject, reason, count: 4 }, false));
            assert_eq!(event.to_string(), words);
            assert_eq!(serde_json::to_string(&event).unwrap(), json);
            // With the time that a log adds, and with a member of a later version.
            let line = json.replacen('{', r#"{"t":"2026-01-02T03:04:05.678Z","more":[1],"#, 1);
            assert_eq!(serde_json::from_str::<SandboxEvent>(&line).unwrap(), event);
        }
    }

    #[test]
    fn a_refusal_names_the_rule_that_would_allow_it() {
        let allow = |subject, rule: Option<&str>| {
            let reason = Reason {
                text: "no rule".to_owned(),
                rule: rule.map(str::to_owned),
                origin: Some(if rule.is_some() { Origin::Sandbox } else { Origin::Default }),
            };
            refused(Refusal { subject, reason, count: 1 }, false).allow
        };
        let to = |address: [u8; 4], port, name: Option<&str>| Subject::Out {
            protocol: "tcp",
            target: (address, port).into(),
            name: name.map(str::to_owned),
        };
        let from = |name: Option<&str>| Subject::In {
            protocol: "udp",
            peer: IpAddr::from([172, 16, 0, 6]),
            port: 53,
            name: name.map(str::to_owned),
        };
        for (subject, rule) in [
            (to([172, 16, 0, 6], 8000, Some("app")), "allow@domain=app:tcp:8000"),
            (to([172, 16, 0, 6], 8000, Some("app.msb.internal")), "allow@domain=app:tcp:8000"),
            (to([172, 16, 0, 1], 5432, Some(HOST_NAME)), "allow@host:tcp:5432"),
            (to([93, 184, 216, 34], 443, Some("api.example.org")), "allow@api.example.org:tcp:443"),
            (to([93, 184, 216, 34], 443, None), "allow@93.184.216.34:tcp:443"),
            // A rule with the name would not open it.
            (to([10, 1, 2, 3], 443, Some("db.example.org")), "allow@10.1.2.3:tcp:443"),
            (from(Some("web")), "allow:ingress@domain=web:udp:53"),
            (from(None), "allow:ingress@172.16.0.6:udp:53"),
            (Subject::Name { name: "app".to_owned() }, "allow@domain=app"),
            (Subject::Name { name: "app.msb.internal".to_owned() }, "allow@domain=app"),
        ] {
            assert_eq!(allow(subject, None).as_deref(), Some(rule));
            assert_eq!(rule.parse::<Rule>().unwrap().to_string(), rule);
        }
        assert_eq!(allow(to([10, 1, 2, 3], 443, None), Some("deny@10.0.0.0/8")), None);
        assert_eq!(allow(to([10, 1, 2, 3], 0, None), None), None);
    }

    #[test]
    fn allowed_traffic_is_the_same_in_json_and_in_words() {
        let flow = |direction, name: Option<&str>, address| Traffic::Flow {
            direction,
            protocol: "tcp",
            name: name.and_then(|name| rules::rule::DomainName::new(name).ok()),
            address,
            port: 443,
        };
        let address = Some(IpAddr::from([10, 1, 2, 3]));
        let cases = [
            (
                flow(FlowDirection::Outbound, Some("a.example"), None),
                "allowed tcp to a.example port 443 (4 times)",
                r#"{"kind":"allowed","direction":"egress","protocol":"tcp","port":443,"name":"a.example","count":4}"#,
            ),
            (
                flow(FlowDirection::Outbound, Some("a.example"), address),
                "allowed tcp to a.example (10.1.2.3) port 443 (4 times)",
                r#"{"kind":"allowed","direction":"egress","protocol":"tcp","address":"10.1.2.3","port":443,"name":"a.example","count":4}"#,
            ),
            (
                flow(FlowDirection::Inbound, None, address),
                "allowed tcp from 10.1.2.3 to port 443 (4 times)",
                r#"{"kind":"allowed","direction":"ingress","protocol":"tcp","address":"10.1.2.3","port":443,"count":4}"#,
            ),
            (
                Traffic::Others,
                "allowed more than can be listed separately (4 times)",
                r#"{"kind":"allowed","direction":"any","protocol":"any","count":4}"#,
            ),
        ];
        for (traffic, words, json) in cases {
            let event = SandboxEvent::Allowed(allowed(executor_net::Allowed { traffic, count: 4 }));
            assert_eq!(event.to_string(), words);
            assert_eq!(serde_json::to_string(&event).unwrap(), json);
            assert_eq!(serde_json::from_str::<SandboxEvent>(json).unwrap(), event);
        }
    }

    #[test]
    fn flags_are_called_flags() {
        assert_eq!(origin_word(Origin::Sandbox, true), "flag");
        assert_eq!(origin_word(Origin::Sandbox, false), "sandboxfile");
        assert_eq!(origin_word(Origin::Default, true), "default");
    }
}

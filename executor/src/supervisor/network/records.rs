//! The network's reports, as events of the sandbox.

use executor_client::event::{Allowed, Refused};
use executor_net::policy::{FlowDirection, Origin};
use executor_net::{Reason, Refusal, Subject, Traffic};

/// Describes a refusal of a sandbox that was declared by flags or by a Sandboxfile.
pub fn refused(refusal: Refusal, by_flags: bool) -> Refused {
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
    Refused { direction, protocol, address, port, name, reason: text, rule, origin, count }
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
    use std::net::{IpAddr, SocketAddr};

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
                "refused to look up x.example: no rule allows it (4 times)",
                r#"{"kind":"refused","direction":"egress","protocol":"dns","name":"x.example","reason":"no rule allows it","origin":"default","count":4}"#,
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

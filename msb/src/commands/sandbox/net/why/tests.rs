use super::*;
use schemas::spec::{Network, NetworkDefault};
use std::fmt::Write as _;

const PUBLIC: NetworkDefault = NetworkDefault::Public;

fn rules(default: NetworkDefault, rules: &[&str]) -> Rules {
    let rules = rules.iter().map(|text| text.parse().unwrap()).collect();
    Rules::without_places(&Network { default, rules, ..Network::default() }, false)
}

fn sandbox(name: &str, number: u32, rules: Rules) -> Sandbox {
    let addresses = Pools::default().addresses(number);
    Sandbox { name: SandboxName::new(name).unwrap(), rules, addresses, runs: true }
}

/// Formats the explanation of each target.
fn explained(query: &Query<'_>, targets: &[&str]) -> String {
    let mut out = String::new();
    for text in targets {
        let target = Target::read(text).map_err(|_| text).unwrap();
        let Answer { steps, notes, allowed } = query.explain(&target);
        let _ = writeln!(out, "{text}: {}", if allowed { "allowed" } else { "refused" });
        for step in steps {
            let _ = writeln!(out, "    {}", step.join(" | "));
        }
        for note in notes {
            let _ = writeln!(out, "    note: {note}");
        }
    }
    out
}

fn query<'a>(sandbox: &'a Sandbox, peers: &'a [Sandbox]) -> Query<'a> {
    Query { sandbox, peers, others: &[], protocol: Protocol::Tcp, syntax: RuleSyntax::Kdl }
}

#[test]
fn the_rules_of_both_sandboxes_decide() {
    let peers = |ingress: &[&str]| vec![sandbox("backend", 2, rules(PUBLIC, ingress))];
    let targets = ["backend:9091", "BACKEND.msb.internal.:9091", "172.16.0.10:9091"];
    let plain = sandbox("web", 1, rules(PUBLIC, &[]));
    let allowed = sandbox("web", 1, rules(PUBLIC, &["allow@domain=backend:tcp:9091"]));
    let mut out = format!("no rule\n{}", explained(&query(&plain, &peers(&[])), &targets));
    out += &format!("\na rule\n{}", explained(&query(&allowed, &peers(&[])), &targets));
    let refusing = peers(&["deny:ingress@domain=web"]);
    out +=
        &format!("\na rule, and one against it\n{}", explained(&query(&allowed, &refusing), &targets[..1]));
    let mut closed = sandbox("backend", 2, rules(NetworkDefault::Deny, &["allow:ingress@domain=app"]));
    closed.runs = false;
    out += &format!("\nclosed, and not running\n{}", explained(&query(&allowed, &[closed]), &targets[..1]));
    let open = sandbox("web", 1, rules(NetworkDefault::Allow, &["deny@domain=backend"]));
    out += &format!("\ndenied by name\n{}", explained(&query(&open, &peers(&[])), &targets[..1]));
    let private = sandbox("web", 1, rules(NetworkDefault::Deny, &["allow@private"]));
    out += &format!("\nallowed by address\n{}", explained(&query(&private, &peers(&[])), &targets[..1]));
    insta::assert_snapshot!("peers", out);
}

#[test]
fn no_rule_decides_on_the_sandbox_itself() {
    let web = sandbox("web", 1, rules(NetworkDefault::Deny, &[]));
    let targets =
        ["localhost:80", "web:80", "web.msb.internal:80", "127.0.0.1:80", "[::1]:80", "172.16.0.6:80"];
    insta::assert_snapshot!("itself", explained(&query(&web, &[]), &targets));
}

#[test]
fn unknown_names_of_the_project_are_not_public_names() {
    let web = sandbox("web", 1, rules(PUBLIC, &[]));
    let others = ["backend", "db"].map(|name| SandboxName::new(name).unwrap());
    let targets = ["bakend:80", "bakend.msb.internal:80", "a.b.msb.internal:80", "example.org:80"];
    insta::assert_snapshot!("names", explained(&Query { others: &others, ..query(&web, &[]) }, &targets));
}

#[test]
fn the_gateway_is_the_host_except_for_the_name_server() {
    let web = sandbox("web", 1, rules(PUBLIC, &["allow@host:tcp:8080"]));
    let targets = [
        "host.msb.internal:8080",
        "host.msb.internal:81",
        "172.16.0.5:8080",
        "172.16.0.5:81",
        "172.16.0.5:53",
    ];
    insta::assert_snapshot!("host", explained(&query(&web, &[]), &targets));
}

#[test]
fn external_targets_are_decided_by_name_or_by_address() {
    let own = ["deny@bad.example.org", "allow@*.example.org:any:443", "allow@ssh.test.net:any:22-53"];
    let web = sandbox("web", 1, rules(NetworkDefault::Deny, &own));
    let query = query(&web, &[]);
    let targets = ["api.example.org:443", "ssh.test.net:22", "bad.example.org:443", "api.example.org:80"];
    let mut out = format!("tcp\n{}", explained(&query, &targets));
    let addresses =
        ["93.184.216.34:443", "10.0.0.1:80", "0.0.0.0:80", "[::ffff:10.0.0.1]:80", "192.0.2.1:80"];
    out += &explained(&query, &addresses);
    let udp = Query { protocol: Protocol::Udp, ..query };
    out +=
        &format!("udp\n{}", explained(&udp, &["api.example.org:443", "ssh.test.net:53", "93.184.216.34:80"]));
    let web = sandbox("web", 1, rules(PUBLIC, &[]));
    let targets = ["example.org:22", "8.8.8.8:53"];
    out += &format!("without rules\n{}", explained(&self::query(&web, &[]), &targets));
    insta::assert_snapshot!("outside", out);
}

#[test]
fn proposed_rules_have_the_syntax_of_the_sandbox() {
    let web = sandbox("web", 1, rules(PUBLIC, &[]));
    let others = [sandbox("backend", 2, rules(NetworkDefault::Deny, &[]))];
    let of = |syntax| explained(&Query { syntax, ..query(&web, &others) }, &["backend:80"]);
    let out = [RuleSyntax::Kdl, RuleSyntax::Yaml, RuleSyntax::Flags].map(of).concat();
    insta::assert_snapshot!("written", out);
    let proposed: Vec<&str> = out.lines().filter_map(|line| line.split('"').nth(1)).collect();
    assert_eq!(proposed.len(), 6);
    for text in proposed {
        let parsed = text.parse().or_else(|_| Rule::of(Action::Allow, Direction::Egress, text));
        assert!(parsed.is_ok(), "{text}");
    }
}

#[test]
fn invalid_targets_are_rejected() {
    for text in ["example.org", "example.org:0", ":80", "example.org:http"] {
        assert!(Target::read(text).is_err(), "{text}");
    }
}

#[test]
fn only_names_of_sandboxes_have_labels() {
    for (text, label) in [
        ("web:80", Some("web")),
        ("web.msb.internal:80", Some("web")),
        ("localhost:80", None),
        ("host.msb.internal:80", None),
        ("example.org:80", None),
        ("172.16.0.6:80", None),
    ] {
        let target = Target::read(text).map_err(|_| text).unwrap();
        assert_eq!(target.label(), label, "{text}");
    }
}

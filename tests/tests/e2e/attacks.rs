//! What a hostile guest tries on its network, from inside: nothing of it gets out, and what is allowed still works.
//!
//! The sandboxes live in a world of their own, whose servers write down all that they see.

use std::fs;
use tests::outside::Outside;
use tests::{Project, installation};

/// What came of each try, as the guest tells it.
struct Tries(String);

impl Tries {
    fn run(project: &Project, sandbox: &str, arguments: &[&str]) -> Self {
        let command = ["exec", sandbox, "--", "python3", "/attack.py"];
        Self(project.ok(&[&command[..], arguments].concat()).out().to_owned())
    }

    fn is(&self, what: &str, expected: &str) {
        let line = format!("{what}: {expected}");
        assert!(self.0.lines().any(|known| known == line), "not {line:?} in\n{}", self.0);
    }

    /// Refused, and so at once: not left to wait.
    fn are_refused(&self, tries: &[&str]) {
        for what in tries {
            let begins = format!("{what}: refused");
            assert!(self.0.lines().any(|known| known.starts_with(&begins)), "{what} in\n{}", self.0);
        }
    }
}

/// A project whose image has Python and the tries in it.
fn project(sandboxes: &str) -> Project {
    let project = Project::new(&format!("project \"attacks\"\n{sandboxes}"));
    let image = project.image_of("webstack", "app");
    let tries = installation::root().join("tests/guest/attack.py");
    fs::copy(tries, image.join("attack.py")).expect("the file can be copied");
    project.ok(&["trust", "--yes"]);
    project
}

#[test]
fn a_hostile_guest_gets_nothing_out_past_its_rules() {
    let project = project(
        r#"
sandbox "strict" {
    image "./app"; memory "192M"
    network default="deny" {
        deny "*.evil.test"
        allow "good.example.org" "fine.example.org" "chain.example.org" "rebind.example.org"
        allow "shared.example.org"
        allow "domain=open:udp:5353"
    }
}
sandbox "loose" {
    image "./app"; memory "192M"
    network default="allow" { deny "host" "loopback" "private" }
}
sandbox "open" {
    image "./app"; memory "192M"
    port "5353:5353/udp" "[::1]:5353:5353/udp" "4444:5353" "[::1]:4444:5353"
    start "python3" "-c" """
        import socket
        echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        echo.bind(('', 5353))
        while True: echo.sendto(*echo.recvfrom(4096))
        """
}
"#,
    );
    let outside = Outside::up(&project, project.directory().join("outside"));

    // Names.
    let tries = Tries::run(&project, "strict", &["names"]);
    tries.is("A good.example.org", "NOERROR 93.184.216.10");
    tries.is("AAAA good.example.org", "NOERROR 2606:2800::10");
    tries.is("tcp good.example.org", "NOERROR 93.184.216.10");
    tries.is("A fine.example.org", "NOERROR 93.184.216.12");
    tries.is("A chain.example.org", "REFUSED");
    for kind in ["A", "AAAA"] {
        tries.is(&format!("{kind} rebind.example.org"), "NOERROR");
    }
    for what in ["A other.example.org", "A c2VjcmV0.evil.test", "AAAA c2VjcmV0.evil.test"] {
        tries.is(what, "REFUSED");
    }
    for what in ["TXT c2VjcmV0.evil.test", "tcp c2VjcmV0.evil.test"] {
        tries.is(what, "REFUSED");
    }
    tries.are_refused(&["resolver udp", "resolver tcp", "resolver dot", "resolver doh"]);
    tries.are_refused(&["resolver udp 6", "resolver tcp 6", "resolver dot 6"]);
    tries.is("mdns", "silence");
    tries.is("mdns 6", "silence");
    tries.is("web 93.184.216.10", "outside 93.184.216.10 80");
    tries.is("web 2606:2800::10", "outside 2606:2800::10 80");
    tries.is("fine", "outside 93.184.216.12 80");
    tries.is("udp 93.184.216.10", "ping");
    tries.is("udp 2606:2800::10", "ping");
    tries.are_refused(&["web 93.184.216.11", "web 2606:2800::11", "web 93.184.216.66", "web 10.1.2.3"]);
    tries.are_refused(&["udp 93.184.216.11", "udp 2606:2800::11", "udp 10.1.2.3", "udp fd12::7"]);
    // The servers saw the good ones, and none of the others.
    assert!(outside.seen().contains(&"name good.example.org".to_owned()), "{:?}", outside.seen());
    for canary in
        ["name c2vjcmv0", "name other", "tcp 203.0.113.53", "tcp 93.184.216.11", "udp 93.184.216.11"]
    {
        outside.never_saw(canary);
    }
    for canary in ["tcp 93.184.216.66", "tcp 10.1.2.3", "udp 10.1.2.3", "name secret.evil.test"] {
        outside.never_saw(canary);
    }
    for canary in ["tcp 2001:db8::53", "tcp 2606:2800::11", "udp 2606:2800::11", "udp fd12::7"] {
        outside.never_saw(canary);
    }
    let told = [
        "refused to look up other.example.org: no rule fits, and the default is deny",
        "refused to look up c2vjcmv0.evil.test: deny@*.evil.test",
        "refused to look up chain.example.org: it is an alias of secret.evil.test: deny@*.evil.test",
        "dropped the answer that rebind.example.org is 169.254.169.254",
        "dropped the answer that rebind.example.org is ::ffff:10.1.2.3",
        "refused tcp to 203.0.113.53:853",
        "refused tcp to [2001:db8::53]:853",
        "refused udp to 93.184.216.11:5000: no rule fits",
        "refused udp to [2606:2800::11]:5000: no rule fits",
    ];
    project.is_told("strict", &told);

    // The name in a greeting: nothing of a connection that does not show it reaches the server.
    let tries = Tries::run(&project, "strict", &["tls"]);
    for place in ["93.184.216.10", "2606:2800::10"] {
        tries.is(&format!("right {place}"), &format!("outside {place} 443"));
        // Another allowed name at the same address is as good; one that is not allowed is none.
        tries.is(&format!("shared {place}"), &format!("outside {place} 443"));
        tries.is(&format!("right, split {place}"), &format!("outside {place} 443"));
        for what in ["wrong", "wrong, split", "no name", "hidden", "no tls", "quic"] {
            tries.are_refused(&[&format!("{what} {place}")]);
        }
        outside.never_saw(&format!("udp {place} 443"));
    }
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let greetings: Vec<_> = outside.seen().into_iter().filter(|line| line.contains(" 443 ")).collect();
    assert_eq!(greetings.iter().filter(|line| line.starts_with("data")).count(), 6, "{greetings:#?}");
    assert!(!greetings.iter().any(|line| line.contains(&hex("other.example.org"))), "{greetings:#?}");

    // Packets: to a published port from the host, and between sandboxes.
    let ask = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20); \
               s.sendto(b'from the host', ('127.0.0.1', 5353)); print(s.recv(99).decode())";
    let supervisor = project.processes("open").supervisor;
    let ask_at = |address: &str| {
        let family = if address.contains(':') { "INET6" } else { "INET" };
        let ask = ask.replace("AF_INET", &format!("AF_{family}")).replace("127.0.0.1", address);
        outside.beside(supervisor, &["python3", "-c", &ask])
    };
    assert_eq!(ask_at("127.0.0.1"), "from the host\n");
    assert_eq!(ask_at("::1"), "from the host\n");
    let tries = Tries::run(&project, "strict", &["packets"]);
    tries.is("by name", "ping");
    tries.are_refused(&["other port"]);

    // What steers sandboxes is out of reach: of the host there is the name server alone, though its ports lead into
    // sandboxes, and there is no other way to it.
    for sandbox in ["strict", "open"] {
        let tries = Tries::run(&project, sandbox, &["control", "4444", "5353"]);
        for gateway in ["gateway 4", "gateway 6"] {
            tries.is(gateway, "53");
        }
        for what in ["vsock", "unix", "shared"] {
            tries.is(what, "nothing");
        }
    }

    // Places that are not public, in every spelling; they are there, and only the rules are in between.
    let others = [
        "10.1.2.3",
        "192.168.7.7",
        "100.64.7.7",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "::ffff:10.1.2.3",
        "64:ff9b::a01:203",
        "64:ff9b::a9fe:a9fe",
        "2002:a01:203::1",
        "fd00:ec2::254",
        "fd12::7",
        "0251.0376.0251.0376",
        "2852039166",
        "0xa010203",
        "10.66051",
        "127.1",
    ];
    let tries = Tries::run(&project, "open", &[&["places"][..], &others].concat());
    tries.is("public", "outside 93.184.216.11 80");
    // The guest's own loopback refuses by itself.
    tries.are_refused(&others);
    for address in others {
        outside.never_saw(&format!("tcp {address} "));
    }

    // The host itself, at the addresses that lead to it: what its loopback listens on is out of reach under every name.
    let tries = Tries::run(&project, "loose", &["own", "4444", "5353"]);
    tries.is("public", "outside 93.184.216.11 80");
    for address in [
        "0.0.0.0",
        "0.0.0.1",
        "127.0.0.1",
        "203.0.113.1",
        "::",
        "::1",
        "::ffff:0.0.0.0",
        "::ffff:127.0.0.1",
        "::ffff:203.0.113.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2001:db8::1",
    ] {
        for port in [4444, 5353] {
            tries.is(&format!("{address} {port}"), "refused");
        }
    }
    project.down();
}

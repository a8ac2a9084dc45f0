//! Attacks of a hostile guest on its network: only allowed traffic gets out.
//!
//! The sandboxes run in a network namespace whose servers record all traffic.

use std::fs;
use tests::outside::Outside;
use tests::tries::Tries;
use tests::{Project, installation};

/// Creates a project whose image contains Python and the attempts.
fn project(sandboxes: &str) -> Project {
    let project = Project::new(&format!("project \"attacks\"\n{sandboxes}"));
    let image = project.image_of("webstack", "app");
    let tries = installation::root().join("tests/guest/attack.py");
    fs::copy(tries, image.join("attack.py")).expect("the file can be copied");
    project.ok(&["trust", "--yes"]);
    project
}

#[test]
fn a_hostile_guest_cannot_bypass_its_rules() {
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
    let tries = Tries::run(&project, "strict", "attack.py", &["names"]);
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
    // The servers saw only allowed traffic.
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
    let reported = [
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
    project.wait_for_log("strict", &reported);

    // The name of a TLS client hello: without an allowed one no byte reaches the server.
    let tries = Tries::run(&project, "strict", "attack.py", &["tls"]);
    for place in ["93.184.216.10", "2606:2800::10"] {
        tries.is(&format!("right {place}"), &format!("outside {place} 443"));
        // Any allowed name of the address is accepted.
        tries.is(&format!("shared {place}"), &format!("outside {place} 443"));
        tries.is(&format!("right, split {place}"), &format!("outside {place} 443"));
        for what in ["wrong", "wrong, split", "no name", "hidden", "quic"] {
            tries.are_refused(&[&format!("{what} {place}")]);
        }
        // HTTP is refused with an answer.
        tries.is(&format!("no tls {place}"), "refused (403)");
        outside.never_saw(&format!("udp {place} 443"));
    }
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let greetings: Vec<_> = outside.seen().into_iter().filter(|line| line.contains(" 443 ")).collect();
    assert_eq!(greetings.iter().filter(|line| line.starts_with("data")).count(), 6, "{greetings:#?}");
    assert!(!greetings.iter().any(|line| line.contains(&hex("other.example.org"))), "{greetings:#?}");

    // UDP to a published port, and between sandboxes.
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
    let tries = Tries::run(&project, "strict", "attack.py", &["packets"]);
    tries.is("by name", "ping");
    tries.are_refused(&["other port"]);

    // Of the host only the name server is reachable: neither control sockets nor published ports are.
    for sandbox in ["strict", "open"] {
        let tries = Tries::run(&project, sandbox, "attack.py", &["control", "4444", "5353"]);
        for gateway in ["gateway 4", "gateway 6"] {
            tries.is(gateway, "53");
        }
        for what in ["vsock", "unix", "shared"] {
            tries.is(what, "nothing");
        }
    }

    // Addresses that are not public, in every spelling. Servers listen on them.
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
    let tries = Tries::run(&project, "open", "attack.py", &[&["places"][..], &others].concat());
    tries.is("public", "outside 93.184.216.11 80");
    // The guest's own loopback refuses 127.1.
    tries.are_refused(&others);
    for address in others {
        outside.never_saw(&format!("tcp {address} "));
    }

    // The host's loopback, by all addresses that might reach it.
    let tries = Tries::run(&project, "loose", "attack.py", &["own", "4444", "5353"]);
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

//! The network, from inside a guest: what rules allow is reached, all else is refused at once and told of.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tests::Project;

/// A server of the test on the host's loopback: answers every connection, and counts them.
struct Server {
    port: u16,
    reached: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be had");
        let port = listener.local_addr().expect("it has an address").port();
        let reached = Arc::new(AtomicUsize::new(0));
        let count = reached.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection can be taken");
                count.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
                let _ = stream.write_all(format!("{head}{answer}").as_bytes());
            }
        });
        Self { port, reached }
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }
}

/// What a published port answers to a request.
fn get(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is listened on");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit can be set");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("the request can be sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer can be read");
    answer
}

/// The host's port that a guest's port was given, as `msb ps` says.
fn published(project: &Project, guest: &str) -> u16 {
    let ps = project.ok(&["ps", "--json"]).json();
    let ports = ps["sandboxes"][0]["ports"].as_array().cloned().unwrap_or_default();
    let port = ports.iter().filter_map(|port| port.as_str()?.split_once(':'));
    let mut port = port.filter(|(_, to)| *to == guest).map(|(host, _)| host.parse().expect("a number"));
    port.next().unwrap_or_else(|| panic!("{guest} is not published: {ps:#}"))
}

fn sandboxfile(rules: &str, ports: &str) -> String {
    format!(
        r#"
project "net"
sandbox "web" {{
    image "@image"
    memory "128M"
    start "sh" "-c" "mkdir -p /www; echo from the guest >/www/index.html; httpd -f -p 8080 -h /www"
    {ports}
    network {{ {rules} }}
}}
"#
    )
}

/// What a guest hears from an address, and how long it took.
fn fetch(project: &Project, url: &str) -> (bool, String, Duration) {
    let began = Instant::now();
    let address = url.trim_start_matches("http://").trim_end_matches('/').replace(':', " ");
    let line = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 20 nc {address}");
    let run = project.run(&["exec", "web", "--", "sh", "-c", &line]);
    (run.code == 0, format!("{}{}", run.out(), run.err()), began.elapsed())
}

#[test]
fn rules_decide_what_a_guest_reaches_and_ports_lead_into_it() {
    let (allowed, canary) = (Server::start("allowed"), Server::start("canary"));
    let rules = |port: u16| format!(r#"allow "host:tcp:{port}""#);
    let project = Project::new(&sandboxfile(&rules(allowed.port), r#"port "0:8080"; port "0:5353/udp""#));
    project.up();

    // The gateway, which has a name: what the rule allows.
    let gateway = project.exec("web", &["sed", "-n", "s/nameserver //p", "/etc/resolv.conf"]);
    let at = |host: &str, port: u16| format!("http://{host}:{port}/");
    // The name is looked up by itself: the image's programs are static, and look nothing up.
    let looked_up = project.run(&["exec", "web", "--", "sh", "-c", "nslookup host.msb.internal"]);
    assert!(looked_up.out().contains(&format!("Address: {gateway}\n")), "{}", looked_up.out());
    let (reached, said, _) = fetch(&project, &at(&gateway, allowed.port));
    assert!(reached && said.ends_with("allowed"), "{said}");
    assert_eq!(allowed.reached(), 1);

    // Another port of the host: refused at once, and nobody was asked.
    let (reached, said, took) = fetch(&project, &at(&gateway, canary.port));
    assert!(!reached && said.contains("refused"), "{said}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    for address in ["10.1.2.3", "169.254.169.254", "192.168.1.1", "100.100.100.200"] {
        let (reached, said, took) = fetch(&project, &at(address, 80));
        assert!(!reached && took < Duration::from_secs(15), "{address} {took:?}: {said}");
    }
    assert_eq!(canary.reached(), 0);
    let log = project.ok(&["logs", "web", "--source", "system"]);
    let line = format!("refused tcp to {gateway}:{} (host.msb.internal): no rule allows it", canary.port);
    assert!(log.out().contains(&line), "{}", log.out());
    assert!(log.out().contains("refused tcp to 169.254.169.254:80"), "{}", log.out());

    // From the host into the guest.
    let answer = get(published(&project, "8080"));
    assert!(answer.ends_with("from the guest\n"), "{answer}");

    // Other rules and ports, while it runs: the very same machine follows them.
    let boot = project.boot_id("web");
    project.write("Sandboxfile", &sandboxfile(&rules(canary.port), r#"port "0:8080""#));
    project.up();
    assert_eq!(project.boot_id("web"), boot);
    let (reached, said, _) = fetch(&project, &at(&gateway, canary.port));
    assert!(reached && said.ends_with("canary"), "{said}");
    let (reached, said, _) = fetch(&project, &at(&gateway, allowed.port));
    assert!(!reached && said.contains("refused"), "{said}");
    assert!(get(published(&project, "8080")).ends_with("from the guest\n"));
    project.down();
}

#[test]
fn a_taken_port_fails_the_start_and_names_its_holder() {
    let holder = Server::start("holder");
    let ports = format!(r#"port "{}:8080""#, holder.port);
    let project = Project::new(&sandboxfile("", &ports));
    let run = project.run(&["up", "-d", "--wait"]).exits(1);
    let pid = std::process::id();
    assert!(
        run.err().contains("is taken by") && run.err().contains(&format!("(pid {pid})")),
        "{}",
        run.err()
    );
    project.down();
}

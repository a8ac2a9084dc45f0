//! The network of a guest: rules, published ports, taken ports, address pools.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tests::wait::retry;
use tests::{Project, ports};

/// A server on the host's loopback that counts connections.
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

/// Returns a published port's answer to a request.
fn get(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is listened on");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit can be set");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("the request can be sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer can be read");
    answer
}

/// Returns the host's port for a guest's port according to `msb ps`.
fn published(project: &Project, guest: &str) -> u16 {
    let list = project.list();
    let ports = list[0]["ports"].as_array().cloned().unwrap_or_default();
    let port = ports.iter().filter_map(|port| port.as_str()?.split_once(':'));
    let mut port = port.filter(|(_, to)| *to == guest).map(|(host, _)| host.parse().expect("a number"));
    port.next().unwrap_or_else(|| panic!("{guest} is not published: {list:?}"))
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

/// Sends a request from the guest. Returns whether it was answered, and the output. Panics after a timeout, which is
/// no refusal.
fn fetch(project: &Project, url: &str) -> (bool, String) {
    let address = url.trim_start_matches("http://").trim_end_matches('/').replace(':', " ");
    let line = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 20 nc {address}");
    let run = project.run(&["exec", "web", "--", "sh", "-c", &line]);
    assert!(![124, 143].contains(&run.code), "{url} does not answer");
    (run.code == 0, format!("{}{}", run.out(), run.err()))
}

#[test]
fn rules_and_ports_apply() {
    let (allowed, canary) = (Server::start("allowed"), Server::start("canary"));
    let rules = |port: u16| format!(r#"allow "host:tcp:{port}""#);
    let project = Project::new(&sandboxfile(&rules(allowed.port), r#"port "0:8080"; port "0:5353/udp""#));
    project.up_trusted();

    // The host's allowed port.
    let gateway = project.exec("web", &["sed", "-n", "s/nameserver //p", "/etc/resolv.conf"]);
    let at = |host: &str, port: u16| format!("http://{host}:{port}/");
    // The image's static programs look up no names.
    let looked_up = project.run(&["exec", "web", "--", "sh", "-c", "nslookup host.msb.internal"]);
    assert!(looked_up.out().contains(&format!("Address: {gateway}\n")), "{}", looked_up.out());
    let (reached, said) = fetch(&project, &at(&gateway, allowed.port));
    assert!(reached && said.ends_with("allowed"), "{said}");
    assert_eq!(allowed.reached(), 1);

    // Other ports and addresses are refused without a connection.
    let (reached, said) = fetch(&project, &at(&gateway, canary.port));
    assert!(!reached && said.contains("refused"), "{said}");
    for address in ["10.1.2.3", "169.254.169.254", "192.168.1.1", "100.100.100.200"] {
        let (reached, said) = fetch(&project, &at(address, 80));
        assert!(!reached, "{address}: {said}");
    }
    assert_eq!(canary.reached(), 0);
    let line = format!("refused tcp to {gateway}:{} (host.msb.internal): no rule allows it", canary.port);
    project.wait_for_log("web", &[&line, "refused tcp to 169.254.169.254:80"]);

    // From the host into the guest.
    let answer = get(published(&project, "8080"));
    assert!(answer.ends_with("from the guest\n"), "{answer}");

    // Rules and ports are changed while it runs.
    let boot = project.boot_id("web");
    project.write("Sandboxfile", &sandboxfile(&rules(canary.port), r#"port "0:8080""#));
    project.up_trusted();
    assert_eq!(project.boot_id("web"), boot);
    let (reached, said) = fetch(&project, &at(&gateway, canary.port));
    assert!(reached && said.ends_with("canary"), "{said}");
    let (reached, said) = fetch(&project, &at(&gateway, allowed.port));
    assert!(!reached && said.contains("refused"), "{said}");
    assert!(get(published(&project, "8080")).ends_with("from the guest\n"));
    project.down();
}

#[test]
fn taken_ports_are_reported_with_their_holders() {
    let holder = Server::start("holder");
    let (port, pid) = (holder.port, std::process::id());
    let file = |port: u16| sandboxfile("", &format!(r#"port "{port}:8080""#));
    let project = Project::new(&file(port));
    let plan = project.ok(&["plan"]);
    let taken = format!("port {port} of the host's address 127.0.0.1 is taken by ");
    assert!(plan.out().contains(&taken) && plan.out().contains(&format!("(pid {pid})")), "{}", plan.out());
    let run = project.run(&["up", "-d", "--wait"]).exits(1);
    assert!(run.err().contains(&taken), "{}", run.err());
    assert!(project.list().is_empty());

    // Its own port is not taken for itself, with another address or a restart.
    let port = ports::free();
    project.write("Sandboxfile", &file(port));
    project.up_trusted();
    assert!(project.ok(&["plan"]).out().contains("nothing to do"), "{}", project.ok(&["plan"]).out());
    let boot = project.boot_id("web");
    project.write("Sandboxfile", &sandboxfile("", &format!(r#"port "0.0.0.0:{port}:8080""#)));
    project.up_trusted();
    assert_eq!(project.boot_id("web"), boot);
    assert!(get(port).ends_with("from the guest\n"));
    project.write("Sandboxfile", &file(port).replace("128M", "144M"));
    project.up_trusted();
    assert_ne!(project.boot_id("web"), boot);

    // It is taken for sandboxes of other projects and of flags.
    let other = format!("project \"far\"\n{}", file(port).replace("project \"net\"\n", ""));
    project.write("far.kdl", &other);
    let by = format!("port {port} of the host's address 127.0.0.1 is taken by the sandbox net-web");
    let plan = project.ok(&["-f", "far.kdl", "plan"]);
    assert!(plan.out().contains(&by), "{}", plan.out());
    let image = project.directory().join("test-image");
    let image = image.to_str().expect("UTF-8");
    let run = project.run(&["create", image, "--name", "one", "-p", &format!("{port}:80")]).exits(1);
    assert!(run.err().contains(&by), "{}", run.err());

    // It moves to another sandbox of the same file while both run.
    let moved = |first: &str, second: &str| {
        let second = second.replace("project \"net\"\n", "").replace("\"web\"", "\"api\"");
        project.write("Sandboxfile", &format!("{first}{second}"));
        project.up_trusted();
    };
    let without = sandboxfile("", "");
    moved(&file(port), &without);
    let boots = ["web", "api"].map(|name| project.boot_id(name));
    moved(&without, &file(port));
    assert_eq!(["web", "api"].map(|name| project.boot_id(name)), boots);
    assert!(get(port).ends_with("from the guest\n"));

    // A port that was taken while its sandbox was stopped fails the start.
    project.ok(&["stop", "api"]);
    let holder = TcpListener::bind(("127.0.0.1", port)).expect("an unused port");
    project.run(&["start", "api"]).exits(1).says("is taken by").says(&format!("(pid {pid})"));
    drop(holder);
    project.ok(&["-f", "Sandboxfile", "down"]);
}

/// Returns a published port's answer from another address, or the error.
fn try_get(from: &str, to: &str, port: u16) -> String {
    let script = format!(
        "import socket\n\
         with socket.create_connection(({to:?}, {port}), timeout=20, source_address=({from:?}, 0)) as client:\n\
         \x20   client.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n\
         \x20   answer = b''\n\
         \x20   while received := client.recv(4096): answer += received\n\
         print(answer.decode().split('\\r\\n\\r\\n')[-1] or 'nothing')"
    );
    let output = std::process::Command::new("python3").args(["-c", &script]).output().expect("python3 runs");
    let text = if output.status.success() { output.stdout } else { output.stderr };
    String::from_utf8_lossy(&text).trim_end().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn ingress_rules_apply_to_ports_of_both_families() {
    let rules = r#"
        deny "host:tcp:9090" "127.0.0.2:tcp:8080" direction="ingress"
        deny "[::1]:tcp:9191" direction="ingress"
    "#;
    let ports: [u16; 6] = std::array::from_fn(|_| ports::free());
    let [four, six, host, low, high, wide] = ports;
    let ports = format!(
        r#"port "{four}:8080" "[::1]:{six}:8080" "{host}:9090" "{low}:9191" "[::1]:{high}:9191" "[::]:{wide}:8080""#
    );
    let serve = "for port in 9090 9191; do httpd -p $$port -h /www; done; httpd -f";
    let file = sandboxfile(rules, &ports).replace("httpd -f", serve);
    let project = Project::new(&file);
    project.up_trusted();
    let expect = "from the guest";
    assert_eq!(try_get("127.0.0.1", "127.0.0.1", four), expect);
    assert_eq!(try_get("::1", "::1", six), expect);
    assert_eq!(try_get("::1", "::1", wide), expect);
    assert_eq!(try_get("127.0.0.1", "127.0.0.1", wide), expect);
    assert_eq!(try_get("127.0.0.1", "127.0.0.1", low), expect);
    // Refused by group, by address and by address of the other family.
    for (from, to, port) in [
        ("127.0.0.1", "127.0.0.1", host),
        ("127.0.0.2", "127.0.0.1", four),
        ("127.0.0.2", "127.0.0.1", wide),
        ("::1", "::1", high),
    ] {
        let said = try_get(from, to, port);
        assert!(said.contains("reset") || said.contains("nothing"), "{from} to {port}: {said}");
    }
    let reported = [
        "refused tcp from 127.0.0.1 to port 9090: deny:ingress@host:tcp:9090",
        "refused tcp from 127.0.0.2 to port 8080: deny:ingress@127.0.0.2:tcp:8080",
        "refused tcp from ::1 to port 9191: deny:ingress@[::1]:tcp:9191",
    ];
    project.wait_for_log("web", &reported);
    // Connections are logged with the client's address.
    let log = project.ok(&["logs", "web", "--source", "runtime"]);
    let visits: Vec<_> = log.out().lines().filter(|line| line.contains(" connects to port 8080")).collect();
    assert!(visits.iter().any(|line| line.contains("network: 127.0.0.1:")), "{visits:?}");
    assert!(visits.iter().any(|line| line.contains("network: [::1]:")), "{visits:?}");
    project.down();
}

/// Listens for a single connection. Returns the port and the channel of the connection.
fn hold() -> (u16, std::sync::mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be had");
    let port = listener.local_addr().expect("it has an address").port();
    let (sender, streams) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(listener.accept().expect("a connection can be taken").0));
    (port, streams)
}

/// Whether the peer closes a connection within this time.
fn is_closed(stream: &mut TcpStream, timeout: Duration) -> bool {
    stream.set_read_timeout(Some(timeout)).expect("a time limit can be set");
    match stream.read(&mut [0; 16]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn changed_rules_close_forbidden_connections_only() {
    let ((kept, kept_streams), (cut, cut_streams)) = (hold(), hold());
    let (kept_in, cut_in) = (ports::free(), ports::free());
    let published = format!(r#"port "{kept_in}:7070" "{cut_in}:7171""#);
    let project = Project::new(&sandboxfile(r#"allow "host""#, &published));
    project.up_trusted();
    let gateway = project.exec("web", &["sed", "-n", "s/nameserver //p", "/etc/resolv.conf"]);
    let run = |name: &str, with: &str| {
        // A pipe without an end, so that only the connection can end.
        let line = format!(
            "mkfifo /tmp/{name}.in; nc {with} <>/tmp/{name}.in >/tmp/{name}; echo >/tmp/{name}.ended"
        );
        project.ok(&["exec", "-d", "web", "--", "sh", "-c", &line]);
    };
    run("kept", &format!("{gateway} {kept}"));
    run("cut", &format!("{gateway} {cut}"));
    run("kept-in", "-l -p 7070");
    run("cut-in", "-l -p 7171");
    let listening = "until netstat -ltn | grep -q :7070 && netstat -ltn | grep -q :7171; do sleep 0.1; done";
    project.exec("web", &["sh", "-c", listening]);
    let outward = |streams: &std::sync::mpsc::Receiver<TcpStream>| {
        streams.recv_timeout(Duration::from_secs(20)).expect("the guest connects")
    };
    let inward = |port: u16| TcpStream::connect(("127.0.0.1", port)).expect("the port is listened on");
    let mut all = [outward(&kept_streams), inward(kept_in), outward(&cut_streams), inward(cut_in)];
    let names = ["kept", "kept-in", "cut", "cut-in"];
    // All connections transfer data.
    for (stream, name) in all.iter_mut().zip(names) {
        stream.write_all(b"one\n").expect("it can be written to");
        let line =
            format!("for _ in $(seq 100); do grep -q one /tmp/{name} && exit 0; sleep 0.1; done; exit 1");
        project.exec("web", &["sh", "-c", &line]);
    }
    let rules = format!(r#"deny "host:tcp:{cut}"; deny "any:tcp:7171" direction="ingress"; allow "host""#);
    let boot = project.boot_id("web");
    project.write("Sandboxfile", &sandboxfile(&rules, &published));
    project.up_trusted();
    let [kept_stream, kept_in_stream, cut_stream, cut_in_stream] = &mut all;
    for stream in [cut_stream, cut_in_stream] {
        assert!(is_closed(stream, Duration::from_secs(60)));
    }
    for (stream, name) in [(kept_stream, "kept"), (kept_in_stream, "kept-in")] {
        assert!(!is_closed(stream, Duration::from_millis(200)), "{name}");
        stream.write_all(b"two\n").expect("it can be written to");
        let line =
            format!("for _ in $(seq 100); do grep -q two /tmp/{name} && exit 0; sleep 0.1; done; exit 1");
        project.exec("web", &["sh", "-c", &line]);
    }
    // The guest's ends are closed too, and new connections are refused.
    let ended = "for _ in $(seq 100); do [ -e /tmp/cut.ended ] && [ -e /tmp/cut-in.ended ] && break; sleep 0.1; done; \
                 ls /tmp/cut.ended /tmp/cut-in.ended && ! ls /tmp/kept*.ended";
    project.exec("web", &["sh", "-c", ended]);
    let (reached, said) = fetch(&project, &format!("http://{gateway}:{cut}/"));
    assert!(!reached && said.contains("refused"), "{said}");
    assert_eq!(project.boot_id("web"), boot);
    let outward = format!("refused tcp to {gateway}:{cut} (host.msb.internal): cut: the rules have changed");
    project.wait_for_log(
        "web",
        &[&outward, "refused tcp from 127.0.0.1 to port 7171: cut: the rules have changed"],
    );
    project.down();
}

#[test]
fn addresses_come_from_pools_and_are_reused() {
    let project = Project::new("");
    let image = project.own_image();
    let image = image.to_str().expect("UTF-8");
    let create = |name: &str| {
        let pools = ["--net-ipv4-pool", "10.99.0.0/29", "--net-ipv6-pool", "fd99::/48"];
        let flags = ["create", image, "--name", name, "--memory", "128M"];
        project.run(&[&flags[..], &pools].concat())
    };
    let address = |name: &str| {
        let line = "ip -o addr show dev eth0 scope global | sed 's/.*inet6* //; s/ .*//' | sort";
        project.exec(name, &["sh", "-c", line])
    };
    // /etc/hosts has the sandbox's name for its addresses.
    let named = |name: &str| project.exec(name, &["sh", "-c", "grep -w $(hostname) /etc/hosts"]);
    create("a").ok();
    create("b").ok();
    assert_eq!(address("a"), "10.99.0.2/30\nfd99::2/64");
    assert_eq!(named("a"), "10.99.0.2 a # msb\nfd99::2 a # msb");
    assert_eq!(address("b"), "10.99.0.6/30\nfd99:0:0:1::2/64");
    let run = create("c").exits(1);
    assert!(run.err().contains("all 2 subnets of the IPv4 pool 10.99.0.0/29 are taken"), "{}", run.err());
    assert!(run.err().contains("--net-ipv4-pool"), "{}", run.err());
    project.ok(&["rm", "-f", "a"]);
    project.ok(&["start", "c"]);
    assert_eq!(address("c"), "10.99.0.2/30\nfd99::2/64");
    let run = project.run(&["create", image, "--name", "d", "--net-ipv4-pool", "10.0.0.0/31"]).exits(64);
    assert!(run.err().contains("a pool must have room for a /30"), "{}", run.err());
    project.ok(&["rm", "-f", "b", "c"]);

    // Pools of the settings and of a Sandboxfile, whose change takes a restart.
    fs::write(project.home().join("config.json"), r#"{"network": {"ipv4_pool": "10.98.0.0/24"}}"#)
        .expect("the home can be written to");
    project.write("Sandboxfile", &sandboxfile("", "").replace("@image", image));
    project.up();
    assert_eq!(address("web"), "10.98.0.2/30\nfd42:6d73:62::2/64");
    assert_eq!(named("web"), "10.98.0.2 web # msb\nfd42:6d73:62::2 web # msb");
    let file = sandboxfile("", "").replace("@image", image);
    project.write("Sandboxfile", &file.replace("network {", r#"network ipv4-pool="10.97.0.0/30" {"#));
    let plan = project.ok(&["plan"]);
    assert!(
        plan.out().contains("network.ipv4-pool") && plan.out().contains("10.97.0.0/30"),
        "{}",
        plan.out()
    );
    project.up();
    assert_eq!(address("web"), "10.97.0.2/30\nfd42:6d73:62::2/64");
    project.down();
}

/// What a sandbox did, allowed and refused, gives the rules under which it can do the same and nothing else.
#[test]
fn learned_rules_allow_what_was_done_and_nothing_else() {
    let server = Server::start("allowed");
    let ports = r#"port "0:8080""#;
    let project = Project::new(&sandboxfile(&format!(r#"allow "host:tcp:{}""#, server.port), ports));
    project.up_trusted();
    let gateway = project.exec("web", &["sed", "-n", "s/nameserver //p", "/etc/resolv.conf"]);
    let allowed = format!("http://{gateway}:{}/", server.port);
    for _ in 0..2 {
        assert!(fetch(&project, &allowed).0);
    }
    assert!(!fetch(&project, "http://10.1.2.3:80/").0);
    assert!(get(published(&project, "8080")).ends_with("from the guest\n"));
    let rules = |learned: &str| -> Vec<String> {
        learned.lines().map(|line| line.split("//").next().unwrap_or_default().trim().to_owned()).collect()
    };
    let host = format!("allow \"host.msb.internal:tcp:{}\"", server.port);
    let expected = [
        "",
        "network default=\"deny\" {",
        &host,
        "allow \"10.1.2.3:tcp:80\"",
        "allow \"127.0.0.1:tcp:8080\" direction=\"ingress\"",
        "}",
    ];
    // While it runs, without the counts of repeats, which are written later.
    let learn = ["net", "learn", "web"];
    project.wait_for_output(&learn, "direction=\"ingress\"");
    let live = project.ok(&learn).out().to_owned();
    assert_eq!(rules(&live), expected, "{live}");
    project.ok(&["stop", "web"]);
    let learned = project.ok(&learn).out().to_owned();
    let lines = rules(&learned);
    assert_eq!(lines, expected, "{learned}");
    assert!(learned.contains("// 2 times, ") && learned.contains("// refused once, "), "{learned}");

    // The text is part of a Sandboxfile as it is.
    let file = sandboxfile("", ports).replace("network {  }", &learned);
    assert!(file.contains("default=\"deny\""));
    project.write("Sandboxfile", &file);
    project.up_trusted();
    assert!(fetch(&project, &allowed).0);
    assert!(get(published(&project, "8080")).ends_with("from the guest\n"));
    let (reached, said) = fetch(&project, "http://8.8.8.8:80/");
    assert!(!reached && said.contains("refused"), "{said}");
}

#[test]
fn a_range_of_ports_is_published_port_by_port() {
    let first = loop {
        let (one, next) = (ports::free(), ports::free());
        if next == one + 1 {
            break one;
        }
    };
    let last = first + 1;
    let project = Project::new(&format!(
        r#"
        project "range"
        sandbox "web" {{
            image "@image"
            memory "128M"
            start "sh" "-c" "for n in 8000 8001; do mkdir -p /$$n; echo from-$$n >/$$n/index.html; httpd -p $$n -h /$$n; done; exec sleep 1000"
            port "{first}-{last}:8000-8001"
        }}
        "#
    ));
    project.up();
    for (port, answer) in [(first, "from-8000"), (last, "from-8001")] {
        retry(|| {
            let answered = get(port);
            if answered.contains(answer) { Ok(()) } else { Err(answered) }
        });
    }
    project.down();
}

//! Connections through a proxy: tinyproxy and microsocks as proxies, which alone reach the servers.

use crate::interception::world::{self, TOKEN};
use std::fs;
use std::path::PathBuf;
use tests::outside::{Outside, Started};
use tests::servers::Servers;
use tests::{Project, memory};

const PASSWORD: &str = "canary-proxy-8c1e07b4d2f95a63";
const WRONG: &str = "canary-wrong-4b7d0a9e";
const ROTATED: &str = "canary-rotated-2e65c8f1";
/// Where the proxies listen: beside the servers.
const ADDRESS: &str = "203.0.113.53";

/// The Sandboxfile with a proxy.
fn file(proxy: &str) -> String {
    format!(
        r#"
project "proxied"
sandbox "box" {{
    image "./app"; memory "192M"
    network default="deny" {{
        proxy {proxy}
        allow "api.example.org" "good.example.org"
        allow "93.184.216.12" "93.184.216.11"
    }}
    secret "TOKEN" {{ from env="HOST_TOKEN"; hosts "api.example.org" }}
    tls {{ ca "./test.pem" }}
}}
"#
    )
}

fn with_password(scheme: &str, port: u16) -> String {
    format!("\"{scheme}://me@{ADDRESS}:{port}\" {{ password env=\"PROXY_PASSWORD\" }}")
}

fn without(port: u16) -> String {
    format!("\"http://{ADDRESS}:{port}\"")
}

struct World {
    project: Project,
    outside: Outside,
    servers: Servers,
    _proxies: [Started; 2],
}

impl World {
    fn up() -> Self {
        let project = Project::new(&file(&with_password("http", 3128)));
        world::make_image(&project);
        let servers = world::start_servers(&project);
        let plan = project.msb(&["plan", "--trust"]).env("HOST_TOKEN", TOKEN).run().ok();
        let blocked = "the password of the proxy cannot be used: the variable PROXY_PASSWORD is not set";
        assert!(plan.out().contains(blocked), "{}", plan.out());
        project.ok(&["trust", "--yes"]);
        let variables = [("HOST_TOKEN", TOKEN), ("PROXY_PASSWORD", PASSWORD)];
        let outside = Outside::up_with(&project, world::folder(&project), &variables);
        // From here on, the host itself reaches none of the servers.
        let supervisor = project.processes("box").supervisor;
        for (family, network) in [("-4", "93.184.216.0/24"), ("-6", "2606:2800::/32")] {
            outside.beside(supervisor, &["ip", family, "route", "add", "blackhole", network]);
        }
        let direct = "curl -sS --max-time 10 http://93.184.216.12/ || true";
        let direct = outside.shell(&project, "box", &format!("sh -c '{direct}'")).run().ok();
        assert!(!direct.out().contains("outside"), "{}", direct.out());
        let log = log_of(&project);
        let config = project.directory().join("tinyproxy.conf");
        let lines = format!(
            "Port 3128\nListen {ADDRESS}\nAllow 203.0.113.1\nBasicAuth me {PASSWORD}\nLogLevel Connect\n\
             LogFile \"{}\"\nPidFile \"{}\"\n",
            log.display(),
            log.with_extension("pid").display(),
        );
        fs::write(&config, lines).expect("a writable directory");
        let config = config.to_str().expect("UTF-8");
        let proxies = [
            outside.start_there(&["tinyproxy", "-d", "-c", config]),
            outside.start_there(&["microsocks", "-i", ADDRESS, "-p", "1080", "-u", "me", "-P", PASSWORD]),
        ];
        for port in [3128, 1080] {
            let line = format!("until (exec 3<>/dev/tcp/{ADDRESS}/{port}) 2>/dev/null; do sleep 0.1; done");
            outside.beside(supervisor, &["timeout", "60", "bash", "-c", &line]);
        }
        Self { project, outside, servers, _proxies: proxies }
    }

    /// Runs a line of a shell in the guest, and returns its output and its errors.
    fn run(&self, line: &str) -> String {
        self.project.exec("box", &["sh", "-c", &format!("{{ {line}; }} 2>&1 || true")])
    }

    /// Requests a path with the secret.
    fn request(&self, path: &str) -> String {
        let line = "curl -sS --max-time 120 -H \"X-Key: $TOKEN\" https://api.example.org";
        self.run(&format!("{line}{path}"))
    }

    /// Asserts that a request with the secret arrives.
    fn arrives(&self, path: &str, token: &str) {
        let said = self.request(path);
        assert!(said.contains(&format!("api.example.org saw GET {path}")), "{said}\n{}", self.logs());
        assert_eq!(self.servers.request(path).header("x-key"), token);
    }

    /// Applies the current Sandboxfile with these values, without a restart; returns the plan.
    fn apply(&self, token: &str, password: &str) -> String {
        let boot = self.project.boot_id("box");
        let msb = |arguments: &[&str]| {
            let msb = self.project.msb(arguments).env("HOST_TOKEN", token).env("PROXY_PASSWORD", password);
            msb.run().ok().out().to_owned()
        };
        let plan = msb(&["plan", "--trust"]);
        msb(&["up", "-d", "--wait", "--trust"]);
        assert_eq!(self.project.boot_id("box"), boot);
        let again = msb(&["plan", "--trust"]);
        assert!(again.contains("Plan: nothing to do"), "{again}");
        plan
    }

    /// Changes the proxy while the sandbox runs.
    fn change(&self, proxy: &str) -> String {
        self.project.write("Sandboxfile", &file(proxy));
        self.apply(TOKEN, PASSWORD)
    }

    fn logs(&self) -> String {
        self.project.ok(&["logs", "box", "--source", "system"]).out().to_owned()
    }

    /// Asserts that a request fails, with an event that says why.
    fn fails(&self, path: &str, reason: &str) {
        let said = self.request(path);
        assert!(said.contains("curl: ("), "{said}");
        self.project.wait_for_output(&["logs", "box", "--source", "system"], reason);
        self.servers.never_saw(path);
    }
}

fn log_of(project: &Project) -> PathBuf {
    project.directory().join("tinyproxy.log")
}

#[test]
fn connections_go_through_a_proxy() {
    let world = World::up();
    let log = || fs::read_to_string(log_of(&world.project)).unwrap_or_default();
    // By name where a rule on names decides, and the secret is substituted; by address otherwise.
    world.arrives("/http", TOKEN);
    assert!(log().contains("CONNECT api.example.org:443"), "{}", log());
    let said = world.run("curl -sS http://93.184.216.12/");
    assert_eq!(said, "outside 93.184.216.12 80");
    assert!(log().contains("CONNECT 93.184.216.12:80"), "{}", log());
    // What the rules forbid never gets to the proxy.
    for refused in ["http://93.184.216.66/", "https://evil.example.org/", "http://10.1.2.3/"] {
        let said = world.run(&format!("curl -sS {refused}"));
        assert!(said.contains("curl: ("), "{said}");
    }
    assert!(!["216.66", "evil", "10.1.2.3"].iter().any(|text| log().contains(text)), "{}", log());
    let udp = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(60); \
               s.connect(('93.184.216.11', 5000)); s.send(b'x'); s.recv(9)";
    let said = world.run(&format!("python3 -c \"{udp}\""));
    assert!(said.contains("refused"), "{said}");
    world.outside.never_saw("udp 93.184.216.11 5000");
    assert!(world.logs().contains("UDP does not go through the proxy http://203.0.113.53:3128: use TCP"));

    // Values that change on the host are passed on.
    let plan = world.apply(ROTATED, WRONG);
    for field in ["secret.TOKEN.value", "network.proxy.password.value"] {
        assert!(plan.contains(field) && !plan.contains("canary"), "{plan}");
    }
    world.fails("/wrong", "the proxy http://203.0.113.53:3128 refuses the user or the password");
    world.apply(ROTATED, PASSWORD);
    world.arrives("/rotated", ROTATED);
    world.apply(TOKEN, PASSWORD);

    // Another proxy, while it runs.
    let plan = world.change(&with_password("socks5", 1080));
    assert!(plan.contains("network.proxy") && plan.contains("\"socks5://me@203.0.113.53:1080\""), "{plan}");
    world.arrives("/socks", TOKEN);
    world.change(&without(1080));
    world.fails("/not-http", "does not answer as its URL says");
    world.change(&without(3128));
    world.fails("/no-user", "asks for a user and a password");
    world.change(&without(19));
    world.fails("/garbage", "the proxy http://203.0.113.53:19 does not answer as its URL says");
    world.change(&without(1));
    world.fails("/nobody", "the proxy http://203.0.113.53:1 cannot be reached: Connection refused");
    world.change(&without(9));
    world.fails("/silence", "the proxy http://203.0.113.53:9 did not open the connection within");

    let processes = world.project.processes("box");
    assert!(memory::contains(processes.supervisor, TOKEN), "its memory is searched");
    for value in [TOKEN, ROTATED, PASSWORD, WRONG] {
        assert!(!memory::contains(processes.vmm, value), "the guest's memory has {value}");
        let home = world.project.home().display();
        let found = world.project.shell(&format!("grep -rlaF {value} {home} || test $? -eq 1")).run().ok();
        assert_eq!(found.out(), "", "{value}");
    }
    world.project.down();
}

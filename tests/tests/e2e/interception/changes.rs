//! Secrets and interception that change, and what the guest trusts.

use super::world::{self, TOKEN, World};
use std::fs;
use tests::Project;
use tests::outside::Outside;

/// A secret's hosts change without a restart, and without its value.
pub fn hosts_change_while_it_runs(world: &World) {
    let World { project, outside: _, servers } = world;
    let curl = |path: &str| {
        let line = format!("curl -sS -H \"X-Key: $TOKEN\" https://second.example.org{path}");
        project.exec("box", &["sh", "-c", &line])
    };
    let said = curl("/live/before");
    assert!(said.contains("which may not be sent to this host"), "{said}");
    let boot = project.boot_id("box");
    let path = project.directory().join("Sandboxfile");
    let file = fs::read_to_string(path).expect("a file");
    project.write(
        "Sandboxfile",
        &file.replace("\"old.example.org\"", "\"old.example.org\" \"second.example.org\""),
    );
    project.up_trusted();
    assert_eq!(project.boot_id("box"), boot);
    let said = curl("/live/after");
    assert!(said.contains("second.example.org saw GET /live/after"), "{said}");
    servers.never_saw("/live/before");
    assert_eq!(servers.request("/live/after").header("x-key"), TOKEN);
}

const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
const SECRET: &str =
    r#"secret "TOKEN" { from env="HOST_TOKEN"; hosts "api.example.org" }; tls { ca "./test.pem" }"#;
const INTERCEPTED: &str = r#"tls { intercept #true; ca "./test.pem" }"#;

fn file(more: &str) -> String {
    format!("project \"turns\"\nsandbox \"web\" {{ image \"./app\"; memory \"192M\"; {more} }}\n")
}

/// A sandbox whose interception is turned on and off again.
struct Turns {
    project: Project,
    outside: Outside,
}

impl Turns {
    fn write(&self, more: &str) {
        self.project.write("Sandboxfile", &file(more));
        self.project.ok(&["trust", "--yes"]);
    }

    /// Applies another Sandboxfile, which takes a restart.
    fn apply(&self, more: &str) {
        self.write(more);
        let plan = self.project.msb(&["plan"]).env("HOST_TOKEN", TOKEN).run().ok();
        assert!(plan.out().contains("restart"), "{}", plan.out());
        let boot = self.project.boot_id("web");
        let up = self.outside.shell(&self.project, "web", "msb up -d --wait");
        up.env("HOST_TOKEN", TOKEN).run().ok();
        assert_ne!(self.project.boot_id("web"), boot);
    }

    /// Runs a line of a shell in the guest, and returns its output and its errors.
    fn run(&self, line: &str) -> String {
        self.project.exec("web", &["sh", "-c", &format!("{{ {line}; }} 2>&1 || true")])
    }

    fn curl(&self, path: &str) -> String {
        self.run(&format!("curl -sS -H \"X-Key: ${{TOKEN:-none}}\" https://api.example.org{path}"))
    }

    /// Asserts that all clients trust the CA, which is in the bundle once.
    fn is_trusted(&self) {
        let line = format!("grep -c 'msb sandbox CA begin' {BUNDLE}; grep -c 'BEGIN CERTIFICATE' {BUNDLE}");
        assert_eq!(self.run(&line), "1\n2");
        // Without its variables too.
        let line = "env -u SSL_CERT_FILE -u CURL_CA_BUNDLE curl -sS https://api.example.org/bundle";
        assert!(self.run(line).contains("api.example.org saw GET /bundle"), "{}", self.run(line));
        // An anchor has comments besides the certificate.
        let line = "plain() { grep -v '^#' $1 | tr -d '\\r\\n'; }; \
                    for file in /usr/local/share/ca-certificates/msb.crt /etc/pki/ca-trust/source/anchors/msb.pem; do \
                    [ \"$(plain $file)\" = \"$(plain /.msb/tls/ca.pem)\" ] && stat -c '%a %u' $(dirname $file); done";
        assert_eq!(self.run(line), "755 0\n755 0");
        let line = "echo $SSL_CERT_FILE $REQUESTS_CA_BUNDLE $CURL_CA_BUNDLE $NODE_EXTRA_CA_CERTS";
        assert_eq!(self.run(line), format!("{BUNDLE} {BUNDLE} {BUNDLE} /.msb/tls/ca.pem"));
    }
}

#[test]
fn interception_is_turned_on_and_off() {
    let project = Project::new(&file(""));
    world::make_image(&project);
    let servers = world::start_servers(&project);
    let own_bundle = fs::read_to_string(project.directory().join("app").join(&BUNDLE[1..])).expect("a file");
    project.ok(&["trust", "--yes"]);
    let outside = Outside::up(&project, world::folder(&project));
    let turns = Turns { project, outside };
    // Off: the guest sees the server's own certificate, which it does not trust.
    let said = turns.curl("/off");
    assert!(said.contains("certificate"), "{said}");
    let said = turns.run("curl -sSk https://api.example.org/insecure");
    assert!(said.contains("api.example.org saw GET /insecure"), "{said}");

    // A value that cannot be used blocks the plan.
    turns.write(SECRET);
    let long = "x".repeat(64 * 1024 + 1);
    for (value, problem) in [
        (None, "the variable HOST_TOKEN is not set"),
        (Some(""), "its value is empty"),
        (Some("two\nlines"), "its value has more than one line"),
        (Some(long.as_str()), "its value has more than 64 KiB"),
    ] {
        let plan = turns.project.msb(&["plan"]);
        let plan =
            value.map_or(plan, |value| turns.project.msb(&["plan"]).env("HOST_TOKEN", value)).run().ok();
        let text = format!("the secret TOKEN cannot be used: {problem}");
        assert!(plan.out().contains(&text), "no {text:?} in\n{}", plan.out());
    }

    // The first secret turns it on.
    turns.apply(SECRET);
    assert!(turns.curl("/on").contains("api.example.org saw GET /on"), "{}", turns.curl("/on"));
    assert_eq!(servers.request("/on").header("x-key"), TOKEN);
    turns.is_trusted();
    let ca = turns.run("cat /.msb/tls/ca.pem");
    // A second start has the same CA.
    let again = "sh -c 'msb stop web && msb start web'";
    turns.outside.shell(&turns.project, "web", again).env("HOST_TOKEN", TOKEN).run().ok();
    turns.is_trusted();
    assert_eq!(turns.run("cat /.msb/tls/ca.pem"), ca);

    // Without a secret.
    turns.apply(INTERCEPTED);
    let said = turns.curl("/intercepted");
    assert!(said.contains("api.example.org saw GET /intercepted"), "{said}");
    assert_eq!(servers.request("/intercepted").header("x-key"), "none");
    turns.is_trusted();

    // Off again: nothing of it is left.
    turns.apply("");
    assert_eq!(turns.run(&format!("cat {BUNDLE}")), own_bundle.trim_end());
    let line = "ls -d /.msb/tls /usr/local/share/ca-certificates/msb.crt /etc/pki/ca-trust/source/anchors/msb.pem \
                2>/dev/null; env | grep -E 'CERT|BUNDLE'";
    assert_eq!(turns.run(line), "");
    assert!(turns.curl("/off/again").contains("certificate"), "{}", turns.curl("/off/again"));
    servers.never_saw("/off");
    servers.never_saw("/off/again");
    turns.project.down();
}

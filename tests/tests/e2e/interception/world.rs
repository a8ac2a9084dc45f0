//! Sandboxes with secrets, and the servers that they send requests to.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::outside::Outside;
use tests::servers::{Server, Servers, TestCa};
use tests::tries::Tries;
use tests::{Project, installation, memory};

/// The values of the secrets.
pub const TOKEN: &str = "canary-token-5d1f6c0e75d2a384";
pub const OTHER: &str = "canary-other-0b7e94d1";
const QUIET: &str = "canary-quiet-83ac";
const PASSED: &str = "canary-passed-f19e20";
const PLAIN: &str = "canary-plain-77d0c25b";
const PINNED: &str = "canary-pinned-19c3aa";
const LAST: &str = "canary-last-64fe01";
pub const VALUES: [(&str, &str); 7] = [
    ("HOST_TOKEN", TOKEN),
    ("HOST_OTHER", OTHER),
    ("HOST_QUIET", QUIET),
    ("HOST_PASSED", PASSED),
    ("HOST_PLAIN", PLAIN),
    ("HOST_PINNED", PINNED),
    ("HOST_LAST", LAST),
];

const FILE: &str = r#"
project "secrets"
sandbox "box" {
    image "./app"; memory "192M"
    network default="allow" { deny "private" }
    secret "TOKEN" {
        from env="HOST_TOKEN"; hosts "api.example.org" "old.example.org"
        inject "headers" "basic-auth" "query" "body"
    }
    secret "OTHER" {
        from env="HOST_OTHER"; hosts "api.example.org"
        placeholder "sk-other-placeholder"; headers "X-Api-Key"; passthrough-hosts "logs.example.org"
    }
    secret "QUIET" { from env="HOST_QUIET"; hosts "api.example.org"; on-violation "block" }
    secret "PASSED" { from env="HOST_PASSED"; hosts "api.example.org"; on-violation "passthrough" }
    secret "PLAIN" { from env="HOST_PLAIN"; hosts "api.example.org"; require-tls #false }
    secret "PINNED" { from env="HOST_PINNED"; hosts "*.example.net"; on-violation "passthrough" }
    tls {
        bypass "pinned.example.org"
        ca "./test.pem"
        ca "./dev.pem" { hosts "dev.example.org" }
    }
}
sandbox "last" {
    image "./app"; memory "192M"
    network default="deny" { allow "api.example.org" "evil.example.org" }
    secret "LAST" { from env="HOST_LAST"; hosts "api.example.org"; on-violation "block-and-terminate" }
    tls { ca "./test.pem" }
}
"#;

/// The sandboxes and the servers.
pub struct World {
    pub project: Project,
    pub outside: Outside,
    pub servers: Servers,
}

impl World {
    /// Starts them.
    pub fn up() -> Self {
        let project = Project::new(FILE);
        make_image(&project);
        let servers = start_servers(&project);
        repository(&folder(&project).join("files"));
        project.ok(&["trust", "--yes"]);
        let outside = Outside::up_with(&project, folder(&project), &VALUES);
        Self { project, outside, servers }
    }

    /// Runs a group of attempts in the guest.
    pub fn tries(&self, group: &str) -> Tries {
        let tries = Tries::run(&self.project, "box", "requests.py", &[group]);
        for (name, value) in VALUES {
            assert!(!tries.text().contains(value), "the guest sees the value of {name}:\n{}", tries.text());
        }
        tries
    }

    /// Takes the sandboxes down. No server but the right ones saw a value, and the guest never had one.
    pub fn down(self) {
        let processes = self.project.processes("box");
        let core = memory::core(processes.supervisor, memory::Core::Dumped);
        let in_core = |text: &str| memchr::memmem::find(&core, text.as_bytes()).is_some();
        assert!(in_core("msb"), "the core of the supervisor is searched");
        for (name, value) in VALUES.into_iter().filter(|(name, _)| *name != "HOST_LAST") {
            assert!(memory::contains(processes.supervisor, value), "its memory is searched for {name}");
            assert!(!in_core(value), "a core of the supervisor has the value of {name}");
            assert!(!memory::contains(processes.vmm, value), "the guest's memory has the value of {name}");
        }
        assert!(memory::contains(processes.vmm, "sk-other-placeholder"), "the guest's memory is searched");
        for (name, value) in VALUES {
            let saw = self.servers.that_saw(value);
            let only_right = saw.iter().all(|host| is_right(host));
            assert!(only_right, "the value of {name} got to {saw:?}");
        }
        assert_eq!(
            self.servers.that_saw(TOKEN),
            ["api.example.org", "old.example.org", "second.example.org"]
        );
        self.project.down();
    }
}

fn is_right(host: &str) -> bool {
    // By its address, for plain HTTP.
    ["api.example.org", "old.example.org", "second.example.org", "93.184.216.20", "2606:2800::20"]
        .contains(&host)
}

/// The directory of the servers.
pub fn folder(project: &Project) -> PathBuf {
    project.directory().join("outside")
}

/// Creates the image: Python, curl and git, the attempts, and a bundle of CAs that trusts none of the servers.
pub fn make_image(project: &Project) {
    let image = project.image_of("webstack", "app");
    for script in ["attack.py", "requests.py"] {
        fs::copy(installation::root().join("tests/guest").join(script), image.join(script)).expect("a file");
    }
    let git = "/usr/lib/git-core/git-remote-http";
    let programs = ["curl", "git", git];
    let add = installation::root().join("tests/add-programs");
    let output = Command::new(add).arg(&image).args(programs).output().expect("it can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    symlink("git-remote-http", image.join("usr/lib/git-core/git-remote-https")).expect("a new link");
    let bundle = image.join("etc/ssl/certs/ca-certificates.crt");
    fs::create_dir_all(bundle.parent().expect("a directory")).expect("a writable directory");
    fs::write(bundle, TestCa::new("CA of the image").pem()).expect("a writable directory");
}

/// Starts the servers, with their CAs in the project's directory and among the roots of the host.
pub fn start_servers(project: &Project) -> Servers {
    let [test, dev, known, unknown] = ["test", "dev", "known", "unknown"].map(TestCa::new);
    project.write("test.pem", test.pem());
    project.write("dev.pem", dev.pem());
    let folder = folder(project);
    let at = |address: &'static str, name: &'static str, ca| (vec![address], vec![name], ca);
    let api = ["api.example.org", "second.example.org", "tenant.example.org"];
    let servers = [
        (vec!["93.184.216.20", "2606:2800::20"], api.to_vec(), &test),
        (vec!["93.184.216.21"], vec!["evil.example.org", "logs.example.org"], &test),
        at("93.184.216.22", "untrusted.example.org", &unknown),
        (vec!["93.184.216.23"], vec!["dev.example.org", "dev2.example.org"], &dev),
        at("93.184.216.24", "pinned.example.org", &unknown),
        at("93.184.216.25", "client.example.org", &test),
        at("93.184.216.26", "old.example.org", &test),
        at("93.184.216.27", "known.example.org", &known),
    ];
    let mut servers: Vec<_> =
        servers.iter().map(|(addresses, names, ca)| Server::new(addresses, names, ca)).collect();
    servers[5].demands_certificate = true;
    servers[6].protocols = &[];
    let started = Servers::start(&folder, &servers);
    fs::write(folder.join("roots.pem"), known.pem()).expect("a writable directory");
    started
}

/// Returns the credentials of Basic for the user `user`.
pub fn basic(password: &str) -> String {
    format!("Basic {}", base64(&format!("user:{password}")))
}

fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text.as_bytes().chunks(3).fold(String::new(), |mut encoded, group| {
        let bits = (0..3).fold(0_usize, |bits, at| bits << 8 | usize::from(*group.get(at).unwrap_or(&0)));
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            encoded.push(if at > group.len() { '=' } else { char::from(LETTERS[bits >> shift & 63]) });
        }
        encoded
    })
}

/// Creates a bare repository `repo.git` that a server of files can serve.
pub fn repository(files: &Path) {
    let line = "mkdir -p \"$1\" && cd \"$1\" && git init -q work && cd work && echo cloned >file && git add file && \
                git -c user.name=n -c user.email=e@example.org commit -qm one && cd .. && \
                git clone -q --bare work repo.git && git -C repo.git update-server-info";
    let output = Command::new("sh").args(["-c", line, "sh"]).arg(files).output().expect("git is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

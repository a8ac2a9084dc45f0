//! The value of a secret is in no file and no output, whatever command reads the Sandboxfile.

use std::cell::Cell;
use std::fmt::Write as _;
use tests::memory::Core;
use tests::process::Process;
use tests::wait::retry;
use tests::{Project, Run, memory};

const FILE: &str = r#"
project "quiet"
sandbox "web" { image "@image"; disk "64M"; env { PLAIN "${PLAIN}" }; start "sh" "-c" "echo $PLAIN; exec sleep 1000000" }
sandbox "api" {
    image "@image"; disk "64M"
    secret "TOKEN" { from env="HOST_TOKEN"; hosts "api.example.org" }
    secret "FILED" { from file="../token"; hosts "api.example.org" }
    secret "TOLD" { from command="cat" "../token"; hosts "api.example.org" }
    network { proxy "http://me@192.0.2.1:3128" { password env="PROXY_PASSWORD" } }
}
"#;
const CANARY: &str = "canary-9b1f6c0e75d2a384";
/// The value of two of them after a change on the host.
const CHANGED: &str = "canary-6e03d7a52c81fb94";
/// An ordinary value: the same search finds it.
const PLAIN: &str = "plain-4d81e7a3c6f0952b";

/// Returns a value, its base64 at all three alignments, and its hexadecimal forms.
fn spellings(value: &str) -> Vec<String> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let base64 = |skipped: usize| {
        let groups = value.as_bytes()[skipped..].chunks_exact(3);
        groups.fold(String::new(), |mut text, group| {
            let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
            text.extend([18, 12, 6, 0].map(|shift| char::from(LETTERS[bits >> shift & 63])));
            text
        })
    };
    let hex = value.bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let whole = [value.to_owned(), hex.to_uppercase(), hex];
    [0, 1, 2].map(base64).into_iter().chain(whole).collect()
}

/// Lists the files of the home and the project that contain a value.
fn holders(project: &Project, value: &str) -> String {
    let patterns: Vec<_> = spellings(value).iter().map(|text| format!("-e '{text}'")).collect();
    let home = project.home().display();
    project
        .shell(&format!("grep -rlaFi {} . {home} || test $? -eq 1", patterns.join(" ")))
        .run()
        .ok()
        .out()
        .to_owned()
}

/// Returns the processes with a value in their environment or their arguments.
fn holding_processes(value: &str) -> Vec<u32> {
    let finder = memchr::memmem::Finder::new(value);
    let holds = |pid: u32| {
        let bytes = ["environ", "cmdline"].map(|file| std::fs::read(format!("/proc/{pid}/{file}")));
        bytes.into_iter().flatten().any(|bytes| finder.find(&bytes).is_some())
    };
    let entries = std::fs::read_dir("/proc").expect("processes").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| holds(*pid)).collect()
}

/// Asserts that no core dump of a supervisor has the value, not even one of all memory that is not excluded by itself.
fn assert_not_in_cores(supervisor: Process) {
    let has = |core: &[u8], text: &str| memchr::memmem::find(core, text.as_bytes()).is_some();
    for (kind, known) in [(Core::Dumped, "msb"), (Core::WithoutExcluded, "api.example.org")] {
        let core = memory::core(supervisor, kind);
        assert!(has(&core, known), "the search does not find what is in a core of {kind:?}");
        assert!(spellings(CANARY).iter().all(|text| !has(&core, text)), "a core of {kind:?} has the value");
    }
    assert!(has(&memory::core(supervisor, Core::Everything), CANARY), "a core of everything has no value");
}

#[test]
fn the_value_of_a_secret_is_in_no_file_and_no_output() {
    let project = Project::new(FILE);
    project.shell(&format!("printf %s {CANARY} > ../token")).run().ok();
    let mut runs: Vec<Run> = Vec::new();
    let is_changed = Cell::new(false);
    let mut run = |code: i32, arguments: &[&str]| {
        let summary = project.directory().join("summary.md");
        let outputs = project.directory().join("outputs");
        let value = if is_changed.get() { CHANGED } else { CANARY };
        let msb =
            project.msb(arguments).env("HOST_TOKEN", value).env("PROXY_PASSWORD", value).env("PLAIN", PLAIN);
        let msb = msb.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", summary);
        runs.push(msb.env("GITHUB_OUTPUT", outputs).env("MSB_LOG", "trace").run().exits(code));
    };
    run(0, &["validate"]);
    run(0, &["validate", "--format", "json"]);
    for format in ["kdl", "yaml", "json"] {
        run(0, &["config", "--format", format]);
    }
    run(0, &["config", "--explain"]);
    run(3, &["plan"]);
    run(1, &["trust"]);
    run(0, &["trust", "--yes", "--json"]);
    run(0, &["trust", "--list", "--json"]);
    run(0, &["plan", "-o", "plan.json", "--report", "gitlab-terraform=plan-report.json"]);
    run(
        0,
        &[
            "plan",
            "--json",
            "--report",
            "github-summary=plan.md",
            "--report",
            "gitlab-codequality=quality.json",
        ],
    );
    for format in ["dot", "svg", "json"] {
        run(0, &["graph", "--format", format]);
    }
    run(0, &["lock"]);
    let reports = ["--report", "junit=up.xml", "--report", "github-summary=up.md"];
    run(0, &[&["up", "-d", "--plan", "plan.json"][..], &reports].concat());
    run(0, &["up", "-d", "--wait", "--json"]);
    run(0, &["plan", "--json"]);
    run(0, &["ps", "-a", "--json"]);
    run(0, &["inspect", "api", "--json"]);
    run(0, &["events", "api", "--json"]);
    run(0, &["logs", "api", "--source", "stdout,stderr,output,system,runtime"]);
    run(0, &["logs", "web"]);
    run(0, &["exec", "web", "--", "env"]);
    run(0, &["exec", "api", "--", "env"]);
    assert!(!memory::contains(project.processes("api").vmm, CANARY), "the guest's memory has it");
    assert_not_in_cores(project.processes("api").supervisor);
    // A process that knows the value all the same: the logs have it masked.
    let say = format!("echo begin {CANARY} end");
    let said = project.msb(&["exec", "api", "--", "sh", "-c", &say]).env("MSB_LOG", "trace").run().ok();
    assert!(said.out().contains(CANARY), "{}", said.out());
    project.wait_for_output(&["logs", "api"], "begin ");
    run(0, &["doctor", "--json"]);
    // No process that stays has it in its environment or its arguments, and none that gets to a disk has it in memory.
    let mut control =
        std::process::Command::new("sleep").arg("1000").env("CONTROL", PLAIN).spawn().expect("it runs");
    // A new process has its environment only a moment after it was started.
    retry(|| match holding_processes(PLAIN) {
        found if found.contains(&control.id()) => Ok(()),
        found => Err(format!("the search does not find the environment of {}, but {found:?}", control.id())),
    });
    assert_eq!(holding_processes(CANARY), Vec::<u32>::new());
    control.kill().and_then(|()| control.wait()).expect("it runs");
    let (web, api) = (project.processes("web"), project.processes("api"));
    assert!(memory::contains(web.vmm, PLAIN), "the search does not find what is in a guest's memory");
    assert!(memory::contains(api.supervisor, CANARY), "the search does not find it where it is");
    for process in [api.supervisor, api.vmm] {
        assert_eq!(memory::dumped(process), 0, "{process:?}");
    }
    assert_eq!(holders(&project, CANARY), "");
    let plain = holders(&project, PLAIN);
    for file in ["./plan.json", "catalog.db", "orders.json", "exec.log"] {
        assert!(plain.contains(file), "the search does not find what is in {file}:\n{plain}");
    }
    // Those that change on the host are passed on.
    is_changed.set(true);
    run(0, &["plan", "-o", "changed.json"]);
    run(0, &["up", "-d", "--wait", "--json"]);
    assert!(memory::contains(api.supervisor, CHANGED), "the changed value is not passed on");
    assert!(!memory::contains(api.vmm, CHANGED), "the guest's memory has it");
    assert_eq!(memory::dumped(api.supervisor), 0);
    assert_eq!(holding_processes(CHANGED), Vec::<u32>::new());
    run(0, &["down", "--report", "junit=down.xml"]);
    for value in [CANARY, CHANGED] {
        assert_eq!(holders(&project, value), "");
    }
    for run in runs {
        let said = String::from_utf8_lossy(&[run.stdout.clone(), run.stderr.clone()].concat()).into_owned();
        if [CANARY, CHANGED].into_iter().flat_map(spellings).any(|text| said.contains(&text)) {
            run.fail("a secret's value was printed");
        }
    }
    tests::leftovers::assert_none(project.home());
}

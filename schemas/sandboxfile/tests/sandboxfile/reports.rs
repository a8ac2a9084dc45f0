//! `tests/reports/` contains invalid Sandboxfiles, each with its report.

use super::{FakeHost, input, load_named, source};
use miette::{GraphicalReportHandler, GraphicalTheme};
use sandboxfile::{Code, EnvFile, Input, Remark, Report, Source, Variables, load, read_env_file};
use schemas::spec::limits::{
    CAS_PER_SANDBOX_MAX, FILES_PER_SANDBOX_MAX, MOUNTS_PER_SANDBOX_MAX, SANDBOXFILE_BYTES_MAX,
    SECRETS_PER_SANDBOX_MAX,
};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

fn render(report: &Report) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut out = String::new();
    for finding in report.located() {
        handler.render_report(&mut out, &finding).unwrap();
        out.push('\n');
    }
    let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
    format!("{}\n\n{report}", lines.join("\n").trim_end())
}

#[test]
fn every_code_has_a_report() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut codes = BTreeSet::new();
    let mut differing = Vec::new();
    let mut check_report = |name: &str, report: &Report| {
        codes.extend(report.diagnostics().iter().map(|finding| finding.code));
        let places: Vec<usize> = report.diagnostics().iter().map(|finding| finding.span().start).collect();
        assert!(places.is_sorted(), "{name}: {places:?}");
        // A difference is shown at once; all of them are known when the test ends.
        let compare = || settings.bind(|| insta::assert_snapshot!(name, render(report)));
        if catch_unwind(AssertUnwindSafe(compare)).is_err() {
            differing.push(name.to_owned());
        }
    };
    let mut check = |name: &str, bytes: &[u8]| check_report(name, &load_named(name, bytes).expect_err(name));
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".kdl") || name.ends_with(".yaml") {
            check(name, &std::fs::read(&path).unwrap());
        }
    }
    check("empty.kdl", b"");
    let mounts: String =
        (0..=MOUNTS_PER_SANDBOX_MAX).map(|number| format!("    mount \".\" to=\"/m{number}\"\n")).collect();
    check("many-mounts.kdl", format!("sandbox \"web\" {{\n    image \".\"\n{mounts}}}\n").as_bytes());
    let files: String =
        (0..=FILES_PER_SANDBOX_MAX).map(|number| format!("    file \"/f{number}\" content=\"\"\n")).collect();
    check("many-files.kdl", format!("sandbox \"web\" {{\n    image \".\"\n{files}}}\n").as_bytes());
    let secret = |number| format!("    secret \"S{number}\" {{ from env=\"A\"; hosts \"a.example.org\" }}\n");
    let secrets: String = (0..=SECRETS_PER_SANDBOX_MAX).map(secret).collect();
    check("many-secrets.kdl", format!("sandbox \"web\" {{\n    image \".\"\n{secrets}}}\n").as_bytes());
    let cas: String =
        (0..=CAS_PER_SANDBOX_MAX).map(|number| format!("        ca \"./{number}.pem\"\n")).collect();
    let text = format!("sandbox \"web\" {{\n    image \".\"\n    tls {{\n{cas}    }}\n}}\n");
    check("many-cas.kdl", text.as_bytes());
    check("too-large.kdl", &vec![b' '; SANDBOXFILE_BYTES_MAX + 1]);
    check("not-utf8.kdl", b"sandbox \"caf\xE9\" {\n    image \".\"\n}\n");
    let text = b"sandbox \"web\" {\n    image \".\"\n    memory \"${MEMORY}\"\n}\n";
    let file = EnvFile { name: ".env", bytes: b"# sizes\nMEMROY=512M\nlarge 1G\nB=\"open\n" };
    let variables = Variables { files: vec![file], ..Variables::default() };
    let wrong = load(&Input { variables, ..input("variables.env", text) }, &FakeHost);
    check_report("variables.env", &wrong.unwrap_err());
    let file = EnvFile { name: ".env", bytes: b"MEMROY=512M\n" };
    let variables = Variables { files: vec![file], ..Variables::default() };
    let unset = load(&Input { variables, ..input("unset.env", text) }, &FakeHost);
    check_report("unset.env", &unset.unwrap_err());
    let mut check_env = |name: &str, lines: &str| {
        let report = read_env_file(&EnvFile { name, bytes: lines.as_bytes() }, &BTreeMap::new());
        check_report(name, &report.unwrap_err());
    };
    check_env("unclosed-quotes.env", "A=1\nKEY='-----BEGIN\nMIIBOg==\n-----END\n");
    check_env("quote-closed-later.env", "A=\"open\nB=\"2\"\nnot a line\n");
    check_env("behind-quotes.env", "A=\"a\"b\nHASH=$2y$10$Salt\nB=$A:${NONE:?say where}\nC=${A\n");
    let text = b"sandbox \"web\" {\n    image \".\"\n    memory \"3G\"\n    replicas 2\n}\n";
    let odd = load(&Input { host_memory_mib: Some(4096), ..input("memory.kdl", text) }, &FakeHost);
    let odd = odd.unwrap();
    assert_eq!(odd.model.sandboxes().len(), 2, "a warning does not stop loading");
    check_report("memory.kdl", &odd.warnings.unwrap());
    let text = br#"sandbox "web" {
    image "."
    port "8080:80" "8443:443" "9090:80" "0:53/udp"
    network default="deny" {
        allow "any:tcp:440-450" direction="any"
        allow "any:tcp:80"
    }
}
sandbox "open" {
    image "."
    port "8081:80"
    network { deny "10.0.0.0/8" }
}
"#;
    let denied = load(&input("denied-ports.kdl", text), &FakeHost).unwrap();
    check_report("denied-ports.kdl", &denied.warnings.unwrap());
    let text = br#"sandbox "web" {
    image "nginx"
    depends-on "db" "cache" "migrate"
    network { allow "domain=db:tcp:5432" }
}
sandbox "api" {
    image "nginx"
    depends-on "db" "web"
    network { allow "project" }
}
sandbox "db" { image "postgres" }
sandbox "cache" {
    image "redis"
    depends-on "db"
}
job "migrate" {
    image "migrate"
    start "migrate"
    depends-on "db"
}
"#;
    let unreachable = load(&input("unreachable.kdl", text), &FakeHost).unwrap();
    check_report("unreachable.kdl", &unreachable.warnings.unwrap());
    let text = b"sandboxes:\n  web:\n    image: .\n    ports: ['80:80']\n    network: { default: deny }\n";
    let denied = load(&input("denied-ports.yaml", text), &FakeHost).unwrap();
    check_report("denied-ports.yaml", &denied.warnings.unwrap());
    let text = b"sandbox \"base\" { memory \"1X\" }\njob \"web\" { start \"true\" }\n";
    let base =
        Source { name: "base.kdl", bytes: b"sandbox \"web\" {\n    image \".\"\n}\n", ..source("", b"") };
    let over = Input { sources: vec![base, source("over.kdl", text)], ..input("over.kdl", text) };
    check_report("overlay.kdl", &load(&over, &FakeHost).unwrap_err());
    let text = b"sandbox \"web\" {\n    image \"../images/web\"\n}\nsandbox \"api\" { like \"web\" }\n";
    let explained = load(&Input { explain: true, ..input("not-trusted.kdl", text) }, &FakeHost).unwrap();
    let remark = |path: &str| Remark {
        path: path.to_owned(),
        code: Code::NotTrusted,
        message: "boots from /images/web (for api, web)".to_owned(),
        label: "beyond the project's folder".to_owned(),
    };
    // Reported once for inherited values, and not at all for values that are not written.
    let remarks = ["api.image", "web.image", "web.memory"].map(remark);
    check_report("not-trusted.kdl", &explained.origins.report(remarks));
    let missing: Vec<_> = Code::ALL.iter().filter(|code| !codes.contains(code)).collect();
    assert!(missing.is_empty(), "no report shows {missing:?}");
    assert!(differing.is_empty(), "{} reports differ: {differing:?}", differing.len());
}

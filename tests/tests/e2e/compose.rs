//! `msb init --from`: converted projects boot, and reach each other exactly as in Compose.
//!
//! The compose files are fixtures of the crate `compose`. Their images are stand-ins under the same names: busybox, which
//! serves a page at the port of the original, and programs that the health checks call.

use crate::peers::fetch;
use std::fs;
use std::path::Path;
use tests::layers::TestLayer;
use tests::oci::{Layout, archive, archive_of};
use tests::{Project, installation};

/// Programs that health checks of the fixtures call.
const PROGRAMS: [(&str, u32, &str); 3] = [
    ("usr/local/bin/pg_isready", 0o755, "#!/bin/sh\nexec true\n"),
    ("usr/local/bin/redis-cli", 0o755, "#!/bin/sh\necho PONG\n"),
    ("usr/local/bin/curl", 0o755, "#!/bin/sh\necho OK\n"),
];

/// Converts a fixture in a new project, with a stand-in for each image. `edit` changes the compose file before, such as
/// ports of the host that may be taken.
fn converted(name: &str, images: &[(&str, u16)], edit: fn(String) -> String) -> Project {
    let fixture = installation::root().join("schemas/compose/fixtures").join(name);
    let project = Project::new("");
    project.remove_sandboxfile();
    let text = fs::read_to_string(fixture.join("compose.yaml")).expect("a fixture");
    project.write("compose.yaml", &edit(text));
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut layout = Layout::new(scratch.path());
    for (image, port) in images {
        layout.add(image, &layers(), &config(*port));
    }
    project.ok(&["image", "load", scratch.path().to_str().expect("UTF-8")]);
    project.ok(&["init", "--from"]).says("wrote Sandboxfile from compose.yaml");
    project
}

fn layers() -> [TestLayer; 2] {
    [TestLayer::plain(archive_of(&installation::image())), TestLayer::plain(archive(&PROGRAMS))]
}

/// Returns the config of a stand-in: its entrypoint serves its host name, whatever arguments follow. A health check of
/// Mastodon looks for `sidekiq 6` among the processes.
fn config(port: u16) -> serde_json::Value {
    let serve = format!(
        "mkdir -p '/tmp/sidekiq 6' && cd '/tmp/sidekiq 6' && echo from-$(hostname) >index.html && \
         exec httpd -f -p {port} -h '/tmp/sidekiq 6'"
    );
    serde_json::json!({ "Entrypoint": ["/bin/sh", "-c", serve, "stand-in"] })
}

fn folder(project: &Project, path: &str) {
    fs::create_dir_all(project.directory().join(path)).expect("a writable directory");
}

/// Checks which sandboxes reach which.
fn assert_edges(project: &Project, sandboxes: &[(&str, u16)], is_edge: impl Fn(&str, &str) -> bool) {
    for (from, _) in sandboxes {
        for (to, port) in sandboxes.iter().filter(|(to, _)| to != from) {
            let (reached, said) = fetch(project, &[from], to, *port);
            assert_eq!(reached, is_edge(from, to), "{from} to {to}: {said}");
            assert_eq!(said.contains(&format!("from-{to}")), reached, "{from} to {to}: {said}");
        }
        let (reached, said) = fetch(project, &[from], "host.msb.internal", 80);
        assert!(!reached, "{from} reached the host: {said}");
    }
}

/// An archive of the image that a fixture would build.
fn build(project: &Project, name: &str, port: u16) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    Layout::new(scratch.path()).add(name, &layers(), &config(port));
    let archive = archive_of(scratch.path());
    fs::write(project.directory().join(format!("{name}.tar")), archive).expect("a writable directory");
}

fn placed(project: &Project, path: &Path) {
    let path = project.directory().join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a writable directory");
    fs::write(path, "placed\n").expect("a writable directory");
}

/// All services share the default network; one is built, and mounts its code.
#[test]
fn a_web_server_its_application_and_a_database_reach_each_other() {
    let images = [("docker.io/library/nginx:latest", 80), ("docker.io/library/mongo:latest", 27017)];
    let project = converted("nginx-flask-mongo", &images, |text| text.replace("- 80:80", "- \"80\""));
    build(&project, "backend", 9091);
    placed(&project, Path::new("nginx/nginx.conf"));
    folder(&project, "flask");
    project.ok(&["up", "-d", "--wait"]);
    let sandboxes = [("web", 80), ("backend", 9091), ("mongo", 27017)];
    assert_edges(&project, &sandboxes, |_, _| true);
    project.down();
}

/// The databases are in an internal network only.
#[test]
fn services_of_an_internal_network_reach_each_other_and_no_one_else() {
    let images = [
        ("docker.io/library/postgres:14-alpine", 5432),
        ("docker.io/library/redis:7-alpine", 6379),
        ("ghcr.io/mastodon/mastodon:v4.4.2", 3000),
        ("ghcr.io/mastodon/mastodon-streaming:v4.4.2", 4000),
    ];
    let project = converted("mastodon", &images, |text| {
        text.replace("'127.0.0.1:3000:3000'", "'127.0.0.1::3000'")
            .replace("'127.0.0.1:4000:4000'", "'127.0.0.1::4000'")
    });
    ["postgres14", "redis", "public/system"].iter().for_each(|path| folder(&project, path));
    project.write(".env.production", "LOCAL_DOMAIN=example.org\n");
    project.ok(&["up", "-d", "--wait"]);
    let sandboxes = [("db", 5432), ("redis", 6379), ("web", 3000), ("streaming", 4000), ("sidekiq", 3000)];
    assert_edges(&project, &sandboxes, |_, _| true);
    // Compose's internal network leads nowhere else.
    project.run(&["net", "why", "db", "93.184.216.34:80"]).exits(1);
    project.ok(&["net", "why", "web", "93.184.216.34:80"]);
    project.down();
}

/// Two networks: the proxy does not reach the store.
#[test]
fn services_of_different_networks_do_not_reach_each_other() {
    let images = [
        ("docker.io/library/traefik:v3.4", 80),
        ("docker.io/traefik/whoami:latest", 80),
        ("docker.io/valkey/valkey:8", 6379),
    ];
    let project = converted("traefik", &images, |text| {
        // The name servers of the original are not reached from here.
        let text =
            text.replace("    dns:\n      - 1.1.1.1\n      - 9.9.9.9\n    dns_search: corp.example\n", "");
        let text = text.replace("replicas: 3", "replicas: 2");
        text.replace("\"80:80\"", "\"80\"").replace("\"8080:8080\"", "\"8080\"")
    });
    project.ok(&["up", "-d", "--wait"]);
    let sandboxes = [("reverse-proxy", 80), ("whoami-1", 80), ("whoami-2", 80), ("store", 6379)];
    let is_edge = |from: &str, to: &str| [from, to].iter().any(|name| name.starts_with("whoami"));
    assert_edges(&project, &sandboxes, is_edge);
    project.down();
}

//! Pulls: `up` that is killed during one, from a registry with a private certificate and a password, and `pull`, which
//! says when a registry is asked.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::time::Duration;
use tests::layers::{Maker, TestLayer};
use tests::oci::{Layout, archive, archive_of, digest_of};
use tests::registry::Registry;
use tests::{Project, installation};

const CREDENTIALS: &str = "somebody:open sesame";
/// The size of a large layer, and the number of such layers.
const LAYER_BYTES: usize = 24 << 20;
const LARGE_LAYERS: usize = 3;
/// The times after its start at which `up` is killed, in ms: from before the first request to after the last byte.
const MOMENTS_MS: [u64; 7] = [20, 60, 120, 250, 400, 600, 900];

/// Returns a layer with an incompressible file.
fn noise(number: usize) -> TestLayer {
    let mut block = Sha256::digest(number.to_le_bytes());
    let mut bytes = Vec::with_capacity(LAYER_BYTES);
    while bytes.len() < LAYER_BYTES {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    TestLayer::plain(Maker::new().file(&format!("noise{number}"), &bytes).bytes())
}

/// Asserts that the store contains only complete blobs.
fn assert_complete(project: &Project) {
    let store = project.home().join("images");
    for blob in fs::read_dir(store.join("blobs/sha256")).into_iter().flatten().flatten() {
        let name = blob.file_name().into_string().expect("a digest");
        let bytes = fs::read(blob.path()).expect("it can be read");
        assert_eq!(digest_of(&bytes), format!("sha256:{name}"));
    }
    project.ok(&["image", "ls"]);
}

fn settings(project: &Project, registry: &Registry, password: Option<&str>) {
    let mut host = json!({ "ca": registry.certificate() });
    if let Some(password) = password {
        host["auth"] = json!({ "username": "somebody", "password": password });
    }
    let hosts = json!({ "registries": { "hosts": { registry.address(): host } } });
    fs::create_dir_all(project.home()).expect("a home can be made");
    fs::write(project.home().join("config.json"), hosts.to_string()).expect("it can be written to");
}

#[test]
fn an_interrupted_pull_is_resumed() {
    let registry = Registry::start_guarded(CREDENTIALS);
    let project = Project::new("");
    let layout = project.directory().join("layout");
    let base = TestLayer::plain(archive_of(&installation::image()));
    let layers: Vec<_> = std::iter::once(base).chain((0..LARGE_LAYERS).map(noise)).collect();
    Layout::new(&layout).add("latest", &layers, &json!({ "Cmd": ["/bin/sh"] }));
    let reference = registry.push(&layout, "latest", "shop/app:stable");
    fs::remove_dir_all(&layout).expect("it was made");
    project.write("Sandboxfile", &format!("project \"p\"\nsandbox \"web\" {{ image \"{reference}\" }}\n"));

    // An unknown certificate, missing credentials, a wrong password.
    project.run(&["up", "-d"]).exits(1).says("certificate").says(registry.address());
    settings(&project, &registry, None);
    project.run(&["up", "-d"]).exits(1).says("it needs credentials").says("docker login");
    settings(&project, &registry, Some("close sesame"));
    let refused = project.run(&["up", "-d"]).exits(1).says("refuses");
    assert!(!refused.err().contains("close sesame"), "{}", refused.err());

    settings(&project, &registry, Some("open sesame"));
    for after_ms in MOMENTS_MS {
        let mut up = project.msb(&["up", "-d"]).spawn();
        std::thread::sleep(Duration::from_millis(after_ms));
        let _ = up.kill();
        up.wait().expect("a child can be waited for");
        assert_complete(&project);
    }
    project.up();
    let listed = project.exec("web", &["sh", "-c", "ls -l /noise* | wc -l; sha256sum < /noise2"]);
    let noise2 = digest_of(&noise(2).tar[512..][..LAYER_BYTES]);
    assert_eq!(listed, format!("{LARGE_LAYERS}\n{}  -", &noise2["sha256:".len()..]));
    // No partial download is left.
    let incoming = fs::read_dir(project.home().join("images/blobs/incoming")).expect("there is one");
    assert_eq!(incoming.count(), 0);
    project.down();
}

#[test]
fn each_sandbox_says_when_a_registry_is_asked() {
    let registry = Registry::start();
    let project = Project::new("");
    let push = |name: &str, version: &str| {
        let layout = project.directory().join("layout");
        let layers = [archive_of(&installation::image()), archive(&[("version", 0o644, version)])];
        Layout::new(&layout).add("latest", &layers.map(TestLayer::plain), &json!({ "Cmd": ["/bin/sh"] }));
        let reference = registry.push(&layout, "latest", name);
        fs::remove_dir_all(&layout).expect("it was made");
        reference
    };
    let (always, missing) = (push("shop/always:1", "first"), push("shop/missing:1", "first"));
    let file = format!(
        r#"
        project "p"
        sandbox "always" {{ image "{always}"; memory "128M"; pull "always" }}
        sandbox "missing" {{ image "{missing}"; memory "128M" }}
        "#
    );
    project.write("Sandboxfile", &file);
    project.up();
    push("shop/always:1", "second");
    push("shop/missing:1", "second");
    // What is pinned stays as it is.
    project.up().says("nothing to do");
    fs::remove_file(project.directory().join("Sandboxfile.lock")).expect("it was written");
    project.ok(&["up", "-d", "-y"]);
    assert_eq!(project.exec("always", &["cat", "/version"]), "second");
    assert_eq!(project.exec("missing", &["cat", "/version"]), "first");

    let unknown = push("shop/never:1", "first");
    project.write(
        "Sandboxfile",
        &format!("{file}sandbox \"never\" {{ image \"{unknown}\"; pull \"never\" }}\n"),
    );
    project.run(&["up", "-d"]).exits(6).says("`pull` is never");
    project.write("Sandboxfile", &file);
    project.down();
}

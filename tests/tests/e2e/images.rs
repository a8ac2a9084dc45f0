//! Images with layers and a config: sources, pulling, the config's effect, and overrides of a Sandboxfile.

use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use tests::layers::TestLayer;
use tests::oci::{Layout, archive, archive_of};
use tests::registry::Registry;
use tests::{Project, installation, leftovers};

/// An entry point that prints its arguments and environment, and ends on SIGQUIT.
const ENTRY: &str = "#!/bin/sh
echo \"args=$* user=$(id -u) dir=$(pwd) a=$A b=$B\"
trap 'echo quit; exit 0' QUIT
trap 'echo term; exit 0' TERM
while true; do sleep 0.1; done
";

fn config() -> Value {
    json!({
        "Entrypoint": ["/entry"],
        "Cmd": ["one", "two"],
        "Env": ["A=image", "B=image", "PATH=/usr/bin:/bin"],
        "User": "app",
        "WorkingDir": "/srv/www",
        "StopSignal": "SIGQUIT",
        "ExposedPorts": { "80/tcp": {} },
        "Volumes": { "/data/deep": {} },
        "Healthcheck": { "Test": ["CMD-SHELL", "test $A = image"], "Interval": 500_000_000u64 },
    })
}

/// Creates a layout with one image in a project's directory. Returns the image's digest.
fn layout(project: &Project, name: &str, config: &Value) -> String {
    let base = archive_of(&installation::image());
    let entry = archive(&[("entry", 0o755, ENTRY)]);
    Layout::new(&project.directory().join(name)).add("latest", &[base, entry].map(TestLayer::plain), config)
}

#[test]
fn an_images_config_applies() {
    let project = Project::new("project \"p\"\nsandbox \"web\" { image \"./layout\" }\n");
    let digest = layout(&project, "layout", &config());
    // The health check is the image's.
    project.up();
    assert_eq!(project.inspect("web")["health"], "healthy");
    project.wait_for_output(&["logs", "web"], "args=one two user=1000 dir=/srv/www a=image b=image");
    assert!(
        fs::read_to_string(project.directory().join("Sandboxfile.lock"))
            .expect("there is one")
            .contains(&digest)
    );
    // It applies to `exec` too.
    assert_eq!(project.exec("web", &["sh", "-c", "id -u; pwd; echo $B"]), "1000\n/srv/www\nimage");
    assert_eq!(project.exec("web", &["sh", "-c", "test -d /data/deep && echo there"]), "there");
    project.ok(&["up", "-d"]).says("nothing to do");
    // The sandbox's own declaration does not contain the image's config.
    let own = project.ok(&["exec", "-u", "0", "web", "--", "cat", "/.msb/Sandboxfile"]);
    assert!(!own.out().contains("\n    start") && !own.out().contains("\n    env"), "{}", own.out());
    project.ok(&["up", "-d", "--no-start"]);
    project
        .write("Sandboxfile", "project \"p\"\nsandbox \"web\" { image \"./layout\"; env { A \"mine\" } }\n");
    // A restart uses the image's stop signal.
    project.ok(&["up", "-d"]);
    assert_eq!(project.exec("web", &["sh", "-c", "echo $A $B"]), "mine image");
    let log = project.ok(&["logs", "web"]);
    let text = log.out();
    assert!(text.contains("quit") && !text.contains("term"), "{text}");
    // The image's health check can be disabled while it runs.
    let boot = project.boot_id("web");
    project.write(
        "Sandboxfile",
        "project \"p\"\nsandbox \"web\" { image \"./layout\"; env { A \"mine\" }; healthcheck disable=#true }\n",
    );
    project.ok(&["plan"]).prints_some("healthcheck").prints_some("disabled");
    project.up();
    assert_eq!(project.inspect("web")["health"], "unchecked");
    assert_eq!(project.boot_id("web"), boot);
    project.down();
}

#[test]
fn a_sandboxfile_overrides_the_images_config() {
    let project = Project::new(
        r#"
        project "p"
        sandbox "web" {
            image "./layout"
            env { A "mine" }
            user "0"
            workdir "/root"
            start "/entry" "mine"
            healthcheck { exec "test" "-e" "/entry" }
        }
        sandbox "shell" { image "./shell" }
        "#,
    );
    layout(&project, "layout", &config());
    layout(&project, "shell", &json!({ "Cmd": ["/bin/sh"] }));
    project.up();
    project.wait_for_output(&["logs", "web"], "args=mine user=0 dir=/root a=mine b=image");
    // A shell without a terminal is idle.
    assert_eq!(project.inspect("shell")["state"], "running");
    assert_eq!(project.exec("shell", &["echo", "works"]), "works");
    project.down();
}

#[test]
fn images_are_booted_from_layouts_archives_and_disks() {
    let project = Project::new("project \"p\"\nsandbox \"a\" { image \"./layout\" }\n");
    layout(&project, "layout", &json!({ "Env": ["A=image"] }));
    project.up();
    let digest = project.ok(&["plan", "--json"]).json()["plan"]["snapshot"].clone();
    let built = fs::read_dir(project.home().join("images/rootfs")).expect("there is one").count();
    assert_eq!(built, 1, "{digest}");
    // An archive of the same image has the same root file system.
    let boot = project.boot_id("a");
    fs::write(project.directory().join("image.tar"), archive_of(&project.directory().join("layout")))
        .expect("the folder can be written to");
    project.write("Sandboxfile", "project \"p\"\nsandbox \"a\" { image \"./image.tar\" }\n");
    project.up();
    assert_eq!(project.boot_id("a"), boot);
    assert_eq!(project.exec("a", &["sh", "-c", "echo $A"]), "image");
    // A disk image is used as it is.
    let rootfs = fs::read_dir(project.home().join("images/rootfs")).expect("there is one").next();
    let rootfs = rootfs.expect("one image").expect("it can be read").path().join("root.ext4");
    fs::copy(rootfs, project.directory().join("disk.img")).expect("the folder can be written to");
    project.write("Sandboxfile", "project \"p\"\nsandbox \"b\" { image \"./disk.img\" }\n");
    project.up_yes();
    assert_eq!(project.exec("b", &["sh", "-c", "ls /entry; echo $A"]), "/entry");
    project.down();
}

/// Pushes a small image with a version file. Returns its reference and digest.
fn push(project: &Project, registry: &Registry, version: &str) -> (String, String) {
    let path = project.directory().join(format!("layout-{version}"));
    let base = archive_of(&installation::image());
    let mark = archive(&[("version", 0o644, version)]);
    let digest =
        Layout::new(&path).add("latest", &[base, mark].map(TestLayer::plain), &json!({ "Cmd": ["/bin/sh"] }));
    (registry.push(&path, "latest", "shop/app:stable"), digest)
}

fn lock_file(project: &Project) -> String {
    fs::read_to_string(project.directory().join("Sandboxfile.lock")).expect("there is a lock file")
}

#[test]
fn a_reference_is_pulled_pinned_and_updated_on_request() {
    let mut registry = Registry::start();
    let project = Project::new("");
    let (reference, first) = push(&project, &registry, "one");
    project.write("Sandboxfile", &format!("project \"p\"\nsandbox \"web\" {{ image \"{reference}\" }}\n"));
    // Without a pull it is missing.
    project
        .run(&["up", "-d", "--pull", "never"])
        .exits(6)
        .says("is not on this machine")
        .says("msb image pull");
    project.ok(&["plan"]).prints_some("web");
    project.up();
    assert_eq!(project.exec("web", &["cat", "/version"]), "one");
    assert!(lock_file(&project).contains(&first), "{}", lock_file(&project));
    // The pin overrides the tag's new digest.
    let (_, second) = push(&project, &registry, "two");
    project.ok(&["up", "-d", "--pull", "always"]).says("nothing to do");
    project.ok(&["up", "-d", "--frozen"]).says("nothing to do");
    project.ok(&["lock", "--update"]).says(&first).says(&second);
    project.run(&["up", "-d"]).exits(1).says("destroys data");
    project.up_yes();
    assert_eq!(project.exec("web", &["cat", "/version"]), "two");

    let images = project.ok(&["image", "ls", "--json"]).json();
    assert_eq!(images["images"][0]["reference"], reference, "{images}");
    assert_eq!(images["images"][0]["used_by"][0], "p-web", "{images}");
    project.run(&["image", "rm", &reference]).exits(8).says("is used by p-web");
    // A stored image needs no registry, and its pin keeps it in the store.
    registry.stop();
    project.ok(&["down"]);
    project.ok(&["image", "prune", "--all"]);
    project.up();
    assert_eq!(project.exec("web", &["cat", "/version"]), "two");
    project.down();
    // Without pin and sandbox it is removed.
    fs::remove_file(project.directory().join("Sandboxfile.lock")).expect("there is one");
    project.ok(&["image", "prune", "--all"]).says("freed");
    assert_eq!(project.ok(&["image", "ls", "--json"]).json()["images"], json!([]));
    let left = fs::read_dir(project.home().join("images/blobs/sha256")).expect("there is one").count();
    assert_eq!(left, 0);
    project.run(&["up", "-d"]).exits(1).says(registry.address());
    registry.start_again();
    project.ok(&["up", "-d", "--no-start"]);
    project.down();
}

#[test]
fn images_are_loaded_inspected_saved_and_removed() {
    let project = Project::new("project \"p\"\nsandbox \"web\" { image \"localhost/layout:latest\" }\n");
    let digest = layout(&project, "layout", &config());
    project.ok(&["image", "load", "layout"]).prints_some(&format!("localhost/layout:latest {digest}"));
    for path in ["./layout", "layout"] {
        let inspected = project.ok(&["image", "inspect", path]);
        inspected.prints_some("SIGQUIT").prints_some("/data/deep").prints_some(&digest).prints_some("layer");
    }
    project.run(&["image", "inspect", "./none"]).exits(1).says("./none");
    let shown = project.ok(&["image", "inspect", "localhost/layout"]);
    shown.prints_some("80/tcp").prints_some("SIGQUIT").prints_some("/data/deep").prints_some("[\"/entry\"]");
    project.ok(&["image", "save", "localhost/layout", "-o", "saved.tar"]);
    project.ok(&["image", "rm", "localhost/layout"]).says("removed localhost/layout:latest");
    assert_eq!(project.ok(&["image", "df", "--json"]).json()["blobs"]["count"], 0);
    project.run(&["image", "inspect", "localhost/layout"]).exits(6).says("there is no image");
    // Without a tag it is named like its file.
    let index = project.directory().join("layout/index.json");
    let mut untagged: Value =
        serde_json::from_str(&fs::read_to_string(&index).expect("it is there")).expect("JSON");
    untagged["manifests"][0].as_object_mut().expect("an object").remove("annotations");
    fs::write(&index, untagged.to_string()).expect("it can be written to");
    project.shell("tar -czf Shop.tar.gz -C layout .").run().ok();
    project.ok(&["image", "load", "Shop.tar.gz"]).prints(&format!("localhost/shop:latest {digest}\n"));
    project.ok(&["image", "rm", "localhost/shop"]);
    // A loaded image needs no registry.
    project.ok(&["image", "load", "saved.tar"]).prints_some(&digest);
    project.ok(&["up", "-d", "--wait", "--pull", "never"]);
    assert_eq!(project.exec("web", &["id", "-u"]), "1000");
    project.down();
}

#[test]
fn a_debian_with_python_is_pulled_and_used() {
    let archive =
        Command::new(installation::root().join("tests/make-debian")).output().expect("it can be run");
    assert!(archive.status.success(), "{}", String::from_utf8_lossy(&archive.stderr));
    let archive = String::from_utf8(archive.stdout).expect("a path");
    let registry = Registry::start();
    let project = Project::new("");
    let path = project.directory().join("layout");
    let layer = fs::read(archive.trim()).expect("the archive can be read");
    Layout::new(&path).add(
        "latest",
        &[TestLayer::plain(layer)],
        &json!({ "Cmd": ["bash"], "Env": ["LANG=C.UTF-8"] }),
    );
    let reference = registry.push(&path, "latest", "debian:test");
    fs::remove_dir_all(&path).expect("it was made");
    project.write(
        "Sandboxfile",
        &format!("project \"p\"\nsandbox \"debian\" {{ image \"{reference}\"; memory \"512M\" }}\n"),
    );
    project.up();
    assert_eq!(project.exec("debian", &["python3", "-c", "print(1)"]), "1");
    let apt = project.ok(&["exec", "-u", "nobody", "debian", "--", "apt-get", "--version"]);
    apt.prints_some("apt ");
    assert_eq!(project.exec("debian", &["sh", "-c", ". /etc/os-release; echo $ID"]), "debian");
    project.down();
}

/// Creates a layout whose image declares volumes, one of them at a path that cannot have one.
fn layout_with_volumes(project: &Project, seed: &str) {
    let config = json!({
        "Entrypoint": ["/entry"],
        "Env": ["PATH=/usr/bin:/bin"],
        "Volumes": { "/data/deep": {}, "/proc/own": {} },
    });
    let layers = [
        archive_of(&installation::image()),
        archive(&[("entry", 0o755, ENTRY), ("data/deep/seed", 0o640, seed)]),
    ];
    Layout::new(&project.directory().join("layout")).add("latest", &layers.map(TestLayer::plain), &config);
}

#[test]
fn a_data_path_of_an_image_has_a_volume_that_is_removed_with_its_sandbox() {
    let project = Project::new("project \"p\"\nsandbox \"web\" { image \"./layout\" }\n");
    layout_with_volumes(&project, "first\n");
    project.up();
    let sh = |script: &str| project.exec("web", &["sh", "-c", script]);
    let script =
        "grep -c ' /data/deep virtiofs rw,' /proc/mounts; cat /data/deep/seed; stat -c %a /data/deep/seed";
    assert_eq!(sh(script), "1\nfirst\n640");
    project.ok(&["logs", "web", "--source", "system"]).prints_some(
        "the image declares volumes at paths that cannot have one, which are ignored: /proc/own",
    );
    let inspected = project.inspect("web");
    let volumes = inspected["anonymous_volumes"].as_array().expect("a list");
    assert_eq!((volumes.len(), &volumes[0]["path"]), (1, &json!("/data/deep")));
    let volume = volumes[0]["volume"].as_str().expect("a name").to_owned();
    project.ok(&["volume", "ls"]).prints_some("anonymous-").prints_some("p-web");
    project.run(&["volume", "rm", "--yes", &volume]).exits(1);

    sh("echo kept > /data/deep/kept; rm /data/deep/seed");
    project.ok(&["restart", "web"]);
    assert_eq!(sh("ls /data/deep"), "kept");
    layout_with_volumes(&project, "second\n");
    project.up_yes();
    assert_eq!(project.inspect("web")["generation"], 2);
    assert_eq!(sh("ls /data/deep; cat /data/deep/kept"), "kept\nkept");
    project.ok(&["stop", "web"]);
    project.ok(&["start", "web"]);
    assert_eq!(sh("cat /data/deep/kept"), "kept");
    project.ok(&["down"]);
    leftovers::assert_none(project.home());

    let seed = project.ok(&["run", "./layout", "--", "cat", "/data/deep/seed"]);
    seed.prints("second\n");
    leftovers::assert_none(project.home());
}

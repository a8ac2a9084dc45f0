//! Images with layers and a config: how they lie on the host, how they are run, and what a Sandboxfile changes.

use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::layers::TestLayer;
use tests::oci::{Layout, archive, archive_of};
use tests::registry::Registry;
use tests::{Project, installation};

/// An entry point that tells what it finds, and ends by the signal of its own.
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

/// Waits until a sandbox has printed something: that it is healthy says nothing of it.
fn await_line(project: &Project, text: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !project.ok(&["logs", "web"]).out().contains(text) {
        assert!(Instant::now() < deadline, "{}", project.ok(&["logs", "web"]).out());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Puts a layout with one image into a project's folder.
fn layout(project: &Project, name: &str, config: &Value) -> String {
    let base = archive_of(&installation::image());
    let entry = archive(&[("entry", 0o755, ENTRY)]);
    Layout::new(&project.directory().join(name)).add("latest", &[base, entry].map(TestLayer::plain), config)
}

#[test]
fn an_image_is_run_as_its_config_says() {
    let project = Project::new("project \"p\"\nsandbox \"web\" { image \"./layout\" }\n");
    let digest = layout(&project, "layout", &config());
    // The health check is the image's own, and it is waited for.
    project.up();
    let ps = project.ok(&["ps", "--json"]).json();
    assert_eq!(ps["sandboxes"][0]["health"], "healthy", "{ps}");
    await_line(&project, "args=one two user=1000 dir=/srv/www a=image b=image");
    assert!(
        fs::read_to_string(project.directory().join("Sandboxfile.lock"))
            .expect("there is one")
            .contains(&digest)
    );
    // Commands are run in the same surroundings.
    assert_eq!(project.exec("web", &["sh", "-c", "id -u; pwd; echo $B"]), "1000\n/srv/www\nimage");
    assert_eq!(project.exec("web", &["sh", "-c", "test -d /data/deep && echo there"]), "there");
    // The same image a second time is not built again, and nothing changes.
    project.ok(&["up", "-d"]).says("nothing to do");
    // What the sandbox is shown of itself is what was declared.
    let own = project.ok(&["exec", "-u", "0", "web", "--", "cat", "/.msb/Sandboxfile"]);
    assert!(!own.out().contains("\n    start") && !own.out().contains("\n    env"), "{}", own.out());
    project.ok(&["up", "-d", "--no-start"]);
    project
        .write("Sandboxfile", "project \"p\"\nsandbox \"web\" { image \"./layout\"; env { A \"mine\" } }\n");
    // A change restarts it: the old one ends by the signal that its image names.
    project.ok(&["up", "-d"]);
    assert_eq!(project.exec("web", &["sh", "-c", "echo $A $B"]), "mine image");
    let log = project.ok(&["logs", "web"]);
    let text = log.out();
    assert!(text.contains("quit") && !text.contains("term"), "{text}");
    // Its health check can be turned off, while it runs.
    let boot = project.boot_id("web");
    project.write(
        "Sandboxfile",
        "project \"p\"\nsandbox \"web\" { image \"./layout\"; env { A \"mine\" }; healthcheck disable=#true }\n",
    );
    project.ok(&["plan"]).prints_some("healthcheck").prints_some("disabled");
    project.up();
    let ps = project.ok(&["ps", "--json"]).json();
    assert_eq!(ps["sandboxes"][0]["health"], "unchecked", "{ps}");
    assert_eq!(project.boot_id("web"), boot);
    project.down();
}

#[test]
fn a_sandboxfile_goes_before_the_image() {
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
    await_line(&project, "args=mine user=0 dir=/root a=mine b=image");
    // A shell has nothing to do without a terminal: it waits to be used.
    let ps = project.ok(&["ps", "-a", "--json"]).json();
    let state = |name: &str| {
        let rows = ps["sandboxes"].as_array().expect("a list");
        rows.iter().find(|row| row["name"] == name).map(|row| row["state"].to_string()).unwrap_or_default()
    };
    assert!(state("shell").contains("running"), "{ps}");
    assert_eq!(project.exec("shell", &["echo", "works"]), "works");
    project.down();
}

#[test]
fn an_image_is_booted_from_every_form() {
    let project = Project::new("project \"p\"\nsandbox \"a\" { image \"./layout\" }\n");
    layout(&project, "layout", &json!({ "Env": ["A=image"] }));
    project.up();
    let digest = project.ok(&["plan", "--json"]).json()["plan"]["snapshot"].clone();
    let built = fs::read_dir(project.home().join("images/rootfs")).expect("there is one").count();
    assert_eq!(built, 1, "{digest}");
    // The same image as an archive is the same root file system: the sandbox goes on.
    let boot = project.boot_id("a");
    fs::write(project.directory().join("image.tar"), archive_of(&project.directory().join("layout")))
        .expect("the folder can be written to");
    project.write("Sandboxfile", "project \"p\"\nsandbox \"a\" { image \"./image.tar\" }\n");
    project.up();
    assert_eq!(project.boot_id("a"), boot);
    assert_eq!(project.exec("a", &["sh", "-c", "echo $A"]), "image");
    // A disk with a file system is taken as it is.
    let rootfs = fs::read_dir(project.home().join("images/rootfs")).expect("there is one").next();
    let rootfs = rootfs.expect("one image").expect("it can be read").path().join("root.ext4");
    fs::copy(rootfs, project.directory().join("disk.img")).expect("the folder can be written to");
    project.write("Sandboxfile", "project \"p\"\nsandbox \"b\" { image \"./disk.img\" }\n");
    project.up_at_any_price();
    assert_eq!(project.exec("b", &["sh", "-c", "ls /entry; echo $A"]), "/entry");
    project.down();
}

/// A small image whose version a command can tell.
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
fn a_reference_is_pulled_once_pinned_and_moved_only_when_asked() {
    let mut registry = Registry::start();
    let project = Project::new("");
    let (reference, first) = push(&project, &registry, "one");
    project.write("Sandboxfile", &format!("project \"p\"\nsandbox \"web\" {{ image \"{reference}\" }}\n"));
    // Nobody is asked, and nothing is here.
    project
        .run(&["up", "-d", "--pull", "never"])
        .exits(1)
        .says("is not on this machine")
        .says("msb image pull");
    project.ok(&["plan"]).prints_some("web");
    project.up();
    assert_eq!(project.exec("web", &["cat", "/version"]), "one");
    assert!(lock_file(&project).contains(&first), "{}", lock_file(&project));
    // The tag stands for something else by now: the pin goes before.
    let (_, second) = push(&project, &registry, "two");
    project.ok(&["up", "-d", "--pull", "always"]).says("nothing to do");
    project.ok(&["up", "-d", "--frozen"]).says("nothing to do");
    project.ok(&["lock", "--update"]).says(&first).says(&second);
    project.run(&["up", "-d"]).exits(1).says("destroys data");
    project.up_at_any_price();
    assert_eq!(project.exec("web", &["cat", "/version"]), "two");

    let images = project.ok(&["image", "ls", "--json"]).json();
    assert_eq!(images["images"][0]["reference"], reference, "{images}");
    assert_eq!(images["images"][0]["used_by"][0], "p-web", "{images}");
    project.run(&["image", "rm", &reference]).exits(1).says("is used by p-web");
    // What is here works without the registry.
    registry.stop();
    project.ok(&["down"]);
    project.up();
    assert_eq!(project.exec("web", &["cat", "/version"]), "two");
    project.down();
    // The lock file pins it: it stays. Without a pin and a sandbox it goes, and then it is missing.
    project.ok(&["image", "prune", "--all"]);
    project.up();
    project.down();
    fs::remove_file(project.directory().join("Sandboxfile.lock")).expect("there is one");
    project.ok(&["image", "prune", "--all"]).says("freed");
    assert_eq!(project.ok(&["image", "ls", "--json"]).json()["images"], json!([]));
    let left = fs::read_dir(project.home().join("images/blobs/sha256")).expect("there is one").count();
    assert_eq!(left, 0);
    project.run(&["up", "-d"]).exits(1).says(registry.address());
    registry.start_again();
    project.up();
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
    project.run(&["image", "inspect", "localhost/layout"]).exits(1).says("there is no image");
    // One that has no name of its own is called like its file.
    let index = project.directory().join("layout/index.json");
    let mut untagged: Value =
        serde_json::from_str(&fs::read_to_string(&index).expect("it is there")).expect("JSON");
    untagged["manifests"][0].as_object_mut().expect("an object").remove("annotations");
    fs::write(&index, untagged.to_string()).expect("it can be written to");
    project.shell("tar -czf Shop.tar.gz -C layout .").run().ok();
    project.ok(&["image", "load", "Shop.tar.gz"]).prints(&format!("localhost/shop:latest {digest}\n"));
    project.ok(&["image", "rm", "localhost/shop"]);
    // By its name it is booted without any registry.
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

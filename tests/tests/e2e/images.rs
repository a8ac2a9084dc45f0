//! Images with layers and a config: how they lie on the host, how they are run, and what a Sandboxfile changes.

use serde_json::{Value, json};
use std::fs;
use tests::Project;
use tests::installation;
use tests::oci::{Layout, archive, archive_of};

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

/// Puts a layout with one image into a project's folder.
fn layout(project: &Project, name: &str, config: &Value) -> String {
    let base = archive_of(&installation::image());
    let entry = archive(&[("entry", 0o755, ENTRY)]);
    Layout::new(&project.directory().join(name)).add("latest", &[base, entry], config)
}

#[test]
fn an_image_is_run_as_its_config_says() {
    let project = Project::new("project \"p\"\nsandbox \"web\" { image \"./layout\" }\n");
    let digest = layout(&project, "layout", &config());
    // The health check is the image's own, and it is waited for.
    project.up();
    let ps = project.ok(&["ps", "--json"]).json();
    assert_eq!(ps["sandboxes"][0]["health"], "healthy", "{ps}");
    let log = project.ok(&["logs", "web"]);
    log.prints_some("args=one two user=1000 dir=/srv/www a=image b=image");
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
    assert!(!own.out().contains("start") && !own.out().contains("env"), "{}", own.out());
    project.ok(&["up", "-d", "--no-start"]);
    project
        .write("Sandboxfile", "project \"p\"\nsandbox \"web\" { image \"./layout\"; env { A \"mine\" } }\n");
    // A change restarts it: the old one ends by the signal that its image names.
    project.ok(&["up", "-d"]);
    let log = project.ok(&["logs", "web"]);
    let text = log.out();
    assert!(text.contains("quit") && !text.contains("term"), "{text}");
    log.prints_some("a=mine b=image");
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
        job "work" { image "./shell" }
        sandbox "shell" { image "./shell" }
        "#,
    );
    layout(&project, "layout", &config());
    layout(&project, "shell", &json!({ "Cmd": ["/bin/sh"] }));
    project.up();
    project.ok(&["logs", "web"]).prints_some("args=mine user=0 dir=/root a=mine b=image");
    // A shell has nothing to do without a terminal: a job is done, a sandbox waits to be used.
    let ps = project.ok(&["ps", "-a", "--json"]).json();
    let state = |name: &str| {
        let rows = ps["sandboxes"].as_array().expect("a list");
        rows.iter().find(|row| row["name"] == name).map(|row| row["state"].to_string()).unwrap_or_default()
    };
    assert!(state("work").contains("exited"), "{ps}");
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

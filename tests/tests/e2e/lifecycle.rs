//! Changes of a Sandboxfile: the plan names each field with its old and new value and its kind, and `up` applies them.

use serde_json::Value;
use tests::Project;

/// The values of a Sandboxfile.
#[derive(Clone)]
struct File {
    image: &'static str,
    memory: &'static str,
    colour: &'static str,
    greet: &'static str,
    label: &'static str,
    more: &'static str,
}

impl File {
    fn write(&self, project: &Project) {
        let Self { image, memory, colour, greet, label, more } = self;
        project.write(
            "Sandboxfile",
            &format!(
                r#"
project "life"
sandbox "web" {{
    image "{image}"
    memory "{memory}"
    env {{ COLOUR "{colour}" }}
    script "greet" "{greet}"
    labels {{ tier "{label}" }}
    start "sleep" "1000000"
}}
{more}
"#
            ),
        );
    }
}

/// Returns a sandbox's action in the plan and its fields as `field: old → new, kind`.
fn planned(project: &Project, name: &str) -> (String, Vec<String>) {
    let document = project.ok(&["plan", "--json"]).json();
    let changes = document["report"]["changes"].as_array().cloned().unwrap_or_default();
    let change = changes.into_iter().find(|change| change["name"] == name);
    let change = change.unwrap_or_else(|| panic!("{name} is not in {document:#}"));
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let field = |field: &Value| {
        format!(
            "{}: {} → {}, {}",
            text(&field["field"]),
            text(&field["old"]),
            text(&field["new"]),
            text(&field["kind"])
        )
    };
    (text(&change["action"]), change["fields"].as_array().into_iter().flatten().map(field).collect())
}

#[test]
fn changes_are_live_or_take_a_restart_or_a_replacement() {
    let project = Project::new("");
    let image = project.own_image();
    let mut file =
        File { image: "./image", memory: "128M", colour: "red", greet: "echo one", label: "front", more: "" };
    file.write(&project);
    assert_eq!(planned(&project, "web"), ("create".into(), vec![]));
    project.up();
    assert_eq!(planned(&project, "web"), ("unchanged".into(), vec![]));
    project.exec("web", &["sh", "-c", "echo here >/var/log/mark"]);

    // A label is changed while the VM runs.
    let (boot, processes) = (project.boot_id("web"), project.processes("web"));
    file.label = "back";
    file.write(&project);
    assert_eq!(planned(&project, "web"), ("live".into(), vec!["labels.tier: front → back, live".into()]));
    project.up();
    assert_eq!((project.boot_id("web"), project.processes("web")), (boot.clone(), processes));
    assert_eq!(planned(&project, "web").0, "unchanged");

    // A script and a variable take a restart on the same disk.
    (file.greet, file.colour) = ("echo two", "blue");
    file.write(&project);
    let (action, fields) = planned(&project, "web");
    assert_eq!(action, "restart");
    assert_eq!(fields.len(), 2, "{fields:?}");
    assert_eq!(fields[0], "env.COLOUR: red → blue, restart");
    assert!(fields[1].starts_with("script.greet: ") && fields[1].ends_with(", restart"), "{fields:?}");
    project.ok(&["plan"]).prints_some("restart").prints_some("env.COLOUR").prints_some("blue");
    project.up();
    assert_ne!(project.boot_id("web"), boot);
    assert_eq!(project.exec("web", &["greet"]), "two");
    assert_eq!(project.exec("web", &["sh", "-c", "echo $COLOUR"]), "blue");
    assert_eq!(project.exec("web", &["cat", "/var/log/mark"]), "here");

    // The image's contents take a new sandbox with a new disk.
    std::fs::write(image.join("etc/motd"), "changed\n").expect("a writable image");
    let (action, fields) = planned(&project, "web");
    assert_eq!(action, "replace");
    assert_eq!(fields.len(), 1, "{fields:?}");
    assert!(fields[0].starts_with("image") && fields[0].ends_with(", replace"), "{fields:?}");
    project.up_yes();
    assert_eq!(project.exec("web", &["cat", "/etc/motd"]), "changed");
    project.run(&["exec", "web", "--", "test", "-e", "/var/log/mark"]).exits(1);
    assert_eq!(planned(&project, "web").0, "unchanged");

    // Adding and removing another sandbox does not touch the first.
    let processes = project.processes("web");
    file.more = "sandbox \"extra\" { image \"./image\" }";
    file.write(&project);
    assert_eq!(planned(&project, "extra").0, "create");
    project.up();
    assert_eq!(project.exec("extra", &["hostname"]), "extra");
    file.more = "";
    file.write(&project);
    assert_eq!(planned(&project, "extra").0, "remove");
    project.up_yes();
    project.run(&["exec", "extra", "--", "true"]).exits(6);
    assert_eq!(project.processes("web"), processes);

    // It is found and removed with an invalid Sandboxfile and without one.
    project.write("Sandboxfile", "sandbox {");
    project.run(&["validate"]).exits(1);
    project.ok(&["ps"]).prints_some("web");
    project.remove_sandboxfile();
    assert_eq!(project.exec("web", &["hostname"]), "web");
    project.down();
}

#[test]
fn live_changes_need_no_restart() {
    let file = |rest: &str| {
        format!(
            "project \"life\"\nsandbox \"web\" {{\n    image \"@image\"\n    start \"sleep\" \"1000000\"\n{rest}\n}}\n"
        )
    };
    let project = Project::new(&file("network { allow \"a.example.org\" }"));
    project.up();
    let booted = project.boot_id("web");
    for rest in [
        "network default=\"deny\" { allow \"*.example.org\"; deny \"any\" direction=\"ingress\" }",
        "port \"0:80\"",
        "hook \"pre-stop\" \"true\"",
        "labels { tier \"front\" }",
        "restart \"always\"",
        "healthcheck { exec \"true\" }",
    ] {
        project.write("Sandboxfile", &file(rest));
        assert_eq!(planned(&project, "web").0, "live", "{rest}");
        project.up();
        project.up().says("nothing to do");
        assert_eq!(project.boot_id("web"), booted, "{rest}");
    }
}

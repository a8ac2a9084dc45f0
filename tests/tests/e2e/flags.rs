//! `msb create` and `msb run`: single sandboxes without a Sandboxfile.

use tests::{Project, leftovers};

/// Creates a project without a Sandboxfile and with an image in `./image`.
fn folder() -> Project {
    let project = Project::new("");
    project.own_image();
    project.remove_sandboxfile();
    project
}

#[test]
fn create_makes_a_sandbox_from_flags() {
    let project = folder();
    project.write("start.sh", "#!/bin/sh\nprintf 'from a file: %s\\n' \"$1\"\n");
    project.write("some.env", "FROM_FILE=1\nBOTH=file\n");
    let image: &[&str] = &["create", "./image", "--name", "py"];
    let flags = [
        "--memory",
        "128M",
        "-e",
        "GREETING=a $HOME \"b\"",
        "-e",
        "BOTH=flag",
        "--env-file",
        "some.env",
        "-w",
        "/srv",
        "-u",
        "app",
        "-l",
        "tier=front",
        "--script",
        r"lines=printf '%s\\n' one\necho $GREETING",
        "--script-raw",
        r"raw=#!/bin/sh
echo 'a\nb'",
        "--script-path",
        "filed:start.sh",
        "--shell",
        "/bin/sh",
        "--no-net",
        "--net-rule",
        "allow@host:tcp:8080",
    ];
    project.ok(&[image, &flags].concat()).prints("py\n");
    assert_eq!(
        project.exec("py", &["sh", "-c", "echo $FROM_FILE $BOTH $(pwd) $(id -un) $(hostname)"]),
        "1 flag /srv app py"
    );
    assert_eq!(project.exec("py", &["lines"]), "one\na $HOME \"b\"");
    assert_eq!(project.exec("py", &["head", "-n", "1", "/.msb/scripts/lines"]), "#!/bin/sh");
    assert_eq!(project.exec("py", &["cat", "/.msb/scripts/raw"]), "#!/bin/sh\necho 'a\\nb'");
    assert_eq!(project.exec("py", &["filed", "x"]), "from a file: x");
    let seen = project.inspect("py");
    assert_eq!((seen["full_name"].as_str(), &seen["project"]), (Some("py"), &serde_json::Value::Null));
    project.ok(&["ps", "-a"]).prints_some("py ").prints_some("running");
    let network = &seen["network"];
    let rules = network["rules"].as_array().expect("a list");
    let rules: Vec<_> = rules.iter().map(|rule| (rule["rule"].as_str(), rule["origin"].as_str())).collect();
    assert_eq!(rules, [(Some("allow@host:tcp:8080"), Some("flag"))]);
    assert_eq!(network["default"]["origin"], "flag");
    project.ok(&["inspect", "py"]).prints_some("--net-rule").prints_some("--net-default (default deny)");

    // Another one of the same name needs `--replace`.
    let boot = project.boot_id("py");
    project.run(image).exits(7).says("already").says("--replace");
    project.run(&[image, &["--replace", "--image-typo"]].concat()).exits(64);
    project.run(&["create", "./not-there", "--name", "py", "--replace"]).exits(64).says("not-there");
    assert_eq!(project.boot_id("py"), boot, "a sandbox that cannot be created replaces nothing");
    project.ok(&[image, &["--replace-with-timeout", "500ms"]].concat());
    assert_ne!(project.boot_id("py"), boot);
    assert_eq!(project.exec("py", &["id", "-un"]), "root");

    // Full names of a project's sandboxes are taken.
    project.write("Sandboxfile", "project \"p\"\nsandbox \"y\" { image \"./image\" }\n");
    project.ok(&["up", "-d"]);
    project.run(&["create", "./image", "--name", "p-y"]).exits(1).says("taken by a sandbox of project p");
    project.run(&["rm", "p-y"]).exits(8);
    project.ok(&["rm", "-f", "p-y", "py"]);
    leftovers::assert_none(project.home());
}

#[test]
fn run_exits_with_its_commands_exit_code() {
    let project = folder();
    // Without a name it is removed.
    let run =
        project.msb(&["run", "./image", "--", "sh", "-c", "cat; echo err >&2; exit 3"]).input("typed\n");
    run.run().exits(3).prints("typed\n").says("err");
    leftovers::assert_none(project.home());
    project.ok(&["run", "-t", "./image", "--", "sh", "-c", "test -t 1 && echo tty"]).prints("tty\r\n");
    project.run(&["run", "./image", "--rm", "--name", "gone", "--", "not-there"]).exits(127);
    leftovers::assert_none(project.home());

    // With a name it stays and runs on.
    project.run(&["run", "./image", "--name", "kept", "--", "sh", "-c", "echo x >/mark; exit 4"]).exits(4);
    assert_eq!(project.exec("kept", &["cat", "/mark"]), "x");
    // With `-d` the command is the main process.
    project
        .ok(&["run", "-d", "--name", "job", "./image", "--", "sh", "-c", "echo ran; sleep 1; exit 5"])
        .prints("job\n");
    project.run(&["wait", "job"]).exits(5);
    project.ok(&["logs", "job"]).prints_some("ran");
    project.ok(&["rm", "-f", "kept", "job"]);
    leftovers::assert_none(project.home());
}

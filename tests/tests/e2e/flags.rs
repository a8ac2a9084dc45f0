//! `msb create` and `msb run`: one sandbox without a file.

use std::fs;
use tests::{Project, leftovers};

/// A project's folder without a Sandboxfile, and its image in `./image`.
fn folder() -> Project {
    let project = Project::new("");
    project.own_image();
    fs::remove_file(project.directory().join("Sandboxfile")).expect("a file can be removed");
    project
}

#[test]
fn a_sandbox_is_made_from_flags_and_has_the_name_it_was_given() {
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
    let seen = project.ok(&["inspect", "--json", "py"]).json();
    assert_eq!(
        (seen["sandboxes"][0]["full_name"].as_str(), &seen["sandboxes"][0]["project"]),
        (Some("py"), &serde_json::Value::Null)
    );
    project.ok(&["ps", "-a"]).prints_some("py ").prints_some("running");

    // Another one of its name takes its place only where that is said.
    let boot = project.boot_id("py");
    project.run(image).exits(1).says("already").says("--replace");
    project.run(&[image, &["--replace", "--image-typo"]].concat()).exits(64);
    project.run(&["create", "./not-there", "--name", "py", "--replace"]).exits(64).says("not-there");
    assert_eq!(project.boot_id("py"), boot, "what cannot be made costs nothing");
    project.ok(&[image, &["--replace-with-timeout", "500ms"]].concat());
    assert_ne!(project.boot_id("py"), boot);
    assert_eq!(project.exec("py", &["id", "-un"]), "root");

    // A project's sandbox of the same full name is another's.
    project.write("Sandboxfile", "project \"p\"\nsandbox \"y\" { image \"./image\" }\n");
    project.ok(&["up", "-d"]);
    project.run(&["create", "./image", "--name", "p-y"]).exits(1).says("taken by a sandbox of project p");
    project.run(&["rm", "p-y"]).exits(1);
    project.ok(&["rm", "-f", "p-y", "py"]);
    leftovers::assert_none(project.home());
}

#[test]
fn run_exits_as_its_command_did() {
    let project = folder();
    // Without a name nothing is left of it.
    project
        .run(&["run", "./image", "--", "sh", "-c", "echo out; echo err >&2; exit 3"])
        .exits(3)
        .prints("out\n");
    leftovers::assert_none(project.home());
    project
        .msb(&["run", "./image", "--rm", "--name", "cat", "--", "cat"])
        .input("typed")
        .run()
        .ok()
        .prints("typed");
    leftovers::assert_none(project.home());
    project.ok(&["run", "-t", "./image", "--", "sh", "-c", "test -t 1 && echo tty"]).prints("tty\r\n");
    project.run(&["run", "./image", "--", "not-there"]).exits(127);

    // With one it stays, and goes on.
    project.run(&["run", "./image", "--name", "kept", "--", "sh", "-c", "echo x >/mark; exit 4"]).exits(4);
    assert_eq!(project.exec("kept", &["cat", "/mark"]), "x");
    // Detached, the command is the main process.
    project
        .ok(&["run", "-d", "--name", "job", "./image", "--", "sh", "-c", "echo ran; sleep 2; exit 5"])
        .prints("job\n");
    project.run(&["wait", "job"]).exits(5);
    project.ok(&["logs", "job"]).prints_some("ran");
    project.ok(&["rm", "-f", "kept", "job"]);
    leftovers::assert_none(project.home());
}

#[test]
fn flags_are_checked_as_a_sandboxfile_is() {
    let project = folder();
    let refused = |arguments: &[&str], code: i32, says: &str| {
        let arguments = [&["create", "./image", "--name", "x"], arguments].concat();
        project.run(&arguments).exits(code).says(says);
    };
    for shell in ["", "/bin/sh -e", "/", "a\nb"] {
        refused(&["--shell", shell], 64, "shell");
    }
    refused(&["--memory", "12"], 64, "512M");
    refused(&["--script", "a=1", "--script-raw", "a=2"], 64, "two scripts");
    refused(&["--script", "=1"], 64, "no name");
    refused(&["--script", "a="], 64, "empty");
    refused(&["--script-path", "a:not-there"], 1, "not-there");
    refused(&["--net-rule", "allow@x.com:443"], 64, "x.com:tcp:443");
    refused(&["--net-rule", "allow@*.com"], 64, "com");
    refused(&["--net-rule", "allow@*.co.uk:tcp:443"], 64, "`*.co.uk` is as broad as a whole public suffix");
    refused(&["--secret", "X@*.github.io"], 64, "such as `*.example.github.io`");
    refused(&["--net-ipv4-pool", "10.0.0.0/31"], 64, "a pool must have room for a /30");
    refused(&["--net-ipv6-pool", "fe80::/64"], 64, "they are link-local");
    refused(&["--no-net", "--net-default", "deny"], 64, "cannot be used with");
    refused(&["-p", "99999:80"], 64, "99999");
    refused(&["-v", "data"], 64, "data");
    refused(&["-e", "NOVALUE"], 64, "NOVALUE");
    refused(&["--restart", "sometimes"], 64, "sometimes");
    project.run(&["create", "./image", "--name", "Not A Name"]).exits(64).says("not-a-name");
    project.run(&["run", "./image"]).exits(64).says("no command");
    leftovers::assert_none(project.home());
}

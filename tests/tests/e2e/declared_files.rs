//! Files that a Sandboxfile declares, in a guest: what it sees, what it may do with them, and what a change restores.

use std::fs;
use tests::{Project, leftovers};

/// The files of the first version, and those that stay.
const FIRST: &str = r#"
    file "/etc/motd" from="./motd"
    file "/opt/deep/er/first.conf" { content "first\n" }
    file "/etc/dangling.conf" content="through a link\n"
"#;
/// The files of the second version.
const SECOND: &str = r#"
    file "/opt/deep/second.conf" { content "second\n" }
    file "/etc/os-release" { content "ID=declared\n" }
"#;

fn sandboxfile(files: &str, colour: &str) -> String {
    format!(
        r#"
        project "placed"
        volume "data"
        sandbox "box" {{
            image "@image"
            mount "./rw" to="/rw"
            mount "data" to="/data"
            file "/etc/app.conf" {{
                content "colour = {colour}\nfor = ${{USER_OF_IT:-nobody}}\nprice = 5$$\n"
            }}
            file "/etc/binary" {{ from "./bytes"; mode "0600"; uid 1000; gid 1001 }}
            file "/usr/local/bin/hello" {{ from "./hello"; mode "0755" }}
            file "/etc/hosts" "./hosts"
            file "/etc/link.conf" {{ content "in place of the target\n" }}
            file "/rw/inside.conf" {{ content "in a mount\n" }}
            file "/data/inside.conf" {{ content "in a volume\n" }}
            file "/etc/empty" content=""
            {files}
        }}
        "#
    )
}

fn project() -> Project {
    let project = Project::new(&sandboxfile(FIRST, "blue"));
    let path = |name: &str| project.directory().join(name);
    fs::create_dir(path("rw")).expect("a new directory");
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    fs::write(path("bytes"), bytes).expect("a new file");
    project.write("motd", "declared\n");
    project.write("hello", "#!/bin/sh\necho hello from \"$0\"\n");
    project.write("hosts", "127.0.0.1 localhost\n10.9.8.7 elsewhere\n");
    // The image has a message of its own, and links where files are declared.
    let etc = path("test-image/etc");
    fs::write(etc.join("motd"), "the image's\n").expect("a writable image");
    fs::write(etc.join("target.conf"), "the target\n").expect("a writable image");
    std::os::unix::fs::symlink("target.conf", etc.join("link.conf")).expect("a new link");
    std::os::unix::fs::symlink("/run/missing/file", etc.join("dangling.conf")).expect("a new link");
    project
}

/// Runs a script in the sandbox and returns its output.
fn sh(project: &Project, script: &str) -> String {
    project.exec("box", &["sh", "-c", script])
}

#[test]
fn declared_files_are_written_at_each_start() {
    let project = project();
    project.up();
    as_declared(&project);
    restricted(&project);

    // The plan has the digest of new contents, and a change of the source is one of the sandbox.
    project.write("Sandboxfile", &sandboxfile(FIRST, "red"));
    project.write("motd", "declared again\n");
    let planned = project.ok(&["plan", "-o", "plan.json"]);
    for field in ["file./etc/app.conf", "file./etc/motd"] {
        let line = planned.out().lines().find(|line| line.trim_start().starts_with(field));
        let line = line.unwrap_or_else(|| panic!("{field}: {}", planned.out()));
        assert!(line.matches("\"sha256:").count() == 2 && line.contains("(restart)"), "{line}");
    }
    assert!(!planned.out().contains("colour") && !planned.out().contains("again"), "{}", planned.out());
    // A plan has the contents: their source is not needed to apply it.
    fs::rename(project.directory().join("motd"), project.directory().join("moved")).expect("a file");
    project.ok(&["up", "-d", "--plan", "plan.json"]);
    assert_eq!(sh(&project, "head -n1 /etc/app.conf; cat /etc/motd"), "colour = red\ndeclared again");

    // What is no longer declared is as in the image, with nothing left of it; all else is written anew.
    project.write("Sandboxfile", &sandboxfile(SECOND, "red"));
    project.up();
    let seen = sh(
        &project,
        "cat /etc/motd /etc/os-release; find /opt | sort; ls /run/missing /etc/dangling.conf 2>&1 | wc -l; \
         readlink /etc/dangling.conf; cat /etc/binary | wc -c; cat /etc/app.conf | head -n1; cat /opt/deep/own",
    );
    assert_eq!(
        seen,
        "the image's\nID=declared\n/opt\n/opt/deep\n/opt/deep/own\n/opt/deep/second.conf\n2\n/run/missing/file\n\
         100000\ncolour = red\nown"
    );
    project.write("Sandboxfile", &sandboxfile("", "red"));
    project.up();
    let seen = sh(&project, "find /opt | sort; head -n1 /etc/os-release");
    assert_eq!(seen, "/opt\n/opt/deep\n/opt/deep/own\nID=busybox");
    project.ok(&["down", "-v", "--yes"]);
    leftovers::assert_none(project.home());
}

/// Contents, owners and modes, wherever the file is.
fn as_declared(project: &Project) {
    let seen = sh(
        project,
        "cat /etc/app.conf; hello; cat /etc/motd /etc/hosts /etc/link.conf /etc/target.conf /rw/inside.conf \
         /data/inside.conf /etc/dangling.conf /run/missing/file /opt/deep/er/first.conf; wc -c < /etc/empty",
    );
    assert_eq!(
        seen,
        "colour = blue\nfor = nobody\nprice = 5$\nhello from /usr/local/bin/hello\ndeclared\n127.0.0.1 localhost\n\
         10.9.8.7 elsewhere\nin place of the target\nin place of the target\nin a mount\nin a volume\n\
         through a link\nthrough a link\nfirst\n0"
    );
    let files = "/etc/app.conf /etc/binary /usr/local/bin/hello /opt/deep/er";
    assert_eq!(
        sh(project, &format!("stat -c '%u:%g %a' {files}")),
        "0:0 644\n1000:1001 600\n0:0 755\n0:0 755"
    );
    let copied = project.directory().join("copied");
    project.ok(&["cp", "box:/etc/binary", "copied"]);
    assert_eq!(
        fs::read(copied).expect("a file"),
        fs::read(project.directory().join("bytes")).expect("a file")
    );
    assert_eq!(sh(project, "su app -c 'wc -c < /etc/binary; cat /etc/app.conf | wc -l'"), "100000\n3");
}

/// A file can be changed in place until the next start, but not replaced or removed.
fn restricted(project: &Project) {
    sh(project, "echo more >> /etc/app.conf; chmod 600 /etc/app.conf; echo own > /opt/deep/own");
    assert_eq!(sh(project, "tail -n1 /etc/app.conf"), "more");
    for change in ["echo x > /tmp/x; mv /tmp/x /etc/app.conf", "rm /etc/app.conf", "rm /rw/inside.conf"] {
        project.run(&["exec", "box", "--", "sh", "-c", change]).exits(1).says("esource busy");
    }
    let denied =
        project.run(&["exec", "-u", "app", "box", "--", "sh", "-c", "echo x > /usr/local/bin/hello"]);
    denied.exits(1).says("Permission denied");
    project.ok(&["restart", "box"]);
    assert_eq!(sh(project, "tail -n1 /etc/app.conf; stat -c %a /etc/app.conf"), "price = 5$\n644");
}

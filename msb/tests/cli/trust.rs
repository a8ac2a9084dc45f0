//! Trust: a Sandboxfile reaches nothing outside its directory and the public internet without consent.

use std::fs;
use std::os::unix::fs::symlink;
use tests::Project;

const INSIDE: &str = "project \"trust\"\nsandbox \"web\" { image \"./image\" }\n";
const OUTSIDE: &str = "project \"trust\"\nsandbox \"web\" { image \"../outside\" }\n";

/// Creates a project with an image of its own and the same image outside.
fn project(sandboxfile: &str) -> Project {
    let project = Project::without_guest(sandboxfile);
    project.own_image();
    project.shell("cp -a image ../outside").run().ok();
    project
}

#[test]
fn paths_outside_the_directory_need_trust() {
    let project = project(OUTSIDE);
    for command in [&["plan"][..], &["up", "-d"], &["lock"]] {
        let refused = project.run(command).exits(3).prints("");
        let refused = refused.says("is not trusted").says("/outside (for web)").says("msb trust");
        // The declaring line is shown.
        let refused = refused.says("--trust").says("Sandboxfile:2:23").says("image \"../outside\"");
        refused.says("msb::sandboxfile::not_trusted").says("beyond the project's folder");
    }
    tests::leftovers::assert_none(project.home());
    // Commands that only read the file need no trust.
    project.ok(&["validate"]);
    project.ok(&["config"]);
    // `--trust` trusts a single run.
    project.ok(&["plan", "--trust"]);
    project.ok(&["up", "-d", "--no-start", "--trust"]);
    project.run(&["plan"]).exits(3);

    // There is no terminal to ask on.
    let shown = project.run(&["trust"]).exits(1).prints_some("/outside (for web)");
    shown.says("no terminal for a prompt").says("--yes");
    project.run(&["plan"]).exits(3);
    project.ok(&["trust", "--yes"]).says("trusted until it changes");
    project.ok(&["plan"]);
    project.ok(&["up", "-d", "--no-start"]).says("nothing to do");

    // A change revokes trust, even that of a comment.
    project.write("Sandboxfile", &format!("// more\n{OUTSIDE}"));
    project.run(&["plan"]).exits(3).says("has changed since it was trusted");
    project.write("Sandboxfile", OUTSIDE);
    project.ok(&["plan"]);
    project.ok(&["trust", "--revoke"]).says("no longer trusted");
    project.run(&["plan"]).exits(3).says("is not trusted");
    project.ok(&["trust", "--revoke"]).says("nothing in this folder was trusted");
    // Removal needs no trust.
    project.down();
}

#[test]
fn a_link_to_the_outside_needs_trust() {
    let project = project("project \"trust\"\nsandbox \"web\" { image \"./link\" }\n");
    let link = project.directory().join("link");
    symlink("image", &link).expect("a new link");
    project.ok(&["plan"]);
    fs::remove_file(&link).expect("a link");
    symlink("../outside", &link).expect("a new link");
    project.run(&["plan"]).exits(3).says("/link, which is").says("/outside");
    project.ok(&["trust", "--yes"]);
    project.ok(&["plan"]);
    // The same link with another target.
    project.shell("cp -a image ../elsewhere && ln -sfn ../elsewhere link").run().ok();
    project.run(&["plan"]).exits(3).says("has changed since").says("/elsewhere");
}

#[test]
fn every_line_that_needs_trust_is_shown() {
    let project = project(INSIDE);
    let write = |name: &str, text: &str| {
        project.shell(&format!("cat > '{name}'")).input(text).run().ok();
    };
    write("../common.kdl", "sandbox \"base\" { image \"./outside\" }\n");
    let secret = "secret \"KEY\" { from env=\"HOST_KEY\"; hosts \"api.example.org\" }";
    let text = format!(
        "project \"trust\"\ninclude \"../common.kdl\"\nsandbox \"web\" {{\n    image \"./image\"\n    {secret}\n    \
         sync \"../outside\" to=\"/all\"\n}}\nsandbox \"api\" {{ like \"base\"; image \"./image\" }}\n"
    );
    project.write("Sandboxfile", &text);
    // A line of an included file is shown there; an overridden value is not.
    let refused = project.run(&["plan"]).exits(3);
    let refused = refused.says("Sandboxfile:2:9").says("common.kdl:1:24").says("(for base)");
    let refused = refused.says("Sandboxfile:5:29").says("a variable of this host").says("Sandboxfile:6:10");
    assert_eq!(refused.err().matches("msb::sandboxfile::not_trusted").count(), 4, "{}", refused.err());
    // Standard input is read once and its lines are shown too.
    let piped = project.msb(&["-f", "-", "plan"]).input(text).run().exits(3);
    piped.says("standard input:5:29").says("is not trusted");
}

#[test]
fn mounts_outside_the_directory_need_trust_and_say_what_they_allow() {
    let project = project(INSIDE);
    let mounting = |options: &str| {
        format!(
            "project \"trust\"\nsandbox \"web\" {{ image \"./image\"; mount \"../outside\" to=\"/all\" {options} }}\n"
        )
    };
    project.write("Sandboxfile", &mounting("readonly=#true"));
    project.run(&["plan"]).exits(3).says("mounts read-only").says("/outside (for web)");
    project.ok(&["trust", "--yes"]);
    project.ok(&["plan"]);
    // More rights need consent again.
    project.write("Sandboxfile", &mounting(""));
    project.run(&["plan"]).exits(3).says("has changed since").says("mounts, and may change,");
    project.write("Sandboxfile", &mounting("host-perms=\"mirror\""));
    project.run(&["plan"]).exits(3).says("may set modes of files, or make links, on this host in");
    project.write(
        "Sandboxfile",
        "project \"trust\"\nsandbox \"web\" { image \"./image\"; mount \"/\" to=\"/host\" }\n",
    );
    project.run(&["plan"]).exits(3).says("mounts, and may change, /: everything on this host (for web)");
}

#[test]
fn env_files_outside_the_directory_need_trust() {
    let project =
        project("project \"trust\"\nsandbox \"web\" { image \"./image\"; env { A \"${A:-none}\" } }\n");
    project.shell("echo A=here > .env").run().ok();
    project.ok(&["plan"]);
    project.shell("echo A=there > ../other.env && ln -sf ../other.env .env").run().ok();
    let refused = project.run(&["plan"]).exits(3);
    refused.says("is not trusted").says("reads the file").says("/.env, which is").says("/other.env");
    project.ok(&["trust", "--yes"]);
    project.ok(&["plan"]);
    // A file of the command line is trusted.
    project.shell("rm .env").run().ok();
    project.ok(&["--env-file", "../other.env", "plan"]);
    // A dangling link is not read.
    project.shell("ln -s ../missing.env .env").run().ok();
    project.ok(&["plan"]);
}

#[test]
fn trusted_files_are_listed() {
    let project = project(INSIDE);
    project.ok(&["trust"]).prints("").says("needs no trust");
    let listed = || project.ok(&["trust", "--list", "--json"]).json();
    assert_eq!(listed()["trusted"].as_array().map(Vec::len), Some(0));
    project.write("Sandboxfile", OUTSIDE);
    let shown = project.ok(&["trust", "--json"]).json();
    assert_eq!(shown["trusted"], false, "{shown:#}");
    assert_eq!(shown["reaches"][0]["kind"], "image", "{shown:#}");
    assert_eq!(shown["reaches"][0]["sandboxes"][0], "web", "{shown:#}");
    assert_eq!(project.ok(&["trust", "--yes", "--json"]).json()["trusted"], true);
    let list = listed();
    assert_eq!(list["trusted"].as_array().map(Vec::len), Some(1), "{list:#}");
    assert_eq!(list["trusted"][0]["file"], "Sandboxfile", "{list:#}");
    project.ok(&["trust", "--list"]).prints_some("FOLDER").prints_some("/project");
    // Trust covers a single file.
    project.write("other.kdl", OUTSIDE);
    project.run(&["-f", "other.kdl", "plan"]).exits(3).says("other.kdl").says("is not trusted");
    project.run(&["trust", "--revoke", "--yes"]).exits(64);
    // The trust of an invalid file can be revoked.
    project.write("Sandboxfile", "sandbox {");
    project.ok(&["trust", "--revoke"]).says("no longer trusted");
}

#[test]
fn networks_beyond_public_addresses_need_trust() {
    let file = |more: &str| format!("project \"trust\"\nsandbox \"web\" {{ image \"@image\"; {more} }}\n");
    for (more, reason) in [
        ("network { allow \"host:tcp:5432\" }", "allow@host:tcp:5432"),
        ("network default=\"allow\"", "allow by default"),
        ("port \"0.0.0.0:0:80\"", "0.0.0.0:0:80"),
    ] {
        let project = Project::without_guest(&file(more));
        let refused = project.run(&["plan"]).exits(3).says("beyond the public internet and is not trusted");
        refused.says(reason).says("Sandboxfile:2:").says("msb trust");
        project.ok(&["trust", "--yes"]).prints_some(reason);
        project.ok(&["plan"]);
    }
    let public = "port \"0:80\"; network default=\"deny\" { allow \"example.org\"; allow \"any\" direction=\"ingress\" }";
    Project::without_guest(&file(public)).ok(&["plan"]);
}

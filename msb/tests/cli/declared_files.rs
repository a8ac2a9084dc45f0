//! Files that a Sandboxfile declares: what is planned, printed, refused and trusted.

use std::fs;
use tests::{Project, leftovers};

const CONTENTS: &str = "the-contents-of-the-file";

fn sandboxfile(files: &str) -> String {
    format!("project \"shop\"\nsandbox \"web\" {{\n    image \"@image\"\n    {files}\n}}\n")
}

#[test]
fn a_plan_tells_digests_and_has_the_contents() {
    let project = Project::without_guest(&sandboxfile("file \"/etc/app.conf\" \"./app.conf\""));
    project.write("app.conf", CONTENTS);
    project.ok(&["up", "-d", "--no-start"]);
    project.ok(&["up", "-d", "--no-start"]).says("nothing to do");
    project.write("app.conf", "others");
    let planned = project.ok(&["plan", "-o", "plan.json"]);
    let planned = planned.prints_some("file./etc/app.conf  \"sha256:").prints_some("→ \"sha256:");
    assert!(!planned.out().contains(CONTENTS) && !planned.out().contains("others"), "{}", planned.out());

    // The plan has what was read, so the file need not be there when it is applied.
    let saved = fs::read_to_string(project.directory().join("plan.json")).expect("a plan");
    assert!(saved.contains("b3RoZXJz"), "{saved}");
    fs::remove_file(project.directory().join("app.conf")).expect("a file");
    project.run(&["plan"]).exits(1).says("there is no `./app.conf` that could be copied");
    project.write("app.conf", "others");
    project.ok(&["up", "-d", "--no-start"]);
    let recorded = project.inspect("web");
    let file = recorded.pointer("/spec/definition/files/~1etc~1app.conf");
    let file = file.unwrap_or_else(|| panic!("{recorded:#}"));
    assert_eq!(file["contents"]["base64"], "b3RoZXJz", "{file:#}");

    // From another source with the same contents, nothing has to be written anew.
    project.write("moved.conf", "others");
    project.write("Sandboxfile", &sandboxfile("file \"/etc/app.conf\" \"./moved.conf\""));
    project.ok(&["plan"]).prints_some("file./etc/app.conf.from").prints_some("(recorded)");
    project.ok(&["down"]);
    leftovers::assert_none(project.home());
}

#[test]
fn included_files_and_flags_have_their_own_folders() {
    let project = Project::without_guest("include \"./more/base.kdl\"\n");
    fs::create_dir(project.directory().join("more")).expect("a new directory");
    project.write("more/base.kdl", &sandboxfile("file \"/etc/a\" \"./a\"; file \"/etc/b\" \"../b\""));
    project.write("more/a", "in the folder");
    project.write("b", "beside it");
    let config = project.ok(&["config", "--format", "json"]).json();
    let files = &config["sandboxes"][0]["definition"]["files"];
    for (path, contents) in [("/etc/a", "aW4gdGhlIGZvbGRlcg=="), ("/etc/b", "YmVzaWRlIGl0")] {
        assert_eq!(files[path]["contents"]["base64"], contents, "{files:#}");
    }
    project.ok(&["config", "--explain", "web.files./etc/a"]).prints_some("more/base.kdl:4:");
    project.write("more/a", &"x".repeat(256 * 1024 + 1));
    let refused = project.run(&["validate"]).exits(1);
    refused.says("more/base.kdl:4:").says("the file `/etc/a` is larger than 256 KiB");

    project.own_image();
    let create = |files: &[&str]| project.run(&[&["create", "./image", "--name", "x"], files].concat());
    create(&["--add-file", "./b"]).exits(64).says("it is not SOURCE:DEST");
    create(&["--add-file", "./b:/etc/b:mode=0999"]).exits(64).says("`mode` cannot be `0999`");
    create(&["--add-file", "b:/etc/b"]).exits(64).says("did you mean \"./b\"?");
    create(&["--add-file", "./b:/etc/b", "--add-file", "./b:/etc/b"]).exits(64).says("two files are written");
    create(&["--add-file", "./b:/etc/b", "-v", "./more:/etc/b"]).exits(64).says("something is mounted there");
    leftovers::assert_none(project.home());
}

#[test]
fn files_outside_the_directory_need_trust() {
    let project = Project::without_guest(&sandboxfile("file \"/etc/app.conf\" \"../app.conf\""));
    project.shell("echo outside > ../app.conf && echo inside > app.conf").run().ok();
    let refused = project.run(&["plan"]).exits(3);
    refused.says("copies the file").says("/app.conf (for web)").says("Sandboxfile:4:26");
    project.ok(&["plan", "--trust"]);
    project.write("Sandboxfile", &sandboxfile("file \"/etc/app.conf\" \"./app.conf\""));
    project.ok(&["plan"]);
    // A link to the outside.
    project.shell("ln -sf ../app.conf app.conf").run().ok();
    project.run(&["plan"]).exits(3).says("/app.conf, which is").says("is not trusted");
}

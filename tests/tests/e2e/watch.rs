//! `up --watch`: what is saved is applied, what is broken changes nothing, what changes is copied.

use std::fs;
use tests::Project;

fn sandboxfile(colour: &str, label: &str) -> String {
    format!(
        r#"
project "seen"
sandbox "web" {{
    image "@image"
    env {{ COLOUR "{colour}" }}
    labels {{ tier "{label}" }}
    script "serve" "echo started $COLOUR; exec sleep 1000000"
    start "serve"
}}
"#
    )
}

#[test]
fn what_is_saved_is_applied_and_what_is_broken_changes_nothing() {
    let project = Project::new(&sandboxfile("red", "front"));
    let mut up = project.msb(&["up", "--watch"]).live();
    up.until_all(&["watching for changes", "started red"]);
    let processes = project.processes("web");

    project.write("Sandboxfile", &sandboxfile("red", "back"));
    let said = up.until("up in");
    assert!(said.iter().any(|line| line.contains("labels.tier")), "{said:?}");
    assert_eq!(project.processes("web"), processes);
    assert!(project.ok(&["plan"]).out().contains("= 1 unchanged"));

    project.write("Sandboxfile", "sandbox \"web\" {");
    let said = up.until("the next save is tried again");
    assert!(said.iter().any(|line| line.contains("Sandboxfile:1")), "{said:?}");
    assert_eq!(project.processes("web"), processes);

    // Saved as editors do: beside it, then renamed. It runs anew, and its log goes on where it was.
    project.write("Sandboxfile.new", &sandboxfile("blue", "back"));
    fs::rename(project.directory().join("Sandboxfile.new"), project.directory().join("Sandboxfile"))
        .expect("a file can be renamed");
    let said = up.until("started blue");
    assert!(said.iter().any(|line| line.contains("env.COLOUR")), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("started red")), "{said:?}");
    assert_eq!(project.exec("web", &["sh", "-c", "echo $COLOUR"]), "blue");

    // Ctrl-C ends the watching, and nothing else.
    let processes = project.processes("web");
    assert_eq!(up.interrupt(), Some(130));
    assert_eq!(project.processes("web"), processes);
    project.down();
}

#[test]
fn what_destroys_data_is_shown_and_not_done_where_nobody_can_be_asked() {
    let project = Project::new("");
    let image = project.own_image();
    project.write("Sandboxfile", "project \"kept\"\nsandbox \"web\" { image \"./image\" }\n");
    let mut up = project.msb(&["up", "--watch"]).live();
    up.until("watching for changes");
    let processes = project.processes("web");
    fs::write(image.join("etc/motd"), "changed\n").expect("the image can be written to");
    let said = up.until("the next save is tried again");
    assert!(said.iter().any(|line| line.contains("replace")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("destroys data")), "{said:?}");
    assert_eq!(project.processes("web"), processes);
    assert_eq!(up.interrupt(), Some(130));
    project.down();
}

#[test]
fn watching_what_cannot_be_watched_is_refused() {
    let project = Project::new("");
    project
        .msb(&["-f", "-", "up", "--watch"])
        .input("project \"x\"\n")
        .run()
        .exits(64)
        .says("standard input");
    project.run(&["up", "--watch", "-d"]).exits(64);
}

#[test]
fn what_changes_in_a_copied_folder_changes_in_the_sandbox() {
    let project = Project::new("");
    let source = project.directory().join("src");
    fs::create_dir_all(source.join("lib")).expect("a folder can be made");
    let save = |name: &str, text: &str| fs::write(source.join(name), text).expect("a file can be written");
    save("page", "first\n");
    save("lib/gone", "soon\n");
    save("left.tmp", "out\n");
    project.write(
        "Sandboxfile",
        "project \"copied\"\nsandbox \"web\" {\n    image \"@image\"\n    sync \"./src\" to=\"/srv/src\" { ignore \"*.tmp\" }\n}\n",
    );
    let in_the_guest = |name: &str| project.exec("web", &["cat", &format!("/srv/src/{name}")]);
    let missing = |name: &str| project.run(&["exec", "web", "--", "test", "-e", name]).exits(1);

    let mut up = project.msb(&["up", "--watch"]).live();
    up.until("watching for changes");
    up.until("web: synced 2 files to /srv/src");
    assert_eq!((in_the_guest("page"), in_the_guest("lib/gone")), ("first".to_owned(), "soon".to_owned()));
    missing("/srv/src/left.tmp");

    save("page", "second\n");
    up.until("web: synced /srv/src/page");
    assert_eq!(in_the_guest("page"), "second");

    // Saved as editors do, in a folder that was not there before.
    fs::create_dir(source.join("new")).expect("a folder can be made");
    save("new/.page.swp", "third\n");
    fs::rename(source.join("new/.page.swp"), source.join("new/page")).expect("a file can be renamed");
    up.until("new/page");
    assert_eq!(in_the_guest("new/page"), "third");

    // What was copied goes with its original; what the guest has made stays.
    project.exec("web", &["touch", "/srv/src/lib/own"]);
    fs::remove_file(source.join("lib/gone")).expect("it is there");
    up.until("web: removed /srv/src/lib/gone");
    missing("/srv/src/lib/gone");
    assert_eq!(in_the_guest("lib/own"), "");
    assert_eq!(up.interrupt(), Some(130));
    project.down();
}

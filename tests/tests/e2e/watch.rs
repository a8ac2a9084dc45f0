//! `up --watch`: saved changes are applied, invalid files change nothing, changed files are copied.

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
fn saved_changes_are_applied_unless_they_are_invalid_or_destroy_data() {
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
    let said = up.until("the next save tries again");
    assert!(said.iter().any(|line| line.contains("Sandboxfile:1")), "{said:?}");
    assert_eq!(project.processes("web"), processes);

    // Saved like editors do, by a rename. The restarted sandbox's log is followed from its end.
    project.write("Sandboxfile.new", &sandboxfile("blue", "back"));
    fs::rename(project.directory().join("Sandboxfile.new"), project.directory().join("Sandboxfile"))
        .expect("a file");
    let said = up.until("started blue");
    assert!(said.iter().any(|line| line.contains("env.COLOUR")), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("started red")), "{said:?}");
    assert_eq!(project.exec("web", &["sh", "-c", "echo $COLOUR"]), "blue");

    // A plan that destroys data is shown, but there is no terminal to ask on.
    let processes = project.processes("web");
    let motd = project.directory().join("test-image/etc/motd");
    fs::write(motd, "changed\n").expect("a writable image");
    let said = up.until("the next save tries again");
    assert!(said.iter().any(|line| line.contains("replace")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("destroys data")), "{said:?}");
    assert_eq!(project.processes("web"), processes);

    // Ctrl-C ends the watching only.
    assert_eq!(up.interrupt(), Some(130));
    assert_eq!(project.processes("web"), processes);
    project.down();
}

#[test]
fn changes_in_a_synced_directory_are_copied() {
    let project = Project::new("");
    let source = project.directory().join("src");
    fs::create_dir_all(source.join("lib")).expect("a new directory");
    let save = |name: &str, text: &str| fs::write(source.join(name), text).expect("a writable directory");
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

    // Saved like editors do, in a new directory.
    fs::create_dir(source.join("new")).expect("a new directory");
    save("new/.page.swp", "third\n");
    fs::rename(source.join("new/.page.swp"), source.join("new/page")).expect("a file");
    up.until("new/page");
    assert_eq!(in_the_guest("new/page"), "third");

    // Copied files are removed with their originals; the guest's own files stay.
    project.exec("web", &["touch", "/srv/src/lib/own"]);
    fs::remove_file(source.join("lib/gone")).expect("it is there");
    up.until("web: removed /srv/src/lib/gone");
    missing("/srv/src/lib/gone");
    assert_eq!(in_the_guest("lib/own"), "");
    assert_eq!(up.interrupt(), Some(130));
    project.down();
}

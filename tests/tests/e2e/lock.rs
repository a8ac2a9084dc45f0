//! `Sandboxfile.lock`: what `up` pins, what `--frozen` holds it against, and `msb lock`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tests::Project;

const ONE: &str = "project \"pinned\"\nsandbox \"web\" { image \"./image\" }\n";
const AMD: &str = "linux/amd64";
const ARM: &str = "linux/arm64";

/// A project with an image of its own.
fn project() -> Project {
    let project = Project::new(ONE);
    project.own_image();
    project
}

fn path(project: &Project) -> PathBuf {
    project.directory().join("Sandboxfile.lock")
}

fn text(project: &Project) -> String {
    fs::read_to_string(path(project)).expect("there is a lock file")
}

/// The pin of a reference for this machine.
fn pin(project: &Project, reference: &str) -> String {
    let document: serde_json::Value = serde_json::from_str(&text(project)).expect("a lock file is JSON");
    let pins = &document["images"][reference];
    pins[here()].as_str().unwrap_or_else(|| panic!("{reference} is not pinned: {document:#}")).to_owned()
}

fn here() -> &'static str {
    if cfg!(target_arch = "aarch64") { ARM } else { AMD }
}

fn elsewhere() -> &'static str {
    if cfg!(target_arch = "aarch64") { AMD } else { ARM }
}

fn change_image(project: &Project, text: &str) {
    fs::write(project.directory().join("image/etc/motd"), text).expect("the image can be written to");
}

#[test]
fn up_pins_what_it_brings_up_and_frozen_holds_it_to_that() {
    let project = project();
    // Without a lock file nothing is as pinned, whatever there is to do.
    for command in [&["plan", "--frozen"][..], &["up", "-d", "--frozen"], &["lock", "--check"]] {
        let refused = project.run(command).exits(3).prints("");
        refused.says("there is no Sandboxfile.lock").says("./image").says("msb lock");
    }
    assert!(!path(&project).exists());
    project.ok(&["plan"]);
    assert!(!path(&project).exists(), "a plan writes nothing");

    project.up().says("wrote Sandboxfile.lock");
    let (first, first_text) = (pin(&project, "./image"), text(&project));
    project.ok(&["up", "-d", "--frozen"]).says("nothing to do");
    project.ok(&["plan", "--frozen"]);
    project.ok(&["lock", "--check"]).says("is current");

    // Another image than the pinned one is neither planned nor brought up, and the sandbox goes on.
    let boot = project.boot_id("web");
    change_image(&project, "changed\n");
    for command in [&["plan", "--frozen"][..], &["up", "-d", "--frozen", "--yes"], &["lock", "--check"]] {
        project.run(command).exits(3).says("./image").says(&first).says("-> sha256:");
    }
    assert_eq!((project.boot_id("web"), text(&project)), (boot, first_text.clone()));

    // Nor where the fast path would find nothing to do: the sandbox is as declared, its pin is not.
    project.up_at_any_price();
    let second = pin(&project, "./image");
    assert_ne!(second, first);
    fs::write(path(&project), &first_text).expect("the folder can be written to");
    project.run(&["up", "-d", "--frozen"]).exits(3).says(&first).says(&second);
    assert_eq!(text(&project), first_text);
    project.ok(&["up", "-d"]).says("nothing to do").says("wrote Sandboxfile.lock");
    assert_eq!(pin(&project, "./image"), second);
    project.down();
}

#[test]
fn the_lock_file_is_kept_as_it_is_where_nothing_changed() {
    let project = project();
    project.ok(&["lock"]).says("wrote").says("+ ./image");
    let digest = pin(&project, "./image");
    // Pins of another platform and the file's mode are somebody's.
    let other = format!("sha256:{}", "a".repeat(64));
    let both = text(&project).replace(
        &format!("\"{}\": \"{digest}\"", here()),
        &format!("\"{}\": \"{digest}\", \"{}\": \"{other}\"", here(), elsewhere()),
    );
    fs::write(path(&project), &both).expect("the folder can be written to");
    fs::set_permissions(path(&project), fs::Permissions::from_mode(0o640)).expect("the mode can be set");
    project.ok(&["lock"]).says("is current");
    project.ok(&["up", "-d", "--no-start"]);
    assert_eq!(text(&project), both, "what is current is not written again");

    change_image(&project, "changed\n");
    project.ok(&["lock"]).says("~ ./image").says(&digest);
    assert_ne!(pin(&project, "./image"), digest);
    assert!(text(&project).contains(&format!("\"{}\": \"{other}\"", elsewhere())), "{}", text(&project));
    assert_eq!(fs::metadata(path(&project)).expect("there is one").permissions().mode() & 0o777, 0o640);
    project.down();
}

#[test]
fn references_are_taken_up_one_by_one() {
    let project = project();
    let second = project.directory().join("second");
    project.shell("cp -a image second").run().ok();
    project.write("Sandboxfile", &format!("{ONE}sandbox \"db\" {{ image \"./second\" }}\n"));
    project.ok(&["lock"]);
    let (image, other) = (pin(&project, "./image"), pin(&project, "./second"));
    change_image(&project, "changed\n");
    fs::write(second.join("etc/motd"), "changed too\n").expect("the image can be written to");
    project.ok(&["lock", "--update", "./second"]);
    assert_eq!(pin(&project, "./image"), image);
    assert_ne!(pin(&project, "./second"), other);
    project.run(&["lock", "--check"]).exits(3).says("./image");
    project.ok(&["lock", "--update"]);
    assert_ne!(pin(&project, "./image"), image);
    project.ok(&["lock", "--check"]);
    project.run(&["lock", "--update", "./thrid"]).exits(1).says("./thrid").says("./second");
    project.run(&["lock", "--check", "--update"]).exits(64);
    // What leaves the file leaves its lock.
    project.write("Sandboxfile", ONE);
    project.run(&["lock", "--check"]).exits(3).says("- ./second");
    project.ok(&["lock"]);
    assert!(!text(&project).contains("second"));
}

#[test]
fn a_lock_file_that_cannot_be_read_or_written_is_told() {
    let project = project();
    for (broken, says) in [
        ("<<<<<<< HEAD\n", "conflict markers"),
        ("{\"version\": 9}", "of version 9"),
        ("{\"version\": 1, \"images\": {\"./image\": {\"linux/amd64\": \"latest\"}}}", "latest"),
    ] {
        fs::write(path(&project), broken).expect("the folder can be written to");
        for command in [&["up", "-d"][..], &["plan", "--frozen"], &["lock"], &["lock", "--check"]] {
            project.run(command).exits(1).says("Sandboxfile.lock").says(says).says("hint:");
        }
        assert_eq!(text(&project), broken, "it is not written over");
    }
    // A plan that is not frozen does not ask for it.
    project.ok(&["plan"]);
    fs::remove_file(path(&project)).expect("it is there");
    // Standard input has no lock file to keep, yet one to be held against.
    project.msb(&["-f", "-", "up", "-d", "--no-start"]).input(ONE).run().ok();
    project.msb(&["-f", "-", "lock"]).input(ONE).run().exits(64).says("standard input");
    assert!(!path(&project).exists());
    project.msb(&["-f", "-", "up", "-d", "--no-start", "--frozen"]).input(ONE).run().exits(3);
    project.down();
}

//! `Sandboxfile.lock`: pinning by `up`, `--frozen`, and `msb lock`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tests::Project;

const ONE: &str = "project \"pinned\"\nsandbox \"web\" { image \"./image\" }\n";
const AMD: &str = "linux/amd64";
const ARM: &str = "linux/arm64";

/// Creates a project with an image of its own.
fn project() -> Project {
    let project = Project::without_guest(ONE);
    project.own_image();
    project
}

fn path(project: &Project) -> PathBuf {
    project.directory().join("Sandboxfile.lock")
}

fn text(project: &Project) -> String {
    fs::read_to_string(path(project)).expect("there is a lock file")
}

/// Returns the digest that a reference is pinned to for this platform.
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
    fs::write(project.directory().join("image/etc/motd"), text).expect("a writable image");
}

#[test]
fn up_pins_images_and_frozen_requires_the_pins() {
    let project = project();
    // `--frozen` requires a lock file.
    for command in [&["plan", "--frozen"][..], &["up", "-d", "--no-start", "--frozen"], &["lock", "--check"]]
    {
        let refused = project.run(command).exits(3).prints("");
        refused.says("there is no Sandboxfile.lock").says("./image").says("msb lock");
    }
    assert!(!path(&project).exists());
    project.ok(&["plan"]);
    assert!(!path(&project).exists(), "a plan writes nothing");

    project.ok(&["up", "-d", "--no-start"]).says("wrote Sandboxfile.lock");
    let (first, first_text) = (pin(&project, "./image"), text(&project));
    project.ok(&["up", "-d", "--no-start", "--frozen"]).says("nothing to do");
    project.ok(&["plan", "--frozen"]);
    project.ok(&["lock", "--check"]).says("is current");

    // An image other than the pinned one is neither planned nor applied.
    let image = || project.inspect("web")["spec"]["image"].take();
    let applied = image();
    change_image(&project, "changed\n");
    for command in
        [&["plan", "--frozen"][..], &["up", "-d", "--no-start", "--frozen", "--yes"], &["lock", "--check"]]
    {
        project.run(command).exits(3).says("./image").says(&first).says("-> sha256:");
    }
    assert_eq!((image(), text(&project)), (applied, first_text.clone()));

    // Nor if the sandbox is up to date already.
    project.ok(&["up", "-d", "--no-start", "--yes"]);
    let second = pin(&project, "./image");
    assert_ne!(second, first);
    fs::write(path(&project), &first_text).expect("a writable directory");
    project.run(&["up", "-d", "--no-start", "--frozen"]).exits(3).says(&first).says(&second);
    assert_eq!(text(&project), first_text);
    project.ok(&["up", "-d", "--no-start"]).says("nothing to do").says("wrote Sandboxfile.lock");
    assert_eq!(pin(&project, "./image"), second);
    project.down();
}

#[test]
fn a_current_lock_file_is_not_rewritten() {
    let project = project();
    project.ok(&["lock"]).says("wrote").says("+ ./image");
    let digest = pin(&project, "./image");
    // Pins of other platforms and the file's mode are kept.
    let other = format!("sha256:{}", "a".repeat(64));
    let both = text(&project).replace(
        &format!("\"{}\": \"{digest}\"", here()),
        &format!("\"{}\": \"{digest}\", \"{}\": \"{other}\"", here(), elsewhere()),
    );
    fs::write(path(&project), &both).expect("a writable directory");
    fs::set_permissions(path(&project), fs::Permissions::from_mode(0o640)).expect("a file of this user");
    project.ok(&["lock"]).says("is current");
    project.ok(&["up", "-d", "--no-start"]);
    assert_eq!(text(&project), both, "a current file is not rewritten");

    change_image(&project, "changed\n");
    project.ok(&["lock"]).says("~ ./image").says(&digest);
    assert_ne!(pin(&project, "./image"), digest);
    assert!(text(&project).contains(&format!("\"{}\": \"{other}\"", elsewhere())), "{}", text(&project));
    assert_eq!(fs::metadata(path(&project)).expect("there is one").permissions().mode() & 0o777, 0o640);
    project.down();
}

#[test]
fn references_are_updated_one_by_one() {
    let project = project();
    let second = project.directory().join("second");
    project.shell("cp -a image second").run().ok();
    project.write("Sandboxfile", &format!("{ONE}sandbox \"db\" {{ image \"./second\" }}\n"));
    project.ok(&["lock"]);
    let (image, other) = (pin(&project, "./image"), pin(&project, "./second"));
    change_image(&project, "changed\n");
    fs::write(second.join("etc/motd"), "changed too\n").expect("a writable image");
    project.ok(&["lock", "--update", "./second"]);
    assert_eq!(pin(&project, "./image"), image);
    assert_ne!(pin(&project, "./second"), other);
    project.run(&["lock", "--check"]).exits(3).says("./image");
    project.ok(&["lock", "--update"]);
    assert_ne!(pin(&project, "./image"), image);
    project.ok(&["lock", "--check"]);
    project.run(&["lock", "--update", "./thrid"]).exits(1).says("./thrid").says("./second");
    project.run(&["lock", "--check", "--update"]).exits(64);
    // References that left the Sandboxfile leave the lock file.
    project.write("Sandboxfile", ONE);
    project.run(&["lock", "--check"]).exits(3).says("- ./second");
    project.ok(&["lock"]);
    assert!(!text(&project).contains("second"));
}

#[test]
fn an_unreadable_lock_file_is_an_error() {
    let project = project();
    for (broken, says) in [
        ("<<<<<<< HEAD\n", "conflict markers"),
        ("{\"version\": 9}", "version 9"),
        ("{\"version\": 1, \"images\": {\"./image\": {\"linux/amd64\": \"latest\"}}}", "latest"),
    ] {
        fs::write(path(&project), broken).expect("a writable directory");
        for command in [&["up", "-d"][..], &["plan", "--frozen"], &["lock"], &["lock", "--check"]] {
            project.run(command).exits(1).says("Sandboxfile.lock").says(says).says("hint:");
        }
        assert_eq!(text(&project), broken, "it is not overwritten");
    }
    // Without `--frozen` a plan does not read it.
    project.ok(&["plan"]);
    fs::remove_file(path(&project)).expect("it is there");
    // A project of standard input writes no lock file, but `--frozen` requires one.
    project.msb(&["-f", "-", "up", "-d", "--no-start"]).input(ONE).run().ok();
    project.msb(&["-f", "-", "lock"]).input(ONE).run().exits(64).says("standard input");
    assert!(!path(&project).exists());
    project.msb(&["-f", "-", "up", "-d", "--no-start", "--frozen"]).input(ONE).run().exits(3);
    project.down();
}

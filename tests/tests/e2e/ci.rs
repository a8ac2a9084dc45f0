//! Where nobody watches: what is asked elsewhere needs `--yes`, and what is told is told to machines.

use tests::Project;

const ONE: &str = "project \"ci\"\nsandbox \"web\" { image \"./image\" }\n";

#[test]
fn data_is_destroyed_only_where_that_was_said() {
    let project = Project::new(ONE);
    let image = project.own_image();
    // Nothing is lost by what is made anew.
    project.up();
    project.exec("web", &["sh", "-c", "echo here >/var/log/mark"]);

    std::fs::write(image.join("etc/motd"), "changed\n").expect("the image can be written to");
    let refused = project.run(&["up", "-d"]).exits(1).prints("");
    refused.says("this destroys data").says("the writable disk of web (image changed)").says("--yes");
    assert_eq!(project.exec("web", &["cat", "/var/log/mark"]), "here");
    project.ok(&["up", "-d", "-y"]);
    project.run(&["exec", "web", "--", "test", "-e", "/var/log/mark"]).exits(1);

    // What left the file is lost as well, unless it is kept.
    project.write("Sandboxfile", &ONE.replace("web", "other"));
    project.run(&["up", "-d"]).exits(1).says("the writable disk of web (no longer in the Sandboxfile)");
    assert_eq!(project.exec("web", &["cat", "/etc/motd"]), "changed");
    project.ok(&["up", "-d", "--keep-orphans"]);
    project.ok(&["up", "-d", "--yes"]);
    project.run(&["exec", "web", "--", "true"]).exits(1);
    // Whoever says `down` means it.
    project.down();
}

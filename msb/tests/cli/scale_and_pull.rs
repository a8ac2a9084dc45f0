//! `--scale`, another number of copies for one command, and `pull`, when a registry is asked.

use tests::Project;

const FILE: &str = r#"
project "copies"
sandbox "web" { image "@image"; replicas 2 }
sandbox "db" { image "@image" }
"#;

#[test]
fn copies_are_those_of_the_command_line() {
    let project = Project::without_guest(FILE);
    let names = |arguments: &[&str]| -> Vec<String> {
        let planned = project.ok(&[&["plan", "--json"], arguments].concat()).json();
        let changes = planned["report"]["changes"].as_array().expect("a list").clone();
        changes.iter().map(|change| change["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&[]), ["db", "web-1", "web-2"]);
    assert_eq!(names(&["--scale", "web=3", "--scale", "db=2"]), ["db-1", "db-2", "web-1", "web-2", "web-3"]);
    assert_eq!(names(&["--scale", "web=1"]), ["db", "web"]);
    for (value, says) in [
        ("wbe=2", "did you mean \"web\"?"),
        ("web", "expected NAME=NUMBER"),
        ("web=0", "msb stop web"),
        ("web=many", "\"many\" is not a number"),
    ] {
        project.run(&["plan", "--scale", value]).exits(64).says(says);
    }
}

#[test]
fn registries_are_asked_as_the_sandbox_says() {
    // Nothing listens there.
    let file = "project \"pulls\"\nsandbox \"web\" { image \"127.0.0.1:1/web:1\"; pull \"never\" }\n";
    let project = Project::without_guest(file);
    project.run(&["plan"]).exits(6).says("127.0.0.1:1/web:1").says("`pull` is never");
    project.run(&["plan", "--pull", "missing"]).exits(1).says("127.0.0.1:1").says("refused");
    project.write("Sandboxfile", &file.replace("never", "daily"));
    project.run(&["plan"]).exits(1).says("did you mean `missing`?");
}

//! Every folder in examples/ is a test: both spellings, its session, nothing left.

use tests::{Project, installation, leftovers, session};

/// The name of an example's other spelling.
fn twin(name: &str) -> String {
    format!("{name}.yaml")
}

#[test]
fn both_spellings_of_every_example_give_the_same_plan() {
    for name in installation::examples() {
        let project = Project::example(&name);
        let kdl = project.ok(&["plan", "--json"]);
        let yaml = project.ok(&["-f", &twin(&name), "plan", "--json"]);
        assert_eq!(kdl.out(), yaml.out(), "{name}");
        assert_eq!(
            project.ok(&["config"]).out(),
            project.ok(&["-f", &twin(&name), "config"]).out(),
            "{name}"
        );
        // What `config` prints is a Sandboxfile too.
        for format in ["kdl", "yaml"] {
            let printed = project.ok(&["config", "--format", format]).stdout;
            let folder = Project::new("");
            folder.write("printed", "");
            let file = folder.directory().join(format!("printed.{format}"));
            std::fs::write(&file, printed).expect("the folder can be written to");
            let file = file.to_str().expect("UTF-8");
            let again = project.ok(&["-f", file, "--project-directory", ".", "plan", "--json"]);
            assert_eq!(kdl.out(), again.out(), "{name} as {format}");
        }
    }
}

#[test]
fn every_example_runs_as_it_stands() {
    for name in installation::examples() {
        let project = Project::example(&name);
        project.up();
        let text = std::fs::read_to_string(project.directory().join("session.txt"))
            .expect("an example has a session");
        session::replay(&project, &text);
        // The other spelling is the same project, so there is nothing to do.
        project.ok(&["-f", &twin(&name), "up", "-d", "--wait"]).says("nothing to do");
        project.ok(&["down", "-v"]);
        leftovers::assert_none(project.home());
    }
}

#[test]
fn a_session_is_read_as_it_is_typed() {
    let step = |command: &str, output: &str, code| session::Step {
        command: command.into(),
        output: output.into(),
        code,
    };
    assert_eq!(
        session::parse("$ echo a; false\na\n[exit 1]\n$ true\n"),
        [step("echo a; false", "a\n", 1), step("true", "", 0)]
    );
}

//! Every example is a test: its session passes, and nothing is left.

use tests::{Project, installation, leftovers, session};

/// Defines a test per example and the list of examples.
macro_rules! examples {
    ($($test:ident: $name:literal,)*) => {
        const TESTED: &[&str] = &[$($name),*];
        $(#[test]
        fn $test() {
            check($name);
        })*
    };
}

examples! {
    devserver_passes: "devserver",
    jobs_passes: "jobs",
    layers_passes: "layers",
    one_passes: "one",
    quickstart_passes: "quickstart",
    restart_passes: "restart",
    scripts_passes: "scripts",
    volumes_passes: "volumes",
    webstack_passes: "webstack",
}

#[test]
fn every_example_is_tested() {
    assert_eq!(installation::examples(), TESTED);
}

fn check(name: &str) {
    let project = Project::example(name);
    project.up();
    let text = std::fs::read_to_string(project.directory().join("session.txt")).expect("a session");
    session::replay(&project, &text);
    // The YAML file declares the same project.
    project.ok(&["-f", &format!("{name}.yaml"), "up", "-d", "--wait"]).says("nothing to do");
    project.ok(&["down", "-v", "--yes"]);
    leftovers::assert_none(project.home());
}

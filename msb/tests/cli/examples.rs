//! Every example has the same plan in both spellings and as printed by `msb config`.

use tests::{Project, installation};

#[test]
fn both_spellings_of_every_example_give_the_same_plan() {
    for name in installation::examples() {
        let project = Project::copy_without_guest(&name);
        let yaml = format!("{name}.yaml");
        let plan = project.ok(&["plan", "--json"]);
        project.ok(&["-f", &yaml, "plan", "--json"]).prints(plan.out());
        let config = project.ok(&["config"]);
        project.ok(&["-f", &yaml, "config"]).prints(config.out());
        // What `config` prints is a Sandboxfile.
        for format in ["kdl", "yaml"] {
            let printed = project.ok(&["config", "--format", format]);
            let file = format!("../printed.{format}");
            project.write(&file, printed.out());
            project.ok(&["-f", &file, "--project-directory", ".", "plan", "--json"]).prints(plan.out());
        }
    }
}

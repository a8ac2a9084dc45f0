//! Plan files: applied exactly as saved, or refused.

use tests::Project;

fn sandboxfile(color: &str) -> String {
    format!(
        "project \"kept\"\nsandbox \"web\" {{\n    image \"@image\"\n    env {{ COLOR \"{color}\" }}\n}}\n"
    )
}

fn color(project: &Project) -> String {
    project.exec("web", &["sh", "-c", "echo $COLOR"])
}

#[test]
fn a_plan_file_is_applied_exactly_or_refused_as_stale() {
    let project = Project::new(&sandboxfile("red"));
    let shown = project.ok(&["plan", "-o", "first.json"]).prints_some("+ create");
    // The output is that of a plan without a file.
    project.ok(&["plan"]).prints(shown.out());
    // The saved plan is applied, not the changed Sandboxfile.
    project.write("Sandboxfile", &sandboxfile("blue"));
    project.ok(&["up", "-d", "--plan", "first.json"]).says("+ create");
    assert_eq!(color(&project), "red");

    // It is stale now.
    let processes = project.processes("web");
    let stale = project.run(&["up", "-d", "--plan", "first.json"]).exits(1).prints("");
    stale.says("the plan is stale").says("web is new").says("nothing was changed").says("msb plan -o FILE");
    assert_eq!(project.processes("web"), processes);

    // A change of the sandbox makes a newer plan stale too.
    project.ok(&["plan", "-o", "second.json"]).prints_some("env.COLOR");
    project.write("Sandboxfile", &sandboxfile("green"));
    project.ok(&["up", "-d", "--wait"]);
    let stale = project.run(&["up", "-d", "--plan", "second.json"]).exits(1);
    stale.says("the plan is stale").says("web was changed: env.COLOR");
    assert_eq!(color(&project), "green");

    // Invalid plan files.
    project.shell("sed 's/blue/pink/g' second.json > altered.json").run().ok();
    project.run(&["up", "-d", "--plan", "altered.json"]).exits(1).says("it is not as it was written");
    project.run(&["up", "-d", "--plan", "missing.json"]).exits(1).says("missing.json");
    project.run(&["up", "-d", "--plan", "first.json", "web"]).exits(64);
    project.down();
}

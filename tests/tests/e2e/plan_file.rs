//! A plan that is kept in a file: carried out exactly, once, or not at all.

use tests::Project;

fn sandboxfile(colour: &str) -> String {
    format!(
        "project \"kept\"\nsandbox \"web\" {{\n    image \"@image\"\n    env {{ COLOUR \"{colour}\" }}\n}}\n"
    )
}

fn colour(project: &Project) -> String {
    project.exec("web", &["sh", "-c", "echo $COLOUR"])
}

#[test]
fn a_kept_plan_is_carried_out_exactly_and_refused_once_things_have_changed() {
    let project = Project::new(&sandboxfile("red"));
    let shown = project.ok(&["plan", "-o", "first.json"]).prints_some("+ create");
    // The same plan is shown as without a file.
    project.ok(&["plan"]).prints(shown.out());
    // Whatever the Sandboxfile says by now: this is what was looked at and agreed to.
    project.write("Sandboxfile", &sandboxfile("blue"));
    project.ok(&["up", "-d", "--plan", "first.json"]).says("+ create");
    assert_eq!(colour(&project), "red");

    // It was made when there was no sandbox.
    let processes = project.processes("web");
    let stale = project.run(&["up", "-d", "--plan", "first.json"]).exits(1).prints("");
    stale.says("the plan is stale").says("web is new").says("nothing was changed").says("msb plan -o FILE");
    assert_eq!(project.processes("web"), processes);

    // One that is for what runs now holds until that changes.
    project.ok(&["plan", "-o", "second.json"]).prints_some("env.COLOUR");
    project.write("Sandboxfile", &sandboxfile("green"));
    project.ok(&["up", "-d", "--wait"]);
    let stale = project.run(&["up", "-d", "--plan", "second.json"]).exits(1);
    stale.says("the plan is stale").says("web was changed: env.COLOUR");
    assert_eq!(colour(&project), "green");

    // Altered by hand it is none.
    project.shell("sed 's/blue/pink/g' second.json > altered.json").run().ok();
    project.run(&["up", "-d", "--plan", "altered.json"]).exits(1).says("it is not as it was written");
    project.run(&["up", "-d", "--plan", "missing.json"]).exits(1).says("missing.json");
    project.run(&["up", "-d", "--plan", "first.json", "web"]).exits(64);
    project.down();
}

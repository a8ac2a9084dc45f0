//! Projects whose volumes cannot be mounted as declared.

use tests::{Project, leftovers};

#[test]
fn a_volume_has_one_writer() {
    let project = Project::without_guest(
        r#"
        project "shop"
        volume "data" size="64M"
        sandbox "db" { image "@image"; mount "data" to="/data" }
        sandbox "web" { image "@image"; depends-on "db"; mount "data" to="/data" }
        "#,
    );
    let refused = project.run(&["up", "-d", "--no-start"]).exits(1);
    refused.says("two sandboxes cannot mount one volume yet").says("db mounts data too");
    project.ok(&["down", "-v"]);
    leftovers::assert_none(project.home());
}

//! Volumes: what is created, listed and removed, and what cannot be mounted as declared.

use serde_json::{Value, json};
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
    refused.says("two sandboxes cannot mount one disk").says("db mounts data too");
    project.ok(&["down", "-v", "--yes"]);
    leftovers::assert_none(project.home());
}

#[test]
fn sandboxes_share_a_directory_and_its_limit_changes() {
    let sandboxes = "sandbox \"a\" { image \"@image\"; mount \"cache\" to=\"/cache\" }\n\
                     sandbox \"b\" { image \"@image\"; mount \"cache\" to=\"/cache\" readonly=#true }\n";
    let text = |volume: &str| format!("project \"shop\"\nvolume \"cache\" {volume}\n{sandboxes}");
    let project = Project::without_guest(&text(""));
    let planned = project.ok(&["plan"]);
    planned.prints_some("create  volume cache  not there yet, directory");
    project.ok(&["up", "-d", "--no-start"]);
    project.ok(&["volume", "ls"]).prints_some("cache  directory  -     -     shop-a, shop-b");
    project.write("Sandboxfile", &text("kind=\"directory\" size=\"1G\""));
    project.ok(&["plan"]).prints_some("resize  volume cache  from no limit to at most 1G");
    project.ok(&["up", "-d", "--no-start"]);
    let inspected = project.ok(&["volume", "inspect", "cache", "--json"]).json();
    assert_eq!((&inspected["kind"], &inspected["size_mib"]), (&"directory".into(), &1024.into()));
    let directory = inspected["path"].as_str().expect("a path").to_owned();
    std::fs::write(format!("{directory}/kept"), "contents").expect("a directory of this user");

    // Its contents would be lost.
    project.write("Sandboxfile", &text("kind=\"disk\" size=\"1G\""));
    let refused = project.run(&["up", "-d", "--no-start"]).exits(1);
    refused.says("cache is a directory, and its contents would be lost if it became a disk");
    assert!(std::path::Path::new(&directory).join("kept").exists());
    project.ok(&["down", "-v", "--yes"]);
    leftovers::assert_none(project.home());
}

#[test]
fn a_directory_has_several_writers_only_if_it_is_shared() {
    let sandboxes = "sandbox \"a\" { image \"@image\"; mount \"cache\" to=\"/cache\" }\n\
                     sandbox \"b\" { image \"@image\"; replicas 2; mount \"cache\" to=\"/cache\" }\n";
    let text = |volume: &str| format!("project \"shop\"\nvolume \"cache\" {volume}\n{sandboxes}");
    let project = Project::without_guest(&text(""));
    let refused = project.run(&["plan"]).exits(1);
    refused
        .says("several sandboxes can write to the volume `cache`: a, b (2 replicas)")
        .says("declare it as `volume \"cache\" shared=#true`");
    project.write("Sandboxfile", &text("shared=#true"));
    project.ok(&["plan"]).prints_some("create  volume cache  not there yet, directory");
    project.ok(&["up", "-d", "--no-start"]);
    project
        .ok(&["volume", "ls"])
        .prints_some("cache  directory, shared  -     -     shop-a, shop-b-1, shop-b-2");
    project.ok(&["volume", "inspect", "cache"]).prints_some("kind        directory, shared");
    project.ok(&["config"]).prints_some("volume \"cache\" shared=#true");
    project.ok(&["config", "--format", "yaml"]).prints_some("cache: { shared: true }");
    let one = "project \"shop\"\nvolume \"cache\"\nsandbox \"a\" { image \"@image\"; mount \"cache\" to=\"/cache\" }\n";
    project.write("Sandboxfile", one);
    project.ok(&["plan"]).prints_some("change  volume cache  no longer shared");
    // There is no terminal to ask on.
    let refused = project.run(&["down", "-v"]).exits(1);
    refused.says("this destroys data").says("the volume cache").says("--yes removes them");
    project.ok(&["down"]).says("the volume cache is kept");
    project.run(&["down", "--volumes"]).exits(1).says("nothing was changed");
    project.ok(&["down", "-v", "-y"]).says("removed 1 volume");
    // Nothing is lost.
    project.ok(&["down", "-v"]);
    leftovers::assert_none(project.home());
}

#[test]
fn a_volume_of_no_project_is_created_mounted_and_removed_by_its_name() {
    let project = Project::without_guest(
        r#"
        project "shop"
        volume "data" external=#true
        volume "pool" external="common-pool"
        sandbox "db" { image "@image"; mount "data" to="/data"; mount "pool" to="/pool" }
        "#,
    );
    project.run(&["plan"]).says("mounts the volume common-pool").says("mounts the volume data");
    project.ok(&["trust", "--yes"]);
    let blocked = project.run(&["up", "-d", "--no-start"]).exits(1);
    blocked.says("there is no volume data: `msb volume create data` creates it");
    let create = |arguments: &[&str]| project.run(&[&["volume", "create"][..], arguments].concat());
    create(&["data", "--size", "64M"]).exits(0).prints("data: created\n");
    create(&["data", "--kind", "disk", "--size", "64M"]).exits(0).prints("data: exists already\n");
    create(&["data"]).exits(7).says("the volume data exists already: 64M");
    create(&["disk", "--kind", "disk", "--shared"]).exits(64).says("a disk cannot be shared");
    create(&["disk", "--size", "1M"]).exits(64).says("give whole MiB from 32M to 4096G");
    create(&["Disk"]).exits(64).says("is not the name of a volume");
    create(&["common-pool", "--shared"]).exits(0);
    project.ok(&["up", "-d", "--no-start"]);
    let listed = project.ok(&["volume", "ls"]);
    listed.prints_some("common-pool  directory, shared  -     -         shop-db");
    let inspected = project.ok(&["volume", "inspect", "data", "--json"]).json();
    assert_eq!((&inspected["project"], &inspected["mounted_by"]), (&Value::Null, &json!(["shop-db"])));
    project.ok(&["volume", "inspect", "common-pool"]).prints_some("project     none");
    project.ok(&["config"]).prints_some("volume \"pool\" external=\"common-pool\"");
    project.ok(&["config", "--format", "yaml"]).prints_some("data: { external: true }");
    let refused = project.run(&["volume", "rm", "--yes", "data"]).exits(1);
    refused.says("the volume data is mounted by shop-db of another project").says("msb rm shop-db");
    project.ok(&["volume", "prune", "--yes"]).prints("");
    // It is not the project's to remove.
    project.ok(&["down", "-v"]);
    project.ok(&["volume", "ls", "--all"]).prints_some("common-pool").prints_some("data");
    project.ok(&["volume", "rm", "--yes", "data", "common-pool"]);
    leftovers::assert_none(project.home());
}

#[test]
fn volumes_are_listed_and_removed_by_name() {
    let project = Project::without_guest(
        r#"
        project "shop"
        volume "data" size="64M"
        volume "cache"
        sandbox "db" { image "@image"; mount "data" to="/data"; mount "cache" to="/cache" }
        "#,
    );
    project.ok(&["up", "-d", "--no-start"]);
    let listed = project.ok(&["volume", "ls", "--json"]).json();
    let volumes = listed["volumes"].as_array().expect("a list");
    let kinds: Vec<_> = volumes.iter().map(|volume| (&volume["name"], &volume["kind"])).collect();
    assert_eq!(kinds, [(&"cache".into(), &"directory".into()), (&"data".into(), &"disk".into())]);
    assert_eq!(volumes[1]["mounted_by"], json!(["shop-db"]));
    assert_eq!(volumes[1]["running"], json!([]));
    project.ok(&["volume", "inspect", "shop-data"]).prints_some("size        64M").prints_some("shop-db");
    project.run(&["volume", "inspect", "dat"]).exits(6).says("there is no volume").says("did you mean data?");
    let refused = project.run(&["volume", "rm", "--yes", "data"]).exits(8);
    refused.says("the volume data is mounted by db").says("msb rm db");
    project.ok(&["volume", "prune", "--yes"]).prints("");
    project.ok(&["rm", "db"]);
    // There is no terminal to ask on.
    project.run(&["volume", "rm", "data"]).exits(1).says("nothing was changed").says("--yes");
    project.ok(&["volume", "rm", "--yes", "data"]).prints("data: removed\n");
    project.ok(&["volume", "prune", "--yes"]).prints("cache: removed\n");
    project.ok(&["volume", "ls"]).prints("NAME  KIND  SIZE  USED  MOUNTED BY\n");
    leftovers::assert_none(project.home());
}

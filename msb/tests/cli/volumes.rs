//! Volumes: what is created, listed and removed, and what cannot be mounted as declared.

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
    project.ok(&["down", "-v"]);
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
    project.ok(&["down", "-v"]);
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
    project.ok(&["down", "-v"]);
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
    assert_eq!(volumes[1]["mounted_by"], serde_json::json!(["shop-db"]));
    assert_eq!(volumes[1]["running"], serde_json::json!([]));
    project.ok(&["volume", "inspect", "shop-data"]).prints_some("size        64M").prints_some("shop-db");
    project.run(&["volume", "inspect", "dat"]).exits(1).says("there is no volume").says("did you mean data?");
    let refused = project.run(&["volume", "rm", "--yes", "data"]).exits(1);
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

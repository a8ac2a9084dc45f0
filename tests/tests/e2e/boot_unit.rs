//! Projects that start with the host, and those that do not.

use std::fs;
use std::process::Command;
use tests::Project;

const SANDBOXFILE: &str = r#"
project "boots"
sandbox "db" { image "@image"; start "sleep" "1000000" }
sandbox "web" { image "@image"; start "sleep" "1000000"; depends-on "db" }
"#;

/// Returns the value of a line of a unit.
fn value<'a>(unit: &'a str, name: &str) -> &'a str {
    unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).expect("a line of the unit")
}

#[test]
fn a_unit_brings_the_project_up_and_stops_it_in_order() {
    let project = Project::new(SANDBOXFILE);
    let units = project.directory().join("units");
    let variable = units.to_str().expect("UTF-8").to_owned();
    let up = project.msb(&["up", "-d", "--wait", "--on-boot"]).env("MSB_UNIT_DIR", &variable).run().ok();
    up.says("msb-boots.service starts it at boot");
    let path = units.join("msb-boots.service");
    let unit = fs::read_to_string(&path).expect("a unit");
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output();
    if let Ok(verified) = verified {
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success() && !said.contains("msb-boots"), "{said}");
    }
    // Without a variable and from another folder, as systemd does.
    let run = |name: &str| {
        let settings = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
        let line = format!("env -i {} {}", settings.collect::<Vec<_>>().join(" "), value(&unit, name));
        let run =
            Command::new("sh").args(["-c", &line]).current_dir(value(&unit, "WorkingDirectory")).output();
        let run = run.expect("a shell");
        assert!(run.status.success(), "{line}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8_lossy(&run.stdout).into_owned()
    };
    let stopped = run("ExecStop");
    assert_eq!(stopped, "db: stopped\nweb: stopped\n");
    assert!(project.list().iter().all(|sandbox| sandbox["state"] == "stopped"));
    let events = project.ok(&["events"]).out().to_owned();
    let of = |name: &str| {
        let line = |line: &str| line.starts_with(name) && line.ends_with(" stopped");
        events.lines().position(line).unwrap_or_else(|| panic!("{name} is not in {events}"))
    };
    assert!(of("web") < of("db"), "the dependent stops first: {events}");
    run("ExecStart");
    assert_eq!(project.exec("web", &["hostname"]), "web");
    let down = project.msb(&["down"]).env("MSB_UNIT_DIR", &variable).run().ok();
    down.says("it does not start at boot any more");
    assert!(!path.exists());
}

/// The recorded boot of the host is changed, as if all of this had been before it.
#[test]
fn after_a_reboot_of_the_host_up_restores_the_project() {
    let project = Project::new(SANDBOXFILE);
    project.up();
    let (db, web) = (project.processes("db"), project.processes("web"));
    for processes in [db, web] {
        processes.supervisor.kill();
        processes.vmm.wait_for_end();
    }
    project.ok(&["ps"]).prints_some("lost");
    for folder in fs::read_dir(project.home().join("sandboxes")).expect("sandboxes").flatten() {
        let path = folder.path().join("state.json");
        let mut state: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).expect("a state")).expect("JSON");
        state["supervisor"]["boot"] = 1.into();
        fs::write(&path, state.to_string()).expect("a file of this user");
    }
    let rows = project.list();
    assert!(rows.iter().all(|row| row["state"] == "host_rebooted"), "{rows:?}");
    project.ok(&["ps"]).prints_some("stopped (the host was rebooted)");
    project.run(&["plan", "--detailed-exitcode"]).exits(2).prints_some("was stopped by a reboot of the host");
    project.up();
    assert_eq!(project.exec("web", &["hostname"]), "web");
    project.down();
}

//! The relay as clients of other makes see it: a raw one in Python, 128 at once, one that does not read.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tests::{Project, python};

const SANDBOXFILE: &str = "sandbox \"box\" { image \"@image\"; memory \"512M\" }\n";

/// How many commands each of the many clients runs, for each of three figures.
const ROUNDS_VARIABLE: &str = "E2E_RELAY_ROUNDS";

fn socket(project: &Project) -> String {
    let document = project.ok(&["inspect", "--json", "box"]).json();
    document["sandboxes"][0]["agent_socket"].as_str().expect("a path").to_owned()
}

#[test]
fn a_raw_client_in_python_runs_commands_and_moves_files() {
    let project = Project::new(SANDBOXFILE);
    project.up();
    python::run(project.home(), "tour.py", &[&socket(&project)]).ok().prints(
        "ids 33554431\nexited 7\noutput b'one\\ntwo\\n'\nstreamed True\ncat 0 True\nfile True\nstat 600 2097152\n\
         env ['b', '/tmp', '1000']\nrefused\n",
    );
    strangers(&project);
    project.down();
}

/// Another user does not get to the socket; and if it did, it would be told nothing. Takes root to try.
fn strangers(project: &Project) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let socket = socket(project);
    let stranger = || python::run(project.home(), "stranger.py", &[&socket, "65534"]).ok();
    stranger().prints("kept out\n");
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("a mode can be set");
    };
    let scratch = project.home().parent().expect("a home lies in a folder");
    Path::new(&socket).ancestors().take_while(|path| path.starts_with(scratch)).for_each(open);
    stranger().prints("told b''\n");
}

#[test]
fn many_clients_at_once_keep_out_of_each_others_way() {
    let project = Project::new(SANDBOXFILE);
    project.up();
    let rounds = std::env::var(ROUNDS_VARIABLE).unwrap_or_else(|_| "2".to_owned());
    let run = python::run(project.home(), "many.py", &[&socket(&project), &rounds]).ok();
    // For whoever wants the figures; no test depends on them.
    eprintln!("{}", run.out().trim());
    let found = run.json();
    assert_eq!(found["clients"], 128);
    let refused = found["refused"].as_str().unwrap_or_default();
    assert!(refused.contains("core.error") && refused.contains("all 128 places"), "{refused}");
    project.down();
}

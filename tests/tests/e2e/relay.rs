//! The relay's protocol as other clients use it: a client in Python, another user, 128 clients at once.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tests::{Project, python};

/// The number of commands that each of the many clients runs, for each of three figures.
const ROUNDS_VARIABLE: &str = "E2E_RELAY_ROUNDS";

#[test]
fn clients_of_other_languages_use_the_relay() {
    let project = Project::new("sandbox \"box\" { image \"@image\"; memory \"512M\" }\n");
    project.up();
    let sandbox = project.inspect("box");
    let socket = sandbox["agent_socket"].as_str().expect("a path");
    tour(&project, socket);
    many_clients(&project, socket);
    other_users(&project, socket);
    project.down();
}

/// Runs commands and moves files.
fn tour(project: &Project, socket: &str) {
    python::run(project.home(), "tour.py", &[socket]).ok().prints(
        "ids 33554431\nexited 7\noutput b'one\\ntwo\\n'\nstreamed True\ncat 0 True\nfile True\nstat 600 2097152\n\
         env ['b', '/tmp', '1000']\nrefused\nbusy True\nheld True\nasks 0\nbusy True\nheld True\nis gone 0\n\
         tcp [('core.tcp.connected', None), ('core.tcp.data', b'HELLO FROM THE HOST\\n'), ('core.tcp.eof', None), \
         ('core.tcp.closed', None)]\nrefused [('core.tcp.failed', 'cannot connect (ECONNREFUSED)')]\n\
         touch core.touched True True\ntagged core.fs.response True file 5\n",
    );
}

/// 128 clients work at the same time, and one more is refused.
fn many_clients(project: &Project, socket: &str) {
    let rounds = std::env::var(ROUNDS_VARIABLE).unwrap_or_else(|_| "2".to_owned());
    let run = python::run(project.home(), "many.py", &[socket, &rounds]).ok();
    // Figures to read; no assertion depends on them.
    eprintln!("{}", run.out().trim());
    let found = run.json();
    assert_eq!(found["clients"], 128);
    let refused = found["refused"].as_str().unwrap_or_default();
    assert!(refused.contains("core.error") && refused.contains("all 128 places"), "{refused}");
}

/// Other users cannot reach the socket, and get no answer where file modes let them. Only root can try.
fn other_users(project: &Project, socket: &str) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let stranger = || python::run(project.home(), "stranger.py", &[socket, "65534"]).ok();
    stranger().prints("kept out\n");
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("a file of this user");
    };
    let scratch = project.home().parent().expect("a home in a scratch directory");
    Path::new(socket).ancestors().take_while(|path| path.starts_with(scratch)).for_each(open);
    stranger().prints("told b''\n");
}

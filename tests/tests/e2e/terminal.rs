//! Terminals and signals of `msb exec`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use tests::process::{self, Signal};
use tests::{Project, python};

#[test]
fn a_terminal_and_signals_reach_the_command() {
    let project = Project::new("sandbox \"box\" { image \"@image\" }\n");
    project.up();
    let folder = project.directory().to_str().expect("UTF-8");
    python::run(project.home(), "terminal.py", &[folder, "box"]).ok().prints("exited 7\n");
    signals(&project);
    closed_terminal(&project);
    project.down();
}

/// Starts a command that prints `ready`. Returns its msb and the rest of its output.
pub fn listening(project: &Project, script: &str) -> (Child, BufReader<impl Read>) {
    let mut command = project.msb(&["exec", "box", "--", "sh", "-c", script]).into_command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("msb can be run");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("text");
    assert_eq!(line, "ready\n");
    (child, stdout)
}

/// Sends a signal to an msb.
pub fn send(child: &Child, signal: Signal) {
    process::signal(child.id().cast_signed(), signal);
}

/// A closed terminal ends a command that ignores SIGHUP too.
fn closed_terminal(project: &Project) {
    let folder = project.directory().to_str().expect("UTF-8");
    python::run(project.home(), "terminal_closed.py", &[folder, "box"]).ok().prints("exited 129\n");
    let wait = "while grep -qs '100000[1]' /proc/[0-9]*/cmdline; do sleep 0.1; done";
    project.ok(&["exec", "--timeout", "60s", "box", "--", "sh", "-c", wait]);
}

fn signals(project: &Project) {
    let wait = "echo ready; while :; do sleep 0.1; done";
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
    ] {
        let script = format!("trap 'echo heard {name}; exit 9' {name}; {wait}");
        let (mut child, mut stdout) = listening(project, &script);
        send(&child, signal);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).expect("text");
        assert_eq!(rest, format!("heard {name}\n"));
        assert_eq!(child.wait().expect("it can be waited for").code(), Some(9));
    }
    // A second Ctrl-C kills a command that ignores the first.
    let script = format!("trap 'echo no' INT; {wait}");
    let (mut child, mut stdout) = listening(project, &script);
    send(&child, Signal::INT);
    let mut line = String::new();
    stdout.read_line(&mut line).expect("text");
    assert_eq!(line, "no\n");
    send(&child, Signal::INT);
    assert_eq!(child.wait().expect("it can be waited for").code(), Some(128 + 9));
}

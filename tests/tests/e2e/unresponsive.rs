//! A guest that does not answer: commands end after a timeout.

use crate::terminal::{listening, send};
use std::io::Read;
use tests::Project;
use tests::process::{self, Signal};

/// Stops or continues the sandbox's VM.
fn signal_vmm(project: &Project, signal: Signal) {
    process::signal(project.processes("box").vmm.pid, signal);
}

#[test]
fn commands_do_not_wait_for_a_guest_that_does_not_answer() {
    let project = Project::new("sandbox \"box\" { image \"@image\" }\n");
    project.up();
    connections(&project);
    signals(&project);
    // A guest that answers is waited for, even if its command takes long to end.
    let script = "trap 'sleep 6; echo over; exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    let (mut child, mut stdout) = listening(&project, script);
    send(&child, Signal::TERM);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    assert_eq!((rest.as_str(), child.wait().expect("it can be waited for").code()), ("over\n", Some(9)));
    project.down();
}

/// Commands fail after a timeout. They run at the same time, so that the timeouts overlap.
fn connections(project: &Project) {
    signal_vmm(project, Signal::STOP);
    let start = |arguments: &[&str]| project.msb(arguments).start();
    let limited = start(&["exec", "--timeout", "1s", "box", "--", "true"]);
    let commands = [
        start(&["exec", "box", "--", "true"]),
        start(&["exec", "-d", "box", "--", "true"]),
        start(&["cp", "Sandboxfile", "box:/tmp/"]),
        start(&["cp", "box:/etc/passwd", "."]),
    ];
    limited.finish().exits(124);
    for command in commands {
        command.finish().exits(11).says("box did not answer within 10 s").says("msb restart box");
    }
    signal_vmm(project, Signal::CONT);
    assert_eq!(project.exec("box", &["echo", "again"]), "again");
}

/// A signal that the guest does not answer ends `exec`.
fn signals(project: &Project) {
    let signals = [Signal::TERM, Signal::INT, Signal::USR1];
    let running = signals.map(|signal| (signal, listening(project, "echo ready; exec sleep 1000000")));
    signal_vmm(project, Signal::STOP);
    running.iter().for_each(|(signal, (child, _))| send(child, *signal));
    for (signal, (mut child, _stdout)) in running {
        let status = child.wait().expect("it can be waited for");
        assert_eq!(status.code(), Some(128 + signal.as_raw()));
    }
    signal_vmm(project, Signal::CONT);
}

//! A guest that does not answer: nothing waits for it for ever.

use crate::terminal::{listening, send};
use rustix::process::{Pid, Signal, kill_process};
use tests::Project;

const SANDBOXFILE: &str = "sandbox \"box\" { image \"@image\" }\n";

/// Stops the sandbox's machine, or lets it go on.
fn machine(project: &Project, signal: Signal) {
    let vmm = Pid::from_raw(project.processes("box").vmm.pid).expect("a pid is not 0");
    kill_process(vmm, signal).expect("it runs");
}

#[test]
fn exec_and_cp_say_that_the_guest_does_not_answer() {
    let project = Project::new(SANDBOXFILE);
    project.up();
    machine(&project, Signal::STOP);
    for command in [
        &["exec", "box", "--", "true"][..],
        &["exec", "-d", "box", "--", "true"],
        &["cp", "Sandboxfile", "box:/tmp/"],
        &["cp", "box:/etc/passwd", "."],
    ] {
        project.run(command).exits(1).says("box did not answer within 10 s").says("msb restart box");
    }
    project.run(&["exec", "--timeout", "1s", "box", "--", "true"]).exits(124);
    machine(&project, Signal::CONT);
    assert_eq!(project.exec("box", &["echo", "again"]), "again");
    project.down();
}

#[test]
fn a_signal_that_the_guest_does_not_answer_ends_exec() {
    let project = Project::new(SANDBOXFILE);
    project.up();
    for signal in [Signal::TERM, Signal::INT, Signal::USR1] {
        let (mut child, _stdout) = listening(&project, "echo ready; exec sleep 1000000");
        machine(&project, Signal::STOP);
        send(&child, signal);
        let status = child.wait().expect("it can be waited for");
        assert_eq!(status.code(), Some(128 + signal.as_raw()));
        machine(&project, Signal::CONT);
    }
    // The guest has answered; the command may take longer for its end.
    let script = "trap 'sleep 8; echo over; exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    let (mut child, mut stdout) = listening(&project, script);
    send(&child, Signal::TERM);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut rest).expect("text");
    assert_eq!((rest.as_str(), child.wait().expect("it can be waited for").code()), ("over\n", Some(9)));
    project.down();
}

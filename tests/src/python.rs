//! The Python clients in `tests/python`.

use crate::installation;
use crate::run::{Msb, Run};
use std::path::Path;
use std::process::{Command, Stdio};

/// The system's interpreter is needed if another one is first on the search path and has no cbor2.
const INTERPRETERS: [&str; 2] = ["python3", "/usr/bin/python3"];

/// Runs a script to its end.
pub fn run(home: &Path, script: &str, arguments: &[&str]) -> Run {
    let interpreter = INTERPRETERS.into_iter().find(|interpreter| {
        let mut command = Command::new(interpreter);
        command.args(["-c", "import cbor2"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    });
    let interpreter = interpreter.expect("a Python with cbor2: .ci/packages python3-cbor2");
    let script = installation::root().join("tests/python").join(script);
    let words = [script.to_str().expect("UTF-8")].into_iter().chain(arguments.iter().copied());
    let quoted: Vec<_> = words.map(|word| format!("'{word}'")).collect();
    let line = format!("exec {interpreter} -B {}", quoted.join(" "));
    Msb::shell(home, home, &line).run()
}

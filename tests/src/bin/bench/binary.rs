//! The program itself: its size, the time it takes to start, and what both are worth for a command in a sandbox.
//!
//! Measured for the binary under test and, if `make dist-build` has built it, for the one that is installed.

use crate::figure::{Figure, Samples};
use crate::large::Row;
use crate::{ONE_SANDBOX, Result, repeated};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::{Msb, Project, installation};

/// Runs of each command: one run of 5 ms says nothing.
const RUNS: usize = 50;
/// The folder of the binary that is installed, beside that of the binary under test.
const DIST: &str = "dist";

/// Measures each binary.
pub fn measure() -> Result<(Vec<Figure>, Vec<Row>)> {
    let (mut figures, mut rows) = (Vec::new(), Vec::new());
    for binary in binaries() {
        let profile =
            binary.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let mib = std::fs::metadata(&binary)?.len() as f64 / f64::from(1 << 20);
        rows.push(Row::new(format!("size of msb, profile {profile}"), mib, "MiB", f64::INFINITY));
        let version = || {
            let mut command = Command::new(&binary);
            command.arg("--version");
            command
        };
        figures.push(figure("start", format!("msb --version, profile {profile}"), version)?);
        figures.push(exec(&binary, &profile)?);
    }
    Ok((figures, rows))
}

fn binaries() -> Vec<PathBuf> {
    let tested = installation::program();
    let installed = tested.parent().map(|folder| folder.with_file_name(DIST).join("msb"));
    let installed = installed.filter(|path| path.is_file() && *path != tested);
    [Some(tested), installed].into_iter().flatten().collect()
}

/// Measures the round trip of a command in a running sandbox, whose supervisor is of the same binary.
fn exec(binary: &Path, profile: &str) -> Result<Figure> {
    let project = Project::new(ONE_SANDBOX);
    let msb =
        |arguments: &[&str]| Msb::of(binary, project.home(), project.directory(), arguments).with_guest();
    msb(&["up", "-d", "--wait"]).run().ok();
    let exec = || msb(&["exec", "one", "--", "true"]).into_command();
    let figure = figure("exec", format!("msb exec one -- true, profile {profile}"), exec)?;
    msb(&["down"]).run().ok();
    Ok(figure)
}

fn figure(name: &'static str, what: String, command: impl Fn() -> Command) -> Result<Figure> {
    eprintln!("bench: {what}");
    let reference: Samples = repeated("true", RUNS, || Command::new("true"))?;
    let measured = repeated(name, RUNS, command)?;
    Ok(Figure { name, what: what.into(), measured, beside: "a bare process", reference, limit: None })
}

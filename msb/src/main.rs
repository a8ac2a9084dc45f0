//! `msb`: microVM sandboxes, declared in a file.

use std::process::ExitCode;

fn main() -> ExitCode {
    msb::run()
}

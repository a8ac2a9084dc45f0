//! `msb schema`.

use crate::output::print;
use sandboxfile::json_schema;
use std::process::ExitCode;

/// Prints the JSON Schema of a Sandboxfile in YAML.
pub fn run() -> ExitCode {
    print(&json_schema());
    ExitCode::SUCCESS
}

//! `msb schema`.

use crate::output::print;
use sandboxfile::JSON_SCHEMA;
use std::process::ExitCode;

/// Prints the JSON Schema of a Sandboxfile in YAML.
pub fn run() -> ExitCode {
    print(JSON_SCHEMA);
    ExitCode::SUCCESS
}

//! Errors and warnings about a Sandboxfile, and the report of them.

mod code;
mod context;
mod diagnostic;
mod report;

pub use code::Code;
pub(crate) use context::{Context, VariableUse, shorten, shorten_message};
pub use diagnostic::{Diagnostic, Label, Severity};
pub use report::{DIAGNOSTICS_MAX, Located, Report, SourceRange};

//! Data as text for a person. Pure: values in, text out.

pub mod diagnostics;
pub mod plan;
pub mod table;

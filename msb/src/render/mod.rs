//! Data as text for a person, or in the format of a program that shows it to one. Pure: values in, text out.

pub mod diagnostics;
pub mod findings;
pub mod github;
pub mod gitlab;
pub mod graph;
pub mod junit;
pub mod plan;
pub mod summary;
pub mod table;

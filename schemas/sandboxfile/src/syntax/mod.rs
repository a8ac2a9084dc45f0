//! Source texts and their two spellings: bytes in, items with places out.

mod indexed;
pub(crate) mod kdl;
mod named;
mod problem;
mod sources;
mod span;
mod tree;
pub(crate) mod yaml;

pub(crate) use indexed::Indexed;
pub use named::{WrittenName, written_name};
pub(crate) use problem::{Document, Problem};
pub(crate) use sources::Sources;
pub use span::{Span, Spanned};
pub(crate) use tree::{Argument, Item, Scalar, Text, Value};
pub use tree::{MergeTag, ScalarKind};

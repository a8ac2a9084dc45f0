//! What is wrong with a source text.

use super::Span;

/// Something that is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem<K> {
    /// What is wrong.
    pub kind: K,
    /// The place in the text.
    pub span: Span,
}

//! What could be read of a source text, and what is wrong with it.

use super::{Item, Span};

/// What could be read of a text.
pub(crate) struct Document<'t, K> {
    /// The nodes, or the entries of the map.
    pub items: Vec<Item<'t>>,
    /// What is wrong, in the order of the text.
    pub problems: Vec<Problem<K>>,
}

/// Something that is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem<K> {
    /// What is wrong.
    pub kind: K,
    /// The place in the text.
    pub span: Span,
}

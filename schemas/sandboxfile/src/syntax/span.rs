//! Spans of a source text.

/// A range of bytes in the source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first byte, inclusive.
    pub start: usize,
    /// The end, exclusive.
    pub end: usize,
}

impl Span {
    /// Returns the range from `start` up to, not including, `end`; empty if `end` is before `start`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// Returns the smallest range that contains both.
    pub fn join(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// Returns the range moved by `offset` bytes.
    pub(crate) fn moved_by(self, offset: usize) -> Self {
        Self { start: self.start + offset, end: self.end + offset }
    }

    /// Moves both ends to character boundaries inside `text`, so that slicing cannot fail.
    pub fn clamp_to(self, text: &str) -> Self {
        let floor = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        Self::new(floor(self.start), floor(self.end))
    }
}

impl From<Span> for miette::SourceSpan {
    fn from(span: Span) -> Self {
        (span.start, span.end - span.start).into()
    }
}

/// A value and its place in the source text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its span.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Returns a value with its span.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

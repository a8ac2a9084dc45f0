//! A text with an index, which finds the line and the column of an offset without reading the text before it.

use super::Span;
use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use std::ops::Range;
use std::sync::OnceLock;

/// The distance of the offsets with a recorded number of characters, in bytes.
const CHUNK_BYTES: usize = 1024;
/// The longest line that a message shows whole, in bytes.
const LINE_BYTES_MAX: usize = 2_000;
/// The context that a message shows of a longer line before and after the span, in bytes.
const AROUND_BYTES: usize = 200;
/// The longest part of a text that a message shows, in bytes.
const SHOWN_BYTES_MAX: usize = 64 * 1024;

/// A named text; its index is built by the first search.
#[derive(Clone, Debug)]
pub(crate) struct Indexed {
    /// The name of the file, as messages show it.
    pub name: String,
    /// The whole text.
    pub text: String,
    index: OnceLock<Index>,
}

#[derive(Clone, Debug)]
struct Index {
    /// The first byte of each line.
    lines: Vec<usize>,
    /// The number of characters before each chunk.
    characters: Vec<usize>,
}

impl PartialEq for Indexed {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, text, index: _ } = self;
        (name, text) == (&other.name, &other.text)
    }
}

impl Eq for Indexed {}

fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

impl Indexed {
    pub fn new(name: String, text: String) -> Self {
        Self { name, text, index: OnceLock::new() }
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let bytes = self.text.as_bytes();
            let breaks = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            let lines = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
            let counts = bytes.chunks(CHUNK_BYTES).scan(0, |before, chunk| {
                let count = *before;
                *before += characters(chunk);
                Some(count)
            });
            Index { lines, characters: counts.collect() }
        })
    }

    /// Returns the index of the line that a byte is in.
    fn line_at(&self, at: usize) -> usize {
        self.index().lines.partition_point(|begin| *begin <= at).saturating_sub(1)
    }

    /// Returns where a line begins; the end of the text for a line after the last one.
    fn line_start(&self, line: usize) -> usize {
        self.index().lines.get(line).copied().unwrap_or(self.text.len())
    }

    /// Returns the number of characters before a byte.
    fn characters_before(&self, at: usize) -> usize {
        let chunk = at / CHUNK_BYTES;
        let begin = (chunk * CHUNK_BYTES).min(at);
        let counted = self.index().characters.get(chunk).copied();
        match counted {
            Some(counted) => counted + characters(&self.text.as_bytes()[begin..at]),
            // The end of a text that ends with a chunk.
            None => characters(self.text.as_bytes()),
        }
    }

    /// Returns the line and the column of a byte, both from 1; the column counts characters.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let at = Span::new(at, at).clamp_to(&self.text).start;
        let line = self.line_at(at);
        (line + 1, self.characters_before(at) - self.characters_before(self.line_start(line)) + 1)
    }

    /// Returns the part of the text that a message shows of a span: whole lines, unless they are very long.
    fn window(&self, span: Span, lines_before: usize, lines_after: usize) -> Range<usize> {
        let is_short = |line: usize| self.line_start(line + 1) - self.line_start(line) <= LINE_BYTES_MAX;
        let (first, last) = (self.line_at(span.start), self.line_at(span.end));
        // One more than is shown: of an empty span the plain reader looks at the byte before it.
        let above = (first.saturating_sub(lines_before + 1)..=first).rev();
        let start = match above.take_while(|line| is_short(*line)).last() {
            Some(line) => self.line_start(line),
            None => self.line_start(first).max(span.start.saturating_sub(AROUND_BYTES)),
        };
        // One more than is shown, so that the last one is seen to end.
        let below = last..=last + lines_after + 1;
        let end = match below.take_while(|line| is_short(*line)).last() {
            Some(line) => self.line_start(line + 1),
            None => self.line_start(last + 1).min(span.end + AROUND_BYTES),
        };
        let Span { start, end } = Span::new(start, end).clamp_to(&self.text);
        start..end
    }
}

impl SourceCode for Indexed {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let wanted = Span::new(span.offset(), span.offset().saturating_add(span.len()));
        if wanted.end > self.text.len() || wanted.end - wanted.start > SHOWN_BYTES_MAX {
            return Err(MietteError::OutOfBounds);
        }
        let window = self.window(wanted, lines_before, lines_after);
        let line = self.line_at(window.start);
        let cut = window.start - self.line_start(line);
        let inside = SourceSpan::from((wanted.start.saturating_sub(window.start), span.len()));
        let found = self.text[window.clone()].read_span(&inside, lines_before, lines_after)?;
        let begin = found.span().offset();
        let column =
            if found.line() == 0 && lines_before == 0 { found.column() + cut } else { found.column() };
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            &self.text.as_bytes()[window.start + begin..window.start + begin + found.data().len()],
            (window.start + begin, found.span().len()).into(),
            line + found.line(),
            column,
            line + found.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_of_a_huge_line_count_characters() {
        let indexed = Indexed::new("a".to_owned(), format!("ä\n{}xü", "é".repeat(3 * CHUNK_BYTES)));
        let length = indexed.text.len();
        assert_eq!(indexed.position(0), (1, 1));
        assert_eq!(indexed.position(3), (2, 1));
        assert_eq!(indexed.position(3 + 2 * CHUNK_BYTES), (2, CHUNK_BYTES + 1));
        assert_eq!(indexed.position(length), (2, 3 * CHUNK_BYTES + 3));
        assert_eq!(indexed.position(length + 9), (2, 3 * CHUNK_BYTES + 3));
        let whole = Indexed::new("a".to_owned(), "x".repeat(CHUNK_BYTES));
        assert_eq!(whole.position(CHUNK_BYTES), (1, CHUNK_BYTES + 1));
    }

    #[test]
    fn a_huge_line_is_shown_in_part() {
        let indexed = Indexed::new("a".to_owned(), format!("{}{}", "é\n".repeat(3), "é".repeat(100_000)));
        let at = 9 + 50_000;
        let shown = indexed.read_span(&(at, 4).into(), 1, 1).unwrap();
        assert!(shown.data().len() < 4 * AROUND_BYTES, "{}", shown.data().len());
        assert_eq!(shown.line(), 3);
        let place = indexed.read_span(&(at, 4).into(), 0, 0).unwrap();
        assert_eq!((place.line(), place.column()), (3, 50_000));
        assert!(indexed.read_span(&(9, 190_000).into(), 1, 1).is_err());
    }

    proptest! {
        /// As far as its lines are short, a text is shown as by the plain reader, which starts at its beginning.
        #[test]
        fn shows_what_the_plain_reader_shows(
            text in "[aä\n]{0,40}", start in 0..40_usize, length in 0..12_usize, lines in 0..3_usize,
        ) {
            let span = Span::new(start, start + length).clamp_to(&text);
            let span = SourceSpan::from((span.start, span.end - span.start));
            let indexed = Indexed::new("a".to_owned(), text.clone());
            match (text.read_span(&span, lines, lines), indexed.read_span(&span, lines, lines)) {
                (Ok(plain), Ok(own)) => {
                    let parts = |contents: &dyn SpanContents<'_>| {
                        (contents.data().to_vec(), *contents.span(), contents.line(), contents.column())
                    };
                    prop_assert_eq!(parts(&*plain), parts(&*own));
                    prop_assert_eq!(plain.line_count(), own.line_count());
                }
                (plain, own) => prop_assert_eq!(plain.is_ok(), own.is_ok()),
            }
        }
    }
}

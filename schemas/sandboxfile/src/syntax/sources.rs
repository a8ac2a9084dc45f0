//! The files of one project, concatenated into one space of offsets.
//!
//! Every file has its own range. So a [`Span`] identifies its file, diagnostics are sorted over all files at once, and
//! readers pass no file along.

use super::{Indexed, Span};
use crate::Format;
use std::sync::Arc;

/// One file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// Its name, as messages show it, and its text.
    pub text: Arc<Indexed>,
    /// Its format.
    pub format: Format,
    /// The absolute path of the folder that relative paths in it are resolved against.
    pub folder: String,
    /// The start of its range.
    pub start: usize,
}

impl SourceFile {
    /// Returns a span of the whole space as a span of this file's text, on character boundaries.
    pub fn local(&self, span: Span) -> Span {
        Span::new(span.start.saturating_sub(self.start), span.end.saturating_sub(self.start))
            .clamp_to(&self.text.text)
    }

    /// Returns the line and the column of a place, both from 1; the column counts characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        self.text.position(offset.saturating_sub(self.start))
    }
}

/// All files that were read, in the order of reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// Adds a file after the others; returns the start of its range.
    pub fn add(&mut self, name: &str, text: &str, format: Format, folder: &str) -> usize {
        // One more than its length, so that the end of a file and the start of the next one differ.
        let start = self.files.last().map_or(0, |last| last.start + last.text.text.len() + 1);
        let text = Arc::new(Indexed::new(name.to_owned(), text.to_owned()));
        self.files.push(SourceFile { text, format, folder: folder.to_owned(), start });
        start
    }

    /// Returns the same files with other texts of the same lengths.
    pub fn map_texts(&self, map: impl Fn(&str) -> String) -> Self {
        let mapped = |file: &SourceFile| {
            let Indexed { name, text, .. } = &*file.text;
            SourceFile { text: Arc::new(Indexed::new(name.clone(), map(text))), ..file.clone() }
        };
        Self { files: self.files.iter().map(mapped).collect() }
    }

    /// Returns all files.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// Returns the file that contains an offset.
    pub fn file_at(&self, offset: usize) -> Option<&SourceFile> {
        let behind = self.files.partition_point(|file| file.start <= offset);
        self.files.get(behind.checked_sub(1)?)
    }

    /// Returns the text of a span.
    pub fn slice(&self, span: Span) -> &str {
        self.file_at(span.start).map_or("", |file| {
            let local = file.local(span);
            &file.text.text[local.start..local.end]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_finds_its_file() {
        let mut sources = Sources::default();
        sources.add("a", "abc", Format::Kdl, "/a");
        sources.add("empty", "", Format::Kdl, "/");
        sources.add("b", "dü", Format::Yaml, "/b");
        let name = |offset| sources.file_at(offset).map(|file| file.text.name.as_str());
        assert_eq!(
            (name(0), name(3), name(4), name(5), name(99)),
            (Some("a"), Some("a"), Some("empty"), Some("b"), Some("b"))
        );
        assert_eq!(sources.slice(Span::new(5, 8)), "dü");
        assert_eq!(sources.slice(Span::new(5, 7)), "d", "never inside a character");
        assert_eq!(sources.slice(Span::new(1, 3)), "bc");
    }

    #[test]
    fn places_have_lines_and_columns() {
        let mut sources = Sources::default();
        sources.add("a", "ä\n\nxü y", Format::Kdl, "/a");
        let position = |offset| sources.files()[0].position(offset);
        assert_eq!([0, 2, 3, 4, 7, 99].map(position), [(1, 1), (1, 2), (2, 1), (3, 1), (3, 3), (3, 5)]);
    }
}

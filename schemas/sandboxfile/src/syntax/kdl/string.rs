//! The strings of KDL 2: quoted and raw, of one line and of several.

use super::problem::ProblemKind;
use super::reader::Reader;
use super::skip::{after_string, after_white_space, has_hashes};
use super::text::{newline_at, space_at};
use crate::syntax::{Span, Text};

/// Opens and closes a string of several lines.
const QUOTES: &str = "\"\"\"";

impl<'t> Reader<'t> {
    /// Reads a string in quotes; `None` if it is broken, which is recorded. Continues after it in any case.
    pub(super) fn quoted(&mut self) -> Option<Text<'t>> {
        let begin = self.at;
        if self.rest().starts_with(QUOTES) {
            return self.lines(begin, 0).map(Text::Owned);
        }
        self.at += 1;
        let mut decoded = String::new();
        loop {
            let plain = self.at;
            let stop = self.skip_plain();
            let text = &self.text[plain..self.at];
            match stop {
                Some(b'"') => {
                    self.at += 1;
                    return Some(if decoded.is_empty() { text.into() } else { (decoded + text).into() });
                }
                Some(b'\\') => {
                    decoded.push_str(text);
                    match self.escape() {
                        Some(c) => decoded.extend(c),
                        None => return self.broken(begin, ProblemKind::BadEscape),
                    }
                }
                _ => {
                    self.report(ProblemKind::OpenString, Span::new(begin, self.at));
                    return None;
                }
            }
        }
    }

    /// Records what is wrong with the string that begins at a place, and continues after it.
    fn broken<T>(&mut self, begin: usize, kind: ProblemKind) -> Option<T> {
        self.at = after_string(self.text, begin);
        self.report(kind, Span::new(begin, self.at));
        None
    }

    /// Skips to the next quote, `\` or line break, and returns its first byte; `None` at the end of the text.
    fn skip_plain(&mut self) -> Option<u8> {
        let may_stop = |&byte: &u8| matches!(byte, b'"' | b'\\' | b'\n'..=b'\r') || !byte.is_ascii();
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let Some(length) = rest.iter().position(may_stop) else {
                self.at += rest.len();
                return None;
            };
            self.at += length;
            if rest[length].is_ascii() || newline_at(self.text, self.at) > 0 {
                return Some(rest[length]);
            }
            self.at += 1;
        }
    }

    /// Reads what stands at a `\`: a character, or `Some(None)` for white space that it removes; `None` if it is no
    /// escape.
    fn escape(&mut self) -> Option<Option<char>> {
        let c = match self.byte_at(self.at + 1)? {
            b'\\' => '\\',
            b'"' => '"',
            b'b' => '\u{8}',
            b'f' => '\u{C}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b's' => ' ',
            b'u' => return self.unicode_escape().map(Some),
            _ => return self.space_escape().then_some(None),
        };
        self.at += 2;
        Some(Some(c))
    }

    /// Reads `\u{1F980}`.
    fn unicode_escape(&mut self) -> Option<char> {
        let rest = self.rest().strip_prefix("\\u{")?;
        let length = rest.bytes().take(7).take_while(u8::is_ascii_hexdigit).count();
        let is_escape = (1..=6).contains(&length) && rest[length..].starts_with('}');
        let c =
            is_escape.then(|| u32::from_str_radix(&rest[..length], 16).ok().and_then(char::from_u32))??;
        self.at += "\\u{}".len() + length;
        Some(c)
    }

    /// Skips a `\` and all white space after it, line breaks too; returns whether there is any.
    fn space_escape(&mut self) -> bool {
        let begin = self.at + 1;
        let end = after_white_space(self.text, begin);
        if end > begin {
            self.at = end;
        }
        end > begin
    }

    /// Reads a string without escapes: `#"…"#`. `None` if it is broken, which is recorded.
    pub(super) fn raw(&mut self) -> Option<Text<'t>> {
        let begin = self.at;
        let hashes = self.rest().bytes().take_while(|&byte| byte == b'#').count();
        self.at += hashes;
        if self.rest().starts_with(QUOTES) && newline_at(self.text, self.at + QUOTES.len()) > 0 {
            return self.lines(begin, hashes).map(Text::Owned);
        }
        if self.byte() != Some(b'"') {
            self.report(ProblemKind::NotAValue, Span::new(begin, self.at));
            return None;
        }
        self.at += 1;
        let body = self.at;
        loop {
            match self.skip_plain() {
                Some(b'"') if has_hashes(self.text.as_bytes(), self.at + 1, hashes) => break,
                Some(b'"' | b'\\') => self.at += 1,
                _ => {
                    self.report(ProblemKind::OpenString, Span::new(begin, self.at));
                    return None;
                }
            }
        }
        let body = &self.text[body..self.at];
        self.at += 1 + hashes;
        if body == "\"" {
            self.report(ProblemKind::LinesOnOneLine, Span::new(begin, self.at));
            return None;
        }
        Some(body.into())
    }

    /// Reads the lines between two `"""`; the indentation of the closing one is removed from all of them.
    fn lines(&mut self, begin: usize, hashes: usize) -> Option<String> {
        self.at += QUOTES.len();
        let length = newline_at(self.text, self.at);
        if length == 0 {
            return self.broken(begin, ProblemKind::LinesOnOneLine);
        }
        self.at += length;
        let mut lines = Vec::new();
        let indentation = loop {
            let line = self.at;
            if let Some(indentation) = self.closing_quotes(hashes) {
                break indentation;
            }
            self.at = line;
            match self.rest_of_line(hashes) {
                Ok(end) => lines.push(line..end),
                Err(kind) => return self.broken(begin, kind),
            }
        };
        let end = self.at;
        let mut decoded = String::with_capacity(end - begin);
        for line in lines {
            self.at = line.start;
            self.skip_blanks(hashes);
            if self.at != line.end {
                self.at = line.start;
                if !self.rest().starts_with(&indentation) {
                    self.report(ProblemKind::BadIndentation, Span::new(line.start, line.end));
                    self.at = end;
                    return None;
                }
                self.at += indentation.len();
                self.decode_line(&mut decoded, line.end, hashes);
            }
            decoded.push('\n');
        }
        // The last line break belongs to the closing quotes.
        decoded.pop();
        self.at = end;
        Some(decoded)
    }

    /// Skips the closing quotes and the blanks before them, which are returned; `None` if this is another line.
    fn closing_quotes(&mut self, hashes: usize) -> Option<String> {
        let begin = self.at;
        self.skip_blanks(hashes);
        if !self.is_closing(hashes) {
            return None;
        }
        let quotes = self.at;
        self.at = begin;
        let mut indentation = String::new();
        while self.at < quotes {
            let length = space_at(self.text, self.at);
            if length == 0 {
                self.space_escape();
            }
            indentation.push_str(&self.text[self.at..self.at + length]);
            self.at += length;
        }
        self.at += QUOTES.len() + hashes;
        Some(indentation)
    }

    /// Skips white space within a line, and white space that a `\` removes.
    fn skip_blanks(&mut self, hashes: usize) {
        loop {
            match space_at(self.text, self.at) {
                0 if hashes == 0 && self.byte() == Some(b'\\') && self.space_escape() => {}
                0 => return,
                length => self.at += length,
            }
        }
    }

    fn is_closing(&self, hashes: usize) -> bool {
        self.rest().starts_with(QUOTES) && has_hashes(self.text.as_bytes(), self.at + QUOTES.len(), hashes)
    }

    /// Skips to after the end of a line, and returns where its text ends.
    fn rest_of_line(&mut self, hashes: usize) -> Result<usize, ProblemKind> {
        loop {
            match self.skip_plain() {
                Some(b'"') if self.is_closing(hashes) => return Err(ProblemKind::QuotesInLine),
                Some(b'\\') if hashes == 0 => {
                    if self.escape().is_none() {
                        return Err(ProblemKind::BadEscape);
                    }
                }
                Some(b'"' | b'\\') => self.at += 1,
                Some(_) => {
                    let end = self.at;
                    self.at += newline_at(self.text, self.at);
                    return Ok(end);
                }
                None => return Err(ProblemKind::OpenLines),
            }
        }
    }

    /// Appends the text up to a place, with its escapes decoded; they have been checked.
    fn decode_line(&mut self, decoded: &mut String, end: usize, hashes: usize) {
        while self.at < end {
            let rest = &self.text[self.at..end];
            let plain = if hashes == 0 { rest.find('\\').unwrap_or(rest.len()) } else { rest.len() };
            decoded.push_str(&rest[..plain]);
            self.at += plain;
            if self.at < end {
                let Some(c) = self.escape() else { return };
                decoded.extend(c);
            }
        }
    }
}

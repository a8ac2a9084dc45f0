//! The strings of KDL, for the reader of what is usual; see `kdl_reader`.

use super::kdl_reader::{GaveUp, Reader};
use super::kdl_text::{newline_at, space_at};
use super::tree::Text;

/// What stands before and behind a string of several lines.
const QUOTES: &str = "\"\"\"";

impl<'t> Reader<'t> {
    /// A string in quotes, of one line or of several.
    pub(super) fn quoted(&mut self) -> Result<Text<'t>, GaveUp> {
        if self.rest().starts_with(QUOTES) {
            return self.lines(0).map(Text::Owned);
        }
        self.at += 1;
        let mut out = String::new();
        loop {
            let begin = self.at;
            let stop = self.skip_plain();
            match stop {
                Some(b'"') if out.is_empty() => {
                    let text = &self.text[begin..self.at];
                    self.at += 1;
                    return Ok(text.into());
                }
                Some(b'"') => {
                    out.push_str(&self.text[begin..self.at]);
                    self.at += 1;
                    return Ok(out.into());
                }
                Some(b'\\') => {
                    out.push_str(&self.text[begin..self.at]);
                    out.push(self.escape()?);
                }
                _ => return self.give_up(),
            }
        }
    }

    /// Goes on to what ends or interrupts a string of one line.
    fn skip_plain(&mut self) -> Option<u8> {
        loop {
            match *self.text.as_bytes().get(self.at)? {
                byte @ (b'"' | b'\\' | b'\n'..=b'\r') => return Some(byte),
                byte if !byte.is_ascii() && newline_at(self.text, self.at) > 0 => return Some(byte),
                _ => self.at += 1,
            }
        }
    }

    /// An escape; those that swallow white space are left to the crate.
    fn escape(&mut self) -> Result<char, GaveUp> {
        let c = match self.text.as_bytes().get(self.at + 1) {
            Some(b'\\') => '\\',
            Some(b'"') => '"',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{C}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b's') => ' ',
            Some(b'u') => return self.unicode_escape(),
            _ => return self.give_up(),
        };
        self.at += 2;
        Ok(c)
    }

    /// `\u{1F980}`.
    fn unicode_escape(&mut self) -> Result<char, GaveUp> {
        let digits = self.rest().strip_prefix("\\u{").and_then(|rest| rest.split_once('}'));
        let Some((digits, _)) = digits else { return self.give_up() };
        let is_hex = (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let decoded = is_hex.then(|| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)).flatten();
        let Some(c) = decoded else { return self.give_up() };
        self.at += "\\u{}".len() + digits.len();
        Ok(c)
    }

    /// A string without escapes: `#"…"#`.
    pub(super) fn raw(&mut self) -> Result<Text<'t>, GaveUp> {
        let hashes = self.rest().bytes().take_while(|&byte| byte == b'#').count();
        self.at += hashes;
        if self.rest().starts_with(QUOTES) {
            return self.lines(hashes).map(Text::Owned);
        }
        if !self.rest().starts_with('"') {
            return self.give_up();
        }
        self.at += 1;
        let begin = self.at;
        loop {
            match self.skip_plain() {
                Some(b'"') if self.closes(self.at + 1, hashes) => break,
                Some(b'"' | b'\\') => self.at += 1,
                _ => return self.give_up(),
            }
        }
        let body = &self.text[begin..self.at];
        if body == "\"" {
            return self.give_up();
        }
        self.at += 1 + hashes;
        Ok(body.into())
    }

    /// Whether so many `#` stand at a place.
    fn closes(&self, at: usize, hashes: usize) -> bool {
        let rest = self.text.as_bytes().get(at..).unwrap_or_default();
        rest.len() >= hashes && rest[..hashes].iter().all(|&byte| byte == b'#')
    }

    /// Lines between two lines of `"""`; the indentation of the last one is taken away from all of them.
    fn lines(&mut self, hashes: usize) -> Result<String, GaveUp> {
        self.at += QUOTES.len();
        self.line_break()?;
        let body = self.at;
        let (last, prefix_end) = loop {
            let line = self.at;
            while matches!(self.byte(), Some(b' ' | b'\t')) {
                self.at += 1;
            }
            if self.is_closing(hashes) {
                break (line, self.at);
            }
            if space_at(self.text, self.at) > 0 {
                return self.give_up();
            }
            self.rest_of_line(hashes)?;
        };
        let prefix = &self.text[last..prefix_end];
        let end = prefix_end + QUOTES.len() + hashes;
        let mut out = String::with_capacity(last - body);
        let mut line_start = body;
        while line_start < last {
            let line_end = self.text[line_start..last].find('\n').map_or(last, |length| line_start + length);
            let line = &self.text[line_start..line_end];
            let line = line.strip_suffix('\r').unwrap_or(line);
            self.at = line_start;
            line_start = line_end + 1;
            if line.bytes().any(|byte| byte != b' ' && byte != b'\t') {
                let Some(words) = line.strip_prefix(prefix) else { return self.give_up() };
                if hashes == 0 && words.contains('\\') {
                    self.at += prefix.len();
                    self.decode_into(&mut out, self.at + words.len())?;
                } else {
                    out.push_str(words);
                }
            }
            out.push('\n');
        }
        out.pop();
        self.at = end;
        Ok(out)
    }

    /// Whether the quotes that end a string of several lines stand here.
    fn is_closing(&self, hashes: usize) -> bool {
        self.rest().starts_with(QUOTES) && self.closes(self.at + QUOTES.len(), hashes)
    }

    /// Goes behind the end of a line inside a string of several lines.
    fn rest_of_line(&mut self, hashes: usize) -> Result<(), GaveUp> {
        loop {
            match self.skip_plain() {
                Some(b'"') if self.is_closing(hashes) => return self.give_up(),
                Some(b'\\') if hashes == 0 => self.escape().map(drop)?,
                Some(b'"' | b'\\') => self.at += 1,
                _ => return self.line_break(),
            }
        }
    }

    /// One of the two usual line breaks; in a string, the others are left to the crate.
    fn line_break(&mut self) -> Result<(), GaveUp> {
        let rest = self.rest();
        self.at += match () {
            () if rest.starts_with('\n') => 1,
            () if rest.starts_with("\r\n") => 2,
            () => return self.give_up(),
        };
        Ok(())
    }

    /// Appends the text up to a place, with its escapes decoded.
    fn decode_into(&mut self, out: &mut String, end: usize) -> Result<(), GaveUp> {
        while self.at < end {
            let plain = self.text[self.at..end].find('\\').unwrap_or(end - self.at);
            out.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            if self.at < end {
                out.push(self.escape()?);
            }
        }
        Ok(())
    }
}

//! KDL text → items, for text that is as usual.
//!
//! The `kdl` crate is the authority on the language, and words what is wrong with a text. It keeps every
//! blank and comment of it, and takes a thousand times longer than it takes to look at each byte. So this
//! reader goes first, one node of the file at a time. It reads what people write: words, strings, numbers,
//! keywords, properties, blocks and comments. It judges nothing: where it meets anything else, right or
//! wrong, it gives up, and the crate reads that node.
//!
//! Invariant: what it accepts, the crate accepts with the same items at the same places. The tests hold
//! both readers to that.

use super::kdl_text::{is_word_character, newline_at, space_at};
use super::span::{Span, Spanned};
use super::tree::{Argument, Item, Scalar, ScalarKind, Text, Value};
use schemas::spec::limits;

/// Longer numbers are left to the crate; shorter ones fit into an `i128`.
const DIGITS_MAX: usize = 30;

/// The reader met something that is not for it.
#[derive(Debug)]
pub(crate) struct GaveUp {
    /// Where.
    pub at: usize,
}

/// Reads one node of the file after the other.
pub(crate) struct Reader<'t> {
    pub(super) text: &'t str,
    pub(super) at: usize,
    begin: usize,
    /// How many nodes and values have been read.
    pub count: usize,
}

impl<'t> Reader<'t> {
    /// Starts at the beginning of a text, behind its byte order mark.
    pub fn new(text: &'t str) -> Self {
        let begin = if text.starts_with('\u{FEFF}') { '\u{FEFF}'.len_utf8() } else { 0 };
        Self { text, at: begin, begin, count: 0 }
    }

    /// Where the node starts that is being read, or that was given up.
    pub fn begin(&self) -> usize {
        self.begin
    }

    /// Goes on at another place.
    pub fn go_on_at(&mut self, at: usize) {
        self.at = at;
    }

    /// The next node of the file; nothing at its end.
    pub fn next_node(&mut self) -> Result<Option<Item<'t>>, GaveUp> {
        self.begin = self.at;
        self.line_space()?;
        self.begin = self.at;
        match self.byte() {
            None => Ok(None),
            Some(_) => self.node(0).map(Some),
        }
    }

    pub(super) fn give_up<T>(&self) -> Result<T, GaveUp> {
        Err(GaveUp { at: self.at })
    }

    pub(super) fn byte(&self) -> Option<u8> {
        self.byte_at(self.at)
    }

    fn byte_at(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Everything that may stand between two nodes.
    fn line_space(&mut self) -> Result<(), GaveUp> {
        loop {
            self.node_space()?;
            match newline_at(self.text, self.at) {
                0 if self.rest().starts_with("//") => self.line_comment(),
                0 => return Ok(()),
                length => self.at += length,
            }
        }
    }

    /// Everything that may stand between the parts of a node; tells whether there was any.
    fn node_space(&mut self) -> Result<bool, GaveUp> {
        let begin = self.at;
        loop {
            match self.byte() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'/') if self.byte_at(self.at + 1) == Some(b'*') => self.block_comment()?,
                Some(b'\\') => self.line_continuation()?,
                Some(byte) if !byte.is_ascii() => match space_at(self.text, self.at) {
                    0 => return Ok(self.at > begin),
                    length => self.at += length,
                },
                _ => return Ok(self.at > begin),
            }
        }
    }

    /// A `\` and the end of its line.
    fn line_continuation(&mut self) -> Result<(), GaveUp> {
        self.at += 1;
        loop {
            match space_at(self.text, self.at) {
                0 if self.rest().starts_with("/*") => self.block_comment()?,
                0 => break,
                length => self.at += length,
            }
        }
        match newline_at(self.text, self.at) {
            0 if self.rest().starts_with("//") => self.line_comment(),
            0 if self.at < self.text.len() => return self.give_up(),
            length => self.at += length,
        }
        Ok(())
    }

    /// Goes behind the end of the line.
    fn line_comment(&mut self) {
        while let Some(byte) = self.byte() {
            let length = if (b'\n'..=b'\r').contains(&byte) || !byte.is_ascii() {
                newline_at(self.text, self.at)
            } else {
                0
            };
            self.at += length.max(1);
            if length > 0 {
                return;
            }
        }
    }

    /// Comments hold comments; the levels are counted.
    fn block_comment(&mut self) -> Result<(), GaveUp> {
        let mut depth = 0_usize;
        let bytes = self.text.as_bytes();
        while self.at < bytes.len() {
            match &bytes[self.at..] {
                [b'/', b'*', ..] => {
                    depth += 1;
                    self.at += 2;
                }
                [b'*', b'/', ..] => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => self.at += 1,
            }
        }
        self.give_up()
    }

    /// The nodes of a block, up to its `}`.
    fn nodes(&mut self, depth: usize) -> Result<Vec<Item<'t>>, GaveUp> {
        if depth > limits::SANDBOXFILE_DEPTH_MAX {
            return self.give_up();
        }
        let mut items = Vec::new();
        loop {
            self.line_space()?;
            if self.byte() == Some(b'}') {
                self.at += 1;
                return Ok(items);
            }
            items.push(self.node(depth)?);
        }
    }

    /// A node and what ends it; a `}` that ends it stays.
    fn node(&mut self, depth: usize) -> Result<Item<'t>, GaveUp> {
        self.count += 1;
        let name = self.string()?;
        let (mut arguments, mut items) = (Vec::new(), Vec::new());
        loop {
            let is_spaced = self.node_space()?;
            if self.node_end(depth)? {
                return Ok(Item { name, arguments, items });
            }
            match self.byte() {
                Some(b'{') => {
                    self.at += 1;
                    let children = self.nodes(depth + 1)?;
                    if items.is_empty() {
                        items = children
                    } else {
                        items.extend(children)
                    }
                    self.node_space()?;
                    return match self.node_end(depth)? {
                        true => Ok(Item { name, arguments, items }),
                        false => self.give_up(),
                    };
                }
                _ if is_spaced => self.entry(&mut arguments, &mut items)?,
                _ => return self.give_up(),
            }
        }
    }

    /// Whether the node ends here; then what ends it is read.
    fn node_end(&mut self, depth: usize) -> Result<bool, GaveUp> {
        match self.byte() {
            None if depth == 0 => {}
            Some(b'}') if depth > 0 => {}
            Some(b';') => self.at += 1,
            Some(b'/') if self.byte_at(self.at + 1) == Some(b'/') => self.line_comment(),
            None | Some(b'}') => return self.give_up(),
            Some(_) => match newline_at(self.text, self.at) {
                0 => return Ok(false),
                length => self.at += length,
            },
        }
        Ok(true)
    }

    /// An argument or a property.
    fn entry(&mut self, arguments: &mut Vec<Argument<'t>>, items: &mut Vec<Item<'t>>) -> Result<(), GaveUp> {
        self.count += 1;
        let begin = self.at;
        if !self.starts_string() {
            let value = self.value()?;
            arguments.push(Argument::scalar(value, Span::new(begin, self.at)));
            return Ok(());
        }
        let string = self.string()?;
        let end = self.at;
        self.node_space()?;
        if self.byte() != Some(b'=') {
            self.at = end;
            let scalar = Scalar { kind: ScalarKind::Text, text: string.value };
            arguments.push(Argument { value: Value::Scalar(scalar), span: string.span });
            return Ok(());
        }
        self.at += 1;
        self.node_space()?;
        let value = self.value()?;
        let span = Span::new(end + 1, self.at);
        items.push(Item { name: string, arguments: vec![Argument::scalar(value, span)], items: Vec::new() });
        Ok(())
    }

    /// Whether a word or a string starts here, and not a number or a keyword.
    fn starts_string(&self) -> bool {
        match self.byte() {
            Some(b'#') => matches!(self.byte_at(self.at + 1), Some(b'#' | b'"')),
            Some(b'+' | b'-') => !self.byte_at(self.at + 1).is_some_and(|byte| byte.is_ascii_digit()),
            Some(byte) => !byte.is_ascii_digit(),
            None => false,
        }
    }

    fn value(&mut self) -> Result<Scalar<'t>, GaveUp> {
        if self.starts_string() {
            return Ok(Scalar { kind: ScalarKind::Text, text: self.string()?.value });
        }
        match self.byte() {
            Some(b'#') => self.keyword(),
            _ => self.number(),
        }
    }

    fn keyword(&mut self) -> Result<Scalar<'t>, GaveUp> {
        let words = [
            ("#true", ScalarKind::Bool(true)),
            ("#false", ScalarKind::Bool(false)),
            ("#null", ScalarKind::Null),
        ];
        let found = words.into_iter().find(|(word, _)| self.rest().starts_with(word));
        let Some((word, kind)) = found else { return self.give_up() };
        self.at += word.len();
        self.word_end()?;
        let text = if kind == ScalarKind::Null { "" } else { &word[1..] };
        Ok(Scalar { kind, text: text.into() })
    }

    /// A decimal number; those to another base are left to the crate.
    fn number(&mut self) -> Result<Scalar<'t>, GaveUp> {
        let begin = self.at;
        if matches!(self.byte(), Some(b'+' | b'-')) {
            self.at += 1;
        }
        self.digits()?;
        let mut is_whole = true;
        if self.byte() == Some(b'.') {
            is_whole = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            is_whole = false;
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.word_end()?;
        let text = &self.text[begin..self.at];
        let kind = if is_whole {
            match text.replace('_', "").parse() {
                Ok(value) => ScalarKind::Integer(value),
                Err(_) => return self.give_up(),
            }
        } else {
            ScalarKind::Float
        };
        Ok(Scalar { kind, text: text.into() })
    }

    /// A digit, then digits and underscores.
    fn digits(&mut self) -> Result<(), GaveUp> {
        let begin = self.at;
        if !self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            return self.give_up();
        }
        while self.byte().is_some_and(|byte| byte.is_ascii_digit() || byte == b'_') {
            self.at += 1;
        }
        if self.at - begin > DIGITS_MAX { self.give_up() } else { Ok(()) }
    }

    /// A word or a string, which is also what names are.
    fn string(&mut self) -> Result<Spanned<Text<'t>>, GaveUp> {
        let begin = self.at;
        let value = match self.byte() {
            Some(b'"') => self.quoted()?,
            Some(b'#') => self.raw()?,
            _ => self.word()?,
        };
        let span = Span::new(begin, self.at);
        if self.byte() != Some(b'=') {
            self.word_end()?;
        }
        Ok(Spanned::new(value, span))
    }

    /// A word without quotes. Those with a dot in front could be numbers; they are left to the crate.
    fn word(&mut self) -> Result<Text<'t>, GaveUp> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['+', '-']));
        if rest[sign..].starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return self.give_up();
        }
        let length = rest.find(|c| !is_word_character(c)).unwrap_or(rest.len());
        let word = &rest[..length];
        if matches!(word, "" | "true" | "false" | "null" | "inf" | "-inf" | "nan") {
            return self.give_up();
        }
        self.at += length;
        Ok(word.into())
    }

    /// What stands behind a value must not stick to it.
    fn word_end(&self) -> Result<(), GaveUp> {
        let is_end = match self.byte() {
            None | Some(b' ' | b'\t'..=b'\r' | b';' | b'{' | b'}' | b'\\') => true,
            Some(b'/') => matches!(self.byte_at(self.at + 1), Some(b'/' | b'*')),
            Some(byte) if byte.is_ascii() => false,
            Some(_) => space_at(self.text, self.at) + newline_at(self.text, self.at) > 0,
        };
        if is_end { Ok(()) } else { self.give_up() }
    }
}

//! The values of KDL 2: words, numbers and keywords.

use super::problem::ProblemKind;
use super::reader::{Abandoned, Reader};
use super::text::{is_word_character, newline_at, space_at};
use crate::syntax::{Scalar, ScalarKind, Span, Spanned, Text};

impl<'t> Reader<'t> {
    /// Whether a word or a string starts here, and not a number or a keyword.
    pub(super) fn starts_string(&self) -> bool {
        match self.byte() {
            Some(b'#') => matches!(self.byte_at(self.at + 1), Some(b'#' | b'"')),
            Some(b'"') => true,
            Some(b'+' | b'-') => !self.byte_at(self.at + 1).is_some_and(|byte| byte.is_ascii_digit()),
            Some(byte) if byte.is_ascii_digit() => false,
            Some(_) => self.rest().starts_with(is_word_character),
            None => false,
        }
    }

    /// Whether a word starts with a dot and a digit, as no word may.
    pub(super) fn is_dotted_number(&self) -> bool {
        match &self.text.as_bytes()[self.at..] {
            [b'.', digit, ..] | [b'+' | b'-', b'.', digit, ..] => digit.is_ascii_digit(),
            _ => false,
        }
    }

    pub(super) fn value(&mut self) -> Result<Scalar<'t>, Abandoned> {
        self.annotation()?;
        if self.starts_string() {
            return Ok(Scalar { kind: ScalarKind::Text, text: self.string()?.value });
        }
        let begin = self.at;
        let end = self.value_end();
        if end == begin {
            return self.misplaced();
        }
        self.at = end;
        let text = &self.text[begin..end];
        let kind = if let Some(word) = text.strip_prefix('#') { keyword(word) } else { number(text) };
        let Some(kind) = kind else {
            self.report(ProblemKind::NotAValue, Span::new(begin, end));
            return Ok(Scalar { kind: ScalarKind::Text, text: text.into() });
        };
        let text = match kind {
            ScalarKind::Null => "",
            ScalarKind::Bool(_) => &text[1..],
            _ => text,
        };
        Ok(Scalar { kind, text: text.into() })
    }

    /// Returns where the value ends that stands here, whatever it is.
    pub(super) fn value_end(&self) -> usize {
        let mut at = self.at;
        while let Some(c) = self.text[at..].chars().next() {
            if self.is_value_end(at) {
                break;
            }
            at += c.len_utf8();
        }
        at
    }

    /// Whether a value may end at a place.
    fn is_value_end(&self, at: usize) -> bool {
        match self.byte_at(at) {
            None | Some(b' ' | b'\t'..=b'\r' | b';' | b'{' | b'}' | b'\\' | b'=' | b')') => true,
            Some(b'/') => matches!(self.byte_at(at + 1), Some(b'/' | b'*')),
            Some(byte) if byte.is_ascii() => false,
            Some(_) => space_at(self.text, at) + newline_at(self.text, at) > 0,
        }
    }

    /// Reads a word or a string, which is also what names are.
    pub(super) fn string(&mut self) -> Result<Spanned<Text<'t>>, Abandoned> {
        let begin = self.at;
        let value = match self.byte() {
            Some(b'"') => self.quoted(),
            Some(b'#') => self.raw(),
            _ => return self.word(),
        };
        if !self.is_value_end(self.at) {
            self.at = self.value_end();
            if value.is_some() {
                self.report(ProblemKind::Sticks, Span::new(begin, self.at));
            }
        }
        Ok(Spanned::new(value.unwrap_or_default(), Span::new(begin, self.at)))
    }

    /// Reads a word without quotes.
    fn word(&mut self) -> Result<Spanned<Text<'t>>, Abandoned> {
        let begin = self.at;
        let rest = self.rest();
        let is_end = |byte: u8| !byte.is_ascii() || !is_word_character(byte.into());
        let ascii = rest.bytes().position(is_end).unwrap_or(rest.len());
        let wide = &rest[ascii..];
        let length = ascii + wide.find(|c| !is_word_character(c)).unwrap_or(wide.len());
        if length == 0 {
            return self.misplaced();
        }
        let (word, end) = (&rest[..length], begin + length);
        let is_whole = self.is_value_end(end);
        let problem = if !is_whole || self.is_dotted_number() {
            Some(ProblemKind::NotAValue)
        } else {
            // Keywords have a `#` in front.
            keyword(word).map(|_| ProblemKind::BareKeyword)
        };
        self.at = if is_whole { end } else { self.value_end() };
        let span = Span::new(begin, self.at);
        if let Some(kind) = problem {
            self.report(kind, span);
        }
        Ok(Spanned::new(word.into(), span))
    }
}

/// Returns what a keyword stands for; its `#` is left out.
fn keyword(word: &str) -> Option<ScalarKind> {
    match word {
        "true" => Some(ScalarKind::Bool(true)),
        "false" => Some(ScalarKind::Bool(false)),
        "null" => Some(ScalarKind::Null),
        "inf" | "-inf" | "nan" => Some(ScalarKind::Float),
        _ => None,
    }
}

/// Returns which kind of number a text is: decimal, or hexadecimal, octal or binary.
fn number(text: &str) -> Option<ScalarKind> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = |digits: &str, radix| {
        digits.starts_with(|c: char| c.is_digit(radix))
            && digits.chars().all(|c| c == '_' || c.is_digit(radix))
    };
    let whole =
        |text: &str, radix| i128::from_str_radix(&text.replace('_', ""), radix).ok().map(ScalarKind::Integer);
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = unsigned.strip_prefix(prefix) {
            return is_number(digits, radix).then(|| whole(&text.replacen(prefix, "", 1), radix))?;
        }
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let (digits, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if ![digits, fraction, exponent].into_iter().all(|digits| is_number(digits, 10)) {
        return None;
    }
    if digits == unsigned { whole(text, 10) } else { Some(ScalarKind::Float) }
}

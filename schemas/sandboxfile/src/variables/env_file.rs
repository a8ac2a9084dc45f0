//! Lines of an env file, such as `.env`, in the syntax of compose.
//!
//! | written | value |
//! | --- | --- |
//! | `NAME=value # comment` | the value up to the blank before `#`, its variables replaced |
//! | `NAME="value"` | the same over any number of lines; `\n \t \r \" \\ \$` are escapes |
//! | `NAME='value'` | the literal text, over any number of lines |

use super::is_name;
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;

/// The first entry of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry<'t> {
    /// A blank line or a comment.
    Nothing,
    /// A name and its value.
    Literal(&'t str, String),
    /// A name and a text for [`expand`](crate::variables::interpolate::expand).
    Template(&'t str, String),
    /// An invalid line.
    Wrong(Fault),
}

/// The fault of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NoEqualsSign,
    Name,
    /// A quote without a closing one.
    Unclosed(char),
    /// Something follows the closing quote, in the line of the opening one.
    Trailing,
    /// Something follows the closing quote, whose offset in the text this is.
    TrailingLater(usize),
}

impl Fault {
    /// Returns whether the following lines may belong to the value.
    pub fn leaves_quote_open(self) -> bool {
        matches!(self, Self::Unclosed(_) | Self::TrailingLater(_))
    }

    /// Returns the diagnostic for the line in which the entry begins.
    pub fn diagnostic(self, line: Span) -> Diagnostic {
        let finding = |message: &str| Diagnostic::error(Code::InvalidEnvFile, line, message);
        let sets_nothing = || finding("this line sets no variable");
        match self {
            Self::NoEqualsSign => sets_nothing().label("no `=`").help(PLAIN_HELP),
            Self::Name => sets_nothing().label("a name is made of letters, digits and `_`").help(PLAIN_HELP),
            Self::Unclosed('"') => finding("the quoted value that begins here is never closed")
                .label("no `\"` follows that closes it")
                .help("end the value with `\"`; a quote inside of it is written `\\\"`"),
            Self::Unclosed(_) => finding("the quoted value that begins here is never closed")
                .label("no `'` follows that closes it")
                .help("end the value with `'`; a value that contains `'` stands in double quotes"),
            Self::Trailing => sets_nothing()
                .label("something follows the closing quote")
                .help("put the whole value in quotes, or `#` before a comment"),
            Self::TrailingLater(at) => {
                let closing = Span::new(line.start + at, line.start + at + 1);
                finding("something follows the closing quote of the value that begins here")
                    .label("begins here")
                    .also(closing, "closed here")
                    .help("close the quote where the value ends; only a comment may follow")
            }
        }
    }
}

const PLAIN_HELP: &str = "write `NAME=value`, or put the value in quotes: `NAME=\"a value\"`";

/// Reads the first entry of a text: one line, or more for a quoted value. Returns its length in bytes too.
pub(crate) fn read_entry(text: &str) -> (Entry<'_>, usize) {
    let line_length = text.find('\n').map_or(text.len(), |newline| newline + 1);
    let line = text[..line_length].trim_start_matches('\u{FEFF}').trim_start();
    let wrong = |fault| (Entry::Wrong(fault), line_length);
    if line.is_empty() || line.starts_with('#') {
        return (Entry::Nothing, line_length);
    }
    let exported = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
    let Some((name, value)) = exported.unwrap_or(line).split_once('=') else {
        return wrong(Fault::NoEqualsSign);
    };
    let name = name.trim();
    if !is_name(name) {
        return wrong(Fault::Name);
    }
    let Some(quote) = value.trim_start().chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return (Entry::Template(name, before_comment(value).to_owned()), line_length);
    };
    let quoted = &text[line_length - value.trim_start().len() + 1..];
    let read = match quote {
        '"' => unquote(quoted).map(|(value, rest)| (Entry::Template(name, value), rest)),
        _ => quoted.split_once('\'').map(|(value, rest)| (Entry::Literal(name, unix_lines(value)), rest)),
    };
    let Some((entry, rest)) = read else { return wrong(Fault::Unclosed(quote)) };
    let behind = rest.split_inclusive('\n').next().unwrap_or_default();
    let taken = text.len() - rest.len();
    if behind.trim().is_empty() || behind.trim_start().starts_with('#') {
        return (entry, taken + behind.len());
    }
    if taken <= line_length { wrong(Fault::Trailing) } else { wrong(Fault::TrailingLater(taken - 1)) }
}

/// Removes the comment after a bare value, which a blank precedes.
fn before_comment(value: &str) -> &str {
    let mut hashes = value.match_indices('#').map(|(at, _)| &value[..at]);
    hashes.find(|before| before.ends_with([' ', '\t'])).unwrap_or(value).trim()
}

fn unix_lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// Returns the text up to the closing quote as a template, and the rest.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\r' if quoted[at..].starts_with("\r\n") => {}
            '$' => match characters.next_if(|(_, next)| matches!(next, '$' | '\\')) {
                Some((_, '\\')) => {
                    value.push_str("$$");
                    unescape(&mut value, characters.next()?.1);
                }
                Some(_) => value.push_str("$$"),
                None => value.push('$'),
            },
            '\\' => unescape(&mut value, characters.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// Adds the value of an escape to a template.
fn unescape(value: &mut String, escaped: char) {
    match escaped {
        'n' => value.push('\n'),
        't' => value.push('\t'),
        'r' => value.push('\r'),
        '$' => value.push_str("$$"),
        '"' | '\\' => value.push(escaped),
        other => value.extend(['\\', other]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_and_their_lengths() {
        for (text, expected, rest) in [
            ("just words\nB=1", Fault::NoEqualsSign, "B=1"),
            ("1A=x", Fault::Name, ""),
            ("A='x'y\nB=1", Fault::Trailing, "B=1"),
            ("A=\"x\nB=1\n", Fault::Unclosed('"'), "B=1\n"),
            ("A='x\nB=1\n", Fault::Unclosed('\''), "B=1\n"),
            ("A=\"x\\", Fault::Unclosed('"'), ""),
            ("A=\"x\nB=\"1\"\n", Fault::TrailingLater(7), "B=\"1\"\n"),
        ] {
            let (entry, taken) = read_entry(text);
            assert_eq!((entry, &text[taken..]), (Entry::Wrong(expected), rest), "{text}");
        }
    }
}

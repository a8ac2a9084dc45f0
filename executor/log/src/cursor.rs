//! Cursors: opaque texts that clients store and pass back to resume reading.
//!
//! ```text
//! 1~e.11.4f3a.40.9ab31c02~o.7.0.11.4f00.3e.17aa20cd.2~r.1.0.0.811c9dc5~…~c0ffee12
//! ```
//!
//! A cursor starts with the version. Then follows one position per log: segment, offset, verified bytes, their checksum,
//! and for `exec.log` the emitted part of the next entry; each with its open lines. A checksum of all of it ends the
//! cursor. Numbers are hexadecimal.

use crate::entry::Source;
use crate::exec_lines::{EntryOffset, ExecPosition, Key};
use crate::files::FILES;
use crate::records::{Checkpoint, checksum};
use std::fmt;
use std::str::FromStr;

/// The version of the format.
const VERSION: &str = "1";
/// The kind of an open line.
const OPEN: char = 'o';
/// The longest cursor, in bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// A position between two lines of a sandbox's logs; [`fmt::Display`] and [`FromStr`] convert it to text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The position in each log that was read, by its index in [`FILES`].
    pub(crate) positions: Vec<(usize, ExecPosition)>,
}

/// The text is not a cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCursor {
    /// It is truncated, mistyped, or something else.
    #[error("{text:?} is not a cursor of msb logs")]
    NotOne {
        /// The beginning of the text.
        text: String,
    },
    /// Another version of msb wrote it.
    #[error("the cursor has version {version:?}, this msb reads version {VERSION:?}")]
    Version {
        /// The version in the text.
        version: String,
    },
}

impl Cursor {
    pub(crate) fn position(&self, file: usize) -> Option<&ExecPosition> {
        self.positions.iter().find(|(known, _)| *known == file).map(|(_, position)| position)
    }

    fn read(text: &str) -> Option<Self> {
        let (body, check) = text.rsplit_once('~')?;
        if u32::from_str_radix(check, 16).ok()? != checksum(body.as_bytes()) {
            return None;
        }
        let mut positions: Vec<(usize, ExecPosition)> = Vec::new();
        for part in body.split('~').skip(1) {
            let mut fields = part.split('.');
            let kind = fields.next()?;
            if kind == OPEN.encode_utf8(&mut [0; 4]) {
                let session = number(fields.next()?)?;
                let source = *Source::ALL.get(usize::try_from(number(fields.next()?)?).ok()?)?;
                let key = (session.checked_sub(1), source);
                positions.last_mut()?.1.open.push((key, inside(&mut fields)?));
            } else {
                let file = FILES.iter().position(|file| kind == file.letter.encode_utf8(&mut [0; 4]))?;
                positions.push((file, ExecPosition { at: inside(&mut fields)?, open: Vec::new() }));
            }
            if fields.next().is_some() {
                return None;
            }
        }
        Some(Self { positions })
    }
}

fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

fn inside<'a>(fields: &mut impl Iterator<Item = &'a str>) -> Option<EntryOffset> {
    let mut next = || number(fields.next()?);
    let (segment, offset, tail) = (next()?, next()?, u8::try_from(next()?).ok()?);
    let (check, data) = (u32::try_from(next()?).ok()?, next()?);
    Some(EntryOffset { entry: Checkpoint { segment, offset, tail, check }, data })
}

impl fmt::Display for EntryOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checkpoint { segment, offset, tail, check } = self.entry;
        write!(f, "{segment:x}.{offset:x}.{tail:x}.{check:x}.{:x}", self.data)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let mut text = String::with_capacity(64 * self.positions.len());
        text.push_str(VERSION);
        for (file, position) in &self.positions {
            write!(text, "~{}.{}", FILES[*file].letter, position.at)?;
            for (key, start) in &position.open {
                let (session, source): Key = *key;
                let source = Source::ALL.iter().position(|known| *known == source).unwrap_or_default();
                // 0 stands for none, and each number is incremented.
                let session = session.map_or(0, |session| session.saturating_add(1));
                write!(text, "~{OPEN}.{session:x}.{source:x}.{start}")?;
            }
        }
        let check = checksum(text.as_bytes());
        write!(f, "{text}~{check:08x}")
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not_one = || InvalidCursor::NotOne { text: text.chars().take(40).collect() };
        if text.len() > TEXT_BYTES_MAX || !text.is_ascii() {
            return Err(not_one());
        }
        match text.split_once('~') {
            Some((version, _)) if version == VERSION => Self::read(text).ok_or_else(not_one),
            Some((version, _))
                if !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                Err(InvalidCursor::Version { version: version.to_owned() })
            }
            _ => Err(not_one()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        let mark = |offset| Checkpoint { segment: 17, offset, tail: 64, check: 0x9ab3_1c02 };
        let inside = |offset, data| EntryOffset { entry: mark(offset), data };
        let open =
            vec![((Some(7), Source::Stdout), inside(0x4f00, 2)), ((None, Source::Stderr), inside(0x4f10, 0))];
        let exec = ExecPosition { at: inside(0x4f3a, 9), open };
        Cursor { positions: vec![(0, exec), (2, mark(5).into())] }
    }

    #[test]
    fn a_cursor_survives_its_text_form() {
        let text = cursor().to_string();
        assert_eq!(
            text,
            "1~e.11.4f3a.40.9ab31c02.9~o.8.0.11.4f00.40.9ab31c02.2~o.0.1.11.4f10.40.9ab31c02.0\
             ~k.11.5.40.9ab31c02.0~4a363857"
        );
        assert_eq!(text.parse(), Ok(cursor()));
    }

    #[test]
    fn truncated_and_mistyped_cursors_are_refused() {
        let text = cursor().to_string();
        for end in 0..text.len() {
            text[..end].parse::<Cursor>().unwrap_err();
        }
        for (position, letter) in text.char_indices() {
            let other = if letter == '1' { "2" } else { "1" };
            let wrong = [&text[..position], other, &text[position + 1..]].concat();
            wrong.parse::<Cursor>().unwrap_err();
        }
        let newer = text.replacen('1', "2", 1).parse::<Cursor>();
        assert_eq!(newer, Err(InvalidCursor::Version { version: "2".into() }));
    }
}

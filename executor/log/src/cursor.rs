//! Where reading goes on: a text that others keep and hand back, and need not understand.
//!
//! ```text
//! 1~e.11.4f3a.40.9ab31c02~o.7.0.11.4f00.3e.17aa20cd.2~r.1.0.0.811c9dc5~…~c0ffee12
//! ```
//!
//! In front the version, then one place for each log (file, offset, what is checked there, and for `exec.log` how much
//! of the next entry has been given), each open line behind its log, and at the end a checksum of it all. Numbers are
//! hexadecimal.

use crate::entry::Source;
use crate::exec_lines::{ExecPlace, Inside, Key};
use crate::files::FILES;
use crate::records::{Mark, checksum};
use std::fmt;
use std::str::FromStr;

/// The version of the text.
const VERSION: &str = "1";
/// What stands for an open line.
const OPEN: char = 'o';
/// A longer text is no cursor, in bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// A place between two lines of a sandbox's logs, as text by [`fmt::Display`] and [`FromStr`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// For each log that was read, by its index in [`FILES`].
    pub(crate) places: Vec<(usize, ExecPlace)>,
}

/// A text that is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCursor {
    /// It is cut off, mistyped, or something else.
    #[error("{text:?} is not a cursor of msb logs")]
    NotOne {
        /// The beginning of what was given.
        text: String,
    },
    /// It was written by another msb.
    #[error("the cursor is of version {version:?}, and this msb reads version {VERSION:?}")]
    Version {
        /// What it says.
        version: String,
    },
}

impl Cursor {
    pub(crate) fn place(&self, file: usize) -> Option<&ExecPlace> {
        self.places.iter().find(|(known, _)| *known == file).map(|(_, place)| place)
    }

    fn read(text: &str) -> Option<Self> {
        let (body, check) = text.rsplit_once('~')?;
        if u32::from_str_radix(check, 16).ok()? != checksum(body.as_bytes()) {
            return None;
        }
        let mut places: Vec<(usize, ExecPlace)> = Vec::new();
        for part in body.split('~').skip(1) {
            let mut fields = part.split('.');
            let kind = fields.next()?;
            if kind == OPEN.encode_utf8(&mut [0; 4]) {
                let session = number(fields.next()?)?;
                let source = *Source::ALL.get(usize::try_from(number(fields.next()?)?).ok()?)?;
                let key = (session.checked_sub(1), source);
                places.last_mut()?.1.open.push((key, inside(&mut fields)?));
            } else {
                let file = FILES.iter().position(|file| kind == file.letter.encode_utf8(&mut [0; 4]))?;
                places.push((file, ExecPlace { at: inside(&mut fields)?, open: Vec::new() }));
            }
            if fields.next().is_some() {
                return None;
            }
        }
        Some(Self { places })
    }
}

fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

fn inside<'a>(fields: &mut impl Iterator<Item = &'a str>) -> Option<Inside> {
    let mut next = || number(fields.next()?);
    let (generation, offset, tail) = (next()?, next()?, u8::try_from(next()?).ok()?);
    let (check, data) = (u32::try_from(next()?).ok()?, next()?);
    Some(Inside { entry: Mark { generation, offset, tail, check }, data })
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mark { generation, offset, tail, check } = self.entry;
        write!(f, "{generation:x}.{offset:x}.{tail:x}.{check:x}.{:x}", self.data)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let mut text = String::with_capacity(64 * self.places.len());
        text.push_str(VERSION);
        for (file, place) in &self.places {
            write!(text, "~{}.{}", FILES[*file].letter, place.at)?;
            for (key, start) in &place.open {
                let (session, source): Key = *key;
                let source = Source::ALL.iter().position(|known| *known == source).unwrap_or_default();
                // None is 0, and each number one more.
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
        let mark = |offset| Mark { generation: 17, offset, tail: 64, check: 0x9ab3_1c02 };
        let inside = |offset, data| Inside { entry: mark(offset), data };
        let open =
            vec![((Some(7), Source::Stdout), inside(0x4f00, 2)), ((None, Source::Stderr), inside(0x4f10, 0))];
        let exec = ExecPlace { at: inside(0x4f3a, 9), open };
        Cursor { places: vec![(0, exec), (2, mark(5).into())] }
    }

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let text = cursor().to_string();
        assert_eq!(
            text,
            "1~e.11.4f3a.40.9ab31c02.9~o.8.0.11.4f00.40.9ab31c02.2~o.0.1.11.4f10.40.9ab31c02.0\
             ~k.11.5.40.9ab31c02.0~4a363857"
        );
        assert_eq!(text.parse(), Ok(cursor()));
    }

    #[test]
    fn what_is_cut_off_or_mistyped_is_no_cursor() {
        let text = cursor().to_string();
        for end in 0..text.len() {
            text[..end].parse::<Cursor>().unwrap_err();
        }
        for (place, letter) in text.char_indices() {
            let other = if letter == '1' { "2" } else { "1" };
            let wrong = [&text[..place], other, &text[place + 1..]].concat();
            wrong.parse::<Cursor>().unwrap_err();
        }
        let newer = text.replacen('1', "2", 1).parse::<Cursor>();
        assert_eq!(newer, Err(InvalidCursor::Version { version: "2".into() }));
    }
}

//! Sparse files in GNU tar's old format and its two newer pax formats.

use super::entries::{EntryError, RECORD_BYTES, damaged, read_record};
use crate::tree::{BYTES_MAX, TreeError};
use std::io::{self, Read};
use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader};

/// The limit of segments per file.
const SEGMENTS_MAX: usize = 1 << 20;

/// A segment of contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its offset in the file.
    pub offset: u64,
    /// Its length, in bytes.
    pub length: u64,
}

/// Refuses segments that overlap, exceed the file, or do not match the contents in the archive.
pub fn check(segments: &[Segment], size: u64, stored: u64) -> Result<(), EntryError> {
    if size > BYTES_MAX {
        return Err(TreeError::TooManyBytes.into());
    }
    let wrong = || damaged("a sparse file's segments do not fit it");
    let (mut end, mut total) = (0u64, 0u64);
    for Segment { offset, length } in segments {
        if *offset < end {
            return Err(wrong().into());
        }
        end = offset.checked_add(*length).filter(|end| *end <= size).ok_or_else(wrong)?;
        total += length;
    }
    // The contents may be padded to whole records.
    if total > stored || stored - total >= RECORD_BYTES as u64 {
        return Err(wrong().into());
    }
    Ok(())
}

/// The segments in a header and the records that may follow it.
pub fn of_header(header: &GnuHeader, from: &mut dyn Read) -> Result<Vec<Segment>, EntryError> {
    let mut segments = Vec::new();
    let take = |segments: &mut Vec<Segment>, listed: &[GnuSparseHeader]| -> Result<(), EntryError> {
        for piece in listed.iter().take_while(|piece| !piece.is_empty()) {
            segments.push(Segment { offset: piece.offset()?, length: piece.length()? });
        }
        if segments.len() > SEGMENTS_MAX {
            Err(EntryError::Unsupported("a sparse file of too many segments"))
        } else {
            Ok(())
        }
    };
    take(&mut segments, &header.sparse)?;
    let mut goes_on = header.is_extended();
    while goes_on {
        let record = read_record(from)?.ok_or_else(|| damaged("a sparse file's map is truncated"))?;
        let mut more = GnuExtSparseHeader::new();
        more.as_mut_bytes().copy_from_slice(&record);
        take(&mut segments, more.sparse())?;
        goes_on = more.is_extended();
    }
    Ok(segments)
}

/// Pairs of offset and length.
pub fn of_numbers(numbers: impl Iterator<Item = Option<u64>>) -> Option<Vec<Segment>> {
    let numbers: Vec<u64> = numbers.collect::<Option<_>>()?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    Some(pairs.iter().map(|&[offset, length]| Segment { offset, length }).collect())
}

/// Reads the map before a file's contents: decimal numbers, one per line, the number of segments first, padded to whole
/// records. Also returns its length in bytes.
pub fn of_contents(from: &mut dyn Read) -> Result<(Vec<Segment>, u64), EntryError> {
    let mut map = Map { from, record: [0; RECORD_BYTES], at: RECORD_BYTES, read: 0 };
    let count = map.number()?;
    if count > SEGMENTS_MAX as u64 {
        return Err(EntryError::Unsupported("a sparse file of too many segments"));
    }
    let mut segments = Vec::new();
    for _ in 0..count {
        segments.push(Segment { offset: map.number()?, length: map.number()? });
    }
    Ok((segments, map.read))
}

struct Map<'a> {
    from: &'a mut dyn Read,
    record: [u8; RECORD_BYTES],
    at: usize,
    read: u64,
}

impl Map<'_> {
    fn number(&mut self) -> io::Result<u64> {
        let malformed = || damaged("a sparse file's map is malformed");
        let mut value: Option<u64> = None;
        loop {
            if self.at == RECORD_BYTES {
                self.record = read_record(self.from)?.ok_or_else(malformed)?;
                self.read += RECORD_BYTES as u64;
                self.at = 0;
            }
            let byte = self.record[self.at];
            self.at += 1;
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    let next = value.unwrap_or(0).checked_mul(10).and_then(|value| value.checked_add(digit));
                    value = Some(next.ok_or_else(malformed)?);
                }
                b'\n' => return value.ok_or_else(malformed),
                _ => return Err(malformed()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_must_fit_the_file_and_the_archive() {
        let piece = |offset, length| Segment { offset, length };
        assert!(check(&[piece(0, 10), piece(100, 10)], 200, 20).is_ok());
        for (segments, size, stored) in [
            (&[piece(100, 10), piece(0, 10)][..], 200, 20),
            (&[piece(0, 10), piece(5, 10)], 200, 20),
            (&[piece(195, 10)], 200, 10),
            (&[piece(u64::MAX, 10)], 200, 10),
            (&[piece(0, 10)], 200, 9),
            (&[piece(0, 10)], 200, 10 + 512),
            (&[], 200, 512),
        ] {
            assert!(matches!(check(segments, size, stored), Err(EntryError::Archive(_))), "{segments:?}");
        }
        assert!(matches!(check(&[], u64::MAX, 0), Err(EntryError::TreeError(TreeError::TooManyBytes))));
    }

    #[test]
    fn maps_are_numbers_and_nothing_else() {
        let mut map = b"2\n0\n512\n1048576\n7\n".to_vec();
        map.resize(512, 0);
        let (segments, read) = of_contents(&mut &map[..]).unwrap();
        assert_eq!(read, 512);
        assert_eq!(segments[1], Segment { offset: 1 << 20, length: 7 });
        for bad in ["2\n0\n512\n", "\n", "-1\n", "99999999999999999999999\n", "4000000\n"] {
            let mut map = bad.as_bytes().to_vec();
            map.resize(512, 0);
            assert!(of_contents(&mut &map[..]).is_err(), "{bad}");
        }
    }
}

//! Streaming tar reader that bounds every size before anything is buffered.
//!
//! The `tar` crate's reader is not used: it buffers long names and extended headers of any size, and does not support
//! GNU tar's sparse files in pax format. Its parser of header fields is.

use super::pax::{self, Extensions};
use super::sparse::{self, Segment};
use crate::tree::{Attributes, BYTES_MAX, Device, Kind, ROOT, TreeError};
use std::collections::BTreeMap;
use std::io::{self, Read};
use tar::{EntryType, Header};

/// Bytes per record.
pub const RECORD_BYTES: usize = 512;
/// The longest long name or extended header, in bytes.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;

/// Why reading an archive failed.
#[derive(Debug)]
pub enum EntryError {
    /// The archive is damaged.
    Archive(io::Error),
    /// An entry has an unsupported format.
    Unsupported(&'static str),
    /// An entry is not allowed.
    TreeError(TreeError),
    /// The consumer of the contents failed.
    Write(io::Error),
}

impl From<io::Error> for EntryError {
    fn from(error: io::Error) -> Self {
        Self::Archive(error)
    }
}

impl From<TreeError> for EntryError {
    fn from(refused: TreeError) -> Self {
        Self::TreeError(refused)
    }
}

/// An error about a malformed archive.
pub fn damaged(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// A parsed entry.
#[derive(Debug)]
pub enum ParsedEntry {
    /// A new inode.
    Node(Kind, Attributes),
    /// A hard link to this path.
    HardLink(Box<[u8]>),
}

/// The source of an archive's bytes.
pub trait Source: Read {
    /// Skips bytes; returns how many were skipped, fewer at the end.
    ///
    /// # Errors
    ///
    /// If the source cannot be read.
    fn skip(&mut self, bytes: u64) -> io::Result<u64>;
}

impl<S: Source> Source for &mut S {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        (**self).skip(bytes)
    }
}

/// The reader of an archive.
pub struct Entries<R> {
    from: R,
    /// The remaining bytes of the last entry's contents, padding included.
    rest: u64,
    /// The path of the current entry, for messages.
    path: Vec<u8>,
    /// The segments of the current entry's contents, if it is sparse.
    segments: Option<Vec<Segment>>,
    /// The bytes of contents in the archive.
    stored: u64,
}

impl<R: Source> Entries<R> {
    /// Starts reading.
    pub fn new(from: R) -> Self {
        Self { from, rest: 0, path: Vec::new(), segments: None, stored: 0 }
    }

    /// The path of the last entry.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The bytes of contents of the last entry, and whether they are the whole file in one piece.
    pub fn stored(&self) -> (u64, bool) {
        (self.stored, self.segments.is_none())
    }

    /// The source.
    pub fn source(&self) -> &R {
        &self.from
    }

    /// The next entry; `None` at the end of the archive.
    ///
    /// # Errors
    ///
    /// If the archive is damaged, or the entry is unsupported or not allowed.
    pub fn next(&mut self) -> Result<Option<ParsedEntry>, EntryError> {
        self.skip_rest()?;
        let mut extensions = Extensions::default();
        let (mut long_name, mut long_link) = (None, None);
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size()?;
            let kind = header.entry_type();
            match kind {
                EntryType::GNULongName => long_name = Some(text_of(self.extension(size)?)),
                EntryType::GNULongLink => long_link = Some(text_of(self.extension(size)?)),
                EntryType::XHeader => extensions = pax::parse(&self.extension(size)?)?,
                EntryType::XGlobalHeader => {
                    self.path = header.path_bytes().into_owned();
                    self.extension(size)?;
                }
                _ => {
                    if extensions.path.is_some() {
                        long_name = extensions.path.take();
                    }
                    if extensions.link.is_some() {
                        long_link = extensions.link.take();
                    }
                    self.path = long_name.unwrap_or_else(|| header.path_bytes().into_owned());
                    let link = long_link
                        .unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
                    return self.describe(&header, &link, extensions).map(Some);
                }
            }
        }
    }

    fn describe(
        &mut self,
        header: &Header,
        link: &[u8],
        mut extensions: Extensions,
    ) -> Result<ParsedEntry, EntryError> {
        let size = match extensions.size {
            Some(size) => size,
            None => header.entry_size()?,
        };
        let sparse = extensions.sparse.take();
        let attributes = attributes(header, extensions)?;
        let device = || -> io::Result<Device> {
            Ok(Device {
                major: header.device_major()?.unwrap_or(0),
                minor: header.device_minor()?.unwrap_or(0),
            })
        };
        if link.contains(&0) {
            return Err(TreeError::Nul.into());
        }
        let folder = Kind::Directory { parent: ROOT, entries: BTreeMap::new() };
        let kind = match header.entry_type() {
            // Archives from before 1988 mark directories by their name alone.
            EntryType::Regular if self.path.ends_with(b"/") && size == 0 => folder,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                Kind::File { size: self.begin_file(header, size, sparse)? }
            }
            EntryType::Directory => folder,
            EntryType::Symlink => Kind::Symlink { target: link.into() },
            EntryType::Char => Kind::Character(device()?),
            EntryType::Block => Kind::Block(device()?),
            EntryType::Fifo => Kind::Fifo,
            // A link has no contents, whatever size it states, as in Go and GNU tar.
            EntryType::Link => return Ok(ParsedEntry::HardLink(link.into())),
            _ => return Err(EntryError::Unsupported("of a type that only backups have")),
        };
        Ok(ParsedEntry::Node(kind, attributes))
    }

    /// Prepares reading a file's contents. Returns its unpacked size.
    fn begin_file(
        &mut self,
        header: &Header,
        stored: u64,
        sparse: Option<pax::Sparse>,
    ) -> Result<u64, EntryError> {
        if stored > BYTES_MAX {
            return Err(TreeError::TooManyBytes.into());
        }
        self.stored = stored;
        self.rest = stored.next_multiple_of(RECORD_BYTES as u64);
        self.segments = None;
        let sparse = match (sparse, header.as_gnu()) {
            (Some(sparse), _) => {
                if let Some(name) = sparse.name {
                    self.path = name;
                }
                let segments = match sparse.map {
                    Some(segments) => segments,
                    None => self.read_sparse_map()?,
                };
                Some((segments, sparse.size))
            }
            (None, Some(gnu)) if header.entry_type() == EntryType::GNUSparse => {
                Some((sparse::of_header(gnu, &mut self.from)?, gnu.real_size()?))
            }
            _ => None,
        };
        let Some((segments, size)) = sparse else { return Ok(stored) };
        sparse::check(&segments, size, self.stored)?;
        self.segments = Some(segments);
        Ok(size)
    }

    /// Reads the map before the contents (GNU pax format 1.0).
    fn read_sparse_map(&mut self) -> Result<Vec<Segment>, EntryError> {
        let limit = self.rest.min(EXTENSION_BYTES_MAX * 16);
        let (segments, read) = sparse::of_contents(&mut (&mut self.from).take(limit))?;
        self.rest -= read;
        self.stored =
            self.stored.checked_sub(read).ok_or_else(|| damaged("a sparse file's map is truncated"))?;
        Ok(segments)
    }

    /// Passes the contents of the last entry to `take`, with their offset in the file.
    pub fn contents(
        &mut self,
        chunk: &mut [u8],
        with: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<(), EntryError> {
        let whole = [Segment { offset: 0, length: self.stored }];
        let segments = self.segments.take();
        for segment in segments.as_deref().unwrap_or(&whole) {
            let mut done = 0;
            while done < segment.length {
                let length = (segment.length - done).min(chunk.len() as u64) as usize;
                self.from.read_exact(&mut chunk[..length])?;
                self.rest -= length as u64;
                with(segment.offset + done, &chunk[..length]).map_err(EntryError::Write)?;
                done += length as u64;
            }
        }
        Ok(())
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        let skipped = self.from.skip(self.rest)?;
        if skipped < self.rest {
            return Err(damaged("it ends in the middle of an entry"));
        }
        self.rest = 0;
        Ok(())
    }

    /// The next header with a valid checksum; `None` at the end.
    fn header(&mut self) -> Result<Option<Header>, EntryError> {
        let Some(record) = read_record(&mut self.from)? else { return Ok(None) };
        if record.iter().all(|&byte| byte == 0) {
            // Two records of zeros end an archive; anything after them is padding.
            return match read_record(&mut self.from)? {
                Some(record) if record.iter().any(|&byte| byte != 0) => {
                    Err(damaged("there is a record of zeros between its entries").into())
                }
                _ => Ok(None),
            };
        }
        if !has_checksum(&record) {
            return Err(damaged("a header's checksum is wrong").into());
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&record);
        Ok(Some(header))
    }

    /// Reads a long name or an extended header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, EntryError> {
        if size > EXTENSION_BYTES_MAX {
            return Err(EntryError::Unsupported("a name or an extended header of more than 1 MiB"));
        }
        let mut bytes = vec![0; size as usize];
        self.from.read_exact(&mut bytes)?;
        self.rest = size.next_multiple_of(RECORD_BYTES as u64) - size;
        self.skip_rest()?;
        Ok(bytes)
    }
}

/// A GNU long name ends at its first NUL.
fn text_of(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// Reads one record; `None` if the archive ends before it.
pub fn read_record(from: &mut dyn Read) -> io::Result<Option<[u8; RECORD_BYTES]>> {
    let mut record = [0; RECORD_BYTES];
    match read_full(from, &mut record)? {
        0 => Ok(None),
        RECORD_BYTES => Ok(Some(record)),
        _ => Err(damaged("it ends in the middle of a header")),
    }
}

/// Fills a buffer; returns its filled part's length, which is less than the whole at the end of the input.
pub fn read_full(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether a record is a header with a valid checksum, which old archivers computed with signed bytes.
pub fn has_checksum(record: &[u8; RECORD_BYTES]) -> bool {
    let bytes = || {
        record.iter().enumerate().map(|(index, &byte)| if (148..156).contains(&index) { b' ' } else { byte })
    };
    let unsigned: u32 = bytes().map(u32::from).sum();
    let signed: i32 = bytes().map(|byte| i32::from(byte as i8)).sum();
    Header::from_byte_slice(record)
        .cksum()
        .is_ok_and(|stated| stated == unsigned || i64::from(stated) == i64::from(signed))
}

fn attributes(header: &Header, extensions: Extensions) -> Result<Attributes, EntryError> {
    let id = |value: u64| {
        u32::try_from(value)
            .map_err(|_| EntryError::Unsupported("owned by a user or group number above 32 bits"))
    };
    // Some archivers omit unknown fields.
    let old = header.as_old();
    let blank = |field: &[u8]| field.iter().all(|byte| matches!(byte, 0 | b' '));
    let or_zero = |field: &[u8], value: io::Result<u64>| if blank(field) { Ok(0) } else { value };
    let Extensions { path: _, link: _, size: _, uid, gid, modified, extended, sparse: _ } = extensions;
    let modified = match modified {
        Some(modified) => modified,
        None => (or_zero(&old.mtime, header.mtime())?.try_into().unwrap_or(0), 0),
    };
    Ok(Attributes {
        mode: (or_zero(&old.mode, header.mode().map(u64::from))? & 0o7777) as u16,
        uid: id(uid.map_or_else(|| or_zero(&old.uid, header.uid()), Ok)?)?,
        gid: id(gid.map_or_else(|| or_zero(&old.gid, header.gid()), Ok)?)?,
        modified_seconds: modified.0,
        modified_nanoseconds: modified.1,
        extended,
    })
}

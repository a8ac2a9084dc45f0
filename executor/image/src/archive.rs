//! A tar archive as an image.
//!
//! The archive is hostile: it becomes a tree in memory, where a path can lead nowhere but into the tree.
//! Contents are then copied from the archive straight into the image.

use crate::error::ImageError;
use crate::ext4;
use crate::tree::{Attributes, BYTES_MAX, DEPTH_MAX, Device, ENTRIES_MAX, Kind, NodeId, ROOT, Refused, Tree};
use crate::walk::shown;
use flate2::read::MultiGzDecoder;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;
use tar::{Archive, Entry, EntryType, Header};

/// The most bytes of a long name or of one entry's extended header.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// The most bytes that a compressed archive may unpack to: contents and headers.
const UNPACKED_BYTES_MAX: u64 = BYTES_MAX + ENTRIES_MAX as u64 * 1536;
/// Bytes in a record of an archive.
const RECORD_BYTES: usize = 512;

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// By gzip.
    Gzip,
}

/// Recognizes an archive by its first bytes.
pub fn recognize(path: &Path, file: &File) -> Result<Packing, ImageError> {
    let mut start = [0; RECORD_BYTES];
    let mut filled = 0;
    while filled < start.len() {
        match file.read_at(&mut start[filled..], filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(source) => return Err(ImageError::Read { path: path.to_owned(), source }),
        }
    }
    let form = match &start[..filled] {
        [0x1f, 0x8b, ..] => return Ok(Packing::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "compressed with zstd",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "compressed with xz",
        [b'B', b'Z', b'h', ..] => "compressed with bzip2",
        [b'P', b'K', 3, 4, ..] => "a zip archive",
        [b'Q', b'F', b'I', 0xfb, ..] => "a qcow2 disk",
        bytes if bytes.len() == RECORD_BYTES && has_checksum(&start) => return Ok(Packing::Plain),
        _ => {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it does not begin with a tar header");
            return Err(ImageError::BadArchive { path: path.to_owned(), source });
        }
    };
    Err(ImageError::Unsupported { path: path.to_owned(), form })
}

fn has_checksum(record: &[u8; RECORD_BYTES]) -> bool {
    let sum: u32 = record
        .iter()
        .enumerate()
        .map(|(index, &byte)| if (148..156).contains(&index) { u32::from(b' ') } else { u32::from(byte) })
        .sum();
    Header::from_byte_slice(record).cksum().is_ok_and(|stated| stated == sum)
}

/// Unpacks a compressed archive into a nameless file of a folder.
pub fn unpack_gzip(path: &Path, file: &File, folder: &Path) -> Result<File, ImageError> {
    let written = |source| ImageError::Write { path: folder.to_owned(), source };
    let bad = |source| ImageError::BadArchive { path: path.to_owned(), source };
    let mut unpacked = tempfile::tempfile_in(folder).map_err(written)?;
    let mut reader = MultiGzDecoder::new(io::BufReader::new(file)).take(UNPACKED_BYTES_MAX + 1);
    let mut chunk = vec![0; 1 << 18];
    let mut total = 0;
    loop {
        let length = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(source) => return Err(bad(source)),
        };
        total += length as u64;
        if total > UNPACKED_BYTES_MAX {
            return Err(ImageError::Entry {
                path: path.to_owned(),
                entry: String::new(),
                source: Refused::TooManyBytes,
            });
        }
        io::Write::write_all(&mut unpacked, &chunk[..length]).map_err(written)?;
    }
    unpacked.rewind().map_err(written)?;
    Ok(unpacked)
}

/// An archive that was read: all but its files' contents.
pub struct Scanned {
    /// What is in it.
    pub tree: Tree,
    /// Which entry, counted from 0, has a file's contents.
    files: HashMap<usize, NodeId>,
}

/// Reads an archive's headers.
pub fn scan(path: &Path, file: &mut File) -> Result<Scanned, ImageError> {
    check_extensions(path, file)?;
    let bad = |source| ImageError::BadArchive { path: path.to_owned(), source };
    let mut scanned = Scanned { tree: Tree::new(Attributes::default()), files: HashMap::new() };
    file.rewind().map_err(bad)?;
    let mut archive = Archive::new(&*file);
    for (index, entry) in archive.entries_with_seek().map_err(bad)?.enumerate() {
        let mut entry = entry.map_err(bad)?;
        let name = entry.path_bytes().into_owned();
        let described = describe(&mut entry).map_err(|form| match form {
            Wrong::Form(form) => {
                ImageError::UnsupportedEntry { path: path.to_owned(), entry: shown(&name), form }
            }
            Wrong::Header(source) => bad(source),
            Wrong::Refused(source) => {
                ImageError::Entry { path: path.to_owned(), entry: shown(&name), source }
            }
        })?;
        scanned.insert(index, &name, described).map_err(|source| ImageError::Entry {
            path: path.to_owned(),
            entry: shown(&name),
            source,
        })?;
    }
    // A later entry of the same name replaces a file: its contents are then needed no longer.
    let Scanned { tree, files } = &mut scanned;
    files.retain(|_, id| tree.nodes()[*id].links > 0);
    Ok(scanned)
}

/// Long names and extended headers are read whole into memory by the tar reader: bounds them first.
fn check_extensions(path: &Path, file: &mut File) -> Result<(), ImageError> {
    let bad = |source| ImageError::BadArchive { path: path.to_owned(), source };
    file.rewind().map_err(bad)?;
    let mut archive = Archive::new(&*file);
    let mut count = 0usize;
    for entry in archive.entries_with_seek().map_err(bad)?.raw(true) {
        let entry = entry.map_err(bad)?;
        count += 1;
        let kind = entry.header().entry_type();
        let is_extension = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if is_extension && entry.size() > EXTENSION_BYTES_MAX {
            let form = "a name or an extended header of more than 1 MiB";
            let entry = shown(&entry.path_bytes());
            return Err(ImageError::UnsupportedEntry { path: path.to_owned(), entry, form });
        }
        // Each entry may have an extended header, a long name and a long link.
        if count > ENTRIES_MAX * 4 {
            let source = Refused::TooManyEntries;
            return Err(ImageError::Entry {
                path: path.to_owned(),
                entry: shown(&entry.path_bytes()),
                source,
            });
        }
    }
    Ok(())
}

/// What an entry asks for.
enum Described {
    Node(Kind, Attributes),
    HardLink(Vec<u8>),
    Nothing,
}

enum Wrong {
    Form(&'static str),
    Header(io::Error),
    Refused(Refused),
}

fn describe(entry: &mut Entry<'_, &File>) -> Result<Described, Wrong> {
    let attributes = attributes(entry)?;
    let header = entry.header();
    let device = || -> Result<Device, Wrong> {
        let major = header.device_major().map_err(Wrong::Header)?;
        let minor = header.device_minor().map_err(Wrong::Header)?;
        Ok(Device { major: major.unwrap_or(0), minor: minor.unwrap_or(0) })
    };
    let target = || -> Result<Vec<u8>, Wrong> {
        let target = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
        if target.contains(&0) { Err(Wrong::Refused(Refused::Nul)) } else { Ok(target) }
    };
    let folder = Kind::Directory { parent: ROOT, entries: BTreeMap::new() };
    let kind = match header.entry_type() {
        // Archives from before 1988 tell directories by their name alone.
        EntryType::Regular if entry.path_bytes().ends_with(b"/") && entry.size() == 0 => folder,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            Kind::File { size: entry.size() }
        }
        EntryType::Directory => folder,
        EntryType::Symlink => Kind::Symlink { target: target()?.into() },
        EntryType::Char => Kind::Character(device()?),
        EntryType::Block => Kind::Block(device()?),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Link => return Ok(Described::HardLink(target()?)),
        EntryType::XGlobalHeader => return Ok(Described::Nothing),
        _ => return Err(Wrong::Form("of a type that only backups have")),
    };
    Ok(Described::Node(kind, attributes))
}

fn attributes(entry: &mut Entry<'_, &File>) -> Result<Attributes, Wrong> {
    let header = entry.header();
    let id = |value: io::Result<u64>| -> Result<u32, Wrong> {
        let value = value.map_err(Wrong::Header)?;
        u32::try_from(value).map_err(|_| Wrong::Form("owned by a user or group number above 32 bits"))
    };
    // Some archivers leave out what they do not know.
    let old = header.as_old();
    let blank = |field: &[u8]| field.iter().all(|byte| matches!(byte, 0 | b' '));
    let or_zero = |field: &[u8], value: io::Result<u64>| if blank(field) { Ok(0) } else { value };
    let mtime = or_zero(&old.mtime, header.mtime()).map_err(Wrong::Header)?;
    let mut attributes = Attributes {
        mode: (header.mode().map_err(Wrong::Header)? & 0o7777) as u16,
        uid: id(or_zero(&old.uid, header.uid()))?,
        gid: id(or_zero(&old.gid, header.gid()))?,
        modified_seconds: mtime.try_into().unwrap_or(0),
        ..Attributes::default()
    };
    let Some(extensions) = entry.pax_extensions().map_err(Wrong::Header)? else { return Ok(attributes) };
    for extension in extensions {
        let extension = extension.map_err(Wrong::Header)?;
        let (key, value) = (extension.key_bytes(), extension.value_bytes());
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        let wrong_number =
            || io::Error::new(io::ErrorKind::InvalidData, "an extended header's number is not one");
        match key {
            b"uid" => attributes.uid = id(number().ok_or_else(wrong_number))?,
            b"gid" => attributes.gid = id(number().ok_or_else(wrong_number))?,
            b"mtime" => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
                let nanoseconds: String = fraction.chars().chain("000000000".chars()).take(9).collect();
                attributes.modified_seconds = seconds.parse().unwrap_or(0);
                attributes.modified_nanoseconds = nanoseconds.parse().unwrap_or(0);
            }
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(Wrong::Form("a sparse file in the pax form"));
            }
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.")
                    && ext4::attribute_is_kept(name)
                {
                    attributes.extended.insert(name.into(), value.into());
                }
            }
        }
    }
    if !ext4::attributes_fit(&attributes.extended) {
        return Err(Wrong::Refused(Refused::AttributesTooLarge));
    }
    Ok(attributes)
}

impl Scanned {
    fn insert(&mut self, index: usize, path: &[u8], described: Described) -> Result<(), Refused> {
        let (kind, attributes) = match described {
            Described::Nothing => return Ok(()),
            Described::HardLink(target) => return self.insert_hard_link(path, &target),
            Described::Node(kind, attributes) => (kind, attributes),
        };
        let components = components(path)?;
        let Some((name, parents)) = components.split_last() else {
            // `./`: the root itself.
            return match kind {
                Kind::Directory { .. } => {
                    self.tree.set_attributes(ROOT, attributes);
                    Ok(())
                }
                _ => Err(Refused::Empty),
            };
        };
        let parent = self.make_folders(parents)?;
        let is_file = matches!(kind, Kind::File { .. });
        let id = self.tree.add(parent, name, kind, attributes)?;
        if is_file {
            self.files.insert(index, id);
        }
        Ok(())
    }

    fn insert_hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Refused> {
        let found = components(target)?.iter().try_fold(ROOT, |folder, name| self.tree.child(folder, name));
        let id = found.ok_or_else(|| Refused::LinkMissing { target: shown(target) })?;
        if matches!(self.tree.nodes()[id].kind, Kind::Directory { .. }) {
            return Err(Refused::LinkToDirectory { target: shown(target) });
        }
        let components = components(path)?;
        let (name, parents) = components.split_last().ok_or(Refused::Empty)?;
        let parent = self.make_folders(parents)?;
        self.tree.link(parent, name, id)
    }

    /// The directory of a path, made where an archive does not list it. Never through a link.
    fn make_folders(&mut self, components: &[&[u8]]) -> Result<NodeId, Refused> {
        let mut folder = ROOT;
        for (depth, name) in components.iter().enumerate() {
            folder = match self.tree.child(folder, name) {
                None => {
                    let kind = Kind::Directory { parent: folder, entries: BTreeMap::new() };
                    self.tree.add(folder, name, kind, Attributes::default())?
                }
                Some(id) => match &self.tree.nodes()[id].kind {
                    Kind::Directory { .. } => id,
                    other => {
                        let through = shown(&components[..=depth].join(&b'/'));
                        return Err(Refused::Through { through, kind: other.name() });
                    }
                },
            };
        }
        Ok(folder)
    }

    /// Hands out each file's contents, in the archive's order.
    pub fn for_each_file(
        &self,
        path: &Path,
        file: &mut File,
        mut with: impl FnMut(NodeId, &mut dyn Read) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let bad = |source| ImageError::BadArchive { path: path.to_owned(), source };
        file.rewind().map_err(bad)?;
        let mut archive = Archive::new(&*file);
        for (index, entry) in archive.entries_with_seek().map_err(bad)?.enumerate() {
            let mut entry = entry.map_err(bad)?;
            if let Some(&id) = self.files.get(&index) {
                with(id, &mut entry)?;
            }
        }
        Ok(())
    }
}

fn components(path: &[u8]) -> Result<Vec<&[u8]>, Refused> {
    if path.first() == Some(&b'/') {
        return Err(Refused::Absolute);
    }
    if path.contains(&0) {
        return Err(Refused::Nul);
    }
    let components: Vec<&[u8]> =
        path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    if components.iter().any(|name| *name == b"..") {
        return Err(Refused::Climbs);
    }
    if components.len() > DEPTH_MAX {
        return Err(Refused::TooDeep);
    }
    Ok(components)
}

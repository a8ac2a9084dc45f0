//! Listing directories.

use super::handles::{Handle, OpenDirectory};
use super::host::{self, Answer};
use super::inode::{FileId, Opened, stat_number};
use super::{ROOT, ShareFs};
use crate::lock;
use fuse_backend_rs::api::filesystem::{DirEntry, Entry};
use rustix::fs::{FileType, OFlags, RawDir, SeekFrom, seek};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

/// The size of a buffer for directory entries in bytes.
const BUFFER_BYTES: usize = 16 * 1024;

/// The entries of an open directory.
#[derive(Debug)]
pub enum Stream {
    /// Those of the synthetic root.
    Root,
    /// Those of a directory of the host.
    Host(HostStream),
}

/// The entries of an open directory of the host.
#[derive(Debug)]
pub struct HostStream {
    directory: OwnedFd,
    /// Entries that were read and not listed yet.
    pending: VecDeque<Listed>,
    /// The offset of the first pending entry, or that at which the directory is read next.
    offset: u64,
    /// Whether the directory has no entries after the pending ones.
    complete: bool,
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct Listed {
    number: u64,
    next: u64,
    kind: u32,
    name: CString,
}

impl HostStream {
    fn new(directory: OwnedFd) -> Self {
        Self { directory, pending: VecDeque::new(), offset: 0, complete: false }
    }

    /// Moves to an offset that was returned with an entry; 0 is the start.
    fn seek(&mut self, offset: u64) -> Answer<()> {
        if offset != self.offset || offset == 0 {
            self.pending.clear();
            self.complete = false;
            seek(
                &self.directory,
                SeekFrom::Start(i64::try_from(offset).map_err(|_| Errno::INVAL)?.cast_unsigned()),
            )?;
            self.offset = offset;
        }
        Ok(())
    }

    /// Returns the next entry without moving; `None` at the end.
    fn peek(&mut self) -> Answer<Option<Listed>> {
        if self.pending.is_empty() && !self.complete {
            let mut buffer = Vec::with_capacity(BUFFER_BYTES);
            let mut entries = RawDir::new(&self.directory, buffer.spare_capacity_mut());
            while let Some(entry) = entries.next() {
                let entry = entry?;
                self.pending.push_back(Listed {
                    number: entry.ino(),
                    next: entry.next_entry_cookie(),
                    kind: directory_kind(entry.file_type()),
                    name: entry.file_name().to_owned(),
                });
                if entries.is_buffer_empty() {
                    break;
                }
            }
            self.complete = self.pending.is_empty();
        }
        Ok(self.pending.front().cloned())
    }

    /// Moves past an entry that was listed.
    fn advance(&mut self) {
        if let Some(entry) = self.pending.pop_front() {
            self.offset = entry.next;
        }
    }
}

impl ShareFs {
    pub(super) fn open_directory(&self, number: u64) -> Answer<u64> {
        self.handles.check_room()?;
        if number == ROOT {
            let root = OpenDirectory { stream: Mutex::new(Stream::Root), opened: None };
            return Ok(self.handles.add(Handle::Directory(Arc::new(root))));
        }
        let inode = self.inodes.get(number)?;
        if !inode.is_directory() {
            return Err(Errno::NOTDIR);
        }
        self.watch(&inode);
        let descriptor = self.inodes.descriptor(&inode)?;
        let directory = self.descriptors.reopen(&descriptor, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let stream = Mutex::new(Stream::Host(HostStream::new(directory)));
        let open = OpenDirectory { stream, opened: Some(Opened::new(&inode, false)) };
        Ok(self.handles.add(Handle::Directory(Arc::new(open))))
    }

    pub(super) fn sync_directory(&self, number: u64, handle: u64) -> Answer<()> {
        let directory = self.handles.directory(handle, number)?;
        match &*lock(&directory.stream) {
            Stream::Root => Ok(()),
            Stream::Host(stream) => rustix::fs::fsync(&stream.directory),
        }
    }

    /// Lists entries from an offset until `add` returns that one had no room.
    pub(super) fn list(
        &self,
        number: u64,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> io::Result<usize>,
    ) -> io::Result<()> {
        let directory = self.handles.directory(handle, number)?;
        let mut stream = lock(&directory.stream);
        let Stream::Host(stream) = &mut *stream else {
            return self.list_root(offset, &mut |entry, _| add(entry));
        };
        stream.seek(offset)?;
        while let Some(listed) = stream.peek()? {
            let kind = self.listed_kind(&directory, &listed);
            if add(self.entry_of(&directory, &listed, kind))? == 0 {
                break;
            }
            stream.advance();
        }
        Ok(())
    }

    /// Lists entries with their attributes, see [`ShareFs::list`]. Each counts as a lookup.
    pub(super) fn list_with_attributes(
        &self,
        number: u64,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Entry) -> io::Result<usize>,
    ) -> io::Result<()> {
        let directory = self.handles.directory(handle, number)?;
        let mut stream = lock(&directory.stream);
        let Stream::Host(stream) = &mut *stream else {
            return self.list_root(offset, add);
        };
        stream.seek(offset)?;
        while let Some(listed) = stream.peek()? {
            let entry = if is_dot(&listed) {
                // Without an inode number, which tells the guest that there are no attributes.
                Entry::default()
            } else {
                match self.look_up(number, &listed.name) {
                    Ok(entry) => entry,
                    Err(Errno::NOENT) => {
                        stream.advance();
                        continue;
                    }
                    Err(_) => Entry::default(),
                }
            };
            let kind = if entry.inode == 0 { listed.kind } else { kind_in_listing(entry.attr.st_mode) };
            let added = add(self.entry_of(&directory, &listed, kind), entry);
            if !matches!(added, Ok(1..)) {
                if entry.inode != 0 {
                    self.forget_inode(entry.inode, 1);
                }
                return added.map(drop);
            }
            stream.advance();
        }
        Ok(())
    }

    fn list_root(
        &self,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Entry) -> io::Result<usize>,
    ) -> io::Result<()> {
        let dots = [".", ".."].map(|name| (name.to_owned(), ROOT));
        let shares = self.roots.iter().enumerate().map(|(index, number)| (index.to_string(), *number));
        let all = dots.into_iter().chain(shares).zip(1..);
        for ((name, number), next) in all.skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            let entry =
                if number == ROOT { Entry::default() } else { self.entry(&self.inodes.get(number)?)? };
            let kind = if number == ROOT { libc::S_IFDIR } else { entry.attr.st_mode };
            let listed = DirEntry {
                ino: if number == ROOT { stat_number(None, 0, ROOT) } else { entry.attr.st_ino },
                offset: next,
                type_: kind_in_listing(kind),
                name: name.as_bytes(),
            };
            // The lookups of the roots are not counted, because they are never forgotten.
            if add(listed, entry)? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn entry_of<'a>(&self, directory: &OpenDirectory, listed: &'a Listed, kind: u32) -> DirEntry<'a> {
        let device = directory.opened.as_ref().map(|opened| {
            let inode = opened.inode();
            self.short_device(&inode.share, inode.file.device)
        });
        let number = stat_number(device.flatten(), listed.number, listed.number);
        DirEntry { ino: number, offset: listed.next, type_: kind, name: listed.name.to_bytes() }
    }

    /// Returns the kind of an entry in the guest: that of a regular file of the host may be in its override.
    fn listed_kind(&self, directory: &OpenDirectory, listed: &Listed) -> u32 {
        match &directory.opened {
            Some(opened) if listed.kind == u32::from(libc::DT_REG) && opened.inode().share.virtualizes() => {
                let file = FileId { number: listed.number, ..opened.inode().file };
                // The kind of a file does not change, and while it is open its number is not used again.
                if let Some(inode) = self.inodes.of_open_file(file) {
                    return kind_in_listing(inode.kind);
                }
                self.find(opened.inode(), &listed.name)
                    .map_or(listed.kind, |(found, _)| kind_in_listing(found.kind))
            }
            _ => listed.kind,
        }
    }
}

/// Whether an entry stands for the directory itself or its parent.
fn is_dot(listed: &Listed) -> bool {
    host::check_name(&listed.name).is_err()
}

/// Converts the kind in a mode to that in a listing.
fn kind_in_listing(mode: u32) -> u32 {
    (mode & host::KIND) >> 12
}

fn directory_kind(kind: FileType) -> u32 {
    match kind {
        FileType::Unknown => u32::from(libc::DT_UNKNOWN),
        kind => kind_in_listing(kind.as_raw_mode()),
    }
}

//! Creating files, directories, links and nodes.

use super::data::open_flags;
use super::handles::Handle;
use super::host::{self, Answer, KIND, PERMISSIONS, TARGET_MAX};
use super::inode::Inode;
use super::quota::{ENTRY_BYTES, growth};
use super::share::PRIVILEGES;
use super::{CACHE_TIME, ShareFs};
use crate::stat_override::StatOverride;
use fuse_backend_rs::abi::fuse_abi::{Attr, CreateIn};
use fuse_backend_rs::api::filesystem::{Context, Entry, OpenOptions};
use rules::mount_text::StatVirt;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, mknodat, openat, symlinkat, unlinkat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The mode of files while they are created.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A place for a new entry.
pub(super) struct Target<'a> {
    /// The directory.
    pub parent: Arc<Inode>,
    /// Its descriptor.
    pub directory: Arc<OwnedFd>,
    /// The name.
    pub name: &'a CStr,
}

/// What a new file is.
#[derive(Clone, Copy)]
pub(super) struct New {
    /// The user who creates it.
    pub context: Context,
    /// Its kind and permissions.
    pub mode: u32,
    /// Its device number.
    pub rdev: u32,
}

impl ShareFs {
    /// Returns the place of a new entry, after all checks that need no access to the host.
    pub(super) fn target<'a>(&self, parent: u64, name: &'a CStr) -> Answer<Target<'a>> {
        let parent = self.writable(parent)?;
        host::check_name(name)?;
        if !parent.is_directory() {
            return Err(Errno::NOTDIR);
        }
        let directory = self.inodes.descriptor(&parent)?;
        if let Some(changes) = &self.changes {
            changes.entry_by_guest(&parent, name);
        }
        Ok(Target { parent, directory, name })
    }

    /// Returns the place of a new entry, as [`ShareFs::target`], if there is room for its inode.
    fn place<'a>(&self, parent: u64, name: &'a CStr) -> Answer<Target<'a>> {
        self.inodes.check_room()?;
        self.target(parent, name)
    }

    /// Creates a file of any kind but a directory or a symbolic link.
    pub(super) fn make_node(&self, parent: u64, name: &CStr, new: New) -> Answer<Entry> {
        let target = self.place(parent, name)?;
        match new.mode & KIND {
            // No kind stands for a regular file, as in mknod(2).
            libc::S_IFREG | 0 => {
                let new = New { mode: libc::S_IFREG | new.mode & PERMISSIONS, ..new };
                self.make_file(&target, new, OFlags::empty())?;
            }
            libc::S_IFCHR | libc::S_IFBLK | libc::S_IFIFO | libc::S_IFSOCK => {
                self.make_special(&target, new)?
            }
            _ => return Err(Errno::INVAL),
        }
        self.look_up(parent, name)
    }

    /// Creates a file, or opens it if it exists and that is not excluded.
    pub(super) fn create_file(
        &self,
        context: &Context,
        parent: u64,
        name: &CStr,
        wanted: CreateIn,
    ) -> Answer<(Entry, u64, OpenOptions)> {
        self.handles.check_room()?;
        let target = self.place(parent, name)?;
        let flags = OFlags::from_bits_retain(wanted.flags);
        let new = New { context: *context, mode: libc::S_IFREG | wanted.mode & PERMISSIONS, rdev: 0 };
        let file = match self.make_file(&target, new, open_flags(wanted.flags) & OFlags::SYNC) {
            Ok(file) => file,
            Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => {
                let entry = self.look_up(parent, name)?;
                let flags = wanted.flags & !(OFlags::CREATE | OFlags::EXCL).bits();
                return match self.open_file(entry.inode, flags, wanted.fuse_flags) {
                    Ok((handle, options)) => Ok((entry, handle, options)),
                    Err(error) => {
                        self.forget_inode(entry.inode, 1);
                        Err(error)
                    }
                };
            }
            Err(error) => return Err(error),
        };
        let again = self.descriptors.reopen(&file, OFlags::PATH)?;
        let (found, attributes) = self.found(&target.parent, name, again)?;
        let opened = File::from(file);
        let inode = self.inodes.look_up(found)?;
        match self.opened(&inode, opened, flags) {
            Ok(opened) => {
                let entry = self.entry_with(&inode, self.numbered(&inode, attributes), CACHE_TIME);
                Ok((entry, self.handles.add(Handle::File(Arc::new(opened))), OpenOptions::empty()))
            }
            Err(error) => {
                self.forget_inode(inode.number, 1);
                Err(error)
            }
        }
    }

    /// Creates a directory.
    pub(super) fn make_directory(&self, parent: u64, name: &CStr, new: New) -> Answer<Entry> {
        let target = self.place(parent, name)?;
        let new = New { mode: libc::S_IFDIR | new.mode & PERMISSIONS, ..new };
        let stored = self.stored(&target, new)?;
        self.reserve(&target.parent, ENTRY_BYTES)?;
        let made = mkdirat(&target, name, Mode::RWXU).and_then(|()| {
            let finish = || {
                let directory = host::open_child(&target, name)?;
                let stat = rustix::fs::fstat(&directory)?;
                if host::kind_of(&stat) != libc::S_IFDIR {
                    return Err(Errno::NOTDIR);
                }
                if let Some(mode) = target.parent.share.host_mode(libc::S_IFDIR, new.mode) {
                    self.descriptors.chmod(&directory, mode | stat.st_mode & host_group_bit(&target))?;
                }
                stored.map_or(Ok(()), |stored| target.parent.share.write_override(&directory, stored))
            };
            finish().inspect_err(|_| {
                let _ = unlinkat(&target, name, AtFlags::REMOVEDIR);
            })
        });
        if let Err(error) = made {
            self.give_back(&target.parent, ENTRY_BYTES);
            return Err(error);
        }
        self.look_up(parent, name)
    }

    /// Creates a symbolic link.
    pub(super) fn make_link(
        &self,
        context: &Context,
        text: &CStr,
        parent: u64,
        name: &CStr,
    ) -> Answer<Entry> {
        if text.to_bytes().len() > TARGET_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let target = self.place(parent, name)?;
        if target.parent.share.policy.stat_virt == StatVirt::Strict {
            let new = New { context: *context, mode: libc::S_IFLNK | 0o777, rdev: 0 };
            let stored = self.stored(&target, new)?;
            self.add_virtual(&target, stored, text.to_bytes())?;
        } else {
            self.reserve(&target.parent, ENTRY_BYTES)?;
            symlinkat(text, &target, name).inspect_err(|_| self.give_back(&target.parent, ENTRY_BYTES))?;
        }
        self.look_up(parent, name)
    }

    /// Creates a regular file, and opens it for reading and writing.
    fn make_file(&self, target: &Target<'_>, new: New, flags: OFlags) -> Answer<OwnedFd> {
        let share = &target.parent.share;
        let stored = self.stored(target, new)?;
        self.reserve(&target.parent, ENTRY_BYTES)?;
        let flags = flags | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(target, target.name, flags, PRIVATE_FILE).and_then(|file| {
            let finish = || {
                if let Some(mode) = share.host_mode(libc::S_IFREG, new.mode)
                    && mode != 0o600
                {
                    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
                }
                stored.map_or(Ok(()), |stored| share.write_override(&file, stored))?;
                self.count_attributes(&target.parent, &file)
            };
            match finish() {
                Ok(()) => Ok(file),
                Err(error) => {
                    let _ = unlinkat(target, target.name, AtFlags::empty());
                    Err(error)
                }
            }
        });
        made.inspect_err(|_| self.give_back(&target.parent, ENTRY_BYTES))
    }

    /// Creates a device node, a pipe or a socket.
    fn make_special(&self, target: &Target<'_>, new: New) -> Answer<()> {
        if let Some(stored) = self.stored(target, new)? {
            return self.add_virtual(target, Some(stored), b"");
        }
        let kind = match new.mode & KIND {
            libc::S_IFIFO => FileType::Fifo,
            libc::S_IFSOCK => FileType::Socket,
            _ => return Err(Errno::OPNOTSUPP),
        };
        self.reserve(&target.parent, ENTRY_BYTES)?;
        mknodat(target, target.name, kind, PRIVATE_FILE, 0)
            .inspect_err(|_| self.give_back(&target.parent, ENTRY_BYTES))?;
        // Whatever mask the server's process has.
        let chmod = || self.descriptors.chmod(host::open_child(target, target.name)?, new.mode & 0o777);
        chmod().inspect_err(|_| {
            let _ = unlinkat(target, target.name, AtFlags::empty());
            self.give_back(&target.parent, ENTRY_BYTES);
        })
    }

    /// Creates a regular file of the host that is of another kind in the guest. It gets its name when it is complete,
    /// where the host's file system can do that.
    fn add_virtual(&self, target: &Target<'_>, stored: Option<StatOverride>, content: &[u8]) -> Answer<()> {
        let share = &target.parent.share;
        let space = ENTRY_BYTES.saturating_add(growth(0, content.len() as u64));
        self.reserve(&target.parent, space)?;
        let fill = |file: OwnedFd| {
            stored.map_or(Ok(()), |stored| share.write_override(&file, stored))?;
            let mut file = File::from(file);
            file.write_all(content).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            let occupied = host::occupied(&rustix::fs::fstat(&file)?);
            Ok((file, ENTRY_BYTES.saturating_add(occupied)))
        };
        let unnamed = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let made = match openat(target, c".", unnamed, PRIVATE_FILE) {
            Ok(file) => fill(file).and_then(|(file, used)| {
                self.descriptors.link(&file, target, target.name)?;
                Ok(used)
            }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let named =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                openat(target, target.name, named, PRIVATE_FILE).and_then(|file| {
                    fill(file).map(|(_, used)| used).inspect_err(|_| {
                        let _ = unlinkat(target, target.name, AtFlags::empty());
                    })
                })
            }
            Err(error) => Err(error),
        };
        let used = made.inspect_err(|_| self.give_back(&target.parent, space))?;
        self.give_back(&target.parent, space.saturating_sub(used));
        Ok(())
    }

    /// Counts the space that the attributes of a new, empty file take.
    fn count_attributes(&self, parent: &Inode, file: &OwnedFd) -> Answer<()> {
        if parent.share.quota.is_none() {
            return Ok(());
        }
        self.reserve(parent, host::occupied(&rustix::fs::fstat(file)?))
    }

    /// Returns the override of a new file; `None` if the host's own metadata are shown.
    fn stored(&self, target: &Target<'_>, new: New) -> Answer<Option<StatOverride>> {
        if !target.parent.share.virtualizes() {
            return Ok(None);
        }
        let New { context, mut mode, rdev } = new;
        let parent: Attr = self.attributes(&target.parent)?;
        let inherits = parent.mode & libc::S_ISGID != 0;
        if inherits && mode & KIND == libc::S_IFDIR {
            mode |= libc::S_ISGID;
        }
        let rdev = if matches!(mode & KIND, libc::S_IFCHR | libc::S_IFBLK) { rdev } else { 0 };
        Ok(Some(StatOverride {
            uid: context.uid,
            gid: if inherits { parent.gid } else { context.gid },
            mode,
            rdev,
        }))
    }
}

/// Returns the bits that a new directory of the host inherits and keeps: with the host's own modes, its group.
fn host_group_bit(target: &Target<'_>) -> u32 {
    if target.parent.share.virtualizes() { 0 } else { PRIVILEGES & libc::S_ISGID }
}

impl AsFd for Target<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

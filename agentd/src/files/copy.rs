//! Copies a file or a tree within the guest, with modes, owners and the times of files; links are copied as links.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use protocol::latest::FileFailureKind;
use rustix::fs::futimens;

use crate::files::operation::{
    MODE_MASK, make_file, make_one_directory, modified_ns, parent, temporary, timestamps,
};
use crate::files::worker::{Stop, Worker, failed, quoted, refused};
use crate::guest_file;

/// The bytes that are copied between two looks at whether the operation was cancelled.
const PIECE_BYTES: u64 = 4 << 20;

/// Copies `from` to the path `to`. A directory is copied with `recursive` only; its entries are added to those of an
/// existing directory.
pub fn copy(from: &Path, to: &Path, recursive: bool, worker: &Worker) -> Result<(), Stop> {
    let metadata = failed(fs::symlink_metadata(from), "copy", from.as_os_str().as_bytes())?;
    if !metadata.is_dir() {
        return copy_one(from, &metadata, to, worker);
    }
    if !recursive {
        let message = format!("'{}' is a directory", quoted(from.as_os_str().as_bytes()));
        return Err(refused(FileFailureKind::IsDirectory, message));
    }
    check_outside(from, to)?;
    // No recursion: a tree may be as deep as paths are long.
    let mut waiting = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = waiting.pop() {
        let shown = from.as_os_str().as_bytes();
        make_directory(&from, &to)?;
        for entry in failed(fs::read_dir(&from), "list", shown)? {
            worker.check_cancelled()?;
            let entry = failed(entry, "list", shown)?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            match fs::symlink_metadata(&from) {
                Ok(metadata) if metadata.is_dir() => waiting.push((from, to)),
                Ok(metadata) => copy_one(&from, &metadata, &to, worker)?,
                // It has been removed meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => failed(Err(error), "copy", from.as_os_str().as_bytes())?,
            }
        }
    }
    Ok(())
}

/// Refuses a target inside the copied directory, which would have no end.
fn check_outside(from: &Path, to: &Path) -> Result<(), Stop> {
    let shown = to.as_os_str().as_bytes();
    let source = failed(fs::canonicalize(from), "copy", from.as_os_str().as_bytes())?;
    let target = match fs::canonicalize(to) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            failed(fs::canonicalize(parent(to, shown)?), "copy to", shown)?
        }
        target => failed(target, "copy to", shown)?,
    };
    if target.starts_with(&source) {
        let message = format!("'{}' is in the directory that is copied", quoted(shown));
        return Err(refused(FileFailureKind::BadRequest, message));
    }
    Ok(())
}

fn make_directory(from: &Path, to: &Path) -> Result<(), Stop> {
    let shown = to.as_os_str().as_bytes();
    let metadata = failed(fs::metadata(from), "copy", from.as_os_str().as_bytes())?;
    let owner = (metadata.uid(), metadata.gid());
    failed(make_one_directory(to, metadata.mode() & MODE_MASK, owner), "make the directory", shown)
}

/// Copies what is no directory. A file or link at the target is replaced at once.
fn copy_one(from: &Path, metadata: &Metadata, to: &Path, worker: &Worker) -> Result<(), Stop> {
    let (source, shown) = (from.as_os_str().as_bytes(), to.as_os_str().as_bytes());
    let above = parent(to, shown)?;
    let owner = (Some(metadata.uid()), Some(metadata.gid()));
    if metadata.is_symlink() {
        let target = failed(fs::read_link(from), "copy", source)?;
        let ((), link) = failed(temporary(above, |path| symlink(&target, path)), "make the link", shown)?;
        failed(lchown(link.path(), owner.0, owner.1), "set the owner of", shown)?;
        return failed(link.rename(to), "make the link", shown);
    }
    if !metadata.is_file() {
        let message = format!("'{}' is not a regular file, a directory or a link", quoted(source));
        return Err(refused(FileFailureKind::WrongKind, message));
    }
    let input = failed(guest_file::options().read(true).open(from), "read", source)?;
    let (output, unfinished) = failed(temporary(above, make_file), "write", shown)?;
    while failed(copy_piece(&input, &output), "copy", source)? == PIECE_BYTES {
        worker.check_cancelled()?;
    }
    failed(lchown(unfinished.path(), owner.0, owner.1), "set the owner of", shown)?;
    // After changing the owner, which clears the set-user-id bit.
    let mode = Permissions::from_mode(metadata.mode() & MODE_MASK);
    failed(output.set_permissions(mode), "set the permissions of", shown)?;
    // A file system without such times is not an error.
    let _ = futimens(&output, &timestamps(modified_ns(metadata)));
    worker.check_cancelled()?;
    failed(unfinished.rename(to), "write", shown)
}

fn copy_piece(input: &File, mut output: &File) -> io::Result<u64> {
    let copied = io::copy(&mut input.take(PIECE_BYTES), &mut output)?;
    output.flush()?;
    Ok(copied)
}

//! The store of built images: `<store>/rootfs/<digest in hex>/root.ext4`, with the execution parameters beside it in
//! `config.json`, if the image has any.
//!
//! An image is written under another name, synced, and renamed: the final name means that it is complete. The image's
//! folder is the lock against concurrent builds; the partial file of a killed process is overwritten by the next.

use crate::config::ImageConfig;
use crate::error::ImageError;
use crate::ext4::BLOCK_BYTES;
use crate::snapshot::{NamedFile, copy_disk};
use executor_fs::atomic;
use executor_fs::file::{if_present, is_at, remove_if_present};
use rustix::fs::{FlockOperation, flock};
use schemas::digest::Digest;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The name of a built image.
const IMAGE_NAME: &str = "root.ext4";
/// The name of an incomplete image.
const PARTIAL_NAME: &str = "root.ext4.partial";
/// The name of its execution parameters.
const CONFIG_NAME: &str = "config.json";
/// The name of incomplete parameters.
const PARTIAL_CONFIG_NAME: &str = "config.json.partial";
/// The name of the writable disk that sandboxes start from, if the image is a snapshot.
const DISK_NAME: &str = "disk.ext4";
/// The folder of all built images.
const FOLDER_NAME: &str = "rootfs";

/// The progress of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process builds the same image.
    Waiting,
    /// The source is being scanned.
    Scanning,
    /// Contents are being copied.
    Copying {
        /// The bytes copied.
        done_bytes: u64,
        /// Their total.
        total_bytes: u64,
    },
}

/// The path of a built image.
pub fn rootfs_path(store: &Path, digest: &Digest) -> PathBuf {
    folder(store, digest).join(IMAGE_NAME)
}

/// Whether an image is built.
pub fn is_built(store: &Path, digest: &Digest) -> bool {
    rootfs_path(store, digest).exists()
}

/// The path of the writable disk that sandboxes start from; `None` if the image is not a snapshot.
pub fn snapshot_disk(store: &Path, digest: &Digest) -> Option<PathBuf> {
    Some(folder(store, digest).join(DISK_NAME)).filter(|disk| disk.exists())
}

/// The execution parameters of a built image; empty if it has none.
///
/// # Errors
///
/// If they cannot be read.
pub fn image_config(store: &Path, digest: &Digest) -> Result<ImageConfig, ImageError> {
    let path = folder(store, digest).join(CONFIG_NAME);
    let read_error = |source| ImageError::Read { path: path.clone(), source };
    match if_present(fs::read(&path)).map_err(read_error)? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| read_error(error.into())),
        None => Ok(ImageConfig::default()),
    }
}

/// A built image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// Its digest.
    pub digest: Digest,
    /// Its disk usage, in bytes.
    pub bytes: u64,
}

/// All built images in order, including the remains of interrupted builds.
///
/// # Errors
///
/// If the store cannot be read.
pub fn built_images(store: &Path) -> Result<Vec<BuiltImage>, ImageError> {
    let folder = store.join(FOLDER_NAME);
    let failed = |source| ImageError::Read { path: folder.clone(), source };
    let Some(entries) = if_present(fs::read_dir(&folder)).map_err(failed)? else { return Ok(Vec::new()) };
    let mut images = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let Some(digest) = digest_of(&entry) else { continue };
        let files = fs::read_dir(entry.path()).map_err(failed)?.filter_map(Result::ok);
        // A snapshot shares the root file system of its image.
        let share = |metadata: &fs::Metadata| metadata.blocks() / metadata.nlink().max(1);
        let blocks = files.filter_map(|file| Some(share(&file.metadata().ok()?))).sum::<u64>();
        images.push(BuiltImage { digest, bytes: blocks * 512 });
    }
    images.sort_by(|a, b| a.digest.cmp(&b.digest));
    Ok(images)
}

/// Removes a built image, or the remains of a build; returns the bytes freed, 0 while another process builds it. It
/// must not be about to be booted.
///
/// # Errors
///
/// If it cannot be removed.
pub fn remove_built(store: &Path, image: &BuiltImage) -> Result<u64, ImageError> {
    let folder = folder(store, &image.digest);
    let failed = |source| ImageError::Write { path: folder.clone(), source };
    let Some(lock) = if_present(File::open(&folder)).map_err(failed)? else { return Ok(0) };
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(0);
    }
    // The image first: without it the rest has no effect.
    for name in [IMAGE_NAME, CONFIG_NAME, PARTIAL_CONFIG_NAME, PARTIAL_NAME, DISK_NAME] {
        remove_if_present(&folder.join(name)).map_err(failed)?;
    }
    fs::remove_dir(&folder).map_err(failed)?;
    Ok(image.bytes)
}

/// The digest whose hex digits are the name of a file.
pub fn digest_of(entry: &fs::DirEntry) -> Option<Digest> {
    let name = entry.file_name().into_string().ok()?;
    Digest::try_from(format!("{}{name}", Digest::PREFIX)).ok()
}

fn folder(store: &Path, digest: &Digest) -> PathBuf {
    store.join(FOLDER_NAME).join(digest.hex())
}

/// Writes an image unless it exists; returns its path.
///
/// `write` fills an empty file and returns the execution parameters. On success the file is synced and gets its final
/// name.
///
/// # Errors
///
/// If `write` fails, or the store cannot be written.
pub fn publish(
    store: &Path,
    digest: &Digest,
    progress: &mut dyn FnMut(Progress),
    write: impl FnOnce(&PartialImage<'_>, &mut dyn FnMut(Progress)) -> Result<ImageConfig, ImageError>,
) -> Result<PathBuf, ImageError> {
    let target = rootfs_path(store, digest);
    if target.exists() {
        return Ok(target);
    }
    let folder = folder(store, digest);
    let Some(_lock) = lock_folder(&folder, progress)? else { return Ok(target) };
    let written = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| ImageError::Write { path, source }
    };
    let partial = folder.join(PARTIAL_NAME);
    let whole = || -> Result<(), ImageError> {
        let file = create(&partial).map_err(written(&partial))?;
        let config = write(&PartialImage { file: &file, path: &partial }, progress)?;
        write_config(&folder, &config).map_err(written(&folder))?;
        file.set_permissions(fs::Permissions::from_mode(0o400))
            .and_then(|()| atomic::publish(&file, &partial, &target))
            .map_err(written(&target))
    };
    whole().inspect_err(|_| {
        let _ = fs::remove_file(&partial);
    })?;
    Ok(target)
}

/// Adds a snapshot, unless it exists. The root file system gets another name, and the disk is moved.
///
/// # Errors
///
/// If the store cannot be written.
pub fn publish_snapshot(
    store: &Path,
    digest: &Digest,
    config: &ImageConfig,
    root: NamedFile<'_>,
    disk: NamedFile<'_>,
) -> Result<(), ImageError> {
    let folder = folder(store, digest);
    let target = rootfs_path(store, digest);
    if target.exists() {
        return Ok(());
    }
    let Some(_lock) = lock_folder(&folder, &mut |_| {})? else { return Ok(()) };
    let partial = folder.join(PARTIAL_NAME);
    let publish = || {
        for part in [root, disk] {
            part.file.set_permissions(fs::Permissions::from_mode(0o400))?;
            part.file.sync_all()?;
        }
        fs::rename(disk.path, folder.join(DISK_NAME))?;
        write_config(&folder, config)?;
        remove_if_present(&partial)?;
        // The root file system comes last: its name means that the image is complete.
        if fs::hard_link(root.path, &partial).is_ok() {
            fs::rename(&partial, &target)?;
            return atomic::sync_folder_of(&target);
        }
        let copy = create(&partial)?;
        copy_disk(root.file, &copy)?;
        copy.set_permissions(fs::Permissions::from_mode(0o400))?;
        atomic::publish(&copy, &partial, &target)
    };
    publish().map_err(|source| {
        let _ = fs::remove_file(&partial);
        ImageError::Write { path: folder.clone(), source }
    })
}

/// Creates and locks the folder of an image; `None` if another process has built the image meanwhile.
fn lock_folder(folder: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Option<File>, ImageError> {
    let written = |source: io::Error| ImageError::Write { path: folder.to_owned(), source };
    loop {
        fs::create_dir_all(folder).map_err(written)?;
        // Its last holder may have just removed it.
        let Some(lock) = if_present(File::open(folder)).map_err(written)? else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            progress(Progress::Waiting);
            rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))
                .map_err(|errno| written(errno.into()))?;
            if folder.join(IMAGE_NAME).exists() {
                return Ok(None);
            }
        }
        // The last holder may have removed the folder, and another process may have recreated it.
        if is_at(&lock, folder).map_err(written)? {
            return Ok(Some(lock));
        }
    }
}

/// Before the image gets its name. An image without parameters has no file. The folder is locked, so the temporary name is
/// always the same: what a killed process has left is replaced.
fn write_config(folder: &Path, config: &ImageConfig) -> io::Result<()> {
    let (path, partial) = (folder.join(CONFIG_NAME), folder.join(PARTIAL_CONFIG_NAME));
    if *config == ImageConfig::default() {
        remove_if_present(&partial)?;
        return remove_if_present(&path);
    }
    let mut file = create(&partial)?;
    file.write_all(&serde_json::to_vec(config)?)?;
    atomic::publish(&file, &partial, &path)
}

/// An image that is being written.
pub struct PartialImage<'a> {
    /// Its file.
    pub file: &'a File,
    /// The file's temporary path.
    pub path: &'a Path,
}

impl PartialImage<'_> {
    /// Wraps an error of writing the image.
    pub fn failed(&self, source: io::Error) -> ImageError {
        ImageError::Write { path: self.path.to_owned(), source }
    }
}

/// A UUID from a digest's first bytes, marked as version 8 (RFC 9562, 5.8).
pub fn uuid_from(digest: &Digest) -> [u8; 16] {
    let mut uuid = u128::from_str_radix(&digest.hex()[..32], 16).unwrap_or_default().to_be_bytes();
    uuid[6] = (uuid[6] & 0x0f) | 0x80;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    uuid
}

/// Creates an empty file, mode 0600; replaces an existing one.
pub fn create(path: &Path) -> io::Result<File> {
    remove_if_present(path)?;
    File::options().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Writes runs of blocks that are not all zero.
pub fn write_sparse(image: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    const ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];
    let block = BLOCK_BYTES as usize;
    let is_zero = |index: usize| {
        let bytes = &bytes[index * block..bytes.len().min((index + 1) * block)];
        *bytes == ZEROS[..bytes.len()]
    };
    let blocks = bytes.len().div_ceil(block);
    let mut at = 0;
    while at < blocks {
        let zero = is_zero(at);
        let end = (at + 1..blocks).find(|&index| is_zero(index) != zero).unwrap_or(blocks);
        if !zero {
            let (from, to) = (at * block, bytes.len().min(end * block));
            image.write_all_at(&bytes[from..to], offset + from as u64)?;
        }
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use rustix::process::{Resource, getrlimit, setrlimit};

    const CHILD: &str = "MSB_TEST_WITHOUT_DESCRIPTORS";

    /// The limit is per process, so it is set in a child process.
    #[test]
    fn a_folder_that_cannot_be_locked_is_an_error() {
        if std::env::var_os(CHILD).is_some() {
            without_descriptors();
            return;
        }
        let name = "store::tests::a_folder_that_cannot_be_locked_is_an_error";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .spawn()
            .unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if std::time::Instant::now() > until => break None,
                None => std::thread::sleep(std::time::Duration::from_millis(20)),
            }
        };
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(status.expect("it ends").success());
    }

    fn without_descriptors() {
        let store = tempfile::tempdir().unwrap();
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, rustix::process::Rlimit { current: Some(0), ..limit }).unwrap();
        let write = |_: &PartialImage<'_>, _: &mut dyn FnMut(Progress)| panic!("nothing is written");
        let result = publish(store.path(), &Digest::of_bytes(b"x"), &mut |_| {}, write);
        setrlimit(Resource::Nofile, limit).unwrap();
        let Err(ImageError::Write { source, .. }) = result else { panic!("{result:?}") };
        assert_eq!(source.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
    }
}

//! Disks of the host: files with a file system, which only guests read.

use super::MountError;
use super::shares::in_thread;
use executor_fs::file::try_lock;
use executor_host::volume::Access;
use rustix::fs::{FileType, Mode, OFlags, fstat, open, stat};
use rustix::io::Errno;
use schemas::spec::{DiskFormat, VolumeKind};
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// A disk of the host that a sandbox mounts.
#[derive(Clone, Debug)]
pub struct HostDisk {
    /// Its absolute path.
    pub path: PathBuf,
    /// The first of its paths in the sandbox, for messages.
    pub destination: String,
    /// Whether the sandbox can write to it.
    pub access: Access,
    /// Its format.
    pub format: DiskFormat,
}

impl HostDisk {
    /// Opens, locks and checks the disk without waiting for others. The lock is held until every duplicate of the
    /// descriptor is closed.
    ///
    /// # Errors
    ///
    /// If it is missing, in use, or of a kind that is not used.
    pub async fn take(&self) -> Result<File, MountError> {
        let disk = self.clone();
        in_thread(move || disk.open()).await?
    }

    fn open(&self) -> Result<File, MountError> {
        let Self { path, destination, access, format } = self;
        // Neither a device nor a pipe is opened.
        self.check_kind(stat(path))?;
        let mode = if *access == Access::Write { OFlags::RDWR } else { OFlags::RDONLY };
        let opened = open(path, mode | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
        let file = opened.map_err(|error| self.failed(error))?;
        self.check_kind(fstat(&file))?;
        if !try_lock(&file, access.lock(VolumeKind::Disk)).map_err(|error| self.failed(error))? {
            return Err(MountError::DiskInUse { path: path.clone(), destination: destination.clone() });
        }
        let file = File::from(file);
        if *format == DiskFormat::Qcow2
            && let Err(reason) = executor_image::check_qcow2(&file).map_err(|error| self.failed(error))?
        {
            return Err(MountError::Qcow2 { path: path.clone(), destination: destination.clone(), reason });
        }
        Ok(file)
    }

    fn check_kind(&self, found: Result<rustix::fs::Stat, Errno>) -> Result<(), MountError> {
        let found = found.map_err(|error| self.failed(error))?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => Ok(()),
            _ => Err(MountError::NotADisk { path: self.path.clone(), destination: self.destination.clone() }),
        }
    }

    fn failed(&self, source: impl Into<io::Error>) -> MountError {
        let (path, destination, source) = (self.path.clone(), self.destination.clone(), source.into());
        if source.kind() == io::ErrorKind::NotFound {
            MountError::Missing { path, destination }
        } else {
            MountError::Open { path, destination, source }
        }
    }
}

/// Returns the format of a disk as a driver has it.
pub fn driver_format(format: DiskFormat) -> executor_vm::DiskFormat {
    match format {
        DiskFormat::Raw => executor_vm::DiskFormat::Raw,
        DiskFormat::Qcow2 => executor_vm::DiskFormat::Qcow2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn disk(path: &Path, access: Access) -> HostDisk {
        HostDisk {
            path: path.to_owned(),
            destination: "/data".to_owned(),
            access,
            format: DiskFormat::of_path(path.to_str().unwrap()),
        }
    }

    #[tokio::test]
    async fn one_writes_or_several_read() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("data.img");
        std::fs::write(&path, "disk").unwrap();
        let writer = disk(&path, Access::Write).take().await.unwrap();
        let of_the_machine = writer.try_clone().unwrap();
        drop(writer);
        for access in [Access::Read, Access::Write] {
            let error = disk(&path, access).take().await.unwrap_err().to_string();
            assert_eq!(
                error,
                format!(
                    "{} is in use, so it cannot be mounted at /data: one sandbox may write to a disk, or several may \
                     read it",
                    path.display()
                )
            );
        }
        drop(of_the_machine);
        let _readers = [
            disk(&path, Access::Read).take().await.unwrap(),
            disk(&path, Access::Read).take().await.unwrap(),
        ];
        disk(&path, Access::Write).take().await.unwrap_err();
    }

    #[tokio::test]
    async fn only_whole_disks_in_regular_files_are_taken() {
        let scratch = tempfile::tempdir().unwrap();
        let refused = async |path: &Path| disk(path, Access::Read).take().await.unwrap_err().to_string();
        let missing = scratch.path().join("missing.img");
        assert!(refused(&missing).await.contains("does not exist"));
        assert!(
            refused(scratch.path())
                .await
                .ends_with("is not a regular file, so it cannot be the disk at /data")
        );
        assert!(refused(Path::new("/dev/null")).await.contains("is not a regular file"));
        let based = scratch.path().join("based.qcow2");
        let mut header = vec![0; 512];
        header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x02");
        header[15] = 1;
        std::fs::write(&based, &header).unwrap();
        let message = refused(&based).await;
        assert!(
            message.ends_with(
                "cannot be mounted at /data: it has a backing file: convert it into a disk of one file with \
                 `qemu-img convert -O qcow2`"
            ),
            "{message}"
        );
        // The same bytes are a raw disk under another name.
        let raw = scratch.path().join("based.img");
        std::fs::write(&raw, &header).unwrap();
        disk(&raw, Access::Read).take().await.unwrap();
    }
}

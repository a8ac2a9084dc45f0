//! A small file system for tests of a full disk.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs. Dropping it unmounts it.
#[derive(Debug)]
pub struct SmallFs {
    path: PathBuf,
}

impl SmallFs {
    /// Mounts one over an empty directory. `None`, with a message on stderr, if mounting is not permitted.
    pub fn mount(path: &Path, mib: u32, inodes: u32) -> Option<Self> {
        let options = format!("size={mib}m,nr_inodes={inodes},mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { path: path.to_owned() }),
            other => {
                eprintln!("skipped: no file system can be mounted here ({other:?})");
                None
            }
        }
    }

    /// Fills all free space. Returns the file that fills it.
    pub fn fill(&self) -> PathBuf {
        let ballast = self.path.join("ballast");
        let mut file = File::options().create(true).append(true).open(&ballast).expect("an inode is left");
        // Small writes at the end fill the last pages.
        for piece in [vec![0; 1 << 16], vec![0; 1]] {
            while let Err(error) = write_until_full(&mut file, &piece) {
                assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
            }
        }
        ballast
    }

    /// Uses all free inodes. Returns the directory of their files.
    pub fn use_up_inodes(&self) -> PathBuf {
        let folder = self.path.join("crowd");
        fs::create_dir(&folder).expect("an inode is left");
        let mut number = 0;
        while File::create_new(folder.join(number.to_string())).is_ok() {
            number += 1;
        }
        folder
    }
}

fn write_until_full(file: &mut File, piece: &[u8]) -> std::io::Result<()> {
    loop {
        match file.write_all(piece) {
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            written => written?,
        }
    }
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        // Lazily: a log may still be open.
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path.display());
        }
    }
}

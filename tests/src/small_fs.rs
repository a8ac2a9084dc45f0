//! A file system of its own that is soon full.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs, mounted until this is dropped.
#[derive(Debug)]
pub struct SmallFs {
    path: PathBuf,
}

impl SmallFs {
    /// Mounts one over an empty folder. `None`, said on stderr, where mounting is not permitted.
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

    /// Takes all the space that is left; gives the file that has it.
    pub fn fill(&self) -> PathBuf {
        let ballast = self.path.join("ballast");
        let mut file = File::options().create(true).append(true).open(&ballast).expect("an inode is left");
        // Page by page at the end, or the last ones would stay free.
        for piece in [vec![0; 1 << 16], vec![0; 1]] {
            while let Err(error) = write_until_full(&mut file, &piece) {
                assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
            }
        }
        ballast
    }

    /// Takes all inodes that are left; gives the folder that has them.
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
        // Lazily: a log that is still being closed is no reason to leave it mounted.
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path.display());
        }
    }
}

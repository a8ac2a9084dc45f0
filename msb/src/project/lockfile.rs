//! Reading, verifying and writing `Sandboxfile.lock` in the project's folder.

use crate::error::{CliError, Context, ErrorCode};
use crate::output::file;
use crate::output::{OutputOptions, escape_controls};
use rustix::fs::{Mode, OFlags};
use schemas::digest::Digest;
use schemas::lockfile::{
    Difference, Found, LOCK_FILE_BYTES_MAX, LOCK_FILE_NAME, LockFile, Platform, portable,
};
use schemas::snapshot::Snapshot;
use schemas::spec::ImageReference;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Maximum number of differences to list.
const LISTED_MAX: usize = 50;

/// The pins of a project.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    platform: Platform,
    /// Whether the file exists.
    pub exists: bool,
    lock_file: LockFile,
}

impl Pins {
    /// Reads the lock file of a folder. A missing file has no pins.
    ///
    /// # Errors
    ///
    /// If the file is invalid, is not a regular file, or cannot be read.
    pub fn read(folder: &Path) -> Result<Self, CliError> {
        let processor = std::env::consts::ARCH;
        let platform = Platform::of_processor(processor)
            .ok_or_else(|| CliError::new(format!("images for {processor} processors are not supported")))?;
        let path = folder.join(LOCK_FILE_NAME);
        let pins = |exists, lock_file| Self { folder: folder.to_owned(), platform, exists, lock_file };
        let failure = format!("cannot read {}", path.display());
        // Opening a pipe would block, and a link may point anywhere.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(rustix::io::Errno::NOENT) => return Ok(pins(false, LockFile::default())),
            Err(rustix::io::Errno::LOOP) => return Err(not_a_file(&path)),
            Err(error) => return Err(io::Error::from(error)).context(failure),
        };
        if !file.metadata().context(&failure)?.is_file() {
            return Err(not_a_file(&path));
        }
        let mut bytes = Vec::new();
        let limit = LOCK_FILE_BYTES_MAX as u64 + 1;
        file.take(limit).read_to_end(&mut bytes).context(failure)?;
        let lock_file =
            LockFile::parse(&bytes).map_err(|error| CliError::new(error.to_string()).hint(error.help()))?;
        Ok(pins(true, lock_file))
    }

    /// Returns the name of a reference in the lock file.
    pub fn name(&self, reference: &ImageReference) -> String {
        portable(reference, &self.folder.to_string_lossy())
    }

    /// Returns the names of references in the lock file.
    pub fn names(&self, references: &BTreeSet<ImageReference>) -> BTreeSet<String> {
        references.iter().map(|reference| self.name(reference)).collect()
    }

    /// Returns the pinned digests of references to registries.
    pub fn of(&self, references: &BTreeSet<ImageReference>) -> BTreeMap<ImageReference, Digest> {
        let folder = self.folder.to_string_lossy();
        let pin = |reference: &ImageReference| {
            let pinned = self.lock_file.pin(&portable(reference, &folder), self.platform)?;
            matches!(reference, ImageReference::Registry { .. }).then(|| (reference.clone(), pinned.clone()))
        };
        references.iter().filter_map(pin).collect()
    }

    /// Returns the images that references resolve to on this machine, by their names in the lock file.
    pub fn found(
        &self,
        references: &BTreeSet<ImageReference>,
        snapshot: &Snapshot,
    ) -> BTreeMap<String, Found> {
        let folder = self.folder.to_string_lossy();
        let found = |reference: &ImageReference| {
            let image = snapshot.image(reference);
            let found = image.map_or(Found::Unasked, |image| Found::Contents(image.digest.clone()));
            (portable(reference, &folder), found)
        };
        references.iter().map(found).collect()
    }

    /// Verifies for `--frozen` that every reference is pinned to the image that it resolves to.
    ///
    /// # Errors
    ///
    /// If one is not.
    pub fn check_frozen(&self, found: &BTreeMap<String, Found>) -> Result<(), CliError> {
        let differences = self.lock_file.differences(found, self.platform);
        if differences.is_empty() {
            return Ok(());
        }
        let message = if self.exists {
            format!("{LOCK_FILE_NAME} does not match the images; nothing was changed")
        } else {
            format!("there is no {LOCK_FILE_NAME} to verify the images against; nothing was changed")
        };
        Err(mismatch(message, &differences)
            .hint("`msb lock` or `msb up` without --frozen pins the present images"))
    }

    /// Returns the updated pins. See [`LockFile::renewed`].
    pub fn renewed(&self, found: &BTreeMap<String, Found>, only: Option<&BTreeSet<String>>) -> LockFile {
        self.lock_file.renewed(found, self.platform, only)
    }

    /// Returns the differences from new pins.
    pub fn changes(&self, new: &LockFile) -> Vec<Difference> {
        self.lock_file.changes(new)
    }

    /// Writes new pins, atomically. Returns `false` if the file already has them.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(&self, new: &LockFile) -> io::Result<bool> {
        if self.exists && *new == self.lock_file {
            return Ok(false);
        }
        file::write(&self.folder.join(LOCK_FILE_NAME), new.print().as_bytes())?;
        Ok(true)
    }

    /// Writes the pins of the images that `up` used. A failure, such as in a read-only folder, is only a warning.
    pub fn keep(&self, found: &BTreeMap<String, Found>, output: &OutputOptions) {
        match self.write(&self.renewed(found, None)) {
            Ok(true) => output.say(&format!("wrote {LOCK_FILE_NAME}")),
            Ok(false) => {}
            Err(error) => output.warn(&format!("cannot write {LOCK_FILE_NAME}: {error}")),
        }
    }
}

/// Returns the failure that lists differences.
pub fn mismatch(message: String, differences: &[Difference]) -> CliError {
    CliError::new(message).code(ErrorCode::Mismatch).because_all(lines(differences))
}

/// Formats differences, one per line.
pub fn lines(differences: &[Difference]) -> Vec<String> {
    let line = |Difference { reference, platform, pinned, found }: &Difference| {
        let reference = escape_controls(reference);
        match (pinned, found) {
            (Some(pinned), Some(found)) => format!("~ {reference} {platform}: {pinned} -> {found}"),
            (None, Some(found)) => format!("+ {reference} {platform}: not pinned -> {found}"),
            (Some(pinned), None) => {
                format!("- {reference} {platform}: {pinned} -> no longer in the Sandboxfile")
            }
            (None, None) => format!("+ {reference} {platform}: not pinned"),
        }
    };
    schemas::listing::lines(differences, LISTED_MAX, line)
}

fn not_a_file(path: &Path) -> CliError {
    CliError::new(format!("{} is not a regular file", path.display()))
        .hint("remove it; `msb lock` writes a new one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn found(contents: &str) -> BTreeMap<String, Found> {
        [("./image".to_owned(), Found::Contents(Digest::of_bytes(contents.as_bytes())))].into()
    }

    fn write(folder: &Path, contents: &str) -> bool {
        let pins = Pins::read(folder).unwrap();
        pins.write(&pins.renewed(&found(contents), None)).unwrap()
    }

    #[test]
    fn only_changes_are_written_and_the_mode_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK_FILE_NAME);
        assert!(write(folder.path(), "one"));
        let first = std::fs::metadata(&path).unwrap().ino();
        assert!(!write(folder.path(), "one"));
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), first);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(write(folder.path(), "two"));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        // No temporary file is left.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let pins = Pins::read(folder.path()).unwrap();
        assert!(pins.check_frozen(&found("two")).is_ok());
        assert!(pins.check_frozen(&found("three")).is_err());
    }

    #[test]
    fn links_pipes_and_folders_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK_FILE_NAME);
        let target = folder.path().join("target");
        std::fs::write(&target, LockFile::default().print()).unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(Pins::read(folder.path()).is_err());
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(Pins::read(folder.path()).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(Pins::read(folder.path()).is_err());
    }

    #[test]
    fn writing_into_a_missing_folder_fails() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::read(&folder.path().join("gone")).unwrap();
        assert!(pins.write(&pins.renewed(&found("one"), None)).is_err());
    }

    #[test]
    fn differences_are_listed_and_bounded() {
        let difference = Difference {
            reference: "./a\x1b".to_owned(),
            platform: Platform::LinuxAmd64,
            pinned: None,
            found: None,
        };
        assert_eq!(lines(std::slice::from_ref(&difference)), ["+ ./a\\u{1b} linux/amd64: not pinned"]);
        let many = lines(&vec![difference; LISTED_MAX + 2]);
        assert_eq!((many.len(), many[LISTED_MAX].as_str()), (LISTED_MAX + 1, "… and 2 more"));
    }
}

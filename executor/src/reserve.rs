//! Space that is kept for msb itself: `MSB_HOME/reserve`.
//!
//! To stop and to remove sandboxes takes lock files and rows of the catalog: a little space and a few inodes, on a
//! disk that is full perhaps just because of these sandboxes. So a few files hold both. They are removed while such a
//! command writes, and made again afterwards.

use crate::home::make_private_folder;
use executor_fs::atomic::allocate;
use executor_fs::space::{Space, space};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// How many files there are: an inode each.
const FILES: u64 = 8;
/// The size of each, in bytes.
const FILE_BYTES: u64 = 128 * 1024;
/// The size of all of them, in bytes.
pub const RESERVE_BYTES: u64 = FILES * FILE_BYTES;
/// With less than this the reserve is given up.
const LOW: Space = Space { bytes: RESERVE_BYTES, inodes: FILES, total_bytes: 0 };
/// With this the reserve is made. Far enough from [`LOW`] that it is not made of what it has just given up.
const PLENTY: Space = Space { bytes: 4 * RESERVE_BYTES, inodes: 4 * FILES, total_bytes: 0 };

/// The reserve of one home, for one use. Dropping it takes back what it gave up, as far as that is still free.
#[derive(Debug)]
pub struct Reserve {
    folder: PathBuf,
    given_up: AtomicBool,
}

impl Reserve {
    /// The reserve in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, given_up: AtomicBool::new(false) }
    }

    /// Makes it where there is plenty of space. A host where that cannot be done is no reason to do nothing.
    pub fn make_if_plenty(&self) {
        let is_plenty = |left: Space| left.bytes >= PLENTY.bytes && left.inodes >= PLENTY.inodes;
        if self.left().is_some_and(is_plenty)
            && let Err(error) = make(&self.folder)
        {
            tracing::debug!("reserve: {error}");
        }
    }

    /// Gives it up where there is little space. For those who are about to write what frees space in the end; readers
    /// leave it alone, or guests would have it before it is needed.
    pub fn give_up_if_low(&self) {
        if self.left().is_some_and(|left| left.bytes < LOW.bytes || left.inodes < LOW.inodes) {
            self.given_up.store(true, Ordering::Relaxed);
            if let Err(error) = remove(&self.folder) {
                tracing::debug!("reserve: {error}");
            }
        }
    }

    fn left(&self) -> Option<Space> {
        space(self.folder.parent()?).ok()
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        if *self.given_up.get_mut() {
            let _ = make(&self.folder);
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    for number in 0..FILES {
        match fs::remove_file(file(folder, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn make(folder: &Path) -> io::Result<()> {
    for number in 0..FILES {
        let path = file(folder, number);
        if path.exists() {
            continue;
        }
        make_private_folder(folder)?;
        let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let made = match made {
            // Another msb is at it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made?,
        };
        if let Err(error) = allocate(&made, FILE_BYTES) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
    }
    Ok(())
}

fn file(folder: &Path, number: u64) -> PathBuf {
    folder.join(number.to_string())
}

#[cfg(test)]
mod tests {
    use crate::apply::ProjectLock;
    use crate::catalog::{Catalog, SandboxRow};
    use crate::home::Home;
    use crate::lock::FileLock;
    use crate::process::ProcessIdentity;
    use crate::state::{Phase, State, prepare_state, read_state, write_state};
    use schemas::digest::Digest;
    use schemas::name::{ProjectName, SandboxId, SandboxName};
    use schemas::plan::StepId;
    use schemas::snapshot::Health;
    use schemas::spec::{Definition, ImageReference, PinnedImage, Role, SandboxSpec};
    use std::fs;
    use std::time::Duration;
    use tests::small_fs::SmallFs;

    struct World {
        home: Home,
        row: SandboxRow,
        small: SmallFs,
        _scratch: tempfile::TempDir,
    }

    impl World {
        /// A home on a small file system, with one sandbox recorded.
        fn new(inodes: u32) -> Option<Self> {
            let scratch = tempfile::tempdir().unwrap();
            let small = SmallFs::mount(scratch.path(), 8, inodes)?;
            let home = Home::open(scratch.path().to_owned()).unwrap();
            let (project, name) = (ProjectName::new("shop").unwrap(), SandboxName::new("web").unwrap());
            let image = PinnedImage {
                reference: ImageReference::Local { path: "/srv/image".to_owned() },
                digest: Digest::of_bytes(b"image"),
            };
            let row = SandboxRow {
                id: SandboxId::derive(&project, &name, 1),
                project,
                name,
                generation: 1,
                spec: SandboxSpec { image, definition: Definition::silent(Role::Service) },
                made: false,
                wanted: false,
                hook_done: false,
            };
            Catalog::open(&home.catalog()).unwrap().begin_sandbox(&row).unwrap();
            Some(Self { home, row, small, _scratch: scratch })
        }

        /// What `msb down` needs of the home.
        fn take_down(&self) {
            let home = Home::open(self.home.root().to_owned()).unwrap();
            let catalog = Catalog::open(&home.catalog()).unwrap();
            assert_eq!(
                fs::read_dir(home.root().join("reserve")).unwrap().count(),
                8,
                "a reader leaves it alone"
            );
            let lock = ProjectLock::acquire(&home, &self.row.project, "msb down", Duration::ZERO).unwrap();
            assert_eq!(catalog.sandboxes(None).unwrap().sandboxes.len(), 1);
            let step = StepId::new("remove/web");
            let begun = catalog.write_operations(&self.row.project, &[], &[&step]).unwrap();
            catalog.set_wanted(&self.row.id, false).unwrap();
            catalog.forget_sandbox(&self.row.id).unwrap();
            catalog.write_operations(&self.row.project, &[(begun[0], "updated")], &[]).unwrap();
            drop(lock);
        }

        /// That nothing could be done without a reserve.
        fn assert_nothing_goes(&self) {
            FileLock::acquire(&self.home.root().join("another.lock"), "msb", Duration::ZERO).unwrap_err();
        }
    }

    #[test]
    fn a_sandbox_is_taken_down_on_a_full_disk() {
        let Some(world) = World::new(500) else { return };
        let ballast = world.small.fill();
        let reserve = || fs::read_dir(world.home.root().join("reserve")).unwrap().count();
        world.take_down();
        // What the catalog has grown by is all that is gone of it.
        assert!(reserve() >= 6, "{}", reserve());
        fs::remove_file(ballast).unwrap();
        Home::open(world.home.root().to_owned()).unwrap();
        assert_eq!(reserve(), 8);
    }

    #[test]
    fn a_sandbox_is_taken_down_without_an_inode_left() {
        let Some(world) = World::new(60) else { return };
        world.small.use_up_inodes();
        world.assert_nothing_goes();
        world.take_down();
    }

    #[test]
    fn a_supervisor_says_what_it_does_on_a_full_disk() {
        for inodes_too in [false, true] {
            let Some(world) = World::new(60) else { return };
            let folder = world.home.sandbox(&world.row.id);
            crate::home::make_private_folder(folder.path()).unwrap();
            let state = |restarts| State {
                phase: Phase::Running,
                health: Health::Unchecked,
                restarts,
                ..State::booting(Some(world.row.id.clone()), ProcessIdentity::current().unwrap())
            };
            write_state(&folder, &state(0)).unwrap();
            prepare_state(&folder).unwrap();
            world.small.fill();
            if inodes_too {
                world.small.use_up_inodes();
            }
            // Without the spare file, in another folder: the disk is full indeed.
            assert!(fs::write(world.home.root().join("probe"), "x".repeat(5000)).is_err());
            for restarts in 1..20 {
                write_state(&folder, &state(restarts)).unwrap();
                assert_eq!(read_state(&folder), Some(state(restarts)));
            }
            write_state(&folder, &State { phase: Phase::Stopped, ..state(20) }).unwrap();
        }
    }

    #[test]
    fn a_lock_that_names_nobody_is_a_lock() {
        let Some(world) = World::new(500) else { return };
        let path = world.home.root().join("made-before.lock");
        fs::write(&path, "").unwrap();
        world.small.fill();
        let lock = FileLock::acquire(&path, "msb down", Duration::ZERO).unwrap();
        assert!(FileLock::acquire(&path, "msb down", Duration::ZERO).is_err());
        drop(lock);
    }
}

//! Locks, the catalog and states on a full disk.

use crate::apply::ProjectLock;
use crate::catalog::{Catalog, SandboxRow};
use executor_host::home::Home;
use executor_host::lock::FileLock;
use executor_host::process::ProcessIdentity;
use executor_host::state::{Phase, State, prepare_state, read_state, write_state};
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
            spec: SandboxSpec { image, definition: Definition::with_defaults(Role::Service) },
            created: false,
            should_run: false,
            hook_done: false,
        };
        Catalog::open(&home.catalog()).unwrap().begin_sandbox(&row).unwrap();
        Some(Self { home, row, small, _scratch: scratch })
    }

    /// Uses the state folder as `msb down` does.
    fn take_down(&self) {
        let home = Home::open(self.home.root().to_owned()).unwrap();
        let catalog = Catalog::open(&home.catalog()).unwrap();
        assert_eq!(fs::read_dir(home.root().join("reserve")).unwrap().count(), 8, "a reader leaves it alone");
        let lock = ProjectLock::acquire(&home, &self.row.project, "msb down", Duration::ZERO).unwrap();
        assert_eq!(catalog.sandboxes(None).unwrap().sandboxes.len(), 1);
        let step: StepId = "remove/web".parse().unwrap();
        let begun = catalog.write_operations(&self.row.project, &[], &[&step]).unwrap();
        catalog.set_should_run(&self.row.id, false).unwrap();
        catalog.forget_sandbox(&self.row.id).unwrap();
        catalog.write_operations(&self.row.project, &[(begun[0], "updated")], &[]).unwrap();
        drop(lock);
    }

    /// Asserts that nothing works without the reserve.
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
        executor_host::home::make_private_folder(folder.path()).unwrap();
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

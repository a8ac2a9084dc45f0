//! Changes of real files, made in the ways that editors and people make them.
//!
//! Each test waits for what must come, with a limit that is only reached when it does not.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

struct World {
    folder: TempDir,
    watcher: Watcher,
}

fn run(test: impl AsyncFnOnce(TempDir)) {
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    event_loop.block_on(test(TempDir::new().unwrap()));
}

fn tree(root: PathBuf, patterns: &[&str]) -> WatchedTree {
    WatchedTree { root, ignored: Arc::new(Patterns::new(patterns.iter().copied()).unwrap()) }
}

impl World {
    fn new(folder: TempDir, files: &[&str], trees: &[&str]) -> Self {
        let files = files.iter().map(|name| folder.path().join(name)).collect();
        let trees = trees.iter().map(|name| tree(folder.path().join(name), &["ignored", "*.tmp"])).collect();
        let watcher = Watcher::new(Watched { files, trees }).unwrap();
        Self { folder, watcher }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn next(&mut self) -> BTreeSet<PathBuf> {
        let batch =
            tokio::time::timeout(LIMIT, self.watcher.next()).await.expect("a change is reported").unwrap();
        assert!(!batch.anything);
        batch.paths
    }

    /// Reads batches until this path is reported; returns all paths reported by then.
    async fn reported(&mut self, name: &str) -> BTreeSet<PathBuf> {
        let (path, mut all) = (self.path(name), BTreeSet::new());
        while !all.contains(&path) {
            all.extend(self.next().await);
        }
        all
    }
}

#[test]
fn a_file_is_watched_however_it_is_saved() {
    run(async |folder| {
        fs::write(folder.path().join("Sandboxfile"), "one").unwrap();
        let mut world = World::new(folder, &["Sandboxfile"], &[]);
        let file = world.path("Sandboxfile");
        let only = BTreeSet::from([file.clone()]);
        // In place.
        fs::write(&file, "two").unwrap();
        assert_eq!(world.next().await, only);
        // Beside it and renamed, twice over: the folder is what is watched, not the inode.
        for text in ["three", "four"] {
            fs::write(world.path(".Sandboxfile.swp"), text).unwrap();
            fs::rename(world.path(".Sandboxfile.swp"), &file).unwrap();
            assert_eq!(world.next().await, only);
        }
        // Moved away, then created again, as vim does with a backup.
        fs::rename(&file, world.path("Sandboxfile~")).unwrap();
        fs::write(&file, "five").unwrap();
        assert_eq!(world.next().await, only);
        // Deleted, and made again.
        fs::remove_file(&file).unwrap();
        assert_eq!(world.next().await, only);
        fs::write(&file, "six").unwrap();
        assert_eq!(world.next().await, only);
    });
}

#[test]
fn neighbours_and_readers_are_of_no_interest() {
    run(async |folder| {
        for name in ["watched", "neighbour"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let mut world = World::new(folder, &["watched"], &[]);
        fs::write(world.path("neighbour"), "x").unwrap();
        fs::read(world.path("watched")).unwrap();
        fs::write(world.path("new"), "x").unwrap();
        // Only the last of these is reported: an earlier one would come before or with it.
        fs::write(world.path("watched"), "x").unwrap();
        assert_eq!(world.next().await, BTreeSet::from([world.path("watched")]));
    });
}

#[test]
fn a_file_in_a_folder_that_does_not_exist_yet_is_reported() {
    run(async |folder| {
        let mut world = World::new(folder, &["a/b/file"], &[]);
        fs::create_dir_all(world.path("a/b")).unwrap();
        fs::write(world.path("a/b/file"), "x").unwrap();
        world.reported("a/b/file").await;
        // The whole folder goes, and comes again.
        fs::remove_dir_all(world.path("a")).unwrap();
        world.reported("a/b/file").await;
        fs::create_dir_all(world.path("a/b")).unwrap();
        fs::write(world.path("a/b/file"), "y").unwrap();
        world.reported("a/b/file").await;
        fs::write(world.path("a/b/file"), "z").unwrap();
        world.reported("a/b/file").await;
    });
}

#[test]
fn links_are_watched_at_both_ends() {
    run(async |folder| {
        fs::create_dir(folder.path().join("real")).unwrap();
        fs::write(folder.path().join("real/file"), "one").unwrap();
        fs::write(folder.path().join("other"), "other").unwrap();
        symlink("real/file", folder.path().join("Sandboxfile")).unwrap();
        let mut world = World::new(folder, &["Sandboxfile"], &[]);
        let only = BTreeSet::from([world.path("Sandboxfile")]);
        fs::write(world.path("real/new"), "two").unwrap();
        fs::rename(world.path("real/new"), world.path("real/file")).unwrap();
        assert_eq!(world.next().await, only);
        symlink("other", world.path("link")).unwrap();
        fs::rename(world.path("link"), world.path("Sandboxfile")).unwrap();
        assert_eq!(world.next().await, only);
        fs::write(world.path("other"), "changed").unwrap();
        assert_eq!(world.next().await, only);
    });
}

#[test]
fn a_tree_is_watched_to_its_leaves_and_new_ones_too() {
    run(async |folder| {
        fs::create_dir_all(folder.path().join("src/deep/er")).unwrap();
        fs::create_dir_all(folder.path().join("src/ignored")).unwrap();
        let mut world = World::new(folder, &[], &["src"]);
        fs::write(world.path("src/ignored/file"), "x").unwrap();
        fs::write(world.path("src/file.tmp"), "x").unwrap();
        fs::write(world.path("src/deep/er/file"), "x").unwrap();
        assert_eq!(
            world.reported("src/deep/er/file").await,
            BTreeSet::from([world.path("src/deep/er/file")])
        );
        assert!(!world.watcher.folders.contains_key(&world.path("src/ignored")));
        // A folder that is moved in with what is in it, and what is changed in it afterwards.
        fs::create_dir_all(world.path("outside/within")).unwrap();
        fs::rename(world.path("outside"), world.path("src/moved")).unwrap();
        world.reported("src/moved").await;
        fs::write(world.path("src/moved/within/file"), "x").unwrap();
        world.reported("src/moved/within/file").await;
        // And one that takes the place of another.
        fs::rename(world.path("src/moved"), world.path("gone")).unwrap();
        fs::create_dir_all(world.path("src/moved/within")).unwrap();
        world.reported("src/moved").await;
        fs::write(world.path("src/moved/within/file"), "y").unwrap();
        world.reported("src/moved/within/file").await;
    });
}

#[test]
fn a_tree_may_come_later_and_go_again() {
    run(async |folder| {
        let mut world = World::new(folder, &[], &["later"]);
        fs::create_dir(world.path("later")).unwrap();
        world.reported("later").await;
        fs::write(world.path("later/file"), "x").unwrap();
        world.reported("later/file").await;
        fs::remove_dir_all(world.path("later")).unwrap();
        world.reported("later").await;
        fs::create_dir(world.path("later")).unwrap();
        fs::write(world.path("later/file"), "x").unwrap();
        world.reported("later").await;
    });
}

#[test]
fn something_else_can_be_watched_from_now_on() {
    run(async |folder| {
        for name in ["first", "second"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut world = World::new(folder, &["first/file"], &[]);
        let files = BTreeSet::from([world.path("second/file")]);
        world.watcher.want(Watched { files, trees: Vec::new() }).unwrap();
        fs::write(world.path("first/file"), "x").unwrap();
        fs::write(world.path("second/file"), "x").unwrap();
        assert_eq!(world.next().await, BTreeSet::from([world.path("second/file")]));
        assert!(!world.watcher.folders.contains_key(&world.path("first")));
    });
}

#[test]
fn a_flood_is_reported_as_anything() {
    let pending = Pending::default();
    for number in 0..=PATHS_MAX {
        let event = Event::new(EventKind::Any).add_path(PathBuf::from(format!("/{number}")));
        pending.take(Ok(event));
    }
    assert_eq!(*pending.batch(), Batch { paths: BTreeSet::new(), anything: true });
}

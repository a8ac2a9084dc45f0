use super::*;
use std::fs::{
    FileTimes, Permissions, create_dir, create_dir_all, hard_link, metadata, read, read_dir, read_link,
    set_permissions, symlink_metadata, write,
};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

struct World {
    scratch: TempDir,
}

impl World {
    /// A directory with one file of each kind that this user can create, and an empty volume.
    fn new() -> Self {
        let world = Self { scratch: tempfile::tempdir().unwrap() };
        let image = world.image();
        create_dir_all(image.join("dir/inner")).unwrap();
        create_dir(world.volume()).unwrap();
        write(image.join("dir/file"), "contents").unwrap();
        write(image.join("program"), "#!/bin/sh\n").unwrap();
        set_permissions(image.join("program"), Permissions::from_mode(0o4751)).unwrap();
        hard_link(image.join("dir/file"), image.join("link")).unwrap();
        symlink("../elsewhere", image.join("dir/symlink")).unwrap();
        let root = open_directory(&image).unwrap();
        mknodat(&root, "pipe", FileType::Fifo, Mode::from_raw_mode(0o620), 0).unwrap();
        let sparse = File::create(image.join("sparse")).unwrap();
        sparse.write_all_at(b"end", 8 << 20).unwrap();
        // Temporary directories may have no attributes.
        let _ = fsetxattr(&sparse, "user.color", b"red", XattrFlags::empty());
        set_permissions(image.join("dir"), Permissions::from_mode(0o2750)).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for path in ["dir/file", "dir", "sparse"] {
            let times = FileTimes::new().set_modified(old).set_accessed(old);
            File::open(image.join(path)).unwrap().set_times(times).unwrap();
        }
        world
    }

    fn image(&self) -> PathBuf {
        self.scratch.path().join("image")
    }

    fn volume(&self) -> PathBuf {
        self.scratch.path().join("volume")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.volume().join(name)
    }

    fn fill(&self) -> Copied {
        fill(&self.volume(), Some(&self.image()), &mut |_| {})
    }

    fn names(&self) -> Vec<String> {
        let entries = read_dir(self.volume()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

const ALL: [&str; 5] = ["dir", "link", "pipe", "program", "sparse"];

#[test]
fn everything_about_a_file_is_copied() {
    let world = World::new();
    let mut reported = 0;
    fill(&world.volume(), Some(&world.image()), &mut |bytes| reported = bytes).unwrap();
    assert_eq!(reported, (8 << 20) + 3 + 8 + 10);
    assert_eq!(world.names(), ALL);
    assert_eq!(read(world.path("dir/file")).unwrap(), b"contents");
    assert_eq!(read_link(world.path("dir/symlink")).unwrap(), Path::new("../elsewhere"));
    for path in ["dir", "dir/file", "dir/inner", "dir/symlink", "link", "pipe", "program", "sparse"] {
        let (old, new) = (world.image().join(path), world.path(path));
        let (old, new) = (symlink_metadata(old).unwrap(), symlink_metadata(new).unwrap());
        assert_eq!((old.mode(), old.uid(), old.gid()), (new.mode(), new.uid(), new.gid()), "{path}");
        assert_eq!((old.modified().unwrap(), old.nlink()), (new.modified().unwrap(), new.nlink()), "{path}");
    }
    let inode = |path: &str| metadata(world.path(path)).unwrap().ino();
    assert_eq!(inode("dir/file"), inode("link"));
    assert!(symlink_metadata(world.path("pipe")).unwrap().file_type().is_fifo());
    let sparse = File::open(world.path("sparse")).unwrap();
    let found = sparse.metadata().unwrap();
    assert_eq!(found.len(), (8 << 20) + 3);
    assert!(found.blocks() * 512 < 1 << 20, "{} blocks", found.blocks());
    let attribute = |file: &File| fgetxattr(file, "user.color", &mut [0u8; 8][..]);
    assert_eq!(attribute(&sparse), attribute(&File::open(world.image().join("sparse")).unwrap()));
}

#[test]
fn a_volume_with_contents_is_left_alone_and_an_emptied_one_stays_empty() {
    let world = World::new();
    write(world.path("mine"), "").unwrap();
    world.fill().unwrap();
    assert_eq!(world.names(), ["mine"]);
    std::fs::remove_file(world.path("mine")).unwrap();
    // An empty file system may have this.
    create_dir(world.path("lost+found")).unwrap();
    assert!(is_unused(&world.volume()).unwrap());
    world.fill().unwrap();
    assert_eq!(world.names(), ["dir", "link", "lost+found", "pipe", "program", "sparse"]);
    let can_have_attributes = fgetxattr_query(open_directory(&world.volume()).unwrap(), COPIED).is_ok();
    for name in ALL {
        let path = world.path(name);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }
    world.fill().unwrap();
    assert_eq!(world.names().len() == 1, can_have_attributes);
}

#[test]
fn an_interrupted_copy_starts_over_and_an_interrupted_move_is_completed() {
    let world = World::new();
    create_dir_all(world.path(COPY_PARTIAL).join("dir/half")).unwrap();
    assert!(is_unused(&world.volume()).unwrap());
    world.fill().unwrap();
    assert_eq!(world.names(), ALL);
    assert!(!world.path("dir/half").exists());

    // Two entries were moved, and one was created by someone else meanwhile.
    let complete = world.path(COPY_COMPLETE);
    create_dir(&complete).unwrap();
    for name in ["dir", "sparse", "program"] {
        std::fs::rename(world.path(name), complete.join(name)).unwrap();
    }
    write(world.path("program"), "mine").unwrap();
    // Whatever it covers this time.
    fill(&world.volume(), None, &mut |_| {}).unwrap();
    assert_eq!(world.names(), ALL);
    assert_eq!(read(world.path("program")).unwrap(), b"mine");
    assert_eq!(read(world.path("dir/file")).unwrap(), b"contents");
}

#[test]
fn a_failed_copy_leaves_nothing_and_names_the_file() {
    let world = World::new();
    let mut deep = world.image().join("deep");
    for _ in 0..DEPTH_MAX {
        deep.push("d");
    }
    create_dir_all(&deep).unwrap();
    let failure = world.fill().unwrap_err();
    assert!(failure.path.starts_with("deep/d/d"), "{failure:?}");
    assert!(failure.source.to_string().contains("nested more than 512 deep"), "{failure:?}");
    assert!(!failure.is_full());
    assert_eq!(world.names(), Vec::<String>::new());
    let full = CopyFailure { path: PathBuf::new(), source: Errno::NOSPC.into() };
    assert!(full.is_full());
}

#[test]
fn remembered_links_are_bounded_and_forgotten_after_the_last_one() {
    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str, links: usize| {
        let path = scratch.path().join(name);
        write(&path, "").unwrap();
        (1..links).for_each(|n| hard_link(&path, scratch.path().join(format!("{name}-{n}"))).unwrap());
        rustix::fs::stat(&path).unwrap()
    };
    let (single, triple) = (file("single", 1), file("triple", 3));
    let mut links = Links::default();
    links.add(&single, Path::new("single"));
    links.add(&triple, Path::new("triple"));
    assert_eq!(links.bytes, 6);
    assert_eq!(links.take(&single), None);
    for _ in 0..2 {
        assert_eq!(links.take(&triple).as_deref(), Some(Path::new("triple")));
    }
    assert_eq!((links.take(&triple), links.bytes, links.known.len()), (None, 0, 0));
    links.bytes = LINKS_BYTES_MAX;
    links.add(&triple, Path::new("triple"));
    assert_eq!(links.take(&triple), None);
}

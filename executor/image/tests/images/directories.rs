//! Directories as images.

use crate::support::{cat, check, debugfs, make, message, stat};
use executor_image::{ImageError, Progress, Resolved, build, resolve, rootfs_path};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn write(root: &Path, path: &str, contents: &[u8], mode: u32) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_kind_of_entry_is_unpacked() {
    let (source, store) = (folder(), folder());
    let root = source.path();
    write(root, "bin/sh", b"#!not really", 0o755);
    write(root, "usr/bin/sudo", b"x", 0o4755);
    write(root, "tmp/.keep", b"", 0o644);
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(root.join("bin/sh"), root.join("bin/ash")).unwrap();
    symlink("bin/sh", root.join("short")).unwrap();
    symlink(format!("/{}", "x".repeat(200)), root.join("long")).unwrap();
    write(root, "big", &(0..3_000_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>(), 0o600);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"odd \xff\"\n name");
    fs::write(root.join(odd), b"odd").unwrap();

    let image = make(root, store.path()).unwrap();
    check(&image);
    assert_eq!(stat(&image, "/bin/sh"), "regular 0755 0:0 12");
    assert_eq!(stat(&image, "/bin/ash"), "regular 0755 0:0 12");
    assert!(debugfs(&image, "stat /bin/ash").contains("Links: 2"));
    assert_eq!(stat(&image, "/usr/bin/sudo"), "regular 04755 0:0 1");
    assert_eq!(stat(&image, "/tmp"), "directory 01777 0:0 4096");
    assert_eq!(stat(&image, "/pipe"), "FIFO 0640 0:0 0");
    assert!(debugfs(&image, "stat /short").contains("Fast link dest: \"bin/sh\""));
    assert_eq!(stat(&image, "/long"), "symlink 0777 0:0 201");
    assert_eq!(cat(&image, "/big"), fs::read(root.join("big")).unwrap());
    assert_eq!(cat(&image, "/bin/sh"), b"#!not really");
    assert!(debugfs(&image, "ls -p /").contains("odd"));
}

#[test]
fn other_owners_and_devices_are_kept() {
    let (source, store) = (folder(), folder());
    let root = source.path();
    write(root, "mine", b"", 0o644);
    write(root, "theirs", b"", 0o644);
    if chown(root.join("theirs"), Some(70_000), Some(33)).is_err() {
        eprintln!("not root: owners cannot be set up, the archives' tests cover them");
        return;
    }
    let device = rustix::fs::makedev(1, 3);
    let large = rustix::fs::makedev(300, 70_000);
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let node = rustix::fs::FileType::CharacterDevice;
    let made = rustix::fs::mknodat(rustix::fs::CWD, root.join("null"), node, mode, device)
        .and_then(|()| rustix::fs::mknodat(rustix::fs::CWD, root.join("large"), node, mode, large));
    let image = make(root, store.path()).unwrap();
    check(&image);
    assert_eq!(stat(&image, "/mine"), "regular 0644 0:0 0");
    assert_eq!(stat(&image, "/theirs"), "regular 0644 70000:33 0");
    if made.is_ok() {
        assert!(debugfs(&image, "stat /null").contains("Device major/minor number: 01:03"));
        assert!(debugfs(&image, "stat /large").contains("Device major/minor number: 300:70000"));
    }
}

#[test]
fn extended_attributes_are_kept_inline_and_in_a_block() {
    let (source, store) = (folder(), folder());
    let root = source.path();
    write(root, "small", b"x", 0o644);
    write(root, "large", b"x", 0o644);
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::setxattr(root.join(path), name, value, rustix::fs::XattrFlags::empty())
    };
    if set("small", "user.note", b"hello").is_err() {
        eprintln!("the temporary folder has no extended attributes");
        return;
    }
    set("large", "user.a", &[b'a'; 700]).unwrap();
    set("large", "user.longer", b"bcd").unwrap();
    set("large", "user.b", b"").unwrap();
    let image = make(root, store.path()).unwrap();
    check(&image);
    assert!(debugfs(&image, "ea_get /small user.note").contains("hello"));
    assert!(debugfs(&image, "ea_get /large user.longer").contains("bcd"));
    assert!(debugfs(&image, "ea_list /large").contains("user.a (700)"));
}

#[test]
fn many_files_and_names_take_several_groups_and_blocks() {
    let (source, store) = (folder(), folder());
    let root = source.path();
    for index in 0..40_000 {
        let name = format!("d{}/file-with-a-long-name-{index}", index % 7);
        if index < 7 {
            fs::create_dir(root.join(format!("d{index}"))).unwrap();
        }
        fs::write(root.join(name), if index % 10 == 0 { "x" } else { "" }).unwrap();
    }
    let image = make(root, store.path()).unwrap();
    check(&image);
    assert_eq!(cat(&image, "/d4/file-with-a-long-name-39980"), b"");
    assert_eq!(cat(&image, "/d5/file-with-a-long-name-30000"), b"x");
}

#[test]
fn zeros_become_holes() {
    let (source, store) = (folder(), folder());
    let file = fs::File::create(source.path().join("sparse")).unwrap();
    file.set_len(30 << 20).unwrap();
    file.write_all_at(b"middle", 10 << 20).unwrap();
    let image = make(source.path(), store.path()).unwrap();
    check(&image);
    assert_eq!(cat(&image, "/sparse"), fs::read(source.path().join("sparse")).unwrap());
    assert!(fs::metadata(&image).unwrap().blocks() * 512 < 64 << 10);
}

#[test]
fn a_known_source_is_recognized_until_it_changes() {
    let source = folder();
    write(source.path(), "a", b"one", 0o644);
    let first = resolve(source.path(), None, source.path()).unwrap();
    // A false known digest is returned as is: nothing was read.
    let lie = Resolved { digest: schemas::digest::Digest::of_bytes(b""), ..first.clone() };
    assert_eq!(resolve(source.path(), Some(&lie), source.path()).unwrap(), lie);
    write(source.path(), "a", b"two", 0o644);
    let second = resolve(source.path(), Some(&first), source.path()).unwrap();
    assert!(second.digest != first.digest && second.fingerprint != first.fingerprint);
    write(source.path(), "a", b"one", 0o644);
    let third = resolve(source.path(), Some(&second), source.path()).unwrap();
    assert_eq!(third.digest, first.digest);
    fs::set_permissions(source.path().join("a"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_ne!(resolve(source.path(), Some(&third), source.path()).unwrap().digest, first.digest);
}

#[test]
fn the_same_contents_give_the_same_bytes() {
    let (one, two) = (folder(), folder());
    let names = ["x", "b/c", "a"];
    for (root, order) in [(one.path(), [0, 1, 2]), (two.path(), [2, 0, 1])] {
        order.iter().for_each(|&index| write(root, names[index], b"same", 0o644));
        for path in ["x", "b/c", "a", "b", ""] {
            let time =
                fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(9));
            fs::File::open(root.join(path)).unwrap().set_times(time).unwrap();
        }
    }
    let (store_one, store_two) = (folder(), folder());
    let (one, two) =
        (make(one.path(), store_one.path()).unwrap(), make(two.path(), store_two.path()).unwrap());
    assert_eq!(one.strip_prefix(store_one.path()), two.strip_prefix(store_two.path()));
    assert!(fs::read(one).unwrap() == fs::read(two).unwrap());
}

#[test]
fn a_changed_source_is_not_stored_under_its_old_digest() {
    let (source, store) = (folder(), folder());
    write(source.path(), "a", b"one", 0o644);
    let resolved = resolve(source.path(), None, source.path()).unwrap();
    write(source.path(), "a", b"two", 0o644);
    let result = build(source.path(), &resolved.digest, store.path(), &mut |_| {});
    assert!(matches!(result, Err(ImageError::Changed { .. })), "{result:?}");
    assert!(!rootfs_path(store.path(), &resolved.digest).exists());
    let left: Vec<_> =
        fs::read_dir(rootfs_path(store.path(), &resolved.digest).parent().unwrap()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_killed_build_is_overwritten_and_concurrent_builds_are_one() {
    let (source, store) = (folder(), folder());
    write(source.path(), "a", &[7; 5_000_000], 0o644);
    let resolved = resolve(source.path(), None, source.path()).unwrap();
    let target = rootfs_path(store.path(), &resolved.digest);
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::write(target.with_file_name("root.ext4.partial"), vec![0xff; 9_000_000]).unwrap();
    let copies = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut copied = 0;
                let mut progress = |progress| {
                    if let Progress::Copying { done_bytes, .. } = progress {
                        copied = done_bytes;
                    }
                };
                let built = build(source.path(), &resolved.digest, store.path(), &mut progress).unwrap();
                assert_eq!(built, target);
                copies.fetch_add(copied, std::sync::atomic::Ordering::SeqCst);
            });
        }
    });
    assert_eq!(copies.into_inner(), 5_000_000);
    check(&target);
    assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn errors_name_the_entry() {
    let store = folder();
    let missing = make(Path::new("/nonexistent/rootfs"), store.path()).unwrap_err();
    assert_eq!(missing.to_string(), "the image /nonexistent/rootfs does not exist");
    let null = make(Path::new("/dev/null"), store.path()).unwrap_err();
    assert!(matches!(null, ImageError::NotAnImage { .. }));
    let source = folder();
    let deep = source.path().join(vec!["d"; 300].join("/"));
    fs::create_dir_all(deep).unwrap();
    let error = make(source.path(), store.path()).unwrap_err();
    assert!(message(&error).ends_with("it is more than 256 directories deep"), "{}", message(&error));
    let layout = folder();
    write(layout.path(), "oci-layout", b"{}", 0o644);
    let error = make(layout.path(), store.path()).unwrap_err();
    assert!(
        message(&error).contains("is a damaged OCI image layout, which is not supported"),
        "{}",
        message(&error)
    );
}

//! Archives as images, including hostile ones.

use crate::support::{cat, check, debugfs, make, message, stat};
use executor_image::ImageError;
use std::io::Write;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};
use tests::layers::Maker;

struct Made {
    _folder: tempfile::TempDir,
    result: Result<PathBuf, ImageError>,
}

fn made(bytes: &[u8]) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("image.tar");
    std::fs::write(&archive, bytes).unwrap();
    let store = folder.path().join("store");
    let result = make(&archive, &store);
    if result.is_err() && store.exists() {
        let files = walk(&store);
        assert!(files.is_empty(), "not removed: {files:?}");
    }
    // Nothing may appear beside the archive and the store.
    assert!(std::fs::read_dir(folder.path()).unwrap().count() <= 2);
    Made { _folder: folder, result }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn refusal(maker: Maker) -> String {
    message(&made(&maker.bytes()).result.unwrap_err())
}

#[test]
fn owners_devices_and_setuid_bits_are_those_of_the_archive() {
    let device = |major, minor| {
        move |header: &mut Header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
            header.set_mode(0o666);
        }
    };
    let maker = Maker::new()
        .add(EntryType::Directory, b"./", b"", |header| header.set_mode(0o755))
        .folder("./dev/")
        .add(EntryType::Char, b"./dev/null", b"", device(1, 3))
        .add(EntryType::Block, b"./dev/vda", b"", device(254, 300))
        .add(EntryType::Regular, b"./bin/su", b"su", |header| {
            header.set_mode(0o6755);
            header.set_uid(0);
            header.set_gid(42);
        })
        .add(EntryType::Regular, b"home/u/f", b"mine", |header| {
            header.set_uid(1_000_000);
            header.set_gid(1_000_001);
        })
        .link(EntryType::Link, "bin/hard", "./bin/su")
        .link(EntryType::Symlink, "bin/soft", "../../../etc/passwd")
        .add(EntryType::Fifo, b"run/pipe", b"", |_| {});
    let made = made(&maker.bytes());
    let image = made.result.unwrap();
    check(&image);
    assert_eq!(stat(&image, "/bin/su"), "regular 06755 0:42 2");
    assert!(debugfs(&image, "stat /bin/hard").contains("Links: 2"));
    assert_eq!(stat(&image, "/home/u/f"), "regular 0644 1000000:1000001 4");
    assert_eq!(stat(&image, "/home"), "directory 0755 0:0 4096");
    assert!(debugfs(&image, "stat /dev/null").contains("Device major/minor number: 01:03"));
    assert!(debugfs(&image, "stat /dev/vda").contains("Device major/minor number: 254:300"));
    assert!(debugfs(&image, "stat /bin/soft").contains("../../../etc/passwd"));
    assert!(debugfs(&image, "stat /bin/su").contains("mtime: 0x6553f100"));
}

#[test]
fn long_names_extended_headers_and_the_last_of_equal_names() {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(200));
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o600);
    builder.append_data(&mut header.clone(), &long, &b"long"[..]).unwrap();
    builder.append_data(&mut header.clone(), "twice", &b"old!"[..]).unwrap();
    builder.append_data(&mut header.clone(), "twice", &b"new!"[..]).unwrap();
    let extensions = [
        ("SCHILY.xattr.user.note", &b"hello"[..]),
        ("SCHILY.xattr.security.selinux", b"dropped"),
        ("uid", b"3000000"),
        ("mtime", b"1700000000.25"),
    ];
    builder.append_pax_extensions(extensions).unwrap();
    builder.append_data(&mut header, "noted", &b"note"[..]).unwrap();
    let made = made(&builder.into_inner().unwrap());
    let image = made.result.unwrap();
    check(&image);
    assert_eq!(cat(&image, &format!("/{long}")), b"long");
    assert_eq!(cat(&image, "/twice"), b"new!");
    assert_eq!(stat(&image, "/noted"), "regular 0600 3000000:0 4");
    let attributes = debugfs(&image, "ea_list /noted");
    assert!(attributes.contains("user.note (5)") && !attributes.contains("selinux"), "{attributes}");
}

#[test]
fn gzip_is_read_and_other_compressions_are_named() {
    let tar = Maker::new().file("a", b"hello").bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let image = made(&gzip);
    let path = image.result.unwrap();
    check(&path);
    assert_eq!(cat(&path, "/a"), b"hello");
    let cut = made(&gzip[..gzip.len() - 20]).result.unwrap_err();
    assert!(matches!(cut, ImageError::BadArchive { .. }), "{cut:?}");
    let zstd = made(&zstd::encode_all(&tar[..], 1).unwrap());
    assert_eq!(cat(&zstd.result.unwrap(), "/a"), b"hello");
    for (bytes, word) in [(&b"\xfd7zXZ\0"[..], "xz"), (b"BZh9", "bzip2")] {
        assert!(made(bytes).result.unwrap_err().to_string().contains(word));
    }
    let error = made(b"hello").result.unwrap_err();
    assert!(message(&error).ends_with("is not a complete tar archive: it does not begin with a tar header"));
}

#[test]
fn hostile_paths_are_refused_by_name() {
    let cases = [
        (Maker::new().file("../escape", b"x"), "\"../escape\"", "contains '..'"),
        (Maker::new().file("a/../../escape", b"x"), "\"a/../../escape\"", "contains '..'"),
        (Maker::new().file("/etc/passwd", b"x"), "\"/etc/passwd\"", "absolute"),
        (
            Maker::new().link(EntryType::Symlink, "way", "/tmp").file("way/out", b"x"),
            "\"way/out\"",
            "leads through \"way\", which is a symbolic link",
        ),
        (
            Maker::new().folder("d").link(EntryType::Symlink, "d/way", "..").file("d/way/x/y", b"x"),
            "\"d/way/x/y\"",
            "leads through \"d/way\"",
        ),
        (Maker::new().file("f", b"x").file("f/g", b"x"), "\"f/g\"", "which is a file"),
        (Maker::new().link(EntryType::Link, "hard", "../../etc/shadow"), "\"hard\"", "contains '..'"),
        (Maker::new().link(EntryType::Link, "hard", "/etc/shadow"), "\"hard\"", "absolute"),
        (Maker::new().link(EntryType::Link, "hard", "nothing"), "\"hard\"", "is not an earlier entry"),
        (Maker::new().folder("d").link(EntryType::Link, "hard", "d"), "\"hard\"", "which is a directory"),
        (
            Maker::new().link(EntryType::Symlink, "s", "/etc").link(EntryType::Link, "hard", "s/shadow"),
            "\"hard\"",
            "leads through \"s\"",
        ),
        (Maker::new().folder("d").file("d", b"x"), "\"d\"", "a directory already has this name"),
        (Maker::new().link(EntryType::Symlink, "s", ""), "\"s\"", "has 0 bytes"),
        (Maker::new().add(EntryType::new(b'M'), b"m", b"", |_| {}), "\"m\"", "only backups have"),
        (Maker::new().file(&"x/".repeat(48), b"").file("y", b""), "", ""),
    ];
    for (maker, entry, reason) in cases {
        if entry.is_empty() {
            made(&maker.bytes()).result.unwrap();
            continue;
        }
        let text = refusal(maker);
        assert!(text.contains(entry) && text.contains(reason), "{text}");
    }
}

#[test]
fn a_link_replaced_by_a_folder_is_a_folder() {
    let maker = Maker::new().link(EntryType::Symlink, "x", "/etc").folder("x").file("x/passwd", b"inside");
    let made = made(&maker.bytes());
    let image = made.result.unwrap();
    check(&image);
    assert_eq!(cat(&image, "/x/passwd"), b"inside");
}

#[test]
fn lies_about_sizes_end_in_an_error() {
    let mut cut = Maker::new().file("a", &[1; 4000]).bytes();
    cut.truncate(2000);
    let error = made(&cut).result.unwrap_err();
    assert!(matches!(error, ImageError::BadArchive { .. }), "{error:?}");

    let lie = |size: u64| {
        Maker::new().add(EntryType::Regular, b"a", b"", move |header| header.set_size(size)).bytes()
    };
    for size in [1 << 20, 1 << 40, u64::MAX / 2, u64::MAX] {
        let error = made(&lie(size)).result.unwrap_err();
        let text = message(&error);
        assert!(text.contains("tar archive") || text.contains("more than 64 GiB"), "{size}: {text}");
    }
    let name = |size: u64| {
        Maker::new()
            .add(EntryType::GNULongName, b"././@LongLink", b"", move |header| header.set_size(size))
            .bytes()
    };
    let error = made(&name(1 << 33)).result.unwrap_err();
    assert!(message(&error).contains("more than 1 MiB"), "{}", message(&error));
}

#[test]
fn garbage_never_panics() {
    let tar = Maker::new().folder("d").file("d/f", &[3; 700]).link(EntryType::Symlink, "s", "d").bytes();
    let mut state = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..200 {
        let mut bytes = tar.clone();
        for _ in 0..4 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = state as usize % bytes.len();
            bytes[at] = (state >> 32) as u8;
        }
        if let Ok(image) = made(&bytes).result.as_ref() {
            assert!(image.exists());
        }
    }
}

#[test]
fn sparse_files_in_all_formats_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("sparse")).unwrap();
    file.set_len(20 << 20).unwrap();
    // More segments than fit into an old header.
    for piece in 0..12 {
        std::os::unix::fs::FileExt::write_all_at(&file, b"middle", (7 + piece) << 20).unwrap();
    }
    let pack = |format: &[&str]| {
        let arguments = ["--sparse", "--numeric-owner", "-cf", "-", "-C"];
        let output = std::process::Command::new("tar")
            .args(format)
            .args(arguments)
            .arg(folder.path())
            .arg(".")
            .output()
            .unwrap();
        assert!(output.status.success() && output.stdout.len() < 1 << 20);
        made(&output.stdout)
    };
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=1.0"],
        &["--format=posix", "--sparse-version=0.1"],
    ] {
        let made = pack(format);
        let image = made.result.unwrap();
        check(&image);
        assert!(cat(&image, "/sparse") == std::fs::read(folder.path().join("sparse")).unwrap(), "{format:?}");
        assert!(std::os::unix::fs::MetadataExt::blocks(&image.metadata().unwrap()) * 512 < 1 << 20);
    }
    let error = pack(&["--format=posix", "--sparse-version=0.0"]).result.unwrap_err();
    assert!(message(&error).contains("a sparse file in the pax form 0.0"), "{}", message(&error));
}

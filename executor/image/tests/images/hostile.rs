//! Hostile layers: each is refused with the layer's number and the entry's name, and leaves nothing behind.

use crate::oci::Store;
use crate::support::{cat, check, debugfs, message, stat};
use executor_image::{Compression, ImageError, LayerError};
use schemas::digest::Digest;
use std::io::Write;
use tar::EntryType;
use tests::layers::{Maker, Packing, TestLayer, gzip};

const LINK: EntryType = EntryType::Link;
const SYMLINK: EntryType = EntryType::Symlink;

fn new() -> Maker {
    Maker::new()
}

fn base() -> Maker {
    new().folder("d/").file("d/a", b"a").link(SYMLINK, "loop", "pool").link(SYMLINK, "pool", "loop")
}

fn refusal(layers: &[TestLayer]) -> String {
    message(&Store::new(layers).build().unwrap_err())
}

#[test]
fn hostile_entries_are_refused_by_layer_and_name() {
    let deep = "d/".repeat(300);
    let long = "n".repeat(256);
    let large = vec![b'x'; 5000];
    let cases: Vec<(Maker, &str, &str)> = vec![
        (new().file("../escape", b"x"), "../escape", "contains '..'"),
        (new().file("d/../../escape", b"x"), "d/../../escape", "contains '..'"),
        (new().file("/etc/passwd", b"x"), "/etc/passwd", "absolute"),
        (new().pax(&[("path", b"../pax")]).file("x", b"x"), "../pax", "contains '..'"),
        (new().whiteout("../../etc"), "../../.wh.etc", "contains '..'"),
        (
            new().link(SYMLINK, "way", "/tmp").file("way/out", b"x"),
            "way/out",
            "leads through \"way\", which is a symbolic link",
        ),
        (new().link(SYMLINK, "d/way", "..").whiteout("d/way/x"), "d/way/.wh.x", "leads through \"d/way\""),
        (
            new().link(SYMLINK, "way", "/etc").link(LINK, "hard", "way/shadow"),
            "hard",
            "leads through \"way\"",
        ),
        (new().link(LINK, "hard", "../../etc/shadow"), "hard", "contains '..'"),
        (new().link(LINK, "hard", "/etc/shadow"), "hard", "absolute"),
        (new().link(LINK, "hard", "nothing"), "hard", "is not an earlier entry"),
        (new().link(LINK, "hard", "d"), "hard", "which is a directory"),
        (new().link(LINK, "d", "d/a"), "d", "is not an earlier entry"),
        (new().whiteout("d/a").link(LINK, "hard", "d/a"), "hard", "is not an earlier entry"),
        (new().file("d/a/through", b"x"), "d/a/through", "which is a file"),
        (
            new().add(EntryType::Char, b"null", b"", device).file("null/x", b"x"),
            "null/x",
            "which is a device",
        ),
        (new().file("loop/x", b"x"), "loop/x", "too many symbolic links"),
        (new().file(".wh.", b""), ".wh.", "whiteout without a name"),
        (new().file(".wh..", b""), ".wh..", "whiteout without a name"),
        (new().file("d/.wh...", b""), "d/.wh...", "whiteout without a name"),
        (new().file(".wh.d/x", b"x"), ".wh.d/x", "leads through a whiteout"),
        (new().folder("n/").file("n", b"x"), "n", "a directory already has this name"),
        (new().file("./", b"x"), "./", "its path is empty"),
        (new().pax(&[("path", deep.as_bytes())]).file("x", b"x"), "d/d/d/d", "256 directories deep"),
        (new().pax(&[("path", long.as_bytes())]).file("x", b"x"), "nnnn", "longer than 255 bytes"),
        (new().link(SYMLINK, "s", ""), "s", "has 0 bytes"),
        (new().pax(&[("linkpath", &[b't'; 4096])]).link(SYMLINK, "s", "x"), "s", "has 4096 bytes"),
        (new().pax(&[("SCHILY.xattr.user.x", &large[..])]).file("x", b"x"), "", "more than one block"),
        (new().pax(&[("uid", b"99999999999")]).file("x", b"x"), "x", "above 32 bits"),
        (new().pax(&[("size", b"99999999999999")]).file("x", b"x"), "x", "more than 64 GiB"),
        (new().add(EntryType::new(b'M'), b"m", b"", |_| {}), "m", "only backups have"),
        (
            new().add(EntryType::GNULongName, b"name", b"", |header| header.set_size(1 << 33)),
            "",
            "more than 1 MiB",
        ),
        (
            new().add(EntryType::XHeader, b"name", b"", |header| header.set_size(1 << 33)),
            "",
            "more than 1 MiB",
        ),
    ];
    for (maker, entry, reason) in cases {
        let text = refusal(&[base().bytes().into(), maker.bytes().into()]);
        let what = format!("{entry:?}");
        let what = what.trim_end_matches('"');
        assert!(
            text.starts_with(what) && text.contains("in layer 2 of 2") && text.contains(reason),
            "{text}"
        );
    }
}

fn device(header: &mut tar::Header) {
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
}

#[test]
fn a_whiteout_below_a_file_has_no_effect() {
    let lower = new().folder("d/").file("d/a", b"a").add(EntryType::Fifo, b"pipe", b"", |_| {});
    let upper = new().whiteout("d/a/x").whiteout("d/a/x/y").whiteout("pipe/x").file("d/a/.wh..wh..opq", b"");
    let own = upper.file("own", b"own").whiteout("own/x").file("ok", b"1");
    let store = Store::new(&[lower.bytes().into(), own.bytes().into()]);
    let image = store.build().unwrap();
    for (path, contents) in [("/d/a", &b"a"[..]), ("/own", b"own"), ("/ok", b"1")] {
        assert_eq!(cat(&image, path), contents, "{path}");
    }
    assert!(stat(&image, "/pipe").starts_with("FIFO"));
}

#[test]
fn more_names_of_one_file_than_ext4_counts_are_refused() {
    let links = |count: u32| {
        let mut maker = new().file("d/a", b"a");
        for number in 1..count {
            maker = maker.link(LINK, &format!("d/{number}"), "d/a");
        }
        TestLayer::from(maker.bytes())
    };
    let most = Store::new(&[links(65_000)]);
    assert!(stat(&most.build().unwrap(), "/d/64999").starts_with("regular 0644"));
    let text = refusal(&[base().bytes().into(), links(65_001)]);
    assert!(
        text.starts_with("\"d/65000\" in layer 2 of 2") && text.contains("more than 65000 names"),
        "{text}"
    );
    // A higher layer may not add one either.
    let text = refusal(&[links(65_000), new().link(LINK, "more", "d/a").bytes().into()]);
    assert!(text.starts_with("\"more\" in layer 2 of 2"), "{text}");
}

#[test]
fn a_zstd_frame_with_a_huge_window_is_refused() {
    let tar = base().file("x", b"x").bytes();
    let framed = |window_log: u8| {
        // A frame with one raw block and a given window size.
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3];
        frame.extend_from_slice(&(((tar.len() as u32) << 3) | 1).to_le_bytes()[..3]);
        frame.extend_from_slice(&tar);
        let mut store = Store::new(&[TestLayer { tar: tar.clone(), packing: Packing::Zstd }]);
        let layer = &mut store.image.layers[0];
        (layer.digest, layer.size) = (Digest::of_bytes(&frame), frame.len() as u64);
        store.blobs.put(&layer.digest, &frame).unwrap();
        store
    };
    let modest = framed(23);
    assert_eq!(cat(&modest.build().unwrap(), "/x"), b"x");
    let text = message(&framed(31).build().unwrap_err());
    assert!(text.contains("layer 1 of 1") && text.contains("too much memory"), "{text}");
}

#[test]
fn a_path_that_grows_through_links_stays_bounded() {
    // Each layer's link leads to the bottom of the previous layers.
    let part = "x/".repeat(100);
    let layer = |number: usize| {
        let path = if number == 0 { part.clone() } else { format!("link{}/{part}", number - 1) };
        let target = path.trim_end_matches('/').to_owned();
        new()
            .pax(&[("path", format!("{path}f").as_bytes())])
            .file("f", b"f")
            .pax(&[("linkpath", target.as_bytes())])
            .link(SYMLINK, &format!("link{number}"), "x")
            .bytes()
            .into()
    };
    Store::new(&(0..2).map(layer).collect::<Vec<_>>()).build().unwrap();
    let text = refusal(&(0..4).map(layer).collect::<Vec<_>>());
    assert!(text.contains("in layer 3 of 4") && text.contains("256 directories deep"), "{text}");
}

#[test]
fn links_cannot_reach_outside_files() {
    let canary = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(canary.path(), b"untouched").unwrap();
    let folder = canary.path().parent().unwrap().to_str().unwrap();
    let name = canary.path().file_name().unwrap().to_str().unwrap();
    let store = Store::new(&[
        new().link(SYMLINK, "way", folder).bytes().into(),
        new().file(&format!("way/{name}"), b"hostile").bytes().into(),
    ]);
    let image = store.build().unwrap();
    check(&image);
    // It went to the link's target inside the image.
    assert_eq!(cat(&image, &format!("{folder}/{name}")), b"hostile");
    assert_eq!(std::fs::read(canary.path()).unwrap(), b"untouched");
}

#[test]
fn sizes_that_lie_do_not_hide_entries() {
    // Links and directories have no contents, whatever size they state: a header follows.
    let state = |size: u64| move |header: &mut tar::Header| header.set_size(size);
    let store = Store::new(&[new()
        .file("a", b"a")
        .add(EntryType::Directory, b"d/", b"", state(512))
        .add(EntryType::Symlink, b"s", b"", |header| {
            header.set_link_name("a").unwrap();
            header.set_size(1 << 20);
        })
        .file("seen", b"seen")
        .bytes()
        .into()]);
    let image = store.build().unwrap();
    check(&image);
    assert_eq!(cat(&image, "/seen"), b"seen");
    for size in [1 << 20, 1 << 35] {
        let text = refusal(&[new().add(EntryType::Regular, b"a", b"x", state(size)).bytes().into()]);
        assert!(text.contains("layer 1 of 1") && text.contains("at \"a\""), "{text}");
    }
}

#[test]
fn wrong_digests_are_reported_first() {
    let layers = || vec![base().bytes().into(), new().file("x", &[5; 50_000]).bytes().into()];
    // The stored bytes differ from the manifest's: at the start, in the middle, after the compressed data.
    for (index, change) in [
        (0, &(|bytes: &mut Vec<u8>| bytes[20] ^= 1) as &dyn Fn(&mut Vec<u8>)),
        (1, &|bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        }),
        (1, &|bytes| bytes.truncate(bytes.len() - 9)),
        (1, &|bytes| bytes.push(0)),
    ] {
        let mut store = Store::new(&layers());
        let layer = &mut store.image.layers[index];
        let path = store.blobs.path(&layer.digest).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        layer.size = bytes.len() as u64;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let error = store.build().unwrap_err();
        let ImageError::Layer(error) = error else { panic!("{error:?}") };
        let LayerError::WrongDigest { layer, expected, .. } = *error else { panic!("{error:?}") };
        assert_eq!((layer.number, expected), (index + 1, store.image.layers[index].digest.clone()));
    }
    // They match the manifest but not the config.
    let mut store = Store::new(&layers());
    store.image.layers[1].diff_id = Digest::of_bytes(b"another");
    let error = store.build().unwrap_err();
    assert!(message(&error).contains("layer 2 of 2") && message(&error).contains("is not the image's"));
    // With both right it builds.
    Store::new(&layers()).build().unwrap();
}

#[test]
fn files_that_are_not_archives_are_reported_as_such() {
    let text = refusal(&[base().bytes().into(), vec![9; 2048].into()]);
    assert!(text.contains("layer 2 of 2") && text.contains("checksum is wrong"), "{text}");
    let mut stray = base().bytes();
    let length = stray.len();
    stray.splice(length - 512..length, vec![1; 512]);
    let text = refusal(&[stray.into()]);
    assert!(text.contains("there is a record of zeros between"), "{text}");
    let mut cut = new().file("whole", b"w").file("cut", &[1; 4000]).bytes();
    cut.truncate(3000);
    let text = refusal(&[cut.into()]);
    assert!(text.contains("at \"cut\""), "{text}");
    // Uncompressed bytes in place of gzip.
    let mut store = Store::new(&[TestLayer { tar: base().bytes(), packing: Packing::Tar }]);
    store.image.layers[0].compression = Compression::Gzip;
    assert!(message(&store.build().unwrap_err()).contains("layer 1 of 1"));
}

#[test]
fn several_members_of_gzip_and_a_global_header_are_one_layer() {
    let tar = base()
        .add(EntryType::XGlobalHeader, b"global", b"17 comment=hello\n", |header| header.set_size(17))
        .file("x", b"x")
        .bytes();
    let packed = [gzip(&tar[..700]), gzip(&tar[700..])].concat();
    let mut store = Store::new(&[tar.into()]);
    let layer = &mut store.image.layers[0];
    (layer.digest, layer.size) = (Digest::of_bytes(&packed), packed.len() as u64);
    store.blobs.put(&layer.digest, &packed).unwrap();
    let image = store.build().unwrap();
    assert_eq!(cat(&image, "/x"), b"x");
}

#[test]
fn a_layer_bomb_ends_at_the_limit_of_the_image() {
    // Two sparse files of 40 GiB: a few bytes in the archive, together more than the limit.
    let sparse = |name: &str| {
        let size = (40u64 << 30).to_string();
        let map = [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0")];
        let mut records = map.to_vec();
        records.push(("GNU.sparse.name", name.as_bytes()));
        records.push(("GNU.sparse.realsize", size.as_bytes()));
        let mut contents = b"0\n".to_vec();
        contents.resize(512, 0);
        new().pax(&records).file("sparse", &contents).bytes().into()
    };
    let text = refusal(&[sparse("one"), sparse("two")]);
    assert!(text.starts_with("\"two\" in layer 2 of 2") && text.contains("more than 64 GiB"), "{text}");
    // Replaced files take space as well while the image is built.
    let text = refusal(&[sparse("same"), sparse("same"), sparse("same")]);
    assert!(text.starts_with("\"same\" in layer 3 of 3"), "{text}");
}

#[test]
fn contents_that_a_later_layer_removes_take_no_space() {
    let noise: Vec<u8> =
        (0..4_000_000u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let store = Store::new(&[
        new().file("large", &noise).file("kept", &noise[..10_000]).bytes().into(),
        new().whiteout("large").bytes().into(),
    ]);
    let image = store.build().unwrap();
    check(&image);
    assert_eq!(cat(&image, "/kept"), &noise[..10_000]);
    let stored = std::os::unix::fs::MetadataExt::blocks(&image.metadata().unwrap()) * 512;
    assert!(stored < 200_000, "{stored}");
    assert!(debugfs(&image, "stats").contains("Filesystem state:         clean"));
}

#[test]
fn changed_bytes_give_a_sound_image_or_a_refusal() {
    let tar = base()
        .pax(&[("path", b"long/name"), ("SCHILY.xattr.user.x", b"y"), ("mtime", b"1.5")])
        .file("f", &[3; 700])
        .link(LINK, "hard", "d/a")
        .whiteout("d/a")
        .bytes();
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let (mut built, mut refused) = (0, 0);
    for _ in 0..100 {
        let mut bytes = tar.clone();
        for _ in 0..3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = state as usize % bytes.len();
            bytes[at] = (state >> 32) as u8;
            // A valid checksum makes the change visible.
            let header = at / 512 * 512;
            let sum: u32 = (0..512)
                .map(|index| if (148..156).contains(&index) { 32 } else { u32::from(bytes[header + index]) })
                .sum();
            write!(&mut bytes[header + 148..header + 156], "{sum:06o}\0 ").unwrap();
        }
        let store = Store::new(&[TestLayer { tar: bytes, packing: Packing::Tar }]);
        match store.build() {
            Ok(image) => {
                check(&image);
                built += 1;
            }
            Err(error) => {
                assert!(message(&error).contains("layer 1 of 1"), "{}", message(&error));
                refused += 1;
            }
        }
    }
    assert!(built > 10 && refused > 10, "{built} built, {refused} refused");
}

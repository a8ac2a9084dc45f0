//! Layers that are difficult to unpack.

use super::{MODIFIED, Maker, Packing, TestLayer};
use tar::{Builder, EntryType, Header};

/// An image whose layers are difficult to unpack.
#[derive(Debug)]
pub struct Trick {
    /// Its difficulty.
    pub name: &'static str,
    /// Its layers, the lowest one first.
    pub layers: Vec<TestLayer>,
}

const OF_A_TEST: &str = "a test's own archive can be made";

fn owned(uid: u64, gid: u64, mode: u32) -> impl FnOnce(&mut Header) {
    move |header| {
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mode(mode);
    }
}

fn device(major: u32, minor: u32) -> impl FnOnce(&mut Header) {
    move |header| {
        header.set_device_major(major).expect(OF_A_TEST);
        header.set_device_minor(minor).expect(OF_A_TEST);
        header.set_mode(0o660);
    }
}

fn at(seconds: u64) -> impl FnOnce(&mut Header) {
    move |header| header.set_mtime(seconds)
}

fn base() -> Maker {
    Maker::new()
        .folder("./")
        .folder("d/")
        .file("d/a", b"a")
        .file("d/b", b"b")
        .folder("d/e/")
        .file("d/e/f", b"f")
}

fn new() -> Maker {
    Maker::new()
}

const LINK: EntryType = EntryType::Link;
const SYMLINK: EntryType = EntryType::Symlink;

/// The value of `security.capability` for `cap_net_raw=ep`.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Returns all tricks.
pub fn tricks() -> Vec<Trick> {
    let mut tricks = whiteouts();
    tricks.extend(links());
    tricks.extend(types());
    tricks.extend(attributes());
    tricks.extend(names());
    tricks.extend(archives());
    tricks
}

fn trick<const N: usize>(name: &'static str, layers: [Maker; N]) -> Trick {
    Trick { name, layers: layers.map(|maker| maker.bytes().into()).into() }
}

fn whiteouts() -> Vec<Trick> {
    vec![
        trick("a file is whited out", [base(), new().whiteout("d/a")]),
        trick("a directory is whited out", [base(), new().whiteout("d")]),
        trick("missing files are whited out", [base(), new().whiteout("x").whiteout("y/z")]),
        trick(
            "a whiteout before the file that replaces it",
            [base(), new().whiteout("d/a").file("d/a", b"new")],
        ),
        trick(
            "a whiteout after the file that replaces it",
            [base(), new().file("d/a", b"new").whiteout("d/a")],
        ),
        trick(
            "a directory is whited out and created again",
            [base(), new().whiteout("d").folder("d/").file("d/new", b"n")],
        ),
        trick(
            "a directory is whited out after its new file",
            [base(), new().folder("d/").file("d/new", b"n").whiteout("d")],
        ),
        trick(
            "an opaque directory",
            [base(), new().folder("d/").file("d/.wh..wh..opq", b"").file("d/new", b"n")],
        ),
        trick(
            "an opaque directory, marked after its new file",
            [base(), new().folder("d/").file("d/new", b"n").file("d/.wh..wh..opq", b"")],
        ),
        trick(
            "an opaque directory that keeps a subdirectory",
            [base(), new().folder("d/").folder("d/e/").file("d/e/g", b"g").file("d/.wh..wh..opq", b"")],
        ),
        trick("an opaque root", [base(), new().file(".wh..wh..opq", b"").file("only", b"this")]),
        trick("an opaque directory that is new", [base(), new().folder("o/").file("o/.wh..wh..opq", b"")]),
        trick(
            "a whiteout in the third layer of a file of the second",
            [base(), new().file("d/c", b"c"), new().whiteout("d/c").whiteout("d/e")],
        ),
        trick(
            "a file that was whited out is in the third layer again",
            [base(), new().whiteout("d/a"), new().file("d/a", b"back")],
        ),
        trick(
            "a whiteout through a link of the layer below",
            [base().link(SYMLINK, "way", "d"), new().whiteout("way/a")],
        ),
    ]
}

fn links() -> Vec<Trick> {
    vec![
        trick("a hard link", [base().link(LINK, "d/hard", "d/a")]),
        trick("a hard link across layers", [base(), new().link(LINK, "hard", "d/a")]),
        trick(
            "a name of a hard-linked file is replaced",
            [base().link(LINK, "hard", "d/a"), new().file("d/a", b"new")],
        ),
        trick(
            "a name of a hard-linked file is whited out",
            [base().link(LINK, "hard", "d/a"), new().whiteout("d/a")],
        ),
        trick(
            "a hard link to a symbolic link",
            [base().link(SYMLINK, "soft", "d/a").link(LINK, "hard", "soft")],
        ),
        trick("a hard link replaces a file", [base(), new().link(LINK, "d/b", "d/a")]),
        trick(
            "a hard link through a link of the layer below",
            [base().link(SYMLINK, "way", "d"), new().link(LINK, "hard", "way/a")],
        ),
        trick(
            "a file through a link of the layer below",
            [base().link(SYMLINK, "way", "d"), new().file("way/through", b"t")],
        ),
        trick(
            "a file through an absolute link of the layer below",
            [base().link(SYMLINK, "way", "/d/e"), new().file("way/through", b"t")],
        ),
        trick(
            "a file through a link that climbs above the root",
            [base().link(SYMLINK, "way", "../../../d"), new().file("way/through", b"t")],
        ),
        trick(
            "symbolic links of all lengths",
            [base().link(SYMLINK, "broken", "nowhere/at/all").link(SYMLINK, "away", "/etc/passwd").link(
                SYMLINK,
                "long",
                &"x/".repeat(45),
            )],
        ),
    ]
}

fn types() -> Vec<Trick> {
    vec![
        trick("a file replaces a directory", [base(), new().file("d", b"file")]),
        trick("a directory replaces a file", [base(), new().folder("d/a/").file("d/a/x", b"x")]),
        trick("a symbolic link replaces a directory", [base(), new().link(SYMLINK, "d", "e")]),
        trick(
            "a directory replaces a symbolic link",
            [base().link(SYMLINK, "s", "d"), new().folder("s/").file("s/x", b"x")],
        ),
        trick(
            "a file replaces a symbolic link",
            [base().link(SYMLINK, "s", "d/a"), new().file("s", b"not through it")],
        ),
        trick(
            "a file replaces a device, and a pipe a file",
            [
                base().add(EntryType::Char, b"null", b"", device(1, 3)),
                new().file("null", b"0").add(EntryType::Fifo, b"d/a", b"", |_| {}),
            ],
        ),
        trick(
            "devices and pipes",
            [base()
                .add(EntryType::Char, b"null", b"", device(1, 3))
                .add(EntryType::Block, b"disk", b"", device(259, 70000))
                .add(EntryType::Fifo, b"pipe", b"", |_| {})],
        ),
    ]
}

fn attributes() -> Vec<Trick> {
    vec![
        trick(
            "setuid, setgid and the sticky bit",
            [base()
                .add(EntryType::Regular, b"su", b"su", owned(0, 0, 0o4755))
                .add(EntryType::Regular, b"sg", b"sg", owned(0, 42, 0o2755))
                .add(EntryType::Directory, b"tmp/", b"", owned(0, 0, 0o1777))],
        ),
        trick(
            "file capabilities",
            [base().pax(&[("SCHILY.xattr.security.capability", CAPABILITY)]).file("ping", b"ping")],
        ),
        trick(
            "attributes of a file and a directory, and a layer without them",
            [
                base()
                    .pax(&[("SCHILY.xattr.user.one", b"1"), ("SCHILY.xattr.user.two", &[0, 255, 10])])
                    .file("f", b"f")
                    .pax(&[("SCHILY.xattr.user.of", b"directory")])
                    .folder("g/"),
                new().folder("g/").pax(&[("SCHILY.xattr.user.three", b"3")]).file("f", b"f"),
            ],
        ),
        trick(
            "attributes in a block of their own",
            [base().pax(&[("SCHILY.xattr.user.large", &[b'x'; 2000])]).file("f", b"f")],
        ),
        trick(
            "a directory's owner and mode change",
            [base(), new().add(EntryType::Directory, b"d/", b"", owned(7, 8, 0o700))],
        ),
        trick(
            "owners beyond the header's digits",
            [base().pax(&[("uid", b"3000000"), ("gid", b"4000000000")]).file("far", b"far")],
        ),
        trick(
            "times before 1970 and between seconds",
            [base()
                .pax(&[("mtime", b"1699999999.123456789")])
                .file("between", b"b")
                .pax(&[("mtime", b"-5")])
                .file("before", b"b")
                .add(EntryType::Regular, b"old", b"o", at(86_400))],
        ),
        trick(
            "a directory keeps its time when a file is added",
            [base(), new().add(EntryType::Regular, b"d/new", b"n", at(MODIFIED + 50))],
        ),
    ]
}

fn names() -> Vec<Trick> {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(200));
    let mut gnu = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o600);
    header.set_mtime(MODIFIED);
    gnu.append_data(&mut header.clone(), &long, &b"long"[..]).expect(OF_A_TEST);
    header.set_size(0);
    header.set_entry_type(SYMLINK);
    gnu.append_link(&mut header, "link", "t".repeat(180)).expect(OF_A_TEST);
    let gnu = gnu.into_inner().expect(OF_A_TEST);
    vec![
        Trick { name: "long names in the GNU format", layers: vec![gnu.into()] },
        trick(
            "long names in the pax format",
            [new()
                .folder("./")
                .pax(&[("path", long.as_bytes())])
                .file("short", b"long")
                .pax(&[("linkpath", &[b't'; 180])])
                .link(SYMLINK, "link", "short")],
        ),
        trick(
            "names that are not UTF-8",
            [
                base().add(EntryType::Regular, b"caf\xe9", b"latin", |_| {}).add(
                    EntryType::Regular,
                    b"\xff\xfe\x01 \"q\"",
                    b"bytes",
                    |_| {},
                ),
                new().add(EntryType::Regular, b".wh.caf\xe9", b"", |_| {}),
            ],
        ),
        trick(
            "names that look like whiteouts",
            [base().file("a.wh.b", b"x").file(".who", b"y").file("d/.wh", b"z")],
        ),
        trick(
            "directories without entries of their own",
            [new().file("a/b/c", b"c"), new().file("a/b/e/f", b"f")],
        ),
        trick(
            "paths with superfluous dots and slashes",
            [new().folder("./").folder("./d//").file("././d/./x", b"x").file("d//y", b"y")],
        ),
    ]
}

fn packed(name: &'static str, packing: Packing) -> Trick {
    let layer = |maker: Maker| TestLayer { tar: maker.bytes(), packing };
    Trick { name, layers: vec![layer(base()), layer(new().whiteout("d/a").file("z", &[7; 100_000]))] }
}

fn archives() -> Vec<Trick> {
    let folder = tempfile::tempdir().expect(OF_A_TEST);
    let file = std::fs::File::create(folder.path().join("sparse")).expect(OF_A_TEST);
    file.set_len(3 << 20).expect(OF_A_TEST);
    for piece in 0..6 {
        std::os::unix::fs::FileExt::write_all_at(&file, b"piece", (piece << 18) + 100).expect(OF_A_TEST);
    }
    let sparse = |format: &str| {
        let output = std::process::Command::new("tar")
            .args(["--sparse", format, "--numeric-owner", "--owner=0", "--group=0", "--mode=a=r"])
            .args(["--mtime=@1700000000", "-cf", "-", "-C"])
            .arg(folder.path())
            .arg("sparse")
            .output()
            .expect(OF_A_TEST);
        assert!(output.status.success() && output.stdout.len() < 1 << 20);
        vec![output.stdout.into()]
    };
    let large: Vec<u8> = (0..3_000_000u32).map(|index| (index / 1000) as u8).collect();
    vec![
        // Debian's umoci refuses those in GNU's own form.
        Trick { name: "a sparse file in the pax format", layers: sparse("--format=posix") },
        packed("uncompressed layers", Packing::Tar),
        packed("layers compressed with zstd", Packing::Zstd),
        trick("an empty layer", [base(), new(), new().file("z", b"z")]),
        trick("two files of the same name in a layer", [base().file("d/a", b"second")]),
        trick(
            "a large file, replaced by a small one, and an empty one",
            [
                base().file("large", &large).file("kept", &large[..5000]).file("empty", b""),
                new().file("large", b"small").file("behind", &large[..70_000]),
            ],
        ),
    ]
}

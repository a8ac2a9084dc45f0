//! Images: the JSON documents of OCI and docker, pax headers, and layers on their way into a file system.

use crate::bytes::Bytes;
use executor_image::fuzzing::{self, Unpacked};
use executor_image::{Document, ImageConfig, OciImage, parse_document};
use rustix::fs::MemfdFlags;
use schemas::digest::Digest;
use schemas::lockfile::Platform;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// Manifests, indexes and configs. What an input may hold: a manifest, a NUL, and a config.
pub fn documents(bytes: &[u8]) {
    let (first, config) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, bytes),
    };
    if let Ok(config) = ImageConfig::parse(config) {
        let bounded = |text: &String| text.len() <= bytes.len() && !text.contains('\0');
        assert!(config.entrypoint.iter().chain(&config.cmd).all(bounded));
        assert!(config.env.iter().all(|(name, value)| bounded(name) && bounded(value)));
        if let Some(healthcheck) = &config.healthcheck {
            assert!(healthcheck.timeout_ms > 0 && healthcheck.interval_ms > 0, "{healthcheck:?}");
        }
    }
    match parse_document(first) {
        Ok(Document::Manifest(manifest)) => {
            let digest = Digest::of_bytes(first);
            if let Ok(image) = OciImage::new(digest, &manifest, config, Platform::LinuxAmd64) {
                assert_eq!(image.layers.len(), manifest.layers.len());
                assert_eq!(image.bytes(), manifest.layers.iter().map(|(layer, _)| layer.size).sum::<u64>());
            }
        }
        Ok(Document::Index(index)) => {
            let count = index.entries().count();
            for platform in [Platform::LinuxAmd64, Platform::LinuxArm64] {
                if let Ok(chosen) = index.choose(platform) {
                    assert!(index.entries().any(|(entry, _)| entry == chosen), "none of the {count}");
                }
            }
        }
        Err(_) => {}
    }
}

/// Headers of qcow2 disks: those that are used name no other file.
pub fn qcow2(bytes: &[u8]) {
    if executor_image::check_header(bytes).is_ok() {
        assert_eq!(bytes[8..20], [0; 12], "a backing file");
        assert_eq!(bytes[32..36], [0; 4], "a method of encryption");
        assert!(bytes[4..8] == [0, 0, 0, 2] || bytes[79] & 4 == 0, "an external data file");
    }
}

/// Files of snapshots: the disk keeps the size of its description.
pub fn snapshot(bytes: &[u8]) {
    assert_eq!(fuzzing::snapshot(bytes), 1 << 20);
}

/// Extended headers: what they say is no longer than what they are.
pub fn pax(bytes: &[u8]) {
    if let Some(kept) = fuzzing::pax_bytes_kept(bytes) {
        assert!(kept <= bytes.len(), "{kept} bytes are kept of {}", bytes.len());
    }
}

/// One in so many images is looked over by e2fsck, which takes longer than all the rest.
const CHECKED_OF: u64 = 64;

/// Layers of entries of any kind: they become a file system that e2fsck finds sound, or are refused; and nothing but
/// the image is written.
pub fn layers(bytes: &[u8]) {
    let layers = archives(bytes);
    let stored: usize = layers.iter().map(Vec::len).sum();
    let image = File::from(rustix::fs::memfd_create("image", MemfdFlags::CLOEXEC).expect("a file in memory"));
    let unpacked = fuzzing::unpack(&layers, &image);
    let blocks = image.metadata().expect("the image can be looked at").blocks() * 512;
    // Headers, an inode table of the smallest size, a journal.
    assert!(blocks <= 4 * stored as u64 + (24 << 20), "{blocks} bytes are written for {stored}");
    if let Ok(Unpacked { .. }) = unpacked
        && hash(bytes).is_multiple_of(CHECKED_OF)
    {
        check_file_system(&image);
    }
}

fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn check_file_system(image: &File) {
    let path = format!("/proc/{}/fd/{}", std::process::id(), image.as_raw_fd());
    let Ok(output) = Command::new("e2fsck")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .args(["-f", "-n", &path])
        .output()
    else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
}

/// The types of entries; the low bits of a byte select one.
const KINDS: &[u8] = b"0125346xLKgS07\x00M";
/// Names that lead through each other.
const NAMES: &[&[u8]] =
    &[b"a", b"b", b"a/b", b"a/b/c", b".wh.a", b"a/.wh.b", b"a/.wh..wh..opq", b"./", b"..", b"b/a"];
/// The keys of extended headers.
const KEYS: &[&str] = &[
    "path",
    "linkpath",
    "size",
    "uid",
    "gid",
    "mtime",
    "GNU.sparse.major",
    "GNU.sparse.minor",
    "GNU.sparse.name",
    "GNU.sparse.realsize",
    "GNU.sparse.map",
    "SCHILY.xattr.user.x",
    "SCHILY.xattr.security.capability",
    "comment",
];

/// Makes archives of an input: for each entry a byte for its type, one for what follows, and that. So an archive has
/// right checksums, and a change of a byte is a change of an entry.
fn archives(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut input = Bytes(bytes);
    let mut layers = vec![Vec::new()];
    while !input.0.is_empty() {
        let (kind, flags) = (input.byte(), input.byte());
        let has = |bit: u8| flags & (1 << bit) != 0;
        if has(0) && layers.len() < 4 {
            layers.push(Vec::new());
        }
        let mut header = [0; 512];
        let name = name(&mut input);
        header[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[136..148].copy_from_slice(b"00000000000\0");
        header[156] = KINDS[usize::from(kind) % KINDS.len()];
        if has(1) {
            let target = self::name(&mut input);
            header[157..157 + target.len().min(100)].copy_from_slice(&target[..target.len().min(100)]);
        }
        header[257..265].copy_from_slice(if has(2) { b"ustar  \0" } else { b"ustar\x0000" });
        if has(3) {
            // Device numbers, a prefix, or the sparse map of the old format.
            let tail = usize::from(input.byte());
            let tail = input.take(tail.min(230));
            header[265..265 + tail.len()].copy_from_slice(tail);
        }
        let contents =
            if header[156] == b'x' && has(4) { records(&mut input) } else { contents(&mut input, has(5)) };
        let size = if has(6) {
            u64::from_be_bytes([0, 0, 0, input.byte() & 1, 0, 0, 0, input.byte()])
        } else {
            contents.len() as u64
        };
        header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let layer = layers.last_mut().expect("there is always one");
        layer.extend_from_slice(&header);
        layer.extend_from_slice(&contents);
        layer.resize(layer.len().next_multiple_of(512), 0);
    }
    for layer in &mut layers {
        layer.resize(layer.len() + 1024, 0);
    }
    layers
}

/// A name of the table, or any.
fn name(input: &mut Bytes<'_>) -> Vec<u8> {
    match input.byte() {
        length @ 0x80.. => input.take(usize::from(length & 0x7f)).to_vec(),
        index => NAMES[usize::from(index) % NAMES.len()].to_vec(),
    }
}

fn contents(input: &mut Bytes<'_>, long: bool) -> Vec<u8> {
    let length = usize::from(input.byte());
    if long { vec![input.byte(); length * 64] } else { input.take(length).to_vec() }
}

/// Records of an extended header whose lengths are right.
fn records(input: &mut Bytes<'_>) -> Vec<u8> {
    let mut records = Vec::new();
    for _ in 0..input.byte() % 8 {
        let key = KEYS[usize::from(input.byte()) % KEYS.len()];
        let length = usize::from(input.byte());
        let value = input.take(length);
        let body = key.len() + value.len() + 3;
        let length = (body..).find(|length| length.to_string().len() + body == *length).unwrap_or(body);
        records.extend_from_slice(format!("{length} {key}=").as_bytes());
        records.extend_from_slice(value);
        records.push(b'\n');
    }
    records
}

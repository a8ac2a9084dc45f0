//! Limits, reduced so that they are reached quickly.

use super::*;
use crate::tree::{Attributes, ROOT, Tree};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

fn unpack(bytes: &[u8], compression: Compression, limits: Limits) -> Result<(), LayerError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let range = FileRange::whole(file.into()).unwrap();
    let source = LayerSource { range, compression, digest: None, diff_id: None };
    let image = PartialImage { file: &tempfile::tempfile().unwrap(), path: "image".as_ref() };
    let unpacker = LayerUnpacker { sources: &[source], form: Form::Layer, limits, uuid: [1; 16] };
    unpacker.run(&image, &mut |_| {}, &|_: &Tree| Ok(())).map_err(|error| match error {
        ImageError::Layer(error) => *error,
        other => panic!("{other:?}"),
    })
}

fn zeros(size: u64) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    builder.append_data(&mut header, "zeros", io::repeat(0).take(size)).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_high_compression_ratio_is_refused_beyond_a_size() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros(32 << 20)).unwrap();
    let bomb = gzip.finish().unwrap();
    let small = Limits { ratio_from_bytes: 4 << 20, ..LIMITS };
    let error = unpack(&bomb, Compression::Gzip, small).unwrap_err();
    let LayerError::Bomb { layer, unpacked_bytes, .. } = error else { panic!("{error:?}") };
    assert_eq!(layer.number, 1);
    assert!(unpacked_bytes < 8 << 20, "it was seen late: {unpacked_bytes}");
    unpack(&bomb, Compression::Gzip, LIMITS).unwrap();
    let zstd = zstd::encode_all(&zeros(32 << 20)[..], 3).unwrap();
    assert!(matches!(unpack(&zstd, Compression::Zstd, small), Err(LayerError::Bomb { .. })));
    // The same size without such a ratio is allowed.
    unpack(&zeros(32 << 20), Compression::Plain, small).unwrap();
}

#[test]
fn a_layer_ends_at_the_size_limit_of_an_image() {
    let limits = Limits { unpacked_bytes: 1 << 20, ..LIMITS };
    let error = unpack(&zeros(2 << 20), Compression::Plain, limits).unwrap_err();
    assert!(matches!(error, LayerError::Entry { source: TreeError::TooManyBytes, .. }), "{error:?}");
}

fn file() -> ParsedEntry {
    ParsedEntry::Node(Kind::File { size: 0 }, Attributes::default())
}

#[test]
fn many_opaque_marks_walk_a_directory_once() {
    // Walking all names at each marker would take 4 * 10^10 steps.
    const NAMES: usize = 200_000;
    let mut layers = LayerApplier::new(Form::Layer);
    layers.insert(b"a/old/file", file()).unwrap();
    layers.next_layer();
    for number in 0..NAMES {
        layers.insert(format!("a/{number}").as_bytes(), file()).unwrap();
    }
    for _ in 0..NAMES {
        layers.insert(b"a/.wh..wh..opq", file()).unwrap();
    }
    let folder = layers.tree.child(ROOT, b"a").unwrap();
    let Kind::Directory { entries, .. } = &layers.tree.nodes()[folder].kind else { panic!() };
    assert_eq!(entries.len(), NAMES);
    assert!(layers.tree.child(folder, b"old").is_none());
    // The next layer hides those in turn.
    layers.next_layer();
    layers.insert(b"a/.wh..wh..opq", file()).unwrap();
    let Kind::Directory { entries, .. } = &layers.tree.nodes()[folder].kind else { panic!() };
    assert_eq!(entries.len(), 0);
}

#[test]
fn entries_that_add_nothing_are_counted() {
    let folder = || {
        ParsedEntry::Node(Kind::Directory { parent: ROOT, entries: BTreeMap::new() }, Attributes::default())
    };
    for (path, described) in [(&b"a/.wh.b"[..], file as fn() -> ParsedEntry), (b"a", folder)] {
        let mut layers = LayerApplier::new(Form::Layer);
        let refused = (0_u32..5_000_000).find_map(|_| layers.insert(path, described()).err());
        assert!(matches!(refused, Some(TreeError::TooManyListed { .. })), "{refused:?}");
    }
}

#[test]
fn a_path_with_many_links_is_bounded() {
    let mut layers = LayerApplier::new(Form::Layer);
    layers.insert(b"a/x", file()).unwrap();
    let target = [&b"a/../".repeat(300)[..], b"a"].concat().into();
    layers.insert(b"way", ParsedEntry::Node(Kind::Symlink { target }, Attributes::default())).unwrap();
    let long = [&b"a/../".repeat(600)[..], b"a"].concat().into();
    layers.insert(b"long", ParsedEntry::Node(Kind::Symlink { target: long }, Attributes::default())).unwrap();
    layers.next_layer();
    layers.insert(b"way/y", file()).unwrap();
    assert_eq!(layers.insert(b"long/y", file()), Err(TreeError::LinkLoop));
}

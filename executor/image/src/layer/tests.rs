//! Limits that take less time to reach when they are small.

use super::*;
use crate::tree::Tree;
use std::io::{Read, Write};

fn unpack(bytes: &[u8], packing: Packing, limits: Limits) -> Result<(), UnpackError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let file = LayerFile::Open(file.into());
    let size = bytes.len() as u64;
    let source = LayerSource { file, offset: 0, size, packing, digest: None, diff_id: None };
    let image = tempfile::tempfile().unwrap();
    Unpacking { sources: &[source], form: Form::Layer, limits, uuid: [1; 16] }.run(
        &image,
        &mut |_, _| {},
        &|_: &Tree| Ok(()),
    )
}

fn zeros(size: u64) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    builder.append_data(&mut header, "zeros", io::repeat(0).take(size)).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn what_unpacks_to_hundreds_of_times_its_size_is_refused_once_it_is_large() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros(32 << 20)).unwrap();
    let bomb = gzip.finish().unwrap();
    let small = Limits { ratio_from_bytes: 4 << 20, ..LIMITS };
    let error = unpack(&bomb, Packing::Gzip, small).unwrap_err();
    let UnpackError::Layer(LayerError::Bomb { layer, unpacked_bytes, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(layer.number, 1);
    assert!(unpacked_bytes < 8 << 20, "it was seen late: {unpacked_bytes}");
    unpack(&bomb, Packing::Gzip, LIMITS).unwrap();
    let zstd = zstd::encode_all(&zeros(32 << 20)[..], 3).unwrap();
    assert!(matches!(unpack(&zstd, Packing::Zstd, small), Err(UnpackError::Layer(LayerError::Bomb { .. }))));
    // What is as large without being packed so well is none.
    unpack(&zeros(32 << 20), Packing::Plain, small).unwrap();
}

#[test]
fn a_layer_ends_at_the_most_that_an_image_has() {
    let limits = Limits { unpacked_bytes: 1 << 20, ..LIMITS };
    let error = unpack(&zeros(2 << 20), Packing::Plain, limits).unwrap_err();
    let UnpackError::Layer(LayerError::Entry { source: Refused::TooManyBytes, .. }) = error else {
        panic!("{error:?}")
    };
}

//! Entry points into this crate's private parsers for the fuzz targets in `tests/fuzz`.

use crate::error::ImageError;
use crate::layer::{self, Compression, FileRange, Form, LayerSource, LayerUnpacker, Limits};
use crate::snapshot::{ArchiveHeader, Contents, unpack_disk};
use crate::store::{PartialImage, Progress};
use crate::tree::{DEPTH_MAX, Kind, NAME_BYTES_MAX, NodeId, ROOT, Tree};
use rustix::fs::MemfdFlags;
use schemas::digest::Digest;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};

/// Marks layers that were unpacked into a file system.
#[derive(Debug)]
pub struct Unpacked;

/// Limits within reach of an input of some KiB.
const LIMITS: Limits = Limits { unpacked_bytes: 4 << 20, ratio_from_bytes: 1 << 20, ratio: 200 };

/// Unpacks archives, the lowest layer first, into an empty file.
///
/// # Errors
///
/// The reason for the refusal.
pub fn unpack(layers: &[Vec<u8>], image: &File) -> Result<Unpacked, String> {
    let source = |bytes: &Vec<u8>| -> io::Result<LayerSource> {
        let mut file = File::from(rustix::fs::memfd_create("layer", MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        let range = FileRange::whole(file.into())?;
        Ok(LayerSource { range, compression: Compression::Plain, digest: None, diff_id: None })
    };
    let sources: Vec<_> = layers.iter().map(source).collect::<Result<_, _>>().expect("files in memory");
    let check = |tree: &Tree| {
        check_tree(tree);
        Ok(())
    };
    let unpacking = LayerUnpacker { sources: &sources, form: Form::Layer, limits: LIMITS, uuid: [1; 16] };
    let mut progress = |progress| match progress {
        Progress::Copying { done_bytes, total_bytes } => assert!(done_bytes <= total_bytes),
        Progress::Waiting | Progress::Scanning => {}
    };
    let image = PartialImage { file: image, path: "image".as_ref() };
    match unpacking.run(&image, &mut progress, &check) {
        Ok(()) => Ok(Unpacked),
        Err(ImageError::Layer(error)) => Err(error.to_string()),
        Err(error) => panic!("it is not the layers' fault: {error:?}"),
    }
}

/// Reads a file of a snapshot without its compression: the bytes as its description, and as the runs of a disk of 1 MiB
/// with 64 KiB of data. Returns the size of the disk.
pub fn snapshot(bytes: &[u8]) -> u64 {
    if let Ok(header) = serde_json::from_slice::<ArchiveHeader>(bytes) {
        let _ = header.check();
    }
    let expected = Contents { bytes: 1 << 20, data_bytes: 64 << 10, digest: Digest::of_bytes(b"") };
    let disk = rustix::fs::memfd_create("disk", MemfdFlags::CLOEXEC).expect("a file in memory");
    let disk = File::from(disk);
    let refused = unpack_disk(&mut &*bytes, &expected, &disk);
    assert!(refused.is_err(), "no contents have this digest");
    disk.metadata().expect("an open file").len()
}

/// Checks that every name is valid, none leads upwards, and link counts are right.
fn check_tree(tree: &Tree) {
    let mut names: HashMap<NodeId, u32> = HashMap::new();
    let mut waiting = vec![(ROOT, 0)];
    while let Some((folder, depth)) = waiting.pop() {
        let Kind::Directory { entries, .. } = &tree.nodes()[folder].kind else { continue };
        assert!(depth <= DEPTH_MAX, "{depth} directories deep");
        for (name, &id) in entries {
            assert!(!name.is_empty() && name.len() <= NAME_BYTES_MAX);
            assert!(!name.contains(&b'/') && !name.contains(&0) && !matches!(&**name, b"." | b".."));
            assert!(tree.child(folder, name) == Some(id) && id != ROOT);
            *names.entry(id).or_default() += 1;
            if let Kind::Directory { parent, .. } = tree.nodes()[id].kind {
                assert_eq!(parent, folder);
                waiting.push((id, depth + 1));
            }
        }
    }
    for (id, count) in names {
        assert_eq!(tree.nodes()[id].links, count, "inode {id}");
    }
}

/// The bytes of an extended header that are kept; `None` if it is refused.
pub fn pax_bytes_kept(bytes: &[u8]) -> Option<usize> {
    let extensions = layer::parse_extended_header(bytes).ok()?;
    let text = |text: &Option<Vec<u8>>| text.as_ref().map_or(0, Vec::len);
    let attributes: usize = extensions.extended.iter().map(|(name, value)| name.len() + value.len()).sum();
    if let Some((_, nanoseconds)) = extensions.modified {
        assert!(nanoseconds < 1_000_000_000);
    }
    let sparse = extensions.sparse.as_ref().map_or(0, |sparse| text(&sparse.name));
    Some(text(&extensions.path) + text(&extensions.link) + attributes + sparse)
}

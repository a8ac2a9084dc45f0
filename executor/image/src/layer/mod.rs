//! Unpacks layers: each is streamed once, in order, into a tree in memory, and file contents go directly to their
//! location in the image.
//!
//! A layer is hostile until it has been read and its digest is known; so everything is bounded on the way, and nothing
//! but the image's own partial file is touched.

mod apply;
mod contents;
mod entries;
mod error;
mod pax;
mod sparse;
mod stream;
#[cfg(test)]
mod tests;

pub use apply::Form;
pub use entries::{Entries, ParsedEntry, RECORD_BYTES, has_checksum, read_full, read_record};
pub use error::{LayerError, LayerName};
#[cfg(any(test, fuzzing))]
pub use pax::parse as parse_extended_header;
pub use stream::{Compression, FileRange, LayerFile, LayerSource, LayerStream, Limits};

use crate::error::ImageError;
use crate::ext4::FileSystem;
use crate::store::{PartialImage, Progress};
use crate::tree::{BYTES_MAX, ENTRIES_MAX, Kind, Tree, TreeError};
use crate::walk::display_name;
use apply::LayerApplier;
use contents::ContentsWriter;
use entries::EntryError;
use std::collections::VecDeque;
use stream::StreamError;

/// The limits of unpacking: contents and headers of the largest image. Deflate reaches a ratio of 1000 for zeros alone,
/// so a legitimate layer can too, but not for gigabytes.
pub const LIMITS: Limits =
    Limits { unpacked_bytes: BYTES_MAX + ENTRIES_MAX as u64 * 1536, ratio_from_bytes: 4 << 30, ratio: 200 };
/// The number of layers that are unpacked at the same time.
const STREAMS: usize = 3;
/// The chunk size of file contents, in bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// The longest path in a message, in characters.
const SHOWN_CHARACTERS_MAX: usize = 300;

/// The parameters of unpacking layers into an image.
pub struct LayerUnpacker<'a> {
    /// The layers, the lowest one first.
    pub sources: &'a [LayerSource],
    /// Their format.
    pub form: Form,
    /// The limits.
    pub limits: Limits,
    /// The image's UUID.
    pub uuid: [u8; 16],
}

impl LayerUnpacker<'_> {
    /// Unpacks the layers into an empty file. `progress` is called with the bytes read and their total; `check`
    /// inspects the finished tree.
    ///
    /// # Errors
    ///
    /// If a layer is invalid, the image cannot be written, or `check` fails.
    pub fn run(
        &self,
        image: &PartialImage<'_>,
        progress: &mut dyn FnMut(Progress),
        check: &dyn Fn(&Tree) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let total_bytes = self.sources.iter().map(|source| source.range.size).sum();
        let mut report = |done_bytes| progress(Progress::Copying { done_bytes, total_bytes });
        let mut done = 0;
        let mut applier = LayerApplier::new(self.form);
        let mut contents = ContentsWriter::new(image.file);
        let mut waiting = self.sources.iter();
        let mut streams = VecDeque::new();
        for (index, source) in self.sources.iter().enumerate() {
            let name = self.name(index);
            while streams.len() < STREAMS
                && let Some(next) = waiting.next()
            {
                let stream = LayerStream::start(next.clone(), self.limits)
                    .map_err(|error| LayerError::Read { layer: name.clone(), source: error })?;
                streams.push_back(stream);
            }
            let Some(mut stream) = streams.pop_front() else { break };
            applier.next_layer();
            let mut layer = Layer { name, source, stream: &mut stream, image };
            layer.apply(&mut applier, &mut contents, &mut |packed| report(done + packed))?;
            layer.verify()?;
            done += source.range.size;
            report(done);
        }
        check(&applier.tree)?;
        let contents = contents.finish(&applier.tree).map_err(|source| image.failed(source))?;
        let system = FileSystem::read_only(&applier.tree, self.uuid, Some(&contents));
        system.write(image.file).map_err(|source| image.failed(source))
    }

    fn name(&self, index: usize) -> LayerName {
        let LayerSource { digest, diff_id, .. } = &self.sources[index];
        let digest = digest.clone().or_else(|| diff_id.clone());
        LayerName { number: index + 1, count: self.sources.len(), digest }
    }
}

struct Layer<'a> {
    name: LayerName,
    source: &'a LayerSource,
    stream: &'a mut LayerStream,
    image: &'a PartialImage<'a>,
}

impl Layer<'_> {
    fn apply(
        &mut self,
        applier: &mut LayerApplier,
        contents: &mut ContentsWriter<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ImageError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut reported = 0;
        let mut entries = Entries::new(&mut *self.stream);
        loop {
            match apply_entry(&mut entries, applier, contents, &mut chunk) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    let entry = entry_shown(entries.path());
                    return Err(self.wrong(entry, error));
                }
            }
            let packed = entries.source().packed_bytes();
            if packed > reported {
                reported = packed;
                progress(packed);
            }
        }
    }

    /// Reads the rest of the layer and compares its digests.
    fn verify(&mut self) -> Result<(), LayerError> {
        let found = self.stream.finish().map_err(|failure| self.failed(String::new(), failure))?;
        match &self.source.diff_id {
            Some(expected) if found != *expected => {
                Err(LayerError::WrongContents { layer: self.name.clone(), expected: expected.clone(), found })
            }
            _ => Ok(()),
        }
    }

    fn wrong(&mut self, entry: String, error: EntryError) -> ImageError {
        let layer = self.name.clone();
        let error = match error {
            EntryError::Write(source) => return self.image.failed(source),
            EntryError::TreeError(source) => LayerError::Entry { layer, entry, source },
            EntryError::Unsupported(form) => LayerError::UnsupportedEntry { layer, entry, form },
            // A failure of the stream or a wrong digest is more informative than the resulting parse error.
            EntryError::Archive(source) => match self.stream.failure() {
                Some(failure) => self.failed(entry, failure),
                None => self.verify().err().unwrap_or(LayerError::Damaged { layer, entry, source }),
            },
        };
        error.into()
    }

    fn failed(&self, entry: String, failure: StreamError) -> LayerError {
        let layer = self.name.clone();
        match failure {
            StreamError::Read(source) => LayerError::Read { layer, source },
            StreamError::Damaged(source) => LayerError::Damaged { layer, entry, source },
            StreamError::WrongDigest(found) => {
                let expected = self.source.digest.clone().unwrap_or_else(|| found.clone());
                LayerError::WrongDigest { layer, expected, found }
            }
            StreamError::Bomb { packed_bytes, unpacked_bytes } => {
                LayerError::Bomb { layer, packed_bytes, unpacked_bytes }
            }
            StreamError::TooManyBytes => LayerError::Entry { layer, entry, source: TreeError::TooManyBytes },
        }
    }
}

/// Applies the next entry; returns false at the end of the archive.
fn apply_entry(
    entries: &mut Entries<&mut LayerStream>,
    applier: &mut LayerApplier,
    contents: &mut ContentsWriter<'_>,
    chunk: &mut [u8],
) -> Result<bool, EntryError> {
    let Some(described) = entries.next()? else { return Ok(false) };
    let size = match &described {
        ParsedEntry::Node(Kind::File { size }, _) => *size,
        _ => 0,
    };
    if let Some(node) = applier.insert(entries.path(), described)? {
        let start = contents.map(node, size)?;
        entries.contents(chunk, &mut |offset, bytes| contents.write(start + offset, bytes))?;
    }
    Ok(true)
}

fn entry_shown(path: &[u8]) -> String {
    let text = display_name(path);
    match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

//! Reads, hashes and decompresses a layer in a thread of its own, ahead of its consumer.
//!
//! Decompression takes most of a build's time. So it has a thread, the consumer's thread hashes the output, and the
//! next layer's thread starts early. The number of chunks between them is bounded.

use super::entries::{Source, read_full};
use crate::oci::Layer;
use flate2::bufread::MultiGzDecoder;
use rustix::fs::{Mode, OFlags};
use schemas::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// The compression of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Uncompressed.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// The compression of a media type; `None` for foreign, encrypted and unknown ones.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        Some(match media_type {
            "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
                Self::Plain
            }
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Self::Gzip,
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Self::Zstd,
            _ => return None,
        })
    }

    /// The OCI media type of a layer with this compression.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// The compression by the first bytes.
    pub fn of_start(bytes: &[u8]) -> Self {
        match bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// The file that contains a layer.
#[derive(Clone, Debug)]
pub enum LayerFile {
    /// Opened on demand: an image may have more layers than a process has descriptors.
    Path(PathBuf),
    /// An open file, which several threads may read.
    Open(Arc<File>),
}

impl LayerFile {
    /// Opens the file.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, or is not a regular file.
    pub fn open(&self) -> io::Result<Arc<File>> {
        match self {
            Self::Path(path) => {
                // A FIFO in its place must not block the thread.
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
                let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
                if file.metadata()?.is_file() {
                    Ok(Arc::new(file))
                } else {
                    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"))
                }
            }
            Self::Open(file) => Ok(file.clone()),
        }
    }
}

/// A range of a file.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file.
    pub file: LayerFile,
    /// The offset, in bytes.
    pub offset: u64,
    /// The length, in bytes.
    pub size: u64,
}

impl FileRange {
    /// Returns the range of a whole file.
    ///
    /// # Errors
    ///
    /// If its size cannot be determined.
    pub fn whole(file: Arc<File>) -> io::Result<Self> {
        Ok(Self { offset: 0, size: file.metadata()?.len(), file: LayerFile::Open(file) })
    }

    /// Reads the range from its beginning.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    pub fn reader(&self) -> io::Result<RangeReader> {
        let end = self.offset.saturating_add(self.size);
        Ok(RangeReader { file: self.file.open()?, at: self.offset, end })
    }
}

/// A seekable reader of a file range.
pub struct RangeReader {
    file: Arc<File>,
    /// The offset of the next byte.
    pub at: u64,
    end: u64,
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let length = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

impl Source for RangeReader {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        let skipped = bytes.min(self.end.saturating_sub(self.at));
        self.at += skipped;
        Ok(skipped)
    }
}

/// A layer's bytes and their expected digests.
#[derive(Clone, Debug)]
pub struct LayerSource {
    /// The bytes.
    pub range: FileRange,
    /// The compression.
    pub compression: Compression,
    /// The digest of these bytes.
    pub digest: Option<Digest>,
    /// The digest of the unpacked layer.
    pub diff_id: Option<Digest>,
}

impl LayerSource {
    /// A layer of an image that is at an offset of a file.
    pub fn new(layer: &Layer, file: LayerFile, offset: u64) -> Self {
        let Layer { digest, size, compression, diff_id } = layer.clone();
        let range = FileRange { file, offset, size };
        Self { range, compression, digest: Some(digest), diff_id: Some(diff_id) }
    }
}

/// The limits of unpacking.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The unpacked bytes.
    pub unpacked_bytes: u64,
    /// The unpacked bytes from which on the ratio is checked.
    pub ratio_from_bytes: u64,
    /// Unpacked bytes per compressed byte.
    pub ratio: u64,
}

/// Why a layer ended early.
#[derive(Debug)]
pub enum StreamError {
    /// Its file cannot be read.
    Read(io::Error),
    /// It cannot be decompressed.
    Damaged(io::Error),
    /// It has another digest.
    WrongDigest(Digest),
    /// It is a decompression bomb.
    Bomb {
        /// The compressed bytes read.
        packed_bytes: u64,
        /// The unpacked bytes.
        unpacked_bytes: u64,
    },
    /// It is larger than any image may be.
    TooManyBytes,
}

/// Bytes per chunk.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks between the threads: 8 MiB.
const CHUNKS_AHEAD: usize = 32;
/// The size of one read, in bytes.
const READ_BYTES: usize = 256 << 10;

enum Message {
    Chunk(Vec<u8>),
    End(Result<(), StreamError>),
}

/// A layer that is being decompressed.
pub struct LayerStream {
    receiver: Receiver<Message>,
    used: Sender<Vec<u8>>,
    packed: Arc<AtomicU64>,
    chunk: Vec<u8>,
    at: usize,
    hasher: Sha256,
    end: Option<Result<(), StreamError>>,
}

impl LayerStream {
    /// Starts decompressing a layer.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn start(source: LayerSource, limits: Limits) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(CHUNKS_AHEAD);
        let (used, returned) = channel();
        let packed = Arc::new(AtomicU64::new(0));
        let unpacker = Unpacker { sender, returned, packed: packed.clone(), limits };
        std::thread::Builder::new().name("unpack-layer".to_owned()).spawn(move || unpacker.run(&source))?;
        let (chunk, hasher) = (Vec::new(), Sha256::new());
        Ok(Self { receiver, used, packed, chunk, at: 0, hasher, end: None })
    }

    /// The compressed bytes read so far.
    pub fn packed_bytes(&self) -> u64 {
        self.packed.load(Ordering::Relaxed)
    }

    /// Reads the rest. Returns the digest of all unpacked bytes.
    ///
    /// # Errors
    ///
    /// If the layer ended early.
    pub fn finish(&mut self) -> Result<Digest, StreamError> {
        while self.receive() {}
        match self.end.take() {
            Some(Err(error)) => Err(error),
            _ => Ok(Digest::from_sha256(std::mem::take(&mut self.hasher).finalize().into())),
        }
    }

    /// Why reading ended early, if it did.
    pub fn failure(&mut self) -> Option<StreamError> {
        self.end.take_if(|end| end.is_err()).and_then(Result::err)
    }

    /// Receives the next chunk; returns false at the end.
    fn receive(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        match self.receiver.recv() {
            Ok(Message::Chunk(chunk)) => {
                self.hasher.update(&chunk);
                // The other thread may have ended.
                let _ = self.used.send(std::mem::replace(&mut self.chunk, chunk));
                self.at = 0;
                true
            }
            Ok(Message::End(end)) => {
                self.end = Some(end);
                false
            }
            Err(_) => {
                let lost = io::Error::other("the thread that unpacks it ended");
                self.end = Some(Err(StreamError::Read(lost)));
                false
            }
        }
    }
}

impl Read for LayerStream {
    /// A failure is an error without text here; [`LayerStream::failure`] has it.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            if !self.receive() {
                return match self.end {
                    Some(Err(_)) => Err(io::ErrorKind::Other.into()),
                    _ => Ok(0),
                };
            }
        }
        let length = buffer.len().min(self.chunk.len() - self.at);
        buffer[..length].copy_from_slice(&self.chunk[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

impl Source for LayerStream {
    /// Skipped bytes are decompressed and hashed too.
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        io::copy(&mut self.by_ref().take(bytes), &mut io::sink())
    }
}

struct Unpacker {
    sender: SyncSender<Message>,
    returned: Receiver<Vec<u8>>,
    packed: Arc<AtomicU64>,
    limits: Limits,
}

impl Unpacker {
    fn run(self, source: &LayerSource) {
        let end = self.unpack(source);
        // The consumer may have stopped.
        let _ = self.sender.send(Message::End(end));
    }

    fn unpack(&self, source: &LayerSource) -> Result<(), StreamError> {
        let mut packed = Packed {
            from: source.range.reader().map_err(StreamError::Read)?,
            hasher: source.digest.is_some().then(Sha256::new),
            total: &self.packed,
            failure: None,
        };
        let mut unpacked = self.send_all(source.compression, &mut packed);
        if let Some(failure) = packed.failure.take() {
            return Err(StreamError::Read(failure));
        }
        if matches!(unpacked, Err(StreamError::Bomb { .. } | StreamError::TooManyBytes)) {
            return unpacked;
        }
        // Bytes after the compressed data are part of the digest. If the data is damaged, a wrong digest is more
        // informative than the offset of the failure.
        io::copy(&mut packed, &mut io::sink()).map_err(StreamError::Read)?;
        if let (Some(hasher), Some(expected)) = (packed.hasher, &source.digest) {
            let found = Digest::from_sha256(hasher.finalize().into());
            if found != *expected {
                unpacked = Err(StreamError::WrongDigest(found));
            }
        }
        unpacked
    }

    fn send_all(&self, compression: Compression, packed: &mut Packed<'_>) -> Result<(), StreamError> {
        match compression {
            Compression::Plain => self.send(packed),
            Compression::Gzip => {
                self.send(&mut MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, packed)))
            }
            Compression::Zstd => {
                let buffered = BufReader::with_capacity(READ_BYTES, packed);
                self.send(&mut zstd::Decoder::with_buffer(buffered).map_err(StreamError::Damaged)?)
            }
        }
    }

    fn send(&self, from: &mut dyn Read) -> Result<(), StreamError> {
        let mut total = 0u64;
        loop {
            let mut chunk = self.returned.try_recv().unwrap_or_default();
            chunk.resize(CHUNK_BYTES, 0);
            let filled = read_full(from, &mut chunk).map_err(StreamError::Damaged)?;
            if filled == 0 {
                return Ok(());
            }
            total += filled as u64;
            self.check(total)?;
            chunk.truncate(filled);
            if self.sender.send(Message::Chunk(chunk)).is_err() {
                return Ok(());
            }
        }
    }

    fn check(&self, unpacked_bytes: u64) -> Result<(), StreamError> {
        let Limits { unpacked_bytes: limit, ratio_from_bytes, ratio } = self.limits;
        if unpacked_bytes > limit {
            return Err(StreamError::TooManyBytes);
        }
        let packed_bytes = self.packed.load(Ordering::Relaxed);
        if unpacked_bytes > ratio_from_bytes && unpacked_bytes / ratio > packed_bytes {
            return Err(StreamError::Bomb { packed_bytes, unpacked_bytes });
        }
        Ok(())
    }
}

/// The layer's file, hashed and counted while it is read.
struct Packed<'a> {
    from: RangeReader,
    hasher: Option<Sha256>,
    total: &'a AtomicU64,
    /// An error of the file itself, which a decompressor would report as damage.
    failure: Option<io::Error>,
}

impl Read for Packed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.failure = Some(error);
            }
            kind
        })?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..length]);
        }
        self.total.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

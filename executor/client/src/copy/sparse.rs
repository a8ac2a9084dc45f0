//! Writes a file with holes for runs of zeros, and without filling the disk.

use executor_fs::space::space_of;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// The size of a hole in bytes.
const BLOCK_BYTES: usize = 4096;
/// Free space is measured again after this many allocated bytes.
const MEASURED_EVERY: u64 = 1024 * 1024;
/// The fraction of a file system that is left free, at most [`KEPT_FREE_MAX`] bytes.
const KEPT_FREE_PART: u64 = 20;
const KEPT_FREE_MAX: u64 = 64 * 1024 * 1024;

/// Writes a file from its start.
///
/// Writes block the thread: there is one file at a time.
pub struct SparseFile {
    file: File,
    /// The position of the next bytes.
    offset: u64,
    /// Bytes allocated since free space was measured.
    unmeasured: u64,
}

impl SparseFile {
    /// Takes an empty file.
    pub fn new(file: File) -> Self {
        // Free space is measured before the first byte.
        Self { file, offset: 0, unmeasured: MEASURED_EVERY }
    }

    /// Returns the file, extended to its whole length.
    pub fn finish(self) -> io::Result<File> {
        self.file.set_len(self.offset)?;
        Ok(self.file)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Up to the end of the block: only whole blocks of zeros become holes.
        let place = usize::try_from(self.offset % BLOCK_BYTES as u64).unwrap_or(0);
        let first = &bytes[..bytes.len().min(BLOCK_BYTES - place)];
        if is_zero(first) {
            self.offset += first.len() as u64;
            return Ok(first.len());
        }
        // The whole blocks after it that are not zero.
        let mut end = first.len();
        while end < bytes.len() {
            let block = &bytes[end..bytes.len().min(end + BLOCK_BYTES)];
            if is_zero(block) {
                break;
            }
            end += block.len();
        }
        self.make_sure_of_space(end as u64)?;
        self.file.write_all_at(&bytes[..end], self.offset)?;
        self.offset += end as u64;
        Ok(end)
    }

    fn make_sure_of_space(&mut self, bytes: u64) -> io::Result<()> {
        self.unmeasured += bytes;
        if self.unmeasured < MEASURED_EVERY {
            return Ok(());
        }
        self.unmeasured = 0;
        let left = space_of(&self.file)?;
        let kept = (left.total_bytes / KEPT_FREE_PART).min(KEPT_FREE_MAX);
        if left.bytes < kept.saturating_add(bytes).saturating_add(MEASURED_EVERY) {
            let text = format!(
                "the disk has {} MiB left, and the last {} MiB are not filled",
                left.bytes >> 20,
                kept >> 20
            );
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        Ok(())
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

impl AsyncWrite for SparseFile {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::small_fs::SmallFs;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn holes_stay_holes_and_the_bytes_are_the_same() {
        let mut bytes = vec![0; 3 << 20];
        for (offset, byte) in [(0, 1), (4096, 2), (100_000, 3), ((2 << 20) + 5, 4)] {
            bytes[offset] = byte;
        }
        // Pieces of every alignment; the end is a hole.
        for piece in [1000, 4096, 65_536, 1 << 20] {
            let file = tempfile::tempfile().unwrap();
            let mut sparse = SparseFile::new(file.try_clone().unwrap());
            for piece in bytes.chunks(piece) {
                sparse.write_all(piece).await.unwrap();
            }
            drop(sparse.finish().unwrap());
            let (mut read, mut file) = (Vec::new(), file);
            std::io::Seek::rewind(&mut file).unwrap();
            file.read_to_end(&mut read).unwrap();
            assert!(read == bytes, "pieces of {piece}");
            assert!(file.metadata().unwrap().blocks() * 512 < 1 << 20, "{:?}", file.metadata());
        }
    }

    #[tokio::test]
    async fn a_file_does_not_fill_the_disk_but_its_holes_may_be_longer_than_that() {
        let folder = tempfile::tempdir().unwrap();
        let Some(_small) = SmallFs::mount(folder.path(), 16, 100) else { return };
        let file = || File::create_new(folder.path().join("file")).unwrap();
        let mut sparse = SparseFile::new(file());
        for _ in 0..64 {
            sparse.write_all(&vec![0; 1 << 20]).await.unwrap();
        }
        assert_eq!(sparse.finish().unwrap().metadata().unwrap().len(), 64 << 20);
        std::fs::remove_file(folder.path().join("file")).unwrap();
        let mut sparse = SparseFile::new(file());
        let error = loop {
            if let Err(error) = sparse.write_all(&vec![7; 1 << 18]).await {
                break error;
            }
        };
        assert!(error.to_string().contains("MiB left"), "{error}");
        assert!(executor_fs::space::space(folder.path()).unwrap().bytes >= (16 << 20) / 20);
    }
}

//! Entry points into this crate's private parsers for the fuzz targets in `tests/fuzz`.

use crate::vhost_user;
use fuse_backend_rs::api::filesystem::FileSystem;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

pub use crate::vhost_user::fuzzing::ring;

/// A file system without files.
pub(crate) struct NoFiles;

impl FileSystem for NoFiles {
    type Inode = u64;
    type Handle = u64;
}

/// Serves no files to a VMM until it closes its socket. Errors are what a hostile one gets.
pub fn serve(socket: UnixStream) {
    let _ = vhost_user::serve(Arc::new(NoFiles), socket);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_ring_or_none() {
        let requests = |bytes: &[u8]| ring(bytes);
        assert_eq!(requests(b""), 0);
        assert_eq!(requests(&[0xff; 0x2000]), 0);
        // One request that refers to the start of the memory, where the descriptors are.
        let mut memory = vec![0; 0x2000];
        memory[8] = 64;
        memory[0x1000 + 2] = 1;
        assert_eq!(requests(&memory), 1);
    }
}

//! Opening files of the guest, which may be anything.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

/// Options for a path that may lead to a FIFO, a device or a terminal: opening a FIFO does not block PID 1, and a
/// terminal does not become its controlling one.
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::io::Read;

    #[test]
    fn a_fifo_without_a_writer_is_opened_and_is_empty() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let mut file = options().read(true).open(&path).unwrap();
        assert_eq!(file.read(&mut [0; 8]).unwrap(), 0);
    }
}

//! Reads a catalog on a full disk.
//!
//! Opening a database with a write-ahead log creates two files beside it. A database that no process has open can be read
//! without them.

use super::schema;
use executor_fs::space::space;
use rusqlite::{Connection, OpenFlags};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The free space below which opening a catalog may have failed for lack of space, in bytes.
const SPACE_TO_OPEN: u64 = 256 * 1024;
/// The free inodes below which opening a catalog may have failed, in inodes.
const INODES_TO_OPEN: u64 = 4;

/// Opens a catalog read-only. `None` if there is space, or if its write-ahead log contains changes.
pub(super) fn open(path: &Path) -> Option<Connection> {
    let left = space(path.parent()?).ok()?;
    if left.bytes >= SPACE_TO_OPEN && left.inodes >= INODES_TO_OPEN {
        return None;
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > 0) {
        return None;
    }
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            byte => write!(uri, "%{byte:02X}").ok()?,
        }
    }
    uri.push_str("?immutable=1");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(uri, flags).ok()?;
    // A catalog of an earlier version cannot be upgraded read-only.
    schema::migrate(&mut connection, path).ok()?;
    Some(connection)
}

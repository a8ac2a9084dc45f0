//! Reads a catalog on a disk that is full.
//!
//! To open a database with a write-ahead log makes two files beside it, whatever is done then. One that nobody has open
//! can be read without them.

use super::schema;
use executor_fs::space::space;
use rusqlite::{Connection, OpenFlags};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// With less than this, opening a catalog may have failed for want of space, in bytes.
const SPACE_TO_OPEN: u64 = 256 * 1024;
/// The files that opening one makes, and some.
const INODES_TO_OPEN: u64 = 4;

/// Opens a catalog for reading alone. `None` where space is not what is missing, or where its log holds changes.
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
    // One of an earlier version cannot be upgraded this way.
    schema::migrate(&mut connection, path).ok()?;
    Some(connection)
}

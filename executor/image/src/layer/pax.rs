//! Extended headers in pax format (POSIX.1-2001).

use super::entries::{EntryError, damaged};
use super::sparse::{self, Segment};
use crate::ext4;
use crate::tree::{Extended, TreeError};
use std::io;

/// The fields of an extended header for the next entry.
#[derive(Debug, Default)]
pub struct Extensions {
    /// The path.
    pub path: Option<Vec<u8>>,
    /// The link target.
    pub link: Option<Vec<u8>>,
    /// The bytes of contents in the archive.
    pub size: Option<u64>,
    /// The owner.
    pub uid: Option<u64>,
    /// The group.
    pub gid: Option<u64>,
    /// The modification time, in seconds and nanoseconds since 1970.
    pub modified: Option<(i64, u32)>,
    /// The extended attributes.
    pub extended: Extended,
    /// The sparse file's parameters.
    pub sparse: Option<Sparse>,
}

/// The parameters of a sparse file.
#[derive(Debug, Default)]
pub struct Sparse {
    /// The real path; the entry's own is a placeholder for archivers without sparse files.
    pub name: Option<Vec<u8>>,
    /// The unpacked size, in bytes.
    pub size: u64,
    /// The segments; `None` if the map precedes the contents.
    pub map: Option<Vec<Segment>>,
}

/// Parses an extended header. A later record replaces an earlier one with the same key, and an empty value removes it.
pub fn parse(mut bytes: &[u8]) -> Result<Extensions, EntryError> {
    let mut extensions = Extensions::default();
    while !bytes.is_empty() {
        let (key, value, rest) =
            record(bytes).ok_or_else(|| damaged("a record of an extended header is malformed"))?;
        bytes = rest;
        take(&mut extensions, key, value)?;
    }
    if !ext4::attributes_fit(&extensions.extended) {
        return Err(TreeError::AttributesTooLarge.into());
    }
    Ok(extensions)
}

/// Splits off `LENGTH KEY=VALUE\n`, where the length includes all of it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length: usize = number(&bytes[..space])?.try_into().ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], rest))
}

fn number(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

fn take(extensions: &mut Extensions, key: &[u8], value: &[u8]) -> Result<(), EntryError> {
    let text = || -> Result<Option<Vec<u8>>, EntryError> {
        match value {
            value if value.contains(&0) => Err(TreeError::Nul.into()),
            value => Ok((!value.is_empty()).then(|| value.to_vec())),
        }
    };
    let maybe_number = || -> Result<Option<u64>, io::Error> {
        if value.is_empty() {
            return Ok(None);
        }
        number(value).map(Some).ok_or_else(|| damaged("an extended header has a malformed number"))
    };
    match key {
        b"path" => extensions.path = text()?,
        b"linkpath" => extensions.link = text()?,
        b"size" => extensions.size = maybe_number()?,
        b"uid" => extensions.uid = maybe_number()?,
        b"gid" => extensions.gid = maybe_number()?,
        b"mtime" if value.is_empty() => extensions.modified = None,
        b"mtime" => {
            let time = time(value).ok_or_else(|| damaged("an extended header has a malformed time"))?;
            extensions.modified = Some(time);
        }
        b"GNU.sparse.major" | b"GNU.sparse.minor" => {
            extensions.sparse.get_or_insert_default();
        }
        b"GNU.sparse.name" => extensions.sparse.get_or_insert_default().name = text()?,
        b"GNU.sparse.realsize" | b"GNU.sparse.size" => {
            extensions.sparse.get_or_insert_default().size = maybe_number()?.unwrap_or(0);
        }
        b"GNU.sparse.map" => {
            let numbers = value.split(|&byte| byte == b',').map(number);
            let map =
                sparse::of_numbers(numbers).ok_or_else(|| damaged("a sparse file's map is malformed"))?;
            extensions.sparse.get_or_insert_default().map = Some(map);
        }
        b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
            return Err(EntryError::Unsupported("a sparse file in the pax form 0.0"));
        }
        key => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.")
                && ext4::attribute_is_kept(name)
            {
                extensions.extended.insert(name.into(), value.into());
            }
        }
    }
    Ok(())
}

/// Parses seconds with a fraction of any length.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let (whole, nanoseconds): (i64, u32) = (seconds.parse().ok()?, nanoseconds.parse().ok()?);
    // Before 1970 the fraction counts backwards.
    Some(match (seconds.starts_with('-'), nanoseconds) {
        (true, 1..) => (whole.checked_sub(1)?, 1_000_000_000 - nanoseconds),
        _ => (whole, nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> Vec<u8> {
        let body = format!(" {key}={value}\n");
        let length = (body.len()..).find(|length| length.to_string().len() + body.len() == *length).unwrap();
        format!("{length}{body}").into_bytes()
    }

    #[test]
    fn records_are_parsed_completely_or_refused() {
        let good = [one("path", "a=b"), one("uid", "70000"), one("mtime", "-1.25")].concat();
        let extensions = parse(&good).unwrap();
        assert_eq!(extensions.path.as_deref(), Some(&b"a=b"[..]));
        assert_eq!((extensions.uid, extensions.modified), (Some(70_000), Some((-2, 750_000_000))));
        let back = [one("path", "a"), one("path", "")].concat();
        assert_eq!(parse(&back).unwrap().path, None);
        for bad in [
            &b"8 path=a\n"[..],
            b"99 path=a\n",
            b"0 path=a\n",
            b"10 patha.\n",
            b"10 path=ab",
            b"x",
            b"18446744073709551615 a=b\n",
            b"3 \n",
            b"-5 a=b\n",
        ] {
            assert!(matches!(parse(bad), Err(EntryError::Archive(_))), "{}", String::from_utf8_lossy(bad));
        }
        assert!(matches!(parse(&one("uid", "-1")), Err(EntryError::Archive(_))));
        assert!(matches!(parse(&one("path", "a\0b")), Err(EntryError::TreeError(TreeError::Nul))));
    }

    #[test]
    fn attributes_larger_than_a_block_are_refused() {
        let large = one("SCHILY.xattr.user.large", &"x".repeat(5000));
        assert!(matches!(parse(&large), Err(EntryError::TreeError(TreeError::AttributesTooLarge))));
        assert!(parse(&one("SCHILY.xattr.trusted.large", &"x".repeat(5000))).unwrap().extended.is_empty());
    }
}

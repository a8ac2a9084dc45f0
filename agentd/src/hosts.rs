//! The guest's `/etc/hosts`: `localhost` and the sandbox's own host name resolve from it, whatever the network rules
//! say about DNS.
//!
//! The file may come from an image or a previous boot. Its content is hostile, and so is its type: a FIFO or a device
//! must not block PID 1.

use crate::guest_file;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, create_dir_all, metadata, remove_file};
use std::io::{Error, ErrorKind, Read, Seek, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The path of the file.
pub const HOSTS: &str = "/etc/hosts";
/// A larger file is left unchanged. Block lists of a few MiB are common.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Marks the lines of a previous boot, whose addresses may have changed since.
const MARK: &str = "# msb";
/// The address of a host name without one; Debian's convention.
const NO_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 1, 1));

/// The names of a sandbox.
pub struct Names<'a> {
    pub hostname: &'a str,
    pub addresses: &'a [IpAddr],
    /// More names, with an address each. They precede all other lines, of which resolvers take the first.
    pub declared: &'a BTreeMap<String, String>,
}

/// Adds the missing names. Failures are only logged: a sandbox works without them.
pub fn install(names: &Names<'_>) {
    let result = create_dir_all("/etc").and_then(|()| update(Path::new(HOSTS), names));
    if let Err(error) = result {
        crate::log(format_args!("cannot add '{}' to {HOSTS}: {error}", names.hostname));
    }
}

fn update(path: &Path, names: &Names<'_>) -> Result<(), Error> {
    // Checked before opening: opening a FIFO may block, and opening a device may have side effects.
    if metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return update_file(path, names);
    }
    // Fails for a directory, which may be a mount point.
    match remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(&with_names(b"", names))
}

/// Rewrites the file in place, so that owner and mode stay.
fn update_file(path: &Path, names: &Names<'_>) -> Result<(), Error> {
    // A link may lead to a kernel file, where reading can block.
    let old = read(&guest_file::options().read(true).open(path)?)?;
    let new = with_names(&old, names);
    if new == old {
        return Ok(());
    }
    let mut file = guest_file::options().write(true).open(path)?;
    file.rewind()?;
    file.write_all(&new)?;
    file.set_len(u64::try_from(new.len()).unwrap_or(u64::MAX))
}

fn read(file: &File) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Returns the content with lines for `localhost` and `hostname`, unless other lines define them. Lines of a previous
/// boot are replaced; all others stay byte for byte.
fn with_names(old: &[u8], Names { hostname, addresses, declared }: &Names<'_>) -> Vec<u8> {
    let mut new: Vec<u8> = declared
        .iter()
        .flat_map(|(name, address)| format!("{address} {name} {MARK}\n").into_bytes())
        .collect();
    new.extend(old.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_marked(line)).flatten());
    let mut add = |name: &str, lines: &str| {
        if defines(&new, name) {
            return;
        }
        if new.last().is_some_and(|last| *last != b'\n') {
            new.push(b'\n');
        }
        new.extend(lines.as_bytes());
    };
    add("localhost", "127.0.0.1 localhost\n::1 localhost\n");
    let is_name = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if !hostname.is_empty() && hostname.bytes().all(is_name) {
        let addresses = if addresses.is_empty() { &[NO_ADDRESS] } else { *addresses };
        let lines: String =
            addresses.iter().map(|address| format!("{address} {hostname} {MARK}\n")).collect();
        add(hostname, &lines);
    }
    new
}

fn is_marked(line: &[u8]) -> bool {
    line.trim_ascii_end().ends_with(MARK.as_bytes()) && !line.starts_with(b"#")
}

/// Whether a line defines a name.
fn defines(content: &[u8], name: &str) -> bool {
    content.split(|byte| *byte == b'\n').any(|line| {
        let entry = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let mut fields = entry.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        let address = fields.next().and_then(|field| std::str::from_utf8(field).ok());
        address.is_some_and(|address| address.parse::<IpAddr>().is_ok())
            && fields.any(|field| field.eq_ignore_ascii_case(name.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::fs::{create_dir, read, read_to_string, set_permissions, write};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    const LOCALHOST: &str = "127.0.0.1 localhost\n::1 localhost\n";

    fn addresses() -> Vec<IpAddr> {
        ["172.16.0.2", "fd42::2"].iter().map(|text| text.parse().unwrap()).collect()
    }

    fn updated(old: &str, addresses: &[IpAddr]) -> String {
        let declared = BTreeMap::new();
        let names = Names { hostname: "web", addresses, declared: &declared };
        String::from_utf8(with_names(old.as_bytes(), &names)).unwrap()
    }

    /// A name without addresses.
    fn named(hostname: &str) -> Names<'_> {
        const NONE: &BTreeMap<String, String> = &BTreeMap::new();
        Names { hostname, addresses: &[], declared: NONE }
    }

    #[test]
    fn declared_names_precede_those_of_the_image() {
        let declared = BTreeMap::from([("db".to_owned(), "10.0.0.5".to_owned())]);
        let names = Names { declared: &declared, ..named("web") };
        let old = format!("10.9.9.9 old # msb\n{LOCALHOST}10.1.1.1 db\n");
        let new = String::from_utf8(with_names(old.as_bytes(), &names)).unwrap();
        assert_eq!(new, format!("10.0.0.5 db # msb\n{LOCALHOST}10.1.1.1 db\n127.0.1.1 web # msb\n"));
        assert_eq!(with_names(new.as_bytes(), &names), new.as_bytes());
    }

    #[test]
    fn missing_names_are_added() {
        let own = "172.16.0.2 web # msb\nfd42::2 web # msb\n";
        assert_eq!(updated("", &addresses()), format!("{LOCALHOST}{own}"));
        assert_eq!(updated(LOCALHOST, &[]), format!("{LOCALHOST}127.0.1.1 web # msb\n"));
        // Names in comments, in longer names or without an address do not count.
        for old in
            ["127.0.0.1 localhost", "127.0.0.1 localhost # web", "127.0.0.1 localhost web.example\nx web"]
        {
            assert_eq!(updated(old, &addresses()), format!("{old}\n{own}"));
        }
    }

    #[test]
    fn names_that_the_image_defines_stay_as_they_are() {
        for old in ["10.0.0.1\tdb Web\n127.0.0.1 localhost", "::1 localhost web # ours\r\n"] {
            assert_eq!(updated(old, &addresses()), old);
        }
    }

    #[test]
    fn lines_of_a_previous_boot_are_replaced() {
        let first = updated("127.0.0.1 localhost\n# msb\n", &addresses());
        assert_eq!(updated(&first, &addresses()), first);
        let moved = updated(&format!("{first}10.1.1.1 db\n"), &["10.9.0.2".parse().unwrap()]);
        assert_eq!(moved, "127.0.0.1 localhost\n# msb\n10.1.1.1 db\n10.9.0.2 web # msb\n");
    }

    #[test]
    fn arbitrary_bytes_are_kept_and_invalid_host_names_skipped() {
        let old = b"\xff\xfe localhost\n\0\n::1 localhost\n";
        assert!(with_names(old, &named("web")).starts_with(old));
        for hostname in ["", "a b", "a\n1.2.3.4 b", "a#b"] {
            assert_eq!(
                with_names(LOCALHOST.as_bytes(), &named(hostname)),
                LOCALHOST.as_bytes(),
                "{hostname:?}"
            );
        }
    }

    #[test]
    fn a_file_is_updated_in_place_and_shrinks() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("hosts");
        write(&path, format!("{LOCALHOST}{}", "fd42:1111:2222:3333::2 web # msb\n".repeat(9))).unwrap();
        set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let link = scratch.path().join("link");
        symlink(&path, &link).unwrap();
        let before = metadata(&path).unwrap();
        update(&link, &named("web")).unwrap();
        assert_eq!(read_to_string(&path).unwrap(), format!("{LOCALHOST}127.0.1.1 web # msb\n"));
        let after = metadata(&path).unwrap();
        assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()));
    }

    #[test]
    fn a_special_file_is_replaced_without_being_opened() {
        let scratch = tempfile::tempdir().unwrap();
        let expected = format!("{LOCALHOST}127.0.1.1 web # msb\n");
        let missing = scratch.path().join("missing");
        let fifo = scratch.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let dangling = scratch.path().join("dangling");
        symlink("/nonexistent/hosts", &dangling).unwrap();
        for path in [missing, fifo, dangling] {
            update(&path, &named("web")).unwrap();
            assert_eq!(read_to_string(&path).unwrap(), expected, "{}", path.display());
        }
        let directory = scratch.path().join("directory");
        create_dir(&directory).unwrap();
        update(&directory, &named("web")).unwrap_err();
        assert!(directory.is_dir());
    }

    #[test]
    fn a_file_that_is_too_large_is_unchanged() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("hosts");
        let large = vec![b'\n'; usize::try_from(MAX_FILE_BYTES).unwrap() + 1];
        write(&path, &large).unwrap();
        update(&path, &named("web")).unwrap_err();
        assert!(read(&path).unwrap() == large);
    }
}

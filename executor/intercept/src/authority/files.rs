//! The files of an authority: `ca.key` and `ca.pem` in a folder of the sandbox.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use zeroize::Zeroizing;

const KEY: &str = "ca.key";
const CERTIFICATE: &str = "ca.pem";
/// Both files have less than 1 KiB.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Makes the folder if it is missing, for its owner alone.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if fs::metadata(folder)?.permissions().mode() & 0o777 != 0o700 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Reads the key and the certificate. `None` if one is missing or not text, or if others may read the key.
pub(super) fn read(folder: &Path) -> io::Result<Option<(Zeroizing<String>, String)>> {
    let Some((key, mode)) = read_file(&folder.join(KEY))? else { return Ok(None) };
    let Some((certificate, _)) = read_file(&folder.join(CERTIFICATE))? else { return Ok(None) };
    let certificate = String::from_utf8(certificate.to_vec());
    match (std::str::from_utf8(&key), certificate) {
        (Ok(key), Ok(certificate)) if mode & 0o077 == 0 => {
            Ok(Some((Zeroizing::new(key.to_owned()), certificate)))
        }
        _ => Ok(None),
    }
}

fn read_file(path: &Path) -> io::Result<Option<(Zeroizing<Vec<u8>>, u32)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mode = file.metadata()?.permissions().mode();
    let mut content = Zeroizing::new(Vec::with_capacity(4096));
    file.take(FILE_BYTES_MAX).read_to_end(&mut content)?;
    Ok(Some((content, mode)))
}

/// Writes the key, then the certificate. After a crash between the two, they do not fit and are replaced.
pub(super) fn write(folder: &Path, key: &str, certificate: &str) -> io::Result<()> {
    replace(folder, KEY, key, 0o600)?;
    replace(folder, CERTIFICATE, certificate, 0o644)
}

fn replace(folder: &Path, name: &str, content: &str, mode: u32) -> io::Result<()> {
    let temporary = folder.join(format!(".{name}.new"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    File::open(folder)?.sync_all()
}

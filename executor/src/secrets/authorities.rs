//! The CAs that a Sandboxfile names for servers that the host does not trust.

use executor_intercept::ExtraCa;
use executor_registry::read_certificates;
use schemas::spec::ExtraCa as Declared;
use std::fs::File;
use std::io::{self, Read};

/// The largest file with CAs, in bytes: twenty times the usual system bundle.
const CA_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads a CA.
///
/// # Errors
///
/// If the file cannot be read, or has no certificate in PEM. The error names it.
pub fn extra_ca(declared: &Declared) -> io::Result<ExtraCa> {
    let Declared { path, hosts } = declared;
    let read = || {
        let mut text = Vec::new();
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        file.take(CA_BYTES_MAX + 1).read_to_end(&mut text)?;
        if text.len() as u64 > CA_BYTES_MAX {
            return Err(io::Error::other("it is larger than 4 MiB"));
        }
        read_certificates(&text)
    };
    match read() {
        Ok(certificates) => Ok(ExtraCa { certificates, hosts: hosts.clone() }),
        Err(error) => Err(io::Error::new(error.kind(), format!("the CA {path}: {error}"))),
    }
}

//! The trust store of Java, which reads neither bundles in PEM nor variables with their paths: a key store in the format
//! JKS, which every version reads.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::bundle::Certificate;
use super::place::GuestRoot;

/// The password of the store, which is Java's own default. It only protects against accidental changes.
pub const PASSWORD: &str = "changeit";

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
/// The tag of an entry with a certificate.
const CERTIFICATE: u32 = 2;
/// The tag of a SEQUENCE in DER.
const SEQUENCE: u8 = 0x30;
/// What the format's checksum covers between password and data.
const WHITENER: &[u8] = b"Mighty Aphrodite";

/// Debian's own trust store.
const DEBIAN_STORE: &str = "/etc/ssl/certs/java/cacerts";
/// The directories of Java's installations.
const INSTALLATIONS: [&str; 2] = ["/usr/lib/jvm", "/opt/java"];
/// The store in an installation, also of Java 8.
const STORES: [&str; 2] = ["lib/security/cacerts", "jre/lib/security/cacerts"];
/// The most installations in a directory that are looked at.
const INSTALLATIONS_MAX: usize = 32;

/// Whether a root has Java.
pub fn is_installed(guest: &GuestRoot) -> bool {
    guest.exists(Path::new(DEBIAN_STORE))
        || INSTALLATIONS.iter().any(|directory| {
            let directory = Path::new(directory);
            guest.names(directory, INSTALLATIONS_MAX).into_iter().any(|name| {
                let installation: PathBuf = directory.join(name);
                STORES.iter().any(|store| guest.exists(&installation.join(store)))
            })
        })
}

/// Returns a store with these certificates. Malformed ones are left out, because Java would refuse the whole store.
pub fn store(certificates: impl Iterator<Item = Certificate>) -> Vec<u8> {
    let mut count: u32 = 0;
    let mut entries = Vec::new();
    for certificate in certificates {
        let Ok(der) = STANDARD.decode(&certificate) else { continue };
        let Some(length) = sequence_length(&der) else { continue };
        count += 1;
        entries.extend(CERTIFICATE.to_be_bytes());
        push_text(&mut entries, &format!("ca-{count}"));
        // The time of creation, which is not known.
        entries.extend(0u64.to_be_bytes());
        push_text(&mut entries, "X.509");
        entries.extend(length.to_be_bytes());
        entries.extend(der);
    }
    let mut store: Vec<u8> = [MAGIC, VERSION, count].into_iter().flat_map(u32::to_be_bytes).collect();
    store.append(&mut entries);
    let checksum = checksum(&store);
    store.extend(checksum);
    store
}

/// Returns the length of a DER that is one SEQUENCE with nothing after it, in bytes; `None` if it is not.
fn sequence_length(der: &[u8]) -> Option<u32> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, contents) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > size_of::<u32>() {
            return None;
        }
        (bytes.iter().fold(0, |length: usize, byte| length << 8 | usize::from(*byte)), rest)
    };
    if tag == SEQUENCE && length == contents.len() { u32::try_from(der.len()).ok() } else { None }
}

/// Appends an ASCII text with its length, in bytes.
fn push_text(store: &mut Vec<u8>, text: &str) {
    store.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    store.extend(text.as_bytes());
}

fn checksum(store: &[u8]) -> [u8; 20] {
    let mut sha1 = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        sha1.update(unit.to_be_bytes());
    }
    sha1.update(WHITENER);
    sha1.update(store);
    sha1.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate that Java accepts.
    const CA: &str = "MIIBfTCCASOgAwIBAgIUNul03WrAdGbuQl5h9Nyi+Jxo/CkwCgYIKoZIzj0EAwIwEzERMA8GA1UEAwwIbXNiIHRlc3QwIBcNMjYxMTMwMDcxMTEyWhgPMjEyNjExMDYwNzExMTJaMBMxETAPBgNVBAMMCG1zYiB0ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEbJKcOPQWhPQtThb18Ma94HTWRSL61LZcoqRFDcWPvXEDuA7rpBl3dFFroJ8d8g9552LaGd6TqbIJOijIHVh/TqNTMFEwHQYDVR0OBBYEFMS+4SPc+TEPvrKeFsnGX2tSbkU/MB8GA1UdIwQYMBaAFMS+4SPc+TEPvrKeFsnGX2tSbkU/MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgAolMe1BoWRZRu/P6T3tMukaKoM6xXbl2u6RwUfR4ngUCIQDTITOEDLjo+dc2QqMxGeb48/Pv5WERVz0CVhKBEJcc4g==";

    #[test]
    fn a_store_has_the_documented_bytes() {
        let store = store([CA.as_bytes().to_vec()].into_iter());
        let der = STANDARD.decode(CA).unwrap();
        let length = u32::try_from(der.len()).unwrap().to_be_bytes();
        let header = b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01";
        let entry = b"\0\0\0\x02\0\x04ca-1\0\0\0\0\0\0\0\0\0\x05X.509";
        let data = [&header[..], entry, &length, &der].concat();
        assert!(store.starts_with(&data));
        // `keytool -list` accepts the store with this checksum and its password.
        assert_eq!(STANDARD.encode(&store[data.len()..]), "Kn0jJyLq12ewjxl+z1ec59CwRi0=");
    }

    #[test]
    fn malformed_certificates_are_left_out() {
        let cut = STANDARD.encode(&STANDARD.decode(CA).unwrap()[..100]);
        let longer = STANDARD.encode([&STANDARD.decode(CA).unwrap()[..], b"x"].concat());
        let texts = ["", "====", "AAAA", "MIQ=", "MP//////////", &cut, &longer, CA, "MAA"];
        let all = store(texts.map(|text| text.as_bytes().to_vec()).into_iter());
        assert!(all == store([CA.as_bytes().to_vec()].into_iter()));
    }

    #[test]
    fn only_a_whole_sequence_has_a_length() {
        let long =
            |bytes: usize| [&[0x30, 0x82, (bytes >> 8) as u8, bytes as u8][..], &vec![0; bytes]].concat();
        assert_eq!(sequence_length(&[0x30, 1, 0]), Some(3));
        assert_eq!(sequence_length(&long(300)), Some(304));
        for der in [&[][..], &[0x30], &[0x31, 0], &[0x30, 2, 0], &[0x30, 0x85, 0, 0, 0, 0, 0], &[0x30, 0x88]]
        {
            assert_eq!(sequence_length(der), None, "{der:?}");
        }
    }
}

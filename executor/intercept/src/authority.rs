//! The certificate authority of a sandbox: its key and its certificate on the disk, and the leaf certificates that it
//! issues.

mod files;
mod leaf;
#[cfg(test)]
mod tests;

pub(crate) use leaf::Leaves;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The age of a new certificate of an authority, for clocks that are behind.
const BACKDATED: Duration = Duration::from_secs(2 * 24 * 3600);
/// The time after which the certificate of an authority expires.
const VALID: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The authority is replaced when its certificate is valid for less than this.
const REPLACED_BEFORE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The most characters of a common name in X.509.
const COMMON_NAME_MAX: usize = 64;

/// The certificate authority of one sandbox.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// Reads the authority from a folder, which is made if it is missing. An authority that is missing, damaged, about
    /// to expire, of another sandbox or readable by others is replaced by a new one.
    ///
    /// # Errors
    ///
    /// If the folder or a file in it cannot be read or written.
    pub fn open_or_create(folder: &Path, name: &str) -> io::Result<Self> {
        files::make_folder(folder)?;
        let now = SystemTime::now();
        if let Some((key, certificate)) = files::read(folder)? {
            match Self::from_pem(&key, &certificate, name, now) {
                Ok(authority) => return Ok(authority),
                Err(reason) => tracing::warn!(%reason, "the CA of the sandbox is replaced"),
            }
        }
        let (authority, key) = Self::create(name, now).map_err(io::Error::other)?;
        files::write(folder, &key, &authority.pem)?;
        Ok(authority)
    }

    /// The certificate in PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// Makes an authority, and returns it with its key in PEM.
    pub(crate) fn create(
        name: &str,
        now: SystemTime,
    ) -> Result<(Self, zeroize::Zeroizing<String>), rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let key_pem = zeroize::Zeroizing::new(key.serialize_pem());
        let mut params = params(name);
        params.not_before = OffsetDateTime::from(now - BACKDATED);
        params.not_after = OffsetDateTime::from(now - BACKDATED + VALID);
        params.serial_number = Some(random_serial()?);
        let certificate = params.self_signed(&key)?;
        let pem = certificate.pem();
        Ok((Self { issuer: Issuer::new(params, key), pem }, key_pem))
    }

    fn from_pem(key: &str, certificate: &str, name: &str, now: SystemTime) -> Result<Self, Unusable> {
        let key = KeyPair::from_pem(key).map_err(|_| Unusable::Key)?;
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(certificate.as_bytes()).map_err(|_| Unusable::Certificate)?;
        let (rest, parsed) = X509Certificate::from_der(&pem.contents).map_err(|_| Unusable::Certificate)?;
        if !rest.is_empty() || parsed.verify_signature(None).is_err() {
            return Err(Unusable::Certificate);
        }
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(Unusable::OtherKey);
        }
        let expected = common_name(name);
        let mut names = parsed.subject().iter_common_name();
        if names.next().and_then(|found| found.as_str().ok()) != Some(expected.as_str())
            || names.next().is_some()
        {
            return Err(Unusable::OtherName);
        }
        let validity = parsed.validity();
        let until = OffsetDateTime::from(now + REPLACED_BEFORE);
        if validity.not_before.to_datetime() > OffsetDateTime::from(now)
            || validity.not_after.to_datetime() < until
        {
            return Err(Unusable::Expired);
        }
        let pem = encode(&pem);
        Ok(Self { issuer: Issuer::new(params(name), key), pem })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("pem", &self.pem).finish_non_exhaustive()
    }
}

/// The reason why an authority on the disk is replaced.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unusable {
    #[error("its key is damaged")]
    Key,
    #[error("its certificate is damaged")]
    Certificate,
    #[error("its certificate is for another key")]
    OtherKey,
    #[error("its certificate has the name of another sandbox")]
    OtherName,
    #[error("its certificate expires soon")]
    Expired,
}

/// The certificate alone, without other text of its file.
fn encode(pem: &x509_parser::pem::Pem) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(&pem.contents);
    let mut encoded = String::from("-----BEGIN CERTIFICATE-----\n");
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            encoded.push('\n');
        }
        encoded.push(character);
    }
    encoded.push_str("\n-----END CERTIFICATE-----\n");
    encoded
}

fn common_name(name: &str) -> String {
    format!("msb sandbox {name}").chars().take(COMMON_NAME_MAX).collect()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name(name));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A serial number of 127 bits: positive, and different for each certificate of an issuer.
fn random_serial() -> Result<SerialNumber, rcgen::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

//! Leaf certificates: one for each name, renewed before they expire.

use super::{Authority, COMMON_NAME_MAX, random_serial};
use crate::clock::Clock;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rules::rule::DomainName;
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;

/// The age of a new leaf, for clocks that are behind.
const BACKDATED: Duration = Duration::from_secs(2 * 60);
/// The validity of a leaf.
const VALID: Duration = Duration::from_secs(24 * 3600);
/// A leaf is renewed when it is valid for less than this.
const RENEWED_BEFORE: Duration = Duration::from_secs(10 * 60);
/// The limit of cached leaves.
const CACHED_MAX: usize = 1024;

/// The leaf certificates of an authority. All have one key, which is in memory only.
pub(crate) struct Leaves {
    authority: Authority,
    clock: Arc<dyn Clock>,
    key: KeyPair,
    signer: Arc<dyn SigningKey>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    leaves: HashMap<DomainName, Leaf>,
    /// Counts the queries, to find the leaf whose last one is the oldest.
    queries: u64,
}

struct Leaf {
    certified: Arc<CertifiedKey>,
    not_before: SystemTime,
    not_after: SystemTime,
    last_query: u64,
}

impl Leaf {
    fn is_usable(&self, now: SystemTime) -> bool {
        self.not_before <= now && now + RENEWED_BEFORE <= self.not_after
    }
}

/// A leaf certificate cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("no certificate can be made for {name}")]
pub(crate) struct LeafError {
    name: DomainName,
    #[source]
    source: rcgen::Error,
}

impl Leaves {
    pub(crate) fn new(authority: Authority, clock: Arc<dyn Clock>) -> Result<Self, std::io::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(std::io::Error::other)?;
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = any_ecdsa_type(&der).map_err(std::io::Error::other)?;
        Ok(Self { authority, clock, key, signer, cache: Mutex::default() })
    }

    /// Returns a certificate for a name that is valid for at least 10 minutes.
    pub(crate) fn leaf(&self, name: &DomainName) -> Result<Arc<CertifiedKey>, LeafError> {
        let now = self.clock.now();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.queries += 1;
        let query = cache.queries;
        if let Some(leaf) = cache.leaves.get_mut(name)
            && leaf.is_usable(now)
        {
            leaf.last_query = query;
            return Ok(Arc::clone(&leaf.certified));
        }
        let leaf = self.issue(name, now, query).map_err(|source| LeafError { name: name.clone(), source })?;
        let certified = Arc::clone(&leaf.certified);
        if cache.leaves.len() >= CACHED_MAX && !cache.leaves.contains_key(name) {
            let oldest = cache.leaves.iter().min_by_key(|(_, leaf)| leaf.last_query);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                cache.leaves.remove(&oldest);
            }
        }
        cache.leaves.insert(name.clone(), leaf);
        Ok(certified)
    }

    fn issue(&self, name: &DomainName, now: SystemTime, query: u64) -> Result<Leaf, rcgen::Error> {
        let (not_before, not_after) = (now - BACKDATED, now - BACKDATED + VALID);
        let mut params = CertificateParams::new([name.as_str().to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        if name.as_str().len() <= COMMON_NAME_MAX {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        } else {
            // Some clients reject a certificate without a subject.
            params.distinguished_name.push(DnType::OrganizationName, "msb");
        }
        params.not_before = OffsetDateTime::from(not_before);
        params.not_after = OffsetDateTime::from(not_after);
        // Clients reject two certificates of an issuer with the same number.
        params.serial_number = Some(random_serial()?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&self.key, &self.authority.issuer)?;
        let certified = CertifiedKey::new(vec![certificate.der().clone()], Arc::clone(&self.signer));
        Ok(Leaf { certified: Arc::new(certified), not_before, not_after, last_query: query })
    }

    #[cfg(test)]
    pub(super) fn cached(&self) -> usize {
        self.cache.lock().unwrap().leaves.len()
    }
}

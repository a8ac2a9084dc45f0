//! TLS trust of each host.

use crate::error::RegistryError;
use crate::host::Origin;
use crate::settings::HostSettings;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The largest CA file, in bytes: twenty times the usual system bundle.
const CA_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// TLS configurations, made when a host is first connected.
pub struct Trust {
    overrides: HashMap<HostPort, HostTrust>,
    provider: Arc<CryptoProvider>,
    system_roots: OnceLock<RootCertStore>,
    /// The configurations made so far; `None` is the one for all hosts without settings.
    configs: Mutex<HashMap<Option<HostPort>, Arc<ClientConfig>>>,
}

/// A host and its port.
type HostPort = (String, u16);

/// The settings of one host.
struct HostTrust {
    insecure: bool,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trust {
    pub fn new() -> Self {
        Self {
            overrides: HashMap::new(),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            system_roots: OnceLock::new(),
            configs: Mutex::default(),
        }
    }

    /// Adds the settings of a host.
    pub fn add(&mut self, name: &str, origin: &Origin, settings: &HostSettings) -> Result<(), RegistryError> {
        let mut certificates = Vec::new();
        if let Some(path) = &settings.ca {
            let failed = |source| RegistryError::Ca { host: name.to_owned(), path: path.clone(), source };
            let mut text = Vec::new();
            let mut file = File::open(path).map_err(failed)?.take(CA_BYTES_MAX + 1);
            file.read_to_end(&mut text).map_err(failed)?;
            certificates = read_certificates(&text).map_err(failed)?;
        }
        if settings.insecure || !certificates.is_empty() {
            let overrides = HostTrust { insecure: settings.insecure, certificates };
            self.overrides.insert((origin.host.clone(), origin.port), overrides);
        }
        Ok(())
    }

    /// Whether the settings of a host allow plain HTTP; `None` if they neither allow it nor name a CA.
    pub fn allows_plain_http(&self, host: &str, port: u16) -> Option<bool> {
        self.overrides.get(&(host.to_owned(), port)).map(|overrides| overrides.insecure)
    }

    /// The configuration for a host.
    pub fn config(&self, host: &str, port: u16) -> Result<Arc<ClientConfig>, rustls::Error> {
        let key = Some((host.to_owned(), port)).filter(|key| self.overrides.contains_key(key));
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(&key) {
            return Ok(config.clone());
        }
        let config = Arc::new(self.build(key.as_ref().and_then(|key| self.overrides.get(key)))?);
        configs.insert(key, config.clone());
        Ok(config)
    }

    fn build(&self, overrides: Option<&HostTrust>) -> Result<ClientConfig, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?;
        let mut config = match overrides {
            Some(HostTrust { insecure: true, .. }) => {
                let verifier =
                    Arc::new(Unverified { algorithms: self.provider.signature_verification_algorithms });
                builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
            }
            Some(HostTrust { insecure: false, certificates }) => {
                let mut roots = self.system_roots().clone();
                for certificate in certificates {
                    roots.add(certificate.clone())?;
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            None => builder.with_root_certificates(self.system_roots().clone()).with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// The system's CA certificates. Unreadable files are skipped.
    fn system_roots(&self) -> &RootCertStore {
        self.system_roots.get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::debug!(%error, "a certificate of this machine cannot be read");
            }
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(found.certs);
            roots
        })
    }
}

/// Reads the certificates of a file in PEM.
///
/// # Errors
///
/// If it is too large, is not PEM, or has no certificate that can be a CA.
pub fn read_certificates(text: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let wrong = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    if text.len() as u64 > CA_BYTES_MAX {
        return Err(wrong(format!("it has more than {CA_BYTES_MAX} bytes")));
    }
    let certificates = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("it contains no certificate in PEM".to_owned()));
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(certificates)
}

/// Accepts any certificate, for `insecure` hosts. The handshake's signature is still verified.
#[derive(Debug)]
struct Unverified {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

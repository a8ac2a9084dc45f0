//! The reasons why a server cannot be used, for the log and for the guest.

use rules::rule::DomainName;
use rustls::{AlertDescription, CertificateError};
use std::error::Error;
use std::io;

/// The reason why a request could not be forwarded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The certificate of the server is not trusted.
    #[error("the certificate of {host} is not trusted: {problem}")]
    Certificate {
        /// The host.
        host: String,
        /// The reason.
        problem: CertificateProblem,
    },
    /// The server asked for a certificate of the client, and ended the connection without one.
    #[error("{host} asked for a client certificate, which intercepted connections do not have")]
    ClientCertificate {
        /// The host.
        host: String,
    },
    /// The server does not speak TLS, or not in a version or with ciphers that are safe.
    #[error("the TLS handshake with {host} failed: {problem}")]
    Handshake {
        /// The host.
        host: String,
        /// The reason.
        problem: String,
    },
    /// The handshake took too long.
    #[error("the server did not complete the TLS handshake within {seconds} s")]
    Timeout {
        /// The time limit.
        seconds: u64,
    },
    /// The name of the server cannot be verified.
    #[error("{host} is not a name that certificates can have")]
    Name {
        /// The host.
        host: String,
    },
    /// The server closed the connection before it answered.
    #[error("the server closed the connection before it answered")]
    Closed,
    /// The answer of the server is not HTTP.
    #[error("the answer of the server is not valid: {problem}")]
    Answer {
        /// The reason.
        problem: String,
    },
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {problem}")]
    Settings {
        /// The reason.
        problem: String,
    },
    /// The proxy is ending.
    #[error("the sandbox is stopping")]
    Stopped,
}

/// The fault of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// Its issuer is not trusted.
    #[error("its issuer is unknown to this host")]
    UnknownIssuer,
    /// It has expired.
    #[error("it has expired")]
    Expired,
    /// It is not valid yet.
    #[error("it is not valid yet")]
    NotValidYet,
    /// It is for other hosts.
    #[error("it is for other hosts")]
    OtherHost,
    /// It has been revoked.
    #[error("it has been revoked")]
    Revoked,
    /// Another fault.
    #[error("{0}")]
    Other(String),
}

impl UpstreamError {
    pub(super) fn of_handshake(host: &DomainName, error: &io::Error, asked_for_certificate: bool) -> Self {
        let host = host.to_string();
        let Some(inner) = rustls_error(error) else {
            return if error.kind() == io::ErrorKind::UnexpectedEof && asked_for_certificate {
                Self::ClientCertificate { host }
            } else {
                Self::Handshake { host, problem: error.to_string() }
            };
        };
        match inner {
            rustls::Error::InvalidCertificate(problem) => {
                Self::Certificate { host, problem: CertificateProblem::of(problem) }
            }
            rustls::Error::NoCertificatesPresented => Self::Certificate {
                host,
                problem: CertificateProblem::Other("the server sent none".to_owned()),
            },
            rustls::Error::AlertReceived(_) if asked_for_certificate => Self::ClientCertificate { host },
            rustls::Error::InvalidMessage(_) => {
                Self::Handshake { host, problem: "the server does not speak TLS".to_owned() }
            }
            other => Self::Handshake { host, problem: other.to_string() },
        }
    }

    /// The reason why a connection ended before an answer came.
    pub(crate) fn of_exchange(host: &str, error: &hyper::Error) -> Self {
        match find_rustls_error(error) {
            Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)) => {
                Self::ClientCertificate { host: host.to_owned() }
            }
            // Which a server sends too that refuses the lack of a client certificate.
            Some(rustls::Error::AlertReceived(_)) => Self::Closed,
            Some(error) => Self::Answer { problem: error.to_string() },
            None if error.is_parse() => Self::Answer { problem: error.to_string() },
            None => Self::Closed,
        }
    }

    pub(super) fn settings(error: &rustls::Error) -> Self {
        Self::Settings { problem: error.to_string() }
    }

    /// The next step for the author of the Sandboxfile.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Certificate { host, problem: CertificateProblem::UnknownIssuer } => Some(format!(
                "add its CA with `tls {{ ca … }}`, or let {host} through with `tls {{ bypass \"{host}\" }}`"
            )),
            Self::ClientCertificate { host } | Self::Handshake { host, .. } => {
                Some(format!("let it through with `tls {{ bypass \"{host}\" }}`"))
            }
            _ => None,
        }
    }
}

impl CertificateProblem {
    fn of(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotValidYet,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherHost
            }
            CertificateError::Revoked => Self::Revoked,
            other => Self::Other(other.to_string()),
        }
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn find_rustls_error(error: &hyper::Error) -> Option<&rustls::Error> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        if let Some(found) = error.downcast_ref::<io::Error>().and_then(rustls_error) {
            return Some(found);
        }
        source = error.source();
    }
    None
}

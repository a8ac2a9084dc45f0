//! Errors of registries. [`RegistryError::hint`] has the next step.

use executor_image::{ImageError, OciError};
use schemas::digest::Digest;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The cause of a network error.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why an image cannot be pulled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A host in the settings has an invalid name.
    #[error("`{host}` in the settings of registries is not the name of a host")]
    InvalidHost {
        /// The name as given.
        host: String,
    },
    /// A host's CA file cannot be used.
    #[error("cannot read the certificates of {host} in {}", path.display())]
    Ca {
        /// The host.
        host: String,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The digest is not SHA-256, the only algorithm of the store.
    #[error("{image} has a digest that is not SHA-256, which is not supported")]
    UnsupportedDigest {
        /// The image.
        image: String,
    },
    /// The host is unreachable.
    #[error("cannot reach {host}")]
    Unreachable {
        /// The host.
        host: String,
        /// The cause.
        source: Cause,
    },
    /// The proxy refused the connection.
    #[error("cannot reach {host} through the proxy {proxy}")]
    Proxy {
        /// The host.
        host: String,
        /// The proxy, without its password.
        proxy: String,
        /// The cause.
        source: Cause,
    },
    /// The host's certificate is not trusted.
    #[error("the certificate of {host} is not trusted")]
    Certificate {
        /// The host.
        host: String,
        /// The cause.
        source: Cause,
    },
    /// The host does not speak TLS, and plain HTTP is not allowed.
    #[error("{host} does not speak TLS")]
    PlainHttp {
        /// The host.
        host: String,
        /// The failed handshake.
        source: Cause,
    },
    /// The connection was closed, or timed out.
    #[error("{host} closed the connection while {what} was pulled")]
    Disconnected {
        /// The host.
        host: String,
        /// The requested document.
        what: String,
        /// The cause.
        source: Cause,
    },
    /// Credentials are missing or wrong.
    #[error("{host} refuses {image}: {}", if *given { "the credentials were not accepted" } else { "it needs credentials, or does not exist" })]
    Unauthorized {
        /// The image.
        image: String,
        /// The host.
        host: String,
        /// Whether credentials were sent.
        given: bool,
        /// The registry's message.
        message: String,
        /// Why no credentials were found, if some were configured.
        source: Option<Arc<RegistryError>>,
    },
    /// The registry names a token server that is not trusted with the credentials.
    #[error("{host} asks to send its credentials to {realm}, which is another host; they were not sent")]
    ForeignRealm {
        /// The registry.
        host: String,
        /// The token server.
        realm: String,
    },
    /// The credentials would be sent unencrypted.
    #[error("the credentials for {host} would go over plain HTTP; they were not sent")]
    CleartextCredentials {
        /// The host.
        host: String,
    },
    /// The registry demands an unsupported authentication scheme.
    #[error("{host} demands an unsupported authentication scheme: {challenge:?}")]
    UnknownChallenge {
        /// The registry.
        host: String,
        /// The scheme.
        challenge: String,
    },
    /// Docker's configuration cannot be read.
    #[error("cannot read the credentials in {}", path.display())]
    DockerConfig {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A credential helper failed.
    #[error("`{program}` cannot provide the credentials for {host}: {reason}")]
    Helper {
        /// The helper.
        program: String,
        /// The registry.
        host: String,
        /// The reason.
        reason: String,
    },
    /// The image does not exist.
    #[error("{host} has no image {image}")]
    NotFound {
        /// The image.
        image: String,
        /// The host.
        host: String,
        /// The registry's message.
        message: String,
    },
    /// A part of an image is missing.
    #[error("{host} does not have {what} of {image}")]
    Incomplete {
        /// The image.
        image: String,
        /// The host.
        host: String,
        /// The part.
        what: String,
    },
    /// The rate limit was exceeded.
    #[error("{host} refuses further requests{}", after.map(|after| format!(" for {} s", after.as_secs())).unwrap_or_default())]
    TooManyRequests {
        /// The host.
        host: String,
        /// How long to wait, if the host says so.
        after: Option<Duration>,
    },
    /// Any other unexpected status.
    #[error("{host} answered {status} to the request for {what}{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Status {
        /// The host.
        host: String,
        /// The requested document.
        what: String,
        /// The status code.
        status: u16,
        /// The registry's message.
        message: String,
        /// How long to wait, if the host says so.
        after: Option<Duration>,
    },
    /// A redirect was refused.
    #[error("a redirect of {host} is not followed: {reason}")]
    Redirect {
        /// The host.
        host: String,
        /// The reason.
        reason: String,
    },
    /// A malformed response.
    #[error("{host} sent an invalid response to the request for {what}: {reason}")]
    InvalidResponse {
        /// The host.
        host: String,
        /// The requested document.
        what: String,
        /// The reason.
        reason: String,
    },
    /// A response is larger than declared or allowed.
    #[error("{host} sent more than the limit of {limit} bytes for {what}")]
    TooLarge {
        /// The host.
        host: String,
        /// The document.
        what: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A document has the wrong digest.
    #[error("{host} sent wrong bytes for {what}: their digest is {found}, not {expected}")]
    WrongDigest {
        /// The host.
        host: String,
        /// The document.
        what: String,
        /// The expected digest.
        expected: Digest,
        /// The actual digest.
        found: Digest,
    },
    /// A manifest, an index or a config is invalid or for another platform.
    #[error("cannot use {image} of {host}")]
    Document {
        /// The image.
        image: String,
        /// The host.
        host: String,
        /// The cause.
        source: OciError,
    },
    /// The local store failed.
    #[error("cannot store {what} of {image}")]
    Store {
        /// The image.
        image: String,
        /// The part.
        what: String,
        /// The cause.
        source: Box<ImageError>,
    },
}

impl RegistryError {
    /// The next step for the user, if there is one.
    pub fn hint(&self) -> Option<String> {
        let setting = |host: &str, rest: &str| format!("registries.hosts.\"{host}\".{rest} in config.json");
        Some(match self {
            Self::Unauthorized { host, given: false, source: None, .. } => format!(
                "if it exists, give credentials with {} or `docker login {host}`",
                setting(host, "auth")
            ),
            Self::Unauthorized { host, source: None, .. } => {
                format!("check {} or run `docker login {host}` again", setting(host, "auth"))
            }
            Self::Unauthorized { host, source: Some(_), .. } | Self::Helper { host, .. } => {
                format!("repair it, or give credentials with {}", setting(host, "auth"))
            }
            Self::ForeignRealm { host, realm } => {
                format!("if {realm} may have them, add it to {}", setting(host, "realms"))
            }
            Self::CleartextCredentials { host } => {
                format!("if the network path to it is trusted, set {}", setting(host, "insecure"))
            }
            Self::Certificate { host, .. } => format!(
                "set the file of its CA with {}, or skip verification with {}",
                setting(host, "ca"),
                setting(host, "insecure")
            ),
            Self::PlainHttp { host, .. } => {
                format!("if plain HTTP is intended, set {}", setting(host, "insecure"))
            }
            Self::Unreachable { .. } => {
                "check the name and the network; a proxy is taken from HTTPS_PROXY and NO_PROXY".to_owned()
            }
            Self::Proxy { .. } => "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY".to_owned(),
            Self::TooManyRequests { host, .. } => format!(
                "wait, or give credentials with {}: many registries allow more then",
                setting(host, "auth")
            ),
            Self::Disconnected { .. } => "try again: the pull resumes where it stopped".to_owned(),
            Self::Status { status: 500.., .. } => {
                "the registry has an internal problem: try again later".to_owned()
            }
            Self::NotFound { .. } => "check the name and the tag".to_owned(),
            Self::WrongDigest { .. } | Self::Incomplete { .. } => {
                "the registry, a mirror or a proxy is faulty or malicious; nothing of this was stored"
                    .to_owned()
            }
            Self::UnsupportedDigest { .. } => "name it by its tag or its SHA-256 digest".to_owned(),
            Self::Store { source, .. } if is_full(source.as_ref()) => {
                "free disk space, for example with `msb image prune`; the pull then resumes where it stopped"
                    .to_owned()
            }
            Self::InvalidHost { .. }
            | Self::Ca { .. }
            | Self::UnknownChallenge { .. }
            | Self::DockerConfig { .. }
            | Self::Status { .. }
            | Self::Redirect { .. }
            | Self::InvalidResponse { .. }
            | Self::TooLarge { .. }
            | Self::Document { .. }
            | Self::Store { .. } => return None,
        })
    }

    /// Whether a retry may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Disconnected { .. } | Self::TooManyRequests { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 500 | 502..=504),
            _ => false,
        }
    }

    /// Whether the failure is local, so that no other registry would help.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Store { .. } | Self::UnsupportedDigest { .. })
    }

    /// How long the registry demands to wait.
    pub(crate) fn after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { after, .. } | Self::Status { after, .. } => *after,
            _ => None,
        }
    }
}

/// Whether the disk or the user's quota is full.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let error = causes(error).find_map(|error| error.downcast_ref::<io::Error>());
    error.is_some_and(|error| matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge))
}

/// Returns an error and its causes.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

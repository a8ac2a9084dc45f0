//! What goes wrong with a registry. [`RegistryError::hint`] says what to do about it.

use executor_image::{ImageError, OciError};
use schemas::digest::Digest;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What is below an error of the network.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Why an image cannot be pulled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A host's name in the settings is none.
    #[error("`{host}` in the settings of registries is not the name of a host")]
    InvalidHost {
        /// As given.
        host: String,
    },
    /// A host's file of certificates cannot be used.
    #[error("cannot read the certificates of {host} in {}", path.display())]
    Ca {
        /// Whose.
        host: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Only SHA-256 names blobs of the store.
    #[error("{image} is named by a digest that is not SHA-256, which is not supported")]
    UnsupportedDigest {
        /// Which.
        image: String,
    },
    /// No connection.
    #[error("cannot reach {host}")]
    Unreachable {
        /// Whom.
        host: String,
        /// Why.
        source: Cause,
    },
    /// The proxy does not let us through.
    #[error("cannot reach {host} through the proxy {proxy}")]
    Proxy {
        /// Whom.
        host: String,
        /// Who stands between, without its password.
        proxy: String,
        /// Why.
        source: Cause,
    },
    /// Its certificate is not good.
    #[error("the certificate of {host} is not trusted")]
    Certificate {
        /// Whose.
        host: String,
        /// Why.
        source: Cause,
    },
    /// It speaks HTTP, and that is not allowed.
    #[error("{host} does not speak TLS")]
    PlainHttp {
        /// Who.
        host: String,
        /// What it answered instead.
        source: Cause,
    },
    /// The connection ended, or nothing came any more.
    #[error("{host} broke off while {what} was pulled")]
    Dropped {
        /// Who.
        host: String,
        /// What was asked for.
        what: String,
        /// Why.
        source: Cause,
    },
    /// Credentials are needed, or others than were given.
    #[error("{host} refuses {image}: {}", if *given { "the credentials were not accepted" } else { "it needs credentials, or does not exist" })]
    Unauthorized {
        /// What was asked for.
        image: String,
        /// Who refuses.
        host: String,
        /// Whether there were credentials.
        given: bool,
        /// What the registry says.
        message: String,
        /// Why there were none, if there should have been some.
        source: Option<Arc<RegistryError>>,
    },
    /// The credentials would go to someone else.
    #[error("{host} asks to send its credentials to {realm}, which is another host; they were not sent")]
    ForeignRealm {
        /// Who asks.
        host: String,
        /// Where they would go.
        realm: String,
    },
    /// The credentials would be readable on their way.
    #[error("the credentials for {host} would go over plain HTTP; they were not sent")]
    CleartextCredentials {
        /// Whose.
        host: String,
    },
    /// It asks for something that is none of the known kinds.
    #[error("{host} asks for credentials in a way that is not supported: {challenge:?}")]
    UnknownChallenge {
        /// Who.
        host: String,
        /// What it asks for.
        challenge: String,
    },
    /// Docker's configuration cannot be read.
    #[error("cannot read the credentials in {}", path.display())]
    DockerConfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A helper tells no credentials.
    #[error("`{program}` does not tell the credentials for {host}: {reason}")]
    Helper {
        /// Which.
        program: String,
        /// Whose.
        host: String,
        /// Why.
        reason: String,
    },
    /// There is no such image.
    #[error("{host} has no image {image}")]
    NotFound {
        /// Which.
        image: String,
        /// Who.
        host: String,
        /// What the registry says.
        message: String,
    },
    /// A part of an image is missing.
    #[error("{host} does not have {what} of {image}")]
    Incomplete {
        /// Which.
        image: String,
        /// Who.
        host: String,
        /// The part.
        what: String,
    },
    /// Too many requests.
    #[error("{host} refuses further requests{}", after.map(|after| format!(" for {} s", after.as_secs())).unwrap_or_default())]
    TooManyRequests {
        /// Who.
        host: String,
        /// How long.
        after: Option<Duration>,
    },
    /// Any other answer than was asked for.
    #[error("{host} answers {status} when asked for {what}{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Status {
        /// Who.
        host: String,
        /// What was asked for.
        what: String,
        /// The code.
        status: u16,
        /// What it says about it.
        message: String,
        /// How long it asks to wait.
        after: Option<Duration>,
    },
    /// A redirect that is not followed.
    #[error("a redirect of {host} is not followed: {reason}")]
    Redirect {
        /// Who.
        host: String,
        /// Why not.
        reason: String,
    },
    /// An answer that cannot be right.
    #[error("{host} answers nonsense when asked for {what}: {reason}")]
    InvalidResponse {
        /// Who.
        host: String,
        /// What was asked for.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// More than was declared, or than any sound document has.
    #[error("{host} sends more than the {limit} bytes that {what} may have")]
    TooLarge {
        /// Who.
        host: String,
        /// What.
        what: String,
        /// How many.
        limit: u64,
    },
    /// Other bytes than were asked for.
    #[error("{host} sends other bytes than {what} has: they are {found} instead of {expected}")]
    WrongDigest {
        /// Who.
        host: String,
        /// What.
        what: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A manifest, an index or a config is not one, or not for this machine.
    #[error("cannot use {image} of {host}")]
    Document {
        /// Which.
        image: String,
        /// Who sent it.
        host: String,
        /// Why.
        source: OciError,
    },
    /// The store of this machine.
    #[error("cannot keep {what} of {image}")]
    Store {
        /// Which.
        image: String,
        /// The part.
        what: String,
        /// Why.
        source: Box<ImageError>,
    },
}

impl RegistryError {
    /// What the user can do about it.
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
            Self::ForeignRealm { host, realm } => format!(
                "if {realm} is to have them, add it to {}",
                setting(host, "realms")
            ),
            Self::CleartextCredentials { host } => {
                format!("if the way to it is safe, set {}", setting(host, "insecure"))
            }
            Self::Certificate { host, .. } => format!(
                "name the file of its CA with {}, or do without the check with {}",
                setting(host, "ca"),
                setting(host, "insecure")
            ),
            Self::PlainHttp { host, .. } => {
                format!("if plain HTTP is meant, set {}", setting(host, "insecure"))
            }
            Self::Unreachable { .. } => {
                "check the name and the network; a proxy is taken from HTTPS_PROXY and NO_PROXY".to_owned()
            }
            Self::Proxy { .. } => "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY".to_owned(),
            Self::TooManyRequests { host, .. } => format!(
                "wait, or give credentials with {}: many registries allow more then",
                setting(host, "auth")
            ),
            Self::Dropped { .. } => "try again: what came is kept, and the pull goes on from there".to_owned(),
            Self::Status { status: 500.., .. } => "the registry has trouble of its own: try again later".to_owned(),
            Self::NotFound { .. } => "check the name and the tag".to_owned(),
            Self::WrongDigest { .. } | Self::Incomplete { .. } => {
                "the registry, a mirror or a proxy is broken, or means harm; nothing of this was kept".to_owned()
            }
            Self::UnsupportedDigest { .. } => "name it by its tag or its SHA-256 digest".to_owned(),
            Self::Store { source, .. } if is_full(source.as_ref()) => {
                "make room, for example with `msb image prune`: what came is kept, and the pull goes on from there"
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

    /// Whether the same request may go well a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Dropped { .. } | Self::TooManyRequests { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 500 | 502..=504),
            _ => false,
        }
    }

    /// Whether it is this machine's fault, so that no other registry would help.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Store { .. } | Self::UnsupportedDigest { .. })
    }

    /// How long the registry asks to wait.
    pub(crate) fn after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { after, .. } | Self::Status { after, .. } => *after,
            _ => None,
        }
    }
}

/// Whether the disk is full, or as full as it may be for this user.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
            return matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge);
        }
        cause = error.source();
    }
    false
}

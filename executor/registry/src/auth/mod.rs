//! Authentication: on demand, per repository, cached for the requests that follow.

mod challenge;
mod docker;
mod helper;
mod token;

use crate::error::RegistryError;
use crate::http::{Response, Transport};
use crate::settings::{Auth, Settings};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
pub use challenge::{Challenge, challenges};
use docker::Entry;
use hyper::header::HeaderValue;
use schemas::config::Masked;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A repository of a registry, which may be a mirror.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The registry's name as in references and settings.
    pub registry: String,
    /// The image's name in the registry.
    pub repository: String,
}

/// The authentication state of one endpoint.
#[derive(Default)]
struct AuthState {
    authorization: Option<HeaderValue>,
    /// Whether credentials were used.
    given: bool,
    /// Why there were no credentials.
    problem: Option<Arc<RegistryError>>,
}

/// The authentication state of all endpoints.
#[derive(Default)]
pub struct AuthCache {
    known: Mutex<HashMap<Endpoint, Arc<tokio::sync::Mutex<AuthState>>>>,
}

impl AuthCache {
    fn at(&self, endpoint: &Endpoint) -> Arc<tokio::sync::Mutex<AuthState>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(endpoint.clone()).or_default().clone()
    }

    /// The cached `Authorization` header.
    pub async fn current(&self, endpoint: &Endpoint) -> Option<HeaderValue> {
        self.at(endpoint).lock().await.authorization.clone()
    }

    /// Gets another `Authorization` header after one was refused. Of several concurrent requests, one does the work.
    pub async fn authenticate(
        &self,
        transport: &Transport,
        settings: &Settings,
        endpoint: &Endpoint,
        unauthorized: (&Response, Option<&HeaderValue>),
    ) -> Result<HeaderValue, RegistryError> {
        let (response, used) = unauthorized;
        let identity = self.at(endpoint);
        let mut identity = identity.lock().await;
        if let Some(value) = identity.authorization.as_ref().filter(|value| Some(*value) != used) {
            return Ok(value.clone());
        }
        let challenge = challenges(response.headers()).into_iter().next();
        let (auth, problem) = match find_credentials(settings, &endpoint.registry).await {
            Ok(auth) => (auth, None),
            Err(error) => {
                tracing::debug!(%error, registry = endpoint.registry, "no credentials");
                (None, Some(Arc::new(error)))
            }
        };
        (identity.given, identity.problem) = (auth.is_some(), problem.clone());
        let mut value = match (challenge, auth) {
            (Some(Challenge::Basic), Some(Auth::Password { username, password })) => {
                check_cleartext(transport, response, endpoint)?;
                basic(&username, &password)
            }
            (Some(Challenge::Bearer { .. }), Some(Auth::BearerToken(token))) => {
                check_cleartext(transport, response, endpoint)?;
                HeaderValue::try_from(format!("Bearer {}", token.reveal())).map_err(|_| {
                    invalid_response(endpoint, "the token in its settings is invalid".to_owned())
                })?
            }
            (Some(Challenge::Bearer { realm, service }), auth) => {
                if auth.is_some() {
                    check_cleartext(transport, response, endpoint)?;
                }
                let realms = settings.hosts.get(&endpoint.registry).map_or(&[][..], |host| &host.realms);
                let wanted =
                    token::TokenRequest { endpoint, realm: &realm, service: service.as_deref(), realms };
                token::fetch(transport, &response.origin, &wanted, auth).await.map_err(|mut error| {
                    if let RegistryError::Unauthorized { source, .. } = &mut error {
                        *source = problem;
                    }
                    error
                })?
            }
            (Some(Challenge::Basic) | None, _) => {
                return Err(endpoint.unauthorized(false, String::new(), problem));
            }
            (Some(Challenge::Other(scheme)), _) => {
                return Err(RegistryError::UnknownChallenge {
                    host: endpoint.registry.clone(),
                    challenge: crate::host::sanitize(&scheme),
                });
            }
        };
        value.set_sensitive(true);
        identity.authorization = Some(value.clone());
        Ok(value)
    }

    /// The error for a final refusal.
    pub async fn unauthorized(&self, endpoint: &Endpoint, message: String) -> RegistryError {
        let identity = self.at(endpoint);
        let identity = identity.lock().await;
        endpoint.unauthorized(identity.given, message, identity.problem.clone())
    }
}

impl Endpoint {
    fn unauthorized(
        &self,
        given: bool,
        message: String,
        source: Option<Arc<RegistryError>>,
    ) -> RegistryError {
        let (image, host) = (self.repository.clone(), self.registry.clone());
        RegistryError::Unauthorized { image, host, given, message, source }
    }
}

/// Over plain HTTP, credentials are sent only if the settings allow it.
fn check_cleartext(
    transport: &Transport,
    response: &Response,
    endpoint: &Endpoint,
) -> Result<(), RegistryError> {
    if transport.may_see_credentials(&response.origin) {
        return Ok(());
    }
    Err(RegistryError::CleartextCredentials { host: endpoint.registry.clone() })
}

fn basic(username: &str, password: &Masked) -> HeaderValue {
    let text = STANDARD.encode(format!("{username}:{}", password.reveal()));
    HeaderValue::try_from(format!("Basic {text}")).expect("base64 is a header's value")
}

fn invalid_response(endpoint: &Endpoint, reason: String) -> RegistryError {
    let Endpoint { registry, repository: _ } = endpoint;
    RegistryError::InvalidResponse { host: registry.clone(), what: "a token".to_owned(), reason }
}

/// Looks for credentials: in the settings, then in docker's configuration. A failing helper is not fatal, as many
/// images need no credentials.
async fn find_credentials(settings: &Settings, registry: &str) -> Result<Option<Auth>, RegistryError> {
    if let Some(auth) = settings.hosts.get(registry).and_then(|host| host.auth.clone()) {
        return Ok(Some(auth));
    }
    let Some(path) = &settings.docker_config else { return Ok(None) };
    match docker::find(path, registry)? {
        Entry::None => Ok(None),
        Entry::Auth(auth) => Ok(Some(auth)),
        Entry::Helper(name) => {
            helper::run(&name, registry, docker::server_key(registry), settings.limits.helper).await
        }
    }
}

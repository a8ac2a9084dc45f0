//! Authentication: on demand, per repository, cached for the requests that follow.

mod challenge;
mod docker;
mod helper;
mod token;

use crate::error::RegistryError;
use crate::http::{Response, Transport};
use crate::settings::{Auth, Secret, Settings};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
pub use challenge::{Challenge, challenges};
use docker::Entry;
use hyper::header::HeaderValue;
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

/// Credentials for a registry, or why there are none.
struct Lookup {
    auth: Option<Auth>,
    problem: Option<Arc<RegistryError>>,
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
        let found = find_credentials(settings, &endpoint.registry).await;
        (identity.given, identity.problem) = (found.auth.is_some(), found.problem.clone());
        let mut value = match (challenge, found.auth) {
            (Some(Challenge::Basic), Some(Auth::Password { username, password })) => {
                check_cleartext(transport, response, endpoint)?;
                basic(&username, &password)
            }
            (Some(Challenge::Bearer { .. }), Some(Auth::BearerToken(token))) => {
                check_cleartext(transport, response, endpoint)?;
                HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| {
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
                match token::fetch(transport, &response.origin, &wanted, auth).await {
                    Err(RegistryError::Unauthorized { image, host, given, message, source: _ }) => {
                        let source = found.problem;
                        return Err(RegistryError::Unauthorized { image, host, given, message, source });
                    }
                    token => token?,
                }
            }
            (Some(Challenge::Basic) | None, _) => {
                return Err(RegistryError::Unauthorized {
                    image: endpoint.repository.clone(),
                    host: endpoint.registry.clone(),
                    given: false,
                    message: String::new(),
                    source: found.problem,
                });
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
        RegistryError::Unauthorized {
            image: endpoint.repository.clone(),
            host: endpoint.registry.clone(),
            given: identity.given,
            message,
            source: identity.problem.clone(),
        }
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

fn basic(username: &str, password: &Secret) -> HeaderValue {
    let text = STANDARD.encode(format!("{username}:{}", password.expose()));
    HeaderValue::try_from(format!("Basic {text}")).expect("base64 is a header's value")
}

fn invalid_response(endpoint: &Endpoint, reason: String) -> RegistryError {
    let Endpoint { registry, repository: _ } = endpoint;
    RegistryError::InvalidResponse { host: registry.clone(), what: "a token".to_owned(), reason }
}

/// Looks for credentials: in the settings, then in docker's configuration. A failing helper is not fatal, as many
/// images need no credentials.
async fn find_credentials(settings: &Settings, registry: &str) -> Lookup {
    if let Some(auth) = settings.hosts.get(registry).and_then(|host| host.auth.clone()) {
        return Lookup { auth: Some(auth), problem: None };
    }
    let Some(path) = &settings.docker_config else { return Lookup { auth: None, problem: None } };
    let found = match docker::find(path, registry) {
        Ok(Entry::None) => Ok(None),
        Ok(Entry::Auth(auth)) => Ok(Some(auth)),
        Ok(Entry::Helper(name)) => {
            helper::run(&name, registry, docker::server_key(registry), settings.limits.helper).await
        }
        Err(error) => Err(error),
    };
    match found {
        Ok(auth) => Lookup { auth, problem: None },
        Err(error) => {
            tracing::debug!(%error, registry, "no credentials");
            Lookup { auth: None, problem: Some(Arc::new(error)) }
        }
    }
}

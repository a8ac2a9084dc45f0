//! Who we are at a registry: found when it asks, told to nobody else, kept for the requests that follow.

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

/// One repository in one registry, which may be a mirror of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The registry's name, as references and settings have it.
    pub registry: String,
    /// The image's name in it.
    pub repository: String,
}

/// What is known about us at one endpoint.
#[derive(Default)]
struct AuthState {
    authorization: Option<HeaderValue>,
    /// Whether credentials were used for it.
    given: bool,
    /// Why there were none.
    problem: Option<Arc<RegistryError>>,
}

/// All identities.
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

    /// What was found before.
    pub async fn current(&self, endpoint: &Endpoint) -> Option<HeaderValue> {
        self.at(endpoint).lock().await.authorization.clone()
    }

    /// What to send instead of what was refused. However many requests are refused at the same time, one of
    /// them asks.
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
                HeaderValue::try_from(format!("Bearer {}", token.expose()))
                    .map_err(|_| invalid_response(endpoint, "the token in its settings is none".to_owned()))?
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

    /// The error for a refusal that stays.
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

/// Over plain HTTP, credentials go only where the settings say that it is safe.
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

/// Looks for credentials: in the settings, then in docker's configuration. A helper that fails is no reason
/// not to try without: many images need none.
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

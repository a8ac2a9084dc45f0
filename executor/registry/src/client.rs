//! Requests to a registry and its mirrors, with authentication and retries.

use crate::auth::{AuthCache, Endpoint};
use crate::connect::Connector;
use crate::error::RegistryError;
use crate::host::{Origin, canonical, server_of};
use crate::http::{Request, Response, Transport};
use crate::settings::{Limits, Settings};
use crate::tls::Trust;
use hyper::{StatusCode, Uri};
use rules::reference::Reference;
use std::collections::BTreeMap;
use std::time::Duration;

/// The number of retries for an unreachable host.
const UNREACHABLE_RETRIES: u32 = 2;

/// A client with authentication.
pub struct Client {
    pub settings: Settings,
    transport: Transport,
    auth_cache: AuthCache,
}

impl Client {
    pub fn new(settings: Settings) -> Result<Self, RegistryError> {
        let Settings { hosts, docker_config, proxies, limits } = settings;
        let mut trust = Trust::new();
        let invalid = |host: &str| RegistryError::InvalidHost { host: host.to_owned() };
        let mut known = BTreeMap::new();
        for (name, host) in hosts {
            let url = format!("https://{}", server_of(&name)).parse::<Uri>().ok();
            let origin = url.as_ref().filter(|url| url.path() == "/").and_then(Origin::of);
            trust.add(&name, &origin.ok_or_else(|| invalid(&name))?, &host)?;
            for mirror in &host.mirrors {
                Endpoint::mirror(mirror, "x").ok_or_else(|| invalid(mirror))?;
            }
            known.insert(canonical(&name).to_owned(), host);
        }
        let transport = Transport::new(Connector::new(trust, &proxies, &limits), limits.clone());
        let settings = Settings { hosts: known, docker_config, proxies, limits };
        Ok(Self { settings, transport, auth_cache: AuthCache::default() })
    }

    /// The endpoints for an image, mirrors first.
    pub fn endpoints(&self, reference: &Reference) -> Vec<Endpoint> {
        let registry = canonical(reference.registry());
        let repository = reference.repository();
        let mirrors = self.settings.hosts.get(registry).into_iter().flat_map(|host| &host.mirrors);
        let own = Endpoint { registry: registry.to_owned(), repository: repository.to_owned() };
        mirrors.filter_map(|mirror| Endpoint::mirror(mirror, repository)).chain([own]).collect()
    }

    /// Sends a request with the authentication that the registry requires. Any status but 401 is returned.
    pub async fn get(
        &self,
        endpoint: &Endpoint,
        path: &str,
        mut request: Request,
    ) -> Result<Response, RegistryError> {
        let path = format!("/v2/{}/{path}", endpoint.repository);
        request.authorization = self.auth_cache.current(endpoint).await;
        let response = self.transport.request(&endpoint.registry, &path, &request).await?;
        // Credentials are the registry's alone, not those of a redirect's target.
        if response.status() != StatusCode::UNAUTHORIZED || response.host != response.origin.name() {
            return Ok(response);
        }
        let refused = (&response, request.authorization.as_ref());
        request.authorization =
            Some(self.auth_cache.authenticate(&self.transport, &self.settings, endpoint, refused).await?);
        let response = self.transport.request(&endpoint.registry, &path, &request).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let message = response.error_message().await;
            return Err(self.auth_cache.unauthorized(endpoint, message).await);
        }
        Ok(response)
    }

    /// The error for an unexpected status.
    pub async fn failure(&self, endpoint: &Endpoint, response: Response, image: &str) -> RegistryError {
        match response.status() {
            StatusCode::FORBIDDEN => {
                let message = response.error_message().await;
                self.auth_cache.unauthorized(endpoint, message).await
            }
            StatusCode::NOT_FOUND => {
                let (image, host) = (image.to_owned(), endpoint.registry.clone());
                RegistryError::NotFound { image, host, message: response.error_message().await }
            }
            _ => unexpected(response).await,
        }
    }
}

/// The error for a status that does not concern the image.
pub async fn unexpected(response: Response) -> RegistryError {
    let after = response.retry_after();
    let (host, what) = (response.host.clone(), response.what.clone());
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => RegistryError::TooManyRequests { host, after },
        status => {
            let status = status.as_u16();
            RegistryError::Status { host, what, status, message: response.error_message().await, after }
        }
    }
}

impl Endpoint {
    /// The endpoint of a mirror for a repository; `None` if the text names no host.
    fn mirror(text: &str, repository: &str) -> Option<Self> {
        let text = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
        let (registry, prefix) = text.split_once('/').unwrap_or((text, ""));
        let url: Uri = format!("https://{registry}").parse().ok()?;
        Origin::of(&url)?;
        let slash = if prefix.is_empty() { "" } else { "/" };
        let repository = format!("{prefix}{slash}{repository}");
        // References validate names.
        format!("{registry}/{repository}").parse::<Reference>().ok()?;
        Some(Self { registry: canonical(registry).to_owned(), repository })
    }
}

/// Retries with exponential backoff, then the next endpoint, until none is left.
pub struct Attempts<'a> {
    endpoints: &'a [Endpoint],
    limits: &'a Limits,
    failures: u32,
}

impl<'a> Attempts<'a> {
    pub fn new(endpoints: &'a [Endpoint], limits: &'a Limits) -> Self {
        Self { endpoints, limits, failures: 0 }
    }

    /// The current endpoint.
    pub fn endpoint(&self) -> &'a Endpoint {
        &self.endpoints[0]
    }

    /// Whether it is the last endpoint.
    fn is_last(&self) -> bool {
        self.endpoints.len() == 1
    }

    /// Resets the failure count after progress.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt; returns the error if there is none.
    pub async fn after(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        if error.is_local() {
            return Err(error);
        }
        let allowed = match (&error, self.is_last()) {
            (RegistryError::Unreachable { .. }, true) => self.limits.retries.min(UNREACHABLE_RETRIES),
            (_, true) => self.limits.retries,
            // A mirror is not worth a long wait, as the registry comes next.
            (_, false) => self.limits.retries.min(1),
        };
        let backoff = self.backoff(&error);
        if error.is_transient() && self.failures < allowed && backoff <= self.limits.backoff_max {
            self.failures += 1;
            tracing::debug!(%error, ?backoff, "trying again");
            tokio::time::sleep(backoff).await;
            return Ok(());
        }
        if self.is_last() {
            return Err(error);
        }
        tracing::warn!(%error, mirror = %self.endpoint().registry, "a mirror fails");
        (self.endpoints, self.failures) = (&self.endpoints[1..], 0);
        Ok(())
    }

    /// As long as the registry demands; else twice the last backoff, less a random part, so that many clients do not
    /// retry at the same moment.
    fn backoff(&self, error: &RegistryError) -> Duration {
        if let Some(after) = error.after() {
            return after;
        }
        let Limits { backoff, backoff_max, .. } = self.limits;
        let whole = backoff.saturating_mul(1 << self.failures.min(16)).min(*backoff_max);
        let random = getrandom::u32().unwrap_or_default() % 1000;
        whole.mul_f64(1.0 - f64::from(random) / 4000.0)
    }
}

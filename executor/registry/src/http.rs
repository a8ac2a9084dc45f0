//! HTTP requests: redirects, time limits, and the confinement of credentials.

use crate::connect::{ConnectError, Connector};
use crate::error::{Cause, RegistryError, causes};
use crate::host::{self, Origin, Scheme, redirected, server_of};
use crate::settings::Limits;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response as HttpResponse, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The limit of consecutive redirects.
const REDIRECTS_MAX: usize = 8;
/// The part of an error response that is read, in bytes at most.
const ERROR_BODY_BYTES_MAX: u64 = 16 * 1024;
/// The bytes that must arrive within each idle timeout.
const PACE_BYTES: usize = 64 * 1024;
/// The `User-Agent` header.
const USER_AGENT: &str = concat!("msb/", env!("CARGO_PKG_VERSION"));

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method; `GET` by default.
    pub method: Method,
    /// Additional headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The `Authorization` header, for the first origin alone.
    pub authorization: Option<HeaderValue>,
    /// The body.
    pub body: Bytes,
    /// The requested document, for errors.
    pub what: String,
}

/// A response whose body is not read yet.
pub struct Response {
    /// The origin of the request.
    pub origin: Origin,
    /// The host that responded, after redirects.
    pub host: String,
    response: HttpResponse<Incoming>,
    /// The requested document.
    pub what: String,
    idle_timeout: Duration,
}

/// Sends requests.
pub struct Transport {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
    limits: Limits,
    /// The scheme that was detected for hosts that allow both.
    schemes: Mutex<HashMap<String, Scheme>>,
}

impl Transport {
    pub fn new(connector: Connector, limits: Limits) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(connector.clone());
        Self { client, connector, limits, schemes: Mutex::default() }
    }

    /// Whether credentials may be sent to an origin: over TLS, or if the settings allow plain HTTP.
    pub fn may_see_credentials(&self, origin: &Origin) -> bool {
        origin.scheme == Scheme::Https || self.is_insecure(origin)
    }

    fn is_insecure(&self, origin: &Origin) -> bool {
        let trust = &self.connector.trust;
        trust.allows_plain_http(&origin.host, origin.port) == Some(true)
            // The host's port for plain HTTP belongs to it as well.
            || origin.port == 80 && trust.allows_plain_http(&origin.host, 443) == Some(true)
    }

    /// Sends a request to a registry. If plain HTTP is allowed, TLS is tried first, as docker does.
    pub async fn request(
        &self,
        registry: &str,
        path: &str,
        request: &Request,
    ) -> Result<Response, RegistryError> {
        let server = server_of(registry);
        let url = |scheme: &str| {
            let url = format!("{scheme}://{server}{path}").parse::<Uri>();
            url.map_err(|_| RegistryError::InvalidHost { host: registry.to_owned() })
        };
        let known = self.schemes.lock().unwrap_or_else(PoisonError::into_inner).get(registry).copied();
        if known == Some(Scheme::Http) {
            return self.send(url("http")?, request).await;
        }
        let secure = url("https")?;
        let origin =
            Origin::of(&secure).ok_or_else(|| RegistryError::InvalidHost { host: registry.to_owned() })?;
        let response = self.send(secure.clone(), request).await;
        let setting = self.connector.trust.allows_plain_http(&origin.host, origin.port);
        let may_be_plain = self.is_insecure(&origin) || host::is_loopback(&origin.host) && setting.is_none();
        let is_plain = match &response {
            Err(RegistryError::PlainHttp { .. }) => true,
            // Nothing listens at the port of TLS; the other port may work.
            Err(RegistryError::Unreachable { .. } | RegistryError::Proxy { .. }) => {
                known.is_none() && secure.port().is_none()
            }
            _ => false,
        };
        let (scheme, response) = if is_plain && may_be_plain && known.is_none() {
            match self.send(url("http")?, request).await {
                Err(RegistryError::Unreachable { .. } | RegistryError::Proxy { .. }) => return response,
                plain => (Scheme::Http, plain),
            }
        } else {
            (Scheme::Https, response)
        };
        if response.is_ok() {
            self.schemes.lock().unwrap_or_else(PoisonError::into_inner).insert(registry.to_owned(), scheme);
        }
        response
    }

    /// Sends a request and follows redirects. The authorization is dropped when the origin changes. A request with a
    /// body is not redirected.
    pub async fn send(&self, uri: Uri, request: &Request) -> Result<Response, RegistryError> {
        let Some(first) = Origin::of(&uri) else {
            return Err(RegistryError::InvalidHost { host: host::sanitize(&uri.to_string()) });
        };
        let (mut uri, mut origin) = (uri, first.clone());
        let mut authorization = request.authorization.as_ref();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send_once(&uri, &origin, request, authorization).await?;
            let status = response.status();
            let location = response.headers().get(header::LOCATION).filter(|_| {
                matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) && request.body.is_empty()
            });
            let Some(location) = location else {
                let (host, what) = (origin.name(), request.what.clone());
                let idle_timeout = self.limits.idle_timeout;
                return Ok(Response { origin: first, host, response, what, idle_timeout });
            };
            let refused =
                |reason: &str| RegistryError::Redirect { host: origin.name(), reason: reason.to_owned() };
            let location = location.to_str().map_err(|_| refused("its address is not text"))?;
            let next = redirected(&uri, location)?;
            let next_origin = Origin::of(&next).ok_or_else(|| refused("it does not lead to a server"))?;
            let falls = (origin.scheme, next_origin.scheme) == (Scheme::Https, Scheme::Http);
            if falls && !self.is_insecure(&next_origin) {
                return Err(refused(&format!("it leads from TLS to plain HTTP at {}", next_origin.name())));
            }
            if next_origin != origin {
                authorization = None;
            }
            (uri, origin) = (next, next_origin);
        }
        let reason = format!("it follows {REDIRECTS_MAX} others");
        Err(RegistryError::Redirect { host: first.name(), reason })
    }

    async fn send_once(
        &self,
        uri: &Uri,
        origin: &Origin,
        request: &Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<HttpResponse<Incoming>, RegistryError> {
        let mut message = hyper::Request::new(Full::new(request.body.clone()));
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = uri.clone();
        let headers = message.headers_mut();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        // Sizes and digests are those of the bytes on the wire.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in &request.headers {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.clone());
        }
        if let Some(value) = self.connector.proxy_authorization(uri) {
            headers.insert(header::PROXY_AUTHORIZATION, value);
        }
        let limit = self.limits.connect.saturating_mul(2).saturating_add(self.limits.idle_timeout);
        match tokio::time::timeout(limit, self.client.request(message)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                Err(match causes(&error).find_map(|error| error.downcast_ref::<ConnectError>()) {
                    Some(error) => error.clone().into_registry_error(origin.name()),
                    None => dropped(origin.name(), &request.what, &error),
                })
            }
            Err(elapsed) => Err(dropped(origin.name(), &request.what, &elapsed)),
        }
    }
}

impl Response {
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The `Content-Length`, if there is a valid one.
    pub fn length(&self) -> Option<u64> {
        self.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The `Retry-After`, if there is a valid one.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.headers().get(header::RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
    }

    /// The body, in chunks.
    pub fn body(self) -> Body {
        let Self { origin: _, host, response, what, idle_timeout } = self;
        Body { host, what, incoming: response.into_body(), idle_timeout, pace: Pace::default() }
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// If it has more than `limit` bytes, or the connection fails.
    pub async fn read(self, limit: u64) -> Result<Bytes, RegistryError> {
        let too_large = |host: String, what: String| RegistryError::TooLarge { host, what, limit };
        if self.length().is_some_and(|length| length > limit) {
            return Err(too_large(self.host, self.what));
        }
        let mut body = self.body();
        let mut bytes = Vec::new();
        while let Some(chunk) = body.chunk().await? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_large(body.host, body.what));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }

    /// The message in an error response, sanitized; empty if there is none.
    pub async fn error_message(self) -> String {
        #[derive(serde::Deserialize)]
        struct ErrorBody {
            #[serde(default)]
            errors: Vec<ErrorEntry>,
            #[serde(default)]
            details: String,
        }
        #[derive(serde::Deserialize)]
        struct ErrorEntry {
            #[serde(default)]
            message: String,
        }
        let Ok(bytes) = self.read(ERROR_BODY_BYTES_MAX).await else { return String::new() };
        let Ok(ErrorBody { errors, details }) = serde_json::from_slice(&bytes) else {
            return String::new();
        };
        let messages = errors.into_iter().map(|error| error.message).chain([details]);
        let messages: Vec<String> = messages.filter(|message| !message.is_empty()).collect();
        host::sanitize(&messages.join("; "))
    }
}

/// Parses `Retry-After`: seconds, or a date. `None` if it is neither.
pub fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(SystemTime::from(until).duration_since(now).unwrap_or_default())
}

/// The body of a response.
pub struct Body {
    host: String,
    what: String,
    incoming: Incoming,
    idle_timeout: Duration,
    pace: Pace,
}

/// The time that the other side took for its last bytes, without the time of local work.
#[derive(Default)]
struct Pace {
    bytes: usize,
    spent: Duration,
}

impl Body {
    /// The next chunk; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let begun = Instant::now();
            let left = self.idle_timeout.saturating_sub(self.pace.spent);
            let frame = match tokio::time::timeout(left, self.incoming.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(dropped(self.host.clone(), &self.what, &error)),
                Ok(None) => return Ok(None),
                Err(_) => {
                    let text = format!("less than {} KiB came in {:?}", PACE_BYTES / 1024, self.idle_timeout);
                    let error = io::Error::new(io::ErrorKind::TimedOut, text);
                    return Err(dropped(self.host.clone(), &self.what, &error));
                }
            };
            self.pace.spent += begun.elapsed();
            // Trailers are not needed.
            let Ok(bytes) = frame.into_data() else { continue };
            self.pace.bytes += bytes.len();
            if self.pace.bytes >= PACE_BYTES {
                self.pace = Pace::default();
            }
            return Ok(Some(bytes));
        }
    }
}

/// The error for a lost connection. Only the innermost cause is useful to the user.
fn dropped(host: String, what: &str, error: &(dyn Error + 'static)) -> RegistryError {
    let last = causes(error).last().unwrap_or(error);
    let source: Cause = Arc::new(io::Error::other(last.to_string()));
    RegistryError::Disconnected { host, what: what.to_owned(), source }
}

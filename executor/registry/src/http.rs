//! Requests and answers: redirects, time limits, and who may see the credentials.

use crate::connect::{ConnectError, Connector};
use crate::error::{Cause, RegistryError};
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
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How many redirects are followed, one after the other.
const REDIRECTS_MAX: usize = 8;
/// How much of an answer is read that only explains a failure, in bytes.
const ERROR_BODY_BYTES_MAX: u64 = 16 * 1024;
/// So much must come within the time that a registry may be silent, in bytes.
const PACE_BYTES: usize = 64 * 1024;
/// How we call ourselves.
const USER_AGENT: &str = concat!("msb/", env!("CARGO_PKG_VERSION"));

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET` unless something else is said.
    pub method: Method,
    /// More than the usual headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What only this host may see.
    pub authorization: Option<HeaderValue>,
    /// Sent along.
    pub body: Bytes,
    /// What it is, for errors.
    pub what: String,
}

/// What came back, its body not read yet.
pub struct Response {
    /// Who was asked first.
    pub origin: Origin,
    /// Who answered in the end.
    pub host: String,
    response: HttpResponse<Incoming>,
    what: String,
    idle_timeout: Duration,
}

/// Sends requests.
pub struct Transport {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
    limits: Limits,
    /// Hosts that may be spoken to in plain HTTP, with their ports.
    insecure: Vec<(String, u16)>,
    /// Hosts that may not, although they are this machine.
    secure: Vec<(String, u16)>,
    /// What was found out about those that may be either.
    schemes: Mutex<HashMap<String, Scheme>>,
}

impl Transport {
    pub fn new(
        connector: Connector,
        limits: Limits,
        insecure: Vec<(String, u16)>,
        secure: Vec<(String, u16)>,
    ) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(connector.clone());
        Self { client, connector, limits, insecure, secure, schemes: Mutex::default() }
    }

    /// Whether credentials may go to an origin: over TLS, or where the settings say that it is safe.
    pub fn may_see_credentials(&self, origin: &Origin) -> bool {
        origin.scheme == Scheme::Https || self.is_insecure(origin)
    }

    fn is_insecure(&self, origin: &Origin) -> bool {
        self.insecure.iter().any(|(host, port)| *host == origin.host && *port == origin.port)
            // Its usual port of plain HTTP belongs to the same host.
            || origin.port == 80 && self.insecure.iter().any(|(host, port)| *host == origin.host && *port == 443)
    }

    /// Asks a registry. One that may be spoken to in plain HTTP is asked over TLS first, as docker does.
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
        let ports = &self.secure;
        let must_be_secure = ports.iter().any(|(host, port)| *host == origin.host && *port == origin.port);
        let may_be_plain = self.is_insecure(&origin) || origin.is_loopback() && !must_be_secure;
        let is_plain = match &response {
            Err(RegistryError::PlainHttp { .. }) => true,
            // Nobody at the port of TLS, perhaps at the other.
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

    /// Sends a request and follows redirects, which never see its authorization unless they stay where it
    /// was meant for. A request with a body is not redirected.
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
                return Ok(Response {
                    origin: first,
                    host,
                    response,
                    what,
                    idle_timeout: self.limits.idle_timeout,
                });
            };
            let refused =
                |reason: &str| RegistryError::Redirect { host: origin.name(), reason: reason.to_owned() };
            let location = location.to_str().map_err(|_| refused("its address is no text"))?;
            let next = redirected(&uri, location)?;
            let next_origin = Origin::of(&next).ok_or_else(|| refused("it leads to no server"))?;
            let falls = (origin.scheme, next_origin.scheme) == (Scheme::Https, Scheme::Http);
            if falls && !self.is_insecure(&next_origin) {
                return Err(refused(&format!("it leads from TLS to plain HTTP at {}", next_origin.name())));
            }
            if next_origin != origin {
                authorization = None;
            }
            (uri, origin) = (next, next_origin);
        }
        let reason = format!("there were {REDIRECTS_MAX} before it");
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
        // What is hashed and measured is what is sent.
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
            Ok(Err(error)) => Err(match connect_error(&error) {
                Some(error) => error.into_registry_error(origin.name()),
                None => dropped(origin.name(), &request.what, &error),
            }),
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

    /// What was asked for.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// How long the body says it is.
    pub fn length(&self) -> Option<u64> {
        self.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// How long the host asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.headers().get(header::RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
    }

    /// The body, a chunk at a time.
    pub fn body(self) -> Body {
        let Self { origin: _, host, response, what, idle_timeout } = self;
        Body { host, what, incoming: response.into_body(), idle_timeout, pace: Pace::default() }
    }

    /// The whole body, which may have so many bytes.
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

    /// What a registry says about a failure, as far as it can be shown.
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

/// Parses `Retry-After`: a number of seconds, or the moment to wait for. `None` if it is neither.
pub fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(SystemTime::from(until).duration_since(now).unwrap_or_default())
}

/// A body that is read.
pub struct Body {
    host: String,
    what: String,
    incoming: Incoming,
    idle_timeout: Duration,
    pace: Pace,
}

/// How long the other side took over what it sent last. What we do in between is not its fault.
#[derive(Default)]
struct Pace {
    bytes: usize,
    spent: Duration,
}

impl Body {
    /// The next bytes; nothing at the end.
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
            // Trailers say nothing that is needed.
            let Ok(bytes) = frame.into_data() else { continue };
            self.pace.bytes += bytes.len();
            if self.pace.bytes >= PACE_BYTES {
                self.pace = Pace::default();
            }
            return Ok(Some(bytes));
        }
    }
}

/// What the connector said, where it is the connection that failed.
fn connect_error(error: &(dyn std::error::Error + 'static)) -> Option<ConnectError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return Some(error.clone());
        }
        cause = error.source();
    }
    None
}

/// A connection that ended too early. The client's own layers say nothing to the user; the last cause does.
fn dropped(host: String, what: &str, error: &(dyn std::error::Error + 'static)) -> RegistryError {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    let source: Cause = Arc::new(io::Error::other(last.to_string()));
    RegistryError::Dropped { host, what: what.to_owned(), source }
}

//! One request and its response.

use super::activity::{Activity, Entered, Receiving};
use super::answer::{Form, Refusal, answer};
use super::body::{Body, BoxError, BufferError, Trailers, buffer};
use super::headers::{Hop, add_hop, is_bodyless, take_hop};
use super::{Destination, HttpVersion, Outcome, host};
use crate::event::{BadRequest, Event, Reason};
use crate::rules::{Current, Requested, Shared};
use crate::substitute::{BodyPlan, Substitution, Violation, is_bufferable};
use crate::upstream::UpstreamError;
use ::rules::rule::DomainName;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// The time that the end of a connection has to be noticed, after a request on it failed.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(1);
/// The buffer of each direction of an upgraded connection.
const COPY_BYTES: usize = 32 * 1024;

/// Sends requests to the server of a connection.
pub(super) enum Client {
    Http1(tokio::sync::Mutex<http1::SendRequest<Body>>),
    Http2(http2::SendRequest<Body>),
    /// The server cannot be used.
    Failed(UpstreamError),
}

impl Client {
    pub(super) fn http1(sender: http1::SendRequest<Body>) -> Self {
        Self::Http1(tokio::sync::Mutex::new(sender))
    }
}

/// The exchanges of a connection.
pub(super) struct Exchange {
    shared: Arc<Shared>,
    destination: Destination,
    version: HttpVersion,
    client: Client,
    outcome: Outcome,
    activity: Activity,
    prepared: Mutex<Option<Prepared>>,
}

/// The secrets of the last request, which are those of the next one unless the rules change.
struct Prepared {
    current: Arc<Current>,
    requested: Option<DomainName>,
    substitution: Arc<Substitution>,
}

/// The reason why a request has no response.
enum Failure {
    /// The guest gets an answer that says so.
    Refused(Refusal),
    /// The guest's request fails as it failed at the server: the stream is reset, or the connection ends.
    Aborted(BoxError),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Refused(Refusal::Reason(reason))
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        Self::Refused(Refusal::Upstream(error))
    }
}

/// A request that is on its way.
struct Sent {
    /// The number of requests of the connection before it.
    before: u64,
    /// Set when its body contains a placeholder that may not be sent.
    violation: Arc<OnceLock<Violation>>,
    /// The host, for events.
    host: String,
}

impl Exchange {
    pub(super) fn new(
        shared: Arc<Shared>,
        destination: Destination,
        version: HttpVersion,
        client: Client,
        outcome: Outcome,
    ) -> Self {
        let (activity, prepared) = (Activity::new(), Mutex::default());
        Self { shared, destination, version, client, outcome, activity, prepared }
    }

    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Answers a request of the guest. An error ends its stream, or in HTTP/1 the connection.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        entered: Entered,
    ) -> Result<Response<Body>, BoxError> {
        let Entered { in_flight, receiving, before } = entered;
        let form = Form::of(request.headers());
        let method = request.method().clone();
        let response = match self.forward(request, receiving, before).await {
            Ok(response) => response,
            Err(Failure::Aborted(error)) => return Err(error),
            Err(Failure::Refused(refusal)) => {
                let response = answer(&refusal, form);
                self.report(refusal, method);
                response
            }
        };
        Ok(response.map(|body| body.with(in_flight)))
    }

    fn report(&self, refusal: Refusal, method: Method) {
        let host = self.destination.text();
        self.shared.events.send(match refusal {
            Refusal::Violation { violation, host } => Event::Violation { violation, host, method },
            Refusal::Reason(reason) => Event::Refused { host, reason },
            Refusal::Upstream(reason) => {
                Event::UpstreamFailed { host, remote: self.destination.remote, reason }
            }
        });
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
        receiving: Option<Receiving>,
        before: u64,
    ) -> Result<Response<Body>, Failure> {
        if let Client::Failed(error) = &self.client {
            return Err(error.clone().into());
        }
        if request.method() == Method::CONNECT {
            return Err(Reason::Connect.into());
        }
        let upgrade = hyper::upgrade::on(&mut request);
        let (mut parts, incoming) = request.into_parts();
        let requested = host::check(&parts, &self.destination)?;
        let hop = take_hop(&mut parts.headers, parts.version)
            .map_err(|unknown| Reason::Request(BadRequest::from(unknown)))?;
        let substitution = self.substitution(requested.as_ref());
        let host = requested.map_or_else(|| self.destination.text(), |name| name.to_string());
        let sent = Sent { before, violation: Arc::default(), host };
        let refused = |violation| Refusal::Violation { violation, host: sent.host.clone() };
        if !substitution.is_empty() {
            substitution
                .request_head(&mut parts)
                .map_err(|violation| Failure::Refused(refused(violation)))?;
        }
        let body = self.request_body(&mut parts, incoming, &substitution, &sent).await?;
        let body = body.receiving(receiving);
        let is_head = parts.method == Method::HEAD;
        let upgrade = (hop.upgrade && self.version == HttpVersion::Http1).then_some(upgrade);
        self.prepare_head(&mut parts, &hop, &body);
        let response = self.send(Request::from_parts(parts, body), &sent).await?;
        self.response(response, &substitution, is_head, upgrade).await
    }

    /// Makes the head of a request fit for the server.
    fn prepare_head(&self, parts: &mut Parts, hop: &Hop, body: &Body) {
        match self.version {
            HttpVersion::Http1 => {
                // The answer of the server is converted for an older client.
                parts.version = Version::HTTP_11;
                if parts.uri.authority().is_some()
                    && let Some(origin) = parts.uri.path_and_query()
                {
                    parts.uri = Uri::from(origin.clone());
                }
                add_hop(&mut parts.headers, hop);
                if !body.is_end_stream() && !parts.headers.contains_key(CONTENT_LENGTH) {
                    // Otherwise, hyper omits the body of a GET.
                    parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
            }
            HttpVersion::Http2 => {
                parts.version = Version::HTTP_2;
                if parts.uri.authority().is_none()
                    && let Some(field) = parts.headers.get(http::header::HOST)
                    && let Ok(authority) = http::uri::Authority::try_from(field.as_bytes())
                {
                    let mut uri = std::mem::take(&mut parts.uri).into_parts();
                    uri.authority = Some(authority);
                    uri.scheme.get_or_insert(match self.destination.sni {
                        Some(_) => http::uri::Scheme::HTTPS,
                        None => http::uri::Scheme::HTTP,
                    });
                    parts.uri = Uri::from_parts(uri).unwrap_or_default();
                }
            }
        }
    }

    /// The secrets for a request.
    fn substitution(&self, requested: Option<&DomainName>) -> Arc<Substitution> {
        let current = self.shared.current();
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prepared) = &*prepared
            && Arc::ptr_eq(&prepared.current, &current)
            && prepared.requested.as_ref() == requested
        {
            return Arc::clone(&prepared.substitution);
        }
        let substitution = current.substitution(&Requested {
            name: requested.cloned(),
            is_verified: requested.is_some_and(|name| self.destination.names.contains(name)),
            tls: self.destination.sni.is_some(),
        });
        *prepared = Some(Prepared {
            current,
            requested: requested.cloned(),
            substitution: Arc::clone(&substitution),
        });
        substitution
    }

    async fn request_body(
        &self,
        parts: &mut Parts,
        incoming: Incoming,
        substitution: &Arc<Substitution>,
        sent: &Sent,
    ) -> Result<Body, Failure> {
        if incoming.is_end_stream() {
            return Ok(Body::forwarded(incoming, None));
        }
        if substitution.is_empty() {
            return Ok(Body::forwarded(incoming, None));
        }
        let trailers = Trailers::Request(Arc::clone(substitution), Arc::clone(&sent.violation));
        let replacer = match substitution.request_body(&parts.headers) {
            BodyPlan::Unchanged => return Ok(Body::forwarded(incoming, Some(trailers))),
            BodyPlan::Scan(replacer) => return Ok(Body::replaced(incoming, replacer, trailers, true)),
            BodyPlan::Replace(replacer) => replacer,
        };
        if !is_bufferable(&parts.headers) {
            parts.headers.remove(CONTENT_LENGTH);
            return Ok(Body::replaced(incoming, replacer, trailers, false));
        }
        let (body, length) = buffer(incoming, replacer, trailers).await.map_err(|error| match error {
            BufferError::Violation(violation) => {
                Failure::Refused(Refusal::Violation { violation, host: sent.host.clone() })
            }
            BufferError::Timeout => Reason::Stalled.into(),
            BufferError::Incoming(error) => Failure::Aborted(error.into()),
            BufferError::TooLong => Failure::Aborted("the body is longer than its length".into()),
        })?;
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        Ok(body)
    }

    async fn send(&self, request: Request<Body>, sent: &Sent) -> Result<Response<Incoming>, Failure> {
        let result = match &self.client {
            Client::Http1(sender) => {
                // Requests come one after the other. The lock is free, except after a request that was cancelled.
                let mut sender = sender.lock().await;
                if sender.ready().await.is_err() {
                    return Err(self.unsent(sent).await);
                }
                let response = sender.try_send_request(request);
                drop(sender);
                response.await
            }
            Client::Http2(sender) => {
                let mut sender = sender.clone();
                if sender.ready().await.is_err() {
                    return Err(self.unsent(sent).await);
                }
                sender.try_send_request(request).await
            }
            Client::Failed(error) => return Err(error.clone().into()),
        };
        match result {
            Ok(response) => Ok(response),
            Err(error) => Err(self.failure(error, sent).await),
        }
    }

    /// The failure of a request that the server has not seen.
    async fn unsent(&self, sent: &Sent) -> Failure {
        if sent.before > 0 {
            // As without the proxy: clients repeat a request when a connection that they kept has ended.
            return Failure::Aborted(h2::Error::from(h2::Reason::REFUSED_STREAM).into());
        }
        self.ended(sent).await.into()
    }

    /// The reason why the connection with the server ended.
    async fn ended(&self, sent: &Sent) -> UpstreamError {
        let _ = tokio::time::timeout(OUTCOME_TIMEOUT, self.outcome.ended()).await;
        match self.outcome.error() {
            Some(error) if error != UpstreamError::Closed => error,
            _ if sent.before == 0 && self.outcome.certificate_requested => {
                UpstreamError::ClientCertificate { host: self.destination.text() }
            }
            _ => UpstreamError::Closed,
        }
    }

    async fn failure(&self, mut error: TrySendError<Request<Body>>, sent: &Sent) -> Failure {
        if let Some(violation) = sent.violation.get() {
            let (violation, host) = (violation.clone(), sent.host.clone());
            return Failure::Refused(Refusal::Violation { violation, host });
        }
        if error.take_message().is_some() {
            return self.unsent(sent).await;
        }
        let error = error.into_error();
        if is_reset(&error) || error.is_user() {
            return Failure::Aborted(error.into());
        }
        if sent.before > 0 && self.version == HttpVersion::Http1 && !error.is_parse() {
            // As without the proxy: the client decides whether it repeats the request.
            return Failure::Aborted(error.into());
        }
        match UpstreamError::of_exchange(&self.destination.text(), &error) {
            UpstreamError::Closed => self.ended(sent).await.into(),
            reason => reason.into(),
        }
    }

    async fn response(
        &self,
        mut response: Response<Incoming>,
        substitution: &Arc<Substitution>,
        is_head: bool,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response<Body>, Failure> {
        let upstream = hyper::upgrade::on(&mut response);
        let (mut parts, incoming) = response.into_parts();
        let hop = take_hop(&mut parts.headers, parts.version).map_err(|_| UpstreamError::Answer {
            problem: "its Transfer-Encoding is not `chunked`".to_owned(),
        })?;
        if !substitution.is_empty() {
            substitution.response_head(&mut parts);
        }
        if self.version == HttpVersion::Http1 {
            parts.version = Version::HTTP_11;
            add_hop(&mut parts.headers, &hop);
        }
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            let Some(guest) = upgrade.filter(|_| hop.upgrade) else {
                let problem = "it changes the protocol, which the request did not ask for".to_owned();
                return Err(UpstreamError::Answer { problem }.into());
            };
            self.activity.upgrade();
            tokio::spawn(copy_upgraded(guest, upstream));
            return Ok(Response::from_parts(parts, Body::forwarded(incoming, None)));
        }
        let bodyless = is_head || is_bodyless(parts.status) || incoming.is_end_stream();
        if bodyless || substitution.is_empty() {
            return Ok(Response::from_parts(parts, Body::forwarded(incoming, None)));
        }
        let trailers = Trailers::Response(Arc::clone(substitution));
        let Some(replacer) = substitution.response_body(&parts.headers) else {
            return Ok(Response::from_parts(parts, Body::forwarded(incoming, Some(trailers))));
        };
        let body = if parts.headers.contains_key(CONTENT_RANGE) {
            // Masks of ranges have the length of the value.
            Body::replaced(incoming, replacer, trailers, true)
        } else if is_bufferable(&parts.headers) {
            let (body, length) = buffer(incoming, replacer, trailers).await.map_err(|error| {
                let problem = match error {
                    BufferError::Incoming(error) if is_reset(&error) => {
                        return Failure::Aborted(error.into());
                    }
                    BufferError::Timeout => "its body stopped arriving",
                    _ => "its body ends too early",
                };
                UpstreamError::Answer { problem: problem.to_owned() }.into()
            })?;
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            body
        } else {
            parts.headers.remove(CONTENT_LENGTH);
            Body::replaced(incoming, replacer, trailers, false)
        };
        Ok(Response::from_parts(parts, body))
    }
}

/// Returns whether the server reset a stream of HTTP/2.
fn is_reset(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_reset() && error.is_remote();
        }
        source = error.source();
    }
    false
}

/// Copies both ways after a change to another protocol.
async fn copy_upgraded(guest: OnUpgrade, upstream: OnUpgrade) {
    let (Ok(guest), Ok(upstream)) = tokio::join!(guest, upstream) else { return };
    let (mut guest, mut upstream) = (TokioIo::new(guest), TokioIo::new(upstream));
    let copied =
        tokio::io::copy_bidirectional_with_sizes(&mut guest, &mut upstream, COPY_BYTES, COPY_BYTES).await;
    if let Err(error) = copied {
        tracing::debug!(%error, "an upgraded connection ended");
    }
}

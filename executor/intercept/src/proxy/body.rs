//! Bodies on their way: as they come, or searched and replaced.

use super::activity::{InFlight, Receiving};
use crate::substitute::{BUFFERED_BODY_MAX, Replacer, Substitution, Violation};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The bytes that a body grows by in one step, through values that are longer than their placeholders.
const STEP_BYTES: usize = 64 * 1024;
/// The time that a part of a body may take that is buffered.
const PART_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a request to a server, or of a response to the guest.
pub(super) struct Body {
    kind: Kind,
    in_flight: Option<InFlight>,
    receiving: Option<Receiving>,
}

enum Kind {
    Whole(Option<Bytes>),
    Forwarded { incoming: Incoming, trailers: Option<Trailers> },
    Replaced(Box<Replaced>),
}

/// A body that is replaced as it comes.
struct Replaced {
    /// The sender; `None` for a body that is buffered already.
    incoming: Option<Incoming>,
    /// `None` after the last bytes.
    replacer: Option<Replacer>,
    trailers: Trailers,
    /// Bytes that are not replaced yet.
    input: Bytes,
    /// The trailers, which follow the last bytes.
    last: Option<HeaderMap>,
    out: BytesMut,
    /// The number of bytes that are to come, if that is known.
    remaining: Option<u64>,
}

/// The treatment of the trailers of a message.
pub(super) enum Trailers {
    /// Those of a request. A violation is noted.
    Request(Arc<Substitution>, Arc<OnceLock<Violation>>),
    /// Those of a response.
    Response(Arc<Substitution>),
}

impl Trailers {
    fn substitute(&self, mut trailers: HeaderMap) -> Result<HeaderMap, Violation> {
        match self {
            Self::Request(substitution, found) => {
                substitution.request_trailers(&mut trailers).map_err(|violation| note(found, violation))?;
            }
            Self::Response(substitution) => substitution.response_trailers(&mut trailers),
        }
        Ok(trailers)
    }

    fn note(&self, violation: Violation) -> Violation {
        match self {
            Self::Request(_, found) => note(found, violation),
            Self::Response(_) => violation,
        }
    }
}

fn note(found: &OnceLock<Violation>, violation: Violation) -> Violation {
    found.get_or_init(|| violation).clone()
}

/// The body of a request contains a placeholder that may not be sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(Violation);

impl Body {
    /// A body in memory.
    pub(super) fn whole(data: Bytes) -> Self {
        Self { kind: Kind::Whole((!data.is_empty()).then_some(data)), in_flight: None, receiving: None }
    }

    /// A body that passes unchanged, except for trailers.
    pub(super) fn forwarded(incoming: Incoming, trailers: Option<Trailers>) -> Self {
        Self { kind: Kind::Forwarded { incoming, trailers }, in_flight: None, receiving: None }
    }

    /// A body that is replaced as it comes, and may change its length or not.
    pub(super) fn replaced(
        incoming: Incoming,
        replacer: Replacer,
        trailers: Trailers,
        keeps_length: bool,
    ) -> Self {
        let remaining = if keeps_length { incoming.size_hint().exact() } else { None };
        let replaced = Replaced {
            incoming: Some(incoming),
            replacer: Some(replacer),
            trailers,
            input: Bytes::new(),
            last: None,
            out: BytesMut::new(),
            remaining,
        };
        Self { kind: Kind::Replaced(Box::new(replaced)), in_flight: None, receiving: None }
    }

    /// Makes the request count as incomplete until the body is dropped.
    pub(super) fn receiving(mut self, receiving: Option<Receiving>) -> Self {
        self.receiving = receiving;
        self
    }

    /// Makes the request count as in flight until the body is dropped.
    pub(super) fn with(mut self, in_flight: InFlight) -> Self {
        self.in_flight = Some(in_flight);
        self
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.kind {
            Kind::Whole(data) => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Kind::Forwarded { incoming, trailers } => {
                let frame = match ready!(Pin::new(incoming).poll_frame(context)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    Some(Ok(frame)) => frame,
                };
                let frame = match (frame.into_trailers(), trailers) {
                    (Ok(found), Some(trailers)) => match trailers.substitute(found) {
                        Ok(found) => Frame::trailers(found),
                        Err(violation) => return Poll::Ready(Some(Err(Refused(violation).into()))),
                    },
                    (Ok(found), None) => Frame::trailers(found),
                    (Err(frame), _) => frame,
                };
                Poll::Ready(Some(Ok(frame)))
            }
            Kind::Replaced(replaced) => replaced.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(data) => data.is_none(),
            Kind::Forwarded { incoming, .. } => incoming.is_end_stream(),
            Kind::Replaced(replaced) => replaced.replacer.is_none() && replaced.last.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(data) => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
            Kind::Forwarded { incoming, .. } => incoming.size_hint(),
            Kind::Replaced(replaced) => {
                replaced.remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}

impl Replaced {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if !self.out.is_empty() {
                let data = self.out.split().freeze();
                if let Some(remaining) = &mut self.remaining {
                    *remaining = remaining.saturating_sub(data.len() as u64);
                }
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            let Some(replacer) = self.replacer.as_mut() else {
                return Poll::Ready(self.last.take().map(|last| Ok(Frame::trailers(last))));
            };
            let step = if self.input.is_empty() {
                let frame = match &mut self.incoming {
                    None => None,
                    Some(incoming) => match ready!(Pin::new(incoming).poll_frame(context)) {
                        None => None,
                        Some(Ok(frame)) => Some(frame),
                        Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    },
                };
                self.take(frame)
            } else {
                replacer.push_bounded(&mut self.input, &mut self.out, STEP_BYTES)
            };
            if let Err(violation) = step {
                return Poll::Ready(Some(Err(Refused(self.trailers.note(violation)).into())));
            }
        }
    }

    /// Takes the next frame, or the end.
    fn take(&mut self, frame: Option<Frame<Bytes>>) -> Result<(), Violation> {
        match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.input = data;
                return Ok(());
            }
            Some(Err(frame)) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.last = Some(self.trailers.substitute(trailers)?);
                }
            }
            None => {}
        }
        match self.replacer.take() {
            Some(replacer) => replacer.finish(&mut self.out),
            None => Ok(()),
        }
    }
}

/// The reason why a body could not be buffered.
pub(super) enum BufferError {
    /// It contains a placeholder that may not be sent.
    Violation(Violation),
    /// Its sender failed.
    Incoming(hyper::Error),
    /// Its sender stalled.
    Timeout,
    /// It has more bytes than its length.
    TooLong,
}

impl From<Violation> for BufferError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// Buffers a body of at most [`BUFFERED_BODY_MAX`] bytes, to know its length after the replacement. Returns it with
/// that length.
pub(super) async fn buffer(
    mut incoming: Incoming,
    replacer: Replacer,
    trailers: Trailers,
) -> Result<(Body, u64), BufferError> {
    let mut input = BytesMut::new();
    let mut last = None;
    loop {
        let part = tokio::time::timeout(PART_TIMEOUT, incoming.frame()).await;
        let frame = match part.map_err(|_| BufferError::Timeout)? {
            None => break,
            Some(frame) => frame.map_err(BufferError::Incoming)?,
        };
        match frame.into_data() {
            Ok(data) => {
                if (input.len() + data.len()) as u64 > BUFFERED_BODY_MAX {
                    return Err(BufferError::TooLong);
                }
                input.extend_from_slice(&data);
            }
            Err(frame) => {
                if let Ok(found) = frame.into_trailers() {
                    last = Some(trailers.substitute(found)?);
                }
            }
        }
    }
    let length = replacer.replaced_length(&input)?;
    let replaced = Replaced {
        incoming: None,
        replacer: Some(replacer),
        trailers,
        input: input.freeze(),
        last,
        out: BytesMut::new(),
        remaining: Some(length),
    };
    Ok((Body { kind: Kind::Replaced(Box::new(replaced)), in_flight: None, receiving: None }, length))
}

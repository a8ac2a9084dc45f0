//! Pulls layers: several at once, each resumable, hashed while it arrives, and downloaded once for all who want it.

use crate::Registry;
use crate::auth::Endpoint;
use crate::client::{Attempts, Client};
use crate::error::RegistryError;
use crate::http::{Request, Response};
use crate::store;
use bytes::Bytes;
use executor_image::{BlobError, BlobWriter, Blobs, ImageError, Layer, OciImage};
use futures_util::{StreamExt, TryStreamExt, stream};
use hyper::StatusCode;
use hyper::header::{CONTENT_RANGE, HeaderValue, RANGE};
use rules::reference::Reference;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The number of chunks that may wait for the disk.
const CHUNKS_QUEUED: usize = 8;
/// The progress that resets the failure count, in bytes. It limits the retries against a registry that drops every
/// connection.
const PROGRESS_BYTES: u64 = 1024 * 1024;
/// The interval of progress reports.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// The progress of one layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerProgress<'a> {
    /// The layer.
    pub layer: &'a Layer,
    /// Its number, from 1.
    pub number: usize,
    /// The number of distinct layers of the image.
    pub of: usize,
    /// Its state.
    pub state: LayerState,
    /// The bytes that are in the store.
    pub bytes: u64,
}

/// The state of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// Another process pulls it.
    Waiting,
    /// It is being pulled.
    Pulling,
    /// It was in the store already, or another process has pulled it.
    Present,
    /// It was pulled and verified.
    Pulled,
}

/// The pull of one layer.
struct Pull<'a> {
    client: &'a Client,
    blobs: &'a Blobs,
    endpoints: &'a [Endpoint],
    image: &'a str,
    layer: &'a Layer,
    what: String,
    reporter: ProgressReporter<'a>,
}

/// Reports progress at a limited rate.
struct ProgressReporter<'a> {
    progress: &'a (dyn Fn(LayerProgress<'_>) + Sync),
    layer: &'a Layer,
    number: usize,
    of: usize,
    last: Mutex<Option<Instant>>,
}

impl Registry {
    /// Pulls all layers of an image into the store, several at once. `progress` is called at each change of state, and
    /// about twenty times a second for each layer in between.
    ///
    /// # Errors
    ///
    /// If no registry or mirror serves a layer with the right digest, or the store fails.
    pub async fn pull(
        &self,
        reference: &Reference,
        image: &OciImage,
        progress: &(dyn Fn(LayerProgress<'_>) + Sync),
    ) -> Result<(), RegistryError> {
        let Self { client, blobs } = self;
        let endpoints = client.endpoints(reference);
        let name = reference.to_string();
        let mut seen = BTreeSet::new();
        let layers: Vec<&Layer> = image.layers.iter().filter(|layer| seen.insert(&layer.digest)).collect();
        let of = layers.len();
        let pulls = layers.into_iter().enumerate().map(|(index, layer)| {
            let number = index + 1;
            let reporter = ProgressReporter { progress, layer, number, of, last: Mutex::default() };
            let what = format!("layer {number} of {of} ({})", layer.digest.short());
            let pull = Pull { client, blobs, endpoints: &endpoints, image: &name, layer, what, reporter };
            async move { pull.run().await }
        });
        let at_once = client.settings.limits.layers_at_once.max(1);
        stream::iter(pulls).buffer_unordered(at_once).try_collect::<()>().await
    }
}

impl Pull<'_> {
    async fn run(&self) -> Result<(), RegistryError> {
        let Layer { digest, size, compression: _, diff_id: _ } = self.layer;
        let mut attempts = Attempts::new(self.endpoints, &self.client.settings.limits);
        // Bytes of an earlier writer may be wrong; bytes of a complete download were not lost.
        let mut is_fresh = false;
        let mut best = None;
        loop {
            if self.blobs.path(digest).is_some() {
                self.reporter.report(LayerState::Present, *size);
                return Ok(());
            }
            let waiting = || self.reporter.report(LayerState::Waiting, 0);
            let mut writer =
                store::begin(self.blobs, digest, *size, waiting).await.map_err(self.store_error())?;
            if writer.is_complete() {
                self.reporter.report(LayerState::Present, *size);
                return Ok(());
            }
            let start = writer.offset();
            is_fresh |= start == 0;
            self.reporter.report(LayerState::Pulling, start);
            let mut result = Ok(());
            if start < *size {
                (writer, result) = self.attempt(attempts.endpoint(), writer).await?;
                if *best.get_or_insert(start) + PROGRESS_BYTES <= writer.offset() {
                    best = Some(writer.offset());
                    attempts.progressed();
                }
            }
            let host = || attempts.endpoint().registry.clone();
            let error = match result {
                Err(error) => error,
                Ok(()) => match store::blocking(move || writer.finish()).await {
                    Ok(_) => {
                        self.reporter.report(LayerState::Pulled, *size);
                        return Ok(());
                    }
                    Err(ImageError::Blob(BlobError::WrongDigest { .. })) if !is_fresh => {
                        is_fresh = true;
                        best = None;
                        continue;
                    }
                    Err(ImageError::Blob(BlobError::WrongDigest { digest, found })) => {
                        best = None;
                        let (expected, what) = (digest, format!("{} of {}", self.what, self.image));
                        RegistryError::WrongDigest { host: host(), what, expected, found }
                    }
                    Err(error) => self.store_error()(error),
                },
            };
            attempts.after(error).await?;
        }
    }

    /// Requests the missing bytes once. Whatever arrives stays in the blob.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        mut writer: BlobWriter,
    ) -> Result<(BlobWriter, Result<(), RegistryError>), RegistryError> {
        let mut response = match self.request_from(endpoint, writer.offset()).await {
            Ok(response) => response,
            Err(error) => return Ok((writer, Err(error))),
        };
        let mut response_start = response_start(&response);
        if response_start != Some(writer.offset()) && writer.offset() > 0 {
            let restarted = store::blocking(move || writer.restart().map(|()| writer)).await;
            writer = restarted.map_err(self.store_error())?;
            if response_start != Some(0) {
                response = match self.request_from(endpoint, 0).await {
                    Ok(response) => response,
                    Err(error) => return Ok((writer, Err(error))),
                };
                response_start = self::response_start(&response);
            }
        }
        if response_start != Some(writer.offset()) {
            let (host, what) = (response.host.clone(), self.what.clone());
            let reason = "the response has another range than requested".to_owned();
            return Ok((writer, Err(RegistryError::InvalidResponse { host, what, reason })));
        }
        let missing = writer.size() - writer.offset();
        if response.length().is_some_and(|length| length > missing) {
            let error = self.too_large(&response.host);
            return Ok((writer, Err(error)));
        }
        self.write(response, writer).await
    }

    async fn request_from(&self, endpoint: &Endpoint, offset: u64) -> Result<Response, RegistryError> {
        let mut request = Request { what: self.what.clone(), ..Request::default() };
        if offset > 0 {
            let range = HeaderValue::try_from(format!("bytes={offset}-")).expect("digits are ASCII");
            request.headers.push((RANGE, range));
        }
        let response = self.client.get(endpoint, &format!("blobs/{}", self.layer.digest), request).await?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => Ok(response),
            StatusCode::NOT_FOUND => {
                let (image, what) = (self.image.to_owned(), self.what.clone());
                Err(RegistryError::Incomplete { image, host: endpoint.registry.clone(), what })
            }
            _ => Err(self.client.failure(endpoint, response, self.image).await),
        }
    }

    /// Writes a body into the blob. A blocking thread hashes and writes while the next bytes arrive.
    async fn write(
        &self,
        response: Response,
        mut writer: BlobWriter,
    ) -> Result<(BlobWriter, Result<(), RegistryError>), RegistryError> {
        let host = response.host.clone();
        let mut bytes = writer.offset();
        let (sender, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_QUEUED);
        let write = store::blocking(move || {
            while let Some(chunk) = receiver.blocking_recv() {
                if let Err(error) = writer.write(&chunk) {
                    return Ok((writer, Err(error)));
                }
            }
            Ok((writer, Ok(())))
        });
        let mut body = response.body();
        // Drops the sender at its end.
        let receive = async move {
            while let Some(chunk) = body.chunk().await? {
                bytes += chunk.len() as u64;
                // The writer reports its error.
                if sender.send(chunk).await.is_err() {
                    break;
                }
                self.reporter.report_throttled(bytes.min(self.layer.size));
            }
            Ok::<_, RegistryError>(())
        };
        let (written, received) = tokio::join!(write, receive);
        let (writer, written) = written.map_err(self.store_error())?;
        let ended = match (written, received) {
            (Err(ImageError::Blob(BlobError::TooLarge { .. })), _) => Err(self.too_large(&host)),
            (Err(error), _) => Err(self.store_error()(error)),
            (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(())) if writer.offset() < writer.size() => {
                let text = format!("the body ended after {} of {} bytes", writer.offset(), writer.size());
                let source = std::sync::Arc::new(std::io::Error::other(text));
                Err(RegistryError::Disconnected { host, what: self.what.clone(), source })
            }
            (Ok(()), Ok(())) => Ok(()),
        };
        Ok((writer, ended))
    }

    fn too_large(&self, host: &str) -> RegistryError {
        let what = format!("{} of {}", self.what, self.image);
        RegistryError::TooLarge { host: host.to_owned(), what, limit: self.layer.size }
    }

    fn store_error(&self) -> impl Fn(ImageError) -> RegistryError {
        store::failed(self.image, &self.what)
    }
}

/// The offset of the layer at which a response starts; `None` if it says none.
fn response_start(response: &Response) -> Option<u64> {
    match response.status() {
        StatusCode::OK => Some(0),
        StatusCode::PARTIAL_CONTENT => {
            content_range_start(response.headers().get(CONTENT_RANGE)?.to_str().ok()?)
        }
        _ => None,
    }
}

/// Parses the first position of `Content-Range`; `None` if there is none.
pub fn content_range_start(text: &str) -> Option<u64> {
    text.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

impl ProgressReporter<'_> {
    fn report(&self, state: LayerState, bytes: u64) {
        let Self { progress, layer, number, of, last } = self;
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        progress(LayerProgress { layer, number: *number, of: *of, state, bytes });
    }

    fn report_throttled(&self, bytes: u64) {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= PROGRESS_INTERVAL) {
            self.report(LayerState::Pulling, bytes);
        }
    }
}

//! Resolves references to manifests and configs (OCI distribution specification).

use crate::Registry;
use crate::auth::Endpoint;
use crate::client::{Attempts, Client};
use crate::error::RegistryError;
use crate::http::{Request, Response};
use crate::store;
use executor_image::{
    Blobs, CONFIG_BYTES_MAX, Descriptor, Document, MANIFEST_BYTES_MAX, MANIFEST_MEDIA_TYPES, OciError,
    OciImage, parse_document, parse_manifest,
};
use hyper::header::{ACCEPT, HeaderValue};
use hyper::{Method, StatusCode};
use rules::reference::Reference;
use schemas::digest::Digest;
use schemas::lockfile::Platform;

/// The response header with a manifest's digest.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A resolved reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// The digest of the manifest or index that the reference names. The document is in the store.
    pub named: Digest,
    /// The image for the platform. Its manifest and config are in the store.
    pub image: OciImage,
}

/// Fetches the documents of one image.
struct ManifestClient<'a> {
    client: &'a Client,
    blobs: &'a Blobs,
    endpoints: Vec<Endpoint>,
    image: String,
}

/// A document and its expected properties.
struct DocumentRequest<'a> {
    path: String,
    what: &'static str,
    digest: Option<&'a Digest>,
    size: Option<u64>,
    limit: u64,
}

impl Registry {
    /// Resolves a reference to the image for a platform. Its manifest and config are in the store afterwards.
    ///
    /// # Errors
    ///
    /// If no registry or mirror serves a valid image, or the store fails.
    pub async fn resolve(
        &self,
        reference: &Reference,
        platform: Platform,
    ) -> Result<ResolvedImage, RegistryError> {
        let client = ManifestClient::new(self, reference);
        if let Some(digest) = reference.digest() {
            let digest = Digest::try_from(digest.to_owned())
                .map_err(|_| RegistryError::UnsupportedDigest { image: client.image.clone() })?;
            return client.select(&digest, None, platform).await;
        }
        let tag = reference.tag().unwrap_or(rules::reference::DEFAULT_TAG);
        if let Some(digest) = client.stored_digest(tag).await? {
            return client.select(&digest, None, platform).await;
        }
        let (path, what) = (format!("manifests/{tag}"), "the manifest");
        let request = DocumentRequest { path, what, digest: None, size: None, limit: MANIFEST_BYTES_MAX };
        let bytes = client.document(&request).await?;
        client.select(&Digest::of_bytes(&bytes), Some(bytes), platform).await
    }

    /// Fetches the image with this manifest digest, or the platform's entry of the index with this digest, regardless
    /// of the reference's tag. Its manifest and config are in the store afterwards.
    ///
    /// # Errors
    ///
    /// If no registry or mirror serves a valid image, or the store fails.
    pub async fn fetch(
        &self,
        reference: &Reference,
        digest: &Digest,
        platform: Platform,
    ) -> Result<ResolvedImage, RegistryError> {
        ManifestClient::new(self, reference).select(digest, None, platform).await
    }
}

impl<'a> ManifestClient<'a> {
    fn new(Registry { client, blobs }: &'a Registry, reference: &Reference) -> Self {
        Self { client, blobs, endpoints: client.endpoints(reference), image: reference.to_string() }
    }

    /// The digest of a tag, if its manifest is in the store. Registries rate-limit this request less than a pull.
    async fn stored_digest(&self, tag: &str) -> Result<Option<Digest>, RegistryError> {
        let request = Request { method: Method::HEAD, ..manifest_request("the manifest") };
        // Any failure recurs with the full request, which reports it.
        let Ok(response) = self.client.get(&self.endpoints[0], &format!("manifests/{tag}"), request).await
        else {
            return Ok(None);
        };
        let digest = content_digest(&response).filter(|_| response.status() == StatusCode::OK);
        Ok(digest.filter(|digest| self.blobs.path(digest).is_some()))
    }

    /// The image of a manifest, or the platform's image of an index.
    async fn select(
        &self,
        named: &Digest,
        bytes: Option<Vec<u8>>,
        platform: Platform,
    ) -> Result<ResolvedImage, RegistryError> {
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => self.by_digest("the manifest", named, None, MANIFEST_BYTES_MAX).await?,
        };
        let document = parse_document(&bytes).map_err(self.unusable())?;
        self.store("the manifest", named, &bytes).await?;
        let (digest, manifest) = match document {
            Document::Manifest(manifest) => (named.clone(), manifest),
            Document::Index(index) => {
                let Descriptor { digest, size, media_type: _ } =
                    index.choose(platform).map_err(self.unusable())?.clone();
                let bytes = self.by_digest("the manifest", &digest, Some(size), MANIFEST_BYTES_MAX).await?;
                let manifest = parse_manifest(&bytes).map_err(self.unusable())?;
                self.store("the manifest", &digest, &bytes).await?;
                (digest, manifest)
            }
        };
        let Descriptor { digest: config, size, media_type: _ } = &manifest.config;
        let bytes = self.by_digest("the config", config, Some(*size), CONFIG_BYTES_MAX).await?;
        let image = OciImage::new(digest, &manifest, &bytes, platform).map_err(self.unusable())?;
        self.store("the config", config, &bytes).await?;
        Ok(ResolvedImage { named: named.clone(), image })
    }

    fn unusable(&self) -> impl Fn(OciError) -> RegistryError {
        let host = self.endpoints.last().map(|endpoint| endpoint.registry.clone()).unwrap_or_default();
        move |source| RegistryError::Document { image: self.image.clone(), host: host.clone(), source }
    }

    async fn store(&self, what: &'static str, digest: &Digest, bytes: &[u8]) -> Result<(), RegistryError> {
        store::put(self.blobs, digest, bytes).await.map_err(store::failed(&self.image, what))
    }

    /// A document from the store, else from a registry.
    async fn by_digest(
        &self,
        what: &'static str,
        digest: &Digest,
        size: Option<u64>,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let stored_digest =
            store::read(self.blobs, digest, limit).map_err(store::failed(&self.image, what))?;
        if let Some(bytes) = stored_digest {
            return Ok(bytes);
        }
        let folder = if what == "the config" { "blobs" } else { "manifests" };
        let limit = size.unwrap_or(limit).min(limit);
        let request =
            DocumentRequest { path: format!("{folder}/{digest}"), what, digest: Some(digest), size, limit };
        self.document(&request).await
    }

    /// A document from the first endpoint that has it.
    async fn document(&self, request: &DocumentRequest<'_>) -> Result<Vec<u8>, RegistryError> {
        let mut attempts = Attempts::new(&self.endpoints, &self.client.settings.limits);
        loop {
            match self.document_from(attempts.endpoint(), request).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    async fn document_from(
        &self,
        endpoint: &Endpoint,
        request: &DocumentRequest<'_>,
    ) -> Result<Vec<u8>, RegistryError> {
        let DocumentRequest { path, what, digest, size, limit } = request;
        let response = self.client.get(endpoint, path, manifest_request(what)).await?;
        if response.status() != StatusCode::OK {
            let is_part = size.is_some() && response.status() == StatusCode::NOT_FOUND;
            return Err(if is_part {
                let (image, host) = (self.image.clone(), endpoint.registry.clone());
                RegistryError::Incomplete { image, host, what: (*what).to_owned() }
            } else {
                self.client.failure(endpoint, response, &self.image).await
            });
        }
        let content_digest = content_digest(&response).filter(|_| path.starts_with("manifests/"));
        let host = response.host.clone();
        let bytes = response.read(*limit).await?;
        let found = Digest::of_bytes(&bytes);
        let what = format!("{what} of {}", self.image);
        if let Some(expected) = digest.cloned().or(content_digest).filter(|expected| *expected != found) {
            return Err(RegistryError::WrongDigest { host, what, expected, found });
        }
        if let Some(size) = size.filter(|size| *size != bytes.len() as u64) {
            let reason = format!("it has {} bytes, and {size} were declared", bytes.len());
            return Err(RegistryError::InvalidResponse { host, what, reason });
        }
        Ok(bytes.into())
    }
}

/// The manifest's digest according to the registry.
fn content_digest(response: &Response) -> Option<Digest> {
    Digest::try_from(response.headers().get(CONTENT_DIGEST)?.to_str().ok()?.to_owned()).ok()
}

fn manifest_request(what: &str) -> Request {
    let accept = HeaderValue::try_from(MANIFEST_MEDIA_TYPES.join(", ")).expect("media types are ASCII");
    Request { headers: vec![(ACCEPT, accept)], what: what.to_owned(), ..Request::default() }
}

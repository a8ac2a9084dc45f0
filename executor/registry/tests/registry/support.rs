//! Shared fixtures: a store, a distribution registry, an executor of futures.

use crate::image::TestImage;
use executor_image::{Blobs, OciImage};
use executor_registry::{LayerProgress, Limits, Registry, RegistryError, ResolvedImage, Settings};
use schemas::lockfile::Platform;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub const PLATFORM: Platform = Platform::LinuxAmd64;

/// A store in a temporary folder.
pub struct Store {
    pub folder: tempfile::TempDir,
    pub blobs: Blobs,
}

impl Store {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        Self { folder, blobs }
    }

    /// The number of partial blobs.
    pub fn unfinished(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("blobs/incoming")).unwrap().count()
    }

    /// Panics unless every layer is present and correct.
    pub fn check(&self, image: &TestImage) {
        for digest in &image.layers {
            let path = self.blobs.path(digest).unwrap_or_else(|| panic!("{digest} is missing"));
            assert!(std::fs::read(path).unwrap() == image.blobs[digest], "{digest} has other bytes");
        }
        assert_eq!(self.unfinished(), 0);
    }

    /// Panics if a visible blob does not match its name.
    pub fn check_nothing_half_made(&self) {
        for blob in self.blobs.list().unwrap() {
            self.blobs.read_bounded(&blob.digest, blob.size).unwrap();
        }
    }
}

/// Short time limits.
pub fn limits() -> Limits {
    Limits {
        connect: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        helper: Duration::from_secs(5),
        backoff: Duration::from_millis(5),
        ..Limits::default()
    }
}

pub fn settings() -> Settings {
    Settings { limits: limits(), ..Settings::default() }
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Resolves and pulls.
pub fn pull(settings: Settings, blobs: &Blobs, reference: &str) -> Result<ResolvedImage, RegistryError> {
    pull_with(settings, blobs, reference, &|_| {})
}

pub fn pull_with(
    settings: Settings,
    blobs: &Blobs,
    reference: &str,
    progress: &(dyn Fn(LayerProgress<'_>) + Sync),
) -> Result<ResolvedImage, RegistryError> {
    let registry = Registry::new(settings, blobs.clone())?;
    let reference = reference.parse().unwrap();
    run(async {
        let found = registry.resolve(&reference, PLATFORM).await?;
        registry.pull(&reference, &found.image, progress).await?;
        assert!(found.image.is_whole(blobs));
        // The store loads the same image.
        assert_eq!(OciImage::load(blobs, &found.image.manifest, PLATFORM).unwrap(), found.image);
        Ok(found)
    })
}

/// An error, its causes and its hint on one line.
pub fn message(error: &RegistryError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    match error.hint() {
        Some(hint) => format!("{text} [{hint}]"),
        None => text,
    }
}

pub use tests::ports::free as free_port;

/// Debian's `docker-registry` on a port of its own.
pub struct DockerRegistry {
    pub name: String,
    _registry: tests::registry::Registry,
}

impl DockerRegistry {
    /// Starts it with additional configuration below `http:` and at the top level.
    pub fn start(http: &str, top: &str) -> Self {
        let registry = tests::registry::Registry::start_configured(&format!("{http}\n{top}\n"));
        // The name in the certificates.
        Self { name: registry.address().replace("127.0.0.1", "localhost"), _registry: registry }
    }

    /// Pushes an image with skopeo.
    pub fn push(&self, image: &TestImage, name: &str, more: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        image.write_layout(folder.path());
        let target = format!("docker://{}/{name}", self.name);
        skopeo(
            &[
                &["copy", "--all", "--preserve-digests", "--dest-tls-verify=false"],
                more,
                &[&format!("oci:{}:latest", folder.path().display()), &target],
            ]
            .concat(),
        );
    }
}

pub fn skopeo(arguments: &[&str]) {
    let output = Command::new("skopeo")
        .arg("--insecure-policy")
        .args(arguments)
        .output()
        .expect("the package `skopeo` is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A CA and its certificate for `localhost`.
pub struct Certificates {
    pub folder: tempfile::TempDir,
}

impl Certificates {
    pub fn new() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let folder = tempfile::tempdir().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "a test's CA");
        let ca_key = KeyPair::generate().unwrap();
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(ca, ca_key);
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.path().join("leaf.pem"), leaf.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// The configuration that enables TLS in docker-registry.
    pub fn registry_config(&self) -> String {
        let show = |path: &Path| path.display().to_string();
        let (leaf, key) = (show(&self.path("leaf.pem")), show(&self.path("key.pem")));
        format!("  tls: {{ certificate: {leaf}, key: {key} }}")
    }
}

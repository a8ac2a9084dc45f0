//! Debian's `docker-registry`, filled by skopeo.

use crate::image::TestImage;
use crate::support::{
    Certificates, DockerRegistry, PLATFORM, Store, message, pull, pull_with, run, settings,
};
use executor_registry::{Auth, HostSettings, LayerState, Registry, RegistryError, Settings};
use schemas::config::Masked;
use schemas::lockfile::Platform;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;

#[test]
fn by_tag_by_digest_and_for_every_platform() {
    let registry = DockerRegistry::start("", "");
    let (one, other) =
        (TestImage::of("amd64", 1, &[300_000, 70_000, 5]), TestImage::of("arm64", 9, &[80_000]));
    let index = TestImage::index(&[("arm64", other.clone()), ("amd64", one.clone())]);
    registry.push(&index, "org/app:1", &[]);
    registry.push(&one, "single", &[]);

    // An index: layers with both compressions, of this platform alone.
    let store = Store::new();
    let name = format!("{}/org/app:1", registry.name);
    let reports = Mutex::new(Vec::new());
    let found = pull_with(settings(), &store.blobs, &name, &|progress| {
        reports.lock().unwrap().push((progress.number, progress.of, progress.state, progress.bytes));
    })
    .unwrap();
    assert_eq!((&found.named, &found.image.manifest), (&index.digest, &one.digest));
    store.check(&one);
    assert_eq!(store.blobs.path(&other.digest), None);
    let reports = reports.into_inner().unwrap();
    for (number, layer) in found.image.layers.iter().enumerate() {
        let states: Vec<_> =
            reports.iter().filter(|reports| reports.0 == number + 1 && reports.1 == 3).collect();
        assert_eq!(states[0].2, LayerState::Pulling, "{reports:?}");
        assert_eq!((states.last().unwrap().2, states.last().unwrap().3), (LayerState::Pulled, layer.size));
        assert!(states.is_sorted_by_key(|reports| reports.3), "{reports:?}");
    }

    // The same for another platform, and for a missing one.
    let store = Store::new();
    let client = Registry::new(settings(), store.blobs.clone()).unwrap();
    let reference = name.parse().unwrap();
    let found = run(client.resolve(&reference, Platform::LinuxArm64)).unwrap();
    assert_eq!(found.image.manifest, other.digest);
    let single = format!("{}/single", registry.name);
    let error = run(client.resolve(&single.parse().unwrap(), Platform::LinuxArm64)).unwrap_err();
    assert!(
        message(&error).contains("the image is for linux/amd64, and this machine is linux/arm64"),
        "{error}"
    );

    // By the digest of the index, of the manifest, and pinned; then with the registry stopped.
    let store = Store::new();
    let by_index = format!("{}/org/app@{}", registry.name, index.digest);
    let by_manifest = format!("{}/org/app:gone@{}", registry.name, one.digest);
    for name in [&by_index, &by_manifest] {
        assert_eq!(pull(settings(), &store.blobs, name).unwrap().image.manifest, one.digest);
    }
    store.check(&one);
    store.check_nothing_half_made();
    drop(registry);
    for name in [&by_index, &by_manifest] {
        assert_eq!(pull(settings(), &store.blobs, name).unwrap().image.manifest, one.digest);
    }
    let client = Registry::new(settings(), store.blobs.clone()).unwrap();
    assert_eq!(run(client.fetch(&reference, &index.digest, PLATFORM)).unwrap().image.manifest, one.digest);
    let error = pull(settings(), &store.blobs, &name).unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
}

#[test]
fn a_missing_file_is_named() {
    let registry = DockerRegistry::start("", "");
    let image = TestImage::new(1, &[1000]);
    registry.push(&image, "app:1", &[]);
    let store = Store::new();
    let error = pull(settings(), &store.blobs, &format!("{}/app:2", registry.name)).unwrap_err();
    let expected = format!("{0} has no image {0}/app:2 [check the name and the tag]", registry.name);
    assert_eq!(message(&error), expected);
    let error = pull(settings(), &store.blobs, "localhost:1/app").unwrap_err();
    let text = message(&error);
    assert!(text.starts_with("cannot reach localhost:1: ") && text.contains("Connection refused"), "{text}");
    let sha512 = format!("{}/app@sha512:{}", registry.name, "0".repeat(128));
    let error = pull(settings(), &store.blobs, &sha512).unwrap_err();
    assert!(matches!(error, RegistryError::UnsupportedDigest { .. }), "{error:?}");
}

/// A registry with TLS and one user.
struct Guarded {
    registry: DockerRegistry,
    certificates: Certificates,
    image: TestImage,
}

impl Guarded {
    fn new() -> Self {
        let certificates = Certificates::new();
        let htpasswd = Command::new("htpasswd").args(["-Bbn", "me", "se:cret"]).output();
        let htpasswd = htpasswd.expect("the package `apache2-utils` is installed").stdout;
        std::fs::write(certificates.path("htpasswd"), htpasswd).unwrap();
        let top = format!(
            "auth: {{ htpasswd: {{ realm: here, path: {} }} }}",
            certificates.path("htpasswd").display()
        );
        let registry = DockerRegistry::start(&certificates.registry_config(), &top);
        let image = TestImage::new(4, &[200_000, 100_000]);
        registry.push(&image, "private/app", &["--dest-creds", "me:se:cret"]);
        Self { registry, certificates, image }
    }

    fn pull(&self, store: &Store, host: HostSettings, docker: Option<&str>) -> Result<(), RegistryError> {
        let docker_config = docker.map(|text| {
            let path = self.certificates.path("config.json");
            std::fs::write(&path, text).unwrap();
            path
        });
        let hosts = BTreeMap::from([(self.registry.name.clone(), host)]);
        let settings = Settings { hosts, docker_config, ..settings() };
        pull(settings, &store.blobs, &format!("{}/private/app", self.registry.name)).map(drop)
    }

    fn ca(&self) -> HostSettings {
        HostSettings { ca: Some(self.certificates.path("ca.pem")), ..HostSettings::default() }
    }
}

fn me(password: &str) -> Option<Auth> {
    Some(Auth::Password { username: "me".to_owned(), password: Masked::new(password) })
}

#[test]
fn with_a_private_ca_and_a_password() {
    let guarded = Guarded::new();
    let name = &guarded.registry.name;

    let store = Store::new();
    guarded.pull(&store, HostSettings { auth: me("se:cret"), ..guarded.ca() }, None).unwrap();
    store.check(&guarded.image);

    // From docker's configuration.
    let store = Store::new();
    let docker = format!(r#"{{ "auths": {{ "{name}": {{ "auth": "bWU6c2U6Y3JldA==" }} }} }}"#);
    guarded.pull(&store, guarded.ca(), Some(&docker)).unwrap();
    store.check(&guarded.image);

    // Without verification of the certificate.
    let store = Store::new();
    let insecure = HostSettings { insecure: true, auth: me("se:cret"), ..HostSettings::default() };
    guarded.pull(&store, insecure, None).unwrap();
    store.check(&guarded.image);

    let store = Store::new();
    let error = guarded.pull(&store, guarded.ca(), None).unwrap_err();
    assert_eq!(
        message(&error),
        format!(
            "{name} refuses private/app: it needs credentials, or does not exist [if it exists, give credentials \
             with registries.hosts.\"{name}\".auth in config.json or `docker login {name}`]"
        )
    );
    let error = guarded.pull(&store, HostSettings { auth: me("wrong"), ..guarded.ca() }, None).unwrap_err();
    let text = message(&error);
    assert!(
        text.starts_with(&format!("{name} refuses private/app: the credentials were not accepted")),
        "{text}"
    );
    assert!(!text.contains("wrong"), "{text}");

    let error = guarded.pull(&store, HostSettings::default(), None).unwrap_err();
    let text = message(&error);
    assert!(text.starts_with(&format!("the certificate of {name} is not trusted: ")), "{text}");
    assert!(text.contains(&format!("set the file of its CA with registries.hosts.\"{name}\".ca")), "{text}");
    // A CA that did not sign it.
    let others = Certificates::new();
    let host = HostSettings { ca: Some(others.path("ca.pem")), ..HostSettings::default() };
    let error = guarded.pull(&store, host, None).unwrap_err();
    assert!(matches!(error, RegistryError::Certificate { .. }), "{error:?}");
    // A file that is not a certificate.
    let host = HostSettings { ca: Some(guarded.certificates.path("htpasswd")), ..HostSettings::default() };
    let text = message(&guarded.pull(&store, host, None).unwrap_err());
    assert!(text.contains("htpasswd: it contains no certificate in PEM"), "{text}");
    assert_eq!((store.blobs.list().unwrap().len(), store.unfinished()), (0, 0));
}

//! Malicious registries: wrong content, endless bodies, and redirects.

use crate::image::{OCI_MANIFEST, TestImage, noise};
use crate::server::{Body, Reply, Server, serve};
use crate::support::{Certificates, Store, limits, message, pull, settings};
use executor_registry::{HostSettings, Limits, RegistryError, Settings};
use schemas::digest::Digest;
use std::collections::BTreeMap;
use std::time::Duration;

/// A registry that misbehaves for one document or layer alone.
fn lying(image: &TestImage, part: String, lie: impl Fn() -> Reply + Send + Sync + 'static) -> Server {
    let image = image.clone();
    Server::new(move |seen| if seen.part() == part { lie() } else { serve(&image, seen) })
}

fn refused(server: &Server, reference: &str, store: &Store) -> (RegistryError, String) {
    let error = pull(settings(), &store.blobs, &format!("{}/app{reference}", server.name)).unwrap_err();
    store.check_nothing_half_made();
    let text = message(&error);
    (error, text)
}

#[test]
fn wrong_bytes_are_not_stored() {
    let image = TestImage::new(1, &[50_000]);
    let manifest: serde_json::Value = serde_json::from_slice(&image.blobs[&image.digest]).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    let index = TestImage::index(&[("amd64", image.clone())]);
    let parts = [
        (format!("@{}", image.digest), format!("manifests/{}", image.digest), "the manifest"),
        (":1".to_owned(), format!("manifests/{}", image.digest), "the manifest"),
        (":1".to_owned(), format!("blobs/{config}"), "the config"),
        (":1".to_owned(), format!("blobs/{}", image.layers[0]), "layer 1 of 1"),
    ];
    for (reference, part, what) in parts {
        let digest = Digest::try_from(part.split_once('/').unwrap().1.to_owned()).unwrap();
        let mut bytes = index.blobs[&digest].clone();
        *bytes.last_mut().unwrap() ^= 1;
        let server = lying(&index, part.clone(), move || Reply::whole(bytes.clone()));
        let store = Store::new();
        let (error, text) = refused(&server, &reference, &store);
        assert!(
            matches!(&error, RegistryError::WrongDigest { expected, .. } if *expected == digest),
            "{text}"
        );
        assert!(text.starts_with(&format!("{} sent wrong bytes for {what}", server.name)), "{text}");
        assert_eq!((store.blobs.path(&digest), store.unfinished()), (None, 0));
        assert_eq!(server.count(|seen| seen.part() == part && seen.method == "GET"), 1);
    }
    // A tag with a wrong digest header.
    let bytes = image.blobs[&image.digest].clone();
    let other = Digest::of_bytes(b"other").to_string();
    let server = lying(&image, "manifests/1".to_owned(), move || {
        Reply::whole(bytes.clone()).with("docker-content-digest", other.clone())
    });
    let (error, text) = refused(&server, ":1", &Store::new());
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{text}");
}

#[test]
fn a_tags_digest_header_is_used_only_for_a_stored_image() {
    // The registry names a blob of the store that is not a manifest.
    let image = TestImage::new(1, &[50_000]);
    let layer = image.layers[0].to_string();
    let server = lying(&image, "manifests/1".to_owned(), move || {
        Reply::status(200).with("docker-content-digest", layer.clone())
    });
    let store = Store::new();
    store.blobs.put(&image.layers[0], &image.blobs[&image.layers[0]]).unwrap();
    let (error, text) = refused(&server, ":1", &store);
    assert!(matches!(error, RegistryError::Document { .. }), "{text}");
}

#[test]
fn wrong_sizes_are_reported() {
    let image = TestImage::new(1, &[50_000]);
    let edit = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest = serde_json::from_slice(&image.blobs[&image.digest]).unwrap();
        change(&mut manifest);
        let bytes = manifest.to_string().into_bytes();
        let mut edited = image.clone();
        edited.digest = Digest::of_bytes(&bytes);
        edited.blobs.insert(edited.digest.clone(), bytes);
        edited
    };
    for (field, change, expected) in [
        ("config", -1i64, "sent more than the"),
        ("config", 1, "sent an invalid response to the request for the config of"),
        ("layer", -1, "sent more than the"),
        ("layer", 1, "closed the connection while layer 1 of 1"),
    ] {
        let edited = edit(&|manifest| {
            let size = match field {
                "config" => &mut manifest["config"]["size"],
                _ => &mut manifest["layers"][0]["size"],
            };
            *size = (size.as_i64().unwrap() + change).into();
        });
        let (_, text) = refused(&Server::of(&edited), ":1", &Store::new());
        assert!(text.contains(expected), "{field} {change}: {text}");
    }
    let huge = edit(&|manifest| manifest["layers"][0]["size"] = (1u64 << 60).into());
    let (_, text) = refused(&Server::of(&huge), ":1", &Store::new());
    assert!(text.contains("layer 1 is declared with 1152921504606846976 bytes"), "{text}");
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    for (media_type, expected) in [
        (foreign, "layer 1 has the type"),
        ("x/y", "this is not an image of a root file system, but \"x/y\""),
    ] {
        let edited = edit(&|manifest| manifest["layers"][0]["mediaType"] = media_type.into());
        let (_, text) = refused(&Server::of(&edited), ":1", &Store::new());
        assert!(text.contains("cannot use") && text.contains(expected), "{text}");
    }
}

#[test]
fn endless_bodies_end() {
    let image = TestImage::new(1, &[50_000]);
    let manifest: serde_json::Value = serde_json::from_slice(&image.blobs[&image.digest]).unwrap();
    let config = format!("blobs/{}", manifest["config"]["digest"].as_str().unwrap());
    let layer = format!("blobs/{}", image.layers[0]);
    let most = 4 * 1024 * 1024;
    for (part, limit) in [("manifests/1".to_owned(), most), (config, 1000), (layer, 60_000)] {
        let endless = || Reply::body(Body::Endless(64 * 1024, Duration::ZERO));
        let server = lying(&image, part.clone(), endless);
        let (error, text) = refused(&server, ":1", &Store::new());
        assert!(matches!(error, RegistryError::TooLarge { .. }), "{part}: {text}");
        // At most the limit and the kernels' buffers were transferred.
        assert!(server.sent() < limit + 16 * 1024 * 1024, "{part}: {}", server.sent());
        assert_eq!(server.count(|seen| seen.part() == part && seen.method == "GET"), 1);
        // A declared length is refused before anything is read.
        let server = lying(&image, part.clone(), move || Reply::body(Body::Cut(1 << 40, Vec::new())));
        let (error, text) = refused(&server, ":1", &Store::new());
        assert!(matches!(error, RegistryError::TooLarge { .. }), "{part}: {text}");
    }
    // A manifest that drips without end times out as well.
    let drip = || Reply::body(Body::Endless(1, Duration::from_millis(20)));
    let server = lying(&image, "manifests/1".to_owned(), drip);
    let store = Store::new();
    let limits = Limits { idle_timeout: Duration::from_millis(200), retries: 1, ..limits() };
    let error =
        pull(Settings { limits, ..settings() }, &store.blobs, &format!("{}/app:1", server.name)).unwrap_err();
    assert!(message(&error).contains("less than 64 KiB came in 200ms"), "{error:?}");
}

#[test]
fn malformed_documents_are_reported_as_such() {
    for (bytes, expected) in [
        (noise(1, 1000), "the manifest is malformed"),
        (b"{}".to_vec(), "the manifest is malformed"),
        (b"[".repeat(100_000), "the manifest is malformed"),
        (br#"{"schemaVersion":1,"fsLayers":[]}"#.to_vec(), "the old form of docker's version 1"),
        (
            format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","manifests":[]}}"#).into(),
            "it claims to be a manifest",
        ),
        (br#"{"schemaVersion":2,"manifests":[]}"#.to_vec(), "there is no image for linux/amd64"),
    ] {
        let server = Server::new(move |_| Reply::whole(bytes.clone()));
        let (error, text) = refused(&server, ":1", &Store::new());
        assert!(matches!(error, RegistryError::Document { .. }), "{text}");
        assert!(text.starts_with(&format!("cannot use {0}/app:1 of {0}: ", server.name)), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn redirects_are_limited() {
    let image = TestImage::new(1, &[50_000]);
    // A loop; an endless chain; targets that are not servers.
    let server = Server::new(|seen| Reply::redirect(seen.path.clone()));
    let (error, text) = refused(&server, ":1", &Store::new());
    assert!(
        matches!(error, RegistryError::Redirect { .. }) && text.contains("it follows 8 others"),
        "{text}"
    );
    assert_eq!(server.count(|seen| seen.method == "GET"), 9);
    for location in
        ["ftp://localhost/x", "file:///etc/passwd", "https://", "http://me:secret@localhost/x", "http://[::1"]
    {
        let server = lying(&image, "manifests/1".to_owned(), move || Reply::redirect(location));
        let (error, text) = refused(&server, ":1", &Store::new());
        assert!(matches!(error, RegistryError::Redirect { .. }), "{location}: {text}");
    }
    // An invalid one is not followed.
    let honest = image.clone();
    let server = Server::new(move |seen| serve(&honest, seen).with("location", "/elsewhere"));
    pull(settings(), &Store::new().blobs, &format!("{}/app:1", server.name)).unwrap();
    // A few are followed, to another host as well.
    let storage = Server::of(&image);
    let to = storage.name.clone();
    let honest = image.clone();
    let server = Server::new(move |seen| match seen.path.strip_prefix("/hop") {
        Some(path) => Reply::redirect(format!("http://{to}{path}")),
        None if seen.is_layer(&honest, 0) => Reply::redirect(format!("/hop{}", seen.path)),
        None => serve(&honest, seen),
    });
    let store = Store::new();
    pull(settings(), &store.blobs, &format!("{}/app:1", server.name)).unwrap();
    store.check(&image);
    assert_eq!(storage.count(|seen| seen.is_layer(&image, 0)), 1);
}

#[test]
fn a_redirect_does_not_lead_out_of_tls() {
    let image = TestImage::new(1, &[50_000]);
    let certificates = Certificates::new();
    let storage = Server::of(&image);
    let (to, honest) = (storage.name.clone(), image.clone());
    let server = Server::with_tls(&certificates, move |seen| match seen.is_layer(&honest, 0) {
        true => Reply::redirect(format!("http://{to}{}", seen.path)),
        false => serve(&honest, seen),
    });
    let ca = HostSettings { ca: Some(certificates.path("ca.pem")), ..HostSettings::default() };
    let hosts = BTreeMap::from([(server.name.clone(), ca.clone())]);
    let name = format!("{}/app:1", server.name);
    let store = Store::new();
    let error = pull(Settings { hosts, ..settings() }, &store.blobs, &name).unwrap_err();
    assert!(message(&error).contains("it leads from TLS to plain HTTP at localhost:"), "{error:?}");
    assert!(storage.seen().is_empty());
    // Unless the settings allow plain HTTP there.
    let insecure = HostSettings { insecure: true, ..HostSettings::default() };
    let hosts = BTreeMap::from([(server.name.clone(), ca), (storage.name.clone(), insecure)]);
    pull(Settings { hosts, ..settings() }, &store.blobs, &name).unwrap();
    store.check(&image);
}

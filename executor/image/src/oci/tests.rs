use super::*;
use serde_json::{Value, json};

fn digest(name: &str) -> Digest {
    Digest::of_bytes(name.as_bytes())
}

fn descriptor(name: &str, size: u64, media_type: &str) -> Value {
    json!({ "mediaType": media_type, "digest": digest(name).to_string(), "size": size })
}

fn layer(name: &str) -> Value {
    descriptor(name, 10, "application/vnd.oci.image.layer.v1.tar+gzip")
}

/// A layer of more than half of the limit for all.
fn heavy(name: &str) -> Value {
    descriptor(name, LAYERS_BYTES_MAX / 2 + 1, "application/vnd.oci.image.layer.v1.tar+gzip")
}

fn manifest_of(layers: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor("c", 2, OCI_CONFIG), "layers": layers })
}

fn parse(value: &Value) -> Result<Document, String> {
    parse_document(value.to_string().as_bytes()).map_err(|error| error.to_string())
}

fn entry(name: &str, os: &str, architecture: &str, variant: Option<&str>) -> Value {
    let mut entry = descriptor(name, 100, OCI_MANIFEST);
    entry["platform"] = json!({ "os": os, "architecture": architecture });
    if let Some(variant) = variant {
        entry["platform"]["variant"] = json!(variant);
    }
    entry
}

fn index_of(entries: &[Value]) -> Index {
    let index = json!({ "schemaVersion": 2, "manifests": entries });
    parse_index(index.to_string().as_bytes()).unwrap()
}

fn config(diff_ids: &[&str]) -> Vec<u8> {
    let diff_ids: Vec<_> = diff_ids.iter().map(|name| digest(name).to_string()).collect();
    let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    config.to_string().into_bytes()
}

#[test]
fn manifests_of_both_specifications_are_parsed() {
    let packed = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ];
    let layers = packed.map(|media_type| descriptor(media_type, 7, media_type));
    let Ok(Document::Manifest(manifest)) = parse(&manifest_of(&layers)) else { panic!() };
    let found: Vec<_> = manifest.layers.iter().map(|(_, packed)| *packed).collect();
    use Compression::{Gzip, Plain, Zstd};
    assert_eq!(found, [Plain, Gzip, Zstd, Gzip]);
    let docker = json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": descriptor("c", 2, DOCKER_CONFIG),
        "layers": [descriptor("a", 7, "application/vnd.docker.image.rootfs.diff.tar.gzip")],
    });
    assert!(matches!(parse(&docker), Ok(Document::Manifest(_))));
}

#[test]
fn invalid_documents_are_refused() {
    let mut both = manifest_of(&[layer("a")]);
    both["manifests"] = json!([]);
    let mut untyped = both.clone();
    untyped["mediaType"] = json!("");
    let many = vec![layer("a"); LAYERS_MAX + 1];
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let mut chart = manifest_of(&[]);
    chart["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    let mut huge_config = manifest_of(&[]);
    huge_config["config"]["size"] = json!(CONFIG_BYTES_MAX + 1);
    for (document, message) in [
        (json!([]), "the manifest is malformed"),
        (json!({ "schemaVersion": 1, "fsLayers": [] }), "the manifest has the old form"),
        (both, "the manifest is ambiguous: it names layers as well as images"),
        (untyped, "the manifest is ambiguous: it names layers as well as images"),
        (
            json!({ "schemaVersion": 2, "mediaType": OCI_INDEX }),
            "the manifest is ambiguous: it claims to be an index",
        ),
        (json!({ "schemaVersion": 2 }), "the manifest is ambiguous: it claims to be a manifest"),
        (
            json!({ "schemaVersion": 2, "mediaType": "text/html" }),
            "this is not an image of a root file system, but \"text/html\"",
        ),
        (manifest_of(&many), "the manifest names 513 layers, and at most 512 are read"),
        (manifest_of(&[descriptor("a", 7, foreign)]), "layer 1 has the type"),
        (
            manifest_of(&[descriptor("a", u64::MAX, foreign)]),
            "layer 1 is declared with 18446744073709551615 bytes",
        ),
        (
            manifest_of(&[descriptor("a", 7, "application/vnd.in-toto+json")]),
            "this is not an image of a root file system, but \"application/vnd.in-toto+json\"",
        ),
        (manifest_of(&[heavy("a"), heavy("b")]), "the sum of all layers is declared with 68719476738 bytes"),
        (chart, "this is not an image of a root file system, but \"application/vnd.cncf.helm"),
        (huge_config, "the config is declared with"),
    ] {
        let error = parse(&document).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }
    let mut traversal = manifest_of(&[layer("a")]);
    traversal["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd");
    assert!(parse(&traversal).is_err());
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    assert!(parse_document(deep.as_bytes()).is_err());
    assert!(parse_document(b"").is_err());
}

#[test]
fn the_image_for_this_platform_is_chosen() {
    let index = index_of(&[
        entry("attestation", "unknown", "unknown", None),
        entry("windows", "windows", "amd64", None),
        entry("arm", "linux", "arm", Some("v7")),
        entry("newer", "linux", "amd64", Some("v3")),
        entry("right", "linux", "amd64", None),
        entry("second", "linux", "amd64", None),
        entry("arm64", "linux", "arm64", Some("v8")),
    ]);
    assert_eq!(index.choose(Platform::LinuxAmd64).unwrap().digest, digest("right"));
    assert_eq!(index.choose(Platform::LinuxArm64).unwrap().digest, digest("arm64"));
    let other = index_of(&[entry("arm", "linux", "arm", Some("v7")), entry("x", "unknown", "unknown", None)]);
    let error = other.choose(Platform::LinuxAmd64).unwrap_err().to_string();
    assert_eq!(error, "there is no image for linux/amd64; there is one for linux/arm/v7");
}

#[test]
fn attestations_are_not_images() {
    let mut described = entry("described", "linux", "amd64", None);
    described["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let unlabelled = descriptor("image", 100, OCI_MANIFEST);
    let beside = [described, entry("attestation", "unknown", "unknown", None), unlabelled.clone()];
    let index = index_of(&beside);
    assert_eq!(index.choose(Platform::LinuxAmd64).unwrap().digest, digest("image"));
    assert_eq!(index.entries().count(), 1);
    // Of two without a platform, neither is chosen; one with a platform takes precedence.
    let second = descriptor("second", 100, OCI_MANIFEST);
    assert!(index_of(&[unlabelled.clone(), second]).choose(Platform::LinuxAmd64).is_err());
    let named = index_of(&[unlabelled, entry("named", "linux", "amd64", None)]);
    assert_eq!(named.choose(Platform::LinuxAmd64).unwrap().digest, digest("named"));
}

#[test]
fn manifest_and_config_must_agree() {
    let manifest = parse_manifest(manifest_of(&[layer("a"), layer("b")]).to_string().as_bytes()).unwrap();
    let image = |config: &[u8], platform| {
        OciImage::new(digest("m"), &manifest, config, platform).map_err(|error| error.to_string())
    };
    let image_of = image(&config(&["x", "y"]), Platform::LinuxAmd64).unwrap();
    assert_eq!(image_of.layers[1].diff_id, digest("y"));
    assert_eq!((image_of.layers[1].digest.clone(), image_of.bytes()), (digest("b"), 20));
    let error = image(&config(&["x"]), Platform::LinuxAmd64).unwrap_err();
    assert_eq!(error, "the manifest has 2 layers, but the config lists 1");
    let error = image(&config(&["x", "y"]), Platform::LinuxArm64).unwrap_err();
    assert_eq!(error, "the image is for linux/amd64, and this machine is linux/arm64");
    assert!(image(b"{}", Platform::LinuxAmd64).is_err());
}

#[test]
fn an_image_is_loaded_from_the_store_without_its_layers() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path()).unwrap();
    let config = config(&["x"]);
    let mut manifest = manifest_of(&[layer("a")]);
    manifest["config"]["digest"] = json!(Digest::of_bytes(&config).to_string());
    let manifest = manifest.to_string().into_bytes();
    let digest = Digest::of_bytes(&manifest);
    assert!(OciImage::load(&blobs, &digest, Platform::LinuxAmd64).is_err());
    blobs.put(&digest, &manifest).unwrap();
    blobs.put(&Digest::of_bytes(&config), &config).unwrap();
    let image = OciImage::load(&blobs, &digest, Platform::LinuxAmd64).unwrap();
    assert!(!image.is_whole(&blobs));
    assert_eq!(image.manifest, digest);
}

#[test]
fn duplicate_keys_are_refused() {
    // Parsers differ in which of the two they take.
    let manifest = manifest_of(&[layer("a")]).to_string();
    let other = descriptor("other", 2, OCI_CONFIG);
    let twice = manifest.replacen('{', &format!(r#"{{"config":{other},"#), 1);
    let error = parse_document(twice.as_bytes()).unwrap_err();
    assert!(matches!(error, OciError::Malformed { what: "manifest", .. }), "{error:?}");
    let index = json!({ "schemaVersion": 2, "manifests": [entry("a", "linux", "amd64", None)] }).to_string();
    let twice = index.replacen(r#""digest""#, &format!(r#""digest":"{}","digest""#, digest("other")), 1);
    assert!(twice != index && parse_document(twice.as_bytes()).is_err());
}

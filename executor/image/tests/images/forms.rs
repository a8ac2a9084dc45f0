//! One image in every supported format: all have the same manifest digest, if they have a manifest, and the same
//! config.

use crate::listing;
use crate::support::{check, message};
use executor_image::{
    Blobs, ImageError, Progress, build, build_oci, image_config, load, platform, resolve, save, source_config,
};
use schemas::digest::Digest;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use tests::layers::{Maker, TestLayer, gzip};
use tests::oci::Layout;

fn layers() -> Vec<TestLayer> {
    let lower = Maker::new().folder("bin").file("bin/tool", b"one").file("gone", b"x");
    let upper = Maker::new().file("bin/tool", b"two").whiteout("gone");
    vec![lower.bytes().into(), upper.bytes().into()]
}

fn layout(folder: &Path, command: &str) -> PathBuf {
    let path = folder.join("layout");
    let config = json!({ "Cmd": [command], "Healthcheck": { "Test": ["CMD", "true"] } });
    Layout::new(&path).add("latest", &layers(), &config);
    path
}

/// A folder's files as an archive, ordered by name.
fn archive(folder: &Path, dotted: bool) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut folders = vec![PathBuf::new()];
    while let Some(relative) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(folder.join(&relative)).unwrap().map(Result::unwrap).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = relative.join(entry.file_name());
            let shown = if dotted { Path::new(".").join(&name) } else { name.clone() };
            builder.append_path_with_name(entry.path(), shown).unwrap();
            if entry.path().is_dir() {
                folders.push(name);
            }
        }
    }
    builder.into_inner().unwrap()
}

/// The format of `docker save` before it wrote layouts: layers by id, one of them a link to another's.
fn docker_archive(layout: &Path) -> Vec<u8> {
    let read = |digest: &str| fs::read(layout.join("blobs/sha256").join(&digest["sha256:".len()..])).unwrap();
    let parse = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let index = parse(&fs::read(layout.join("index.json")).unwrap());
    let manifest = parse(&read(index["manifests"][0]["digest"].as_str().unwrap()));
    let config = read(manifest["config"]["digest"].as_str().unwrap());
    let ids: Vec<String> =
        (0..layers().len()).map(|index| Digest::of_bytes(&[index as u8]).hex().to_owned()).collect();
    let mut maker = Maker::new();
    for (id, layer) in ids.iter().zip(layers()) {
        maker = maker.folder(id).file(&format!("{id}/layer.tar"), &layer.tar);
    }
    let link = Digest::of_bytes(b"link").hex().to_owned();
    maker = maker.folder(&link).link(
        tar::EntryType::Symlink,
        &format!("{link}/layer.tar"),
        &format!("../{}/layer.tar", ids[1]),
    );
    let named = json!([{
        "Config": "config.json",
        "RepoTags": ["app:1"],
        "Layers": [format!("{}/layer.tar", ids[0]), format!("{link}/layer.tar")],
    }]);
    maker.file("config.json", &config).file("manifest.json", named.to_string().as_bytes()).bytes()
}

fn build_at(path: &Path, store: &Path) -> Result<(Digest, PathBuf), ImageError> {
    let resolved = resolve(path, None, store)?;
    let image = build(path, &resolved.digest, store, &mut |_: Progress| {})?;
    Ok((resolved.digest, image))
}

fn manifest_digest(layout: &Path) -> String {
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn attestations_beside_an_image_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let (path, store) = (folder.path().join("layout"), folder.path().join("store"));
    fs::create_dir(&store).unwrap();
    let mut layout = Layout::new(&path);
    layout.add_attestation();
    let image = layout.add("latest", &layers(), &json!({}));
    let (digest, built) = build_at(&path, &store).unwrap();
    assert_eq!(digest.to_string(), image);
    check(&built);
    // On its own, each is reported as what it is.
    let alone = folder.path().join("alone");
    Layout::new(&alone).add_attestation();
    let text = message(&build_at(&alone, &store).unwrap_err());
    assert!(text.contains("in-toto") || text.contains("no image"), "{text}");
}

#[test]
fn all_forms_are_the_same_image() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path(), "/serve");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let tar = archive(&layout, false);
    let sources = [
        layout.clone(),
        write("plain.tar", &tar),
        write("dotted.tar", &archive(&layout, true)),
        write("packed.tar.gz", &gzip(&tar)),
        write("packed.tar.zst", &zstd::encode_all(&tar[..], 1).unwrap()),
        write("docker.tar", &docker_archive(&layout)),
        write("docker.tar.gz", &gzip(&docker_archive(&layout))),
        // Only disks are detected by extension, and this is not one.
        write("named.img", &tar),
    ];
    let mut expected = None;
    for source in sources {
        let store = tempfile::tempdir().unwrap();
        let (digest, image) = build_at(&source, store.path()).unwrap_or_else(|error| {
            panic!("{}: {}", source.display(), message(&error));
        });
        check(&image);
        let is_docker = source.to_str().unwrap().contains("docker");
        assert_eq!(digest.to_string() == manifest_digest(&layout), !is_docker, "{}", source.display());
        let config = image_config(store.path(), &digest).unwrap();
        assert_eq!(config.cmd, ["/serve"]);
        assert!(config.healthcheck.is_some());
        assert_eq!(source_config(&source, store.path()).unwrap(), config);
        let found = listing::of_image(&image);
        assert!(found.contains("/bin/tool file 3 "), "{found}");
        assert!(!found.contains("gone"), "{found}");
        assert_eq!(*expected.get_or_insert_with(|| found.clone()), found, "{}", source.display());
    }
}

#[test]
fn an_archive_of_a_root_file_system_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    // Files beside `bin` are not a layout, whatever their names.
    let files = Maker::new().folder("bin").file("bin/tool", b"x").file("oci-layout", b"{}");
    let tar = files.file("index.json", b"{}").file("manifest.json", b"[]").bytes();
    let path = folder.path().join("root.tar");
    fs::write(&path, &tar).unwrap();
    let (digest, image) = build_at(&path, folder.path()).unwrap();
    assert_eq!(digest, Digest::of_bytes(&tar));
    assert!(listing::of_image(&image).contains("/oci-layout file"));
    assert_eq!(source_config(&path, folder.path()).unwrap(), Default::default());
}

#[test]
fn a_change_of_a_layout_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let path = layout(folder.path(), "/one");
    let first = resolve(&path, None, folder.path()).unwrap();
    assert_eq!(resolve(&path, Some(&first), folder.path()).unwrap(), first);
    fs::remove_dir_all(&path).unwrap();
    layout(folder.path(), "/two");
    let second = resolve(&path, Some(&first), folder.path()).unwrap();
    assert_ne!(second.digest, first.digest);
    // The source has changed since it was planned.
    let error = build(&path, &first.digest, folder.path(), &mut |_: Progress| {}).unwrap_err();
    assert!(matches!(error, ImageError::Changed { .. }), "{error:?}");
}

#[test]
fn an_inconsistent_layout_is_refused() {
    let store = tempfile::tempdir().unwrap();
    let try_with = |damage: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        let path = layout(folder.path(), "/serve");
        damage(&path);
        message(&build_at(&path, store.path()).unwrap_err())
    };
    let blob = |layout: &Path, digest: &str| layout.join("blobs/sha256").join(&digest["sha256:".len()..]);
    let manifest = |layout: &Path| blob(layout, &manifest_digest(layout));
    let first_layer = |layout: &Path| {
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(manifest(layout)).unwrap()).unwrap();
        blob(layout, manifest["layers"][0]["digest"].as_str().unwrap())
    };
    let text = try_with(&|layout| fs::write(manifest(layout), "{}").unwrap());
    assert!(text.contains("its source sent other bytes"), "{text}");
    let text = try_with(&|layout| fs::remove_file(manifest(layout)).unwrap());
    assert!(text.contains("there is no blobs/sha256/"), "{text}");
    let text = try_with(&|layout| fs::remove_file(first_layer(layout)).unwrap());
    assert!(text.contains("there is no blobs/sha256/"), "{text}");
    let text = try_with(&|layout| {
        let other = Maker::new().file("evil", b"x").bytes();
        fs::write(first_layer(layout), gzip(&other)).unwrap();
    });
    assert!(text.contains("layer 1 of 2"), "{text}");
    let text = try_with(&|layout| fs::write(layout.join("index.json"), "[").unwrap());
    assert!(text.contains("the manifest is malformed"), "{text}");
    let text = try_with(&|layout| {
        fs::write(layout.join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    });
    assert!(text.contains("contains no image"), "{text}");
    let rootfs = store.path().join("rootfs");
    let left = fs::read_dir(&rootfs)
        .into_iter()
        .flatten()
        .flat_map(|entry| fs::read_dir(entry.unwrap().path()).unwrap());
    assert_eq!(left.count(), 0);
}

#[test]
fn several_images_are_loaded_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = layout(folder.path(), "/one");
    let first = manifest_digest(&path);
    let index = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&fs::read(path.join("index.json")).unwrap()).unwrap()
    };
    let mut both = index(&path);
    layout(folder.path(), "/two");
    let mut entry = index(&path)["manifests"][0].clone();
    entry["annotations"]["org.opencontainers.image.ref.name"] = json!("other");
    both["manifests"].as_array_mut().unwrap().push(entry);
    fs::write(path.join("index.json"), both.to_string()).unwrap();
    let error = resolve(&path, None, folder.path()).unwrap_err();
    let ImageError::SeveralImages { names, .. } = &error else { panic!("{error:?}") };
    assert_eq!(names, &["latest", "other"]);

    let store = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(store.path()).unwrap();
    let mut last = (0, 0);
    let loaded =
        load(&path, &blobs, store.path(), platform().unwrap(), &mut |done, total| last = (done, total))
            .unwrap();
    let names: Vec<_> = loaded.iter().map(|image| image.names.join(",")).collect();
    assert_eq!(names, ["latest", "other"]);
    assert_eq!(loaded[0].image.manifest.to_string(), first);
    assert!(last.0 == last.1 && last.1 > 0, "{last:?}");
    for loaded in &loaded {
        assert!(loaded.image.is_whole(&blobs));
        check(&build_oci(&blobs, &loaded.image, store.path(), &mut |_| {}).unwrap());
    }
    assert_eq!(image_config(store.path(), &loaded[1].image.manifest).unwrap().cmd, ["/two"]);
    let error = load(store.path(), &blobs, store.path(), platform().unwrap(), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, ImageError::NoImages { .. }), "{error:?}");
}

#[test]
fn saved_images_are_loaded_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = layout(folder.path(), "/serve");
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let blobs = Blobs::open(one.path()).unwrap();
    let loaded = load(&path, &blobs, one.path(), platform().unwrap(), &mut |_, _| {}).unwrap().remove(0);
    let names = vec!["example.org/app:1".to_owned(), "example.org/app:latest".to_owned()];
    let write = || {
        let mut bytes = Vec::new();
        save(&blobs, &[(loaded.image.clone(), names.clone())], &mut bytes).unwrap();
        bytes
    };
    let bytes = write();
    assert_eq!(bytes, write(), "it is the same whenever it is written");
    let archive = folder.path().join("saved.tar");
    fs::write(&archive, &bytes).unwrap();
    let blobs = Blobs::open(two.path()).unwrap();
    let again = load(&archive, &blobs, two.path(), platform().unwrap(), &mut |_, _| {}).unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!((&again[0].names, &again[0].image), (&names, &loaded.image));
    // And by `manifest.json` alone, as docker reads it.
    let unpacked = folder.path().join("unpacked");
    tar::Archive::new(&bytes[..]).unpack(&unpacked).unwrap();
    fs::remove_file(unpacked.join("oci-layout")).unwrap();
    let docker = load(&unpacked, &blobs, two.path(), platform().unwrap(), &mut |_, _| {}).unwrap().remove(0);
    assert_eq!(docker.names, names);
    assert_eq!(docker.image.layers, loaded.image.layers);
}

#[test]
fn a_disk_is_copied_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let (_, image) = build_at(&layout(folder.path(), "/serve"), folder.path()).unwrap();
    let disk = folder.path().join("disk.img");
    fs::copy(&image, &disk).unwrap();
    let store = tempfile::tempdir().unwrap();
    let (digest, built) = build_at(&disk, store.path()).unwrap();
    assert_eq!(digest, Digest::of_bytes(&fs::read(&disk).unwrap()));
    assert_eq!(fs::read(&built).unwrap(), fs::read(&disk).unwrap());
    check(&built);
    let refused = |bytes: &[u8]| {
        let path = folder.path().join("other.img");
        fs::write(&path, bytes).unwrap();
        message(&build_at(&path, store.path()).unwrap_err())
    };
    assert!(refused(&vec![0; 4096]).contains("without an ext4 file system"));
    let mut table = vec![0; 4096];
    table[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert!(refused(&table).contains("with partitions"));
    assert!(refused(b"QFI\xfb and more").contains("a qcow2 disk"));
    let mut dirty = fs::read(&disk).unwrap();
    dirty[1024 + 96] |= 0x04;
    assert!(refused(&dirty).contains("not unmounted cleanly"));
}

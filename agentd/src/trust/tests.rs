//! Roots like those of distributions, booted again and again, and roots with hostile files.

use super::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{create_dir, create_dir_all, metadata, read, read_to_string, remove_dir_all, symlink_metadata};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use tempfile::TempDir;

const DEBIAN: &str = "/etc/ssl/certs/ca-certificates.crt";
const ALPINE_LIBRESSL: &str = "/etc/ssl/cert.pem";
const RED_HAT: &str = "/etc/pki/tls/certs/ca-bundle.crt";
const RED_HAT_EXTRACTED: &str = "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem";
const SUSE: &str = "/etc/ssl/ca-bundle.pem";
const SUSE_GENERATED: &str = "/var/lib/ca-certificates/ca-bundle.pem";
const DEBIAN_ANCHOR: &str = "/usr/local/share/ca-certificates/msb.crt";
const RED_HAT_ANCHOR: &str = "/etc/pki/ca-trust/source/anchors/msb.pem";
const SUSE_ANCHOR: &str = "/etc/pki/trust/anchors/msb.pem";
const PUBLIC: &str = "# Public\n-----BEGIN CERTIFICATE-----\nUFVCTElD\n-----END CERTIFICATE-----\n";

fn pem(base64: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

/// The root of a sandbox.
struct Scene(TempDir);

impl Scene {
    /// Creates a root with these files.
    fn new(files: &[(&str, &str)]) -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        create_dir(scene.at("/.msb")).unwrap();
        for (path, text) in files {
            scene.write(path, text);
        }
        scene
    }

    fn at(&self, path: &str) -> PathBuf {
        own_path(self.0.path(), path)
    }

    fn write(&self, path: &str, text: &str) {
        create_dir_all(self.at(path).parent().unwrap()).unwrap();
        write(self.at(path), text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        create_dir_all(self.at(path).parent().unwrap()).unwrap();
        symlink(target, self.at(path)).unwrap();
    }

    /// Boots with a CA, on an empty tmpfs. Returns the path for programs with a variable.
    fn boot(&self, base64: &str) -> String {
        let variables = self.boot_for_variables(base64);
        let [(_, bundle), (_, requests), (_, curl), (_, node)] = &variables.defaults[..] else {
            panic!("{variables:?}")
        };
        assert!(bundle == requests && bundle == curl && node == CA);
        bundle.clone()
    }

    fn boot_for_variables(&self, base64: &str) -> TrustVariables {
        let _ = remove_dir_all(self.at(DIRECTORY));
        let variables = install(self.0.path(), Some(&Trust { ca_pem: pem(base64) })).unwrap();
        assert_eq!(self.text(CA), pem(base64));
        assert_eq!((self.mode(CA), self.mode(DIRECTORY)), (0o644, 0o755));
        variables
    }

    fn boot_without_ca(&self) {
        remove_dir_all(self.at(DIRECTORY)).unwrap();
        assert_eq!(install(self.0.path(), None).unwrap(), TrustVariables::default());
        assert!(!self.exists(DIRECTORY));
    }

    fn text(&self, path: &str) -> String {
        read_to_string(self.at(path)).unwrap()
    }

    fn mode(&self, path: &str) -> u32 {
        metadata(self.at(path)).unwrap().mode() & 0o7777
    }

    fn exists(&self, path: &str) -> bool {
        symlink_metadata(self.at(path)).is_ok()
    }

    /// Returns how often a bundle contains a certificate.
    fn count(&self, path: &str, base64: &str) -> usize {
        let text = read(self.at(path)).unwrap();
        bundle::certificates(&text).filter(|certificate| certificate == base64.as_bytes()).count()
    }

    fn identity(&self, path: &str) -> (u64, i64) {
        let found = metadata(self.at(path)).unwrap();
        (found.ino(), found.ctime_nsec())
    }
}

/// Boots twice, with another CA, and without one. `bundles` are the names of bundles with their first contents.
fn boots(scene: &Scene, bundles: &[(&str, &str)], variable: &str) {
    for base64 in ["T05F", "VFdP"] {
        assert_eq!(scene.boot(base64), variable);
        let written: Vec<_> = bundles.iter().map(|(path, _)| scene.identity(path)).collect();
        assert_eq!(scene.boot(base64), variable);
        for ((path, text), written) in bundles.iter().zip(written) {
            assert_eq!(scene.count(path, base64), 1, "{path}");
            assert!(scene.text(path).starts_with(text), "{path}");
            assert_eq!(scene.identity(path), written, "{path} was written again");
        }
        for anchor in [DEBIAN_ANCHOR, RED_HAT_ANCHOR] {
            assert_eq!((scene.count(anchor, base64), scene.mode(anchor)), (1, 0o644), "{anchor}");
        }
    }
    for (path, _) in bundles {
        assert_eq!(scene.count(path, "T05F"), 0, "{path}");
    }
    for directory in ["/usr/local/share/ca-certificates", "/etc/pki", "/etc/pki/ca-trust/source/anchors"] {
        assert_eq!(scene.mode(directory), 0o755, "{directory}");
    }
    scene.boot_without_ca();
    for (path, text) in bundles {
        assert_eq!(scene.text(path), *text, "{path}");
    }
    assert!(![DEBIAN_ANCHOR, RED_HAT_ANCHOR, SUSE_ANCHOR].iter().any(|anchor| scene.exists(anchor)));
}

#[test]
fn debian() {
    let scene = Scene::new(&[(DEBIAN, PUBLIC)]);
    boots(&scene, &[(DEBIAN, PUBLIC)], DEBIAN);
    assert!(!scene.exists("/etc/ssl/cert.pem") && !scene.exists("/etc/pki/trust"));
}

#[test]
fn alpine_with_one_bundle_of_two_names() {
    let scene = Scene::new(&[(DEBIAN, PUBLIC)]);
    scene.link(ALPINE_LIBRESSL, "certs/ca-certificates.crt");
    boots(&scene, &[(DEBIAN, PUBLIC), (ALPINE_LIBRESSL, PUBLIC)], DEBIAN);
    assert!(symlink_metadata(scene.at(ALPINE_LIBRESSL)).unwrap().is_symlink());
}

#[test]
fn red_hat_with_links() {
    let scene = Scene::new(&[(RED_HAT_EXTRACTED, PUBLIC)]);
    scene.link(RED_HAT, RED_HAT_EXTRACTED);
    scene.link("/etc/pki/tls/cert.pem", RED_HAT_EXTRACTED);
    scene.link("/etc/ssl/certs", "../pki/tls/certs");
    boots(&scene, &[(RED_HAT_EXTRACTED, PUBLIC)], RED_HAT);
    assert!(symlink_metadata(scene.at(RED_HAT)).unwrap().is_symlink());
}

#[test]
fn suse_with_anchors_of_its_own() {
    let scene = Scene::new(&[(SUSE_GENERATED, PUBLIC)]);
    scene.link(SUSE, "../../var/lib/ca-certificates/ca-bundle.pem");
    create_dir_all(scene.at("/etc/pki/trust/anchors")).unwrap();
    scene.boot("T05F");
    assert_eq!(scene.count(SUSE_ANCHOR, "T05F"), 1);
    boots(&scene, &[(SUSE_GENERATED, PUBLIC)], SUSE);
}

#[test]
fn a_root_without_any_store() {
    let scene = Scene::new(&[]);
    boots(&scene, &[], CA);
    assert!(!scene.exists("/etc/ssl"));
    scene.boot_for_variables("T05F");
    let own: Vec<_> = std::fs::read_dir(scene.at(DIRECTORY)).unwrap().flatten().collect();
    assert_eq!(own.len(), 1);
}

#[test]
fn a_bundle_without_a_final_newline_is_restored_to_the_byte() {
    let bundle = PUBLIC.trim_end();
    boots(&Scene::new(&[(DEBIAN, bundle)]), &[(DEBIAN, bundle)], DEBIAN);
}

#[test]
fn owner_and_mode_of_a_bundle_stay() {
    let scene = Scene::new(&[(DEBIAN, PUBLIC)]);
    let path = scene.at(DEBIAN);
    // Only root can give files away.
    let is_root = metadata(&path).unwrap().uid() == 0;
    if is_root {
        chown(&path, Some(1234), Some(5678)).unwrap();
    }
    set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let before = metadata(&path).unwrap();
    scene.boot("T05F");
    let after = metadata(&path).unwrap();
    let attributes = |found: &std::fs::Metadata| (found.mode(), found.uid(), found.gid());
    assert_eq!((scene.count(DEBIAN, "T05F"), attributes(&after)), (1, attributes(&before)));
}

#[test]
fn a_bundle_that_was_generated_again_gets_no_second_copy() {
    let scene = Scene::new(&[(DEBIAN, PUBLIC)]);
    scene.boot("T05F");
    // Debian's tool appends anchors as they are, Red Hat's writes them itself.
    for copy in [scene.text(DEBIAN_ANCHOR), pem("T05F"), pem("T0\n5F")] {
        let generated = format!("{PUBLIC}{copy}");
        scene.write(DEBIAN, &generated);
        scene.boot("T05F");
        assert_eq!(scene.text(DEBIAN), generated);
    }
    // With another CA, the copy of the anchor is replaced.
    scene.write(DEBIAN, &format!("{PUBLIC}{}", scene.text(DEBIAN_ANCHOR)));
    scene.boot("VFdP");
    assert_eq!((scene.count(DEBIAN, "T05F"), scene.count(DEBIAN, "VFdP")), (0, 1));
    scene.boot_without_ca();
    assert_eq!(scene.text(DEBIAN), PUBLIC);
}

#[test]
fn without_a_ca_foreign_files_are_unchanged() {
    let foreign = [(DEBIAN, PUBLIC), (DEBIAN_ANCHOR, "own"), (RED_HAT_ANCHOR, PUBLIC)];
    let scene = Scene::new(&foreign);
    create_dir(scene.at(DIRECTORY)).unwrap();
    let before = foreign.map(|(path, _)| scene.identity(path));
    scene.boot_without_ca();
    assert_eq!(foreign.map(|(path, _)| scene.identity(path)), before);
    // Nor are they anchors with one.
    scene.boot("T05F");
    assert_eq!(
        (scene.text(DEBIAN_ANCHOR), scene.text(RED_HAT_ANCHOR)),
        ("own".to_owned(), PUBLIC.to_owned())
    );
    assert_eq!(scene.count(DEBIAN, "T05F"), 1);
}

#[test]
fn files_of_other_kinds_are_no_bundles() {
    let scene = Scene::new(&[(SUSE, PUBLIC), (ALPINE_LIBRESSL, "\x30\x01\x02")]);
    create_dir_all(scene.at("/etc/ssl/certs")).unwrap();
    mknodat(CWD, scene.at(DEBIAN), FileType::Fifo, Mode::RWXU, 0).unwrap();
    create_dir_all(scene.at(RED_HAT)).unwrap();
    scene.link("/etc/pki/tls/cert.pem", "cert.pem");
    assert_eq!(scene.boot("T05F"), SUSE);
    assert_eq!((scene.count(SUSE, "T05F"), scene.text(ALPINE_LIBRESSL)), (1, "\x30\x01\x02".to_owned()));
    scene.boot_without_ca();
    assert_eq!(scene.text(SUSE), PUBLIC);
}

#[test]
fn links_never_lead_out_of_the_root() {
    let scene = Scene::new(&[]);
    let outside = tempfile::NamedTempFile::new().unwrap();
    write(outside.path(), PUBLIC).unwrap();
    let up = format!("{}{}", "../".repeat(40), outside.path().display());
    scene.link(DEBIAN, &up);
    scene.link(SUSE, outside.path().to_str().unwrap());
    scene.link("/etc/pki", "/proc/self/cwd");
    scene.link("/usr/local/share/ca-certificates", outside.path().parent().unwrap().to_str().unwrap());
    assert_eq!(scene.boot("T05F"), CA);
    assert_eq!(read_to_string(outside.path()).unwrap(), PUBLIC);
    assert!(!outside.path().with_file_name("msb.crt").exists());
}

#[test]
fn a_link_to_a_file_of_a_process_is_not_followed() {
    let scene = Scene::new(&[(DEBIAN, PUBLIC)]);
    let guest = GuestRoot::open(Path::new("/")).unwrap();
    let open = std::fs::File::open(scene.at(DEBIAN)).unwrap();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&open);
    let path = format!("/proc/self/fd/{descriptor}");
    assert!(read(&path).is_ok());
    let found = guest.place(Path::new(&path)).and_then(|place| guest.read(&place));
    // The link's text is an ordinary path, at which a file is found or not.
    assert_eq!(found.unwrap().contents, PUBLIC.as_bytes());
    std::fs::remove_file(scene.at(DEBIAN)).unwrap();
    assert!(read(&path).is_ok());
    let found = guest.place(Path::new(&path)).and_then(|place| guest.read(&place));
    assert_eq!(found.err().unwrap().kind(), ErrorKind::NotFound);
    assert!(guest.place(Path::new("/proc/self/root/etc/x")).is_err());
}

#[test]
fn a_bundle_that_is_too_large_is_unchanged() {
    let scene = Scene::new(&[(SUSE, PUBLIC)]);
    let fill = |bytes: usize| format!("{PUBLIC}{}\n", "#".repeat(bytes - PUBLIC.len() - 1));
    // With the block, the second one would be.
    for bytes in [place::FILE_BYTES_MAX + 1, place::FILE_BYTES_MAX] {
        let text = fill(bytes);
        scene.write(DEBIAN, &text);
        let variable = scene.boot("T05F");
        assert!(scene.text(DEBIAN) == text);
        assert_eq!(scene.count(&variable, "T05F"), 1, "{variable}");
    }
    assert_eq!(scene.count(SUSE, "T05F"), 1);
}

#[test]
fn a_bundle_that_cannot_be_written_is_completed_in_a_copy() {
    let scene = Scene::new(&[(DEBIAN, PUBLIC)]);
    // The name of the file that would replace it is taken.
    scene.write("/etc/ssl/certs/.msb-ca.partial/file", "");
    create_dir_all(scene.at("/usr/local/share")).unwrap();
    scene.write("/usr/local/share/ca-certificates", "no directory");
    for base64 in ["T05F", "VFdP"] {
        assert_eq!(scene.boot(base64), COMPLETED_BUNDLE);
        assert_eq!(scene.text(DEBIAN), PUBLIC);
        assert_eq!(
            (scene.count(COMPLETED_BUNDLE, base64), scene.count(COMPLETED_BUNDLE, "UFVCTElD")),
            (1, 1)
        );
    }
    assert_eq!(scene.text("/usr/local/share/ca-certificates"), "no directory");
    assert_eq!(scene.count(RED_HAT_ANCHOR, "VFdP"), 1);
    // A file that an interrupted boot has left is replaced.
    remove_dir_all(scene.at("/etc/ssl/certs/.msb-ca.partial")).unwrap();
    scene.write("/etc/ssl/certs/.msb-ca.partial", "half");
    assert_eq!(scene.boot("VFdP"), DEBIAN);
    assert!(!scene.exists("/etc/ssl/certs/.msb-ca.partial"));
}

#[test]
fn a_failed_removal_is_tried_again() {
    let scene = Scene::new(&[(DEBIAN, PUBLIC)]);
    scene.boot("T05F");
    scene.write("/etc/ssl/certs/.msb-ca.partial/file", "");
    scene.boot_without_ca();
    assert!(scene.count(DEBIAN, "T05F") == 1 && scene.exists(DEBIAN_ANCHOR));
    remove_dir_all(scene.at("/etc/ssl/certs/.msb-ca.partial")).unwrap();
    create_dir(scene.at(DIRECTORY)).unwrap();
    scene.boot_without_ca();
    assert!(scene.text(DEBIAN) == PUBLIC && !scene.exists(DEBIAN_ANCHOR));
}

#[test]
fn files_on_other_mounts_are_read_only() {
    let scene = Scene::new(&[(DEBIAN, PUBLIC)]);
    let guest = GuestRoot::open(scene.0.path()).unwrap().on_another_mount();
    let anchor = install_anchor(&guest, Path::new(DEBIAN_ANCHOR), true, b"");
    assert_eq!(anchor.unwrap_err().kind(), ErrorKind::CrossesDevices);
    let bundle = install_in_bundles(&guest, &[b"T05F".to_vec()]).unwrap();
    assert!(!bundle.is_written && bundle::certificates(&bundle.text).count() == 2);
    assert!(scene.text(DEBIAN) == PUBLIC && !scene.exists("/usr"));
    let place = guest.place(Path::new(DEBIAN)).unwrap();
    assert!(
        guest.create(&place, b"").is_err() && guest.remove(&place, &guest.read(&place).unwrap()).is_err()
    );
    assert_eq!(scene.text(DEBIAN), PUBLIC);
}

#[test]
fn an_invalid_ca_or_one_that_cannot_be_written_is_an_error() {
    let scene = Scene::new(&[]);
    for ca_pem in [String::new(), "x".to_owned(), pem("T05F").repeat(MAX_TRUST_BYTES / 50)] {
        let result = install(scene.0.path(), Some(&Trust { ca_pem }));
        assert!(matches!(result, Err(RootError::InvalidCa)));
    }
    std::fs::remove_dir(scene.at("/.msb")).unwrap();
    let result = install(scene.0.path(), Some(&Trust { ca_pem: pem("T05F") }));
    assert!(matches!(result, Err(RootError::Step { .. })));
}

#[test]
fn java_gets_a_store_where_it_is_installed() {
    let installations = [
        "/etc/ssl/certs/java/cacerts",
        "/usr/lib/jvm/java-17/lib/security/cacerts",
        "/usr/lib/jvm/java-8/jre/lib/security/cacerts",
        "/opt/java/openjdk/lib/security/cacerts",
    ];
    for path in installations {
        let scene = Scene::new(&[(DEBIAN, PUBLIC), (path, "")]);
        assert_eq!(scene.boot_for_variables("T05F").java_store, Some((JAVA_STORE, java::PASSWORD)), "{path}");
        assert!(scene.exists(JAVA_STORE));
    }
    let scene = Scene::new(&[(DEBIAN, PUBLIC), ("/usr/lib/jvm/java-17/bin/java", "")]);
    assert_eq!(scene.boot_for_variables("T05F").java_store, None);
    assert!(!scene.exists(JAVA_STORE));
}

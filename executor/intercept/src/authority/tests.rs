use super::*;
use crate::clock::{Clock, TlsClock};
use rules::rule::DomainName;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::time_provider::TimeProvider as _;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

#[derive(Debug)]
struct TestClock(Mutex<SystemTime>);

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

fn name(text: &str) -> DomainName {
    DomainName::new(text).unwrap()
}

/// Verifies a leaf as a client of the sandbox does.
fn verify(
    ca: &str,
    leaf: &CertificateDer<'_>,
    name: &str,
    clock: &Arc<dyn Clock>,
) -> Result<(), rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let server = ServerName::try_from(name.to_owned()).unwrap();
    let now = TlsClock(Arc::clone(clock)).current_time().unwrap();
    verifier.verify_server_cert(leaf, &[], &server, &[], now).map(|_| ())
}

#[test]
fn an_authority_is_kept_in_private_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let first = Authority::open_or_create(&path, "box").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("ca.key")), 0o600);
    assert_eq!(fs::read_to_string(path.join("ca.pem")).unwrap(), first.certificate_pem());
    let again = Authority::open_or_create(&path, "box").unwrap();
    assert_eq!(first.certificate_pem(), again.certificate_pem());
    assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
    // The second one issues certificates that the first one's certificate verifies.
    let clock: Arc<dyn Clock> = Arc::new(crate::SystemClock);
    let leaf = Leaves::new(again, Arc::clone(&clock)).unwrap().leaf(&name("a.example")).unwrap();
    verify(first.certificate_pem(), &leaf.cert[0], "a.example", &clock).unwrap();
}

#[test]
fn an_authority_that_cannot_be_used_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let other = tempfile::tempdir().unwrap();
    Authority::open_or_create(other.path(), "box").unwrap();
    let flip = |file: &str| {
        let mut text = fs::read(path.join(file)).unwrap();
        // Inside of the signature of the certificate, and of the key.
        let position = text.len() - 60;
        text[position] = if text[position] == b'A' { b'B' } else { b'A' };
        fs::write(path.join(file), text).unwrap();
    };
    let damages: [(&str, &dyn Fn()); 8] = [
        ("no key", &|| fs::remove_file(path.join("ca.key")).unwrap()),
        ("no certificate", &|| fs::remove_file(path.join("ca.pem")).unwrap()),
        ("an empty certificate", &|| fs::write(path.join("ca.pem"), "").unwrap()),
        ("a damaged certificate", &|| flip("ca.pem")),
        ("a damaged key", &|| flip("ca.key")),
        ("another key", &|| {
            fs::copy(other.path().join("ca.key"), path.join("ca.key")).unwrap();
        }),
        ("a key for all", &|| {
            fs::set_permissions(path.join("ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
        }),
        ("a leftover", &|| {
            fs::write(path.join(".ca.key.new"), "x").unwrap();
            fs::remove_file(path.join("ca.pem")).unwrap();
        }),
    ];
    for (text, damage) in damages {
        let before = Authority::open_or_create(path, "box").unwrap();
        damage();
        let after = Authority::open_or_create(path, "box").unwrap();
        assert_ne!(before.certificate_pem(), after.certificate_pem(), "{text}");
        let again = Authority::open_or_create(path, "box").unwrap();
        assert_eq!(after.certificate_pem(), again.certificate_pem(), "{text}");
        assert_eq!(fs::metadata(path.join("ca.key")).unwrap().permissions().mode() & 0o777, 0o600, "{text}");
    }
    let before = Authority::open_or_create(path, "box").unwrap();
    let renamed = Authority::open_or_create(path, "other").unwrap();
    assert_ne!(before.certificate_pem(), renamed.certificate_pem());
}

#[test]
fn an_authority_that_expires_soon_is_replaced() {
    let now = SystemTime::now();
    let (authority, key) = Authority::create("box", now).unwrap();
    let at = |time| Authority::from_pem(&key, authority.certificate_pem(), "box", time).map(|_| ());
    assert_eq!(at(now), Ok(()));
    assert_eq!(at(now + VALID - REPLACED_BEFORE - BACKDATED - Duration::from_secs(10)), Ok(()));
    assert_eq!(at(now + VALID - REPLACED_BEFORE), Err(Unusable::Expired));
    assert_eq!(at(now - BACKDATED - Duration::from_secs(10)), Err(Unusable::Expired));
}

#[test]
fn a_sandbox_of_90_days_never_gets_an_expired_leaf() {
    const MINUTES: u64 = 7;
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(folder.path(), "box").unwrap();
    let ca = authority.certificate_pem().to_owned();
    let begin = SystemTime::now();
    let clock = Arc::new(TestClock(Mutex::new(begin)));
    let dynamic: Arc<dyn Clock> = clock.clone();
    let leaves = Leaves::new(authority, Arc::clone(&dynamic)).unwrap();
    let mut seen = HashSet::new();
    for step in 0..90 * 24 * 60 / MINUTES {
        let now = begin + Duration::from_secs(step * MINUTES * 60);
        *clock.0.lock().unwrap() = now;
        let leaf = leaves.leaf(&name("a.example")).unwrap();
        if seen.insert(leaf.cert[0].to_vec()) {
            verify(&ca, &leaf.cert[0], "a.example", &dynamic).unwrap();
        }
        let (_, parsed) = x509_parser::parse_x509_certificate(&leaf.cert[0]).unwrap();
        let validity = parsed.validity();
        assert!(validity.not_before.to_datetime() <= OffsetDateTime::from(now), "step {step}");
        let soon = now + Duration::from_secs(9 * 60);
        assert!(validity.not_after.to_datetime() >= OffsetDateTime::from(soon), "step {step}");
    }
    assert!((90..=92).contains(&seen.len()), "{} leaves", seen.len());
    // A clock that is set back makes the leaf one of the future.
    *clock.0.lock().unwrap() = begin;
    let leaf = leaves.leaf(&name("a.example")).unwrap();
    verify(&ca, &leaf.cert[0], "a.example", &dynamic).unwrap();
}

#[test]
fn leaves_are_for_any_name_and_have_own_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(folder.path(), &"long name ".repeat(20)).unwrap();
    let ca = authority.certificate_pem().to_owned();
    let clock: Arc<dyn Clock> = Arc::new(crate::SystemClock);
    let leaves = Leaves::new(authority, Arc::clone(&clock)).unwrap();
    let long = format!("{}.{}.example", "a".repeat(63), "b".repeat(63));
    let mut numbers = HashSet::new();
    for host in ["a.example", "localhost", "xn--bcher-kva.example", long.as_str()] {
        let leaf = leaves.leaf(&name(host)).unwrap();
        verify(&ca, &leaf.cert[0], host, &clock).unwrap();
        verify(&ca, &leaf.cert[0], "other.example", &clock).unwrap_err();
        let (_, parsed) = x509_parser::parse_x509_certificate(&leaf.cert[0]).unwrap();
        assert!(numbers.insert(parsed.raw_serial().to_vec()));
        assert!(!parsed.is_ca());
    }
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(folder.path(), "box").unwrap();
    let leaves = Leaves::new(authority, Arc::new(crate::SystemClock)).unwrap();
    let first = leaves.leaf(&name("first.example")).unwrap();
    for index in 0..1100 {
        leaves.leaf(&name(&format!("host{index}.example"))).unwrap();
        assert!(Arc::ptr_eq(&first, &leaves.leaf(&name("first.example")).unwrap()), "at {index}");
    }
    assert_eq!(leaves.cached(), 1024);
}

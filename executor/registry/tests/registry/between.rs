//! Mirrors and proxies.

use crate::image::TestImage;
use crate::server::{Reply, Seen, Server, read_request, serve};
use crate::support::{Certificates, Store, free_port, message, pull, settings};
use executor_registry::{Auth, HostSettings, Proxies, RegistryError, Settings};
use schemas::config::Masked;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn mirrored(server: &Server, mirrors: Vec<String>) -> Settings {
    let auth = Some(Auth::Password { username: "me".to_owned(), password: Masked::new("x") });
    let host = HostSettings { insecure: true, auth, mirrors, ..HostSettings::default() };
    Settings { hosts: BTreeMap::from([(server.name.clone(), host)]), ..settings() }
}

#[test]
fn a_mirror_is_tried_first_and_gets_no_password() {
    let image = TestImage::new(1, &[50_000, 60_000]);
    let server = Server::of(&image);
    let honest = image.clone();
    let mirror = Server::new(move |seen| {
        assert!(seen.path.starts_with("/v2/cache/hub/org/app/"), "{}", seen.path);
        serve(&honest, seen)
    });
    let store = Store::new();
    let settings = mirrored(&server, vec![format!("{}/cache/hub/", mirror.name)]);
    let found = pull(settings, &store.blobs, &format!("{}/org/app:1", server.name)).unwrap();
    assert_eq!(found.named, image.digest);
    store.check(&image);
    assert_eq!((server.seen().len(), mirror.credentials().len()), (0, 0));
}

#[test]
fn the_registry_is_used_when_a_mirror_fails() {
    let image = TestImage::new(1, &[300_000, 60_000]);
    let layer = image.blobs[&image.layers[0]].clone();
    type Case = Box<dyn Fn(&TestImage, &Seen) -> Reply + Send + Sync>;
    let cases: Vec<Case> = vec![
        Box::new(|_, _| Reply::status(404)),
        Box::new(|_, _| Reply::status(500)),
        Box::new(|_, _| Reply::unauthorized("Basic realm=x")),
        Box::new(|_, _| Reply::unauthorized(r#"Bearer realm="http://localhost:1/token""#)),
        // A mirror that has the documents alone.
        Box::new(|image, seen| match seen.is_layer(image, 0) {
            true => Reply::status(404),
            false => serve(image, seen),
        }),
        // A mirror with a wrong layer.
        Box::new(move |image, seen| match seen.is_layer(image, 0) {
            true => Reply::whole(vec![1; layer.len()]),
            false => serve(image, seen),
        }),
        // A mirror that drops the connection each time.
        Box::new(|image, seen| match seen.is_layer(image, 0) {
            true => {
                let bytes = &image.blobs[&image.layers[0]];
                Reply::body(crate::server::Body::Cut(bytes.len() as u64, bytes[..100_000].to_vec()))
            }
            false => serve(image, seen),
        }),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let server = Server::of(&image);
        let honest = image.clone();
        let mirror = Server::new(move |seen| case(&honest, seen));
        let store = Store::new();
        let settings = mirrored(&server, vec![mirror.name.clone()]);
        pull(settings, &store.blobs, &format!("{}/app:1", server.name)).unwrap_or_else(|error| {
            panic!("{number}: {}", message(&error));
        });
        store.check(&image);
        assert!(!mirror.seen().is_empty() && server.count(|seen| seen.is_layer(&image, 0)) == 1, "{number}");
        // A mirror is not retried for long.
        assert!(mirror.count(|seen| seen.is_layer(&image, 0)) <= 2, "{number}");
    }
    // Nothing listens there.
    let server = Server::of(&image);
    let store = Store::new();
    let settings = mirrored(&server, vec![format!("localhost:{}", free_port())]);
    let begun = Instant::now();
    pull(settings, &store.blobs, &format!("{}/app:1", server.name)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
    // The registry's own error is reported, not the mirror's.
    let mirror = Server::new(|_| Reply::status(418));
    let server = Server::new(|_| Reply::status(404));
    let settings = mirrored(&server, vec![mirror.name.clone()]);
    let error = pull(settings, &store.blobs, &format!("{}/app:1", server.name)).unwrap_err();
    assert!(matches!(&error, RegistryError::NotFound { host, .. } if *host == server.name), "{error:?}");
}

#[test]
fn an_invalid_mirror_is_reported_at_once() {
    let server = Server::new(|_| Reply::status(404));
    for mirror in ["", "http://plain.example", "a b", "/x", "ftp://x", "me:x@host"] {
        let error = pull(mirrored(&server, vec![mirror.to_owned()]), &Store::new().blobs, "a").unwrap_err();
        assert!(matches!(error, RegistryError::InvalidHost { .. }), "{mirror}: {error:?}");
    }
    for name in ["", "https://ghcr.io", "ghcr.io/x", "a b", "host:99999"] {
        let hosts = BTreeMap::from([(name.to_owned(), HostSettings::default())]);
        let error = pull(Settings { hosts, ..settings() }, &Store::new().blobs, "a").unwrap_err();
        assert!(matches!(error, RegistryError::InvalidHost { .. }), "{name}: {error:?}");
    }
}

/// A proxy that forwards everything to one server and records the requests.
struct Proxy {
    name: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Proxy {
    fn new(to: &Server, password: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (to, noted) = (to.name.clone(), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), to, noted) = (stream, to.clone(), noted.clone()) else { continue };
                std::thread::spawn(move || -> std::io::Result<()> {
                    let Some(request) = read_request(&mut stream)? else { return Ok(()) };
                    noted.lock().unwrap().push(request.clone());
                    // Many proxies allow the TLS port alone, and nothing may listen there.
                    if request.path == "nobody.invalid:443" {
                        return stream.write_all(b"HTTP/1.1 502 No\r\ncontent-length: 0\r\n\r\n");
                    }
                    if request.header("proxy-authorization") != password {
                        return stream.write_all(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n");
                    }
                    let mut upstream = TcpStream::connect(to)?;
                    if request.method == "CONNECT" {
                        stream.write_all(b"HTTP/1.1 200 Yes\r\n\r\n")?;
                    } else {
                        let path = request.path.splitn(4, '/').nth(3).unwrap_or_default().to_owned();
                        write!(
                            upstream,
                            "{} /{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
                            request.method
                        )?;
                    }
                    let (mut back, mut forth) = (upstream.try_clone()?, stream.try_clone()?);
                    std::thread::spawn(move || std::io::copy(&mut forth, &mut upstream));
                    // Without keep-alive, the response ends when the server closes.
                    back.set_read_timeout(Some(Duration::from_secs(2)))?;
                    let mut buffer = [0; 65536];
                    loop {
                        match back.read(&mut buffer) {
                            Ok(0) | Err(_) => return stream.shutdown(std::net::Shutdown::Both),
                            Ok(length) => stream.write_all(&buffer[..length])?,
                        }
                    }
                });
            }
        });
        Self { name, seen }
    }

    fn requests(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }
}

#[test]
fn a_proxy_is_used_except_for_excluded_hosts() {
    let certificates = Certificates::new();
    let image = TestImage::new(1, &[50_000]);
    let honest = image.clone();
    let server = Server::with_tls(&certificates, move |seen| serve(&honest, seen));
    let proxy = Proxy::new(&server, Some("Basic bWU6eA=="));
    // Only the proxy resolves the name; the certificate is for another one.
    let insecure = HostSettings { insecure: true, ..HostSettings::default() };
    let hosts = BTreeMap::from([("registry.invalid".to_owned(), insecure)]);
    let settings = |url: String, no: Option<&str>| Settings {
        hosts: hosts.clone(),
        proxies: Proxies { https: Some(url), no: no.map(str::to_owned), ..Proxies::default() },
        ..settings()
    };
    let url = format!("http://me:x@{}", proxy.name);
    let store = Store::new();
    pull(settings(url.clone(), Some("other.invalid,10.0.0.0/8")), &store.blobs, "registry.invalid/app:1")
        .unwrap();
    store.check(&image);
    assert!(
        proxy.requests().iter().all(|requests| requests == "CONNECT registry.invalid:443"),
        "{:?}",
        proxy.requests()
    );
    assert!(server.seen().iter().all(|seen| seen.header("proxy-authorization").is_none()));

    let before = proxy.requests().len();
    let error =
        pull(settings(url, Some(".invalid")), &Store::new().blobs, "registry.invalid/app:1").unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
    let local = format!("{}/app:1", server.name);
    let ca = HostSettings { ca: Some(certificates.path("ca.pem")), ..HostSettings::default() };
    let mut direct = settings(format!("http://{}", proxy.name), None);
    direct.hosts.insert(server.name.clone(), ca);
    pull(direct, &Store::new().blobs, &local).unwrap();
    assert_eq!(proxy.requests().len(), before);

    // A proxy with another password, and one that does not exist.
    for url in [format!("http://{}", proxy.name), "http://localhost:1".to_owned()] {
        let error =
            pull(settings(url.clone(), None), &Store::new().blobs, "registry.invalid/app:1").unwrap_err();
        let text = message(&error);
        let expected = format!("cannot reach registry.invalid through the proxy {}", &url["http://".len()..]);
        assert!(
            text.starts_with(&expected) && text.ends_with("[check HTTPS_PROXY, HTTP_PROXY and NO_PROXY]"),
            "{text}"
        );
    }
}

#[test]
fn plain_http_uses_a_proxy_as_well() {
    let image = TestImage::new(1, &[50_000]);
    let server = Server::of(&image);
    for (name, tunnel) in
        [("registry.invalid:5000", "registry.invalid:5000"), ("nobody.invalid", "nobody.invalid:443")]
    {
        let proxy = Proxy::new(&server, None);
        let insecure = HostSettings { insecure: true, ..HostSettings::default() };
        let hosts = BTreeMap::from([(name.to_owned(), insecure)]);
        let url = Some(format!("http://{}", proxy.name));
        let proxies = Proxies { http: url.clone(), https: url, no: None };
        let store = Store::new();
        pull(Settings { hosts, proxies, ..settings() }, &store.blobs, &format!("{name}/app:1")).unwrap();
        store.check(&image);
        let requests = proxy.requests();
        assert_eq!(requests[0], format!("CONNECT {tunnel}"));
        assert!(
            requests[1..].iter().all(|requests| requests.contains(&format!(" http://{name}/v2/app/"))),
            "{requests:?}"
        );
    }
}

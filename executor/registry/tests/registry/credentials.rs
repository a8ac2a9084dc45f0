//! Credentials are sent to the registry they are for, with the scheme that it demands, and nowhere else.

use crate::child;
use crate::image::TestImage;
use crate::server::{Body, Reply, Seen, Server, serve};
use crate::support::{Certificates, Store, message, pull, settings};
use executor_registry::{Auth, HostSettings, RegistryError, Settings};
use schemas::config::Masked;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// `me:se:cret`, encoded.
const BASIC: &str = "Basic bWU6c2U6Y3JldA==";
const REALM: &str = "{realm}";

fn me() -> Option<Auth> {
    Some(Auth::Password { username: "me".to_owned(), password: Masked::new("se:cret") })
}

fn with_host(name: &str, host: HostSettings) -> Settings {
    Settings { hosts: BTreeMap::from([(name.to_owned(), host)]), ..settings() }
}

/// A registry that demands a token from its own `/token` or from another server.
fn wants_token(image: &TestImage, challenge: &str, realm: Option<String>) -> Server {
    let (image, challenge) = (image.clone(), challenge.to_owned());
    Server::new(move |seen| {
        let own = format!("http://{}/token", seen.header("host").unwrap());
        if seen.path.starts_with("/token") {
            return Reply::whole(r#"{"token":"good","expires_in":60}"#);
        }
        if seen.header("authorization") == Some("Bearer good") {
            return serve(&image, seen);
        }
        Reply::unauthorized(challenge.replace(REALM, realm.as_deref().unwrap_or(&own)))
    })
}

/// A token server that issues a valid token to anyone.
fn token_server() -> Server {
    Server::new(|_| Reply::whole(r#"{"access_token":"good"}"#))
}

const CHALLENGE: &str = r#"Bearer realm="{realm}",service="the registry",scope="repository:other:pull,push""#;

fn tokens(server: &Server) -> Vec<Seen> {
    server.seen().into_iter().filter(|seen| seen.path.starts_with("/token")).collect()
}

#[test]
fn a_token_for_nothing_but_this_pull() {
    let image = TestImage::new(1, &[50_000, 60_000, 70_000]);
    let server = wants_token(&image, CHALLENGE, None);
    let store = Store::new();
    pull(settings(), &store.blobs, &format!("{}/org/app:1", server.name)).unwrap();
    store.check(&image);
    let tokens = tokens(&server);
    let requests: Vec<_> = tokens.iter().map(|seen| (seen.method.as_str(), seen.path.as_str())).collect();
    assert_eq!(requests, [("GET", "/token?scope=repository%3Aorg%2Fapp%3Apull&service=the%20registry")]);
    assert_eq!(tokens[0].header("authorization"), None);
}

#[test]
fn a_password_is_sent_to_the_registry_itself() {
    let image = TestImage::new(1, &[50_000]);
    let server = wants_token(&image, CHALLENGE, None);
    let host = HostSettings { insecure: true, auth: me(), ..HostSettings::default() };
    let store = Store::new();
    pull(with_host(&server.name, host), &store.blobs, &format!("{}/app:1", server.name)).unwrap();
    let tokens = tokens(&server);
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].header("authorization"), Some(BASIC));
    assert_eq!(server.count(|seen| seen.header("authorization") == Some(BASIC)), 1);
}

#[test]
fn an_identity_token_is_exchanged_and_never_in_a_url() {
    let image = TestImage::new(1, &[50_000]);
    let server = wants_token(&image, CHALLENGE, None);
    let auth = Some(Auth::IdentityToken(Masked::new("identity&x")));
    let host = HostSettings { insecure: true, auth, ..HostSettings::default() };
    let store = Store::new();
    pull(with_host(&server.name, host), &store.blobs, &format!("{}/app:1", server.name)).unwrap();
    let tokens = tokens(&server);
    assert_eq!((tokens.len(), tokens[0].method.as_str(), tokens[0].path.as_str()), (1, "POST", "/token"));
    assert_eq!(
        tokens[0].body,
        "scope=repository%3Aapp%3Apull&service=the%20registry&grant_type=refresh_token&client_id=msb\
         &refresh_token=identity%26x"
    );
    assert!(server.seen().iter().all(|seen| !seen.path.contains("identity")));
}

#[test]
fn a_bearer_token_is_sent_unchanged() {
    let image = TestImage::new(1, &[50_000]);
    let foreign = token_server();
    let server = wants_token(&image, CHALLENGE, Some(format!("http://{}/token", foreign.name)));
    let auth = Some(Auth::BearerToken(Masked::new("good")));
    let host = HostSettings { insecure: true, auth, ..HostSettings::default() };
    let store = Store::new();
    pull(with_host(&server.name, host), &store.blobs, &format!("{}/app:1", server.name)).unwrap();
    assert!(foreign.seen().is_empty());
}

#[test]
fn a_foreign_realm_gets_no_password() {
    let image = TestImage::new(1, &[50_000]);
    for auth in [me(), Some(Auth::IdentityToken(Masked::new("identity")))] {
        let foreign = token_server();
        let server = wants_token(&image, CHALLENGE, Some(format!("http://{}/token", foreign.name)));
        let name = format!("{}/app:1", server.name);
        let host = HostSettings { insecure: true, auth, ..HostSettings::default() };
        let store = Store::new();
        let error = pull(with_host(&server.name, host.clone()), &store.blobs, &name).unwrap_err();
        let text = message(&error);
        assert_eq!(
            text,
            format!(
                "{0} asks to send its credentials to {1}, which is another host; they were not sent [if {1} may have \
                 them, add it to registries.hosts.\"{0}\".realms in config.json]",
                server.name, foreign.name
            )
        );
        assert!(foreign.seen().is_empty());
        assert_eq!(server.credentials(), Vec::<String>::new());
        // Nor one that is trusted but reached over plain HTTP.
        let named = HostSettings { realms: vec![foreign.name.clone()], ..host };
        let error = pull(with_host(&server.name, named.clone()), &store.blobs, &name).unwrap_err();
        assert!(
            matches!(&error, RegistryError::CleartextCredentials { host } if *host == foreign.name),
            "{error:?}"
        );
        assert!(foreign.seen().is_empty());
        // Unless the settings allow plain HTTP.
        let mut settings = with_host(&server.name, named);
        let insecure = HostSettings { insecure: true, ..HostSettings::default() };
        settings.hosts.insert(foreign.name.clone(), insecure);
        pull(settings, &store.blobs, &name).unwrap();
        assert_eq!(foreign.seen().len(), 1);
    }
    // Without a password, the token server need not be trusted.
    let foreign = token_server();
    let server = wants_token(&image, CHALLENGE, Some(format!("http://{}/token", foreign.name)));
    let store = Store::new();
    pull(settings(), &store.blobs, &format!("{}/app:1", server.name)).unwrap();
    assert_eq!((foreign.seen().len(), foreign.credentials().len()), (1, 0));
}

#[test]
fn a_token_server_without_tls_is_none_for_a_registry_with_it() {
    let certificates = Certificates::new();
    let foreign = token_server();
    let realm = foreign.name.clone();
    let server = Server::with_tls(&certificates, move |_| {
        Reply::unauthorized(format!(r#"Bearer realm="http://{realm}/token""#))
    });
    let ca = Some(certificates.path("ca.pem"));
    for auth in [None, me()] {
        let host = HostSettings { ca: ca.clone(), auth, ..HostSettings::default() };
        let store = Store::new();
        pull(with_host(&server.name, host), &store.blobs, &format!("{}/app:1", server.name)).unwrap_err();
        assert!(foreign.seen().is_empty());
    }
}

#[test]
fn over_tls_another_port_of_the_host_may_get_the_password() {
    let certificates = Certificates::new();
    let realm = Server::with_tls(&certificates, |_| Reply::whole(r#"{"token":"good"}"#));
    let image = TestImage::new(1, &[50_000]);
    let (honest, url) = (image.clone(), format!("https://{}/token", realm.name));
    let server = Server::with_tls(&certificates, move |seen| match seen.header("authorization") {
        Some("Bearer good") => serve(&honest, seen),
        _ => Reply::unauthorized(format!(r#"Bearer realm="{url}""#)),
    });
    let host = HostSettings { ca: Some(certificates.path("ca.pem")), auth: me(), ..HostSettings::default() };
    let mut settings = with_host(&server.name, host.clone());
    settings.hosts.insert(realm.name.clone(), HostSettings { auth: None, ..host });
    let store = Store::new();
    pull(settings, &store.blobs, &format!("{}/app:1", server.name)).unwrap();
    assert_eq!(realm.credentials(), [BASIC]);
}

#[test]
fn secrets_need_tls_unless_the_settings_allow_plain_http() {
    let image = TestImage::new(1, &[50_000]);
    for challenge in [CHALLENGE, "Basic realm=x"] {
        for auth in
            [me(), Some(Auth::IdentityToken(Masked::new("i"))), Some(Auth::BearerToken(Masked::new("good")))]
        {
            let server = wants_token(&image, challenge, None);
            let host = HostSettings { auth, ..HostSettings::default() };
            let store = Store::new();
            let name = format!("{}/app:1", server.name);
            let error = pull(with_host(&server.name, host), &store.blobs, &name).unwrap_err();
            let is_reported = matches!(error, RegistryError::CleartextCredentials { .. });
            // A password is demanded and there is none: that is reported instead.
            assert!(is_reported || challenge != CHALLENGE && server.credentials().is_empty(), "{error:?}");
            assert_eq!(server.credentials(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_redirect_drops_credentials() {
    let image = TestImage::new(1, &[50_000]);
    let storage = Server::of(&image);
    let (honest, to) = (image.clone(), storage.name.clone());
    let server = Server::new(move |seen| match seen.header("authorization") {
        Some(BASIC) if seen.is_layer(&honest, 0) && !seen.path.starts_with("/own") => {
            Reply::redirect(format!("/own{}", seen.path))
        }
        Some(BASIC) if seen.is_layer(&honest, 0) => Reply::redirect(format!("http://{to}{}", seen.path)),
        Some(BASIC) => serve(&honest, seen),
        _ => Reply::unauthorized("Basic realm=x"),
    });
    let host = HostSettings { insecure: true, auth: me(), ..HostSettings::default() };
    let mut settings = with_host(&server.name, host.clone());
    // Not even where they are configured.
    settings.hosts.insert(storage.name.clone(), host);
    let store = Store::new();
    pull(settings, &store.blobs, &format!("{}/app:1", server.name)).unwrap();
    store.check(&image);
    assert_eq!((storage.seen().len(), storage.credentials().len()), (1, 0));
    // A redirect on the same host had them.
    assert_eq!(
        server.count(|seen| seen.path.starts_with("/own") && seen.header("authorization") == Some(BASIC)),
        1
    );
}

#[test]
fn a_redirect_target_cannot_demand_credentials() {
    let image = TestImage::new(1, &[50_000]);
    let token = token_server();
    let realm = format!("http://{}/token", token.name);
    for challenge in [format!(r#"Bearer realm="{realm}""#), "Basic realm=x".to_owned()] {
        let storage = Server::new(move |_| Reply::unauthorized(challenge.clone()));
        let (honest, to) = (image.clone(), storage.name.clone());
        let server = Server::new(move |seen| match seen.is_layer(&honest, 0) {
            true => Reply::redirect(format!("http://{to}{}", seen.path)),
            false => serve(&honest, seen),
        });
        let host = HostSettings { insecure: true, auth: me(), ..HostSettings::default() };
        let store = Store::new();
        let name = format!("{}/app:1", server.name);
        let error = pull(with_host(&server.name, host), &store.blobs, &name).unwrap_err();
        let expected = format!("{} answered 401 to the request for layer 1 of 1", storage.name);
        assert!(message(&error).starts_with(&expected), "{}", message(&error));
        assert_eq!((token.seen().len(), server.credentials().len(), storage.credentials().len()), (0, 0, 0));
    }
}

#[test]
fn an_expired_token_is_renewed_once_for_concurrent_requests() {
    let image = TestImage::new(1, &[50_000, 51_000, 52_000, 53_000]);
    let (honest, given) = (image.clone(), Arc::new(AtomicUsize::new(0)));
    let issued = given.clone();
    let server = Server::new(move |seen| {
        if seen.path.starts_with("/token") {
            let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
            std::thread::sleep(Duration::from_millis(100));
            return Reply::whole(format!(r#"{{"token":"number {number}"}}"#));
        }
        // The first token is valid for documents only.
        let good = match seen.header("authorization") {
            Some("Bearer number 1") => {
                !honest.layers.iter().any(|layer| seen.part() == format!("blobs/{layer}"))
            }
            Some("Bearer number 2") => true,
            _ => false,
        };
        let realm = format!("http://{}/token", seen.header("host").unwrap());
        if good { serve(&honest, seen) } else { Reply::unauthorized(format!(r#"Bearer realm="{realm}""#)) }
    });
    let store = Store::new();
    pull(settings(), &store.blobs, &format!("{}/app:1", server.name)).unwrap();
    store.check(&image);
    assert_eq!(given.load(Ordering::SeqCst), 2);
}

#[test]
fn failing_and_malicious_token_servers() {
    type Case = fn() -> Reply;
    let cases: [(Case, &str); 6] = [
        (|| Reply::whole(r#"{"token":"a\r\nX-Injected: b"}"#), "sent none"),
        (|| Reply::whole(r#"{"token":""}"#), "sent none"),
        (|| Reply::whole("<html>"), "sent none"),
        (|| Reply::body(Body::Endless(65536, Duration::ZERO)), "sent more than the limit of 65536 bytes"),
        (|| Reply::status(401), "it needs credentials, or does not exist"),
        (|| Reply::redirect("/v2/"), "answered 404 to the request for a token"),
    ];
    for (answer, expected) in cases {
        let server = Server::new(move |seen| match seen.path.split('?').next().unwrap() {
            "/token" => answer(),
            "/v2/" => Reply::status(404),
            _ => {
                let realm = format!("http://{}/token", seen.header("host").unwrap());
                Reply::unauthorized(format!(r#"Bearer realm="{realm}""#))
            }
        });
        let store = Store::new();
        let error = pull(settings(), &store.blobs, &format!("{}/app:1", server.name)).unwrap_err();
        assert!(message(&error).contains(expected), "{}", message(&error));
    }
    for (challenge, expected) in [
        ("Negotiate", "demands an unsupported authentication scheme: \"Negotiate\""),
        (r#"Bearer realm="ftp://x""#, "its token server \"ftp://x\" is not a URL"),
        (r#"Bearer realm="/token""#, "its token server \"/token\" is not a URL"),
    ] {
        let server = Server::new(move |_| Reply::unauthorized(challenge));
        let store = Store::new();
        let error = pull(settings(), &store.blobs, &format!("{}/app:1", server.name)).unwrap_err();
        assert!(message(&error).contains(expected), "{}", message(&error));
    }
}

#[test]
fn helpers_provide_credentials_within_limits() {
    let image = TestImage::new(1, &[50_000]);
    let honest = image.clone();
    let server = Server::new(move |seen| match seen.header("authorization") {
        Some(BASIC) => serve(&honest, seen),
        _ => Reply::unauthorized("Basic realm=x"),
    });
    let folder = tempfile::tempdir().unwrap();
    let requests = folder.path().join("asked");
    let answer = r#"{"ServerURL":"x","Username":"me","Secret":"se:cret"}"#;
    for (script, expected) in [
        (format!("cat >{}; echo '{answer}'", requests.display()), None),
        (
            "echo 'credentials not found in native keychain'; exit 1".to_owned(),
            Some("it needs credentials, or does not"),
        ),
        (
            "echo 'the keyring is locked'; exit 1".to_owned(),
            Some("`docker-credential-test` cannot provide the credentials"),
        ),
        ("exit 3".to_owned(), Some("it ended with exit status: 3")),
        ("echo nonsense".to_owned(), Some("its answer is not a Username and a Secret in JSON")),
        ("exec yes".to_owned(), Some("it printed more than 65536 bytes")),
        ("exec sleep 600".to_owned(), Some("it did not answer within 5s")),
    ] {
        let program = folder.path().join("docker-credential-test");
        std::fs::write(&program, format!("#!/bin/sh\n[ \"$1\" = get ] || exit 9\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let config = folder.path().join("config.json");
        std::fs::write(&config, r#"{ "credsStore": "test" }"#).unwrap();
        let store = Store::new();
        let begun = Instant::now();
        let mut child = child::command(&server.name, &store);
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        child.env("PATH", path).env(child::DOCKER_CONFIG, &config).env(child::INSECURE, "yes");
        let output = child.output().unwrap();
        // Half of what the helper would take.
        assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", begun.elapsed());
        let text = String::from_utf8(output.stdout).unwrap();
        match expected {
            None => {
                assert!(output.status.success(), "{text}");
                store.check(&image);
                assert_eq!(std::fs::read_to_string(&requests).unwrap(), server.name);
            }
            Some(expected) => {
                assert!(!output.status.success() && text.contains(expected), "{text}");
                assert!(text.contains("refuses app: it needs credentials"), "{text}");
                // A helper without an entry has not failed.
                let is_blamed = text.contains("docker-credential-test");
                assert_eq!(is_blamed, !script.contains("not found in native"), "{text}");
            }
        }
    }
    // A missing helper does not prevent pulling without credentials.
    let open = Server::of(&image);
    let config = folder.path().join("config.json");
    std::fs::write(&config, r#"{ "credsStore": "missing" }"#).unwrap();
    let store = Store::new();
    let settings = Settings { docker_config: Some(config), ..settings() };
    pull(settings.clone(), &store.blobs, &format!("{}/app:1", open.name)).unwrap();
    let token = wants_token(&image, CHALLENGE, None);
    pull(settings.clone(), &store.blobs, &format!("{}/app:1", token.name)).unwrap();
    let error = pull(settings, &Store::new().blobs, &format!("{}/app:1", server.name)).unwrap_err();
    let text = message(&error);
    assert!(
        text.contains("`docker-credential-missing` cannot provide") && text.contains("[repair it, or"),
        "{text}"
    );
}

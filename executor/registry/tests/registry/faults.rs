//! Failing registries: interrupted pulls resume, and retries are limited.

use crate::image::TestImage;
use crate::server::{Body, Reply, Seen, Server, serve};
use crate::support::{Store, limits, message, pull, settings};
use executor_registry::{Limits, RegistryError, Settings};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A registry that misbehaves for the first layer alone, by the number of the request.
fn broken(image: &TestImage, layer: impl Fn(usize, &Seen, &[u8]) -> Reply + Send + Sync + 'static) -> Server {
    let (image, times) = (image.clone(), AtomicUsize::new(0));
    Server::new(move |seen| {
        if !seen.is_layer(&image, 0) {
            return serve(&image, seen);
        }
        layer(times.fetch_add(1, Ordering::SeqCst), seen, &image.blobs[&image.layers[0]])
    })
}

fn name(server: &Server) -> String {
    format!("{}/app:1", server.name)
}

/// The requested ranges of the first layer.
fn ranges(server: &Server, image: &TestImage) -> Vec<String> {
    let seen = server.seen();
    let layers = seen.iter().filter(|seen| seen.is_layer(image, 0));
    layers.map(|seen| seen.header("range").unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_partial_layer_resumes() {
    let image = TestImage::new(1, &[400_000, 1000]);
    let honest = image.clone();
    let server = broken(&image, move |time, seen, bytes| match time {
        0 => Reply::body(Body::Cut(bytes.len() as u64, bytes[..150_000].to_vec())),
        1 => {
            let mut reply =
                Reply::body(Body::Cut(bytes.len() as u64 - 150_000, bytes[150_000..220_000].to_vec()));
            reply.status = 206;
            reply.with("content-range", format!("bytes 150000-{}/{}", bytes.len() - 1, bytes.len()))
        }
        _ => serve(&honest, seen),
    });
    let store = Store::new();
    pull(settings(), &store.blobs, &name(&server)).unwrap();
    store.check(&image);
    assert_eq!(ranges(&server, &image), ["", "bytes=150000-", "bytes=220000-"]);
}

#[test]
fn a_registry_without_ranges_restarts_the_layer() {
    let image = TestImage::new(1, &[400_000]);
    let server = broken(&image, |time, _, bytes| match time {
        0 | 1 => Reply::body(Body::Cut(bytes.len() as u64, bytes[..100_000 * (time + 1)].to_vec())),
        _ => Reply::whole(bytes),
    });
    let store = Store::new();
    pull(settings(), &store.blobs, &name(&server)).unwrap();
    store.check(&image);
    assert_eq!(ranges(&server, &image), ["", "bytes=100000-", "bytes=200000-"]);
}

#[test]
fn a_registry_with_wrong_ranges_is_requested_without_one() {
    for status in [416, 206] {
        let image = TestImage::new(1, &[400_000]);
        let server = broken(&image, move |_, seen, bytes| match seen.header("range") {
            Some(_) if status == 206 => {
                let mut reply = Reply::whole(&bytes[5..]).with("content-range", "bytes 5-399999/400000");
                reply.status = status;
                reply
            }
            Some(_) => Reply::status(status),
            None => Reply::whole(bytes),
        });
        let store = Store::new();
        let bytes = &image.blobs[&image.layers[0]];
        let mut left = store.blobs.begin(&image.layers[0], bytes.len() as u64).unwrap();
        left.write(&bytes[..1000]).unwrap();
        drop(left);
        pull(settings(), &store.blobs, &name(&server)).unwrap();
        store.check(&image);
        assert_eq!(ranges(&server, &image), ["bytes=1000-", ""]);
    }
}

#[test]
fn wrong_bytes_of_an_earlier_writer_are_pulled_again() {
    let image = TestImage::new(1, &[400_000]);
    let server = Server::of(&image);
    let size = image.blobs[&image.layers[0]].len();
    for left in [1000, size] {
        let store = Store::new();
        store.blobs.begin(&image.layers[0], size as u64).unwrap().write(&vec![7; left]).unwrap();
        pull(settings(), &store.blobs, &name(&server)).unwrap();
        store.check(&image);
    }
    assert_eq!(ranges(&server, &image), ["bytes=1000-", "", ""]);
}

#[test]
fn a_complete_partial_blob_is_not_requested_again() {
    let image = TestImage::new(1, &[400_000]);
    let server = Server::of(&image);
    let store = Store::new();
    let bytes = &image.blobs[&image.layers[0]];
    store.blobs.begin(&image.layers[0], bytes.len() as u64).unwrap().write(bytes).unwrap();
    pull(settings(), &store.blobs, &name(&server)).unwrap();
    store.check(&image);
    assert!(ranges(&server, &image).is_empty());
}

#[test]
fn a_registry_that_keeps_disconnecting_is_given_up() {
    let image = TestImage::new(1, &[3_000_000]);
    // Nothing; a few bytes each time; a status alone; silence; a length that is too small.
    type Case = fn(usize, &Seen, &[u8]) -> Reply;
    let cases: [Case; 5] = [
        |_, _, _| Reply::body(Body::HangUp),
        |_, seen, bytes| {
            let range = seen.header("range").map_or("0-", |range| &range[6..]);
            let start: usize = range.trim_end_matches('-').parse().unwrap();
            let mut reply =
                Reply::body(Body::Cut((bytes.len() - start) as u64, bytes[start..start + 100].to_vec()));
            reply.status = if start > 0 { 206 } else { 200 };
            reply.with("content-range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))
        },
        |_, _, bytes| Reply::body(Body::Cut(bytes.len() as u64, Vec::new())),
        |_, _, bytes| Reply::body(Body::Slow(bytes.to_vec(), 1, Duration::from_millis(20))),
        |_, _, bytes| Reply::whole(&bytes[..bytes.len() - 1]),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let server = broken(&image, case);
        let store = Store::new();
        let limits = Limits { idle_timeout: Duration::from_millis(300), ..limits() };
        let begun = Instant::now();
        let error = pull(Settings { limits, ..settings() }, &store.blobs, &name(&server)).unwrap_err();
        let text = message(&error);
        assert!(matches!(error, RegistryError::Disconnected { .. }), "{number}: {text}");
        assert!(
            text.starts_with(&format!("{} closed the connection while layer 1 of 1 (", server.name)),
            "{text}"
        );
        assert!(text.ends_with("[try again: the pull resumes where it stopped]"), "{text}");
        assert_eq!(ranges(&server, &image).len(), 6, "{number}");
        assert!(begun.elapsed() < Duration::from_secs(200), "{number}: {:?}", begun.elapsed());
        store.check_nothing_half_made();
        assert_eq!(store.blobs.path(&image.layers[0]), None);
    }
}

#[test]
fn a_registry_that_disconnects_but_progresses_is_retried() {
    // Ten megabytes, of which each connection transfers a little more than one.
    let image = TestImage::new(1, &[10_000_000]);
    let server = broken(&image, |_, seen, bytes| {
        let range = seen.header("range").map_or("0-", |range| &range[6..]);
        let start: usize = range.trim_end_matches('-').parse().unwrap();
        let end = (start + 1_100_000).min(bytes.len());
        let mut reply = Reply::body(Body::Cut((bytes.len() - start) as u64, bytes[start..end].to_vec()));
        reply.status = if start > 0 { 206 } else { 200 };
        reply.with("content-range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))
    });
    let store = Store::new();
    pull(settings(), &store.blobs, &name(&server)).unwrap();
    store.check(&image);
    assert_eq!(ranges(&server, &image).len(), 10);
    assert_eq!(server.sent() as usize, image.blobs.values().map(Vec::len).sum::<usize>());
}

#[test]
fn server_errors_are_retried_a_few_times() {
    let image = TestImage::new(1, &[50_000]);
    for (status, requests) in
        [(500, 6), (502, 6), (503, 6), (504, 6), (429, 6), (408, 6), (501, 1), (400, 1), (418, 1)]
    {
        // It succeeds in the end.
        if requests > 1 {
            let (honest, times) = (image.clone(), AtomicUsize::new(0));
            let server = Server::new(move |seen| match times.fetch_add(1, Ordering::SeqCst) % 2 {
                0 => Reply::status(status),
                _ => serve(&honest, seen),
            });
            let store = Store::new();
            pull(settings(), &store.blobs, &name(&server)).unwrap();
            store.check(&image);
        }
        // It fails: neither for the manifest nor for the layer.
        let honest = image.clone();
        let server = Server::new(move |seen| match seen.method.as_str() {
            "HEAD" => serve(&honest, seen),
            _ => Reply {
                body: Body::Whole(br#"{"errors":[{"code":"X","message":"go \u001b[31maway"}]}"#.to_vec()),
                ..Reply::status(status)
            },
        });
        let store = Store::new();
        let error = pull(settings(), &store.blobs, &name(&server)).unwrap_err();
        assert_eq!(server.count(|seen| seen.method == "GET"), requests, "{status}");
        let text = message(&error);
        if status == 429 {
            assert!(
                text.starts_with(&format!("{} refuses further requests [wait, or", server.name)),
                "{text}"
            );
        } else {
            let expected =
                format!("{} answered {status} to the request for the manifest: go [31maway", server.name);
            assert!(text.starts_with(&expected), "{text}");
        }
        let server = broken(&image, move |_, _, _| Reply::status(status));
        pull(settings(), &store.blobs, &name(&server)).unwrap_err();
        assert_eq!(ranges(&server, &image).len(), requests, "{status}");
    }
}

#[test]
fn retry_after_is_respected_within_limits() {
    let image = TestImage::new(1, &[50_000]);
    fn date(seconds: u64) -> String {
        let time = std::time::SystemTime::now() + Duration::from_secs(seconds);
        let time = jiff::Timestamp::try_from(time).unwrap();
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap()
    }
    // In whole seconds, a date may be almost a second early.
    for (status, is_date, least) in [(429, false, 1000), (503, true, 1500)] {
        let server = broken(&image, move |time, _, bytes| match time {
            0 if is_date => Reply::status(status).with("retry-after", date(3)),
            0 => Reply::status(status).with("retry-after", "1"),
            _ => Reply::whole(bytes),
        });
        let store = Store::new();
        let begun = Instant::now();
        pull(settings(), &store.blobs, &name(&server)).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(least), "{:?}", begun.elapsed());
    }
    for after in ["3600".to_owned(), u64::MAX.to_string(), date(4000)] {
        let server = broken(&image, move |_, _, _| Reply::status(429).with("retry-after", after.clone()));
        let store = Store::new();
        let begun = Instant::now();
        let error = pull(settings(), &store.blobs, &name(&server)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(600), "{:?}", begun.elapsed());
        let text = message(&error);
        assert!(text.starts_with(&format!("{} refuses further requests for ", server.name)), "{text}");
        assert_eq!(ranges(&server, &image).len(), 1);
    }
}

#[test]
fn one_layer_that_fails_does_not_lose_the_others() {
    let image = TestImage::new(1, &[50_000, 60_000, 70_000]);
    let server = broken(&image, |_, _, _| Reply::status(404));
    let store = Store::new();
    let error = pull(settings(), &store.blobs, &name(&server)).unwrap_err();
    let text = message(&error);
    let expected = format!("{} does not have layer 1 of 3 (", server.name);
    assert!(text.starts_with(&expected) && text.contains(&format!(") of {}/app:1", server.name)), "{text}");
    let again = Server::of(&image);
    pull(settings(), &store.blobs, &name(&again)).unwrap();
    store.check(&image);
}

#[test]
fn a_registry_may_have_an_ipv6_address_alone() {
    let image = TestImage::new(1, &[50_000]);
    let honest = image.clone();
    let server = Server::on_ipv6(move |seen| serve(&honest, seen));
    assert!(server.name.starts_with("[::1]:"));
    let store = Store::new();
    pull(settings(), &store.blobs, &name(&server)).unwrap();
    store.check(&image);
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.header("host") == Some(server.name.as_str())), "{seen:?}");
}

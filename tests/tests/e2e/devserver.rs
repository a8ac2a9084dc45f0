//! `examples/devserver`: its server loads its code again as soon as the host has saved it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tests::wait::retry;
use tests::{Project, leftovers, ports};

/// Returns the body of the answer to a request, or what went wrong.
fn get(port: u16, path: &str) -> Result<String, String> {
    let exchange = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let answer = exchange().map_err(|error: std::io::Error| error.to_string())?;
    let body = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no answer: {answer:?}"))?.1;
    Ok(body.to_owned())
}

#[test]
fn a_server_reloads_what_the_host_saves() {
    let project = Project::copy_of("devserver");
    let port = ports::free();
    project.write(".env", &format!("PORT={port}\n"));
    project.up();
    let source = fs::read_to_string(project.directory().join("src/app.py")).expect("a file");
    let with = |greeting: &str| source.replace("Hello from ./src", greeting);
    let wait_for = |text: &str| {
        retry(|| match get(port, "/hello")? {
            body if body.starts_with(text) => Ok(()),
            body => Err(format!("expected {text:?}, got {body:?}")),
        });
    };
    assert_eq!(get(port, "/hello").as_deref(), Ok("Hello from ./src, visit 1\n"));
    assert_eq!(get(port, "/nowhere").as_deref(), Ok("nothing is at /nowhere\n"));

    project.write("src/app.py", &with("Written"));
    wait_for("Written, visit ");
    // As editors save: a new file takes the place of the old one. Twice, as the new file must be watched too.
    for greeting in ["Replaced", "Replaced again"] {
        project.write("src/.app.py.swp", &with(greeting));
        let path = |name: &str| project.directory().join(name);
        fs::rename(path("src/.app.py.swp"), path("src/app.py")).expect("two names in a directory");
        wait_for(&format!("{greeting}, visit "));
    }
    // What cannot be loaded is reported, and does not end the server.
    project.write("src/app.py", "def answer(path:\n");
    project.wait_for_output(&["logs", "web"], "SyntaxError");
    wait_for("Replaced again, visit ");
    project.write("src/app.py", &with("Mended"));
    wait_for("Mended, visit ");
    // A page has no cache but that of the guest's kernel.
    project.write("src/index.html", "<p>edited\n");
    retry(|| match get(port, "/")?.as_str() {
        "<p>edited\n" => Ok(()),
        other => Err(other.to_owned()),
    });
    project.ok(&["down", "-v", "--yes"]);
    leftovers::assert_none(project.home());
}

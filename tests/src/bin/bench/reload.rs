//! Hot reload: the time from an edit on the host to the first answer of `examples/devserver` with the new text, beside the
//! same server on the host.

use crate::Result;
use crate::figure::{Figure, Limit, Samples};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tests::{Project, ports};

/// The pause between two requests: some time of its processor is left to the reloader.
const POLL: Duration = Duration::from_millis(2);
/// The pause before an edit, so that nothing is left to do of the one before.
const PAUSE: Duration = Duration::from_millis(300);
const START_TIMEOUT: Duration = Duration::from_secs(20);
const RELOAD_TIMEOUT: Duration = Duration::from_secs(20);
const LIMIT_MS: f64 = 200.0;
/// The text of `app.py` that the edits replace.
const TEXT: &str = "nothing is at";

/// Measures both with as many edits as runs, of which every second one is a rename.
pub fn measure(edits: usize) -> Result<Figure> {
    let project = Project::copy_of("devserver");
    let sources = project.directory().join("src");
    let port = ports::free();
    project.write(".env", &format!("PORT={port}\n"));
    project.up();
    let measured = reloads("in a guest", edits, port, &sources)?;
    project.ok(&["down", "-v", "--yes"]);

    let port = ports::free();
    let mut server = Command::new("python3");
    server.arg("-B").arg(sources.join("serve.py")).env("PORT", port.to_string());
    let mut server = server.stdout(Stdio::null()).spawn()?;
    let reference = reloads("on the host", edits, port, &sources);
    server.kill()?;
    server.wait()?;
    Ok(Figure {
        name: "reload",
        what: "an edit on the host, to a server's answer with it".into(),
        measured: Samples::of_times(&measured),
        beside: "the server on the host",
        reference: Samples::of_times(&reference?),
        limit: Some(Limit::More(LIMIT_MS)),
    })
}

fn reloads(place: &str, edits: usize, port: u16, sources: &Path) -> Result<Vec<Duration>> {
    let (file, next) = (sources.join("app.py"), sources.join(".app.py.next"));
    let source = fs::read_to_string(&file)?;
    let mut client = Client::connect(port)?;
    let mut times = Vec::with_capacity(edits);
    for edit in 1..=edits {
        eprintln!("bench: reload {place} {edit} of {edits}");
        let text = format!("edit {edit} is at");
        let edited = source.replace(TEXT, &text);
        std::thread::sleep(PAUSE);
        let began;
        if edit % 2 == 0 {
            fs::write(&next, edited)?;
            began = Instant::now();
            fs::rename(&next, &file)?;
        } else {
            began = Instant::now();
            fs::write(&file, edited)?;
        }
        while !client.get()?.starts_with(&text) {
            if began.elapsed() > RELOAD_TIMEOUT {
                return Err(format!("edit {edit} {place} is not seen within {RELOAD_TIMEOUT:?}").into());
            }
            std::thread::sleep(POLL);
        }
        times.push(began.elapsed());
    }
    fs::write(&file, source)?;
    Ok(times)
}

/// A connection that is kept open.
struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects as soon as the server listens.
    fn connect(port: u16) -> Result<Self> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Self(BufReader::new(stream)));
                }
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// Returns the body of an answer.
    fn get(&mut self) -> Result<String> {
        self.0.get_mut().write_all(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut length = None;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err("the server has closed the connection".into());
            }
            match line.trim_end().split_once(": ") {
                Some(("Content-Length", value)) => length = Some(value.parse()?),
                None if line == "\r\n" => break,
                _ => {}
            }
        }
        let mut body = vec![0; length.ok_or("an answer without a length")?];
        self.0.read_exact(&mut body)?;
        Ok(String::from_utf8(body)?)
    }
}

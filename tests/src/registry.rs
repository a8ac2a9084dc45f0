//! A registry of its own for a test: Debian's `docker-registry` on loopback, filled with `skopeo`.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A registry that ends with the test.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    address: String,
    scratch: TempDir,
}

impl Registry {
    /// Starts an empty one.
    pub fn start() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder can be made");
        // Somebody else may take the port in between; then this test fails, and says so.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = port.expect("a port can be had").to_string();
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\nhttp: {{ addr: \"{address}\" }}\n",
            scratch.path().join("storage").display()
        );
        fs::write(scratch.path().join("config.yml"), config).expect("the scratch folder can be written to");
        Self { child: serve(scratch.path(), &address), address, scratch }
    }

    /// `host:port`, in front of every reference.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends it; what it holds stays.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again.
    pub fn start_again(&mut self) {
        self.child = serve(self.scratch.path(), &self.address);
    }

    /// Puts an image of a layout in there, under a name with a tag. Gives the whole reference.
    pub fn push(&self, layout: &Path, tag: &str, name: &str) -> String {
        let reference = format!("{}/{name}", self.address);
        let output = Command::new("skopeo")
            .args(["copy", "--dest-tls-verify=false", "--insecure-policy", "--preserve-digests"])
            .arg(format!("oci:{}:{tag}", layout.display()))
            .arg(format!("docker://{reference}"))
            .output()
            .expect("skopeo is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        reference
    }
}

fn serve(folder: &Path, address: &str) -> Child {
    let mut child = Command::new("docker-registry")
        .arg("serve")
        .arg(folder.join("config.yml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-registry is installed");
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(
            child.try_wait().expect("a child can be waited for").is_none(),
            "docker-registry ended at once"
        );
        assert!(Instant::now() < deadline, "docker-registry does not listen");
        std::thread::sleep(POLL);
    }
    child
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

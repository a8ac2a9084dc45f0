//! A scratch registry: Debian's `docker-registry` on loopback, filled with `skopeo`.

use crate::wait::retry;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running registry. Dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    address: String,
    scratch: TempDir,
    /// The required credentials, as `name:password`.
    credentials: Option<&'static str>,
}

impl Registry {
    /// Starts an empty registry: plain HTTP, without credentials.
    pub fn start() -> Self {
        Self::start_with("", None, |_| {})
    }

    /// Starts an empty registry: TLS with a self-signed certificate, credentials as `name:password`.
    pub fn start_guarded(credentials: &'static str) -> Self {
        let http = "  tls: { certificate: certificate.pem, key: key.pem }\nauth:\n  htpasswd: { realm: test, path: htpasswd }\n";
        Self::start_with(http, Some(credentials), |folder| {
            let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
            let write = |name: &str, text: &[u8]| {
                fs::write(folder.join(name), text).expect("the scratch folder can be written to");
            };
            write("certificate.pem", own.cert.pem().as_bytes());
            write("key.pem", own.signing_key.serialize_pem().as_bytes());
            let (name, password) = credentials.split_once(':').expect("name:password");
            let line = Command::new("htpasswd").args(["-Bbn", name, password]).output();
            write("htpasswd", &line.expect("apache2-utils is installed").stdout);
        })
    }

    /// Starts an empty registry with more configuration: lines below `http:`, then at the top level.
    pub fn start_configured(more: &str) -> Self {
        Self::start_with(more, None, |_| {})
    }

    fn start_with(more: &str, credentials: Option<&'static str>, prepare: impl Fn(&Path)) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder can be made");
        let address = format!("127.0.0.1:{}", crate::ports::free());
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: storage }}\nhttp:\n  addr: \"{address}\"\n{more}"
        );
        fs::write(scratch.path().join("config.yml"), config).expect("the scratch folder can be written to");
        prepare(scratch.path());
        Self { child: serve(scratch.path(), &address), address, scratch, credentials }
    }

    /// Returns the path of the self-signed certificate.
    pub fn certificate(&self) -> PathBuf {
        self.scratch.path().join("certificate.pem")
    }

    /// Returns `host:port`, the beginning of every reference.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Stops it; its contents stay.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again.
    pub fn start_again(&mut self) {
        self.child = serve(self.scratch.path(), &self.address);
    }

    /// Pushes an image of a layout as `name`, which includes a tag. Returns the whole reference.
    pub fn push(&self, layout: &Path, tag: &str, name: &str) -> String {
        let reference = format!("{}/{name}", self.address);
        let mut skopeo = Command::new("skopeo");
        if let Some(credentials) = self.credentials {
            skopeo.args(["--insecure-policy", "copy", "--dest-creds", credentials]);
        } else {
            skopeo.args(["--insecure-policy", "copy"]);
        }
        let output = skopeo
            .args(["--dest-tls-verify=false", "--preserve-digests"])
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
        .arg("config.yml")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-registry is installed");
    retry(|| {
        let ended = child.try_wait().expect("a child can be waited for");
        assert!(ended.is_none(), "docker-registry ended at once");
        TcpStream::connect(address)
            .map(drop)
            .map_err(|error| format!("docker-registry does not listen: {error}"))
    });
    child
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

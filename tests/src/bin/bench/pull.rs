//! Pulling: an image from a registry on this machine, beside `skopeo copy` of the same one.

use crate::Result;
use crate::figure::{Figure, Samples};
use std::fs::{self, File};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The image's layers, each of noise, which nothing can pack.
const LAYERS: usize = 4;
/// The size of each, in MiB.
const LAYER_MIB: u64 = 64;

/// One figure: the whole pull, into an empty store each time.
pub fn measure(runs: usize) -> Result<Figure> {
    let folder = tempfile::tempdir()?;
    let registry = Registry::start(folder.path())?;
    eprintln!("bench: making an image of {LAYERS} layers of {LAYER_MIB} MiB");
    let layout = folder.path().join("layout");
    write_layout(&layout)?;
    let reference = format!("localhost:{}/noise:1", registry.port);
    let remote = format!("docker://{reference}");
    let copy = |arguments: &[&str]| {
        let mut skopeo = Command::new("skopeo");
        skopeo.arg("--insecure-policy").arg("copy").args(arguments);
        timed(skopeo)
    };
    let local = format!("oci:{}:latest", layout.display());
    copy(&["--dest-tls-verify=false", "--preserve-digests", &local, &remote])?;
    let program = std::env::current_exe()?.with_file_name("examples").join("pull");
    let target = folder.path().join("target");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        eprintln!("bench: pull {run} of {runs}");
        let theirs_now = copy(&["--src-tls-verify=false", &remote, &format!("oci:{}:x", target.display())])?;
        fs::remove_dir_all(&target)?;
        let mut pull = Command::new(&program);
        pull.arg("--quiet").arg(&reference).arg(&target);
        let ours_now = timed(pull)?;
        fs::remove_dir_all(&target)?;
        // The first one warms the caches.
        if run > 0 {
            ours.push(ours_now);
            theirs.push(theirs_now);
        }
    }
    Ok(Figure {
        name: "pull",
        what: "pull of 256 MiB in 4 layers",
        measured: Samples::of_times(&ours),
        beside: "skopeo copy of the same",
        reference: Samples::of_times(&theirs),
        limit: None,
    })
}

fn timed(mut command: Command) -> Result<Duration> {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let took = began.elapsed();
    if output.status.success() {
        return Ok(took);
    }
    Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Debian's `docker-registry`, ended when it is dropped.
struct Registry {
    port: u16,
    child: Child,
}

impl Registry {
    fn start(folder: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = folder.join("registry.yml");
        let data = folder.join("registry");
        let text = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\n\
             storage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp: {{ addr: 127.0.0.1:{port} }}\n",
            data.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut registry = Self { port, child: command.spawn()? };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline || registry.child.try_wait()?.is_some() {
                return Err("docker-registry does not start".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes an OCI layout with one image, named `latest`.
fn write_layout(folder: &Path) -> Result<()> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |part: &Path, media_type: &str| -> Result<serde_json::Value> {
        let output = Command::new("sha256sum").arg(part).output()?;
        let hex = String::from_utf8(output.stdout)?.chars().take(64).collect::<String>();
        let size = part.metadata()?.len();
        fs::rename(part, blobs.join(&hex))?;
        Ok(serde_json::json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": size }))
    };
    let put_json = |value: &serde_json::Value, media_type: &str| -> Result<serde_json::Value> {
        let part = folder.join("part");
        fs::write(&part, value.to_string())?;
        put(&part, media_type)
    };
    let mut layers = Vec::new();
    for _ in 0..LAYERS {
        let part = folder.join("part");
        std::io::copy(&mut File::open("/dev/urandom")?.take(LAYER_MIB << 20), &mut File::create(&part)?)?;
        layers.push(put(&part, "application/vnd.oci.image.layer.v1.tar")?);
    }
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = put_json(&config, "application/vnd.oci.image.config.v1+json")?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers,
    });
    let mut manifest = put_json(&manifest, media_type)?;
    manifest["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(folder.join("index.json"), index.to_string())?;
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(())
}

//! Pulling an image from a local registry, beside `skopeo copy`.

use crate::Result;
use crate::figure::{Figure, Samples};
use std::fs::{self, File};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tests::layers::TestLayer;
use tests::oci::Layout;
use tests::registry::Registry;

/// The number of the image's incompressible layers.
const LAYERS: usize = 4;
/// The size of each, in MiB.
const LAYER_MIB: u64 = 64;

/// Measures pulls into an empty store.
pub fn measure(runs: usize) -> Result<Figure> {
    let folder = tempfile::tempdir()?;
    let registry = Registry::start();
    eprintln!("bench: making an image of {LAYERS} layers of {LAYER_MIB} MiB");
    let layout = folder.path().join("layout");
    let layers = (0..LAYERS).map(|_| noise()).collect::<Result<Vec<_>>>()?;
    Layout::new(&layout).add("latest", &layers, &serde_json::json!({}));
    let reference = registry.push(&layout, "latest", "noise:1");
    let remote = format!("docker://{reference}");
    let copy = |arguments: &[&str]| {
        let mut skopeo = Command::new("skopeo");
        skopeo.arg("--insecure-policy").arg("copy").args(arguments);
        timed(skopeo)
    };
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
        // The first run warms the caches.
        if run > 0 {
            ours.push(ours_now);
            theirs.push(theirs_now);
        }
    }
    Ok(Figure {
        name: "pull",
        what: "pull of 256 MiB in 4 layers".into(),
        measured: Samples::of_times(&ours),
        beside: "skopeo copy of the same",
        reference: Samples::of_times(&theirs),
        limit: None,
    })
}

fn noise() -> Result<TestLayer> {
    let mut bytes = Vec::new();
    File::open("/dev/urandom")?.take(LAYER_MIB << 20).read_to_end(&mut bytes)?;
    Ok(TestLayer::plain(bytes))
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

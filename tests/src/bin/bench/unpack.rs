//! Unpacking an image beside `umoci unpack`, and the time and disk space of one more sandbox.

use crate::Result;
use crate::figure::{Figure, Samples};
use crate::large::{Row, children_ms};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use tests::Project;
use tests::layers::{Maker, TestLayer};
use tests::oci::Layout;

/// The numbers of layers, of directories per layer, and of files per directory.
const LAYERS: usize = 4;
const FOLDERS: usize = 60;
const FILES: usize = 100;
/// The mean size of a file, in bytes: 24,000 files have 300 MiB together.
const FILE_BYTES: usize = 13_107;
/// The limit, as a share of umoci's time.
const SHARE_MAX: f64 = 0.5;
/// The limits of creating one more sandbox: time and disk space.
const CREATE_MS_MAX: f64 = 20.0;
const CREATE_MIB_MAX: f64 = 1.0;
const TWO: &str =
    "project \"bench\"\nsandbox \"one\" { image \"@image\" }\nsandbox \"two\" { image \"@image\" }\n";

/// Measures both rates.
pub fn measure(runs: usize) -> Result<(Figure, Vec<Row>)> {
    let folder = tempfile::tempdir()?;
    let layout = folder.path().join("layout");
    eprintln!("bench: making an image of {} files", LAYERS * FOLDERS * FILES);
    let layers: Vec<TestLayer> = (0..LAYERS).map(layer).collect();
    let mib = layers.iter().map(|layer| layer.tar.len()).sum::<usize>() as f64 / f64::from(1 << 20);
    Layout::new(&layout).add("latest", &layers, &serde_json::json!({ "Cmd": ["/bin/true"] }));
    drop(layers);
    let program = std::env::current_exe()?.with_file_name("examples").join("unpack");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        eprintln!("bench: unpack {run} of {runs}");
        let target = folder.path().join("target");
        let mut umoci = Command::new("umoci");
        umoci.args(["unpack", "--image", &format!("{}:latest", layout.display())]).arg(&target);
        let theirs_now = mib / seconds(umoci)?;
        fs::remove_dir_all(&target)?;
        let mut unpack = Command::new(&program);
        unpack.arg(&layout).arg(&target);
        let ours_now = mib / seconds(unpack)?;
        fs::remove_dir_all(&target)?;
        // The first run warms the caches.
        if run > 0 {
            ours.push(ours_now);
            theirs.push(theirs_now);
        }
    }
    let figure = Figure {
        name: "unpack",
        what: "layers of 24,000 files, 300 MiB, to a root file system".into(),
        measured: Samples::of_rates(ours),
        beside: "umoci unpack of the same, as root",
        reference: Samples::of_rates(theirs),
        limit: None,
    };
    let share = 1.0 / figure.ratio();
    let mut rows = vec![Row::new("unpacking, by the time of umoci", share, "x", SHARE_MAX)];
    rows.extend(second_sandbox(runs * 4)?);
    Ok((figure, rows))
}

/// Returns a layer whose files are as compressible as programs: half of each is noise, the other half repeats.
fn layer(number: usize) -> TestLayer {
    let mut maker = Maker::new();
    // The noise is of a linear congruential generator.
    let mut state = number as u64 + 1;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    for folder in 0..FOLDERS {
        let folder = format!("usr/share/layer{number}/folder{folder}/");
        maker = maker.folder(&folder);
        for file in 0..FILES {
            // From 0 to twice the mean.
            let size = noise() as usize % (2 * FILE_BYTES);
            let bytes: Vec<u8> = (0..size)
                .map(|at| if at % 64 < 32 { noise() as u8 } else { b"the quick brown fox "[at % 20] })
                .collect();
            maker = maker.file(&format!("{folder}file{file}"), &bytes);
        }
    }
    // A root file system needs a shell.
    maker.folder("bin/").file("bin/true", b"").bytes().into()
}

fn seconds(mut command: Command) -> Result<f64> {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let took = began.elapsed();
    if output.status.success() {
        return Ok(took.as_secs_f64());
    }
    Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Measures one more sandbox of a stored image.
fn second_sandbox(runs: usize) -> Result<[Row; 3]> {
    let project = Project::new(TWO);
    project.ok(&["up", "-d", "--no-start", "one"]);
    let (mut times, mut worked, mut grown) = (Vec::new(), 0.0, 0.0_f64);
    eprintln!("bench: creating a second sandbox");
    for run in 0..=runs {
        let (before, worked_before) = (used_mib(project.home())?, children_ms()?);
        let began = Instant::now();
        project.ok(&["up", "-d", "--no-start", "two"]);
        let took = began.elapsed();
        if run > 0 {
            times.push(took);
            worked += children_ms()? - worked_before;
            grown = grown.max(used_mib(project.home())? - before);
        }
        project.ok(&["down", "two"]);
    }
    project.down();
    let ms = Samples::of_times(&times).median();
    let worked = worked / runs as f64;
    Ok([
        // Most of it is the catalog's fsync.
        Row::new("second sandbox of an image: msb up --no-start", ms, "ms", f64::INFINITY),
        Row::new(
            "second sandbox of an image: msb up --no-start, on a processor",
            worked,
            "ms",
            CREATE_MS_MAX,
        ),
        Row::new("second sandbox of an image, on the disk", grown, "MiB", CREATE_MIB_MAX),
    ])
}

/// Returns the disk space of a directory.
fn used_mib(folder: &Path) -> Result<f64> {
    let mut mib = 0.0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        mib += metadata.blocks() as f64 * 512.0 / f64::from(1 << 20);
        if metadata.is_dir() {
            mib += used_mib(&entry.path())?;
        }
    }
    Ok(mib)
}

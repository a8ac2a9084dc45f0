//! TLS through the proxy, beside the same traffic without it, a plain relay of TLS, and mitmproxy.

use crate::Result;
use crate::figure::{Figure, Limit, Samples};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The least ratio to mitmproxy.
const OF_MITMPROXY: f64 = 5.0;
/// The least ratio to plain proxying: to the proxy that copies bytes, and to a relay that ends TLS and does nothing else.
const OF_PLAIN: f64 = 0.5;
/// The version of mitmproxy.
const MITMPROXY: &str = "mitmproxy>=11";

/// The measurements by their names in the output of `throughput`, and whether they compare proxies that end TLS. Client
/// and server limit the rate of large transfers: there, the CPU time of the proxies does.
const MEASUREMENTS: [(&str, &str, bool); 6] = [
    ("handshakes", "TLS handshakes, each with a request of 1 KiB", true),
    ("requests", "requests of 1 KiB, 4 kept connections", true),
    ("download", "a download of 100 MiB", false),
    ("upload", "an upload of 100 MiB", false),
    ("download per CPU second", "the same download, per CPU second of the proxy", true),
    ("upload per CPU second", "the same upload, per CPU second of the proxy", true),
];

/// Measures all figures.
pub fn measure(runs: usize) -> Result<Vec<Figure>> {
    let directory = std::env::current_exe()?;
    let directory = directory.parent().ok_or("the program is in a directory")?;
    let mitmdump = mitmdump(&directory.join("mitmproxy"))?;
    eprintln!("bench: TLS");
    let output = Command::new(directory.join("examples").join("throughput"))
        .arg(runs.to_string())
        .arg(mitmdump)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("throughput failed: {}", output.status).into());
    }
    let results: Value = serde_json::from_slice(&output.stdout)?;
    let mut figures = Vec::new();
    for (name, what, compares_proxies) in MEASUREMENTS {
        let limit = |ratio| compares_proxies.then_some(Limit::AtLeast(ratio));
        // To copy bytes takes less CPU time than TLS on both sides, whatever does it.
        let of_bypass = (!name.ends_with("per CPU second")).then_some(Limit::AtLeast(OF_PLAIN));
        for (measured, beside, reference, limit) in [
            ("intercept", "no proxy", "direct", None),
            ("intercept", "bypassed by the proxy", "bypass", of_bypass),
            ("intercept", "a relay of TLS", "relay", limit(OF_PLAIN)),
            ("intercept", "mitmproxy", "mitmproxy", limit(OF_MITMPROXY)),
            ("secret", "a relay of TLS, the proxy with a secret", "relay", limit(OF_PLAIN)),
        ] {
            // Nothing has no CPU time.
            if results[reference][name].is_null() {
                continue;
            }
            let samples = |contender: &str| samples(&results[contender][name], name);
            let (measured, reference) = (samples(measured)?, samples(reference)?);
            figures.push(Figure { name, what: what.into(), measured, beside, reference, limit });
        }
    }
    Ok(figures)
}

fn samples(values: &Value, measurement: &str) -> Result<Samples> {
    let values: Vec<f64> = serde_json::from_value(values.clone())?;
    Ok(match measurement {
        "handshakes" | "requests" => Samples::of_requests(values),
        _ => Samples::of_rates(values),
    })
}

/// Returns the program of mitmproxy, which is installed at first.
fn mitmdump(folder: &Path) -> Result<PathBuf> {
    let program = folder.join("bin/mitmdump");
    if !program.exists() {
        eprintln!("bench: installing mitmproxy in {}", folder.display());
        let run = |command: &mut Command| match command.stdout(Stdio::null()).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{command:?} failed: {status}")),
            Err(error) => Err(format!("{command:?}: {error}")),
        };
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", MITMPROXY]))?;
    }
    Ok(program)
}

//! Measures TLS through the proxy beside the same traffic without it, in turns: `throughput RUNS [MITMDUMP]`.
//!
//! ```text
//! client ⇄ nothing | bypass | relay | intercept | secret | mitmproxy ⇄ server
//! ```
//!
//! Client and server are threads of this process with blocking sockets of the loopback. Prints one JSON object: by
//! contender and measurement, the values of all runs, per second and per second of CPU time of the contender. The latter
//! count where client and server are the slower ones.

mod client;
mod contenders;
mod cpu;
mod server;

use client::{Client, Done, Measurement};
use contenders::{Contender, Kind};
use serde_json::{Map, Value, json};
use std::error::Error;
use std::path::PathBuf;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The name of the server.
const HOST: &str = "api.bench.example";
/// The same server by a name that is not intercepted.
const BYPASSED_HOST: &str = "bypass.bench.example";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let runs: usize = arguments.next().ok_or("usage: throughput RUNS [MITMDUMP]")?.parse()?;
    let mitmdump = arguments.next().map(PathBuf::from);
    let server = server::start()?;
    let mut contenders = Vec::new();
    for kind in [Kind::Direct, Kind::Bypass, Kind::Relay, Kind::Intercept, Kind::Secret] {
        contenders.push(Contender::start(kind, &server)?);
    }
    if let Some(mitmdump) = &mitmdump {
        contenders.push(Contender::mitmproxy(mitmdump, &server)?);
    }
    let mut results = Map::new();
    // In turns, so that other load slows all of them. The first turn fills caches.
    for run in 0..=runs {
        for contender in &contenders {
            let client = Client::new(contender)?;
            for measurement in Measurement::ALL {
                let before = contender.cpu_time();
                let Done { amount, time } = client
                    .measure(measurement)
                    .map_err(|error| format!("{} of {}: {error}", measurement.name(), contender.name))?;
                let cpu = contender.cpu_time().saturating_sub(before);
                let rate = amount / time.as_secs_f64();
                eprintln!("throughput: {run} {} {}: {rate:.1}", contender.name, measurement.name());
                if run > 0 {
                    let of_contender = results.entry(contender.name).or_insert_with(|| json!({}));
                    add(of_contender, measurement.name().to_owned(), rate);
                    if !cpu.is_zero() {
                        let name = format!("{} per CPU second", measurement.name());
                        add(of_contender, name, amount / cpu.as_secs_f64());
                    }
                }
            }
        }
    }
    println!("{}", Value::Object(results));
    Ok(())
}

/// Adds a value to those of a contender.
fn add(of_contender: &mut Value, name: String, value: f64) {
    let values = of_contender.as_object_mut().map(|values| values.entry(name).or_insert_with(|| json!([])));
    if let Some(Value::Array(values)) = values {
        values.push(json!(value));
    }
}

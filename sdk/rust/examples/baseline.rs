//! A driver for `sdk/conformance/latency`: the step `exec_many` with `executor-client`'s own client, one command at a time.

use executor_client::agent::{AgentClient, Ended};
use protocol::latest::ExecRequest;
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

async fn exec_many(step: &Value) -> Result<Value, Box<dyn std::error::Error>> {
    let path = step["path"].as_str().ok_or("the step has no path of a socket")?;
    let command: Vec<String> = vec![step["cmd"].as_str().unwrap_or("true").to_owned()];
    let mut client = AgentClient::connect(Path::new(path)).await?;
    let (mut times, mut succeeded) = (Vec::new(), 0);
    let began = Instant::now();
    for _ in 0..step["count"].as_u64().unwrap_or(1) {
        let began = Instant::now();
        let ended = client.exec(ExecRequest::command(&command), |_| {}).await?;
        succeeded += u64::from(ended == Ended::Exited(0));
        times.push(began.elapsed());
    }
    let took_ms = began.elapsed().as_millis() as u64;
    times.sort_unstable();
    let middle = times.get(times.len() / 2).map(|time| time.as_micros() as u64);
    Ok(json!({ "ok": succeeded, "took_ms": took_ms, "p50_us": middle }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in std::io::stdin().lock().lines() {
        let step: Value = serde_json::from_str(&line?)?;
        let mut answer = match step["do"].as_str() {
            Some("exec_many") => json!({ "ok": exec_many(&step).await? }),
            _ => json!({ "skip": "a baseline only runs commands" }),
        };
        answer["id"] = step["id"].clone();
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

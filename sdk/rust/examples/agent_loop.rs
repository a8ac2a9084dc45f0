//! Runs generated code in a sandbox: no network but one host, a time limit, and only its files come out.
//!
//! ```text
//! agent_loop [IMAGE]
//! ```
//!
//! A real agent would ask a model for the next program; this one has three prepared: one that works, one that never ends,
//! and one that tries to reach a host that is not allowed.

use msb_sdk::{Client, Error, Network, Sandbox, WriteOptions};
use std::path::Path;
use std::time::Duration;

/// The only host that generated code may connect to.
const ALLOWED_HOST: &str = "api.example.org";
/// The longest run of one program.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// The most output that goes back to the model, in bytes.
const OUTPUT_LIMIT: usize = 1024 * 1024;

const PROGRAMS: [&str; 3] = [
    "mkdir -p /work/out && echo 'the answer is 42' > /work/out/answer.txt && echo done",
    "echo thinking; while :; do :; done",
    "ping -c 1 -W 1 192.0.2.1",
];

/// Runs one program, and returns what the model is told about it.
async fn run_program(sandbox: &Sandbox, program: &str) -> Result<String, Error> {
    let options = WriteOptions { parents: true, ..WriteOptions::default() };
    sandbox.fs().write_with("/work/program.sh", program, options).await?;
    let run =
        sandbox.exec("sh", ["/work/program.sh"]).cwd("/work").timeout(TIME_LIMIT).max_output(OUTPUT_LIMIT);
    Ok(match run.await {
        Ok(output) => {
            let text = output.stdout_text() + &output.stderr_text();
            format!("exit code {}; it wrote {text:?}", output.exit_code())
        }
        Err(Error::ExecTimeout(ended)) => {
            format!("ended after {:?}; it wrote {:?}", ended.timeout, String::from_utf8_lossy(&ended.stdout))
        }
        Err(error) => format!("{}: {error}", error.code()),
    })
}

async fn run_all(sandbox: &Sandbox, folder: &Path) -> Result<(), Error> {
    for (number, program) in (1..).zip(PROGRAMS) {
        println!("program {number}: {}", run_program(sandbox, program).await?);
    }
    sandbox.fs().copy_to_host("/work/out", folder).await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let image = std::env::args().nth(1).unwrap_or_else(|| "alpine".to_owned());
    let sandbox = Client::new()
        .sandbox(format!("agent-{}", std::process::id()), image)
        .memory_mib(256)
        .network(Network::only([ALLOWED_HOST]))
        .max_duration(Duration::from_secs(600))
        .ephemeral()
        .create()
        .await?;
    let folder = std::env::temp_dir().join(format!("msb-agent-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let done = run_all(&sandbox, &folder).await;
    sandbox.close().await?;
    done?;
    for entry in std::fs::read_dir(folder.join("out"))? {
        let path = entry?.path();
        println!("{}: {}", path.display(), std::fs::read_to_string(&path)?.trim());
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

//! Programs that know credentials: `docker-credential-NAME get`, as docker runs them.

use super::docker::IDENTITY_TOKEN_USER;
use crate::error::RegistryError;
use crate::host::sanitize;
use crate::settings::{Auth, Secret};
use serde::Deserialize;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// The most that a helper may say, in bytes.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// What helpers say when they know nothing about a registry: this is no failure.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperResponse {
    username: String,
    secret: String,
}

/// Asks a helper. It has so much time, and is killed when that is over.
pub async fn run(
    name: &str,
    registry: &str,
    server: &str,
    limit: Duration,
) -> Result<Option<Auth>, RegistryError> {
    let program = format!("docker-credential-{}", sanitize(name));
    let failed = |reason: String| RegistryError::Helper {
        program: program.clone(),
        host: registry.to_owned(),
        reason,
    };
    // A helper is found on PATH, and nowhere else.
    if name.is_empty() || name.contains('/') {
        return Err(failed("that is not the name of a helper".to_owned()));
    }
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let exchange = async {
        let mut output = Vec::new();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        if let Some(mut stdin) = stdin {
            // One that does not read may still answer.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        if let Some(stdout) = stdout {
            stdout.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut output).await?;
        }
        if output.len() as u64 > OUTPUT_BYTES_MAX {
            return Ok((None, output));
        }
        Ok::<_, std::io::Error>((Some(child.wait().await?), output))
    };
    let (status, output) = match tokio::time::timeout(limit, exchange).await {
        Ok(Ok(told)) => told,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed(format!("it did not answer within {limit:?}"))),
    };
    let Some(status) = status else {
        return Err(failed(format!("it says more than {OUTPUT_BYTES_MAX} bytes")));
    };
    if !status.success() {
        let text = String::from_utf8_lossy(&output);
        if text.trim() == NOT_FOUND {
            return Ok(None);
        }
        let first = sanitize(text.trim().lines().next().unwrap_or_default());
        return Err(failed(if first.is_empty() { format!("it ended with {status}") } else { first }));
    }
    let told: HelperResponse = serde_json::from_slice(&output)
        .map_err(|_| failed("its answer is not a Username and a Secret in JSON".to_owned()))?;
    let HelperResponse { username, secret } = told;
    Ok(match username.as_str() {
        _ if secret.is_empty() => None,
        IDENTITY_TOKEN_USER => Some(Auth::IdentityToken(Secret::new(secret))),
        _ => Some(Auth::Password { username, password: Secret::new(secret) }),
    })
}

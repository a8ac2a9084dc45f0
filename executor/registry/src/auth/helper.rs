//! Credential helpers: `docker-credential-NAME get`, with docker's protocol.

use super::docker::IDENTITY_TOKEN_USER;
use crate::error::RegistryError;
use crate::host::sanitize;
use crate::settings::Auth;
use schemas::config::Masked;
use serde::Deserialize;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// The largest output of a helper, in bytes.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// The output of a helper without credentials for a registry, which is not a failure.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The output of a helper.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperResponse {
    username: String,
    secret: String,
}

/// Runs a helper; `None` if it has no credentials. It is killed after the time limit.
///
/// # Errors
///
/// If it cannot be started, fails, times out, or prints something else.
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
    // A helper is searched on PATH alone.
    if name.is_empty() || name.contains('/') {
        return Err(failed("it is not a valid name of a helper".to_owned()));
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
            // A helper that does not read its input may still answer.
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
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed(format!("it did not answer within {limit:?}"))),
    };
    let Some(status) = status else {
        return Err(failed(format!("it printed more than {OUTPUT_BYTES_MAX} bytes")));
    };
    if !status.success() {
        let text = String::from_utf8_lossy(&output);
        if text.trim() == NOT_FOUND {
            return Ok(None);
        }
        let first = sanitize(text.trim().lines().next().unwrap_or_default());
        return Err(failed(if first.is_empty() { format!("it ended with {status}") } else { first }));
    }
    let response: HelperResponse = serde_json::from_slice(&output)
        .map_err(|_| failed("its answer is not a Username and a Secret in JSON".to_owned()))?;
    let HelperResponse { username, secret } = response;
    Ok(match username.as_str() {
        _ if secret.is_empty() => None,
        IDENTITY_TOKEN_USER => Some(Auth::IdentityToken(Masked::new(secret))),
        _ => Some(Auth::Password { username, password: Masked::new(secret) }),
    })
}

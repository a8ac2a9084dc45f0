//! Reads the values of secrets.

use executor_intercept::Value;
use schemas::model::Model;
use schemas::name::SandboxName;
use schemas::snapshot::SecretProblem;
use schemas::spec::limits::SECRET_BYTES_MAX;
use schemas::spec::{Definition, Secret, SecretSource};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use zeroize::Zeroize;

/// The time limit of a command that prints a value. People may have to confirm it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// Reads the value of each secret. Relative programs of commands are looked up in `folder`.
///
/// # Errors
///
/// The name of the first secret whose value cannot be used, with the cause.
pub async fn read_all(
    secrets: &BTreeMap<String, Secret>,
    folder: Option<&Path>,
) -> Result<BTreeMap<String, Value>, (String, SecretProblem)> {
    let mut values = BTreeMap::new();
    for (name, secret) in secrets {
        let value = match &secret.from {
            SecretSource::Command { argv } => output_of(argv, folder).await,
            SecretSource::Env { .. } | SecretSource::File { .. } => read(&secret.from),
        };
        let value = value.and_then(checked).map_err(|error| (name.clone(), error))?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

/// Finds the secrets of a model whose values cannot be used, by sandbox and by name. Commands are not run.
pub fn problems(model: &Model) -> BTreeMap<SandboxName, BTreeMap<String, SecretProblem>> {
    let problems = model.sandboxes().iter().filter_map(|sandbox| {
        let unusable = unusable(sandbox.definition());
        (!unusable.is_empty()).then(|| (sandbox.name().clone(), unusable))
    });
    problems.collect()
}

/// Finds the secrets of a sandbox whose values cannot be used. Commands are not run.
pub fn unusable(definition: &Definition) -> BTreeMap<String, SecretProblem> {
    let secrets = definition.secrets.iter();
    secrets.filter_map(|(name, secret)| Some((name.clone(), check(&secret.from).err()?))).collect()
}

fn check(source: &SecretSource) -> Result<(), SecretProblem> {
    match source {
        SecretSource::Command { argv: _ } => Ok(()),
        SecretSource::Env { .. } | SecretSource::File { .. } => read(source).and_then(checked).map(drop),
    }
}

/// Reads a variable, or a file without its last line end.
fn read(source: &SecretSource) -> Result<Vec<u8>, SecretProblem> {
    match source {
        SecretSource::Env { name } => std::env::var_os(name)
            .map(OsString::into_vec)
            .ok_or_else(|| SecretProblem::NotSet { variable: name.clone() }),
        SecretSource::File { path } => {
            let unreadable = |error: io::Error| match error.kind() {
                io::ErrorKind::NotFound => SecretProblem::FileMissing { path: path.clone() },
                _ => SecretProblem::FileUnreadable { path: path.clone(), reason: error.to_string() },
            };
            // To open a pipe or a device could wait without an end.
            if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
                let reason = "it is not a regular file".to_owned();
                return Err(SecretProblem::FileUnreadable { path: path.clone(), reason });
            }
            let file = File::open(path).map_err(unreadable)?;
            let mut bytes = Vec::with_capacity(SECRET_BYTES_MAX + 3);
            file.take(limit()).read_to_end(&mut bytes).map_err(unreadable)?;
            Ok(without_line_end(bytes))
        }
        SecretSource::Command { argv: _ } => Ok(Vec::new()),
    }
}

/// Runs a command; returns its output without its last line end. Its errors go to the terminal of this process, as it may
/// ask for something there.
async fn output_of(argv: &[String], folder: Option<&Path>) -> Result<Vec<u8>, SecretProblem> {
    let (program, arguments) = argv.split_first().ok_or(SecretProblem::Empty)?;
    let failed = |reason: String| SecretProblem::CommandFailed { program: program.clone(), reason };
    let not_started = |error: io::Error| failed(format!("cannot be run: {error}"));
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let mut child = command.spawn().map_err(not_started)?;
    let mut bytes = Vec::with_capacity(SECRET_BYTES_MAX + 3);
    let finish = async {
        if let Some(output) = child.stdout.take() {
            output.take(limit()).read_to_end(&mut bytes).await?;
        }
        // With its output closed, a longer one ends it.
        child.wait().await
    };
    match tokio::time::timeout(COMMAND_TIMEOUT, finish).await {
        Ok(Ok(status)) if status.success() || bytes.len() as u64 >= limit() => Ok(without_line_end(bytes)),
        Ok(Ok(status)) => {
            bytes.zeroize();
            Err(failed(format!("failed with {status}")))
        }
        Ok(Err(error)) => Err(not_started(error)),
        Err(_) => Err(failed(format!("did not end within {} s", COMMAND_TIMEOUT.as_secs()))),
    }
}

/// More than the longest value with a line end.
fn limit() -> u64 {
    SECRET_BYTES_MAX as u64 + 3
}

fn without_line_end(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    bytes
}

fn checked(mut bytes: Vec<u8>) -> Result<Value, SecretProblem> {
    let problem = if bytes.is_empty() {
        Some(SecretProblem::Empty)
    } else if bytes.len() > SECRET_BYTES_MAX {
        Some(SecretProblem::TooLarge)
    } else if bytes.contains(&0) {
        Some(SecretProblem::Nul)
    } else if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        Some(SecretProblem::LineBreak)
    } else {
        None
    };
    match problem {
        None => Ok(Value::new(bytes)),
        Some(problem) => {
            bytes.zeroize();
            Err(problem)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    async fn value(from: SecretSource) -> Result<Vec<u8>, SecretProblem> {
        let secrets = BTreeMap::from([("TOKEN".to_owned(), Secret::new(from, BTreeSet::new()))]);
        let values = read_all(&secrets, Some(Path::new("/"))).await;
        values.map(|values| values["TOKEN"].bytes().to_vec()).map_err(|(name, error)| {
            assert_eq!(name, "TOKEN");
            error
        })
    }

    fn sh(script: &str) -> SecretSource {
        SecretSource::Command { argv: ["sh", "-c", script].map(str::to_owned).to_vec() }
    }

    #[tokio::test]
    async fn values_are_read_from_each_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = SecretSource::File { path: path.to_str().unwrap().to_owned() };
        for (contents, expected) in [
            (&b"value"[..], Ok(&b"value"[..])),
            (b"value\n", Ok(b"value")),
            (b"value\r\n", Ok(b"value")),
            (b"two words \xff", Ok(b"two words \xff")),
            (b"", Err(SecretProblem::Empty)),
            (b"\n", Err(SecretProblem::Empty)),
            (b"value\n\n", Err(SecretProblem::LineBreak)),
            (b"a\0b", Err(SecretProblem::Nul)),
            (&[b'x'; SECRET_BYTES_MAX], Ok(&[b'x'; SECRET_BYTES_MAX])),
            (&[b'x'; SECRET_BYTES_MAX + 1], Err(SecretProblem::TooLarge)),
        ] {
            std::fs::write(&path, contents).unwrap();
            assert_eq!(value(file.clone()).await, expected.clone().map(<[u8]>::to_vec));
            assert_eq!(check(&file), expected.map(drop));
            // A command that prints the same.
            let command = sh(&format!("exec cat {}", path.display()));
            assert_eq!(value(command).await, value(file.clone()).await);
        }
        assert_eq!(value(SecretSource::Env { name: "PATH".to_owned() }).await.unwrap(), {
            std::env::var("PATH").unwrap().into_bytes()
        });
        assert_eq!(
            value(SecretSource::Env { name: "MSB_NO_SUCH".to_owned() }).await.unwrap_err().to_string(),
            "the variable MSB_NO_SUCH is not set"
        );
    }

    #[tokio::test]
    async fn failures_name_the_source_and_not_the_value() {
        let error = value(sh("echo secret-value; exit 3")).await.unwrap_err().to_string();
        assert_eq!(error, "the command sh failed with exit status: 3");
        let endless = value(sh("exec yes secret-value")).await.unwrap_err();
        assert_eq!(endless, SecretProblem::TooLarge);
        let missing = SecretSource::Command { argv: vec!["/no/such/program".to_owned()] };
        assert_eq!(
            value(missing).await.unwrap_err().to_string(),
            "the command /no/such/program cannot be run: No such file or directory (os error 2)"
        );
        for (path, message) in [
            ("/no/such/file", "there is no file /no/such/file"),
            ("/dev/zero", "the file /dev/zero cannot be read: it is not a regular file"),
            ("/", "the file / cannot be read: it is not a regular file"),
        ] {
            let file = SecretSource::File { path: path.to_owned() };
            assert_eq!(value(file).await.unwrap_err().to_string(), message);
        }
    }

    #[tokio::test]
    async fn commands_run_in_the_folder_of_the_project() {
        assert_eq!(value(sh("pwd")).await.unwrap(), b"/");
    }
}

//! Reads the values of secrets.

use super::{Values, keyring};
use executor_intercept::Value;
use schemas::model::Model;
use schemas::name::SandboxName;
use schemas::snapshot::SecretProblem;
use schemas::spec::limits::SECRET_BYTES_MAX;
use schemas::spec::{Definition, SecretSource, ValueName};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use zeroize::Zeroize;

/// The time limit of a command that prints a value. People may have to confirm it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// Reads all values of a sandbox. Relative programs of commands are looked up in `folder`.
///
/// # Errors
///
/// The name of the first value that cannot be used, with the cause.
pub async fn read_all(
    definition: &Definition,
    folder: Option<&Path>,
) -> Result<Values, (ValueName, SecretProblem)> {
    read_some(definition, folder, |_| true).await
}

/// Reads the values of these names.
pub(super) async fn read_some(
    definition: &Definition,
    folder: Option<&Path>,
    is_wanted: impl Fn(&ValueName) -> bool,
) -> Result<Values, (ValueName, SecretProblem)> {
    let mut values = Values::new();
    for (name, source) in definition.value_sources().filter(|(name, _)| is_wanted(name)) {
        let bytes = match source {
            SecretSource::Command { argv } => {
                output_of(argv, folder).await.map_err(|failure| failure.of_command(argv))
            }
            SecretSource::Keyring { service, account } => {
                let command = keyring::command(service, account.as_deref());
                let output = output_of(&command, None).await;
                output.map_err(|failure| failure.of_keyring(service, account.as_deref()))
            }
            SecretSource::Env { .. } | SecretSource::File { .. } => read(source),
        };
        match bytes.and_then(checked) {
            Ok(value) => drop(values.insert(name, value)),
            Err(problem) => return Err((name, problem)),
        }
    }
    Ok(values)
}

/// Reads the values that are in variables and files, as far as they can be used.
pub(super) fn readable(definition: &Definition) -> Values {
    let sources = definition.value_sources().filter(|(_, source)| is_quick(source));
    sources.filter_map(|(name, source)| Some((name, read(source).and_then(checked).ok()?))).collect()
}

/// Whether reading the value runs no program, which may ask for something.
fn is_quick(source: &SecretSource) -> bool {
    match source {
        SecretSource::Env { .. } | SecretSource::File { .. } => true,
        SecretSource::Command { .. } | SecretSource::Keyring { .. } => false,
    }
}

/// Finds the values of a model that cannot be used, by sandbox and by name. No program is run.
pub fn problems(model: &Model) -> BTreeMap<SandboxName, BTreeMap<ValueName, SecretProblem>> {
    let problems = model.sandboxes().iter().filter_map(|sandbox| {
        let unusable = unusable(sandbox.definition());
        (!unusable.is_empty()).then(|| (sandbox.name().clone(), unusable))
    });
    problems.collect()
}

/// Finds the values of a sandbox that cannot be used. No program is run.
pub fn unusable(definition: &Definition) -> BTreeMap<ValueName, SecretProblem> {
    let sources = definition.value_sources();
    sources.filter_map(|(name, source)| Some((name, check(source).err()?))).collect()
}

fn check(source: &SecretSource) -> Result<(), SecretProblem> {
    match source {
        SecretSource::Command { argv: _ } => Ok(()),
        SecretSource::Keyring { service: _, account: _ } => {
            let path = std::env::var_os("PATH");
            if keyring::is_installed(path.as_deref()) { Ok(()) } else { Err(keyring::no_tool()) }
        }
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
        SecretSource::Command { argv: _ } | SecretSource::Keyring { .. } => Ok(Vec::new()),
    }
}

/// The failure of a program that prints a value.
enum ProgramFailure {
    /// It is not known what to run.
    Nothing,
    /// It does not start, or its output cannot be read.
    NotStarted(io::Error),
    /// It fails.
    Failed(ExitStatus),
    /// It does not end in time.
    TimedOut,
}

impl ProgramFailure {
    fn of_command(&self, argv: &[String]) -> SecretProblem {
        let Some(program) = argv.first() else { return SecretProblem::Empty };
        SecretProblem::CommandFailed { program: program.clone(), reason: self.reason() }
    }

    fn of_keyring(&self, service: &str, account: Option<&str>) -> SecretProblem {
        match self {
            Self::NotStarted(error) if error.kind() == io::ErrorKind::NotFound => keyring::no_tool(),
            // It does not say which of the two.
            Self::Failed(_) => keyring::not_found(service, account),
            Self::Nothing | Self::NotStarted(_) | Self::TimedOut => {
                let program = keyring::PROGRAM.to_owned();
                SecretProblem::CommandFailed { program, reason: self.reason() }
            }
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Nothing => "is empty".to_owned(),
            Self::NotStarted(error) => format!("cannot be run: {error}"),
            Self::Failed(status) => format!("failed with {status}"),
            Self::TimedOut => format!("did not end within {} s", COMMAND_TIMEOUT.as_secs()),
        }
    }
}

/// Runs a command; returns its output without its last line end. Its errors go to the terminal of this process, as it may
/// ask for something there.
async fn output_of(argv: &[String], folder: Option<&Path>) -> Result<Vec<u8>, ProgramFailure> {
    let (program, arguments) = argv.split_first().ok_or(ProgramFailure::Nothing)?;
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let mut child = command.spawn().map_err(ProgramFailure::NotStarted)?;
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
            Err(ProgramFailure::Failed(status))
        }
        Ok(Err(error)) => Err(ProgramFailure::NotStarted(error)),
        Err(_) => Err(ProgramFailure::TimedOut),
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
    use schemas::spec::{Network, Secret, UpstreamProxy};
    use std::collections::BTreeSet;

    async fn value(from: SecretSource) -> Result<Vec<u8>, SecretProblem> {
        let secrets = BTreeMap::from([("TOKEN".to_owned(), Secret::new(from, BTreeSet::new()))]);
        let definition = Definition { secrets, ..Definition::default() };
        let token = ValueName::Secret("TOKEN".to_owned());
        let values = read_all(&definition, Some(Path::new("/"))).await;
        values.map(|values| values[&token].bytes().to_vec()).map_err(|(name, error)| {
            assert_eq!(name, token);
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

    #[tokio::test]
    async fn the_password_of_a_proxy_is_a_value_too() {
        let password = |source| {
            let url = "http://me@proxy:1".parse().unwrap();
            let proxy = Some(UpstreamProxy { url, password: Some(source) });
            Definition { network: Network { proxy, ..Network::default() }, ..Definition::default() }
        };
        let values = read_all(&password(sh("echo pw")), None).await.unwrap();
        assert_eq!(values[&ValueName::ProxyPassword].bytes(), b"pw");
        // Commands are not run to compare a value.
        assert!(readable(&password(sh("echo pw"))).is_empty());
        let known = password(SecretSource::Env { name: "PATH".to_owned() });
        assert_eq!(readable(&known).len(), 1);
        let unset = unusable(&password(SecretSource::Env { name: "MSB_NO_SUCH".to_owned() }));
        assert!(matches!(unset[&ValueName::ProxyPassword], SecretProblem::NotSet { .. }));
    }

    #[test]
    fn failures_of_the_keyring_say_what_to_do() {
        let missing = ProgramFailure::NotStarted(io::ErrorKind::NotFound.into());
        assert!(missing.of_keyring("api", None).to_string().contains("install the package libsecret-tools"));
        let failed = ProgramFailure::Failed(ExitStatus::default());
        assert!(matches!(failed.of_keyring("api", None), SecretProblem::NotInKeyring { .. }));
        let late = ProgramFailure::TimedOut.of_keyring("api", None);
        assert_eq!(late.to_string(), "the command secret-tool did not end within 120 s");
    }
}

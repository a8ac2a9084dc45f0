//! The user's keyring, which `secret-tool` of libsecret reads.

use schemas::snapshot::SecretProblem;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;

/// The program.
pub(super) const PROGRAM: &str = "secret-tool";
/// The package that contains it: on Debian and Ubuntu, and elsewhere.
const PACKAGE: &str = "libsecret-tools (libsecret on Fedora, Arch and openSUSE)";
const EXECUTABLE: u32 = 0o111;

/// Returns the command that prints the secret of an entry.
pub(super) fn command(service: &str, account: Option<&str>) -> Vec<String> {
    [PROGRAM, "lookup"].map(str::to_owned).into_iter().chain(attributes(service, account)).collect()
}

fn attributes(service: &str, account: Option<&str>) -> impl Iterator<Item = String> {
    let account = account.map(|account| ["username".to_owned(), account.to_owned()]);
    ["service".to_owned(), service.to_owned()].into_iter().chain(account.into_iter().flatten())
}

/// The problem of an entry that is not found.
pub(super) fn not_found(service: &str, account: Option<&str>) -> SecretProblem {
    let attributes: Vec<_> = attributes(service, account).collect();
    let pairs: Vec<_> = attributes.chunks(2).map(|pair| pair.join(" ")).collect();
    SecretProblem::NotInKeyring { attributes: pairs.join(", ") }
}

/// The problem that the program is not installed.
pub(super) fn no_tool() -> SecretProblem {
    SecretProblem::NoKeyringTool { package: PACKAGE.to_owned() }
}

/// Whether the program is in one of the folders of `$PATH`.
pub(super) fn is_installed(path: Option<&OsStr>) -> bool {
    let Some(path) = path else { return false };
    std::env::split_paths(path).any(|folder| {
        let metadata = std::fs::metadata(folder.join(PROGRAM));
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & EXECUTABLE != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn entries_are_found_by_their_attributes() {
        assert_eq!(command("api", None), ["secret-tool", "lookup", "service", "api"]);
        let whole = ["secret-tool", "lookup", "service", "api", "username", "me too"];
        assert_eq!(command("api", Some("me too")), whole);
        assert_eq!(
            not_found("api", Some("me")).to_string(),
            "the keyring has no entry with service api, username me, or is locked"
        );
    }

    #[test]
    fn the_program_is_looked_up_in_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = std::env::join_paths(["/no/such/folder".as_ref(), folder.path()]).unwrap();
        assert!(!is_installed(None) && !is_installed(Some(&path)));
        let program = folder.path().join(PROGRAM);
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(!is_installed(Some(&path)));
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(is_installed(Some(&path)));
    }
}

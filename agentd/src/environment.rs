//! The environment of a command.

use std::collections::BTreeMap;

pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
pub const SCRIPTS: &str = "/.msb/scripts";
const DEFAULT_TERM: &str = "xterm-256color";

/// The sources of a command's environment, lowest precedence first.
pub struct Sources<'a> {
    pub home: &'a str,
    pub hostname: &'a str,
    pub shell: &'a str,
    pub tty: bool,
    /// The environment in the boot document.
    pub sandbox: &'a BTreeMap<String, String>,
    /// The environment in the request, `K=V`.
    pub request: &'a [String],
}

/// Merges the sources.
///
/// # Errors
///
/// The first entry that is not `K=V`.
pub fn merge(sources: &Sources<'_>) -> Result<BTreeMap<String, String>, String> {
    let mut merged = BTreeMap::new();
    let mut set = |name: &str, value: &str| merged.insert(name.to_owned(), value.to_owned());
    set("PATH", DEFAULT_PATH);
    set("HOME", sources.home);
    set("HOSTNAME", sources.hostname);
    set("SHELL", sources.shell);
    if sources.tty {
        set("TERM", DEFAULT_TERM);
    }
    for (name, value) in sources.sandbox {
        if !is_name(name) || value.contains('\0') {
            return Err(name.clone());
        }
        set(name, value);
    }
    for entry in sources.request {
        match entry.split_once('=') {
            Some((name, value)) if is_name(name) && !value.contains('\0') => set(name, value),
            _ => return Err(entry.clone()),
        };
    }
    let path = merged.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let path = with_scripts(path);
    merged.insert("PATH".to_owned(), path);
    Ok(merged)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// Puts the folder of scripts first, wherever `path` had it.
fn with_scripts(path: &str) -> String {
    if path.is_empty() {
        return SCRIPTS.to_owned();
    }
    let others = path.split(':').filter(|entry| *entry != SCRIPTS);
    std::iter::once(SCRIPTS).chain(others).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(
        sandbox: &[(&str, &str)],
        request: &[&str],
        tty: bool,
    ) -> Result<BTreeMap<String, String>, String> {
        let sandbox = sandbox.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request: Vec<_> = request.iter().map(|entry| (*entry).to_owned()).collect();
        let (home, hostname, shell) = ("/home/u", "box", "/bin/sh");
        merge(&Sources { home, hostname, shell, tty, sandbox: &sandbox, request: &request })
    }

    #[test]
    fn later_sources_win() {
        let env = merged(&[("A", "sandbox"), ("HOME", "/elsewhere")], &["A=request", "B=x=y", "C="], false)
            .unwrap();
        let get = |name: &str| env.get(name).map(String::as_str);
        assert_eq!(get("A"), Some("request"));
        assert_eq!(get("B"), Some("x=y"));
        assert_eq!(get("C"), Some(""));
        assert_eq!(get("HOME"), Some("/elsewhere"));
        assert_eq!(get("SHELL"), Some("/bin/sh"));
        assert_eq!(get("TERM"), None);
    }

    #[test]
    fn a_terminal_has_a_default_type() {
        assert_eq!(merged(&[], &[], true).unwrap()["TERM"], DEFAULT_TERM);
        assert_eq!(merged(&[], &["TERM=dumb"], true).unwrap()["TERM"], "dumb");
    }

    #[test]
    fn scripts_are_first_on_any_path_and_only_once() {
        assert_eq!(merged(&[], &[], false).unwrap()["PATH"], format!("{SCRIPTS}:{DEFAULT_PATH}"));
        let env = merged(&[("PATH", "/opt/bin:/.msb/scripts:/bin")], &[], false).unwrap();
        assert_eq!(env["PATH"], "/.msb/scripts:/opt/bin:/bin");
        assert_eq!(merged(&[], &["PATH="], false).unwrap()["PATH"], SCRIPTS);
    }

    #[test]
    fn an_invalid_variable_is_named() {
        assert_eq!(merged(&[], &["NOVALUE"], false), Err("NOVALUE".to_owned()));
        assert_eq!(merged(&[], &["=x"], false), Err("=x".to_owned()));
        assert_eq!(merged(&[], &["A=\0"], false), Err("A=\0".to_owned()));
        assert_eq!(merged(&[("A=B", "")], &[], false), Err("A=B".to_owned()));
    }
}

//! The environment of a command.

use std::collections::BTreeMap;

pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
pub const SCRIPTS: &str = "/.msb/scripts";
const DEFAULT_TERM: &str = "xterm-256color";
/// The options of every Java virtual machine.
const JAVA_OPTIONS: &str = "JAVA_TOOL_OPTIONS";
/// The property of Java that selects a trust store.
const JAVA_TRUST_STORE: &str = "-Djavax.net.ssl.trustStore=";
const JAVA_TRUST_STORE_PASSWORD: &str = "-Djavax.net.ssl.trustStorePassword=";

/// The variables that make programs trust the sandbox's CA; none of them without one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TrustVariables {
    /// Variables for which any other source takes precedence.
    pub defaults: Vec<(&'static str, String)>,
    /// The path and the password of Java's trust store, which is used unless the environment selects another.
    pub java_store: Option<(&'static str, &'static str)>,
}

/// The sources of a command's environment, lowest precedence first.
pub struct Sources<'a> {
    pub home: &'a str,
    pub hostname: &'a str,
    pub shell: &'a str,
    pub tty: bool,
    pub trust: &'a TrustVariables,
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
    for (name, value) in &sources.trust.defaults {
        set(name, value);
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
    if let Some((store, password)) = sources.trust.java_store {
        let options = merged.entry(JAVA_OPTIONS.to_owned()).or_default();
        if !options.contains(JAVA_TRUST_STORE) {
            *options = format!("{options} {JAVA_TRUST_STORE}{store} {JAVA_TRUST_STORE_PASSWORD}{password}")
                .trim_start()
                .to_owned();
        }
    }
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
        merged_with(&TrustVariables::default(), sandbox, request, tty)
    }

    fn merged_with(
        trust: &TrustVariables,
        sandbox: &[(&str, &str)],
        request: &[&str],
        tty: bool,
    ) -> Result<BTreeMap<String, String>, String> {
        let sandbox = sandbox.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request: Vec<_> = request.iter().map(|entry| (*entry).to_owned()).collect();
        let (home, hostname, shell) = ("/home/u", "box", "/bin/sh");
        merge(&Sources { home, hostname, shell, tty, trust, sandbox: &sandbox, request: &request })
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
    fn variables_of_the_trust_give_way_to_any_other() {
        let default = |name| (name, "/.msb/tls/ca.pem".to_owned());
        let trust = TrustVariables {
            defaults: ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"].map(default).to_vec(),
            java_store: None,
        };
        let sandbox = [("SSL_CERT_FILE", "/own.pem")];
        let env = merged_with(&trust, &sandbox, &["CURL_CA_BUNDLE="], false).unwrap();
        assert_eq!(env["SSL_CERT_FILE"], "/own.pem");
        assert_eq!(env["CURL_CA_BUNDLE"], "");
        assert_eq!(env["NODE_EXTRA_CA_CERTS"], "/.msb/tls/ca.pem");
        assert!(!env.contains_key(JAVA_OPTIONS));
    }

    #[test]
    fn java_keeps_its_options_and_gets_a_trust_store_unless_it_has_one() {
        let trust = TrustVariables { defaults: Vec::new(), java_store: Some(("/store", "secret")) };
        let added = "-Djavax.net.ssl.trustStore=/store -Djavax.net.ssl.trustStorePassword=secret";
        let options = |sandbox: &[(&str, &str)], request: &[&str]| {
            merged_with(&trust, sandbox, request, false).unwrap().remove(JAVA_OPTIONS).unwrap()
        };
        assert_eq!(options(&[], &[]), added);
        assert_eq!(options(&[(JAVA_OPTIONS, "-Xmx1g")], &[]), format!("-Xmx1g {added}"));
        let request = "JAVA_TOOL_OPTIONS=-Xmx2g";
        assert_eq!(options(&[(JAVA_OPTIONS, "-Xmx1g")], &[request]), format!("-Xmx2g {added}"));
        let own = "-Djavax.net.ssl.trustStore=/own.jks";
        assert_eq!(options(&[(JAVA_OPTIONS, own)], &[]), own);
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

//! Secrets of a sandbox.

use crate::error::{Error, Result};
use std::fmt;

/// What happens when a sandbox sends a placeholder to another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnViolation {
    /// The request is refused.
    Block,
    /// The request is refused, with an entry in the log. The default.
    BlockAndLog,
    /// The request is refused, and the sandbox is stopped.
    BlockAndTerminate,
    /// The placeholder is sent as it is.
    Passthrough,
}

/// A secret: the sandbox sees a placeholder, which is replaced in requests to some hosts only.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    name: String,
    hosts: Vec<String>,
    value: Option<String>,
    options: Vec<String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, hosts, value: _, options } = self;
        formatter
            .debug_struct("Secret")
            .field("name", name)
            .field("hosts", hosts)
            .field("options", options)
            .finish_non_exhaustive()
    }
}

impl Secret {
    /// A secret for these hosts, such as `api.example.org` or `*.example.org`. Its value is that of the variable of this
    /// name in the environment of this program.
    pub fn new<H: Into<String>>(name: impl Into<String>, hosts: impl IntoIterator<Item = H>) -> Self {
        let hosts = hosts.into_iter().map(Into::into).collect();
        Self { name: name.into(), hosts, value: None, options: Vec::new() }
    }

    /// Sets the value. It is passed in the environment of `msb`, never on its command line. To start the sandbox again
    /// from another program, set the variable `MSB_SDK_SECRET_` and the name to it.
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = Some(value.into());
        self
    }

    fn option(mut self, option: String) -> Self {
        self.options.push(option);
        self
    }

    /// Sets where it is replaced, such as `headers` and `query`; in headers by default.
    pub fn inject<P: AsRef<str>>(self, places: impl IntoIterator<Item = P>) -> Self {
        let option = format!("inject={}", joined(places));
        self.option(option)
    }

    /// Sets the placeholder; a random one by default.
    pub fn placeholder(self, placeholder: impl AsRef<str>) -> Self {
        let option = format!("placeholder={}", placeholder.as_ref());
        self.option(option)
    }

    /// Sets what happens when the placeholder is sent to another host.
    pub fn on_violation(self, action: OnViolation) -> Self {
        let word = match action {
            OnViolation::Block => "block",
            OnViolation::BlockAndLog => "block-and-log",
            OnViolation::BlockAndTerminate => "block-and-terminate",
            OnViolation::Passthrough => "passthrough",
        };
        self.option(format!("on-violation={word}"))
    }

    /// Sets hosts that the placeholder is sent to unchanged.
    pub fn passthrough_hosts<H: AsRef<str>>(self, hosts: impl IntoIterator<Item = H>) -> Self {
        let option = format!("passthrough-hosts={}", joined(hosts));
        self.option(option)
    }

    /// Sets whether it is only sent over TLS.
    pub fn require_tls(self, required: bool) -> Self {
        self.option(format!("require-tls={required}"))
    }

    /// Returns the value of `--secret`, and the variable for the environment of `msb`.
    pub(crate) fn argument(&self) -> Result<(String, Option<(String, String)>)> {
        let Self { name, hosts, value, options } = self;
        if hosts.is_empty() {
            return Err(Error::invalid(format!("the secret {name} has no hosts")));
        }
        if value.as_ref().is_some_and(|value| value.contains('\0')) {
            return Err(Error::invalid(format!("the value of the secret {name} must not contain NUL")));
        }
        let variable = value.as_ref().map(|value| (format!("MSB_SDK_SECRET_{name}"), value.clone()));
        let mut all: Vec<String> = variable.iter().map(|(variable, _)| format!("env={variable}")).collect();
        all.extend_from_slice(options);
        let options = if all.is_empty() { String::new() } else { format!(":{}", all.join(",")) };
        Ok((format!("{name}@{}{options}", hosts.join(",")), variable))
    }
}

fn joined<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect::<Vec<_>>().join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_secret_is_only_in_the_environment() {
        let secret =
            Secret::new("TOKEN", ["api.example.org"]).value("s3cret").on_violation(OnViolation::Block);
        let (argument, variable) = secret.argument().unwrap();
        assert_eq!(argument, "TOKEN@api.example.org:env=MSB_SDK_SECRET_TOKEN,on-violation=block");
        assert_eq!(variable, Some(("MSB_SDK_SECRET_TOKEN".to_owned(), "s3cret".to_owned())));
        assert!(!format!("{secret:?}").contains("s3cret"));
        assert!(Secret::new("TOKEN", [""; 0]).argument().is_err());
    }
}

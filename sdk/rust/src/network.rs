//! The network of a sandbox.

use crate::error::Result;
use crate::mount::absolute;
use std::path::PathBuf;

/// The network of a sandbox. By default, the public internet is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    arguments: Vec<(&'static str, String)>,
    ca_files: Vec<PathBuf>,
    intercepts_tls: bool,
}

impl Network {
    /// Allows the public internet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Denies all connections that no rule allows.
    pub fn none() -> Self {
        Self::new().with("--net-default", "deny")
    }

    /// Allows all connections that no rule denies, private networks included.
    pub fn allow_all() -> Self {
        Self::new().with("--net-default", "allow")
    }

    /// Denies all connections but those to these hosts: names, `*.` and a name, addresses or networks.
    pub fn only<H: AsRef<str>>(hosts: impl IntoIterator<Item = H>) -> Self {
        hosts.into_iter().fold(Self::none(), |network, host| network.rule(format!("allow@{}", host.as_ref())))
    }

    fn with(mut self, flag: &'static str, value: impl Into<String>) -> Self {
        self.arguments.push((flag, value.into()));
        self
    }

    /// Adds a rule, such as `allow@api.example.org`, `deny@10.0.0.0/8` or `allow:tcp:443@*.example.org`.
    pub fn rule(self, rule: impl Into<String>) -> Self {
        self.with("--net-rule", rule)
    }

    /// Sets the network that the sandbox's IPv4 addresses, a /30, are taken from.
    pub fn ipv4_pool(self, network: impl Into<String>) -> Self {
        self.with("--net-ipv4-pool", network)
    }

    /// Sets the network that the sandbox's IPv6 addresses, a /64, are taken from.
    pub fn ipv6_pool(self, network: impl Into<String>) -> Self {
        self.with("--net-ipv6-pool", network)
    }

    /// Adds a name server that is asked for names that the rules allow, such as `1.1.1.1`; without any, the host's are.
    pub fn dns(self, server: impl Into<String>) -> Self {
        self.with("--dns", server)
    }

    /// Adds a domain in which the guest looks up names without a dot.
    pub fn dns_search(self, domain: impl Into<String>) -> Self {
        self.with("--dns-search", domain)
    }

    /// Sets a proxy for TCP connections: `http://HOST:PORT` or `socks5://HOST:PORT`.
    pub fn proxy(self, url: impl Into<String>) -> Self {
        self.with("--net-proxy", url)
    }

    /// Sets where the password of the proxy's user is read: `env=NAME`, `file=PATH` or `keyring=SERVICE`.
    pub fn proxy_password(self, source: impl Into<String>) -> Self {
        self.with("--net-proxy-password", source)
    }

    /// Intercepts TLS even without a secret.
    pub fn intercept_tls(mut self) -> Self {
        self.intercepts_tls = true;
        self
    }

    /// Adds a host whose connections are not intercepted.
    pub fn tls_bypass(self, host: impl Into<String>) -> Self {
        self.with("--tls-bypass", host)
    }

    /// Adds a file with CAs of servers that this host does not trust.
    pub fn tls_ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_files.push(file.into());
        self
    }

    /// Returns the options of `msb create`.
    pub(crate) fn arguments(&self) -> Result<Vec<String>> {
        let mut all: Vec<String> =
            self.arguments.iter().map(|(flag, value)| format!("{flag}={value}")).collect();
        for file in &self.ca_files {
            all.push(format!("--tls-ca={}", absolute(file)?));
        }
        all.extend(self.intercepts_tls.then(|| "--tls-intercept".to_owned()));
        Ok(all)
    }
}

//! The values of secrets and the password of the proxy that a sandbox has.

use crate::secrets::Values;
use executor_intercept::Value;
use executor_net::Password;
use schemas::spec::{Definition, ValueName};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The values of one sandbox, which change when those of the host are passed on.
#[derive(Debug, Default)]
pub struct HeldValues(RefCell<Values>);

impl HeldValues {
    /// Holds the values that the sandbox is started with.
    pub fn new(values: Values) -> Self {
        if !values.is_empty() {
            leave_memory_out_of_core_dumps();
        }
        Self(RefCell::new(values))
    }

    /// Returns the value of a secret; `None` if the sandbox was started without it.
    pub fn secret(&self, name: &str) -> Option<Value> {
        self.0.borrow().get(&ValueName::Secret(name.to_owned())).cloned()
    }

    /// Returns the password of the proxy, if there is one.
    pub fn proxy_password(&self) -> Option<Password> {
        let values = self.0.borrow();
        values.get(&ValueName::ProxyPassword).cloned().map(Password::new)
    }

    /// Returns all values.
    pub fn all(&self) -> Vec<Value> {
        self.0.borrow().values().cloned().collect()
    }

    /// Returns the names of the values that differ from these. Those that the sandbox was started without do not count.
    pub fn differing(&self, others: &Values) -> BTreeSet<ValueName> {
        let values = self.0.borrow();
        let differing = others
            .iter()
            .filter(|(name, other)| values.get(*name).is_some_and(|value| value.bytes() != other.bytes()));
        differing.map(|(name, _)| name.clone()).collect()
    }

    /// Forgets the values that a definition no longer uses.
    pub fn forget_unused(&self, definition: &Definition) {
        let used: BTreeSet<_> = definition.value_sources().map(|(name, _)| name).collect();
        self.0.borrow_mut().retain(|name, _| used.contains(name));
    }

    /// Replaces the values of these names.
    pub fn replace(&self, names: &BTreeSet<ValueName>, others: &Values) {
        let mut values = self.0.borrow_mut();
        let wanted = others.iter().filter(|(name, _)| names.contains(*name));
        values.extend(wanted.map(|(name, value)| (name.clone(), value.clone())));
    }
}

/// Leaves memory out of the core dumps of this process and of its children: parts of it contain values.
fn leave_memory_out_of_core_dumps() {
    if let Err(error) = std::fs::write("/proc/self/coredump_filter", "0") {
        tracing::warn!("values of secrets would be in a core dump: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::spec::{Network, SecretSource, UpstreamProxy};

    fn values(of: &[(&str, &str)]) -> Values {
        let value = |text: &str| Value::new(text.as_bytes().to_vec());
        of.iter().map(|(name, text)| (name.parse().unwrap(), value(text))).collect()
    }

    #[test]
    fn values_are_compared_replaced_and_forgotten() {
        let (password, secret) = ("network.proxy.password", "secrets.TOKEN");
        let held = HeldValues::new(values(&[(password, "first"), (secret, "token")]));
        let others = values(&[(password, "second"), (secret, "token"), ("secrets.NEW", "new")]);
        let differing = held.differing(&others);
        assert_eq!(differing, [ValueName::ProxyPassword].into());
        held.replace(&differing, &others);
        assert_eq!(held.proxy_password().unwrap().as_slice(), b"second");
        assert_eq!(held.secret("TOKEN").unwrap().bytes(), b"token");
        assert!(held.secret("NEW").is_none() && held.differing(&others).is_empty());
        let url = "http://me@proxy:1".parse().unwrap();
        let source = SecretSource::Env { name: "PW".to_owned() };
        let network =
            |password| Network { proxy: Some(UpstreamProxy { url, password }), ..Network::default() };
        held.forget_unused(&Definition { network: network(Some(source)), ..Definition::default() });
        assert!(held.secret("TOKEN").is_none() && held.proxy_password().is_some());
        held.forget_unused(&Definition::default());
        assert!(held.all().is_empty());
    }
}

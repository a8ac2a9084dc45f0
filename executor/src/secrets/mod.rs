//! The values of secrets and the password of a proxy: read from their sources when a sandbox starts, and passed to its
//! supervisor in memory.
//!
//! Architecture invariant: a value is in no file, argument, environment variable, error or log. A supervisor compares its
//! values with those of the host by itself; no digest of a value leaves it.

mod authorities;
mod changed;
mod handover;
mod keyring;
mod source;

pub use authorities::extra_ca;
pub(crate) use changed::{NotPassedOn, Running, changed_values, pass_on};
pub use handover::{receive, send};
pub use source::{problems, read_all, unusable};

use executor_intercept::Value;
use schemas::spec::ValueName;
use std::collections::BTreeMap;

/// Values by their names.
pub type Values = BTreeMap<ValueName, Value>;

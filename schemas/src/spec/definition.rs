//! The definition of a sandbox without its name and image, from the table of properties.

use super::diff::{self, Changes, Field};
use super::host_access::{Found, HostAccess};
use super::{
    Condition, EnvFile, GuestFile, HealthCheck, HealthSetting, HookEvent, Logs, Mount, Network, Port, Pull,
    RestartPolicy, Role, Secret, SecretSource, Sync, Tls, Tmpfs, ValueName, defaults,
};
use crate::name::SandboxName;
use crate::report::ChangeKind;
use rules::ulimit::{Resource, Ulimit};
use rules::user::GuestUser;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

macro_rules! define {
    (
        first { $($first:tt)* }
        definition {
            $(
                $(#[$attribute:meta])+
                $field:ident: $type:ty = $default:expr => $value:ident {
                    names: $count:ident($kdl:literal, $yaml:literal),
                    like: $like:literal,
                    change: $change:ident, differ: $differ:ident,
                    flags: $flags:tt,
                    instead: $instead:tt,
                };
            )+
        }
        last { $($last:tt)* }
    ) => {
        /// The definition of a sandbox without its name and image.
        ///
        /// Fields that a record of an older msb lacks have their defaults.
        #[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Definition {
            /// Service or job.
            pub role: Role,
            $( $(#[$attribute])+ pub $field: $type, )+
        }

        impl Definition {
            /// Returns the definition of a sandbox that declares nothing but its role.
            pub fn with_defaults(role: Role) -> Self {
                Self { role, $($field: $default),+ }
            }

            /// Adds the fields in which another definition differs.
            pub(super) fn differ(&self, new: &Self, changes: &mut Changes) {
                let Self { role, $($field),+ } = self;
                diff::plain(changes, Field::new("role", ChangeKind::Restart), role, &new.role);
                $( diff::$differ(changes, Field::new($kdl, ChangeKind::$change), $field, &new.$field); )+
            }

            /// Calls `found` with each access to the host, and the path of its property.
            pub(crate) fn reached(&self, found: &mut Found<'_>) {
                let Self { role: _, $($field),+ } = self;
                $(
                    $field.reached(&mut |kind, value, inside| {
                        let path = if inside.is_empty() { $kdl.to_owned() } else { format!("{}.{inside}", $kdl) };
                        found(kind, value, &path);
                    });
                )+
            }

            /// Replaces every path of the host.
            pub fn map_host_paths(&mut self, map: &dyn Fn(&str) -> String) {
                $( self.$field.map_host_paths(map); )+
            }
        }
    };
}

crate::sandbox_properties!(define);

impl Definition {
    /// Returns the values that are read on the host, with their sources, sorted.
    pub fn value_sources(&self) -> impl Iterator<Item = (ValueName, &SecretSource)> {
        let password = self.network.proxy.as_ref().and_then(|proxy| proxy.password.as_ref());
        let password = password.map(|source| (ValueName::ProxyPassword, source));
        let secrets = self.secrets.iter();
        let secrets = secrets.map(|(name, secret)| (ValueName::Secret(name.clone()), &secret.from));
        password.into_iter().chain(secrets)
    }
}

impl Default for Definition {
    fn default() -> Self {
        Self::with_defaults(Role::Service)
    }
}

impl Definition {
    /// Returns the declared health check; `None` if that of the image applies, or none.
    pub fn health_check(&self) -> Option<&HealthCheck> {
        match self.healthcheck.as_ref()? {
            HealthSetting::Check(check) => Some(check),
            HealthSetting::Disabled => None,
        }
    }
}

//! The tables of the properties inside blocks, and the types that are made from them.
//!
//! An entry of a table is
//!
//! ```text
//! /// Its description, for the field, editors and the reference.
//! field: Type = default => Value {
//!     names: ("kdl-name", "yaml_name"),
//!     differ: plain,          // the function of `diff` that finds a change
//!     instead: ["word"],      // what people write for it, mostly compose's words
//! };
//! ```
//!
//! `Value` is a type of the front end, which implements its trait `Value` to read, check, print and describe it.

use super::diff::{self, Changes, Field};
use serde::{Deserialize, Serialize};

/// Passes `header` and the table of the properties of `logs` to a macro.
#[macro_export]
macro_rules! logs_properties {
    ($apply:ident $header:tt) => {
        $apply! {
            $header
            /// Whether it is written at all.
            capture: Capture = Capture::default() => LogCapture {
                names: ("capture", "capture"),
                differ: plain, instead: ["enabled"],
            };
            /// The size at which a log file is followed by a new one; without it, `rotate_at` of config.json.
            max_size_bytes: Option<u64> = None => LogSize {
                names: ("max-size", "max_size"),
                differ: size, instead: ["rotate_at", "size", "limit"],
            };
            /// The number of files of each log that are kept beside the newest; without it, `keep` of config.json.
            keep: Option<u32> = None => KeptLogs {
                names: ("keep", "keep"),
                differ: option, instead: [],
            };
        }
    };
}

/// Passes `header` and the table of the properties of `healthcheck` to a macro.
#[macro_export]
macro_rules! healthcheck_properties {
    ($apply:ident $header:tt) => {
        $apply! {
            $header
            /// A program and its arguments; exit code 0 is healthy.
            exec: Vec<String> = Vec::new() => HealthCommand {
                names: ("exec", "exec"),
                differ: argv, instead: ["test", "command", "cmd", "run"],
            };
            /// The time between two probes.
            interval_ms: u64 = defaults::HEALTH_INTERVAL_MS => Time {
                names: ("interval", "interval"),
                differ: duration, instead: ["period", "every", "start_interval"],
            };
            /// The time after which a probe counts as failed.
            timeout_ms: u64 = defaults::HEALTH_TIMEOUT_MS => Time {
                names: ("timeout", "timeout"),
                differ: duration, instead: [],
            };
            /// The number of failures in a row that make it unhealthy.
            retries: u32 = defaults::HEALTH_RETRIES => Failures {
                names: ("retries", "retries"),
                differ: plain, instead: ["attempts"],
            };
            /// The time from the start within which failures do not count.
            start_period_ms: u64 = defaults::HEALTH_START_PERIOD_MS => Grace {
                names: ("start-period", "start_period"),
                differ: duration, instead: ["grace"],
            };
            /// A text for the report when it is unhealthy.
            hint: Option<String> = None => Hint {
                names: ("hint", "hint"),
                differ: option, instead: [],
            };
        }
    };
}

macro_rules! define {
    (
        { $(#[$block_attribute:meta])+ $block:ident }
        $(
            $(#[$attribute:meta])+
            $field:ident: $type:ty = $default:expr => $value:ident {
                names: ($kdl:literal, $yaml:literal),
                differ: $differ:ident, $($rest:tt)*
            };
        )+
    ) => {
        $(#[$block_attribute])+
        #[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $block {
            $( $(#[$attribute])+ pub $field: $type, )+
        }

        impl diff::Block for $block {
            fn differ(&self, new: &Self, changes: &mut Changes, block: Field<'_>) {
                let Self { $( $field, )+ } = self;
                $( diff::$differ(changes, Field::new(&block.inside($kdl), block.kind), $field, &new.$field); )+
            }
        }
    };
}

crate::logs_properties! { define {
    /// The logs of one sandbox: whether its output is written to log files, and how much of it is kept.
    #[derive(Default)]
    Logs
} }

crate::healthcheck_properties! { define {
    /// A command that tells whether a sandbox is healthy.
    HealthCheck
} }

impl Logs {
    /// Returns whether all values are defaults. Defaults are not serialized, so that specs recorded before this field
    /// existed compare equal.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

rules::words! {
    /// Whether the output of the processes of a sandbox is written to log files.
    #[derive(Default)]
    Capture {
        /// It is.
        #[default]
        On = "on",
        /// It goes to the clients that are connected at the time, and to no file.
        Off = "off",
    }
}

//! The vocabulary of the language: the valid names at each place, and what people write instead.
//!
//! Readers, suggestions, the JSON Schema and the reference page all use these tables.

/// A place with properties, such as the inside of a sandbox.
#[derive(Debug)]
pub struct PropertyTable {
    /// Its description for messages: `a sandbox`.
    pub what: &'static str,
    /// The name of its definition in the JSON Schema; empty where only KDL has it.
    pub definition: &'static str,
    /// Its description.
    pub doc: &'static str,
    /// The YAML names of the required properties.
    pub required: &'static [&'static str],
    /// The valid properties.
    pub properties: &'static [Property],
    /// What people write instead, mostly compose's words.
    pub foreign: &'static [(&'static [&'static str], Instead)],
}

/// A property in both spellings.
#[derive(Debug)]
pub struct Property {
    /// Its name in KDL, which also identifies it in the code.
    pub kdl: &'static str,
    /// Its name in YAML.
    pub yaml: &'static str,
    /// Whether KDL writes one node for each entry; YAML has a map or a list of them instead.
    pub repeats: bool,
    /// Its description; lines that come from a comment begin with a space.
    pub doc: &'static str,
    /// Returns the JSON Schema of its value in YAML.
    pub schema: fn() -> serde_json::Value,
    /// What people write for it, in lower case and with underscores: mostly compose's words.
    pub instead: &'static [&'static str],
    /// The flags of `msb run` and `msb create` that set it.
    pub flags: &'static [Flag],
    /// Whether `like` inherits it.
    pub is_inherited: bool,
    /// The effect of a change; `None` for a property of a block, which has that of the block.
    pub change: Option<ChangeKind>,
}

/// A flag of a command line.
#[derive(Debug)]
pub struct Flag {
    /// The long name.
    pub long: &'static str,
    /// The short name, if there is one.
    pub short: Option<char>,
    /// The name of its value in the help.
    pub value_name: &'static str,
    /// The type of its value.
    pub kind: FlagKind,
}

/// The type of the value of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagKind {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// A text; the flag can be repeated.
    List,
    /// `NAME=VALUE`; the flag can be repeated.
    Pairs,
}

impl Flag {
    const fn new(long: &'static str, value_name: &'static str, kind: FlagKind) -> Self {
        Self { long, short: None, value_name, kind }
    }

    const fn short(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }
}

impl Property {
    /// Returns its description as one paragraph.
    pub fn description(&self) -> String {
        self.doc.trim().to_owned()
    }
}

impl PropertyTable {
    /// Returns the replacement for a word of another tool.
    pub fn instead_of(&self, word: &str) -> Option<Instead> {
        let word = word.to_ascii_lowercase().replace('-', "_");
        let property = self.properties.iter().find(|property| property.instead.contains(&word.as_str()));
        let foreign = self.foreign.iter().find(|(theirs, _)| theirs.contains(&word.as_str()));
        property.map(|property| Use(property.kdl)).or_else(|| foreign.map(|(_, instead)| *instead))
    }
}

/// The replacement for a word of another tool.
#[derive(Clone, Copy, Debug)]
pub enum Instead {
    /// The property of this name in KDL.
    Use(&'static str),
    /// The property of this name in KDL, and a sentence about how it differs.
    Differs(&'static str, &'static str),
    /// Something else, as a whole sentence.
    Say(&'static str),
    /// Something else, as a whole sentence with a sample in each spelling.
    Write {
        /// The sentence for a file in KDL.
        kdl: &'static str,
        /// The sentence for a file in YAML.
        yaml: &'static str,
    },
}

mod foreign;
mod lookup;
mod network;
pub(crate) mod schema;
mod secret;
mod storage;
mod vocabulary;

pub use lookup::{NotFound, find};

pub use network::{DNS, NETWORK, NETWORK_RULE, NETWORK_YAML, PROXY};
pub use schema::json_schema;
pub use secret::{SECRET, SECRET_SOURCE, TLS, TLS_CA};
pub use storage::{ENV_FILE, FILE, MOUNT, SYNC, TMPFS, VOLUME};
pub(crate) use vocabulary::{FOREIGN_RESTART_POLICIES, Foreign, RESTART_POLICIES, Vocabulary};

use crate::values::{self, Value};
pub use crate::values::{healthcheck::HEALTHCHECK, logs::LOGS};
use Instead::{Say, Use};
use schemas::report::ChangeKind;
use schemas::spec::Condition;

pub(crate) const fn one(
    kdl: &'static str,
    yaml: &'static str,
    schema: fn() -> serde_json::Value,
    doc: &'static str,
) -> Property {
    Property {
        kdl,
        yaml,
        repeats: false,
        doc,
        schema,
        instead: &[],
        flags: &[],
        is_inherited: false,
        change: None,
    }
}

/// Returns a property with the same name in both spellings.
const fn plain(name: &'static str, schema: fn() -> serde_json::Value, doc: &'static str) -> Property {
    one(name, name, schema, doc)
}

const fn each(
    kdl: &'static str,
    yaml: &'static str,
    schema: fn() -> serde_json::Value,
    doc: &'static str,
) -> Property {
    Property { repeats: true, ..one(kdl, yaml, schema, doc) }
}

/// The top of the file.
pub static PROJECT: PropertyTable = PropertyTable {
    what: "a Sandboxfile",
    definition: "Sandboxfile",
    doc: "A project: sandboxes, jobs and volumes. Each sandbox is a virtual machine of its own.",
    required: &[],
    properties: &[
        plain(
            "project",
            schema::name,
            "The project's name: a-z, 0-9, `-` and `_`. Without it, the folder's name.",
        ),
        each("sandbox", "sandboxes", schema::sandboxes, "Services, which run until they are stopped."),
        each("job", "jobs", schema::sandboxes, "Jobs, which run once and must exit 0."),
        each(
            "include",
            "include",
            schema::words,
            "Sandboxfiles that this one overrides; paths in them are relative to their own folders.",
        ),
        each(
            "volume",
            "volumes",
            schema::volumes,
            "Directories and disks that outlive the sandboxes that mount them.",
        ),
    ],
    foreign: &[
        (&["name"], Use("project")),
        (&["services", "service", "containers", "container", "vm"], Use("sandbox")),
        (&["tasks", "task"], Use("job")),
        (&["extends"], Use("include")),
        (&["version"], Say("a Sandboxfile has no version: remove it")),
        (&["networks"], Say("each sandbox has its own network: remove it")),
        (&["secrets"], Say("declare secrets inside the sandbox that uses them")),
        (&["configs"], foreign::FILES),
    ],
};

macro_rules! define_sandbox {
    ($(
        $(#[doc = $doc:literal])+
        $(#[serde($($serde:tt)*)])?
        $field:ident $(: $type:ty = $default:expr)? => $value:ident {
            names: $count:ident($kdl:literal, $yaml:literal),
            like: $like:literal,
            change: $change:ident, $(differ: $differ:ident,)?
            flags: [$($flag:expr),* $(,)?],
            instead: [$($word:literal),* $(,)?],
        };
    )+) => {
        /// Inside a sandbox or a job.
        pub static SANDBOX: PropertyTable = PropertyTable {
            what: "a sandbox",
            definition: "Sandbox",
            doc: "A sandbox or a job.",
            required: &[],
            properties: &[$(
                Property {
                    instead: &[$($word),*],
                    flags: &[$($flag),*],
                    is_inherited: $like,
                    change: Some(ChangeKind::$change),
                    ..$count($kdl, $yaml, <values::$value as Value>::schema, concat!($($doc),+))
                },
            )+],
            foreign: foreign::SANDBOX,
        };
    };
}

macro_rules! define {
    (
        first { $($first:tt)* }
        definition { $($definition:tt)* }
        last { $($last:tt)* }
    ) => {
        define_sandbox! { $($first)* $($definition)* $($last)* }
    };
}

schemas::sandbox_properties!(define);

/// Beside a script's name.
pub static SCRIPT: PropertyTable = PropertyTable {
    what: "a script",
    definition: "ScriptMap",
    doc: "A script with more to say than its text.",
    required: &["body"],
    properties: &[
        plain("body", schema::script, "The text."),
        plain("raw", schema::flag, "Whether the text is the whole script, its first line included."),
    ],
    foreign: &[
        (&["content", "text", "run"], Use("body")),
        (&["shell"], Say("`shell` is a property of the sandbox; a raw script has a first line of its own")),
        (&["path"], Say("write the script's text, or put the file into the image")),
    ],
};

/// The moments at which hooks run.
pub static HOOKS: PropertyTable = PropertyTable {
    what: "the list of hooks",
    definition: "Hooks",
    doc: "Commands that run inside a sandbox at moments of its life.",
    required: &[],
    properties: &[
        one(
            "post-start",
            "post_start",
            schema::words,
            "After each start, before the sandboxes that depend on it start.",
        ),
        one("pre-stop", "pre_stop", schema::words, "Before an orderly stop."),
    ],
    foreign: &[
        (&["start", "started", "on_start", "after_start"], Use("post-start")),
        (&["stop", "on_stop", "before_stop"], Use("pre-stop")),
        (&["pre_start"], Say("what has to run first is a job that the sandbox depends on")),
        (&["post_stop"], Say("nothing runs in a sandbox that has stopped")),
    ],
};

/// Beside a dependency's name.
pub static DEPENDENCY: PropertyTable = PropertyTable {
    what: "a dependency",
    definition: "Dependency",
    doc: "What must hold before a sandbox starts.",
    required: &[],
    properties: &[
        plain("condition", schema::word::<Condition>, "What the other one must have reached."),
        plain("required", schema::flag, "Whether the other one must be in this file; without it, it must."),
    ],
    foreign: &[
        (&["when", "until"], Use("condition")),
        (&["restart"], Say("`restart` is a property of the sandbox")),
    ],
};

/// Beside a restart policy.
pub static RESTART: PropertyTable = PropertyTable {
    what: "a restart policy",
    definition: "Restart",
    doc: "What happens when a sandbox ends by itself.",
    required: &["policy"],
    properties: &[
        plain("policy", schema::policy, "Never again, after a failure, or always."),
        plain("max", schema::count, "The most restarts in a row."),
        plain("window", schema::duration, "The time within which they are counted; without it, all are."),
    ],
    foreign: &[
        (&["condition"], Use("policy")),
        (&["max_attempts", "attempts", "retries", "maximum_retry_count"], Use("max")),
    ],
};

/// All tables.
pub static TABLES: &[&PropertyTable] = &[
    &PROJECT,
    &VOLUME,
    &SANDBOX,
    &MOUNT,
    &TMPFS,
    &FILE,
    &ENV_FILE,
    &SYNC,
    &NETWORK,
    &NETWORK_YAML,
    &NETWORK_RULE,
    &PROXY,
    &DNS,
    &SECRET,
    &SECRET_SOURCE,
    &TLS,
    &TLS_CA,
    &HOOKS,
    &SCRIPT,
    &DEPENDENCY,
    &HEALTHCHECK,
    &RESTART,
    &LOGS,
];

#[cfg(test)]
mod tests;

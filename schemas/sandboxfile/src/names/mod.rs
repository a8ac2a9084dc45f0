//! The words of the language: which names are valid at which place, and what people write instead.
//!
//! This is data, and it stands once: parsing, did-you-mean and the list of accepted names all read it.

/// A place at which properties stand, such as the inside of a sandbox.
#[derive(Debug)]
pub struct Place {
    /// What it is, for messages: `a sandbox`.
    pub what: &'static str,
    /// What may stand there.
    pub properties: &'static [Property],
    /// What people write instead, mostly compose's words.
    pub foreign: &'static [(&'static str, Instead)],
}

/// A property in both spellings.
#[derive(Debug)]
pub struct Property {
    /// Its name in KDL, which is also its name inside the code.
    pub kdl: &'static str,
    /// Its name in YAML.
    pub yaml: &'static str,
    /// Whether KDL writes one node for each entry; YAML has a map or a list of them instead.
    pub repeats: bool,
}

/// What to write for a word from elsewhere.
#[derive(Debug)]
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
mod outward;

pub use outward::{
    FOREIGN_CAPTURES, FOREIGN_DIRECTIONS, FOREIGN_HOOKS, FOREIGN_NETWORK_DEFAULTS, HOOKS, LOGS, MOUNT,
    NETWORK, NETWORK_RULE, NETWORK_YAML, SECRET, SECRET_SOURCE, SYNC,
};

use Instead::{Say, Use};

const fn one(kdl: &'static str, yaml: &'static str) -> Property {
    Property { kdl, yaml, repeats: false }
}

const fn each(kdl: &'static str, yaml: &'static str) -> Property {
    Property { kdl, yaml, repeats: true }
}

/// The top of the file.
pub static PROJECT: Place = Place {
    what: "a Sandboxfile",
    properties: &[
        one("project", "project"),
        each("sandbox", "sandboxes"),
        each("job", "jobs"),
        each("include", "include"),
        each("volume", "volumes"),
    ],
    foreign: &[
        ("name", Use("project")),
        ("services", Use("sandbox")),
        ("service", Use("sandbox")),
        ("containers", Use("sandbox")),
        ("container", Use("sandbox")),
        ("vm", Use("sandbox")),
        ("tasks", Use("job")),
        ("task", Use("job")),
        ("extends", Use("include")),
        ("version", Say("a Sandboxfile has no version: remove it")),
        ("networks", Say("each sandbox has its own network: remove it")),
        ("secrets", Say("declare secrets inside the sandbox that uses them")),
        ("configs", Say("files come into a sandbox with its image or its scripts")),
    ],
};

/// Beside a volume's name.
pub static VOLUME: Place = Place {
    what: "a volume",
    properties: &[one("size", "size")],
    foreign: &[
        ("driver", Say("a volume is a disk of its own: remove it")),
        ("driver_opts", Say("a volume is a disk of its own: remove it")),
        ("external", Say("a volume belongs to its project: remove it")),
        ("name", Say("the name in the heading is the volume's name: remove it")),
        ("capacity", Use("size")),
        ("labels", Say("a volume has no labels: remove it")),
    ],
};

/// Inside a sandbox or a job.
pub static SANDBOX: Place = Place {
    what: "a sandbox",
    properties: &[
        one("image", "image"),
        one("cpus", "cpus"),
        one("memory", "memory"),
        one("env", "env"),
        one("workdir", "workdir"),
        one("user", "user"),
        one("shell", "shell"),
        each("script", "scripts"),
        one("start", "start"),
        each("depends-on", "depends_on"),
        one("healthcheck", "healthcheck"),
        one("restart", "restart"),
        one("logs", "logs"),
        one("labels", "labels"),
        one("like", "like"),
        one("disk", "disk"),
        each("mount", "mounts"),
        each("sync", "sync"),
        each("port", "ports"),
        one("network", "network"),
        each("secret", "secrets"),
        each("hook", "hooks"),
        one("profiles", "profiles"),
        one("replicas", "replicas"),
    ],
    foreign: foreign::SANDBOX,
};

/// Beside a script's name.
pub static SCRIPT: Place = Place {
    what: "a script",
    properties: &[one("body", "body"), one("raw", "raw")],
    foreign: &[
        ("content", Use("body")),
        ("text", Use("body")),
        ("run", Use("body")),
        ("shell", Say("`shell` is a property of the sandbox; a raw script has a first line of its own")),
        ("path", Say("write the script's text, or put the file into the image")),
    ],
};

/// Beside a dependency's name.
pub static DEPENDENCY: Place = Place {
    what: "a dependency",
    properties: &[one("condition", "condition")],
    foreign: &[
        ("when", Use("condition")),
        ("until", Use("condition")),
        ("required", Say("a dependency is always required")),
        ("restart", Say("`restart` is a property of the sandbox")),
    ],
};

/// Inside a health check.
pub static HEALTHCHECK: Place = Place {
    what: "a health check",
    properties: &[
        one("exec", "exec"),
        one("interval", "interval"),
        one("timeout", "timeout"),
        one("retries", "retries"),
        one("start-period", "start_period"),
        one("hint", "hint"),
        one("disable", "disable"),
    ],
    foreign: &[
        ("test", Use("exec")),
        ("command", Use("exec")),
        ("cmd", Use("exec")),
        ("run", Use("exec")),
        ("period", Use("interval")),
        ("every", Use("interval")),
        ("attempts", Use("retries")),
        ("grace", Use("start-period")),
        ("start_interval", Use("interval")),
        ("disabled", Use("disable")),
        ("enabled", Say("omit it, or write `disable` to turn off the image's check")),
    ],
};

/// Beside a restart policy.
pub static RESTART: Place = Place {
    what: "a restart policy",
    properties: &[one("policy", "policy"), one("max", "max")],
    foreign: &[
        ("condition", Use("policy")),
        ("max_attempts", Use("max")),
        ("attempts", Use("max")),
        ("retries", Use("max")),
        ("maximum_retry_count", Use("max")),
    ],
};

/// Compose's words for the conditions of a dependency.
pub static FOREIGN_CONDITIONS: &[(&str, &str)] = &[
    ("service_started", "started"),
    ("service_healthy", "healthy"),
    ("service_completed_successfully", "completed"),
    ("running", "started"),
    ("ready", "healthy"),
    ("exited", "completed"),
    ("done", "completed"),
];

/// The restart policies.
pub static RESTART_POLICIES: &[&str] = &["no", "on-failure", "always"];

/// Compose's words for the restart policies.
pub static FOREIGN_RESTART_POLICIES: &[(&str, &str)] = &[
    ("unless-stopped", "always"),
    ("never", "no"),
    ("none", "no"),
    ("false", "no"),
    ("any", "always"),
    ("true", "always"),
];

/// All places, for tests and for the JSON Schema.
pub static PLACES: &[&Place] = &[
    &PROJECT,
    &VOLUME,
    &SANDBOX,
    &MOUNT,
    &SYNC,
    &NETWORK,
    &NETWORK_YAML,
    &NETWORK_RULE,
    &SECRET,
    &SECRET_SOURCE,
    &HOOKS,
    &SCRIPT,
    &DEPENDENCY,
    &HEALTHCHECK,
    &RESTART,
    &LOGS,
];

#[cfg(test)]
mod tests {
    use super::*;
    use Instead::Differs;

    /// What the Compose specification knows in a service.
    const COMPOSE_SERVICE: &[&str] = &[
        "annotations",
        "attach",
        "blkio_config",
        "build",
        "cap_add",
        "cap_drop",
        "cgroup",
        "cgroup_parent",
        "command",
        "configs",
        "container_name",
        "cpu_count",
        "cpu_percent",
        "cpu_period",
        "cpu_quota",
        "cpu_rt_period",
        "cpu_rt_runtime",
        "cpu_shares",
        "cpus",
        "cpuset",
        "credential_spec",
        "depends_on",
        "deploy",
        "develop",
        "device_cgroup_rules",
        "devices",
        "dns",
        "dns_opt",
        "dns_search",
        "domainname",
        "entrypoint",
        "env_file",
        "environment",
        "expose",
        "extends",
        "external_links",
        "extra_hosts",
        "gpus",
        "group_add",
        "healthcheck",
        "hostname",
        "image",
        "init",
        "ipc",
        "isolation",
        "label_file",
        "labels",
        "links",
        "logging",
        "mac_address",
        "mem_limit",
        "mem_reservation",
        "mem_swappiness",
        "memswap_limit",
        "models",
        "network_mode",
        "networks",
        "oom_kill_disable",
        "oom_score_adj",
        "pid",
        "pids_limit",
        "platform",
        "ports",
        "post_start",
        "pre_stop",
        "privileged",
        "profiles",
        "provider",
        "pull_policy",
        "read_only",
        "restart",
        "runtime",
        "scale",
        "secrets",
        "security_opt",
        "shm_size",
        "stdin_open",
        "stop_grace_period",
        "stop_signal",
        "storage_opt",
        "sysctls",
        "tmpfs",
        "tty",
        "ulimits",
        "use_api_socket",
        "user",
        "userns_mode",
        "uts",
        "volumes",
        "volumes_from",
        "working_dir",
    ];

    #[test]
    fn every_property_of_a_compose_service_is_one_here_or_has_a_hint() {
        let is_known = |name: &&&str| {
            SANDBOX.properties.iter().any(|property| property.yaml == **name)
                || SANDBOX.foreign.iter().any(|(word, _)| word == *name)
        };
        let unknown: Vec<_> = COMPOSE_SERVICE.iter().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn the_tables_agree_with_themselves() {
        for place in PLACES {
            let names = |name: &str| place.properties.iter().filter(|property| property.kdl == name).count();
            for property in place.properties {
                assert_eq!(names(property.kdl), 1, "{}: {}", place.what, property.kdl);
            }
            for (word, instead) in place.foreign {
                assert_eq!(*word, word.to_ascii_lowercase().replace('-', "_"), "{}", place.what);
                assert_eq!(names(word), 0, "{}: {word} is valid", place.what);
                if let Use(name) | Differs(name, _) = instead {
                    assert_eq!(names(name), 1, "{}: {word} → {name}", place.what);
                }
            }
        }
    }
}

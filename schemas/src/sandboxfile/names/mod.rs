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
    /// Something else, as a whole sentence.
    Say(&'static str),
}

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
        ("secrets", Say("secrets stand inside the sandbox that uses them")),
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
        ("name", Say("the volume's name is the one in its heading")),
        ("capacity", Use("size")),
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
    foreign: &[
        ("environment", Use("env")),
        ("variables", Use("env")),
        ("vars", Use("env")),
        ("env_file", Say("write the variables under `env`")),
        ("command", Use("start")),
        ("cmd", Use("start")),
        ("run", Use("start")),
        ("args", Use("start")),
        ("exec", Use("start")),
        ("entrypoint", Use("start")),
        ("working_dir", Use("workdir")),
        ("cwd", Use("workdir")),
        ("dir", Use("workdir")),
        ("mem_limit", Use("memory")),
        ("mem", Use("memory")),
        ("ram", Use("memory")),
        ("memory_limit", Use("memory")),
        ("cpu", Use("cpus")),
        ("vcpus", Use("cpus")),
        ("vcpu", Use("cpus")),
        ("cpu_count", Use("cpus")),
        ("volumes", Use("mount")),
        ("volume", Use("mount")),
        ("tmpfs", Use("mount")),
        ("expose", Use("port")),
        ("networks", Use("network")),
        ("network_mode", Use("network")),
        ("dns", Use("network")),
        ("links", Use("depends-on")),
        ("depends", Use("depends-on")),
        ("needs", Use("depends-on")),
        ("requires", Use("depends-on")),
        ("after", Use("depends-on")),
        ("health", Use("healthcheck")),
        ("health_check", Use("healthcheck")),
        ("readiness", Use("healthcheck")),
        ("restart_policy", Use("restart")),
        ("disk_size", Use("disk")),
        ("storage", Use("disk")),
        ("storage_opt", Use("disk")),
        ("bind", Use("mount")),
        ("publish", Use("port")),
        ("net", Use("network")),
        ("rules", Use("network")),
        ("watch", Use("sync")),
        ("develop", Use("sync")),
        ("lifecycle", Use("hook")),
        ("post_start", Use("hook")),
        ("pre_stop", Use("hook")),
        ("extends", Use("like")),
        ("scale", Use("replicas")),
        ("label", Use("labels")),
        ("annotations", Use("labels")),
        ("command_line", Use("start")),
        ("build", Say("build the image elsewhere, and give its directory or tar archive to `image`")),
        ("deploy", Say("`cpus`, `memory` and `restart` stand right inside the sandbox")),
        ("container_name", Say("the sandbox's name is the one in its heading")),
        ("name", Say("the sandbox's name is the one in its heading")),
        ("hostname", Say("the host name is the sandbox's name")),
        ("privileged", Say("a sandbox is a machine of its own: its root may do everything in it")),
        ("cap_add", Say("a sandbox is a machine of its own: its root may do everything in it")),
        ("platform", Say("a sandbox runs on the host's own architecture")),
        ("logging", Use("logs")),
        ("log", Use("logs")),
        ("stdin_open", Say("use `msb exec -t` for a terminal")),
        ("tty", Say("use `msb exec -t` for a terminal")),
    ],
};

/// Beside a script's name.
pub static SCRIPT: Place = Place {
    what: "a script",
    properties: &[one("body", "body"), one("raw", "raw")],
    foreign: &[
        ("content", Use("body")),
        ("text", Use("body")),
        ("run", Use("body")),
        ("shell", Say("`shell` stands inside the sandbox; a raw script brings its own first line")),
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
        ("restart", Say("`restart` stands inside the sandbox")),
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
        ("disable", Say("leave the health check away")),
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
                if let Use(name) = instead {
                    assert_eq!(names(name), 1, "{}: {word} → {name}", place.what);
                }
            }
        }
    }
}

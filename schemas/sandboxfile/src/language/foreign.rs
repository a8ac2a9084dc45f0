//! The words of other tools at the place of a sandbox's properties, mostly those of compose services.

use super::Instead::{self, Differs, Say, Write};

const REACHED_BY_RULES: Instead = Write {
    kdl: "sandboxes find each other by name, and a rule lets one connect: \
          `network { allow \"domain=db:tcp:5432\" }`",
    yaml: "sandboxes find each other by name, and a rule lets one connect: \
           `network: { rules: [\"allow@domain=db:tcp:5432\"] }`",
};

/// Compose's `configs`, at the top of the file and in a service.
pub(super) const FILES: Instead = Write {
    kdl: "declare each file in the sandbox that uses it: `file \"/etc/app.conf\" { from \"./app.conf\" }`",
    yaml: "declare each file in the sandbox that uses it: `files: { /etc/app.conf: { from: ./app.conf } }`",
};

const NO_DEVICES: Instead = Say("no device of the host, and no GPU, can be passed to a sandbox: remove it");
const NO_NAMESPACES: Instead = Say("a sandbox is a machine of its own and shares no namespace: remove it");
const ONE_MEMORY: Instead = Say("a sandbox has its `memory` and no swap: remove it");
const WHOLE_CPUS: Instead = Say("a sandbox has whole processors, as `cpus` says: remove it");

/// Inside a sandbox or a job.
pub(super) const SANDBOX: &[(&[&str], Instead)] = &[
    (&["entrypoint"], Differs("start", "the image's CMD is not appended to it")),
    (&["expose", "links", "external_links", "networks"], REACHED_BY_RULES),
    (
        &["network_mode"],
        Write {
            kdl: "each sandbox has a network of its own; none at all is `network default=\"deny\"`",
            yaml: "each sandbox has a network of its own; none at all is `network: { default: deny }`",
        },
    ),
    (&["build"], Say("build the image elsewhere, and give its directory or tar archive to `image`")),
    (&["deploy"], Say("write `cpus`, `memory` and `restart` directly inside the sandbox")),
    (&["container_name", "name"], Say("the name in the heading is the sandbox's name: remove it")),
    (&["privileged", "cap_add"], Say("a sandbox is a machine of its own: its root may do everything in it")),
    (&["cap_drop"], Say("a sandbox is a machine of its own: choose a `user` other than root")),
    (&["platform"], Say("a sandbox runs on the host's own architecture")),
    (&["stdin_open", "tty"], Say("use `msb exec -t` for a terminal")),
    // Compose's properties without a counterpart.
    (
        &["dns", "dns_search"],
        Write {
            kdl: "write `network { dns \"1.1.1.1\" { search \"corp.example\" } }`",
            yaml: "write `network: { dns: { servers: [1.1.1.1], search: [corp.example] } }`",
        },
    ),
    (&["dns_opt"], Say("options of the guest's resolver are not set: remove it")),
    (&["domainname"], Say("write the whole name as `hostname`")),
    (&["mac_address"], Say("msb chooses the addresses of a sandbox: remove it")),
    (&["gpus", "devices", "device_cgroup_rules"], NO_DEVICES),
    (&["runtime", "isolation"], Say("every sandbox is a virtual machine: remove it")),
    (
        &["security_opt", "credential_spec"],
        Say("every sandbox is a virtual machine with a kernel of its own: remove it"),
    ),
    (&["pid", "ipc", "uts", "userns_mode", "cgroup", "cgroup_parent"], NO_NAMESPACES),
    (&["sysctls"], Say("each sandbox has a kernel of its own: run `sysctl -w` in a script, as root")),
    (&["init"], Say("the guest's PID 1 reaps orphaned processes in every sandbox: remove it")),
    (
        &["group_add"],
        Say("a user has the groups of the image's /etc/group; another one is `NAME:GROUP` in `user`"),
    ),
    (&["configs"], FILES),
    (&["volumes_from"], Say("list each mount: a volume has one writer unless it is `shared`")),
    (&["pids_limit"], Say("processes are limited by `memory` alone: remove it")),
    (&["mem_reservation", "memswap_limit", "mem_swappiness"], ONE_MEMORY),
    (&["oom_kill_disable", "oom_score_adj"], ONE_MEMORY),
    (&["cpu_shares", "cpu_quota", "cpu_period", "cpu_percent"], WHOLE_CPUS),
    (&["cpu_rt_runtime", "cpu_rt_period", "cpuset"], WHOLE_CPUS),
    (&["blkio_config"], Say("the speed of a sandbox's disk cannot be limited: remove it")),
    (&["attach"], Say("`msb up` follows all logs, `msb logs NAME` those of one: remove it")),
    (
        &["provider", "models"],
        Say("a sandbox boots from an image: services of other providers are not started"),
    ),
    (&["use_api_socket"], Say("no socket of the host leads into a sandbox: remove it")),
    (&["label_file"], Say("write the labels under `labels`")),
];

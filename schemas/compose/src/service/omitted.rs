//! What needs nothing in a sandbox, and what no sandbox has.

use super::Builder;
use crate::context::shown;
use crate::out::Value;

/// Keys that need nothing, and why.
const ALWAYS_SO: &[(&str, &str)] = &[
    ("init", "always so: PID 1 of a sandbox reaps orphaned processes"),
    ("cap_add", "always so: root in a sandbox has every capability of its own kernel"),
    ("annotations", "compose passes them to the engine, which is not there"),
];

/// Keys that no sandbox has: why, and what to do.
const LEFT_OUT: &[(&str, &str)] = &[
    ("tty", "the main process has no terminal: `msb exec -t` opens one beside it"),
    ("stdin_open", "the main process reads nothing: `msb exec -i` runs one that does"),
    (
        "privileged",
        "root in a sandbox may do everything in it, and nothing on the host: run what needs the host's devices there",
    ),
    ("cap_drop", "root in a sandbox has every capability of its own kernel: choose a `user` other than root"),
    ("security_opt", "every sandbox is a virtual machine with a kernel of its own: remove it"),
    ("credential_spec", "every sandbox is a virtual machine with a kernel of its own: remove it"),
    ("devices", "no device of the host can be passed to a sandbox: run this service on the host"),
    ("device_cgroup_rules", "no device of the host can be passed to a sandbox: remove it"),
    ("gpus", "no GPU of the host can be passed to a sandbox: run this service elsewhere"),
    (
        "sysctls",
        "each sandbox has a kernel of its own: set it with a hook, `hook \"post-start\" \"sysctl\" \"-w\" \"NAME=VALUE\"`",
    ),
    ("pid", "a sandbox shares no processes with others: remove it"),
    (
        "ipc",
        "a sandbox shares no memory with others: remove it, and set `shm-size` if it needs more of its own",
    ),
    ("uts", "a sandbox has a host name of its own: remove it"),
    ("userns_mode", "a sandbox has users of its own: remove it"),
    ("cgroup", "a sandbox is a machine of its own: remove it"),
    ("cgroup_parent", "a sandbox is a machine of its own: `cpus` and `memory` limit it"),
    ("group_add", "a user has the groups of the image's /etc/group; another one is `NAME:GROUP` in `user`"),
    ("mac_address", "msb chooses the addresses of a sandbox: remove it"),
    ("runtime", "every sandbox is a virtual machine: remove it"),
    ("isolation", "every sandbox is a virtual machine: remove it"),
    ("mem_reservation", "a sandbox takes memory as it needs it, up to `memory`: nothing is reserved"),
    ("memswap_limit", "a sandbox has its `memory` and no swap: remove it"),
    ("mem_swappiness", "a sandbox has its `memory` and no swap: remove it"),
    ("oom_kill_disable", "the sandbox's own kernel decides: raise `memory`"),
    ("oom_score_adj", "the sandbox's own kernel decides: raise `memory`"),
    ("cpu_shares", "a sandbox has whole processors, as `cpus` says: remove it"),
    ("cpu_quota", "a sandbox has whole processors, as `cpus` says: remove it"),
    ("cpu_period", "a sandbox has whole processors, as `cpus` says: remove it"),
    ("cpu_percent", "a sandbox has whole processors, as `cpus` says: remove it"),
    ("cpu_count", "a sandbox has whole processors: write `cpus`"),
    ("cpu_rt_runtime", "a sandbox has whole processors, as `cpus` says: remove it"),
    ("cpu_rt_period", "a sandbox has whole processors, as `cpus` says: remove it"),
    ("cpuset", "the host chooses the processors that a sandbox runs on: remove it"),
    ("blkio_config", "the speed of a sandbox's disk cannot be limited: remove it"),
    ("storage_opt", "`disk` sets the size of a sandbox's disk"),
    ("label_file", "write the labels under `labels`"),
    ("provider", "a sandbox boots from an image: services of other providers are not started"),
    ("models", "a sandbox boots from an image: services of other providers are not started"),
    ("use_api_socket", "no socket of the host leads into a sandbox: run this service on the host"),
    ("volume_driver", "volumes are on this host only: remove it"),
];

impl Builder<'_, '_, '_> {
    /// Accounts for the keys that have no property.
    pub(super) fn omitted(&mut self) {
        if let Some(at) = self.take("read_only") {
            self.context.mapped(&at);
            if self.context.flag(&at) == Some(true) {
                self.push_text("read-only", "read_only", Value::Flag(true));
            }
        }
        if let Some((at, text)) = self.taken_text("container_name") {
            let own = self.facts.names[self.service].clone();
            if text.value == own {
                self.context.mapped_as(&at, "its own name");
            } else {
                let reason = format!(
                    "a sandbox is found by its own name only: use {own} in place of {}",
                    shown(&text.value)
                );
                self.context.left_out(&at, "container_name", reason);
            }
        }
        for (key, note) in ALWAYS_SO {
            if let Some(at) = self.take(key) {
                self.context.mapped_as(&at, *note);
            }
        }
        for (key, reason) in LEFT_OUT {
            let Some(at) = self.take(key) else { continue };
            if matches!(*key, "tty" | "stdin_open" | "privileged" | "oom_kill_disable" | "use_api_socket")
                && self.context.flag(&at) == Some(false)
            {
                self.context.mapped(&at);
            } else {
                self.context.left_out(&at, key, *reason);
            }
        }
    }
}

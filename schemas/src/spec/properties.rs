//! The table of the properties of a sandbox: the only list of them.

/// Passes the table of the properties of a sandbox to a macro, in the order in which they are printed.
///
/// The group `definition` lists the fields of [`Definition`](crate::spec::Definition); `first` and `last` list what
/// a Sandboxfile declares of a sandbox besides. An entry is
///
/// ```text
/// /// Its description, for the field, editors, the reference and `--help`.
/// field: Type = default => Value {
///     names: one("kdl-name", "yaml_name"),     // `each`: KDL writes one node for each entry
///     like: true,                              // whether `like` takes it over
///     change: Restart, differ: plain,          // what a change takes, and the function of `diff` that finds it
///     flags: [Flag::new("long", "VALUE", FlagKind::Text)],    // of `msb run` and `msb create`
///     instead: ["word"],                       // what people write for it, mostly compose's words
/// };
/// ```
///
/// `Value` is a type of the front end, which implements its trait `Value` to read, check, print and describe it.
#[macro_export]
macro_rules! sandbox_properties {
    ($apply:ident) => {
        $apply! {
            first {
                /// What it boots from: an image of a registry, `./` and a directory or an archive, or `snapshot:` and the name of a snapshot.
                image => Image {
                    names: one("image", "image"),
                    like: true,
                    change: Replace,
                    flags: [],
                    instead: [],
                };
                /// Another sandbox, from which it takes what it does not declare itself.
                like: () = () => Like {
                    names: one("like", "like"),
                    like: false,
                    change: None,
                    flags: [],
                    instead: ["extends"],
                };
            }
            definition {
                /// When a registry is asked for its image: always, for a missing one, or never; `--pull` takes precedence.
                #[serde(skip_serializing_if = "Option::is_none")]
                pull: Option<Pull> = None => PullPolicy {
                    names: one("pull", "pull"),
                    like: true,
                    change: None, differ: option,
                    flags: [],
                    instead: ["pull_policy", "image_pull_policy"],
                };
                /// Virtual processors.
                cpus: u32 = defaults::CPUS => Cpus {
                    names: one("cpus", "cpus"),
                    like: true,
                    change: Restart, differ: plain,
                    flags: [Flag::new("cpus", "N", FlagKind::Number)],
                    instead: ["cpu", "vcpus", "vcpu", "cpu_count"],
                };
                /// Memory, such as 512M or 2G.
                memory_mib: u32 = defaults::MEMORY_MIB => Memory {
                    names: one("memory", "memory"),
                    like: true,
                    change: Restart, differ: mib,
                    flags: [Flag::new("memory", "SIZE", FlagKind::Text)],
                    instead: ["mem_limit", "mem", "ram", "memory_limit"],
                };
                /// The size of its writable disk; the space is taken as it is filled.
                disk_mib: u32 = defaults::DISK_MIB => Disk {
                    names: one("disk", "disk"),
                    like: true,
                    change: Replace, differ: mib,
                    flags: [Flag::new("disk", "SIZE", FlagKind::Text)],
                    instead: ["disk_size", "storage", "storage_opt"],
                };
                /// The environment of every process.
                env: BTreeMap<String, String> = BTreeMap::new() => Env {
                    names: one("env", "env"),
                    like: true,
                    change: Restart, differ: map,
                    flags: [Flag::new("env", "NAME=VALUE", FlagKind::Pairs).short('e')],
                    instead: ["environment", "variables", "vars"],
                };
                /// Files of the host with more variables, whose values are in `env` then.
                #[serde(skip_serializing_if = "Vec::is_empty")]
                env_files: Vec<EnvFile> = Vec::new() => EnvFiles {
                    names: each("env-file", "env_file"),
                    like: true,
                    change: Live, differ: sequence,
                    flags: [],
                    instead: ["envfile", "env_files"],
                };
                /// The working directory of every process; without it the image's own or `/`.
                workdir: Option<String> = None => Workdir {
                    names: one("workdir", "workdir"),
                    like: true,
                    change: Restart, differ: option,
                    flags: [Flag::new("workdir", "DIR", FlagKind::Text).short('w')],
                    instead: ["working_dir", "cwd", "dir"],
                };
                /// The user of every process as `user[:group]`, by name or number; without it the image's own or root.
                user: Option<GuestUser> = None => User {
                    names: one("user", "user"),
                    like: true,
                    change: Restart, differ: option,
                    flags: [Flag::new("user", "USER[:GROUP]", FlagKind::Text).short('u')],
                    instead: [],
                };
                /// The host name inside the sandbox; without it the name of the sandbox.
                #[serde(skip_serializing_if = "Option::is_none")]
                hostname: Option<String> = None => Hostname {
                    names: one("hostname", "hostname"),
                    like: false,
                    change: Restart, differ: option,
                    flags: [Flag::new("hostname", "NAME", FlagKind::Text)],
                    instead: [],
                };
                /// The shell that scripts run under.
                shell: String = defaults::SHELL.to_owned() => Shell {
                    names: one("shell", "shell"),
                    like: true,
                    change: Restart, differ: plain,
                    flags: [Flag::new("shell", "PROGRAM", FlagKind::Text)],
                    instead: [],
                };
                /// Programs in text form on its PATH, by their names.
                scripts: BTreeMap<String, String> = BTreeMap::new() => Scripts {
                    names: each("script", "scripts"),
                    like: true,
                    change: Restart, differ: scripts,
                    flags: [],
                    instead: [],
                };
                /// The main process: a script, or a program and its arguments; without it the image's own.
                start: Option<Vec<String>> = None => Start {
                    names: one("start", "start"),
                    like: false,
                    change: Restart, differ: command,
                    flags: [],
                    instead: ["run", "exec"],
                };
                /// Arguments for the image's ENTRYPOINT, in place of its CMD; `start` takes the place of both.
                #[serde(skip_serializing_if = "Option::is_none")]
                args: Option<Vec<String>> = None => Args {
                    names: one("args", "args"),
                    like: false,
                    change: Restart, differ: command,
                    flags: [],
                    instead: ["arguments", "command", "cmd", "command_line"],
                };
                /// The limits of every process, by resource: the soft and the hard one, or one number for both.
                #[serde(skip_serializing_if = "BTreeMap::is_empty")]
                ulimits: BTreeMap<Resource, Ulimit> = BTreeMap::new() => Ulimits {
                    names: one("ulimits", "ulimits"),
                    like: true,
                    change: Restart, differ: map,
                    flags: [Flag::new("ulimit", "NAME=LIMIT", FlagKind::Pairs)],
                    instead: ["ulimit", "rlimits", "limits"],
                };
                /// The size of `/dev/shm`; without it half of the memory.
                #[serde(skip_serializing_if = "Option::is_none")]
                shm_mib: Option<u32> = None => ShmSize {
                    names: one("shm-size", "shm_size"),
                    like: true,
                    change: Restart, differ: optional_mib,
                    flags: [Flag::new("shm-size", "SIZE", FlagKind::Text)],
                    instead: ["shm"],
                };
                /// More names in its `/etc/hosts`, with their addresses.
                #[serde(skip_serializing_if = "BTreeMap::is_empty")]
                hosts: BTreeMap<String, IpAddr> = BTreeMap::new() => HostLines {
                    names: one("hosts", "hosts"),
                    like: true,
                    change: Restart, differ: map,
                    flags: [Flag::new("add-host", "NAME=ADDRESS", FlagKind::Pairs)],
                    instead: ["extra_hosts", "host_aliases", "hostaliases"],
                };
                /// Whether nothing but mounts, volumes and directories in memory can be written to.
                #[serde(skip_serializing_if = "std::ops::Not::not")]
                read_only: bool = false => ReadOnly {
                    names: one("read-only", "read_only"),
                    like: true,
                    change: Restart, differ: plain,
                    flags: [],
                    instead: ["readonly", "read_only_root", "readonlyrootfilesystem"],
                };
                /// Files and folders of the host, and volumes, by their paths in the sandbox.
                mounts: BTreeMap<String, Mount> = BTreeMap::new() => Mounts {
                    names: each("mount", "mounts"),
                    like: true,
                    change: Restart, differ: map,
                    flags: [Flag::new("volume", "SOURCE:DEST[:OPTIONS]", FlagKind::List).short('v')],
                    instead: ["volumes", "volume", "bind"],
                };
                /// Directories in its memory that are empty at each start, by their paths in the sandbox.
                #[serde(skip_serializing_if = "BTreeMap::is_empty")]
                tmpfs: BTreeMap<String, Tmpfs> = BTreeMap::new() => TmpfsMounts {
                    names: each("tmpfs", "tmpfs"),
                    like: true,
                    change: Restart, differ: map,
                    flags: [Flag::new("tmpfs", "PATH[:OPTIONS]", FlagKind::List)],
                    instead: [],
                };
                /// Files that are written into it at each start, by their paths there.
                #[serde(skip_serializing_if = "BTreeMap::is_empty")]
                files: BTreeMap<String, GuestFile> = BTreeMap::new() => Files {
                    names: each("file", "files"),
                    like: true,
                    change: Restart, differ: files,
                    flags: [Flag::new("add-file", "SOURCE:DEST[:OPTIONS]", FlagKind::List)],
                    instead: ["config", "config_file", "config_files"],
                };
                /// Folders of the host that `msb up --watch` copies, by their paths in the sandbox.
                sync: BTreeMap<String, Sync> = BTreeMap::new() => Syncs {
                    names: each("sync", "sync"),
                    like: true,
                    change: Live, differ: map,
                    flags: [],
                    instead: ["watch", "develop"],
                };
                /// Ports of the host that lead into the sandbox, as `[address:]host:guest[/protocol]`; host port 0
                /// takes a free one.
                ports: BTreeSet<Port> = BTreeSet::new() => Ports {
                    names: each("port", "ports"),
                    like: false,
                    change: Live, differ: ports,
                    flags: [Flag::new("port", "[BIND:]HOST:GUEST[/udp]", FlagKind::List).short('p')],
                    instead: ["publish"],
                };
                /// What it may reach, and what may reach it.
                network: Network = Network::default() => Networks {
                    names: one("network", "network"),
                    like: true,
                    change: Live, differ: network,
                    flags: [],
                    instead: ["net", "rules"],
                };
                /// Values that it uses without ever holding them, by the variables that stand for them.
                secrets: BTreeMap<String, Secret> = BTreeMap::new() => Secrets {
                    names: each("secret", "secrets"),
                    like: true,
                    change: Live, differ: secrets,
                    flags: [],
                    instead: [],
                };
                /// The interception of its TLS connections, which puts the values of secrets into requests.
                #[serde(skip_serializing_if = "Tls::is_default")]
                tls: Tls = Tls::default() => TlsSettings {
                    names: one("tls", "tls"),
                    like: true,
                    change: Restart, differ: tls,
                    flags: [],
                    instead: ["tls_interception", "mitm"],
                };
                /// Commands that run inside it after each start and before each orderly stop.
                hooks: BTreeMap<HookEvent, Vec<String>> = BTreeMap::new() => Hooks {
                    names: each("hook", "hooks"),
                    like: false,
                    change: Live, differ: commands,
                    flags: [],
                    instead: ["lifecycle", "post_start", "pre_stop"],
                };
                /// The sandboxes and jobs that it waits for before it starts, and what each must have reached.
                depends_on: BTreeMap<SandboxName, Condition> = BTreeMap::new() => DependsOn {
                    names: each("depends-on", "depends_on"),
                    like: false,
                    change: None, differ: map,
                    flags: [],
                    instead: ["depends", "needs", "requires", "after"],
                };
                /// A command that tells whether it is healthy; without it the image's own check.
                healthcheck: Option<HealthSetting> = None => HealthChecks {
                    names: one("healthcheck", "healthcheck"),
                    like: false,
                    change: Live, differ: healthcheck,
                    flags: [],
                    instead: ["health", "health_check", "readiness"],
                };
                /// Whether it is started again when it ends by itself: no, on-failure, on-failure:N or always.
                restart: RestartPolicy = RestartPolicy::No => Restart {
                    names: one("restart", "restart"),
                    like: false,
                    change: Live, differ: plain,
                    flags: [Flag::new("restart", "POLICY", FlagKind::Text)],
                    instead: ["restart_policy"],
                };
                /// The time after its start at which it is stopped, without pauses; a job has failed then.
                #[serde(skip_serializing_if = "Option::is_none")]
                max_duration_ms: Option<u64> = None => MaxDuration {
                    names: one("max-duration", "max_duration"),
                    like: false,
                    change: Live, differ: time_limit,
                    flags: [Flag::new("max-duration", "TIME", FlagKind::Text)],
                    instead: ["timeout", "max_runtime", "deadline", "active_deadline_seconds"],
                };
                /// The time without activity after which it is stopped: no command in it, no network traffic, and no output
                /// of a job.
                #[serde(skip_serializing_if = "Option::is_none")]
                idle_timeout_ms: Option<u64> = None => IdleTimeout {
                    names: one("idle-timeout", "idle_timeout"),
                    like: false,
                    change: Live, differ: time_limit,
                    flags: [Flag::new("idle-timeout", "TIME", FlagKind::Text)],
                    instead: ["idle", "auto_stop", "stop_when_idle"],
                };
                /// The time that it has to shut down before it is killed, unless a command has another one.
                #[serde(skip_serializing_if = "Option::is_none")]
                stop_timeout_ms: Option<u64> = None => StopTimeout {
                    names: one("stop-timeout", "stop_timeout"),
                    like: false,
                    change: Live, differ: time_limit,
                    flags: [Flag::new("stop-timeout", "TIME", FlagKind::Text)],
                    instead: ["stop_grace_period", "grace_period", "termination_grace_period_seconds"],
                };
                /// The signal that asks its main process to end, by name or number; without it the image's own or SIGTERM.
                #[serde(skip_serializing_if = "Option::is_none")]
                stop_signal: Option<String> = None => StopSignal {
                    names: one("stop-signal", "stop_signal"),
                    like: false,
                    change: Live, differ: option,
                    flags: [Flag::new("stop-signal", "SIGNAL", FlagKind::Text)],
                    instead: ["kill_signal"],
                };
                /// Whether its output is written to log files, and how much of it is kept.
                #[serde(skip_serializing_if = "Logs::is_default")]
                logs: Logs = Logs::default() => LogSettings {
                    names: one("logs", "logs"),
                    like: true,
                    change: Live, differ: block,
                    flags: [],
                    instead: ["logging", "log"],
                };
                /// Free-form labels.
                labels: BTreeMap<String, String> = BTreeMap::new() => Labels {
                    names: one("labels", "labels"),
                    like: false,
                    change: Live, differ: map,
                    flags: [Flag::new("label", "NAME=VALUE", FlagKind::Pairs).short('l')],
                    instead: ["label", "annotations"],
                };
            }
            last {
                /// The number of copies of it, each with a name of its own.
                replicas: u32 = 1 => Replicas {
                    names: one("replicas", "replicas"),
                    like: false,
                    change: None,
                    flags: [],
                    instead: ["scale"],
                };
                /// With profiles, it takes part only when one of them is selected.
                profiles: BTreeSet<String> = BTreeSet::new() => Profiles {
                    names: one("profiles", "profiles"),
                    like: false,
                    change: None,
                    flags: [],
                    instead: [],
                };
            }
        }
    };
}

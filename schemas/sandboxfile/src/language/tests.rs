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
fn every_compose_property_exists_or_has_a_hint() {
    let is_known = |name: &&&str| {
        let is_synonym = |property: &Property| property.instead.contains(*name);
        SANDBOX.properties.iter().any(|property| property.yaml == **name || is_synonym(property))
            || SANDBOX.foreign.iter().any(|(words, _)| words.contains(*name))
    };
    let unknown: Vec<_> = COMPOSE_SERVICE.iter().filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_tables_agree_with_themselves() {
    for place in TABLES {
        let names = |name: &str| place.properties.iter().filter(|property| property.kdl == name).count();
        for property in place.properties {
            assert_eq!(names(property.kdl), 1, "{}: {}", place.what, property.kdl);
        }
        let synonyms = || place.properties.iter().flat_map(|property| property.instead);
        for word in synonyms() {
            assert_eq!(*word, word.to_ascii_lowercase().replace('-', "_"), "{}", place.what);
            assert_eq!(names(word), 0, "{}: {word} is valid", place.what);
            assert_eq!(synonyms().filter(|other| *other == word).count(), 1, "{}: {word}", place.what);
        }
        for (word, instead) in
            place.foreign.iter().flat_map(|(words, instead)| words.iter().zip(std::iter::repeat(instead)))
        {
            assert!(synonyms().all(|synonym| synonym != word), "{}: {word} stands twice", place.what);
            assert_eq!(*word, word.to_ascii_lowercase().replace('-', "_"), "{}", place.what);
            assert_eq!(names(word), 0, "{}: {word} is valid", place.what);
            if let Use(name) | Differs(name, _) = instead {
                assert_eq!(names(name), 1, "{}: {word} → {name}", place.what);
            }
        }
    }
}

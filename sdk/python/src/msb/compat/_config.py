"""The configuration of a sandbox in the shape of `microsandbox`.

Settings that `msb` does not record are in a label of the sandbox, so that other programs read them too, and they are
removed with the sandbox. The label contains no secrets.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

from ._enums import NetworkDestinationKind, NetworkProfile, PullPolicy
from ._mounts import ImageSource
from ._policy import parse_destination
from ._rules import NetworkDestination, NetworkPolicy, Rule

__all__ = ["RECORD", "config_of", "default_command", "identity", "labels_of", "read_record", "record_of"]

#: The label with the record.
RECORD = "msb.compat"

_PULL = {PullPolicy.ALWAYS: "Always", PullPolicy.IF_MISSING: "IfMissing", PullPolicy.NEVER: "Never"}
#: The options that are recorded as they are.
_PLAIN = ("max_cpus", "max_memory", "thp", "ephemeral", "detached")


def record_of(options: Mapping[str, Any]) -> str:
    """Returns the text of the label for a new sandbox."""
    record: dict[str, Any] = {"id": uuid.uuid4().hex, "created_ms": int(time.time() * 1000)}
    record |= {name: options[name] for name in _PLAIN if options[name]}
    if isinstance(options["image"], str):
        record["image"] = options["image"]
    elif isinstance(options["image"], ImageSource):
        record["image"] = options["image"]._to_image_str()
    record |= {name: list(options[name]) for name in ("entrypoint", "cmd") if options[name] is not None}
    if options["log_level"] is not None:
        record["log_level"] = options["log_level"].value
    if options["pull_policy"] is not None:
        record["pull_policy"] = _PULL[options["pull_policy"]]
    network = options["network"]
    if network is not None:
        record["network"] = _network(network.policy)
    return json.dumps(record, separators=(",", ":"))


def read_record(labels: Mapping[str, str]) -> dict[str, Any]:
    """Returns the record in the labels of a sandbox; an empty one for a sandbox of another program."""
    try:
        record = json.loads(labels.get(RECORD, "{}"))
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def identity(details: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Returns the id of a sandbox; that of `msb` is the same for the next sandbox of the name."""
    return str(read_record(labels).get("id") or details["id"])


def labels_of(labels: Mapping[str, str]) -> dict[str, str]:
    """Returns the labels without the record."""
    return {name: value for name, value in labels.items() if name != RECORD}


def config_of(details: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration of a sandbox from the details of `msb inspect`."""
    spec = details.get("spec") or {}
    definition = spec.get("definition") or {}
    record = read_record(definition.get("labels") or {})
    cpus, memory = definition.get("cpus"), definition.get("memory_mib")
    return {
        "name": details.get("full_name"),
        "image": _image(spec.get("image") or {}, definition, record.get("image")),
        "resources": {
            "cpus": cpus,
            "max_cpus": record.get("max_cpus", cpus),
            "memory_mib": memory,
            "max_memory_mib": record.get("max_memory", memory),
            "cpu_placement": "inherit",
            "placement_profile": None,
            "thp": record.get("thp", "madvise"),
        },
        "runtime": {
            "workdir": definition.get("workdir"),
            "shell": definition.get("shell"),
            "hostname": definition.get("hostname"),
            "user": definition.get("user"),
            "scripts": dict(definition.get("scripts") or {}),
            "entrypoint": record.get("entrypoint"),
            "cmd": record.get("cmd"),
            "log_level": record.get("log_level"),
        },
        "env": [{"key": key, "value": value} for key, value in (definition.get("env") or {}).items()],
        "labels": labels_of(definition.get("labels") or {}),
        "mounts": _mounts(definition),
        "rlimits": [],
        "patches": [],
        "init": None,
        "security_profile": "default",
        "deployment_profile": "single_tenant",
        "pull_policy": record.get("pull_policy", _PULL[PullPolicy.IF_MISSING]),
        "network": {
            "enabled": True,
            "ports": [_port(port) for port in definition.get("ports") or ()],
            "policy": record.get("network") or _network(None),
            "secrets": {"secrets": [{"env_var": name} for name in definition.get("secrets") or {}]},
        },
        "lifecycle": {
            "ephemeral": bool(record.get("ephemeral")),
            "max_duration_secs": _seconds(definition.get("max_duration_ms")),
            "idle_timeout_secs": _seconds(definition.get("idle_timeout_ms")),
        },
    }


def _seconds(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds // 1000


def _image(image: Mapping[str, Any], definition: Mapping[str, Any], given: str | None) -> dict[str, Any]:
    reference = image.get("reference") or {}
    if "local" in reference:
        return {"Bind": {"path": reference["local"]["path"], "follow_root_symlinks": False}}
    root_disk = {"kind": "managed", "size_mib": definition.get("disk_mib")}
    name = (reference.get("registry") or reference.get("snapshot") or {}).get("name")
    return {"Oci": {"reference": given or name, "root_disk": root_disk}}


def _mounts(definition: Mapping[str, Any]) -> list[dict[str, Any]]:
    mounts = []
    for guest, mount in (definition.get("mounts") or {}).items():
        source = mount.get("source") or {}
        place = (
            {"type": "Named", "name": source["volume"]["name"], "create": None}
            if "volume" in source
            else {"type": "Bind", "host": (source.get("host") or {}).get("path"), "quota_mib": mount.get("size_mib")}
        )
        policies = {"stat_virtualization": mount.get("stat_virt"), "host_permissions": mount.get("host_perms")}
        mounts.append({**place, "guest": guest, "options": _options(mount), **policies})
    for guest, mount in (definition.get("tmpfs") or {}).items():
        mounts.append({"type": "Tmpfs", "guest": guest, "size_mib": mount.get("size_mib"), "options": _options(mount)})
    return mounts


def _options(mount: Mapping[str, Any]) -> dict[str, bool]:
    return {name: bool(mount.get(name)) for name in ("readonly", "noexec", "nosuid", "nodev")}


def _port(port: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "host_port": port["host"],
        "guest_port": port["guest"],
        "host_bind": port["bind"],
        "protocol": port["protocol"],
    }


def _network(policy: NetworkPolicy | None) -> dict[str, Any]:
    """Returns a policy as `microsandbox` stores it; without one, that of its profile `public`."""
    if policy is None:
        policy = NetworkPolicy.from_profiles([NetworkProfile.PUBLIC])
    return {
        "default_egress": policy.default_egress.value,
        "default_ingress": policy.default_ingress.value,
        "rules": [_rule(rule) for rule in policy.rules],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    destination = rule.destination
    if isinstance(destination, str):
        destination = parse_destination(destination)
    start, _, end = str(rule.port or "").partition("-")
    return {
        "direction": rule.direction.value,
        "destination": _destination(destination),
        "protocols": [] if rule.protocol is None else [rule.protocol.value],
        "ports": [{"start": int(start), "end": int(end or start)}] if start else [],
        "action": rule.action.value,
    }


def _destination(destination: NetworkDestination | None) -> Any:
    if destination is None or destination.kind is NetworkDestinationKind.ANY:
        return "any"
    value = destination.value or ""
    if destination.kind is NetworkDestinationKind.GROUP:
        return {"group": value.replace("-", "_")}
    if destination.kind is NetworkDestinationKind.IP:
        return {"cidr": f"{value}/{128 if ':' in value else 32}"}
    return {destination.kind.value: value}


def default_command(record: Mapping[str, Any], image: Mapping[str, Any] | None) -> list[str]:
    """Returns the default command: that of the sandbox, or else of its image; an empty list if there is none."""
    config = image or {}
    entrypoint, command = record.get("entrypoint"), record.get("cmd")
    if entrypoint is None:
        entrypoint = config.get("entrypoint")
        command = config.get("cmd") if command is None else command
    return [*(entrypoint or ()), *(command or ())]

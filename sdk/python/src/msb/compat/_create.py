"""The options of `Sandbox.create`: their checks, and what they are for `Client.create`."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..options import Port
from . import _mounts
from ._config import RECORD, record_of
from ._contracts import InitOptions
from ._enums import (
    DeploymentProfile,
    ImageSourceKind,
    LogLevel,
    PortProtocol,
    PullPolicy,
    RootDiskKind,
    SecurityProfile,
    ViolationAction,
)
from ._mounts import ImageSource, MountConfig, RootDiskConfig
from ._network import Network, OutboundProxy, PortBinding
from ._policy import network_of, secrets_of
from ._secrets import OlderSecretEntry, SecretEntry, ViolationPolicy
from ._translate import unsupported, without_effect
from ._values import InitConfig, PatchConfig, RegistryAuth, Size, VsockRoute

__all__ = ["CREATE_SIGNATURE", "check_options", "native_options", "ports_of"]

#: The longest name of a sandbox, in bytes.
NAME_BYTES_MAX = 128
_THP = ("always", "madvise", "never")
_PULL = {PullPolicy.ALWAYS: "always", PullPolicy.IF_MISSING: "missing", PullPolicy.NEVER: "never"}


def _parameters(
    name: str,
    *,
    image: str | os.PathLike[str] | ImageSource | None = None,
    memory: int | None = None,
    cpus: int | None = None,
    max_memory: int | None = None,
    max_cpus: int | None = None,
    workdir: str | None = None,
    shell: str | None = None,
    security: SecurityProfile | None = None,
    hostname: str | None = None,
    user: str | None = None,
    entrypoint: Sequence[str] | None = None,
    cmd: Sequence[str] | None = None,
    init: str | InitConfig | InitOptions | None = None,
    replace: bool = False,
    replace_with_timeout: float | None = None,
    max_duration: float | None = None,
    idle_timeout: float | None = None,
    ephemeral: bool = False,
    env: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    scripts: Mapping[str, str] | None = None,
    pull_policy: PullPolicy | None = None,
    log_level: LogLevel | None = None,
    registry_auth: RegistryAuth | None = None,
    registry_insecure: bool = False,
    registry_ca_certs: list[bytes | bytearray | str | os.PathLike[str]] | None = None,
    volumes: Mapping[str, MountConfig] | None = None,
    patches: Sequence[PatchConfig] | None = None,
    ports: Mapping[int, int] | Sequence[PortBinding] | None = None,
    vsock: Mapping[str, int] | Sequence[VsockRoute] | None = None,
    network: Network | None = None,
    intercept_tls: bool = False,
    secrets: Sequence[SecretEntry] | None = None,
    secret_violation_action: ViolationAction | None = None,
    detached: bool = False,
    thp: str | None = None,
    deployment_profile: DeploymentProfile | None = None,
    proxy: OutboundProxy | None = None,
    from_snapshot: str | os.PathLike[str] | None = None,
    on_secret_violation: ViolationAction | ViolationPolicy | None = None,
) -> None:
    """The parameters of `Sandbox.create`; the last five are of some releases only."""


CREATE_SIGNATURE = inspect.signature(_parameters)


def check_options(name: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Returns all options, with the defaults of those that are not given.

    Raises TypeError and ValueError as `microsandbox` does: at once, and not when the call is awaited.
    """
    bound = CREATE_SIGNATURE.bind(name, **given)
    bound.apply_defaults()
    options = dict(bound.arguments)
    if not isinstance(name, str):
        raise TypeError("name must be str")
    if not name or len(name.encode()) > NAME_BYTES_MAX:
        raise ValueError(f"the name of a sandbox must have 1 to {NAME_BYTES_MAX} bytes")
    _check_image(options, "image" in given)
    _check_values(options)
    _check_containers(options)
    for key, unit in (("max_duration", "seconds"), ("idle_timeout", "seconds"), ("replace_with_timeout", "a duration")):
        check_seconds(options[key], key, unit)
    for key in ("max_cpus", "max_memory", "log_level", "thp"):
        if options[key] is not None:
            without_effect(f"{key}=")
    return options


def check_seconds(value: Any, name: str, unit: str = "seconds") -> None:
    """Raises ValueError unless it is a number of seconds, or None."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be float")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be finite, non-negative, and fit in {unit}")


def _check_image(options: dict[str, Any], is_given: bool) -> None:
    image, snapshot = options["image"], options["from_snapshot"]
    if snapshot is not None:
        if is_given:
            raise TypeError("image and from_snapshot exclude each other; use Sandbox.restore() for snapshots")
        return
    if image is None:
        raise ValueError("image= is required; use Sandbox.restore() for snapshots")
    if isinstance(image, ImageSource):
        _mounts.check_root_disk(image._root_disk)
        image._to_image_str()
    elif not isinstance(image, (str, os.PathLike)):
        raise TypeError("image must be str, os.PathLike, or ImageSource")


def _check_values(options: dict[str, Any]) -> None:
    members: tuple[tuple[str, type], ...] = (
        ("pull_policy", PullPolicy),
        ("log_level", LogLevel),
        ("security", SecurityProfile),
        ("deployment_profile", DeploymentProfile),
        ("secret_violation_action", ViolationAction),
        ("registry_auth", RegistryAuth),
        ("network", Network),
        ("proxy", OutboundProxy),
    )
    for key, expected in members:
        if options[key] is not None and not isinstance(options[key], expected):
            raise TypeError(f"{key} must be {expected.__name__}")
    _check_older_violation(options)
    if options["thp"] not in (None, *_THP):
        raise ValueError(f"unknown transparent huge-page policy: {options['thp']!r}")
    if options["init"] is not None and not isinstance(options["init"], (str, Mapping, InitConfig)):
        raise TypeError("init must be str, Mapping, or InitConfig")
    for key in ("cpus", "max_cpus", "memory", "max_memory"):
        value = options[key]
        if isinstance(value, Size):
            options[key] = value.mib_count
        elif value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"{key} must be a positive integer")
    for key in ("cpus", "memory"):
        most = options[f"max_{key}"]
        if most is not None and options[key] is not None and most < options[key]:
            raise ValueError(f"max_{key} must not be below {key}")
    if options["network"] is not None:
        options["network"]._to_dict()


def _check_older_violation(options: dict[str, Any]) -> None:
    policy = options["on_secret_violation"]
    if isinstance(policy, str):
        try:
            options["on_secret_violation"] = ViolationAction(policy)
        except ValueError:
            raise ValueError(f"unknown violation action: {policy}") from None
    elif policy is not None and not isinstance(policy, ViolationPolicy):
        raise TypeError("on_secret_violation must be ViolationAction or ViolationPolicy")


def _check_containers(options: dict[str, Any]) -> None:
    for key in ("env", "labels", "scripts"):
        value = options[key]
        if value is None:
            continue
        if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in (*value, *value.values())):
            raise TypeError(f"{key} must be a mapping of str to str")
    if RECORD in (options["labels"] or {}):
        raise ValueError(f"the label {RECORD!r} is reserved")
    for key in ("entrypoint", "cmd"):
        value = options[key]
        if value is not None and (isinstance(value, str) or not all(isinstance(text, str) for text in value)):
            raise TypeError(f"{key} must be a sequence of strings")
    mounts = options["volumes"]
    if mounts is not None:
        if not isinstance(mounts, Mapping) or not all(isinstance(mount, MountConfig) for mount in mounts.values()):
            raise TypeError("volumes must be a mapping of str to MountConfig")
        for mount in mounts.values():
            mount._to_dict()
    kinds: tuple[tuple[str, tuple[type, ...]], ...] = (
        ("patches", (PatchConfig,)),
        ("secrets", (SecretEntry, OlderSecretEntry)),
    )
    for key, expected in kinds:
        value = options[key]
        if value is None:
            continue
        is_sequence = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        if not is_sequence or not all(isinstance(item, expected) for item in value):
            raise TypeError(f"{key} must be a sequence of {expected[0].__name__} values")
        for item in value:
            item._to_dict()
    ports_of(options["ports"])


def ports_of(ports: Any) -> list[Port]:
    """Returns the ports for `Client.create`."""
    if ports is None:
        return []
    if isinstance(ports, Mapping):
        return [Port(host, guest) for host, guest in ports.items()]
    if not all(isinstance(port, PortBinding) for port in ports):
        raise TypeError("ports must be a mapping or a sequence of PortBinding values")
    for port in ports:
        port._to_dict()
    return [Port(port.host_port, port.guest_port, port.bind, PortProtocol(port.protocol).value) for port in ports]


def native_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of `Client.create`, but for the mounts; raises `UnsupportedError`."""
    _refuse_unsupported(options)
    network = options["network"]
    image, disk = _image(options)
    ports = [*ports_of(options["ports"]), *ports_of(network.ports if network else None)]
    record = record_of(options)
    pull = options["pull_policy"]
    native: dict[str, Any] = {
        "image": image,
        "disk": disk,
        "cpus": options["cpus"],
        "memory": options["memory"],
        "workdir": options["workdir"],
        "shell": options["shell"],
        "hostname": options["hostname"],
        "user": options["user"],
        "env": options["env"],
        "labels": {**(options["labels"] or {}), RECORD: record},
        "scripts": options["scripts"],
        "pull": None if pull is None else _PULL[pull],
        "max_duration": options["max_duration"],
        "idle_timeout": options["idle_timeout"],
        "ports": ports,
        "network": network_of(network, intercept_tls=options["intercept_tls"], proxy=options["proxy"]),
        "secrets": secrets_of(
            options["secrets"] or (), network, options["secret_violation_action"] or options["on_secret_violation"]
        ),
        "replace": options["replace"],
        "replace_with_timeout": options["replace_with_timeout"],
    }
    return {name: value for name, value in native.items() if value is not None}


def _refuse_unsupported(options: Mapping[str, Any]) -> None:
    login = "log in with `docker login`, or set `registries` in config.json"
    refused = (
        ("init", "an init program of the image", "omit init=; msb's own init runs as process 1"),
        ("vsock", "vsock routes", "publish a port with ports="),
        ("registry_auth", "credentials of registries in the program", login),
        ("registry_insecure", "registry_insecure=True", login),
        ("registry_ca_certs", "CAs of registries in the program", login),
    )
    for key, what, instead in refused:
        if options[key]:
            raise unsupported(what, instead)
    if options["security"] is SecurityProfile.RESTRICTED:
        raise unsupported("SecurityProfile.RESTRICTED", "omit security=")
    if options["deployment_profile"] is DeploymentProfile.MULTI_TENANT:
        raise unsupported("DeploymentProfile.MULTI_TENANT", "omit deployment_profile=")


def _image(options: Mapping[str, Any]) -> tuple[Any, int | None]:
    """Returns the image, and the size of the writable disk in MiB."""
    if options["from_snapshot"] is not None:
        return f"snapshot:{os.fspath(options['from_snapshot'])}", None
    image = options["image"]
    if not isinstance(image, ImageSource):
        return image, None
    if image._type is ImageSourceKind.DISK:
        raise unsupported("root file systems in disk images", "use an image of a registry, or Image.bind")
    size = image._root_disk
    if isinstance(size, RootDiskConfig):
        if size.kind is not RootDiskKind.MANAGED:
            raise unsupported(f"a root disk of the kind {size.kind.value!r}", "use RootDisk.managed")
        size = size.size_mib
    if image._type is ImageSourceKind.BIND:
        return os.path.abspath(image._to_image_str()), size
    return image._to_image_str(), size

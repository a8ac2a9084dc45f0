"""What a sandbox is created with: ports, mounts, network, secrets; and the options of `msb create` that they become."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._request import UNLIMITED, Rlimit, check_args, check_timeout, limits_of

__all__ = ["Mount", "Network", "Port", "Secret", "create_arguments"]

_STAT_VIRTUALIZATION = ("strict", "relaxed", "off")
_HOST_PERMISSIONS = ("private", "mirror")
_ON_VIOLATION = ("block", "block-and-log", "block-and-terminate", "passthrough")


@dataclass(frozen=True)
class Port:
    """A port of the host that leads into a sandbox.

    Attributes:
        host: the port of the host; 0 takes a free one, which `sandbox.ports` tells.
        guest: the port in the sandbox.
        bind: the address of the host.
        protocol: `tcp` or `udp`.
    """

    host: int
    guest: int
    bind: str = "127.0.0.1"
    protocol: str = "tcp"

    def __post_init__(self) -> None:
        for name, port, least in (("host", self.host, 0), ("guest", self.guest, 1)):
            if not isinstance(port, int) or isinstance(port, bool):
                raise TypeError(f"the {name} port must be an int")
            if not least <= port <= 65535:
                raise ValueError(f"the {name} port {port} is not from {least} to 65535")
        if self.protocol not in ("tcp", "udp"):
            raise ValueError(f"the protocol of a port is 'tcp' or 'udp', not {self.protocol!r}")
        ipaddress.ip_address(self.bind)

    def argument(self) -> str:
        bind = f"[{self.bind}]" if ":" in self.bind else self.bind
        return f"{bind}:{self.host}:{self.guest}" + ("/udp" if self.protocol == "udp" else "")

    @classmethod
    def parse(cls, text: str) -> Port:
        """Parses `[BIND:]HOST:GUEST[/PROTOCOL]`."""
        numbers, _, protocol = text.partition("/")
        rest, _, guest = numbers.rpartition(":")
        bind, _, host = rest.rpartition(":")
        return cls(int(host), int(guest), bind.strip("[]") or "127.0.0.1", protocol or "tcp")


@dataclass(frozen=True)
class Mount:
    """Something mounted into a sandbox; use `bind`, `named` or `tmpfs`.

    `stat_virtualization` says where owners, modes and devices of the host's files are kept: `strict` (in extended
    attributes), `relaxed` (there where possible) or `off`. `host_permissions` says which modes they have on the host:
    `private` (only for their owner) or `mirror` (as the sandbox sets them).
    """

    kind: str
    source: str | None = None
    options: tuple[str, ...] = ()

    @classmethod
    def bind(
        cls,
        path: str | os.PathLike[str],
        *,
        readonly: bool = False,
        noexec: bool = False,
        nosuid: bool = False,
        nodev: bool = False,
        stat_virtualization: str | None = None,
        host_permissions: str | None = None,
        uid: int | None = None,
        gid: int | None = None,
        size_mib: int | None = None,
        disk: bool = False,
    ) -> Mount:
        """A file or folder of the host; with `disk`, a disk image. A relative path is one of the working directory.

        `uid` and `gid` own the host's files in the sandbox; `size_mib` limits what the sandbox can add.
        """
        options = [*_flags(readonly, noexec, nosuid, nodev)]
        options += _policies(stat_virtualization, host_permissions)
        options += [
            f"{name}={_whole(value, name)}" for name, value in (("uid", uid), ("gid", gid)) if value is not None
        ]
        if size_mib is not None:
            options.append(f"size={_whole(size_mib, 'size_mib')}M")
        if disk:
            options.append("kind=disk")
        return cls("bind", os.path.abspath(os.fspath(path)), tuple(options))

    @classmethod
    def named(
        cls,
        name: str,
        *,
        readonly: bool = False,
        noexec: bool = False,
        nosuid: bool = False,
        nodev: bool = False,
        stat_virtualization: str | None = None,
        host_permissions: str | None = None,
    ) -> Mount:
        """A volume of the sandbox, which `msb` creates."""
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(f"{name!r} is not a name of a volume")
        options = (*_flags(readonly, noexec, nosuid, nodev), *_policies(stat_virtualization, host_permissions))
        return cls("named", name, options)

    @classmethod
    def tmpfs(
        cls,
        *,
        size_mib: int | None = None,
        mode: int | None = None,
        readonly: bool = False,
        noexec: bool = False,
        nosuid: bool = False,
        nodev: bool = False,
    ) -> Mount:
        """A directory in the sandbox's memory that is empty at each start."""
        options = [*_flags(readonly, noexec, nosuid, nodev)]
        if size_mib is not None:
            options.append(f"size={_whole(size_mib, 'size_mib')}M")
        if mode is not None:
            options.append(f"mode={mode:04o}")
        return cls("tmpfs", None, tuple(options))

    def arguments(self, path: str) -> list[str]:
        for part in (path, self.source or ""):
            if ":" in part:
                raise ValueError(f"a path of a mount must not contain ':': {part!r}")
        if not path.startswith("/"):
            raise ValueError(f"{path!r} is not an absolute path in the sandbox")
        parts = [path] if self.kind == "tmpfs" else [self.source or "", path]
        if self.options:
            parts.append(",".join(self.options))
        return ["--tmpfs" if self.kind == "tmpfs" else "--volume", ":".join(parts)]


@dataclass(frozen=True)
class Secret:
    """A secret: the sandbox sees a placeholder, which is replaced in requests to these hosts only.

    Attributes:
        name: the variable in the sandbox.
        hosts: the hosts that may receive it, such as `api.example.org` or `*.example.org`.
        value: the value; by default that of the variable of this name in the environment of this program. It is handed
            over in the environment of `msb`, never on its command line. To start the sandbox again from another
            program, set the variable `MSB_SDK_SECRET_` and the name to it.
        inject: where it is replaced, such as `("headers", "query")`; in headers by default.
        placeholder: the placeholder; a random one by default.
        on_violation: what happens when it is sent elsewhere: `block`, `block-and-log` (the default),
            `block-and-terminate` or `passthrough`.
        passthrough_hosts: hosts that the placeholder is sent to unchanged.
        require_tls: whether it is sent over TLS only, which is the default.
        headers: the headers that may contain it; all by default.
    """

    name: str
    hosts: Sequence[str]
    value: str | None = field(default=None, repr=False)
    inject: Sequence[str] = ()
    placeholder: str | None = None
    on_violation: str | None = None
    passthrough_hosts: Sequence[str] = ()
    require_tls: bool | None = None
    headers: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.hosts, str) or not self.hosts:
            raise TypeError("hosts must be a list of at least one host")
        if self.on_violation is not None and self.on_violation not in _ON_VIOLATION:
            raise ValueError(f"on_violation is one of {', '.join(_ON_VIOLATION)}, not {self.on_violation!r}")

    def arguments(self, variable: str) -> list[str]:
        options = [f"env={variable}"] if self.value is not None else []
        if self.inject:
            options.append(f"inject={'+'.join(self.inject)}")
        if self.headers:
            options.append(f"headers={'+'.join(self.headers)}")
        if self.placeholder is not None:
            options.append(f"placeholder={self.placeholder}")
        if self.on_violation is not None:
            options.append(f"on-violation={self.on_violation}")
        if self.passthrough_hosts:
            options.append(f"passthrough-hosts={'+'.join(self.passthrough_hosts)}")
        if self.require_tls is not None:
            options.append(f"require-tls={'true' if self.require_tls else 'false'}")
        return ["--secret", f"{self.name}@{','.join(self.hosts)}" + (f":{','.join(options)}" if options else "")]


@dataclass(frozen=True)
class Network:
    """The network of a sandbox.

    Attributes:
        default: `allow` or `deny` for connections that no rule matches; by default, the public internet is allowed.
        rules: rules such as `allow@api.example.org`, `deny@10.0.0.0/8` or `allow:tcp:443@*.example.org`.
        ipv4_pool, ipv6_pool: the networks that the addresses of the sandbox are taken from.
        dns: the name servers that are asked for names that the rules allow, such as `1.1.1.1`; by default, the host's.
        dns_search: the domains in which the guest looks up names without a dot.
        proxy: a proxy for its TCP connections: `http://HOST:PORT` or `socks5://HOST:PORT`.
        proxy_password: where the password of the proxy's user is read: `env=NAME`, `file=PATH` or `keyring=SERVICE`.
        tls_intercept: whether TLS is intercepted even without a secret.
        tls_bypass: hosts whose connections are not intercepted.
        tls_ca: files with CAs of servers that this host does not trust.
    """

    default: str | None = None
    rules: Sequence[str] = ()
    ipv4_pool: str | None = None
    ipv6_pool: str | None = None
    dns: Sequence[str] = ()
    dns_search: Sequence[str] = ()
    proxy: str | None = None
    proxy_password: str | None = None
    tls_intercept: bool = False
    tls_bypass: Sequence[str] = ()
    tls_ca: Sequence[str | os.PathLike[str]] = ()

    def __post_init__(self) -> None:
        if self.default not in (None, "allow", "deny"):
            raise ValueError(f"the default of a network is 'allow' or 'deny', not {self.default!r}")
        for name in ("rules", "dns", "dns_search"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be a list of str")

    @classmethod
    def none(cls) -> Network:
        """No connections at all."""
        return cls(default="deny")

    @classmethod
    def allow_all(cls) -> Network:
        """All connections, private networks included."""
        return cls(default="allow")

    @classmethod
    def only(cls, *hosts: str) -> Network:
        """No connections but to these hosts: names, `*.` and a name, addresses or networks."""
        return cls(default="deny", rules=tuple(f"allow@{host}" for host in hosts))

    def arguments(self) -> list[str]:
        pairs: list[tuple[str, Any]] = [("--net-default", self.default)]
        pairs += [("--net-rule", rule) for rule in self.rules]
        pairs += [("--net-ipv4-pool", self.ipv4_pool), ("--net-ipv6-pool", self.ipv6_pool)]
        pairs += [("--dns", server) for server in self.dns]
        pairs += [("--dns-search", domain) for domain in self.dns_search]
        pairs += [("--net-proxy", self.proxy), ("--net-proxy-password", self.proxy_password)]
        pairs += [("--tls-bypass", host) for host in self.tls_bypass]
        pairs += [("--tls-ca", os.path.abspath(os.fspath(file))) for file in self.tls_ca]
        return [*_pairs(pairs), *(["--tls-intercept"] if self.tls_intercept else [])]


def create_arguments(name: str, image: Any, options: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Returns the arguments of `msb create`, and variables for its environment."""
    rest = dict(options)
    take = rest.pop
    pairs: list[tuple[str, Any]] = [
        ("--name", _text(name, "name")),
        ("--cpus", _whole(take("cpus", None), "cpus")),
        ("--memory", _mebibytes(take("memory", None), "memory")),
        ("--disk", _mebibytes(take("disk", None), "disk")),
        ("--workdir", take("workdir", None)),
        ("--user", take("user", None)),
        ("--hostname", take("hostname", None)),
        ("--shell", take("shell", None)),
        ("--shm-size", _mebibytes(take("shm_size", None), "shm_size")),
        ("--restart", take("restart", None)),
        ("--max-duration", duration(take("max_duration", None), "max_duration")),
        ("--idle-timeout", duration(take("idle_timeout", None), "idle_timeout")),
        ("--stop-timeout", duration(take("stop_timeout", None), "stop_timeout")),
        ("--stop-signal", take("stop_signal", None)),
        ("--pull", take("pull", None)),
    ]
    named = (("--env", "env"), ("--label", "labels"), ("--script-raw", "scripts"), ("--add-host", "hosts"))
    for flag, word in named:
        pairs += [(flag, f"{key}={value}") for key, value in _mapping(take(word, None), word).items()]
    pairs += [("--env-file", os.path.abspath(file)) for file in _paths(take("env_files", None), "env_files")]
    pairs += [("--ulimit", limit) for limit in _ulimits(take("ulimits", None))]
    pairs += [("--port", port.argument()) for port in ports_of(take("ports", None))]
    pairs += [
        ("--add-file", f"{os.path.abspath(source)}:{path}") for path, source in (take("files", None) or {}).items()
    ]
    for path, mount in {**(take("volumes", None) or {}), **(take("mounts", None) or {})}.items():
        if isinstance(mount, (str, os.PathLike)):
            mount = Mount.bind(mount)
        if not isinstance(mount, Mount):
            raise TypeError(f"the volume at {path} must be a Mount or a path of the host")
        flag, value = mount.arguments(path)
        pairs.append((flag, value))
    variables: dict[str, str] = {}
    for index, secret in enumerate(take("secrets", None) or ()):
        variable = f"MSB_SDK_SECRET_{secret.name}" if isinstance(secret, Secret) else f"{index}"
        if not isinstance(secret, Secret):
            raise TypeError("secrets must be a list of Secret")
        if secret.value is not None:
            variables[variable] = secret.value
        pairs.append(("--secret", secret.arguments(variable)[1]))
    arguments = ["create", *_pairs(pairs), *_network(take("network", None))]
    timeout = duration(take("replace_with_timeout", None), "replace_with_timeout")
    if timeout is not None:
        arguments.append(f"--replace-with-timeout={timeout}")
    elif take("replace", False):
        arguments.append("--replace")
    rest.pop("replace", None)
    lock = duration(take("lock_timeout", None), "lock_timeout")
    if lock is not None:
        arguments.append(f"--lock-timeout={lock}")
    command = take("command", None)
    if rest:
        raise TypeError(f"create has no option {sorted(rest)[0]!r}")
    arguments.append(_image(image))
    if command is not None:
        if isinstance(command, (str, bytes)) or not command:
            raise TypeError("command must be a list of str with at least the program")
        program, args = check_args(command[0], list(command)[1:])
        arguments += ["--", program, *args]
    return arguments, variables


def ports_of(ports: Any) -> list[Port]:
    """Returns ports from a dict of host to guest port, or a list of `Port`."""
    if ports is None:
        return []
    if isinstance(ports, Mapping):
        return [Port(host, guest) for host, guest in ports.items()]
    listed = list(ports)
    if not all(isinstance(port, Port) for port in listed):
        raise TypeError("ports must be a dict of host port to guest port, or a list of Port")
    return listed


def duration(seconds: Any, name: str) -> str | None:
    """Returns a number of seconds as `msb` reads it."""
    checked = check_timeout(seconds, name)
    return None if checked is None else f"{round(checked * 1000)}ms"


def _image(image: Any) -> str:
    if not isinstance(image, (str, os.PathLike)):
        raise TypeError("image must be a reference such as 'alpine', a path, or 'snapshot:NAME'")
    text = os.fspath(image)
    if isinstance(image, os.PathLike) or text.startswith(("./", "../")):
        text = os.path.abspath(text)
    if not text or text.startswith("-"):
        raise ValueError(f"{text!r} is not an image")
    return text


def _network(network: Any) -> list[str]:
    if network is None:
        return []
    if network in ("none", "deny"):
        network = Network.none()
    if network == "allow":
        network = Network.allow_all()
    if not isinstance(network, Network):
        raise TypeError("network must be a Network, 'none' or 'allow'")
    return network.arguments()


def _pairs(pairs: Sequence[tuple[str, Any]]) -> list[str]:
    """Returns options as `--name=value`, so that no value is read as an option."""
    return [f"{flag}={_text(value, flag)}" for flag, value in pairs if value is not None]


def _mapping(value: Any, name: str) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping of str to str")
    for key, item in value.items():
        if not isinstance(item, str):
            raise TypeError(f"the value of {key!r} in {name} must be a str")
        if not isinstance(key, str) or not key or "=" in key:
            raise ValueError(f"{key!r} in {name} is not a name")
    return value


def _paths(value: Any, name: str) -> list[str]:
    """Returns paths in their order, which says which file takes precedence."""
    if value is None:
        return []
    # A text is iterable too: each of its characters would be a path.
    if isinstance(value, (str, bytes, os.PathLike)):
        raise TypeError(f"{name} must be a list of paths")
    paths = [os.fspath(path) for path in value]
    if not all(isinstance(path, str) for path in paths):
        raise TypeError(f"{name} must be a list of str or os.PathLike")
    return paths


def _ulimits(ulimits: Any) -> list[str]:
    """Returns limits as `NAME=SOFT:HARD`."""
    texts = {}
    if isinstance(ulimits, Mapping):
        texts = {name: value for name, value in ulimits.items() if isinstance(value, str)}
        ulimits = {name: value for name, value in ulimits.items() if name not in texts}
    named = [f"{name}={value}" for name, value in _mapping(texts, "ulimits").items()]
    return named + [_ulimit(limit) for limit in limits_of(ulimits, "ulimits")]


def _ulimit(limit: Rlimit) -> str:
    checked = limit.wire()
    if "=" in limit.resource:
        raise ValueError(f"{limit.resource!r} in ulimits is not a name")
    soft, hard = ("unlimited" if checked[part] == UNLIMITED else checked[part] for part in ("soft", "hard"))
    return f"{limit.resource}={soft}:{hard}"


def _text(value: Any, name: str) -> str:
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise TypeError(f"{name.lstrip('-')} must be a str, not {type(value).__name__}")
    # Members of `signal.Signals` are numbers whose text is their name, before Python 3.11.
    return str(int(value)) if isinstance(value, int) else value


def _whole(value: Any, name: str) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise TypeError(f"{name} must be an int")
    if value is not None and value < 0:
        raise ValueError(f"{name} must not be negative")
    return value


def _mebibytes(value: Any, name: str) -> str | None:
    if isinstance(value, str):
        return value
    return None if value is None else f"{_whole(value, name)}M"


def _flags(readonly: bool, noexec: bool, nosuid: bool, nodev: bool) -> list[str]:
    flags = {"ro": readonly, "noexec": noexec, "nosuid": nosuid, "nodev": nodev}
    return [word for word, given in flags.items() if given]


def _policies(stat_virtualization: str | None, host_permissions: str | None) -> list[str]:
    if stat_virtualization not in (None, *_STAT_VIRTUALIZATION):
        raise ValueError(f"stat_virtualization is one of {', '.join(_STAT_VIRTUALIZATION)}")
    if host_permissions not in (None, *_HOST_PERMISSIONS):
        raise ValueError(f"host_permissions is one of {', '.join(_HOST_PERMISSIONS)}")
    words = (("stat-virt", stat_virtualization), ("host-perms", host_permissions))
    return [f"{word}={value}" for word, value in words if value is not None]

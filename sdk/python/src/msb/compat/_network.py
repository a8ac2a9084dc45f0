"""The network of a sandbox, and published ports."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ._enums import NetworkProfile, PortProtocol, ViolationAction, enum_value
from ._rules import NetworkPolicy
from ._secrets import SecretSource, ViolationPolicy, older_violation, violation_of

__all__ = [
    "DnsConfig",
    "HttpConfig",
    "Network",
    "NetworkRateLimiter",
    "OutboundProxy",
    "PortBinding",
    "PortEndpoint",
    "RateLimiter",
    "ScopedUpstreamCACert",
    "ScopedVerifyUpstream",
    "TlsConfig",
    "TokenBucket",
]


@dataclass(frozen=True, slots=True)
class ScopedUpstreamCACert:
    """A file with a CA for the servers of some hosts."""

    pattern: str
    path: str

    def _to_dict(self) -> dict[str, Any]:
        return {"pattern": self.pattern, "path": self.path}


@dataclass(frozen=True, slots=True)
class ScopedVerifyUpstream:
    """The verification of the certificates of some hosts."""

    pattern: str
    verify: bool

    def _to_dict(self) -> dict[str, Any]:
        return {"pattern": self.pattern, "verify": self.verify}


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """The interception of TLS."""

    bypass: tuple[str, ...] = ()
    verify_upstream: bool = True
    intercepted_ports: tuple[int, ...] = (443,)
    block_quic: bool = False
    upstream_ca_certs: tuple[str, ...] = ()
    scoped_upstream_ca_certs: tuple[ScopedUpstreamCACert, ...] = ()
    scoped_verify_upstream: tuple[ScopedVerifyUpstream, ...] = ()
    ca_cert: str | None = None
    ca_key: str | None = None
    ca_cn: str | None = None

    def _to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if self.bypass:
            values["bypass"] = list(self.bypass)
        if not self.verify_upstream:
            values["verify_upstream"] = False
        if self.intercepted_ports != (443,):
            values["intercepted_ports"] = list(self.intercepted_ports)
        if self.block_quic:
            values["block_quic"] = True
        if self.upstream_ca_certs:
            values["upstream_ca_certs"] = list(self.upstream_ca_certs)
        for name in ("scoped_upstream_ca_certs", "scoped_verify_upstream"):
            if getattr(self, name):
                values[name] = [scoped._to_dict() for scoped in getattr(self, name)]
        names = ("ca_cert", "ca_key", "ca_cn")
        return values | {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """The name server of a sandbox."""

    rebind_protection: bool = True
    nameservers: tuple[str, ...] = ()
    query_timeout_ms: int | None = None

    def _to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {} if self.rebind_protection else {"rebind_protection": False}
        if self.nameservers:
            values["nameservers"] = list(self.nameservers)
        if self.query_timeout_ms is not None:
            values["query_timeout_ms"] = self.query_timeout_ms
        return values


@dataclass(frozen=True, slots=True)
class PortEndpoint:
    """A published port of the host, for `modify(ports_rm=…)`."""

    host_port: int
    bind: str = "127.0.0.1"
    protocol: PortProtocol = PortProtocol.TCP

    def _to_dict(self) -> dict[str, Any]:
        protocol = enum_value(self.protocol, PortProtocol, "PortEndpoint.protocol")
        return {"host_port": self.host_port, "bind": self.bind, "protocol": protocol}


@dataclass(frozen=True, slots=True)
class PortBinding:
    """A port of the host that leads into the sandbox. Host port 0 takes a free one, which only `msb` offers."""

    host_port: int
    guest_port: int
    bind: str = "127.0.0.1"
    protocol: PortProtocol = PortProtocol.TCP

    @classmethod
    def tcp(cls, host_port: int, guest_port: int, *, bind: str = "127.0.0.1") -> PortBinding:
        """A TCP port."""
        return cls(host_port, guest_port, bind, PortProtocol.TCP)

    @classmethod
    def udp(cls, host_port: int, guest_port: int, *, bind: str = "127.0.0.1") -> PortBinding:
        """A UDP port."""
        return cls(host_port, guest_port, bind, PortProtocol.UDP)

    def _to_dict(self) -> dict[str, Any]:
        protocol = enum_value(self.protocol, PortProtocol, "PortBinding.protocol")
        ports = {"host_port": self.host_port, "guest_port": self.guest_port}
        return {**ports, "bind": self.bind, "protocol": protocol}


@dataclass(frozen=True, slots=True)
class OutboundProxy:
    """A proxy for connections out of the sandbox; `msb` supports `http_connect` and `socks5`."""

    protocol: Literal["http_connect", "socks4", "socks5"]
    address: str
    user_id: str | None = None
    username: str | None = None
    password: SecretSource | None = None

    def __post_init__(self) -> None:
        has_credentials = self.username is not None or self.password is not None
        if self.protocol != "socks4" and self.user_id is not None:
            raise ValueError("user_id is only supported for SOCKS4 proxies")
        if self.protocol == "socks4" and has_credentials:
            raise ValueError("credentials are only supported for SOCKS5 and HTTP CONNECT proxies")
        if (self.username is None) != (self.password is None):
            kind = "SOCKS5" if self.protocol == "socks5" else "HTTP CONNECT"
            raise ValueError(f"{kind} username and password must be provided together")

    @classmethod
    def http_connect(cls, address: str) -> OutboundProxy:
        """A proxy for HTTP CONNECT."""
        return cls("http_connect", address)

    @classmethod
    def socks4(cls, address: str, *, user_id: str | None = None) -> OutboundProxy:
        """A SOCKS4 proxy."""
        return cls("socks4", address, user_id=user_id)

    @classmethod
    def socks5(cls, address: str) -> OutboundProxy:
        """A SOCKS5 proxy."""
        return cls("socks5", address)

    def credentials(self, username: str, password: SecretSource) -> OutboundProxy:
        """Returns the proxy with a user, whose password is read on the host."""
        if self.protocol == "socks4":
            raise ValueError("credentials are only supported for SOCKS5 and HTTP CONNECT proxies")
        return OutboundProxy(self.protocol, self.address, username=username, password=password)

    def _to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {"protocol": self.protocol, "address": self.address}
        if self.user_id is not None:
            values["user_id"] = self.user_id
        if self.username is not None and self.password is not None:
            values["credentials"] = {"username": self.username, "password": self.password._to_dict()}
        return values


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """A bucket of `size` tokens that is refilled within `refill_time_ms`."""

    size: int
    refill_time_ms: int
    one_time_burst: int = 0

    def _to_dict(self) -> dict[str, Any]:
        burst = {"one_time_burst": self.one_time_burst} if self.one_time_burst else {}
        return {"size": self.size, "refill_time_ms": self.refill_time_ms, **burst}


@dataclass(frozen=True, slots=True)
class RateLimiter:
    """Limits of bytes and of packets in one direction."""

    bandwidth: TokenBucket | None = None
    ops: TokenBucket | None = None

    def _to_dict(self) -> dict[str, Any]:
        buckets = {"bandwidth": self.bandwidth, "ops": self.ops}
        return {name: bucket._to_dict() for name, bucket in buckets.items() if bucket is not None}


@dataclass(frozen=True, slots=True)
class NetworkRateLimiter:
    """Limits of both directions: `msb` does not support them."""

    egress: RateLimiter | None = None
    ingress: RateLimiter | None = None

    def _to_dict(self) -> dict[str, Any]:
        values = {}
        for name, limiter in (("egress", self.egress), ("ingress", self.ingress)):
            if limiter is not None:
                _check(limiter, RateLimiter, f"NetworkRateLimiter.{name}")
                values[name] = limiter._to_dict()
        return values


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """The responses to denied HTTP requests."""

    deny_response: bool = True
    deny_message: str | None = None
    deny_response_format: Literal["text", "json"] = field(default="json", kw_only=True)
    network_deny_message: str | None = field(default=None, kw_only=True)
    secret_deny_message: str | None = field(default=None, kw_only=True)

    def _to_dict(self) -> dict[str, Any]:
        if not isinstance(self.deny_response, bool):
            raise TypeError("HttpConfig.deny_response must be a bool")
        if self.deny_response_format not in ("text", "json"):
            raise ValueError("HttpConfig.deny_response_format must be text or json")
        values: dict[str, Any] = {
            "deny_response": self.deny_response,
            "deny_response_format": self.deny_response_format,
        }
        for name in ("deny_message", "network_deny_message", "secret_deny_message"):
            message = getattr(self, name)
            if message is not None:
                if not isinstance(message, str):
                    raise TypeError(f"HttpConfig.{name} must be a str or None")
                values[name] = message
        return values


@dataclass(frozen=True, slots=True)
class Network:
    """The network of a sandbox; COMPAT.md lists the settings that `msb` supports."""

    policy: NetworkPolicy | None = None
    ports: Mapping[int, int] | Sequence[PortBinding] = field(default_factory=dict)
    deny_domains: tuple[str, ...] = ()
    deny_domain_suffixes: tuple[str, ...] = ()
    dns: DnsConfig | None = None
    tls: TlsConfig | None = None
    strict: bool = True
    ipv4_pool: str | None = None
    ipv6_pool: str | None = None
    nat64_prefixes: tuple[str, ...] = field(default=("64:ff9b::/96",), kw_only=True)
    max_connections: int | None = None
    max_tcp_connections: int | None = field(default=None, kw_only=True)
    max_udp_connections: int | None = field(default=None, kw_only=True)
    max_inbound_tcp_connections: int | None = field(default=None, kw_only=True)
    tcp_accept_queue_size: int | None = field(default=None, kw_only=True)
    rate_limiter: NetworkRateLimiter | None = None
    secret_violation_action: ViolationAction = ViolationAction.BLOCK_AND_LOG
    http: HttpConfig | None = None
    #: The name of `secret_violation_action` in releases before 0.7.
    on_secret_violation: ViolationPolicy | ViolationAction | None = field(default=None, kw_only=True)

    @classmethod
    def none(cls) -> Network:
        """No connections at all."""
        return cls(policy=NetworkPolicy.none())

    @classmethod
    def from_profiles(cls, *profiles: NetworkProfile) -> Network:
        """DNS and the groups of these profiles."""
        return cls(policy=NetworkPolicy.from_profiles(profiles))

    @classmethod
    def allow_all(cls) -> Network:
        """All connections."""
        return cls(policy=NetworkPolicy.allow_all())

    @classmethod
    def public_only(cls) -> Network:
        """The public internet: the name of `from_profiles(NetworkProfile.PUBLIC)` in releases before 0.7."""
        return cls.from_profiles(NetworkProfile.PUBLIC)

    def _violation(self) -> tuple[str, tuple[str, ...]]:
        """Returns the action for secrets that are sent elsewhere, and the hosts that placeholders may be sent to."""
        older = self.on_secret_violation
        return violation_of(self.secret_violation_action if older is None else older)

    def _ports(self) -> Any:
        if isinstance(self.ports, Mapping):
            return dict(self.ports)
        if not all(isinstance(port, PortBinding) for port in self.ports):
            raise TypeError("Network.ports must contain PortBinding values")
        return [port._to_dict() for port in self.ports]

    def _to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if self.policy is not None:
            if not isinstance(self.policy, NetworkPolicy):
                raise TypeError(
                    "Network.policy must be a NetworkPolicy; use "
                    "Network.from_profiles(...), Network.none(), or Network.allow_all()"
                )
            values["custom_policy"] = self.policy._to_dict()
        if self.ports:
            values["ports"] = self._ports()
        for name in ("deny_domains", "deny_domain_suffixes"):
            if getattr(self, name):
                values[name] = list(getattr(self, name))
        if self.dns is not None:
            _check(self.dns, DnsConfig, "Network.dns")
            values |= {"dns": dns} if (dns := self.dns._to_dict()) else {}
        if self.tls is not None:
            _check(self.tls, TlsConfig, "Network.tls")
            values["tls"] = self.tls._to_dict()
        # A program that uses a name of releases before 0.7 expects their dict.
        is_older = self.on_secret_violation is not None
        if not is_older:
            values["strict"] = self.strict
        for name in ("ipv4_pool", "ipv6_pool"):
            if getattr(self, name) is not None:
                values[name] = getattr(self, name)
        if self.nat64_prefixes and not is_older:
            values["nat64_prefixes"] = list(self.nat64_prefixes)
        values |= self._limits()
        if is_older:
            older = older_violation(self.on_secret_violation)
            values |= {} if older is None else {"on_secret_violation": older}
        action = enum_value(self.secret_violation_action, ViolationAction, "Network.secret_violation_action")
        if action != ViolationAction.BLOCK_AND_LOG.value:
            values["secret_violation_action"] = action
        if self.http is not None:
            _check(self.http, HttpConfig, "Network.http")
            values["http"] = self.http._to_dict()
        return values

    def _limits(self) -> dict[str, Any]:
        if self.max_connections is not None and self.max_tcp_connections is not None:
            raise ValueError("max_connections and max_tcp_connections are mutually exclusive")
        values: dict[str, Any] = {}
        if self.max_connections is not None:
            message = "max_connections is deprecated; use max_tcp_connections"
            warnings.warn(message, DeprecationWarning, stacklevel=3)
            values["max_tcp_connections"] = self.max_connections
        names = ("max_tcp_connections", "max_udp_connections", "max_inbound_tcp_connections", "tcp_accept_queue_size")
        values |= {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.rate_limiter is not None:
            _check(self.rate_limiter, NetworkRateLimiter, "Network.rate_limiter")
            values["rate_limiter"] = self.rate_limiter._to_dict()
        return values


def _check(value: Any, expected: type, field_name: str) -> None:
    if not isinstance(value, expected):
        raise TypeError(f"{field_name} must be {expected.__name__} or None")

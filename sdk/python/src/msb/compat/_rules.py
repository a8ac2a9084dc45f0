"""Network policies: rules and their destinations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Union

from ._enums import Action, DestGroup, Direction, NetworkDestinationKind, NetworkProfile, Protocol, enum_value

__all__ = ["Destination", "NetworkDestination", "NetworkDestinationLike", "NetworkPolicy", "Rule"]


@dataclass(frozen=True, slots=True)
class NetworkDestination:
    """A destination of a rule; use `Destination`."""

    kind: NetworkDestinationKind
    value: str | None = None

    def _to_dict(self) -> dict[str, Any]:
        values = {"destination_kind": enum_value(self.kind, NetworkDestinationKind, "NetworkDestination.kind")}
        if self.value is not None:
            values["destination"] = self.value
        return values


class Destination:
    """Makes the destinations of rules."""

    @staticmethod
    def any() -> NetworkDestination:
        """Everything."""
        return NetworkDestination(NetworkDestinationKind.ANY)

    @staticmethod
    def ip(ip: str) -> NetworkDestination:
        """An address."""
        return NetworkDestination(NetworkDestinationKind.IP, ip)

    @staticmethod
    def cidr(cidr: str) -> NetworkDestination:
        """A network such as `10.0.0.0/8`."""
        return NetworkDestination(NetworkDestinationKind.CIDR, cidr)

    @staticmethod
    def domain(domain: str) -> NetworkDestination:
        """A name."""
        return NetworkDestination(NetworkDestinationKind.DOMAIN, domain)

    @staticmethod
    def domain_suffix(suffix: str) -> NetworkDestination:
        """A name and all names below it."""
        return NetworkDestination(NetworkDestinationKind.DOMAIN_SUFFIX, suffix)

    @staticmethod
    def group(group: DestGroup) -> NetworkDestination:
        """A group of addresses."""
        value = enum_value(group, DestGroup, "Destination.group.group")
        return NetworkDestination(NetworkDestinationKind.GROUP, value)


NetworkDestinationLike = Union[str, NetworkDestination, None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; the first one that matches a connection decides."""

    action: Action
    direction: Direction = Direction.EGRESS
    destination: NetworkDestinationLike = None
    protocol: Protocol | None = None
    port: int | str | None = None

    @classmethod
    def allow(
        cls,
        *,
        direction: Direction = Direction.EGRESS,
        protocol: Protocol | None = None,
        port: int | str | None = None,
        destination: NetworkDestinationLike = None,
    ) -> Rule:
        """Allows connections."""
        return cls(Action.ALLOW, direction, destination, protocol, port)

    @classmethod
    def deny(
        cls,
        *,
        direction: Direction = Direction.EGRESS,
        protocol: Protocol | None = None,
        port: int | str | None = None,
        destination: NetworkDestinationLike = None,
    ) -> Rule:
        """Denies connections."""
        return cls(Action.DENY, direction, destination, protocol, port)

    @classmethod
    def allow_dns(cls) -> tuple[Rule, Rule]:
        """Allows DNS to the sandbox's own name server, over UDP and TCP."""
        host = Destination.group(DestGroup.HOST)
        return (
            cls.allow(destination=host, protocol=Protocol.UDP, port=53),
            cls.allow(destination=host, protocol=Protocol.TCP, port=53),
        )

    @classmethod
    def deny_dns(cls) -> tuple[Rule, Rule]:
        """Denies what `allow_dns` allows."""
        udp, tcp = cls.allow_dns()
        return replace(udp, action=Action.DENY), replace(tcp, action=Action.DENY)

    def _to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            "action": enum_value(self.action, Action, "Rule.action"),
            "direction": enum_value(self.direction, Direction, "Rule.direction"),
        }
        if isinstance(self.destination, NetworkDestination):
            values |= self.destination._to_dict()
        elif self.destination is not None:
            # A member of an enum is a str too, and no destination.
            if type(self.destination) is not str:
                raise TypeError("Rule.destination must be str, NetworkDestination, or None")
            values["destination"] = self.destination
        if self.protocol is not None:
            values["protocol"] = enum_value(self.protocol, Protocol, "Rule.protocol")
        if self.port is not None:
            values["port"] = str(self.port)
        return values


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """The rules of a network, and what holds for connections that no rule matches."""

    default_egress: Action = Action.DENY
    default_ingress: Action = Action.ALLOW
    rules: tuple[Rule, ...] = ()

    @classmethod
    def none(cls) -> NetworkPolicy:
        """No connections at all."""
        return cls(Action.DENY, Action.DENY)

    @classmethod
    def allow_all(cls) -> NetworkPolicy:
        """All connections."""
        return cls(Action.ALLOW, Action.ALLOW)

    @classmethod
    def from_profiles(cls, profiles: Iterable[NetworkProfile]) -> NetworkPolicy:
        """DNS and the groups of these profiles, and nothing else."""
        wanted = set()
        for profile in profiles:
            if not isinstance(profile, NetworkProfile):
                raise TypeError("profiles must contain NetworkProfile members")
            wanted.add(profile)
        groups = [Destination.group(DestGroup(profile.value)) for profile in NetworkProfile if profile in wanted]
        dns = Rule.allow_dns() if wanted else ()
        return cls(rules=(*dns, *(Rule.allow(destination=group) for group in groups)))

    def _to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            name: enum_value(getattr(self, name), Action, f"NetworkPolicy.{name}")
            for name in ("default_egress", "default_ingress")
        }
        for rule in self.rules:
            if not isinstance(rule, Rule):
                raise TypeError("NetworkPolicy.rules must contain Rule values")
            if rule.port is not None and type(rule.port) not in (int, str):
                raise TypeError("Rule.port must be int, str, or None")
        if self.rules:
            values["rules"] = [rule._to_dict() for rule in self.rules]
        return values

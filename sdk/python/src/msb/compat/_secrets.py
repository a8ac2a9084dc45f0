"""Secrets that a sandbox uses without having them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ._enums import ViolationAction, enum_value

__all__ = [
    "OlderSecretEntry",
    "Secret",
    "SecretEntry",
    "SecretInjection",
    "SecretSource",
    "SecretSubstitution",
    "ViolationPolicy",
]

_OLDER_NAMES = ("allow_hosts", "allow_host_patterns", "require_tls", "on_violation", "injection")


@dataclass(frozen=True, slots=True)
class SecretSubstitution:
    """The parts of a request in which the value replaces the placeholder."""

    headers: bool = True
    header_fields: tuple[str, ...] = field(default=(), kw_only=True)
    query: bool = False
    body: bool = False

    def _to_dict(self) -> dict[str, Any]:
        if self.header_fields and not self.headers:
            raise ValueError("SecretSubstitution.header_fields requires headers to be enabled")
        values: dict[str, Any] = {} if self.headers else {"headers": False}
        if self.header_fields:
            values["header_fields"] = list(self.header_fields)
        return values | {name: True for name in ("query", "body") if getattr(self, name)}


@dataclass(frozen=True, slots=True)
class SecretInjection:
    """The parts of a request in which a secret is replaced, in releases before 0.7."""

    headers: bool = True
    basic_auth: bool = True
    query_params: bool = False
    body: bool = False

    def _to_dict(self) -> dict[str, Any]:
        values = {name: False for name in ("headers", "basic_auth") if not getattr(self, name)}
        return values | {name: True for name in ("query_params", "body") if getattr(self, name)}


@dataclass(frozen=True, slots=True)
class ViolationPolicy:
    """The action when a secret is sent to another host, in releases before 0.7."""

    fallback: ViolationAction = ViolationAction.BLOCK_AND_LOG
    passthrough_hosts: tuple[str, ...] = ()
    passthrough_host_patterns: tuple[str, ...] = ()
    passthrough_all_hosts: bool = False

    @classmethod
    def block(cls) -> ViolationPolicy:
        """Blocks the request."""
        return cls(ViolationAction.BLOCK)

    @classmethod
    def block_and_log(cls) -> ViolationPolicy:
        """Blocks the request, and logs it."""
        return cls(ViolationAction.BLOCK_AND_LOG)

    @classmethod
    def block_and_terminate(cls) -> ViolationPolicy:
        """Blocks the request, and ends the sandbox."""
        return cls(ViolationAction.BLOCK_AND_TERMINATE)

    @classmethod
    def passthrough(
        cls, *, hosts: Sequence[str] = (), host_patterns: Sequence[str] = (), all_hosts: bool = False
    ) -> ViolationPolicy:
        """Sends the placeholder to these hosts unchanged."""
        return cls(
            passthrough_hosts=tuple(hosts),
            passthrough_host_patterns=tuple(host_patterns),
            passthrough_all_hosts=all_hosts,
        )

    def _to_dict(self) -> Any:
        enum_value(self.fallback, ViolationAction, "ViolationPolicy.fallback")
        values: dict[str, Any] = {}
        if self.passthrough_hosts:
            values["hosts"] = list(self.passthrough_hosts)
        if self.passthrough_host_patterns:
            values["host_patterns"] = list(self.passthrough_host_patterns)
        if self.passthrough_all_hosts:
            values["all_hosts"] = True
        return {"passthrough": values} if values else self.fallback


def older_violation(policy: Any) -> Any:
    """Returns a policy of releases before 0.7 as they serialize it; None for their default."""
    if isinstance(policy, ViolationPolicy):
        value = policy._to_dict()
    else:
        enum_value(policy, ViolationAction, "on_violation")
        value = policy
    return None if value == ViolationAction.BLOCK_AND_LOG else value


def violation_of(policy: ViolationPolicy | ViolationAction) -> tuple[str, tuple[str, ...]]:
    """Returns the action for other hosts, and the hosts that the placeholder may be sent to."""
    if isinstance(policy, ViolationPolicy):
        action = ViolationAction.PASSTHROUGH if policy.passthrough_all_hosts else policy.fallback
        return action.value, (*policy.passthrough_hosts, *policy.passthrough_host_patterns)
    return enum_value(policy, ViolationAction, "on_violation"), ()


@dataclass(frozen=True, slots=True)
class SecretEntry:
    """A secret; use `Secret.env`."""

    env_var: str
    value: str = field(repr=False)
    allow: tuple[str, ...] = ()
    passthrough: tuple[str, ...] = ()
    placeholder: str | None = None
    require_tls_identity: bool = True
    violation_action: ViolationAction | None = None
    substitution: SecretSubstitution = field(default_factory=SecretSubstitution)

    def _to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {"env_var": self.env_var, "value": self.value}
        values |= {name: list(getattr(self, name)) for name in ("allow", "passthrough") if getattr(self, name)}
        if self.placeholder is not None:
            values["placeholder"] = self.placeholder
        if not self.require_tls_identity:
            values["require_tls_identity"] = False
        if self.violation_action is not None:
            values["violation_action"] = enum_value(
                self.violation_action, ViolationAction, "SecretEntry.violation_action"
            )
        if not isinstance(self.substitution, SecretSubstitution):
            raise TypeError("SecretEntry.substitution must be SecretSubstitution")
        substitution = self.substitution._to_dict()
        return {**values, "substitution": substitution} if substitution else values


@dataclass(frozen=True, slots=True)
class OlderSecretEntry:
    """A secret with the names of releases before 0.7, which `Secret.env` returns for those."""

    env_var: str
    value: str = field(repr=False)
    allow_hosts: tuple[str, ...] = ()
    allow_host_patterns: tuple[str, ...] = ()
    placeholder: str | None = None
    require_tls: bool = True
    on_violation: ViolationAction | ViolationPolicy = ViolationAction.BLOCK_AND_LOG
    injection: SecretInjection = field(default_factory=SecretInjection)

    def _to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {"env_var": self.env_var, "value": self.value}
        for name in ("allow_hosts", "allow_host_patterns"):
            if getattr(self, name):
                values[name] = list(getattr(self, name))
        if self.placeholder is not None:
            values["placeholder"] = self.placeholder
        if not self.require_tls:
            values["require_tls"] = False
        violation = older_violation(self.on_violation)
        if violation is not None:
            values["on_violation"] = violation
        if not isinstance(self.injection, SecretInjection):
            raise TypeError("SecretEntry.injection must be SecretInjection")
        injection = self.injection._to_dict()
        return {**values, "injection": injection} if injection else values


class Secret:
    """Makes the secrets for `Sandbox.create(secrets=…)`."""

    @staticmethod
    def env(
        env_var: str,
        *,
        value: str,
        allow: Sequence[str] = (),
        allow_placeholder_for: Sequence[str] = (),
        passthrough: Sequence[str] = (),
        placeholder: str | None = None,
        require_tls_identity: bool = True,
        violation_action: ViolationAction | None = None,
        substitution: SecretSubstitution | None = None,
        **older: Any,
    ) -> Any:
        """A secret in a variable of the sandbox.

        Args:
            env_var: the variable, which has the placeholder as its value.
            value: the value.
            allow: the hosts that it may be sent to.
            allow_placeholder_for, passthrough: the hosts that the placeholder is sent to unchanged.
            placeholder: the placeholder.
            require_tls_identity: whether it is sent over TLS only.
            violation_action: what happens when it is sent elsewhere.
            substitution: the parts of a request in which it is replaced.
            older: `allow_hosts`, `allow_host_patterns`, `require_tls`, `injection` and `on_violation`, the names of
                releases before 0.7; they exclude the newer ones.
        """
        if older:
            newer = (
                allow,
                allow_placeholder_for,
                passthrough,
                violation_action,
                substitution,
                not require_tls_identity,
            )
            unknown = sorted(set(older) - set(_OLDER_NAMES))
            if unknown or any(newer):
                name = unknown[0] if unknown else sorted(older)[0]
                raise TypeError(f"Secret.env() got an unexpected keyword argument {name!r}")
            for name in ("allow_hosts", "allow_host_patterns"):
                older[name] = tuple(older.get(name, ()))
            if older.get("injection") is None:
                older["injection"] = SecretInjection()
            return OlderSecretEntry(env_var=env_var, value=value, placeholder=placeholder, **older)
        if passthrough:
            warnings.warn(
                "passthrough is deprecated; use allow_placeholder_for instead", DeprecationWarning, stacklevel=2
            )
        return SecretEntry(
            env_var=env_var,
            value=value,
            allow=tuple(allow),
            passthrough=(*allow_placeholder_for, *passthrough),
            placeholder=placeholder,
            require_tls_identity=require_tls_identity,
            violation_action=violation_action,
            substitution=SecretSubstitution() if substitution is None else substitution,
        )


@dataclass(frozen=True, slots=True)
class SecretSource:
    """The source of a secret on the host."""

    kind: Literal["env"]
    var: str

    def __post_init__(self) -> None:
        if self.kind != "env":
            raise ValueError("only environment-backed secret sources are supported")
        if not self.var:
            raise ValueError("secret source environment variable must not be empty")

    @classmethod
    def env(cls, variable: str) -> SecretSource:
        """A variable of the environment."""
        return cls("env", variable)

    def _to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "var": self.var}

"""The plan of a modification. `msb` applies changes to sandboxes of a Sandboxfile only, so no plan is applied here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..sandbox import Sandbox as NativeSandbox
from . import _errors as errors
from ._config import labels_of, read_record
from ._contracts import SandboxModificationPlan
from ._create import ports_of
from ._enums import (
    ChangeKind,
    ModificationDisposition,
    ModificationPolicy,
    PlannedChangeKind,
    SandboxStatus,
    SecretChangeKind,
)
from ._network import PortEndpoint

__all__ = ["KEYS", "modify"]

KEYS = (
    "cpus",
    "max_cpus",
    "memory",
    "max_memory",
    "root_disk_size",
    "env",
    "env_rm",
    "labels",
    "labels_rm",
    "workdir",
    "secrets",
    "secrets_rm",
    "ports",
    "ports_rm",
)
REASON = "msb changes sandboxes of a Sandboxfile only"
NEXT_STEP = "create the sandbox again with replace=True, or declare it in a Sandboxfile and run `msb up`"


def modify(
    sandbox: NativeSandbox,
    status: SandboxStatus,
    wanted: Mapping[str, Any],
    policy: ModificationPolicy | None,
    dry_run: bool,
) -> SandboxModificationPlan:
    """Returns the plan; raises `UnsupportedOperationError` if it has changes and is not a dry run."""
    if policy is not None and not isinstance(policy, ModificationPolicy):
        raise TypeError("policy must be ModificationPolicy")
    definition = (sandbox.details.get("spec") or {}).get("definition") or {}
    record = read_record(definition.get("labels") or {})
    plan = _Plan(definition, record)
    plan.compare(wanted)
    if plan.conflicts and not dry_run:
        conflict = plan.conflicts[0]
        raise errors.InvalidConfigError(f"invalid config: {conflict['field']}: {conflict['message']}")
    if plan.changes and not dry_run:
        fields = ", ".join(sorted({change["field"] for change in plan.changes}))
        error = errors.UnsupportedOperationError(
            f"cannot modify {fields} of {sandbox.name!r}: {REASON} (hint: {NEXT_STEP})"
        )
        error.hint = NEXT_STEP
        raise error
    return {
        "sandbox": sandbox.name,
        "status": status,
        "applied": not dry_run,
        "policy": policy or ModificationPolicy.NO_RESTART,
        "changes": plan.changes,
        "conflicts": plan.conflicts,
        "warnings": [],
    }


class _Plan:
    """Compares what a sandbox has with what is wanted."""

    def __init__(self, definition: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        self._definition = definition
        self._record = record
        self.changes: list[dict[str, Any]] = []
        self.conflicts: list[Any] = []

    def compare(self, wanted: Mapping[str, Any]) -> None:
        definition = self._definition
        self._sizes(wanted)
        self._value("workdir", definition.get("workdir"), wanted.get("workdir"))
        self._table("env", definition.get("env") or {}, wanted.get("env"), wanted.get("env_rm"))
        labels = labels_of(definition.get("labels") or {})
        self._table("label", labels, wanted.get("labels"), wanted.get("labels_rm"))
        self._secrets(wanted.get("secrets"), wanted.get("secrets_rm"))
        self._ports(wanted.get("ports"), wanted.get("ports_rm"))

    def _add(self, field: str, change: ChangeKind, before: Any = None, after: Any = None) -> None:
        values = {"before": before, "after": after}
        self.changes.append(
            {
                "kind": PlannedChangeKind.CONFIG,
                "field": field,
                "change": change,
                "disposition": ModificationDisposition.UNSUPPORTED,
                **{name: str(value) for name, value in values.items() if value is not None},
                "reason": REASON,
            }
        )

    def _value(self, field: str, before: Any, after: Any) -> None:
        if after is not None and after != before:
            self._add(field, ChangeKind.ADDED if before is None else ChangeKind.UPDATED, before, after)

    def _sizes(self, wanted: Mapping[str, Any]) -> None:
        for name, key in (("cpus", "cpus"), ("memory", "memory_mib")):
            for field in (name, f"max_{name}"):
                value = wanted.get(field)
                if value is not None and (type(value) is not int or value < 1):
                    raise ValueError(f"{field} must be a positive integer")
            before = self._definition.get(key)
            most = wanted.get(f"max_{name}") or self._record.get(f"max_{name}")
            after = wanted.get(name)
            self._value(name, before, after)
            self._value(f"max_{name}", self._record.get(f"max_{name}", before), wanted.get(f"max_{name}"))
            if most is not None and (after or before or 0) > most:
                self.conflicts.append({"field": name, "message": f"{after or before} is more than max_{name}={most}"})
        self._value("root_disk_size", self._definition.get("disk_mib"), wanted.get("root_disk_size"))

    def _table(self, field: str, before: Mapping[str, str], added: Any, removed: Any) -> None:
        for key, value in (added or {}).items():
            if key in (removed or ()):
                self.conflicts.append({"field": field, "message": f"{key} is both set and removed"})
            elif before.get(key) != value:
                change = ChangeKind.UPDATED if key in before else ChangeKind.ADDED
                self._add(field, change, f"{key}={before[key]}" if key in before else None, f"{key}={value}")
        for key in removed or ():
            if key in before and key not in (added or {}):
                self._add(field, ChangeKind.REMOVED, f"{key}={before[key]}")

    def _secrets(self, added: Any, removed: Any) -> None:
        before = self._definition.get("secrets") or {}
        kinds = SecretChangeKind
        pairs = [(name, kinds.ROTATED if name in before else kinds.ADDED) for name in added or ()]
        pairs += [(name, kinds.REMOVED) for name in removed or () if name in before]
        for name, change in pairs:
            self.changes.append(
                {
                    "kind": PlannedChangeKind.SECRET,
                    "field": "secret",
                    "name": name,
                    "change": change,
                    "disposition": ModificationDisposition.UNSUPPORTED,
                    "reason": REASON,
                }
            )

    def _ports(self, added: Any, removed: Any) -> None:
        before = {
            (port["bind"], port["host"], port["protocol"]): port["guest"]
            for port in self._definition.get("ports") or ()
        }
        for port in ports_of(added):
            guest = before.get((port.bind, port.host, port.protocol))
            if guest != port.guest:
                change = ChangeKind.ADDED if guest is None else ChangeKind.UPDATED
                self._add("port", change, guest, port.argument())
        for endpoint in removed or ():
            if not isinstance(endpoint, PortEndpoint):
                raise TypeError("ports_rm must be a sequence of PortEndpoint values")
            values = endpoint._to_dict()
            key = (values["bind"], values["host_port"], values["protocol"])
            if key in before:
                self._add("port", ChangeKind.REMOVED, f"{endpoint.bind}:{endpoint.host_port}:{before[key]}")

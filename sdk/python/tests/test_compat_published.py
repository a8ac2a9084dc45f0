"""Compares `msb.compat` with the published package of `microsandbox`; skipped where it cannot be downloaded."""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import unittest
import warnings
from collections.abc import Callable
from typing import Any

from .compat_support import OLDER_RELEASE, published, published_module

import microsandbox as m  # isort: skip
import microsandbox.types  # isort: skip

#: Values that both packages must serialize to the same dict, or refuse with the same text.
SAMPLES: tuple[Callable[[Any], Any], ...] = (
    lambda t: t.MountConfig(kind=t.MountKind.BIND, bind="/a", readonly=True, quota_mib=3),
    lambda t: t.MountConfig(kind="bind", bind="/a"),
    lambda t: t.MountConfig(kind=t.MountKind.BIND),
    lambda t: t.MountConfig(kind=t.MountKind.BIND, bind="/a", stat_virtualization="relaxed"),
    lambda t: t.MountConfig(
        kind=t.MountKind.BIND,
        bind="/a",
        stat_virtualization=t.StatVirtualization.RELAXED,
        host_permissions=t.HostPermissions.MIRROR,
    ),
    lambda t: t.MountConfig(kind=t.MountKind.BIND, bind="/a", override_uid=1, override_gid=2),
    lambda t: t.MountConfig(kind=t.MountKind.BIND, bind="/a", override_uid=1),
    lambda t: t.MountConfig(kind=t.MountKind.BIND, bind="/a", override_uid=True, override_gid=0),
    lambda t: t.MountConfig(
        kind=t.MountKind.BIND,
        bind="/a",
        override_uid=1,
        override_gid=1,
        stat_virtualization=t.StatVirtualization.OFF,
    ),
    lambda t: t.MountConfig(kind=t.MountKind.BIND, bind="/a", named_mode=t.DiskImageFormat.RAW),
    lambda t: t.MountConfig(kind=t.MountKind.BIND, bind="/a", owned_kind=t.VolumeKind.DISK),
    lambda t: t.MountConfig(kind=t.MountKind.NAMED),
    lambda t: t.MountConfig(
        kind=t.MountKind.NAMED, named="v", named_mode=t.NamedVolumeMode.CREATE, named_kind=t.VolumeKind.DISK, size_mib=1
    ),
    lambda t: t.MountConfig(
        kind=t.MountKind.NAMED, named="v", named_kind=t.VolumeKind.DISK, override_uid=1, override_gid=1
    ),
    lambda t: t.MountConfig(kind=t.MountKind.OWNED, quota_mib=5),
    lambda t: t.MountConfig(kind=t.MountKind.OWNED, owned_kind=t.VolumeKind.DISK, size_mib=5),
    lambda t: t.MountConfig(kind=t.MountKind.OWNED, owned_kind=t.VolumeKind.DISK),
    lambda t: t.MountConfig(kind=t.MountKind.OWNED, owned_kind=t.VolumeKind.DISK, size_mib=5, quota_mib=1),
    lambda t: t.MountConfig(kind=t.MountKind.OWNED, size_mib=5),
    lambda t: t.MountConfig(kind=t.MountKind.OWNED, size_mib=-1),
    lambda t: t.MountConfig(kind=t.MountKind.OWNED, bind="/a"),
    lambda t: t.MountConfig(kind=t.MountKind.TMPFS, size_mib=64),
    lambda t: t.MountConfig(kind=t.MountKind.DISK, disk="d.raw", format=t.DiskImageFormat.RAW, fstype="ext4"),
    lambda t: t.MountConfig(kind=t.MountKind.DISK),
    lambda t: t.MountConfig(kind=t.MountKind.DISK, disk="d.raw", format="raw"),
    lambda t: t.RootDisk.managed(8192),
    lambda t: t.RootDisk.tmpfs(512),
    lambda t: t.RootDisk.disk("a.img", format=t.DiskImageFormat.RAW, fstype="ext4"),
    lambda t: t.RootDisk.disk("a.img", format="raw"),
    lambda t: t.RootDisk.flat(1),
    lambda t: t.Patch.text("/a", "b", mode=0o600, replace=True),
    lambda t: t.Patch.file("/a", b"b"),
    lambda t: t.Patch.file("/a", "text"),
    lambda t: t.Patch.mkdir("/a", mode=0o755),
    lambda t: t.Patch.append("/a", b"bytes"),
    lambda t: t.Patch.copy_file("a", "/b", mode=1, replace=True),
    lambda t: t.Patch.copy_dir("a", None),
    lambda t: t.Patch.symlink("a", "/b", replace=True),
    lambda t: t.Patch.symlink(None, "/b"),
    lambda t: t.Patch.remove("/a"),
    lambda t: t.PatchConfig(kind="text", path="/a", content="x"),
    lambda t: t.PatchConfig(kind=t.PatchKind.TEXT, content="x"),
    lambda t: t.Rlimit.nofile(5),
    lambda t: t.Rlimit(resource="cpu", soft=1, hard=1),
    lambda t: t.PortBinding.udp(1, 2, bind="::1"),
    lambda t: t.PortBinding(1, 2, protocol="tcp"),
    lambda t: t.PortEndpoint(1),
    lambda t: t.NetworkDestination("any"),
    lambda t: t.Destination.any(),
    lambda t: t.NetworkPolicy.from_profiles([t.NetworkProfile.HOST, t.NetworkProfile.PUBLIC]),
    lambda t: t.NetworkPolicy(rules=(t.Rule.allow(destination="a.b", protocol=t.Protocol.TCP, port=443),)),
    lambda t: t.NetworkPolicy(rules=(t.Rule.deny(destination=t.Destination.ip("1.1.1.1"), port="1-2"),)),
    lambda t: t.NetworkPolicy(rules=(t.Rule.allow(destination=t.Protocol.TCP),)),
    lambda t: t.NetworkPolicy(rules=(t.Rule.allow(protocol=""),)),
    lambda t: t.NetworkPolicy(rules=(t.Rule.allow(port=1.5),)),
    lambda t: t.NetworkPolicy(rules=("allow",)),
    lambda t: t.NetworkPolicy(default_egress="allow"),
    lambda t: t.Network(),
    lambda t: t.Network.none(),
    lambda t: t.Network(policy="public_only"),
    lambda t: t.Network(strict=False, ports={1: 2}, deny_domains=("a",), deny_domain_suffixes=("b",)),
    lambda t: t.Network(ports=[t.PortBinding.tcp(1, 2)], ipv4_pool="10.0.0.0/16", nat64_prefixes=()),
    lambda t: t.Network(ports=[1]),
    lambda t: t.Network(dns=t.DnsConfig(rebind_protection=False, nameservers=("1.1.1.1",), query_timeout_ms=5)),
    lambda t: t.Network(dns=t.DnsConfig()),
    lambda t: t.Network(dns={}),
    lambda t: t.Network(
        tls=t.TlsConfig(
            bypass=("a",),
            verify_upstream=False,
            intercepted_ports=(443, 8443),
            block_quic=True,
            upstream_ca_certs=("c",),
            scoped_upstream_ca_certs=(t.ScopedUpstreamCACert("a", "b"),),
            scoped_verify_upstream=(t.ScopedVerifyUpstream("a", False),),
            ca_cert="c",
            ca_key="k",
            ca_cn="n",
        )
    ),
    lambda t: t.Network(max_connections=1),
    lambda t: t.Network(max_connections=1, max_tcp_connections=2),
    lambda t: t.Network(max_udp_connections=0, max_inbound_tcp_connections=3, tcp_accept_queue_size=5),
    lambda t: t.Network(rate_limiter=t.NetworkRateLimiter(t.RateLimiter(t.TokenBucket(1, 2, 3), t.TokenBucket(1, 2)))),
    lambda t: t.Network(rate_limiter=t.NetworkRateLimiter(egress={})),
    lambda t: t.Network(secret_violation_action=t.ViolationAction.BLOCK),
    lambda t: t.Network(secret_violation_action="block"),
    lambda t: t.Network(http=t.HttpConfig(True, "m", network_deny_message="n", secret_deny_message="")),
    lambda t: t.Network(http=t.HttpConfig(deny_response=1)),
    lambda t: t.Network(http=t.HttpConfig(deny_response_format="xml")),
    lambda t: t.Network(http=t.HttpConfig(deny_message=1)),
    lambda t: t.Secret.env("A", value="v", allow=("h",), allow_placeholder_for=("p",), placeholder="x"),
    lambda t: t.Secret.env("A", value="v", passthrough=("p",), require_tls_identity=False),
    lambda t: t.Secret.env("A", value="v", violation_action=t.ViolationAction.BLOCK_AND_TERMINATE),
    lambda t: t.Secret.env("A", value="v", violation_action="block"),
    lambda t: t.Secret.env("A", value="v", substitution=t.SecretSubstitution(False, query=True, body=True)),
    lambda t: t.Secret.env("A", value="v", substitution=t.SecretSubstitution(header_fields=("authorization",))),
    lambda t: t.Secret.env("A", value="v", substitution=t.SecretSubstitution(False, header_fields=("x",))),
    lambda t: t.Secret.env("A", value="v", substitution={}),
    lambda t: t.OutboundProxy.socks5("h:1").credentials("u", t.SecretSource.env("P")),
    lambda t: t.OutboundProxy.socks4("h:1", user_id="u"),
    lambda t: t.OutboundProxy.socks4("h:1").credentials("u", t.SecretSource.env("P")),
    lambda t: t.OutboundProxy("http_connect", "h:1", username="u"),
    lambda t: t.OutboundProxy("socks5", "h:1", username="u"),
    lambda t: t.OutboundProxy("socks5", "h:1", user_id="u"),
    lambda t: t.SecretSource.env(""),
    lambda t: t.SecretSource("file", "x"),
    lambda t: t.InitConfig("auto", ("a",), {"k": "v"}),
    lambda t: t.RegistryAuth.basic("u", "p"),
    lambda t: t.VsockRoute.dgram("/s", 5),
    lambda t: t.VsockRoute("/s", 5, "stream"),
    lambda t: t.NetworkPolicy.from_profiles(["public"]),
    lambda t: t.Destination.group("public"),
)

#: Values of releases before 0.7.
OLDER_SAMPLES: tuple[Callable[[Any], Any], ...] = (
    lambda t: t.Secret.env("A", value="v", allow_hosts=("h",), allow_host_patterns=["*.h"], placeholder="p"),
    lambda t: t.Secret.env("A", value="v", allow_hosts=("h",), require_tls=False, injection=t.SecretInjection()),
    lambda t: t.Secret.env("A", value="v", allow_hosts=(), injection=t.SecretInjection(False, False, True, True)),
    lambda t: t.Secret.env("A", value="v", allow_hosts=(), injection={}),
    lambda t: t.Secret.env(
        "A", value="v", on_violation=t.ViolationPolicy.passthrough(hosts=("a",), host_patterns=("b",))
    ),
    lambda t: t.Secret.env("A", value="v", on_violation=t.ViolationPolicy.block()),
    lambda t: t.Secret.env("A", value="v", on_violation=t.ViolationAction.PASSTHROUGH),
    lambda t: t.Secret.env("A", value="v", on_violation="block"),
    lambda t: t.Network(on_secret_violation=t.ViolationPolicy.passthrough(all_hosts=True)),
    lambda t: t.Network(on_secret_violation=t.ViolationAction.BLOCK_AND_TERMINATE, ipv4_pool="10.0.0.0/16"),
    lambda t: t.Network(on_secret_violation="block"),
    lambda t: t.Network(on_secret_violation=t.ViolationPolicy("block")),
    lambda t: t.ViolationPolicy.block_and_log(),
)


def outcome(sample: Callable[[Any], Any], types: Any) -> Any:
    """Returns the dict of a value, or the error that there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return sample(types)._to_dict()
        except (TypeError, ValueError) as error:
            return type(error).__name__, str(error)


class Published(unittest.TestCase):
    """The comparison with the published package; skipped without it."""

    def test_all_names_are_there(self) -> None:
        for folder in (published(), published(OLDER_RELEASE)):
            tree = ast.parse((folder / "__init__.py").read_text())
            (names,) = (
                ast.literal_eval(node.value)
                for node in tree.body
                if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
            )
            self.assertGreater(len(names), 150)
            self.assertEqual([name for name in names if name not in m.__all__ or not hasattr(m, name)], [])

    def test_values_and_enums_are_the_same(self) -> None:
        theirs = published_module("types")
        for name, kind in vars(theirs).items():
            if not isinstance(kind, type) or kind.__module__ != theirs.__name__ or name.startswith("_"):
                continue
            own = getattr(microsandbox.types, name)
            if issubclass(kind, enum.Enum) and name != "StrEnum":
                members = {key: member.value for key, member in own.__members__.items()}
                self.assertLessEqual(
                    {key: member.value for key, member in kind.__members__.items()}.items(), members.items()
                )
            elif dataclasses.is_dataclass(kind):
                fields, own_fields = (
                    [(field.name, str(field.default)) for field in dataclasses.fields(of)] for of in (kind, own)
                )
                self.assertEqual(own_fields[: len(fields)], fields, name)

    def test_values_have_the_same_dicts_and_errors(self) -> None:
        theirs = published_module("types")
        for number, sample in enumerate(SAMPLES):
            with self.subTest(number):
                self.assertEqual(outcome(sample, m), outcome(sample, theirs))

    def test_older_values_have_the_same_dicts_and_errors(self) -> None:
        theirs = published_module("types", OLDER_RELEASE)
        for number, sample in enumerate(OLDER_SAMPLES):
            with self.subTest(number):
                self.assertEqual(outcome(sample, m), outcome(sample, theirs))

    def test_errors_are_the_same(self) -> None:
        theirs = published_module("errors")
        for name, kind in vars(theirs).items():
            if isinstance(kind, type) and issubclass(kind, Exception):
                own = getattr(m, name)
                self.assertEqual(getattr(own, "code", None), getattr(kind, "code", None), name)
                self.assertEqual([base.__name__ for base in own.__mro__], [base.__name__ for base in kind.__mro__])

    def test_methods_take_the_same_arguments(self) -> None:
        absent = {"PyAgentClient", "PullProgressIter", "VolumeFs", "SandboxSshOps", "SftpClient", "MemoryCacheEntry"}
        prefixes = ("Job", "Ssh", "Storage", "MemoryCache")
        for node in ast.parse((published() / "_microsandbox.pyi").read_text()).body:
            if not isinstance(node, ast.ClassDef) or node.name in absent or node.name.startswith(prefixes):
                continue
            own = getattr(m, node.name)
            for method in node.body:
                if not isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)) or method.name.startswith("_"):
                    continue
                if "property" in [getattr(decorator, "id", "") for decorator in method.decorator_list]:
                    continue
                with self.subTest(f"{node.name}.{method.name}"):
                    self.check(getattr(own, method.name), method.args)

    def check(self, function: Any, arguments: ast.arguments) -> None:
        if not callable(function):
            return  # The awaitable properties, which the stub shows as methods.
        parameters = [
            parameter for parameter in inspect.signature(function).parameters.values() if parameter.name != "self"
        ]
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return
        listed = [argument.arg for argument in (*arguments.args, *arguments.kwonlyargs) if argument.arg != "self"]
        self.assertEqual([parameter.name for parameter in parameters][: len(listed)], listed)


if __name__ == "__main__":
    unittest.main()

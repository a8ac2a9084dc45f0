"""Row 26 of the judging set: values, enums and checks, without a VM; and their conversion for `msb`."""

from __future__ import annotations

import dataclasses
import unittest
from types import MappingProxyType
from typing import Any

import msb
from msb.compat import _policy, _translate
from msb.compat._attach import parse_detach_keys
from msb.compat._config import config_of, record_of
from msb.compat._create import check_options, native_options

from . import compat_support

import microsandbox as m  # isort: skip
import microsandbox.errors  # isort: skip
import microsandbox.types  # isort: skip


class Row26(unittest.IsolatedAsyncioTestCase):
    """tests/test_types_enums.py and four others: values, enums and checks."""

    def test_enums_are_texts(self) -> None:
        self.assertEqual(m.PullPolicy.IF_MISSING, "if-missing")
        self.assertEqual(
            (str(m.LogLevel.WARN), f"{m.LogLevel.WARN}", format(m.LogLevel.WARN, ">6")), ("warn",) * 2 + ("  warn",)
        )
        self.assertIsInstance(m.default_backend_kind(), m.BackendKind)
        self.assertIs(m.Stdin.pipe()._mode, m.StdinMode.PIPE)

    def test_values_are_frozen(self) -> None:
        with self.assertRaises(dataclasses.FrozenInstanceError):
            m.Size.mib(1).bytes = 5
        self.assertEqual((m.Size.gib(1).bytes, m.Size.gib(1).mib_count, m.MiB), (1 << 30, 1024, 1 << 20))

    def test_texts_in_place_of_members_are_refused_at_the_call(self) -> None:
        cases = {
            "pull_policy": "always",
            "log_level": "debug",
            "security": "restricted",
            "deployment_profile": "single-tenant",
            "secret_violation_action": "block",
        }
        for name, value in cases.items():
            with self.subTest(name), self.assertRaises(TypeError):
                m.Sandbox.create("probe", image="alpine", **{name: value})
        for call, text in (
            (lambda: m.set_default_backend("local"), "BackendKind"),
            (lambda: m.Volume.create("probe", kind="dir"), "VolumeKind"),
            (lambda: m.Volume.named("probe", mode="existing"), "NamedVolumeMode"),
        ):
            with self.assertRaisesRegex(TypeError, text):
                call()

    def test_dicts_in_place_of_values_are_refused_at_the_call(self) -> None:
        class MountLike:
            def _to_dict(self) -> dict[str, Any]:
                return {"bind": "/tmp"}

        cases: list[tuple[dict[str, Any], str]] = [
            ({"volumes": {"/data": {"bind": "/tmp"}}}, "MountConfig"),
            ({"volumes": {"/data": MountLike()}}, "MountConfig"),
            ({"patches": [{"kind": "text"}]}, "PatchConfig"),
            ({"ports": [{"host_port": 1}]}, "PortBinding"),
            ({"network": {}}, "Network"),
            ({"secrets": [{"env_var": "A"}]}, "SecretEntry"),
            ({"init": MountLike()}, "init must be str, Mapping"),
            ({"image": m.ImageSource(m.ImageSourceKind.OCI, _reference="a", _root_disk=True)}, "RootDiskConfig"),
            ({"image": 5}, "image must be str, os.PathLike, or ImageSource"),
            ({"no_such": 5}, "unexpected keyword argument 'no_such'"),
        ]
        for options, text in cases:
            with self.subTest(options), self.assertRaisesRegex(TypeError, text):
                m.Sandbox.create("probe", **{"image": "alpine", **options})
        for wrong in ({"image": None}, {}):
            with self.assertRaisesRegex(ValueError, "image= is required"):
                m.Sandbox.create("probe", **wrong)
        with self.assertRaises(TypeError):
            m.Sandbox.create("probe", image=None, from_snapshot="s")

    def test_older_policies_of_secrets(self) -> None:
        with self.assertRaisesRegex(ValueError, "unknown violation action"):
            m.Sandbox.create("probe", image="alpine", on_secret_violation="never-heard-of-it")
        for policy in ("block", m.ViolationPolicy.block(), m.ViolationPolicy.passthrough(hosts=("a.org",))):
            options = check_options("probe", {"image": "alpine", "on_secret_violation": policy})
            secret = m.Secret.env("A", value="v", allow_hosts=("b.org",))
            (native,) = native_options({**options, "secrets": [secret]})["secrets"]
            is_block = policy == "block" or policy.fallback is m.ViolationAction.BLOCK
            self.assertEqual(native.on_violation, "block" if is_block else "block-and-log")
            self.assertEqual(native.passthrough_hosts, () if is_block else ("a.org",))

    def test_right_arguments_need_only_a_loop(self) -> None:
        options: dict[str, Any] = {
            "env": MappingProxyType({"A": "b"}),
            "labels": MappingProxyType({"a": "b"}),
            "scripts": MappingProxyType({"a": "true"}),
            "volumes": MappingProxyType({"/data": m.Volume.bind("/tmp")}),
            "patches": (m.Patch.file("/x", b"\x00"),),
            "ports": MappingProxyType({8000: 80}),
            "network": m.Network(ports=(m.PortBinding.tcp(8001, 80),)),
            "secrets": (m.Secret.env("A", value="v", allow=("a.b",)),),
            "init": MappingProxyType({"cmd": "auto"}),
            "deployment_profile": m.DeploymentProfile.SINGLE_TENANT,
            "registry_auth": None,
        }

        def outside() -> None:
            for extra in ({}, options, dict.fromkeys(("env", "labels", "network", "secrets", "volumes"))):
                with self.assertRaisesRegex(RuntimeError, "no running event loop"):
                    m.Sandbox.create("probe", image="alpine", **extra)

        import threading

        thread = threading.Thread(target=outside)
        thread.start()
        thread.join()

    def test_sources_of_images(self) -> None:
        image = m.Image.oci("python:3.12", upper_size_mib=8192)
        self.assertEqual((image._upper_size_mib, image._root_disk), (8192, m.RootDisk.managed(8192)))
        with self.assertRaises(ValueError):
            m.Image.oci("a", root_disk=1, upper_size_mib=1)
        for wrong in (True, {"kind": "tmpfs"}):
            with self.assertRaisesRegex(TypeError, "RootDiskConfig"):
                m.Image.oci("a", root_disk=wrong)
        self.assertEqual(m.Image.bind("/r")._to_image_str(), "/r")

    async def test_an_unsupported_feature_says_what_to_do(self) -> None:
        bucket = m.NetworkRateLimiter()
        cases: list[dict[str, Any]] = [
            {"init": "auto"},
            {"vsock": {"/s": 1}},
            {"registry_insecure": True},
            {"security": m.SecurityProfile.RESTRICTED},
            {"image": m.Image.disk("a.qcow2")},
            {"image": m.Image.oci("a", root_disk=m.RootDisk.tmpfs(1))},
            {"network": m.Network(strict=False)},
            {"network": m.Network(rate_limiter=bucket)},
            {"network": m.Network(dns=m.DnsConfig(rebind_protection=False))},
            {"network": m.Network(tls=m.TlsConfig(verify_upstream=False))},
            {"proxy": m.OutboundProxy.socks4("h:1")},
            {"secrets": [m.Secret.env("A", value="v")]},
        ]
        for options in cases:
            with (
                self.subTest(options),
                self.assertRaisesRegex(m.UnsupportedError, "^msb does not support .*; ") as caught,
            ):
                await m.Sandbox.create("probe", **{"image": "alpine", **options})
            self.assertTrue(caught.exception.hint)
        for call in (lambda: m.Storage.usage(), lambda: m.Volume.get_default(), lambda: m.Snapshot.group_head("a")):
            with self.assertRaises(m.UnsupportedError):
                await call()


class Conversions(unittest.TestCase):
    """The conversion of options for `msb`."""

    def test_policies(self) -> None:
        rule, d, g = m.Rule, m.Destination, m.DestGroup
        policy = m.NetworkPolicy(
            rules=(
                *rule.allow_dns(),
                rule.allow(destination=d.group(g.METADATA), protocol=m.Protocol.TCP, port=80),
                rule.allow(destination=d.domain_suffix("a.org"), port=443),
                rule.deny(destination="2001:db8::/32", direction=m.Direction.ANY),
                rule.allow(destination="*.b.org", protocol=m.Protocol.UDP),
                rule.allow(destination="suffix=c.org"),
                rule.allow(direction=m.Direction.INGRESS, port="1-2", protocol=m.Protocol.TCP),
            )
        )
        self.assertEqual(
            _policy.rules_of(policy),
            [
                "allow@dns:udp",
                "allow@dns:tcp",
                "allow@meta:tcp:80",
                "allow@*.a.org:any:443",
                "deny:any@[2001:db8::/32]",
                "allow@*.b.org:udp",
                "allow@*.c.org",
                "allow:ingress@any:tcp:1-2",
                "allow:ingress@any",
            ],
        )
        self.assertEqual(_policy.rules_of(m.NetworkPolicy.none()), [])
        native = _policy.network_of(m.Network(deny_domains=("x.org",)), intercept_tls=True, proxy=None)
        assert native is not None
        self.assertEqual((native.default, native.rules, native.tls_intercept), (None, ("deny@x.org",), True))
        self.assertIsNone(_policy.network_of(None, intercept_tls=False, proxy=None))
        dns = m.DnsConfig(nameservers=("1.1.1.1:53",))
        native = _policy.network_of(m.Network(dns=dns), intercept_tls=False, proxy=None)
        assert native is not None
        self.assertEqual(native.arguments(), ["--dns=1.1.1.1:53"])
        proxy = m.OutboundProxy.http_connect("p:1").credentials("u", m.SecretSource.env("P"))
        native = _policy.network_of(None, intercept_tls=False, proxy=proxy)
        assert native is not None
        self.assertEqual((native.proxy, native.proxy_password), ("http://u@p:1", "env=P"))

    def test_secrets(self) -> None:
        substitution = m.SecretSubstitution(header_fields=("Authorization",), query=True)
        secret = m.Secret.env("A", value="v", allow=("a.org",), substitution=substitution)
        (native,) = _policy.secrets_of([secret], None, m.ViolationAction.BLOCK)
        expected = (
            "A@a.org:env=V,inject=headers+basic-auth+query,headers=Authorization,on-violation=block,require-tls=true"
        )
        self.assertEqual(native.arguments("V")[1], expected)
        self.assertNotIn("'v'", repr(native) + repr(secret))
        older = m.Secret.env(
            "B",
            value="v",
            allow_hosts=["a.org"],
            allow_host_patterns=["*.b.org"],
            require_tls=False,
            injection=m.SecretInjection(body=True),
            on_violation=m.ViolationPolicy.passthrough(hosts=["c.org"]),
        )
        (native,) = _policy.secrets_of([older], None, None)
        self.assertEqual((native.hosts, native.passthrough_hosts), (("a.org", "*.b.org"), ("c.org",)))
        self.assertEqual((native.on_violation, native.require_tls), ("block-and-log", False))
        with self.assertRaisesRegex(TypeError, "unexpected keyword argument 'other'"):
            m.Secret.env("A", value="v", other=1)

    def test_options_of_create(self) -> None:
        given = {
            "image": m.Image.oci("alpine", root_disk=m.RootDisk.managed(100)),
            "cpus": 2,
            "labels": {"a": "b"},
            "pull_policy": m.PullPolicy.IF_MISSING,
            "ports": [m.PortBinding.udp(1, 2)],
            "replace_with_timeout": 5.0,
        }
        native = native_options(check_options("n", given))
        self.assertEqual(
            (native["image"], native["disk"], native["pull"], native["cpus"]), ("alpine", 100, "missing", 2)
        )
        self.assertEqual(native["ports"], [msb.Port(1, 2, "127.0.0.1", "udp")])
        self.assertEqual(set(native["labels"]), {"a", "msb.compat"})
        with self.assertRaisesRegex(ValueError, "reserved"):
            check_options("n", {"image": "a", "labels": {"msb.compat": "x"}})
        with self.assertRaisesRegex(ValueError, "1 to 128 bytes"):
            check_options("n" * 129, {"image": "a"})

    def test_a_configuration_has_no_secrets(self) -> None:
        secret = m.Secret.env("KEY", value="hush", allow=("a.org",))
        network = m.Network(
            policy=m.NetworkPolicy(rules=(m.Rule.deny(destination=m.Destination.group(m.DestGroup.LINK_LOCAL)),))
        )
        options = check_options("n", {"image": "alpine", "secrets": [secret], "network": network})
        record = record_of(options)
        self.assertNotIn("hush", record)
        definition = {"labels": {"msb.compat": record, "a": "b"}, "secrets": {"KEY": {}}, "cpus": 1, "memory_mib": 5}
        config = config_of({"full_name": "n", "spec": {"definition": definition, "image": {}}})
        self.assertEqual(config["labels"], {"a": "b"})
        self.assertEqual(config["network"]["policy"]["rules"][0]["destination"], {"group": "link_local"})
        self.assertEqual((config["image"]["Oci"]["reference"], config["pull_policy"]), ("alpine", "IfMissing"))

    def test_detach_keys(self) -> None:
        self.assertEqual(
            (parse_detach_keys(None), parse_detach_keys("ctrl-p,ctrl-q"), parse_detach_keys("a")),
            (b"\x1d", b"\x10\x11", b"a"),
        )
        with self.assertRaises(ValueError):
            parse_detach_keys("ctrl-")

    def test_errors(self) -> None:
        cases: list[tuple[msb.MsbError, type[Exception], str]] = [
            (msb.SandboxNotFound("x", name="n"), m.SandboxNotFoundError, "sandbox not found: n"),
            (msb.SandboxExists("x", name="n"), m.SandboxAlreadyExistsError, "sandbox already exists: n"),
            (msb.SandboxRunning("x", name="n"), m.SandboxStillRunningError, "sandbox still running: n"),
            (msb.SandboxNotRunning("x", name="n"), m.SandboxNotRunningError, "'n' is not running (status: stopped)"),
            (msb.VolumeNotFound("x", name="n"), m.VolumeNotFoundError, "volume not found: n"),
            (msb.ImageNotFound("x", name="n"), m.ImageNotFoundError, "image not found: n"),
            (msb.SnapshotNotFound("x", name="n"), FileNotFoundError, "snapshot not found: n"),
            (msb.ExecTimeout("x", timeout=30.0), m.ExecTimeoutError, "exec timed out after 30s"),
            (msb.ExecFailed("no", kind="bad_cwd"), m.ExecFailedError, "exec failed: no"),
            (
                msb.MissedRotation("x", dropped_from_offset=3),
                m.MissedRotationError,
                "log stream missed rotation (dropped from offset 3)",
            ),
            (msb.SuffixTooBroad("*.com is too broad"), m.InvalidConfigError, "invalid config: *.com is too broad"),
            (
                msb.Unsupported("old agent", hint="update it"),
                m.UnsupportedOperationError,
                "old agent (hint: update it)",
            ),
            (msb.MsbError("else"), m.MicrosandboxError, "else"),
        ]
        for native, kind, text in cases:
            with self.subTest(text):
                error = _translate.translate(native)
                self.assertIsInstance(error, kind)
                self.assertIsInstance(error, m.MicrosandboxError)
                self.assertEqual(str(error), text)

    def test_submodules_of_the_alias_have_the_same_classes(self) -> None:
        self.assertIs(microsandbox.errors.MicrosandboxError, m.MicrosandboxError)
        self.assertIs(microsandbox.types.DnsConfig, m.DnsConfig)
        self.assertIs(microsandbox.types.Image, m.Image)
        self.assertEqual(compat_support.RELEASE, "0.7.11")


if __name__ == "__main__":
    unittest.main()

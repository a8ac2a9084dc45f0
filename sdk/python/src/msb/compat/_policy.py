"""Turns the network and the secrets of `microsandbox` into those of `msb`."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from ..options import Network as NativeNetwork
from ..options import Secret as NativeSecret
from ._enums import DestGroup, Direction, NetworkDestinationKind, ViolationAction
from ._network import HttpConfig, Network, OutboundProxy, TlsConfig
from ._rules import NetworkDestination, NetworkPolicy, Rule
from ._secrets import OlderSecretEntry, SecretEntry, SecretSubstitution, ViolationPolicy, violation_of
from ._translate import unsupported

__all__ = ["network_of", "rules_of", "secrets_of"]

_GROUPS = {group.value: group.value for group in DestGroup} | {DestGroup.METADATA.value: "meta"}
_DEFAULT_NAT64 = ("64:ff9b::/96",)


def network_of(network: Network | None, *, intercept_tls: bool, proxy: OutboundProxy | None) -> NativeNetwork | None:
    """Returns the network for `Client.create`, or None for that of `msb`, which is the public internet too."""
    if network is None:
        network = Network()
    _refuse_unsupported(network)
    policy = network.policy
    rules = [f"deny@{name}" for name in network.deny_domains]
    rules += [f"deny@{_suffix(name)}" for name in network.deny_domain_suffixes]
    default = None
    if policy is not None:
        default = policy.default_egress.value
        rules += rules_of(policy)
    tls = network.tls
    options: dict[str, Any] = {
        "default": default,
        "rules": tuple(rules),
        "ipv4_pool": network.ipv4_pool,
        "ipv6_pool": network.ipv6_pool,
        "dns": network.dns.nameservers if network.dns else (),
        "tls_intercept": intercept_tls or tls is not None,
        "tls_bypass": tls.bypass if tls else (),
        "tls_ca": tls.upstream_ca_certs if tls else (),
    }
    if proxy is not None:
        options |= _proxy(proxy)
    native = NativeNetwork(**options)
    return None if native == NativeNetwork() else native


def rules_of(policy: NetworkPolicy) -> list[str]:
    """Returns the rules of a policy in the words of `msb`, with one for what the policy does with other ingress."""
    rules = [_rule(rule) for rule in policy.rules]
    if policy.default_egress is not policy.default_ingress:
        # The default of `msb` is for both directions.
        rules.append(f"{policy.default_ingress.value}:ingress@any")
    return rules


def _rule(rule: Rule) -> str:
    target, is_dns = _target(rule)
    text = rule.action.value
    if rule.direction is not Direction.EGRESS:
        text += f":{rule.direction.value}"
    text += f"@{target}"
    if rule.protocol is not None:
        text += f":{rule.protocol.value}"
    elif rule.port is not None and not is_dns:
        text += ":any"
    if rule.port is not None and not is_dns:
        text += f":{rule.port}"
    return text


def _target(rule: Rule) -> tuple[str, bool]:
    """Returns the target of a rule, and whether it is the name server, which has no ports in `msb`."""
    destination = rule.destination
    if isinstance(destination, str):
        destination = parse_destination(destination)
    if destination is None or destination.kind is NetworkDestinationKind.ANY:
        return "any", False
    value = destination.value or ""
    if destination.kind is NetworkDestinationKind.GROUP:
        if value == DestGroup.HOST.value and str(rule.port) == "53":
            return "dns", True
        return _GROUPS[value], False
    if destination.kind is NetworkDestinationKind.DOMAIN_SUFFIX:
        return _suffix(value), False
    return (f"[{value}]" if ":" in value else value), False


def parse_destination(text: str) -> NetworkDestination:
    """Parses a destination that is written as a text: a group, an address, a network, a name or a suffix."""
    kinds = NetworkDestinationKind
    if text in ("*", "any"):
        return NetworkDestination(kinds.ANY)
    if text in _GROUPS:
        return NetworkDestination(kinds.GROUP, text)
    for prefix, kind in (("domain=", kinds.DOMAIN), ("suffix=", kinds.DOMAIN_SUFFIX)):
        if text.startswith(prefix):
            return NetworkDestination(kind, text[len(prefix) :])
    if text.startswith(("*.", ".")):
        return NetworkDestination(kinds.DOMAIN_SUFFIX, text)
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return NetworkDestination(kinds.DOMAIN, text)
    return NetworkDestination(kinds.CIDR if "/" in text else kinds.IP, text)


def _suffix(name: str) -> str:
    return "*." + name.removeprefix("*").removeprefix(".")


def _refuse_unsupported(network: Network) -> None:
    settings: list[tuple[bool, str, str]] = [
        (not network.strict, "Network(strict=False)", "allow the addresses instead of names"),
        (bool(network.dns and not network.dns.rebind_protection), "DnsConfig(rebind_protection=False)", "omit it"),
        (bool(network.dns and network.dns.query_timeout_ms), "DnsConfig(query_timeout_ms=…)", "omit it"),
        (network.rate_limiter is not None, "Network(rate_limiter=…)", "limit the rate in the sandbox"),
        (network.http not in (None, HttpConfig()), "Network(http=…)", "omit it: refused requests get a 403 or a reset"),
        (tuple(network.nat64_prefixes) not in ((), _DEFAULT_NAT64), "Network(nat64_prefixes=…)", "omit it"),
    ]
    limits = (
        "max_connections",
        "max_tcp_connections",
        "max_udp_connections",
        "max_inbound_tcp_connections",
        "tcp_accept_queue_size",
    )
    settings += [(getattr(network, name) is not None, f"Network({name}=…)", "omit it") for name in limits]
    if network.tls is not None:
        plain = TlsConfig()
        names = (
            "verify_upstream",
            "intercepted_ports",
            "scoped_upstream_ca_certs",
            "scoped_verify_upstream",
            "ca_cert",
            "ca_key",
            "ca_cn",
        )
        settings += [
            (getattr(network.tls, name) != getattr(plain, name), f"TlsConfig({name}=…)", "declare it in a Sandboxfile")
            for name in names
        ]
    for is_set, what, instead in settings:
        if is_set:
            raise unsupported(what, instead)


def _proxy(proxy: OutboundProxy) -> dict[str, Any]:
    schemes = {"http_connect": "http", "socks5": "socks5"}
    if proxy.protocol not in schemes:
        raise unsupported("SOCKS4 proxies", "use OutboundProxy.socks5 or http_connect")
    user = f"{proxy.username}@" if proxy.username else ""
    options = {"proxy": f"{schemes[proxy.protocol]}://{user}{proxy.address}"}
    if proxy.password is not None:
        options["proxy_password"] = f"env={proxy.password.var}"
    return options


def secrets_of(
    secrets: Sequence[SecretEntry | OlderSecretEntry],
    network: Network | None,
    policy: ViolationAction | ViolationPolicy | None,
) -> list[NativeSecret]:
    """Returns the secrets for `Client.create`; the action and the hosts of the sandbox are the defaults of each."""
    fallback, hosts = (network or Network())._violation() if policy is None else violation_of(policy)
    return [_secret(secret, fallback, hosts) for secret in secrets]


def _secret(secret: SecretEntry | OlderSecretEntry, fallback: str, hosts: tuple[str, ...]) -> NativeSecret:
    if isinstance(secret, OlderSecretEntry):
        parts = secret.injection
        inject = [*(["headers"] if parts.headers else ()), *(["basic-auth"] if parts.basic_auth else ())]
        inject += [*(["query"] if parts.query_params else ()), *(["body"] if parts.body else ())]
        allowed = (*secret.allow_hosts, *secret.allow_host_patterns)
        headers: tuple[str, ...] = ()
        own, unchanged = violation_of(secret.on_violation)
        require_tls = secret.require_tls
        own = fallback if own == ViolationAction.BLOCK_AND_LOG.value else own
    else:
        allowed, headers = secret.allow, secret.substitution.header_fields
        inject = _parts(secret.substitution)
        own = fallback if secret.violation_action is None else secret.violation_action.value
        unchanged, require_tls = secret.passthrough, secret.require_tls_identity
    if not allowed:
        raise unsupported("a secret without hosts", "list the hosts that may receive it in allow=")
    return NativeSecret(
        secret.env_var,
        allowed,
        value=secret.value,
        inject=inject,
        headers=headers,
        placeholder=secret.placeholder,
        on_violation=own,
        passthrough_hosts=(*unchanged, *hosts),
        require_tls=require_tls,
    )


def _parts(substitution: SecretSubstitution) -> list[str]:
    """Returns the words of `msb` for the parts of a request."""
    words = ["headers", "basic-auth"] if substitution.headers else []
    if substitution.header_fields and "authorization" not in map(str.lower, substitution.header_fields):
        words.remove("basic-auth")
    return words + [name for name in ("query", "body") if getattr(substitution, name)]

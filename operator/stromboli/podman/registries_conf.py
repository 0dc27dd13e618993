"""The node's registries.conf as `podman info` tells it: which registries are searched, and where an image is asked for.

The rules are those of containers-registries.conf(5). Podman applies them itself to its pulls and searches; here they
are for what the operator asks a registry without Podman. No calls are made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stromboli.grammar.reference import HUB, Reference

_HUB_HOST = "registry-1.docker.io"  # where docker.io's API is
_ALL, _BY_DIGEST, _BY_TAG = ("", "all"), "digest-only", "tag-only"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place that may have a repository: `insecure` allows http, and https with any certificate.

    `own` says whether it is the registry that the reference names, and no mirror or other location.
    """

    host: str
    path: str
    insecure: bool
    own: bool


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror of a registry; `serves` is empty, `all`, `digest-only` or `tag-only`."""

    location: str
    insecure: bool
    serves: str


@dataclass(frozen=True, slots=True)
class Registry:
    """One `[[registry]]` of registries.conf."""

    prefix: str
    location: str
    insecure: bool
    blocked: bool
    mirrors: tuple[Mirror, ...]
    mirror_by_digest_only: bool


@dataclass(frozen=True, slots=True)
class RegistriesConf:
    """`search` are the registries that a name without one is searched in."""

    search: tuple[str, ...] = ()
    registries: tuple[Registry, ...] = ()

    def blocks(self, reference: Reference) -> bool:
        """Whether nothing may be pulled from there."""
        found = self._registry(reference)
        return found is not None and found.blocked

    def endpoints(self, reference: Reference) -> tuple[Endpoint, ...]:
        """Where to ask for the reference's repository, in this order: mirrors first."""
        found = self._registry(reference)
        if found is None:
            return (_endpoint(reference.name, insecure=False, own=True),)
        rest = reference.name[_length(found.prefix, reference) :]
        mirrors = [_endpoint(m.location + rest, m.insecure, own=False) for m in _serving(found, reference)]
        name = found.location + rest if found.location else reference.name
        primary = _endpoint(name, found.insecure, own=name.partition("/")[0] == reference.registry)
        return (*mirrors, primary)

    def _registry(self, reference: Reference) -> Registry | None:
        """The one with the longest prefix."""
        matching = [each for each in self.registries if _length(each.prefix, reference)]
        return max(matching, key=lambda each: len(each.prefix), default=None)


def read(entry: Mapping[str, Any]) -> RegistriesConf:
    """`registries` of `podman info`. Raises what reading an unexpected shape raises."""
    return RegistriesConf(
        search=tuple(str(name) for name in entry.get("search") or ()),
        registries=tuple(_registry(each) for name, each in entry.items() if name != "search"),
    )


def _registry(entry: Mapping[str, Any]) -> Registry:
    return Registry(
        prefix=str(entry["Prefix"]),
        location=str(entry["Location"]),
        insecure=bool(entry["Insecure"]),
        blocked=bool(entry["Blocked"]),
        mirrors=tuple(_mirrors(entry["Mirrors"] or ())),
        mirror_by_digest_only=bool(entry["MirrorByDigestOnly"]),
    )


def _mirrors(entries: Iterable[Mapping[str, Any]]) -> Iterator[Mirror]:
    for entry in entries:
        yield Mirror(str(entry["Location"]), bool(entry["Insecure"]), str(entry.get("PullFromMirror") or ""))


def _serving(registry: Registry, reference: Reference) -> Iterator[Mirror]:
    serving = _BY_TAG if reference.digest is None else _BY_DIGEST
    for mirror in registry.mirrors:
        if registry.mirror_by_digest_only and reference.digest is None:
            continue
        if mirror.serves in _ALL or mirror.serves == serving:
            yield mirror


def _length(prefix: str, reference: Reference) -> int:
    """How many characters of the reference's name the prefix covers; 0 if it does not match."""
    if prefix.startswith("*."):
        host = reference.registry.partition(":")[0]
        return len(host) if host.endswith(prefix[1:]) and host != prefix[1:] else 0
    whole = str(reference)
    matches = whole.startswith(prefix) and whole[len(prefix) : len(prefix) + 1] in ("", ":", "/", "@")
    return min(len(prefix), len(reference.name)) if matches and prefix else 0


def _endpoint(name: str, insecure: bool, own: bool) -> Endpoint:
    host, _, path = name.partition("/")
    return Endpoint(_HUB_HOST if host == HUB else host, path, insecure, own)

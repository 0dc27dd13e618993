"""Image references, parsed once: text → (registry, path, tag, digest).

The grammar and the defaults are those of github.com/distribution/reference v0.6.0 (`ParseNormalizedNamed`,
`TagNameOnly`), and so of Docker and Podman: the default registry is docker.io, a single path segment there gets the
prefix `library/`, and without tag and digest the tag is `latest`. It is stricter in six ways:
- Hosts compare case-insensitively, so they are lower-cased. A first part that is a host only because of its capitals
  (`Foo/bar`) would then be read as part of the path, and is rejected.
- A text that begins like another of Podman's transports (`oci:`, `dir:`) is rejected, although `oci:1.0` is a valid
  name with a tag and `oci:5000/x` a valid host with a port: Podman itself reads both as a folder on the node, the
  second even in its canonical form. `docker:24` is an image; that transport requires its `//`. An image of such a name
  can still be written as `docker.io/library/oci:1.0`.
- `sha256:` with 64 hex digits is always an image id, never the image `sha256` with a long tag.
- A first part with a dot that is not a host name (`foo_bar.io/x`) is rejected; the original parses it as a reference
  without a registry.
- A digest must be sha256, sha384 or sha512 with the right length, in lower case (as in go-digest's `Validate`).
- A registry has at most 255 characters.

Matching against allowlists is in pattern.py; pulling and resolving are in podman/.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from stromboli.errors import InvalidInput

HUB = "docker.io"
MAX_LENGTH = 1024  # more than all parts at their longest: bounds the work on hostile text
MAX_REGISTRY = 255  # a DNS name has at most 253; with this limit, every canonical form is within MAX_LENGTH
MAX_PATH = 255  # distribution/reference: RepositoryNameTotalLengthMax
DEFAULT_TAG = "latest"
DIGESTS = {"sha256": 64, "sha384": 96, "sha512": 128}  # go-digest's algorithms → number of hex digits

_TRANSPORTS = (
    "containers-storage",
    "dir",
    "docker-archive",
    "docker-daemon",
    "oci",
    "oci-archive",
    "ostree",
    "sif",
    "tarball",
)

# Splits a text into its parts. It matches any text; each part is validated separately.
SHAPE = re.compile(
    r"(?s:(?:(?P<registry>[^/.:A-Z]*[.:A-Z][^/]*|localhost)/)?"
    r"(?P<path>[^:@]*)(?::(?P<tag>[^@]*))?(?:@(?P<digest>.*))?)"
)


def re2(glob: str = "") -> str:
    """The grammar as an anchored RE2 expression; `glob`, if given, is an alternative to each letter."""
    letter = f"|{glob}" if glob else ""
    host_end, host_inner = f"(?:[a-zA-Z0-9]{letter})", f"(?:[a-zA-Z0-9-]{letter})"
    label = f"{host_end}(?:{host_inner}*{host_end})?"
    port, ipv6 = ":[0-9]+", r"\[[0-9a-fA-F]*:[0-9a-fA-F:]*\]"
    registry = f"(?:{label}(?:[.]{label})+(?:{port})?|{label}{port}|(?i:localhost)(?:{port})?|{ipv6}(?:{port})?)"
    word = f"(?:[a-z0-9]{letter})+"
    undotted = f"{word}(?:(?:__?|-+){word})*"
    segment = f"{word}(?:(?:[._]|__|-+){word})*"
    tag = f"(?:[A-Za-z0-9_]{letter})(?:[A-Za-z0-9_.-]{letter}){{0,127}}"
    digest = "|".join(f"{name}:(?:[0-9a-f]{letter}){{{size}}}" for name, size in DIGESTS.items())
    name = f"(?:{segment}|(?:{registry}|{undotted})(?:/{segment})+)"
    return f"^{name}(?::{tag})?(?:@(?:{digest}))?$"


REFERENCE_RE2 = re2()
"""What `parse` accepts, and a little more: a regular expression without lookaround cannot check for transports
(`oci:x`), ids (64 hex digits, alone or after `sha256:`) and lengths (registry, path, whole text)."""

_HOST = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f]*:[0-9a-f:]*\])"
    r"(?::[0-9]+)?"
)
_SEGMENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """One image reference in canonical form: its `str()` parses to an equal value. It has a tag, a digest or both."""

    registry: str
    path: str
    tag: str | None
    digest: str | None

    @property
    def name(self) -> str:
        """The repository: registry and path."""
        return f"{self.registry}/{self.path}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        return f"{self.name}{tag}{digest}"


@dataclass(frozen=True, slots=True)
class Parts:
    """A text split into its parts: the host in lower case, `library/` added, None for absent parts."""

    text: str
    registry: str | None
    path: str
    tag: str | None
    digest: str | None


def parse(text: str) -> Reference:
    """Parse into the canonical reference. Raises InvalidInput with a sentence that says what is wrong with the text."""
    if why := problem(text):
        raise InvalidInput(f"{shown(text)} is not an image reference: {why}")
    parts = split(text)
    tag = DEFAULT_TAG if parts.tag is None and parts.digest is None else parts.tag
    return Reference(parts.registry or HUB, parts.path, tag, parts.digest)


def with_tag(text: str, tag: str) -> str:
    """The text with this tag added if it has neither tag nor digest. Does not validate."""
    parts = split(text)
    return f"{text}:{tag}" if parts.tag is None and parts.digest is None else text


def problem(text: str) -> str | None:
    """Why the text is not a reference, as the rest of a sentence; None if it is one."""
    if not text:
        return "it is empty; write one such as python:3.12"
    if len(text) > MAX_LENGTH:
        return f"it has {len(text)} characters; at most {MAX_LENGTH} are allowed"
    parts = split(text)
    return next((why for check in CHECKS if (why := check(parts))), None)


def split(text: str) -> Parts:
    """Split any text into its parts, without validating them."""
    match = SHAPE.fullmatch(text)
    assert match  # SHAPE matches any text
    registry, path = match["registry"], match["path"]
    registry = registry.lower() if registry is not None else None
    if registry == f"index.{HUB}":
        registry = HUB
    if registry in (None, HUB) and "/" not in path and path:
        path = f"library/{path}"
    return Parts(text, registry, path, match["tag"], match["digest"])


def shown(text: str) -> str:
    """The text for use in a message: quoted, escaped, truncated."""
    return repr(text) if len(text) <= 160 else f"{text[:160]!r}…"


def is_printable_ascii(parts: Parts) -> str | None:
    for char in parts.text:
        if char.isspace():
            return f"it contains a space ({char!r}); remove it"
        if not "!" <= char <= "~":
            return f"the character {char!a} is not allowed; use a-z, 0-9 and . _ - / : @"
    return None


def is_no_transport(parts: Parts) -> str | None:
    word, colon, rest = parts.text.partition(":")
    if rest.startswith("//"):
        return f"{word}:// is a transport or a URL; write the image's name alone, such as python:3.12"
    if colon and word in _TRANSPORTS:
        return (
            f"{word}: is a transport of Podman's, not a registry; "
            f"for the image of that name on Docker Hub, write {HUB}/library/{word}:…"
        )
    return None


def is_no_id(parts: Parts) -> str | None:
    if _ID.fullmatch(parts.text):
        return "64 hex digits are an image id, not a name; write its name, such as python@sha256:…"
    return None


def registry_is_a_host(parts: Parts) -> str | None:
    registry = parts.registry
    if registry is None or registry == "localhost":
        return None
    if len(registry) > MAX_REGISTRY:
        return f"its registry has {len(registry)} characters; at most {MAX_REGISTRY} are allowed"
    if "@" in registry:
        return f"{registry!r} is not a registry; user and password do not belong in a reference"
    if not _HOST.fullmatch(registry):
        return f"{registry!r} is not a registry; write a host name or address, with its :port if it needs one"
    if "." not in registry and ":" not in registry:
        written = parts.text.partition("/")[0]
        return (
            f"{written} is not a registry, since it has no dot or port, and a path must be lower-case; write {registry}"
        )
    return None


def path_is_well_formed(parts: Parts) -> str | None:
    if len(parts.path) > MAX_PATH:
        return f"its path has {len(parts.path)} characters; at most {MAX_PATH} are allowed"
    return next((why for segment in parts.path.split("/") if (why := _segment_problem(segment))), None)


def tag_is_well_formed(parts: Parts) -> str | None:
    tag = parts.tag
    if tag is None or _TAG.fullmatch(tag):
        return None
    if not tag:
        return "nothing follows the colon; write a tag there, or remove the colon"
    if len(tag) > 128:
        return f"its tag has {len(tag)} characters; at most 128 are allowed"
    return f"the tag {tag!r} is not valid; use letters, digits and . _ - (not starting with . or -)"


def digest_is_well_formed(parts: Parts) -> str | None:
    if parts.digest is None:
        return None
    algorithm, _, digits = parts.digest.partition(":")
    size = DIGESTS.get(algorithm)
    if size is None:
        return f"the digest {shown(parts.digest)} has an unknown algorithm; use {', '.join(DIGESTS)}"
    if not re.fullmatch(r"[0-9a-f]*", digits):
        return f"the digest {shown(parts.digest)} may contain only 0-9 and a-f"
    if len(digits) != size:
        return f"the digest has {len(digits)} hex digits; {algorithm} has {size}"
    return None


def _segment_problem(segment: str) -> str | None:
    if _SEGMENT.fullmatch(segment):
        return None
    if not segment:
        return "a part of its path is empty; remove the extra /, or write a name there"
    if segment != segment.lower():
        return f"the path has capital letters; write {segment.lower()} instead of {segment}"
    if segment[0] in "._-" or segment[-1] in "._-":
        return f"{shown(segment)} in its path begins or ends with a dot, dash or underscore; remove that"
    return f"{shown(segment)} in its path is not a valid name; use a-z and 0-9, separated by one . or _, __, or dashes"


CHECKS: tuple[Callable[[Parts], str | None], ...] = (
    is_printable_ascii,
    is_no_transport,
    is_no_id,
    registry_is_a_host,
    path_is_well_formed,
    tag_is_well_formed,
    digest_is_well_formed,
)

"""Maps Podman's failures to our own errors. Makes no calls.

An error response `{"cause", "message", "response"}` is classified by its HTTP status and by `cause`, the exact text of
Podman's innermost error, or by the kernel's strerror text at the end of the message. There are two exceptions: a failed
pull or search has nothing but the registry's own text, matched by the table below, and a failed start the runtime's,
matched in starts.py. Text that is shown to users is truncated and redacted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stromboli import bounds
from stromboli.errors import NoSpace, NotFound, PodmanError, PodmanUnavailable, PullFailed
from stromboli.podman import starts
from stromboli.registry_problem import RegistryProblem

LONGEST = 400  # characters of Podman's text in one of our messages
_END = 120  # of them, those that are the end of a longer text
_READ = 64 * 1024  # characters of Podman's text that are searched: a registry may send megabytes

# Innermost errors that mean "not found", whatever the status code: create answers 500 for a missing image.
# Source: libpod/define/errors.go and containers/storage/errors.go.
_ABSENT = frozenset(
    {
        "no such container",
        "no such volume",
        "no such image",
        "image not known",
        "network not found",
    }
)
_LOOP = "too many levels of symbolic links"  # strerror(ELOOP), after the path; treated as not found
_FULL = ("no space left on device", "disk quota exceeded")  # strerror(ENOSPC), strerror(EDQUOT)

# Messages of a failed pull or search: (pattern, problem); the first match wins. Unknown messages count as transient,
# since retries are bounded anyway.
_REGISTRY = (
    # The registry cannot be reached, or asks to retry later. Checked first, since a proxy's "502 … not found" and a
    # resolver's "host not found" do not come from a registry.
    (
        r"no such host|server misbehaving|connection (refused|reset)|network is unreachable|no route to host",
        RegistryProblem.UNAVAILABLE,
    ),
    (r"happened during read: (unexpected )?eof", RegistryProblem.CUT),
    (r"i/o timeout|deadline exceeded|timeout|temporary failure|unexpected eof|\beof$", RegistryProblem.UNAVAILABLE),
    (r"toomanyrequests|too many requests|\b429\b", RegistryProblem.RATE_LIMITED),
    (r"\b50[0234]\b|bad gateway|service unavailable", RegistryProblem.UNAVAILABLE),
    (r"digest did not match|does not match provided manifest digest", RegistryProblem.DIGEST_MISMATCH),
    # A web page where JSON was expected.
    (r"invalid character '<' looking for beginning of value|text/html", RegistryProblem.NOT_A_REGISTRY),
    # The error codes of the distribution specification, as phrased by containers/image.
    (
        r"manifest unknown|name unknown|manifest_unknown|name_unknown|repository name not known",
        RegistryProblem.NOT_FOUND,
    ),
    (
        r"unauthorized|authentication required|denied|invalid username/password|forbidden|\b40[13]\b",
        RegistryProblem.DENIED,
    ),
    (r"no image found in (manifest list|image index)", RegistryProblem.NO_PLATFORM),
    (r"not found|\b404\b|invalid reference format", RegistryProblem.NOT_FOUND),
)

# Remedies for errors whose own message does not suggest one: (pattern, what to do).
_REMEDIES = (
    (
        starts.NO_NETWORK,
        "for a network, Podman's user must be able to open /dev/net/tun: run modprobe tun && chmod 666 /dev/net/tun "
        "(as root), then `podman system migrate` (on a local installation: stromboli up); "
        "without it, runs need network: none in a policy, and services of a stack network_mode: none or service:NAME",
    ),
)

_SECRETS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), r"\1 …"),
    (re.compile(r"(?i)(://)[^/\s@]+@"), r"\1…@"),  # user:password@host
    (re.compile(r"\bsk-ant-[\w-]+"), "sk-ant-…"),
    # Each word is looked through once and taken whole: a registry's text may be one long word of many such words.
    (
        re.compile(r"(?i)\b(?=\w*?(?:token|secret|password|passwd|api_?key))(\w++)(\"?\s*+[=:]\s*+\"?)[^\s\"&,}]+"),
        r"\1\2…",
    ),
)


def unavailable(error: Exception, doing: str) -> PodmanUnavailable:
    """The error for a connection that failed or broke; `doing` is the method and path."""
    return PodmanUnavailable(f"Podman did not answer ({doing}): {redact(str(error) or type(error).__name__)}")


def is_symlink_loop(error: NotFound) -> bool:
    """Whether the path was not found because it is a symlink loop."""
    return str(error).endswith(_LOOP)


def hanging(doing: str, seconds: float | None) -> PodmanUnavailable:
    """The error for a read timeout: one call that blocks inside Podman while holding a lock blocks all others."""
    return PodmanUnavailable(
        f"Podman accepted {doing} but did not answer within {seconds or 0:.0f} s: it hangs; restart its service on the "
        "node (systemctl restart podman.service; on a local installation, stromboli up)"
    )


def refusal(status: int, body: bytes, doing: str) -> PodmanError | PodmanUnavailable:
    """The error for a response with status 400 or above (or for an `Err` inside a 200)."""
    cause, message = _cause_and_message(body)
    text = f"Podman refused {doing}: {redact(message) or f'HTTP {status}'}{_remedy(message)}"
    if status in (502, 503, 504):  # a proxy in front of Podman, or Podman shutting down
        return PodmanUnavailable(text)
    if status == 404 or cause in _ABSENT or cause.endswith(_LOOP):
        return NotFound(text, status)
    if cause in _FULL or is_full(message):
        return NoSpace(text, status)
    return starts.classified(message, text, status) or PodmanError(text, status)


def _remedy(message: str) -> str:
    return next((f"; {todo}" for pattern, todo in _REMEDIES if re.search(pattern, message)), "")


def pull_failure(reference: str, message: str) -> PullFailed | NoSpace:
    """The error for a failure that a pull's stream reported."""
    message = _without_middle(message)
    lowered = _without_names(message.lower(), reference.lower())
    text = f"image {reference} could not be pulled: {redact(message)}"
    if any(words in lowered for words in _FULL):
        return NoSpace(text, 200)
    return PullFailed(text, problem_of(lowered))


def problem_of(words: str) -> RegistryProblem:
    """What a registry's own words, as Podman repeats them, say is wrong."""
    words = words.lower()
    return next((problem for pattern, problem in _REGISTRY if re.search(pattern, words)), RegistryProblem.UNKNOWN)


def _without_names(words: str, reference: str) -> str:
    """`words` without names that the user chose: a repository called `denied` does not mean that access was denied."""
    name = reference.partition("@")[0]
    name = name[: name.rindex(":")] if ":" in name.rpartition("/")[2] else name
    words = words.replace(reference, "").replace(name, "")
    return re.sub(r"https?://\S+|reading manifest \S+ in", "", words)


def is_full(message: str) -> bool:
    """Whether Podman's message says that a disk is full."""
    return message.rstrip().endswith(_FULL)


def answer(body: bytes | str) -> Any:
    """Parse a JSON response. Parsing is bounded, since parts of it come from images and registries.

    Raises ValueError.
    """
    return bounds.json_document(body, bounds.ANSWER)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn any error from an unexpected shape of a response about `what` into a PodmanError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:  # the last: an infinite number
        raise PodmanError(f"Podman's answer about {what} has an unexpected shape: {redact(repr(error))}") from error


def redact(text: str) -> str:
    """`text` on one line, with anything that looks like a credential masked.

    Of one that is longer than LONGEST characters: the start, which says what failed, and the end, which says why.
    """
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - _END - 3]} … {line[-_END:]}"


def _cause_and_message(body: bytes) -> tuple[str, str]:
    """(cause, message) of an error response. The API's router and proxies answer in plain text, without a cause."""
    try:
        said = answer(body)
        return str(said.get("cause", "")), _without_middle(str(said.get("message", "")))
    except (ValueError, AttributeError):
        return "", _without_middle(body.decode(errors="replace"))


def _without_middle(text: str) -> str:
    """The start and the end of a very long text: it starts with what failed and ends with the innermost error."""
    return text if len(text) <= _READ else f"{text[: _READ // 2]} … {text[-_READ // 2 :]}"

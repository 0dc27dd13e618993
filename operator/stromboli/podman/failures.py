"""The seam at which what Podman says went wrong becomes one of our errors. Nothing here talks.

An answer `{"cause", "message", "response"}` is told apart by its HTTP code and by `cause`, the exact text of
Podman's innermost error, or by the kernel's words at its end. There are two exceptions: of a failed pull, the
registry's own words are all there is, and the table below has them; of a failed start, the runtime's, which starts.py
has. Whatever reaches a person is cut and redacted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stromboli import bounds
from stromboli.errors import NoSpace, NotFound, PodmanError, PodmanUnavailable, PullFailed
from stromboli.podman import starts

LONGEST = 400  # characters of Podman's text in one of our messages

# Innermost errors that mean "there is none", whatever the code: create answers 500 for a missing image.
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
_LOOP = "too many levels of symbolic links"  # strerror(ELOOP), after the path: nothing can be found there
_FULL = ("no space left on device", "disk quota exceeded")  # strerror(ENOSPC), strerror(EDQUOT)

# Words of a failed pull, first match wins: (pattern, permanent). Permanent means that the registry was reached
# and said that there is no such image, or no. Unknown words count as passing, since a retry is bounded anyway.
_PULL = (
    # The registry cannot be reached, or asks to come back: its answer may differ a minute later. Checked
    # first, since a proxy's "502 … not found" and a resolver's "host not found" are no word of a registry.
    (r"no such host|server misbehaving|connection (refused|reset)|network is unreachable|no route to host", False),
    (r"i/o timeout|deadline exceeded|timeout|temporary failure|unexpected eof|\beof$", False),
    (r"toomanyrequests|too many requests|\b50[0234]\b|bad gateway|service unavailable", False),
    # The distribution specification's error codes, as containers/image words them.
    (r"manifest unknown|name unknown|manifest_unknown|name_unknown|repository name not known", True),
    (r"unauthorized|authentication required|denied|invalid username/password|forbidden|\b40[13]\b", True),
    (r"no image found in (manifest list|image index)", True),  # not for this architecture
    (r"not found|\b404\b|invalid reference format", True),
)

# What a person can do about it, by words of Podman's that do not say so: (pattern, what to do).
_WAYS_OUT = (
    (
        r"slirp4netns failed: .*/dev/net/tun|for rootless netns",
        "for a network, Podman's user has to be able to open /dev/net/tun: modprobe tun && chmod 666 /dev/net/tun "
        "(as root), then `podman system migrate` (on a local installation: stromboli up); "
        "or let a policy say network: none",
    ),
)

_SECRETS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), r"\1 …"),
    (re.compile(r"(?i)(://)[^/\s@]+@"), r"\1…@"),  # user:password@host
    (re.compile(r"\bsk-ant-[\w-]+"), "sk-ant-…"),
    (re.compile(r"(?i)\b(\w*(?:token|secret|password|passwd|api_?key)\w*)(\"?\s*[=:]\s*\"?)[^\s\"&,}]+"), r"\1\2…"),
)


def unavailable(error: Exception, doing: str) -> PodmanUnavailable:
    """The connection failed or broke; `doing` is the method and path."""
    return PodmanUnavailable(f"Podman did not answer ({doing}): {redact(str(error) or type(error).__name__)}")


def tells_of_a_circle(error: NotFound) -> bool:
    """Whether what could not be found is a circle of links."""
    return str(error).endswith(_LOOP)


def hanging(doing: str, seconds: float | None) -> PodmanUnavailable:
    """Somebody is there and does not answer: one call that waits in Podman with a lock in hand stops all others."""
    return PodmanUnavailable(
        f"Podman has taken {doing} and not answered in {seconds or 0:.0f} s: it hangs; restart its service on the node "
        "(systemctl restart podman.service; on a local installation, stromboli up)"
    )


def refusal(status: int, body: bytes, doing: str) -> PodmanError | PodmanUnavailable:
    """The error for an answer of 400 and above (or an `Err` inside one of 200)."""
    cause, message = _words(body)
    text = f"Podman refused {doing}: {redact(message) or f'HTTP {status}'}{_way_out(message)}"
    if status in (502, 503, 504):  # something in front of Podman, or Podman itself going down
        return PodmanUnavailable(text)
    if status == 404 or cause in _ABSENT or cause.endswith(_LOOP):
        return NotFound(text, status)
    if cause in _FULL or message.rstrip().endswith(_FULL):
        return NoSpace(text, status)
    return starts.classified(message, text, status) or PodmanError(text, status)


def _way_out(message: str) -> str:
    return next((f"; {todo}" for pattern, todo in _WAYS_OUT if re.search(pattern, message)), "")


def pull_failure(reference: str, message: str) -> PullFailed | NoSpace:
    """The error for what a pull's stream reported."""
    lowered = _without_names(message.lower(), reference.lower())
    text = f"image {reference} could not be pulled: {redact(message)}"
    if any(words in lowered for words in _FULL):
        return NoSpace(text, 200)
    verdicts = (permanent for pattern, permanent in _PULL if re.search(pattern, lowered))
    return PullFailed(text, permanent=next(verdicts, False))


def _without_names(words: str, reference: str) -> str:
    """`words` without what the person named: a repository called `denied` is no denial."""
    name = reference.partition("@")[0]
    name = name[: name.rindex(":")] if ":" in name.rpartition("/")[2] else name
    words = words.replace(reference, "").replace(name, "")
    return re.sub(r"https?://\S+|reading manifest \S+ in", "", words)


def answer(body: bytes | str) -> Any:
    """What Podman answered in JSON. What images and registries say is in it, so it has bounds. Raises ValueError."""
    return bounds.json_document(body, bounds.ANSWER)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turns a surprise in the shape of an answer about `what` into a PodmanError."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise PodmanError(f"Podman's answer about {what} has an unexpected shape: {redact(repr(error))}") from error


def redact(text: str) -> str:
    """`text` on one line, without what looks like a credential, cut to `LONGEST` characters."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _words(body: bytes) -> tuple[str, str]:
    """(cause, message); the API's router and proxies answer in plain text, which has no cause."""
    try:
        said = answer(body)
        return str(said.get("cause", "")), str(said.get("message", ""))
    except (ValueError, AttributeError):
        return "", body.decode(errors="replace")

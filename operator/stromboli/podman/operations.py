"""What a call to Podman does, in two words at most and without the names in its path: `containers start`, `info`."""

from __future__ import annotations

OTHER = "other"
_ALONE = {"_ping": "ping", "info": "info", "events": "events", "commit": "commit", "build": "build"}
_KINDS = frozenset({"containers", "images", "volumes", "networks", "exec"})
# What comes in place of a name, and after one.
_OF_ALL = {"json": "list", "create": "create", "search": "search", "showmounted": "showmounted"}
_OF_ONE = {
    **{word: word for word in ("archive", "attach", "exec", "exists", "init", "kill", "logs", "mount", "start")},
    "json": "inspect",
    "stop": "stop",
    "wait": "wait",
}
# They are answered when what they are about is over, and not after a time that says anything about Podman. A pull is
# `images create`.
LASTING = frozenset(
    {"containers wait", "containers attach", "containers logs", "events", "exec start", "build", "images create"}
)


def of(method: str, path: str) -> str:
    """The operation: one of a few dozen, whatever the path is."""
    kind, *rest = path.split("/")[1:]
    if not rest:
        return _ALONE.get(kind, OTHER)
    if kind not in _KINDS:
        return OTHER
    if method == "DELETE":
        return f"{kind} remove"
    # the reference of an image may have slashes
    word = (_OF_ALL if len(rest) == 1 else _OF_ONE).get(rest[-1], OTHER)
    return f"{kind} {word}"

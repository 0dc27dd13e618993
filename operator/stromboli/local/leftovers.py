"""What an installation has in Podman, seen from outside with the operator down: counted, or removed for good.

By label, through the `podman` command; while the operator runs, its own sweep keeps order by itself.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence

from stromboli.errors import LocalFailure
from stromboli.local.images import PodmanCommand
from stromboli.naming import INSTALLATION, ROLE, ROLE_AGENT

_CHUNK = 100  # names in one command line
_SECONDS = 300.0
_HINT = "see that `podman ps --all` works, then run it again: nothing else was removed yet"
_DEFAULT_NETWORK = "podman"


def running(podman: PodmanCommand, installation: str) -> int:
    """How many agents are at work. Raises LocalFailure."""
    filters = (f"label={INSTALLATION}={installation}", f"label={ROLE}={ROLE_AGENT}", "status=running")
    return len(_names(podman, ("ps", "--quiet"), filters))


def remove(podman: PodmanCommand, installation: str | None) -> str:
    """Remove containers, volumes, networks and copies of sessions of `installation`, or all there are where it is
    None.

    Says what went, such as `3 containers, 1 volume, 0 networks, 0 images`. Raises LocalFailure.
    """
    filters = (f"label={INSTALLATION}={installation}",) if installation else ()
    # Of images only those that were made of containers: the others are anybody's.
    ours = filters or (f"label={INSTALLATION}",)
    kinds = (
        ("container", ("ps", "--all", "--quiet"), ("rm", "--force", "--time", "0", "--volumes")),
        ("volume", ("volume", "ls", "--quiet"), ("volume", "rm", "--force")),
        ("network", ("network", "ls", "--format", "{{.Name}}"), ("network", "rm", "--force")),
    )
    went = [_removed(podman, what, ls, rm, filters) for what, ls, rm in kinds]
    images = _removed(podman, "image", ("images", "--quiet"), ("rmi", "--force"), ours)
    return ", ".join([*went, images])


def _removed(podman: PodmanCommand, what: str, ls: Sequence[str], rm: Sequence[str], filters: Sequence[str]) -> str:
    names = _names(podman, ls, filters)
    for chunk in _chunks(names):
        _run(podman, *rm, *chunk)
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'}"


def _names(podman: PodmanCommand, ls: Sequence[str], filters: Sequence[str]) -> list[str]:
    options = [part for text in filters for part in ("--filter", text)]
    return [name for name in _run(podman, *ls, *options).split() if name != _DEFAULT_NETWORK]


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK))


def _run(podman: PodmanCommand, *arguments: str) -> str:
    try:
        return podman.run(*arguments, timeout=_SECONDS)
    except subprocess.TimeoutExpired as e:
        raise LocalFailure(f"`podman {arguments[0]}` does not end", _HINT) from e
    except subprocess.CalledProcessError as e:
        raise LocalFailure(f"`podman {arguments[0]}` failed: {str(e.stderr).strip()}", _HINT) from e

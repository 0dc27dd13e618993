"""Counts or removes what an installation has in Podman, while the operator is not running.

Objects are identified by name and labels (plan/ownership.py), and handled with the `podman` command. While the operator
is running, its sweep removes what no longer has an owner.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stromboli import bounds
from stromboli.errors import LocalFailure
from stromboli.local.images import PodmanCommand
from stromboli.naming import INSTALLATION, ROLE, Role
from stromboli.plan import ownership
from stromboli.plan.stack import names as stack_names

_CHUNK = 100  # names in one command line
_SECONDS = 300.0
_TRIES = 3  # Podman refuses to remove a container that ends by itself at that moment; the next try succeeds
_HINT = "check that `podman ps --all` works, then run the command again: it continues where it stopped"
_DEFAULT_NETWORK = "podman"
_CONTAINERS = ("ps", "--all")
_VOLUMES = ("volume", "ls")
_NETWORKS = ("network", "ls")
_IMAGES = ("images",)

Row = Mapping[str, Any]


def running(podman: PodmanCommand, installation: str) -> int:
    """The number of running agents. Raises LocalFailure."""
    rows = _rows(podman, ("ps",), installation, "status=running")
    return sum(ownership.is_agent(_name(row), _labels(row), installation) for row in rows)


def remove(podman: PodmanCommand, installation: str | None) -> str:
    """Remove the containers, volumes, networks and images of `installation`; with None, those of every installation
    and all other containers, volumes and networks. Of images, only those of sessions are removed.

    Returns what was removed, such as `3 containers, 1 volume, 0 networks, 0 images`. Raises LocalFailure.
    """
    kinds = (
        ("container", _containers, ("rm", "--force", "--ignore", "--time", "0", "--volumes")),
        ("volume", _volumes, ("volume", "rm", "--force")),
        ("network", _networks, ("network", "rm", "--force")),
        ("image", _images, ("rmi", "--force")),
    )
    went = []
    for what, found, rm in kinds:
        names = found(podman, installation)
        for chunk in _chunks(names):
            _run(podman, *rm, *chunk, tries=_TRIES)
        went.append(f"{len(names)} {what}{'' if len(names) == 1 else 's'}")
    return ", ".join(went)


def _containers(podman: PodmanCommand, installation: str | None) -> list[str]:
    rows = _rows(podman, _CONTAINERS, installation)
    ours = [row for row in rows if installation is None or _is_our_container(row, installation)]
    # Podman removes no container whose network namespace another one is in.
    return [row["Id"] for row in sorted(ours, key=lambda row: stack_names.is_holder(Role(_labels(row).get(ROLE, ""))))]


def _is_our_container(row: Row, installation: str) -> bool:
    name, image, labels = _name(row), row["ImageID"], _labels(row)
    return (
        ownership.container_key(name, labels, installation) is not None
        or ownership.is_holder(name, image, labels, installation)
        or ownership.is_reader(name, image, labels, installation)
    )


def _volumes(podman: PodmanCommand, installation: str | None) -> list[str]:
    rows = _rows(podman, _VOLUMES, installation)
    return [
        row["Name"] for row in rows if installation is None or _is_our_volume(row["Name"], _labels(row), installation)
    ]


def _is_our_volume(name: str, labels: Mapping[str, str], installation: str) -> bool:
    whose = (ownership.session_of_volume, ownership.session_of_stack_volume)
    return any(session(name, labels, installation) is not None for session in whose)


def _networks(podman: PodmanCommand, installation: str | None) -> list[str]:
    rows = _rows(podman, _NETWORKS, installation)
    return [
        row["name"]
        for row in rows
        if row["name"] != _DEFAULT_NETWORK
        and (installation is None or _is_our_network(row["name"], _labels(row), installation))
    ]


def _is_our_network(name: str, labels: Mapping[str, str], installation: str) -> bool:
    of_stack = ownership.session_of_stack_network(name, labels, installation)
    return of_stack is not None or ownership.is_network(name, labels, installation)


def _images(podman: PodmanCommand, installation: str | None) -> list[str]:
    """The names of sessions' copies and builds. Not their ids: an image with another name stays under that."""
    found: list[str] = []
    for row in _rows(podman, _IMAGES, installation, *(() if installation else (f"label={INSTALLATION}",))):
        labels = _labels(row)
        owner = installation or labels.get(INSTALLATION, "")
        found += ownership.copies_of(row.get("Names") or (), labels, owner)
        found += ownership.builds_of(row.get("Names") or (), labels, owner)
    return found


def _rows(podman: PodmanCommand, ls: Sequence[str], installation: str | None, *filters: str) -> list[Row]:
    """The rows of such a list, filtered by our label, which alone does not prove ownership."""
    wanted = [*filters, *([f"label={INSTALLATION}={installation}"] if installation else [])]
    options = [part for text in wanted for part in ("--filter", text)]
    said = _run(podman, *ls, *options, "--format", "json")
    try:
        rows = bounds.json_document(said or "[]", bounds.ANSWER) or []
    except ValueError as e:
        raise LocalFailure(f"`podman {ls[0]}` does not answer in JSON", _HINT) from e
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise LocalFailure(f"`podman {ls[0]}` does not answer with a list of objects", _HINT)
    return rows


def _labels(row: Row) -> Mapping[str, str]:
    return row.get("Labels") or row.get("labels") or {}


def _name(row: Row) -> str:
    return str(row["Names"][0])


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK))


def _run(podman: PodmanCommand, *arguments: str, tries: int = 1) -> str:
    for left in reversed(range(tries)):
        try:
            return podman.run(*arguments, timeout=_SECONDS)
        except subprocess.TimeoutExpired as e:
            raise LocalFailure(f"`podman {arguments[0]}` did not end within {_SECONDS:.0f} s", _HINT) from e
        except subprocess.CalledProcessError as e:
            if not left:
                raise LocalFailure(f"`podman {arguments[0]}` failed: {str(e.stderr).strip()}", _HINT) from e
    raise ValueError("at least one try")

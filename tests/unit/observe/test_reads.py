"""observe/ reads and changes nothing: its protocols have reads only, by lists of what each client can do."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from stromboli.attempt.folder import SessionFolder
from stromboli.attempt.site import Site
from stromboli.kube.client import Cluster
from stromboli.observe import reads
from stromboli.podman.containers import Containers
from stromboli.podman.transport import Podman

# Each protocol, the class that meets it, and which of that class's methods read: change nothing and start nothing.
PROTOCOLS: dict[type, tuple[type, set[str]]] = {
    reads.ClusterReads: (
        Cluster,
        {
            "answered_run",
            "config_map_data",
            "followed_run",
            "has_namespace",
            "image",
            "images",
            "installation",
            "namespace_labels",
            "policies",
            "run",
            "run_heads",
            "runs",
            "secret_data",
            "serves_its_kinds",
            "session",
            "session_outline",
            "sessions",
            "whole_run",
        },
    ),
    reads.FolderReads: (
        SessionFolder,
        {
            "attempt",
            "attempts_of",
            "completed",
            "handed_to",
            "has_stack",
            "link",
            "path",
            "read_given",
            "read_state",
            "secrets",
        },
    ),
    reads.SiteReads: (Site, {"folder", "key_of", "labels", "owner_labels", "owns_volume"}),
}
# All else that they can do: a method that is new has to be added to one of the two lists.
WRITES: dict[type, set[str]] = {
    Cluster: {
        "close",
        "create_session",
        "delete_finished_run",
        "delete_session",
        "plain",
        "post_event",
        "write_notification",
        "write_spec",
        "write_status",
    },
    SessionFolder: {
        "forget_given",
        "given_before",
        "note_completed",
        "note_stack",
        "inherit_given",
        "nothing",
        "point",
        "prepare_attempt",
        "remove",
        "remove_secrets",
        "remove_stack",
        "settle_given",
        "take_back",
        "unlink",
        "write_given",
        "write_secrets",
        "write_stack_secret",
        "write_state",
    },
    Site: set(),
}


def _methods(one: type) -> set[str]:
    found = {name for name, value in vars(one).items() if callable(value) or isinstance(value, property)}
    return {name for name in found if not name.startswith("_")}


def test_every_protocol_is_covered() -> None:
    found = {one for _, one in inspect.getmembers(reads, inspect.isclass) if one.__module__ == reads.__name__}
    assert found == set(PROTOCOLS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_has_no_method_that_writes(protocol: type) -> None:
    concrete, known = PROTOCOLS[protocol]
    assert _methods(protocol)
    assert _methods(protocol) <= known
    assert not known & WRITES[concrete]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_lists_are_complete(protocol: type) -> None:
    concrete, known = PROTOCOLS[protocol]
    assert _methods(concrete) == known | WRITES[concrete]


def test_its_classes_and_functions_are_given_the_protocols_and_no_client() -> None:
    clients = {concrete.__name__ for concrete, _ in PROTOCOLS.values()} | {Podman.__name__, Containers.__name__}
    folder = Path(reads.__file__).parent
    named = {
        f"{path.name}: {node.id}"
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id in clients
    }
    assert named == set()

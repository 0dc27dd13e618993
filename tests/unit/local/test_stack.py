"""The order in which an installation comes up and goes down. Each part is a note of what was asked of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import PartStatus as Part
from stromboli.errors import LocalFailure
from stromboli.local import leftovers, stack
from stromboli.local.home import Home
from stromboli.local.kubectl import Kubectl
from stromboli.local.operator_process import Operator
from stromboli.local.podman_service import PodmanService
from stromboli.local.stack import Stack
from stromboli.local.standin_process import StandinProcess


class Notes(list[str]):
    """What was done, in order; `operator_ready` is how the operator is at first."""

    operator_ready = False
    operator_current = True


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Notes:
    notes = Notes()

    def note(what: str, answer: Any = None) -> Any:
        def noted(*args: object, **kwargs: object) -> Any:
            notes.append(what)
            return answer

        return noted

    class NotedCluster:
        def __init__(self, state: Path, binaries: Binaries | None = None) -> None:
            self.kubeconfig = state / "kubeconfig"

        up = note("control plane up")
        down = note("control plane down")

        def parts(self) -> list[Part]:
            return [Part("etcd", 7, True, Path("/log"))]

    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "kubectl").touch()
    monkeypatch.setattr(stack, "Cluster", NotedCluster)
    monkeypatch.setattr(stack, "find", lambda *args: Binaries(programs, "cache"))
    monkeypatch.setattr(Kubectl, "__call__", lambda self, *args, **kw: _kubectl(notes, args))
    for part, name in ((PodmanService, "podman"), (StandinProcess, "standin")):
        monkeypatch.setattr(part, "up", note(f"{name} up", True))
        monkeypatch.setattr(part, "pid", lambda self: 5)
    monkeypatch.setattr(PodmanService, "down", note("podman down", True))
    monkeypatch.setattr(PodmanService, "answers", lambda self: True)
    monkeypatch.setattr(PodmanService, "socket", property(lambda self: self.home.podman_socket))
    monkeypatch.setattr(PodmanService, "stores_in_home", lambda self: True)
    monkeypatch.setattr(PodmanService, "remove_storage", note("storage removed"))
    monkeypatch.setattr(StandinProcess, "stop", note("standin down", True))
    monkeypatch.setattr(Operator, "start", lambda self, *args: _operator(notes, self.home))
    monkeypatch.setattr(Operator, "stop", note("operator down", True))
    monkeypatch.setattr(Operator, "pid", lambda self: 9)
    monkeypatch.setattr(Operator, "ready", lambda self: notes.operator_ready)
    monkeypatch.setattr(Operator, "current", lambda self: notes.operator_current)
    monkeypatch.setattr(leftovers, "running", lambda podman, uid: 2)
    monkeypatch.setattr(leftovers, "remove", note("containers removed", "2 containers"))
    return notes


def _kubectl(notes: Notes, args: Sequence[str]) -> str:
    notes.append(f"kubectl {args[0]}")
    return ""


def _operator(notes: Notes, home: Home) -> None:
    notes.append("operator up")
    home.installation.write_text("uid-of-kube-system\n")


@pytest.fixture
def installed(tmp_path: Path, notes: Notes) -> Stack:
    return Stack(Home(tmp_path / "home"), {"PATH": os.defpath})


def test_up_in_order(installed: Stack, notes: Notes) -> None:
    installed.up()
    assert notes == [
        "podman up",
        "control plane up",
        "kubectl wait",
        "kubectl apply",
        "kubectl wait",
        "operator down",
        "operator up",
    ]


def test_up_leaves_an_operator_that_is_ready_alone(installed: Stack, notes: Notes) -> None:
    notes.operator_ready = True
    installed.up()
    assert not [n for n in notes if n.startswith("operator")]


def test_up_starts_an_operator_of_older_code_anew(installed: Stack, notes: Notes) -> None:
    notes.operator_ready, notes.operator_current = True, False
    installed.up()
    assert [n for n in notes if n.startswith("operator")] == ["operator down", "operator up"]


def test_up_starts_the_stand_in_again_if_the_demo_has_used_it(installed: Stack, notes: Notes) -> None:
    installed.home.ensure()
    installed.home.standin.mkdir()
    installed.up()
    assert notes.index("control plane up") < notes.index("standin up") < notes.index("operator up")


def test_purge_takes_no_more_than_its_own_where_podman_stores_elsewhere(
    installed: Stack, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is in a Podman goes only if that Podman is in the home."""
    asked: list[str | None] = []
    monkeypatch.setattr(leftovers, "remove", lambda podman, installation: str(asked.append(installation)))
    for stores_in_home in (True, False):
        monkeypatch.setattr(PodmanService, "stores_in_home", lambda self, here=stores_in_home: here)
        installed.up()
        installed.home.podman.mkdir()
        installed.purge()
    assert asked == [None, "uid-of-kube-system"]


def test_kubectl_is_in_the_home_wherever_it_was_found(installed: Stack, notes: Notes, tmp_path: Path) -> None:
    with pytest.raises(LocalFailure, match="stromboli up"):
        installed.kubectl()
    installed.up()
    assert installed.kubectl().program == installed.home.programs / "kubectl"
    assert installed.home.programs.resolve() == tmp_path / "programs"


def test_down_stops_all_and_counts_the_runs_that_go_on(installed: Stack, notes: Notes) -> None:
    installed.up()
    notes.clear()
    assert installed.down() == 2
    assert notes == ["operator down", "standin down", "podman down", "control plane down"]
    assert installed.home.exists


def test_purge_empties_podman_before_the_clusters_data_goes(installed: Stack, notes: Notes) -> None:
    installed.up()
    installed.home.podman.mkdir()
    notes.clear()
    installed.purge()
    steps = ["operator down", "podman up", "containers removed", "podman down", "control plane down", "storage removed"]
    assert [n for n in notes if n in steps] == ["operator down", *steps[1:3], "operator down", *steps[3:]]
    assert not installed.home.root.exists()


def test_what_cannot_be_removed_from_podman_keeps_the_home(
    installed: Stack, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*args: object) -> str:
        raise LocalFailure("storage is locked")

    installed.up()
    installed.home.podman.mkdir()
    monkeypatch.setattr(leftovers, "remove", locked)
    with pytest.raises(LocalFailure, match="storage is locked"):
        installed.purge()
    assert installed.home.installation.exists()
    assert "control plane down" not in notes


def test_in_someone_elses_podman_only_our_label_goes(
    installed: Stack, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def remove(podman: object, uid: str | None) -> str:
        asked.append(uid)
        return "nothing"

    monkeypatch.setattr(PodmanService, "socket", property(lambda self: Path("/run/podman/podman.sock")))
    monkeypatch.setattr(leftovers, "remove", remove)
    installed.up()
    installed.purge()
    assert asked == ["uid-of-kube-system"]
    assert "storage removed" not in notes


def test_purging_what_never_came_up_touches_no_podman(installed: Stack, notes: Notes) -> None:
    installed.home.ensure()
    installed.purge()
    assert "containers removed" not in notes
    assert not installed.home.root.exists()


def test_status_has_every_part(installed: Stack, notes: Notes) -> None:
    notes.operator_ready = True
    parts = {p.name: p for p in installed.status()}
    assert list(parts) == ["podman", "etcd", "operator"]
    assert (parts["operator"].pid, parts["operator"].ready) == (9, True)
    installed.home.ensure()
    installed.home.standin.mkdir()
    assert [p.name for p in installed.status()] == ["podman", "etcd", "standin", "operator"]

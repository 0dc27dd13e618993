"""What is asked of Podman to count and to remove, with a script in its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stromboli.errors import LocalFailure
from stromboli.local import leftovers
from stromboli.local.images import PodmanCommand

SCRIPT = """#!/bin/sh
echo "$@" >> {log}
case "$1 $2" in
  "ps "*) printf 'c1\\nc2\\n';;
  "volume ls") echo v1;;
  "network ls") printf 'podman\\n';;
  "images "*) echo i1;;
esac
"""


def pretend(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> PodmanCommand:
    program = tmp_path / "podman"
    program.write_text(script)
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.defpath}"
    monkeypatch.setenv("PATH", path)
    return PodmanCommand({"PATH": path})


def test_only_what_bears_the_label_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    podman = pretend(tmp_path, SCRIPT.format(log=log), monkeypatch)
    assert leftovers.remove(podman, "uid-1") == "2 containers, 1 volume, 0 networks, 1 image"
    assert log.read_text().splitlines() == [
        "ps --all --quiet --filter label=stromboli.dev/installation=uid-1",
        "rm --force --time 0 --volumes c1 c2",
        "volume ls --quiet --filter label=stromboli.dev/installation=uid-1",
        "volume rm --force v1",
        "network ls --format {{.Name}} --filter label=stromboli.dev/installation=uid-1",
        "images --quiet --filter label=stromboli.dev/installation=uid-1",
        "rmi --force i1",
    ]


def test_in_a_podman_of_our_own_all_goes_but_the_default_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    leftovers.remove(pretend(tmp_path, SCRIPT.format(log=log), monkeypatch), None)
    filtered = [line for line in log.read_text().splitlines() if "--filter" in line]
    assert filtered == ["images --quiet --filter label=stromboli.dev/installation"], "other images are anybody's"
    assert "network rm" not in log.read_text()


def test_running_agents_are_counted_and_holders_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    assert leftovers.running(pretend(tmp_path, SCRIPT.format(log=log), monkeypatch), "uid-1") == 2
    assert log.read_text().split() == [
        "ps",
        "--quiet",
        "--filter",
        "label=stromboli.dev/installation=uid-1",
        "--filter",
        "label=stromboli.dev/role=agent",
        "--filter",
        "status=running",
    ]


def test_more_than_one_command_line_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    script = f'#!/bin/sh\necho "$1" >> {log}\n[ "$1" = ps ] && seq 250\nexit 0\n'
    assert leftovers.remove(pretend(tmp_path, script, monkeypatch), None).startswith("250 containers")
    assert log.read_text().split().count("rm") == 3


def test_what_podman_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    podman = pretend(tmp_path, "#!/bin/sh\necho 'storage is locked' >&2; exit 125\n", monkeypatch)
    with pytest.raises(LocalFailure, match=r"(?s)`podman ps` failed: storage is locked.*run it again"):
        leftovers.remove(podman, "uid-1")

"""What is asked of Podman to count and to remove, with a script in its place."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.errors import LocalFailure
from stromboli.local import leftovers
from stromboli.local.images import PodmanCommand
from stromboli.naming import ContainerKey, Role
from stromboli.plan.stack import names

UID, ANOTHER = (f"0b2c6f7e-0000-4000-8000-00000000000{n}" for n in (1, 2))
MARKS = {naming.INSTALLATION: "uid-1", naming.OWNER: UID}
OURS = f"stromboli-{UID}"
CLI, LOOKED = "c" * 64, "d" * 64
SERVICE = Role("service.db")
STACK_VOLUME = {"Name": names.volume(UID, "data"), "Labels": MARKS | {naming.STACK_VOLUME: "data"}}


def container(key: str, name: str, image: str = "", **labels: str) -> dict[str, object]:
    return {"Id": key, "Names": [name], "ImageID": image, "Labels": MARKS | labels}


# What Podman lists by our label, and of that what is somebody's own: made of an image that was committed or built on
# a container of ours, which hand the labels on.
LISTS = {
    "ps": [
        container("c1", OURS),
        container("c2", naming.holder("uid-1", CLI), CLI, **{naming.ROLE: naming.ROLE_HOLDER}),
        container("c3", f"{naming.reader(LOOKED)}-1", LOOKED, **{naming.ROLE: naming.ROLE_READER}),
        container("h1", names.holder(UID, "db").name, **{naming.ROLE: names.namespace("db")}),
        container("c4", ContainerKey(UID, SERVICE).name, **{naming.ROLE: SERVICE}),
        container("p1", "persons_own"),
        container("p2", f"stromboli-{ANOTHER}"),
        container("p3", naming.holder("uid-1", CLI), LOOKED, **{naming.ROLE: naming.ROLE_HOLDER}),
        container("p5", OURS, **{naming.ROLE: SERVICE}),
        container("p4", f"{naming.reader(LOOKED)}-1", CLI, **{naming.ROLE: naming.ROLE_READER}),
    ],
    "volume": [
        {"Name": OURS, "Labels": MARKS},
        {"Name": "data", "Labels": MARKS | {naming.STACK_VOLUME: "data"}},
        STACK_VOLUME,
    ],
    "network": [
        {"name": naming.network("uid-1", "team"), "labels": {naming.INSTALLATION: "uid-1"}},
        {"name": "podman", "labels": {}},
        {"name": names.network(UID, "back"), "labels": MARKS | {naming.STACK_NETWORK: "back"}},
        {"name": "office", "labels": {naming.INSTALLATION: "uid-1"}},
    ],
    "images": [
        {"Id": "i1", "Names": [naming.copy(UID), "localhost/kept:1"], "Labels": MARKS},
        {"Id": "i2", "Names": [f"{naming.copy(UID)}-stacked"], "Labels": MARKS},
        {"Id": "i3", "Names": ["localhost/persons/own:1"], "Labels": MARKS},
        {"Id": "i4", "Names": None, "Labels": MARKS},
        {"Id": "i5", "Names": [naming.copy(ANOTHER)], "Labels": MARKS},
        {"Id": "i6", "Names": [names.image(UID, "db"), "x:1"], "Labels": MARKS | {naming.SERVICE: "db"}},
    ],
}
SCRIPT = """#!/bin/sh
echo "$@" >> {folder}/log
case "$1 $2" in
  "ps "* | "images "* | "volume ls" | "network ls") cat {folder}/$1.json;;
esac
"""


def pretend(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> PodmanCommand:
    for name, rows in LISTS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    program = tmp_path / "podman"
    program.write_text(script)
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.defpath}"
    monkeypatch.setenv("PATH", path)
    return PodmanCommand({"PATH": path})


def test_only_what_is_ours_by_name_and_label_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    podman = pretend(tmp_path, SCRIPT.format(folder=tmp_path), monkeypatch)
    assert leftovers.remove(podman, "uid-1") == "5 containers, 2 volumes, 2 networks, 3 images"
    label = "--filter label=stromboli.dev/installation=uid-1 --format json"
    assert (tmp_path / "log").read_text().splitlines() == [
        f"ps --all {label}",
        "rm --force --ignore --time 0 --volumes c1 c2 c3 c4 h1",
        f"volume ls {label}",
        f"volume rm --force {OURS} {names.volume(UID, 'data')}",
        f"network ls {label}",
        f"network rm --force {naming.network('uid-1', 'team')} {names.network(UID, 'back')}",
        f"images {label}",
        f"rmi --force {naming.copy(UID)} {naming.copy(UID)}-stacked {names.image(UID, 'db')}",
    ]


def test_in_a_podman_of_our_own_all_goes_but_the_default_network_and_peoples_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman = pretend(tmp_path, SCRIPT.format(folder=tmp_path), monkeypatch)
    assert leftovers.remove(podman, None) == "10 containers, 3 volumes, 3 networks, 3 images"
    told = (tmp_path / "log").read_text().splitlines()
    assert [line for line in told if "--filter" in line] == [
        "images --filter label=stromboli.dev/installation --format json"
    ]
    assert f"network rm --force {naming.network('uid-1', 'team')} {names.network(UID, 'back')} office" in told


def test_running_agents_are_counted_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    podman = pretend(tmp_path, SCRIPT.format(folder=tmp_path), monkeypatch)
    assert leftovers.running(podman, "uid-1") == 1
    assert (tmp_path / "log").read_text().splitlines() == [
        "ps --filter status=running --filter label=stromboli.dev/installation=uid-1 --format json"
    ]


def test_more_than_one_command_line_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    podman = pretend(
        tmp_path, f'#!/bin/sh\necho "$1" >> {log}\n[ "$1" != ps ] || cat {tmp_path}/ps.json\n', monkeypatch
    )
    (tmp_path / "ps.json").write_text(json.dumps([container(f"c{n}", f"n{n}") for n in range(250)]))
    assert leftovers.remove(podman, None).startswith("250 containers")
    assert log.read_text().split().count("rm") == 3


def test_a_removal_that_lost_to_a_container_s_own_end_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses = f'[ "$1" != rm ] || [ -e {tmp_path}/ended ] || {{ : >{tmp_path}/ended; exit 2; }}\n'
    head, _, rest = SCRIPT.format(folder=tmp_path).partition("\n")
    podman = pretend(tmp_path, f"{head}\n{refuses}{rest}", monkeypatch)
    assert leftovers.remove(podman, "uid-1").startswith("5 containers")


@pytest.mark.parametrize("output", ["no JSON", '{"Id": "c1"}', "1", "[1]", '["x"]'])
def test_an_answer_of_another_shape_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    podman = pretend(tmp_path, f"#!/bin/sh\necho '{output}'\n", monkeypatch)
    with pytest.raises(LocalFailure, match="`podman ps` does not answer"):
        leftovers.remove(podman, "uid-1")


def test_what_podman_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    podman = pretend(tmp_path, "#!/bin/sh\necho 'storage is locked' >&2; exit 125\n", monkeypatch)
    with pytest.raises(LocalFailure, match=r"(?s)`podman ps` failed: storage is locked.*run the command again"):
        leftovers.remove(podman, "uid-1")

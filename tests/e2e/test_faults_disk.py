"""The disk of the operator's home fills up, by an agent or otherwise: it is reported, and work resumes after that."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Runs, condition, finished, reason_is

OUT = "/run/stromboli/out"
TINY = 24 * 1024 * 1024


@pytest.fixture
def tiny_home(folder: Path) -> Iterator[Path]:
    """A home on a small file system of its own."""
    home = folder / "tiny-home"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TINY},mode=0700", "tiny", str(home)], check=True)
    yield home
    subprocess.run(["umount", "--lazy", str(home)], check=True)
    home.rmdir()


def test_a_full_disk_is_said_and_then_it_goes_on(
    tiny_home: Path,
    new_operator: Callable[[], OperatorProcess],
    light_runs: Runs,
    standin: Standin,
    python_image: str,
) -> None:
    operator = new_operator()
    operator.home = tiny_home
    with operator:
        done = light_runs.run("before", prompt="ECHO{room}", image=python_image)
        assert done["status"]["result"]["text"] == "room", operator.last_words()
        fill(tiny_home / "filler")
        light_runs.apply("full", prompt="ECHO{no-room}", image=python_image)
        said = light_runs.until("full", reason_is("NodeOutOfDisk"))
        assert "make room there" in condition(said)["message"]
        assert "attempts" not in said["status"]
        operator.stop()
        operator.start(wait=False)  # it cannot even write its ready file
        (tiny_home / "filler").unlink()
        done = light_runs.until("full", finished)
        assert done["status"]["result"]["text"] == "no-room", condition(done)["message"]
    texts = [str(request["last_user_text"]) for request in standin.requests()]
    assert sum("no-room" in text for text in texts) == 1


FILL = f"cat /dev/zero > {OUT}/junk; sync; true"


@pytest.mark.parametrize(
    "spec",
    [
        {"prompt": f"BASH{{{FILL}}}", "claude": {"dangerouslySkipPermissions": True}, "timeout": "60s"},
        {"prompt": "ECHO{never}", "lifecycle": {"postStart": [FILL]}, "timeout": "5s"},
    ],
    ids=["agent", "hook"],
)
def test_who_fills_the_disk_ends(
    tiny_home: Path,
    new_operator: Callable[[], OperatorProcess],
    runs: Runs,
    python_image: str,
    host: Host,
    spec: dict[str, Any],
) -> None:
    """What it wrote goes with its end, not only with the run's deletion: whoever comes next finds room."""
    operator = new_operator()
    operator.home = tiny_home
    with operator:
        filler = runs.run("filler", image=python_image, **spec)
        assert condition(filler)["message"]
        runs.apply("next", prompt="ECHO{after-the-filler}", image=python_image)
        done = runs.until("next", finished)
        assert done["status"]["result"]["text"] == "after-the-filler", condition(done)["message"]
        host.until(lambda: not host.agents(), "no container is left")


def fill(file: Path) -> None:
    """Fill the file system to the last byte."""
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(65536))
        except OSError:
            return

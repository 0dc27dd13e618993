"""Images: the list of many against `podman images`, and what looking into one costs.

`stromboli images` is measured once everything that it lists has been inspected, beside `podman images` and kubectl's
own start, in turns. What is found in an image is timed in this process, against the creation of the container through
which its files are read, which it includes.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from stromboli.inspection.needs import needs_of
from stromboli.node.access import Access
from stromboli.node.images import Images, never_started
from stromboli.plan.compatibility import CLINeeds
from stromboli.podman import Podman
from stromboli.podman.images import ImageInfo
from tests.benchmarks.bed import Bed, say
from tests.benchmarks.numbers import Goal, fine, ms, rounded, spread
from tests.benchmarks.result import Result, Table

MANY = 200
NAMESPACE = "real"
SECONDS = 120.0
STROMBOLI, PODMAN, KUBECTL = "stromboli images", "podman images", "kubectl version --client"
CREATE, LIBC, ALL, CACHED = "create and remove a container", "the libc", "with all tools", "from the cache"
_numbers = itertools.count(1)


def measure(bed: Bed, rounds: int) -> Result:
    """Measure `rounds` lists, and as many looks into an image."""
    _make_many(bed)
    with bed.operator():
        sides: dict[str, Callable[[], float]] = {
            STROMBOLI: lambda: _stromboli(bed),
            PODMAN: lambda: _timed(["podman", "images"], bed.podman.env),
            KUBECTL: lambda: _timed([str(bed.programs.kubectl), "version", "--client"], _environ(bed)),
        }
        first = _stromboli(bed)
        lists = _in_turns(sides, rounds)
    looks = asyncio.run(_looks(bed, rounds))
    middle = {name: median(taken) for name, taken in (lists | looks).items()}
    ratio = (middle[STROMBOLI] - middle[KUBECTL]) / middle[PODMAN]
    rows: list[tuple[str, ...]] = [("", "median", "min", "max")]
    rows += [(name, ms(middle[name]), ms(min(taken)), ms(max(taken))) for name, taken in lists.items()]
    rows.append(("the first time, none of them inspected before", ms(first), "", ""))
    inside: list[tuple[str, ...]] = [("", "median", "min", "max")]
    inside += [(name, fine(middle[name]), fine(min(taken)), fine(max(taken))) for name, taken in looks.items()]
    return Result(
        name="images",
        tables=[
            Table(f"{MANY} images, {rounds} rounds", rows),
            Table(f"What is in an image, {rounds} rounds", inside),
        ],
        goals=[
            Goal("the list, without kubectl's own start / podman images", ratio, 1.2, "at most"),
            Goal("the libc, beyond the container", 1000 * (middle[LIBC] - middle[CREATE]), 150, "at most", " ms"),
            Goal("with all tools", 1000 * middle[ALL], 1000, "at most", " ms"),
            Goal("from the cache", 1000 * middle[CACHED], 5, "at most", " ms"),
        ],
        data={
            "seconds": {name: spread(taken) for name, taken in (lists | looks).items()},
            **rounded({"first list": first, "ratio": ratio}),
        },
    )


def _make_many(bed: Bed) -> None:
    """Images that have nothing in common, each with a name that the policy admits.

    Images on one base would make Podman's own list take seconds, in which nobody's share could be seen.
    """
    say(f"making {MANY} images …")
    for number in range(MANY):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo("number")
            entry.size = len(content := str(number).encode())
            tar.addfile(entry, io.BytesIO(content))
        name = f"docker.io/library/python:bench-{number}"
        bed.podman.run("import", "--quiet", "-", name, stdin=archive.getvalue())


def _in_turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {side: [] for side in sides}
    for side in sides:  # warm-up, not measured: page cache
        sides[side]()
    for number in range(rounds):
        for side, once in sides.items():
            samples[side].append(once())
        say(f"lists, round {number + 1} of {rounds}: " + ", ".join(f"{s} {ms(t[-1])}" for s, t in samples.items()))
    return samples


def _stromboli(bed: Bed) -> float:
    program = str(Path(sys.executable).parent / "stromboli")
    return _timed([program, "images", "-n", NAMESPACE], _environ(bed), rows=MANY)


def _environ(bed: Bed) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(bed.folder),
        "KUBECONFIG": str(bed.folder / "operator.kubeconfig"),
        "STROMBOLI_HOME": str(bed.home),
    }


def _timed(command: Sequence[str], environ: Mapping[str, str], *, rows: int = 0) -> float:
    """The seconds that a command takes. Raises RuntimeError if it fails, or prints fewer rows than it should."""
    began = time.monotonic()
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False)
    took = time.monotonic() - began
    if done.returncode or len(done.stdout.splitlines()) < rows:
        raise RuntimeError(f"{' '.join(command)} → {done.returncode}: {done.stderr[-1000:]}{done.stdout[-1000:]}")
    return took


async def _looks(bed: Bed, rounds: int) -> dict[str, list[float]]:
    """Each round begins with an empty cache. The last one reads what the same round has found, from the disk."""
    samples: dict[str, list[float]] = {CREATE: [], LIBC: [], ALL: [], CACHED: []}
    async with Podman(bed.podman.socket) as podman:
        image = await podman.images.inspect(bed.image)
        assert image is not None, f"{bed.image} was built"
        needs = _needs(bed)
        for _ in range(rounds + 1):
            with tempfile.TemporaryDirectory(dir=bed.folder) as folder:
                samples[CREATE].append(await _once(_container(podman, image)))
                libc = _images(podman, Path(folder, "1"))
                samples[LIBC].append(await _once(libc.facts(image, needs)))
                everything = _images(podman, Path(folder, "2"))
                samples[ALL].append(await _once(_both(everything, image, needs)))
                known = _images(podman, Path(folder, "2"))
                samples[CACHED].append(await _once(_both(known, image, needs)))
    return {name: taken[1:] for name, taken in samples.items()}


def _needs(bed: Bed) -> CLINeeds:
    """What the real CLI needs."""
    cli = bed.cli_images["real"]
    mount = bed.podman.run("image", "mount", cli)
    try:
        with Path(mount, "bin/claude").open("rb") as file:
            return needs_of(file)
    finally:
        bed.podman.run("image", "unmount", cli)


def _images(podman: Podman, folder: Path) -> Images:
    folder.mkdir(exist_ok=True)
    return Images(podman, folder, Access(folder), "benchmark", lambda uid: None)


async def _container(podman: Podman, image: ImageInfo) -> None:
    name = f"stromboli-benchmark-{next(_numbers)}"
    container = await podman.containers.create(never_started(name, image.id, {}))
    await podman.containers.remove(container)


async def _both(images: Images, image: ImageInfo, needs: CLINeeds) -> None:
    await images.facts(image, needs)
    await images.contents(image)


async def _once(work: Awaitable[object]) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began

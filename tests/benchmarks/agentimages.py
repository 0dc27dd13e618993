"""Many AgentImages of a few images, from a real registry: until all are true, and at rest; a pull beside `podman pull`.

Podman's calls are counted by a socket in front of it, API writes by the API server's own metrics.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from statistics import median
from urllib.parse import quote

import httpx2 as httpx

from tests.benchmarks import proc
from tests.benchmarks.api import Object
from tests.benchmarks.bed import Bed, say
from tests.benchmarks.counted import Counted
from tests.benchmarks.numbers import Goal, spread
from tests.benchmarks.result import Result, Table
from tests.support import images, registry
from tests.support.registry import Registry
from tests.support.runs import condition, policy_body

SPACE = "images"
REFERENCES = 50
CREATORS = 8
UNTIL_DONE = 600.0
SETTLE = 5.0  # for the events about them, which are written in the background
AT_REST = 65.0  # seconds that are watched: the check of all images comes every minute
LARGE = 100 * 1024 * 1024
PULLS = 7
PULL, WRITES, MEGABYTES = 1.1, 0.0, 150.0
_INSECURE = '[[registry]]\nlocation = "{address}"\ninsecure = true\n'


def measure(bed: Bed, count: int) -> Result:
    """`count` AgentImages of REFERENCES images."""
    with Registry(registry.program()) as served:
        _known(bed, served)
        _allowed(bed)
        say(f"pushing {REFERENCES} images …")
        references = _published(bed, served)
        large = _large(bed, served)
        with Counted(bed.folder / "counted.sock", bed.podman.socket) as counted:
            operator = replace(bed.process(), podman_socket=bed.folder / "counted.sock")
            with operator:
                took, peak = _until_true(bed, operator.pid, references, count)
                calls = counted.requests.total()
                writes, asked, busy = _at_rest(bed, operator.pid, counted)
                rest, _ = proc.megabytes(operator.pid)
                bed.api.delete_images(SPACE)
                pulls = _pulls(bed, large)
    ratio = median(pulls.ours) / median(pulls.podmans)
    rows = [
        ("", "value"),
        ("until all are Ready", f"{took:.1f} s"),
        ("calls to Podman until then", f"{calls}"),
        ("operator, peak memory (VmHWM)", f"{peak:.0f} MB"),
        ("operator at rest, memory (VmRSS)", f"{rest:.0f} MB"),
        ("operator at rest, CPU", f"{busy:.2%}"),
        ("API writes a minute at rest", f"{writes:.0f}"),
        ("calls to Podman a minute at rest", f"{asked:.0f}"),
    ]
    table = [
        ("100 MB from a registry on this machine", "median", "max"),
        *(
            (what, f"{median(seconds):.2f} s", f"{max(seconds):.2f} s")
            for what, seconds in (
                ("AgentImage, until the image is on the node", pulls.ours),
                ("  until it is inspected and Ready", pulls.ready),
                ("podman pull", pulls.podmans),
            )
        ),
    ]
    return Result(
        name="agentimages",
        tables=[Table(f"{count} AgentImages of {REFERENCES} images", rows), Table(f"A pull, {PULLS} of each", table)],
        goals=[
            Goal("API writes a minute at rest", writes, WRITES, "at most"),
            Goal("operator memory, peak", peak, MEGABYTES, "at most", " MB"),
            Goal("a pull / podman pull", ratio, PULL, "at most"),
        ],
        data={
            "objects": count,
            "images": REFERENCES,
            "seconds": round(took, 2),
            "podmanCalls": calls,
            "peakMegabytes": round(peak),
            "restMegabytes": round(rest),
            "podmanCallsAMinute": round(asked, 1),
            "pull": spread(pulls.ours),
            "pullUntilReady": spread(pulls.ready),
            "podmanPull": spread(pulls.podmans),
        },
    )


def _until_true(bed: Bed, operator: int, references: list[str], count: int) -> tuple[float, float]:
    """Create them; seconds until all are Ready, and the operator's megabytes at its peak until then."""
    began = time.monotonic()
    with ThreadPoolExecutor(CREATORS) as pool:
        list(pool.map(lambda n: _create(bed, f"image-{n}", references[n % REFERENCES]), range(count)))
    _until(lambda: sum(map(_is_ready, bed.api.images(SPACE))) == count, "all are Ready", every=0.25)
    return time.monotonic() - began, proc.megabytes(operator)[1]


def _at_rest(bed: Bed, operator: int, counted: Counted) -> tuple[float, float, float]:
    """API writes and calls to Podman a minute, and the part of a core that the operator uses."""
    say("at rest …")
    time.sleep(SETTLE)
    written, asked, cpu = bed.api.writes(), counted.requests.copy(), proc.cpu(operator)
    time.sleep(AT_REST)
    minutes = AT_REST / 60
    return (
        (bed.api.writes() - written).total() / minutes,
        (counted.requests - asked).total() / minutes,
        (proc.cpu(operator) - cpu) / AT_REST,
    )


def _allowed(bed: Bed) -> None:
    """A namespace whose policy allows every image, with a CLI that is there."""
    bed.namespace(SPACE, "none")
    image, tag = bed.cli_images["instant"].rsplit(":", 1)
    cli = {"image": image, "tag": tag, "pull": "Never"}
    body = policy_body(SPACE, SPACE, {"images": {"allowed": ["**"]}, "cli": cli})
    bed.kubectl("apply", "-f", "-", stdin=json.dumps(body))


def _known(bed: Bed, served: Registry) -> None:
    """Have the bed's Podman use the registry without TLS."""
    with (bed.podman.root / "conf" / "registries.conf").open("a") as conf:
        conf.write(_INSECURE.format(address=served.address))
    bed.podman.kill_service()
    bed.podman.start_service()


def _published(bed: Bed, served: Registry) -> list[str]:
    """Push images that share a base and differ in a file; the node has only the base then."""
    podman = bed.podman
    container = podman.run("create", images.build("scratchpad", podman.env))
    references = []
    for number in range(REFERENCES):
        podman.run("cp", "-", f"{container}:/", stdin=_archive(str(number).encode()))
        podman.run("commit", "--quiet", container, "localhost/one:1")
        references.append(served.push(podman, "localhost/one:1", f"team/image-{number}:1"))
        podman.run("rmi", "localhost/one:1")
    podman.run("rm", container)
    return references


def _large(bed: Bed, served: Registry) -> str:
    """Push an image of random bytes, which the node does not have then."""
    bed.podman.run("import", "--quiet", "-", "localhost/large:1", stdin=_archive(os.urandom(LARGE)))
    reference = served.push(bed.podman, "localhost/large:1", "team/large:1")
    bed.podman.run("rmi", "localhost/large:1")
    return reference


def _archive(content: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("data")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


@dataclass(frozen=True, slots=True)
class Pulls:
    """Seconds from the creation of the AgentImage until the image is on the node, and until it is inspected and Ready;
    and those of `podman pull`.
    """

    ours: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    podmans: list[float] = field(default_factory=list)


def _pulls(bed: Bed, reference: str) -> Pulls:
    """Pulls through the operator, and by `podman pull`, one after the other."""
    taken = Pulls()
    exists = f"images/{quote(reference, safe='')}/exists"
    with bed.podman_api() as podman:
        for number in range(PULLS):
            name, began = f"pull-{number}", time.monotonic()
            _create(bed, name, reference)
            _until(lambda: podman.get(exists).status_code == httpx.codes.NO_CONTENT, f"{reference} is on the node")
            taken.ours.append(time.monotonic() - began)
            _until(lambda name=name: _is_ready(bed.api.image(SPACE, name)), f"{name} is Ready")  # type: ignore[misc]
            taken.ready.append(time.monotonic() - began)
            bed.api.delete_image(SPACE, name)
            bed.podman.run("rmi", reference)
            began = time.monotonic()
            command = ["podman", "pull", "--quiet", reference]
            subprocess.run(command, env=bed.podman.env, check=True, capture_output=True)
            taken.podmans.append(time.monotonic() - began)
            bed.podman.run("rmi", reference)
    return taken


def _create(bed: Bed, name: str, reference: str) -> None:
    bed.api.create_image(SPACE, name, {"image": reference})


def _is_ready(obj: Object) -> bool:
    return bool(condition(obj, "Ready").get("status") == "True")


def _until(check: Callable[[], bool], what: str, every: float = 0.02) -> None:
    limit = time.monotonic() + UNTIL_DONE
    while not check():
        if time.monotonic() > limit:
            raise TimeoutError(f"{what}: not after {UNTIL_DONE:.0f} s")
        time.sleep(every)

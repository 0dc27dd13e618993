"""`python -m tests.support.measured FOLDER`: measures the memory of an operator's parts in one process.

They run until all runs in KUBECONFIG's cluster are queued or finished. Prints JSON: the resident kB before, the peak,
and the number of runs.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

from stromboli.attempt import busybox
from stromboli.handlers.assembly import assembled
from stromboli.kube.client import Cluster
from stromboli.metrics.operator import OperatorMetrics
from stromboli.models.run import Run
from stromboli.podman.transport import Podman
from stromboli.settings import Settings
from tests.support.fake_podman import FakePodman
from tests.support.large_cluster import NODE

INSTALLATION = "11111111-1111-4111-8111-111111111111"


async def main(folder: Path) -> None:
    home = folder / "home"
    kept = busybox.path(home)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"\x7fELF, as far as this test goes")
    settings = Settings(home=home, runtime_dir=folder / "runtime", podman_socket=folder / "podman.sock", node=NODE)
    cluster = Cluster()
    async with (
        FakePodman(settings.podman_socket),
        Podman(settings.podman_socket) as podman,
        assembled(settings, cluster, podman, INSTALLATION, OperatorMetrics("test")) as parts,
    ):
        before = memory("VmRSS")
        assert await parts.background.sweep.attempt(), "the first sweep"
        while not all(map(is_queued, parts.store._objects.values())):  # noqa: ASYNC110 - no event announces it
            await asyncio.sleep(0.05)
        print(json.dumps({"before": before, "most": memory("VmHWM"), "runs": len(parts.store)}), flush=True)
    await cluster.close()


def is_queued(run: Run) -> bool:
    return run.status.reason == "Queued"


def memory(what: str) -> int:
    found = re.search(rf"^{what}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

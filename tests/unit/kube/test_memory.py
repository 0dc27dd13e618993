"""How much memory other people's objects take: a bound, however many and however large they are."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.support.large_cluster import Large

ROOT = Path(__file__).parent.parent.parent.parent
WAITING, NEW, ENDED = 60, 6, 60  # of a megabyte: those that wait in one session, already or only now, and others
MOST = 80 * 1024  # kB more than the operator has without them; they are 120 MB of JSON, and 360 MB as Python objects


async def test_hundreds_of_large_runs_take_no_more_memory_than_a_few(tmp_path: Path) -> None:
    large = Large().fill(new=NEW, queued=WAITING, finished=ENDED)
    async with large.served(tmp_path) as kubeconfig:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.measured", str(tmp_path)),
            cwd=ROOT,
            env={**os.environ, "KUBECONFIG": str(kubeconfig)},
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
    found = json.loads(said)
    assert found["runs"] == NEW + WAITING + 1
    assert found["most"] - found["before"] < MOST, found

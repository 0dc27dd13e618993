"""What lies on the host, as a person with root would see it: Podman's objects, folders, mounts, processes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from stromboli import naming
from tests.support.podman import IsolatedPodman

PATIENCE = 20.0
AGAIN = 5
_API = "http://podman/v4.0.0/libpod"


@dataclass(frozen=True)
class Host:
    """The machine of the end-to-end tests: their Podman, the operator's home and its folder on tmpfs."""

    podman: IsolatedPodman
    home: Path
    runtime_dir: Path

    def containers(self, *labels: str) -> list[dict[str, Any]]:
        """All containers, running or not, with these labels (`key` or `key=value`)."""
        filters = json.dumps({"label": list(labels)}) if labels else "{}"
        found: list[dict[str, Any]] = self._get(f"/containers/json?all=true&filters={quote(filters)}")
        return found

    def agents(self) -> list[dict[str, Any]]:
        """The containers of runs."""
        return self.containers(f"{naming.ROLE}={naming.ROLE_AGENT}")

    def holders(self) -> list[str]:
        """The ids of the containers that hold the CLI."""
        return [c["Id"] for c in self.containers(f"{naming.ROLE}={naming.ROLE_HOLDER}")]

    def volumes(self) -> list[str]:
        return [v["Name"] for v in self._get("/volumes/json")]

    def networks(self) -> list[str]:
        return [n["name"] for n in self._get("/networks/json") if n["name"] != "podman"]

    def left(self, uid: str) -> list[str]:
        """What there still is of a run."""
        found = [f"container {c['Names'][0]}" for c in self.containers(f"{naming.OWNER}={uid}")]
        found += [f"volume {name}" for name in self.volumes() if uid in name]
        for root in (self.home, self.runtime_dir):
            for folder, below, _ in os.walk(root):
                found += [f"{folder}/{name}" for name in below if name == uid]
        return found

    def await_gone(self, uid: str, within: float = PATIENCE) -> float:
        """Until nothing is left of a run; seconds that it took."""
        began = time.monotonic()
        self.until(lambda: not self.left(uid), f"nothing is left of {uid}", within)
        return time.monotonic() - began

    def await_end(self, uid: str, within: float = PATIENCE) -> int:
        """Until a run's container has ended; its exit code."""
        with self._client(within) as client:
            answer = client.post(f"{_API}/containers/{naming.container(uid)}/wait")
        answer.raise_for_status()
        return int(answer.text)

    def until(self, true: Callable[[], bool], what: str, within: float = PATIENCE) -> None:
        limit = time.monotonic() + within
        while not true():
            if time.monotonic() > limit:
                there = [(c["Names"][0], c["State"], c["Labels"]) for c in self.agents()]
                raise AssertionError(f"{what}: not in {within:.0f} s; of runs there are {there}")
            time.sleep(0.05)

    def mounts(self) -> list[str]:
        """What is mounted below Podman's storage."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return sorted(p for p in (line.split()[4] for line in lines) if p.startswith(f"{self.podman.root}/"))

    def monitors(self) -> list[str]:
        """Processes that watch over a container of this Podman."""
        return [
            line for line in _command_lines() if "conmon" in line.split(" ", 1)[0] and str(self.podman.root) in line
        ]

    def _get(self, path: str) -> Any:
        """A listing. Podman answers 500 where something goes away just as it is listed: then it is asked again."""
        with self._client(PATIENCE) as client:
            answer = client.get(f"{_API}{path}")
            for _ in range(AGAIN):
                if answer.status_code != httpx2.codes.INTERNAL_SERVER_ERROR:
                    break
                answer = client.get(f"{_API}{path}")
        answer.raise_for_status()
        return answer.json() or []

    def _client(self, timeout: float) -> httpx2.Client:
        # Without TLS there is nothing to verify, and to load the machine's authorities takes longer than most calls.
        transport = httpx2.HTTPTransport(uds=str(self.podman.socket), verify=False)
        return httpx2.Client(transport=transport, timeout=timeout, trust_env=False)


def _command_lines() -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:  # it has ended
                continue
    return found

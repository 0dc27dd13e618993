"""The state of the host as root sees it: Podman's objects, folders, mounts, processes."""

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

PATIENCE = 60.0  # seconds that a busy machine may take
AGAIN = 5
_API = "http://podman/v4.0.0/libpod"


@dataclass(frozen=True)
class Host:
    """The host of the end-to-end tests: their Podman, the operator's home and its folder on tmpfs."""

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
        return self.containers(f"{naming.ROLE}={naming.AGENT}")

    def holders(self) -> list[str]:
        """The IDs of the containers that keep the CLI mounted."""
        return [c["Id"] for c in self.containers(f"{naming.ROLE}={naming.ROLE_HOLDER}")]

    def volumes(self) -> list[str]:
        return [v["Name"] for v in self._get("/volumes/json")]

    def networks(self) -> list[str]:
        return [n["name"] for n in self._get("/networks/json") if n["name"] != "podman"]

    def left(self, uid: str) -> list[str]:
        """What is left of a run: containers, volumes and folders."""
        found = [f"container {c['Names'][0]}" for c in self.containers(f"{naming.OWNER}={uid}")]
        found += [f"volume {name}" for name in self.volumes() if uid in name]
        for root in (self.home, self.runtime_dir):
            for folder, below, _ in os.walk(root):
                found += [f"{folder}/{name}" for name in below if name == uid]
        return found

    def await_gone(self, uid: str, within: float = PATIENCE) -> float:
        """Wait until nothing is left of a run. Returns the seconds waited."""
        began = time.monotonic()
        self.until(lambda: not self.left(uid), f"nothing is left of {uid}", within)
        return time.monotonic() - began

    def await_end(self, uid: str, within: float = PATIENCE) -> int:
        """Wait until a run's container has exited. Returns its exit code."""
        with self._client(within) as client:
            answer = client.post(f"{_API}/containers/{naming.agent(uid).name}/wait")
        answer.raise_for_status()
        return int(answer.text)

    def kill(self, container: str) -> None:
        """Kill a container, by name or ID."""
        with self._client(PATIENCE) as client:
            client.post(f"{_API}/containers/{container}/kill").raise_for_status()

    def until(self, true: Callable[[], bool], what: str, within: float = PATIENCE) -> None:
        limit = time.monotonic() + within
        while not true():
            if time.monotonic() > limit:
                there = [(c["Names"][0], c["State"], c["Labels"]) for c in self.agents()]
                raise AssertionError(f"{what}: not within {within:.0f} s; containers of runs: {there}")
            time.sleep(0.05)

    def mounts(self) -> list[str]:
        """The mount points below Podman's storage."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return sorted(p for p in (line.split()[4] for line in lines) if p.startswith(f"{self.podman.root}/"))

    def monitors(self) -> list[str]:
        """The conmon processes of this Podman's containers."""
        return [
            line for line in _command_lines() if "conmon" in line.split(" ", 1)[0] and str(self.podman.root) in line
        ]

    def _get(self, path: str) -> Any:
        """A listing. Podman answers 500 if an object is removed while it is listed; then the call is retried."""
        with self._client(PATIENCE) as client:
            answer = client.get(f"{_API}{path}")
            for _ in range(AGAIN):
                if answer.status_code != httpx2.codes.INTERNAL_SERVER_ERROR:
                    break
                answer = client.get(f"{_API}{path}")
        answer.raise_for_status()
        return answer.json() or []

    def _client(self, timeout: float) -> httpx2.Client:
        # There is no TLS to verify, and loading the system's CA certificates takes longer than most calls.
        transport = httpx2.HTTPTransport(uds=str(self.podman.socket), verify=False)
        return httpx2.Client(transport=transport, timeout=timeout, trust_env=False)


def _command_lines() -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:  # the process has exited
                continue
    return found

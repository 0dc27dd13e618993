"""What containers of the fake Podman have mounted, which has no processes: what was checked, unless a test says not."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from stromboli.node import cleanups, mounted
from stromboli.plan.stack.sources import Identity


class Mounts:
    """Stands in for node/mounted.py and node/cleanups.py. `swapped` are targets at which something else is mounted;
    `compared` has what was compared, and `intruder` is where something is mounted over what is the operator's.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.swapped: set[str] = set()
        self.compared: list[Mapping[str, Identity]] = []
        self.intruder: str | None = None
        monkeypatch.setattr(mounted, "differing", self._differing)
        monkeypatch.setattr(mounted, "intruder", self._intruder)
        monkeypatch.setattr(cleanups, "wait", lambda _: None)

    def _differing(self, pid: int, expected: Mapping[str, Identity]) -> str | None:
        if pid == 0:
            raise FileNotFoundError(2, "No such file or directory", "/proc/0/mountinfo")
        self.compared.append(expected)
        return next((target for target in expected if target in self.swapped), None)

    def _intruder(self, _: int, own: Collection[str], trees: Collection[str]) -> str | None:
        assert own
        assert trees
        return self.intruder

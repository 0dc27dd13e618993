"""What is read off the machine, on made-up machines."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from stromboli.local import machine


@pytest.mark.parametrize(
    ("files", "mode"),
    [
        (["cgroup.controllers"], "v2"),
        (["unified/cgroup.procs", "memory/tasks"], "hybrid"),
        (["memory/tasks", "pids/tasks"], "v1"),
        ([], "none"),
    ],
)
def test_cgroups(tmp_path: Path, files: list[str], mode: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert machine.cgroups(tmp_path) == mode


def test_sbin_is_added_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/sbin")
    assert machine.path_with_sbin() == "/usr/bin:/sbin:/usr/local/sbin:/usr/sbin"


def test_an_ordinary_user_needs_no_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert machine.limits_ceiling() is None


def test_root_that_may_raise_limits_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(machine, "_has_capability", lambda number: True)
    assert machine.limits_ceiling() is None


def test_root_that_may_not_stays_below_its_own_limits_and_pid_max(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(machine, "_has_capability", lambda number: False)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, resource.RLIM_INFINITY))
    pid_max = int(Path("/proc/sys/kernel/pid_max").read_text())
    assert machine.limits_ceiling() == {"nofile": 1048576, "nproc": pid_max}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    assert machine.limits_ceiling() == {"nofile": 4096, "nproc": min(4096, pid_max)}


def test_the_epoch_is_the_same_within_one_boot() -> None:
    assert machine.epoch() == machine.epoch()
    assert machine.epoch().startswith(Path("/proc/sys/kernel/random/boot_id").read_text().strip())

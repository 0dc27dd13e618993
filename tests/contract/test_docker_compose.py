"""What a compose file means, here and to Docker's docker-compose: every file of the corpora that is accepted here.

`docker-compose config` says what it makes of a file. What it does not say, since an image decides it, and what is ours
to decide (names, builds, how ports are published), is not compared. Where Debian's package cannot be had, nothing is.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stromboli.compose import dotenv
from stromboli.compose.document.load import Source, load
from stromboli.compose.forms import duration
from stromboli.compose.stack import Anonymous, Bind, ImageMount, Mount, Named, Service, Stack, Tmpfs
from stromboli.compose.typed.read import typed
from stromboli.errors import LocalFailure
from stromboli.observe.stackfiles import NodeFiles
from stromboli.plan.policy import VolumeList
from stromboli.plan.stack import dependencies
from tests.support import corpus, docker_compose
from tests.support.corpus import Case

Plain = dict[str, Any]
SECONDS = 30
CASES = [case for kind in ("ordinary", "hostile") for case in corpus.cases(kind) if not case.refused]


@pytest.fixture(scope="module")
def program() -> Path | None:
    try:
        return docker_compose.program()
    except LocalFailure as failure:
        print(f"nothing is compared: {failure}", file=sys.__stderr__)
        return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_file_means_what_it_means_to_docker_compose(case: Case, program: Path | None, tmp_path: Path) -> None:
    paths = case.laid_out(tmp_path)
    stack = ours(case, paths, tmp_path)
    if program is None:
        return
    theirs = configured(program, case, paths)
    assert {*stack.services} == {*theirs["services"]}
    for name, service in stack.services.items():
        here, there = of_ours(service, stack), of_theirs(theirs["services"][name])
        assert {key: (value, there[key]) for key, value in here.items() if value != there[key]} == {}, name
    assert {name for name, one in stack.networks.items() if one.internal} == {
        name for name, one in (theirs.get("networks") or {}).items() if one.get("internal")
    }


def ours(case: Case, paths: list[Path], root: Path) -> Stack:
    files = NodeFiles((VolumeList("AgentPolicy test", ((str(root / "allowed"), False),)),))
    beside = paths[0].parent / ".env"
    variables = {"PWD": str(paths[0].parent), "COMPOSE_PROJECT_NAME": "test"}
    if beside.exists():
        variables |= dotenv.parse(beside.read_bytes(), ".env", case.environment)
    sources = [Source(path.name, str(path.parent), path.read_bytes()) for path in paths]
    return typed(load(sources, variables | dict(case.environment), files), files)


def configured(program: Path, case: Case, paths: list[Path]) -> Plain:
    command = [str(program), *(f"--file={path}" for path in paths), "--profile=*", "config", "--format=json"]
    done = subprocess.run(
        command,
        cwd=paths[0].parent,
        env={"PATH": os.defpath, "PWD": str(paths[0].parent), "COMPOSE_PROJECT_NAME": "test", **case.environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"docker-compose refuses it: {done.stderr}"
    found: Plain = unescaped(json.loads(done.stdout))
    return found


def unescaped(found: Any) -> Any:
    """What it prints is meant to be read again, so a dollar is written twice."""
    match found:
        case str():
            return found.replace("$$", "$")
        case list():
            return [unescaped(each) for each in found]
        case dict():
            return {key: unescaped(each) for key, each in found.items()}
    return found


def of_ours(service: Service, stack: Stack) -> Plain:
    check, limits = service.healthcheck, service.limits
    return {
        "image": service.image,
        "command": None if service.command is None else [*service.command],
        "entrypoint": None if service.entrypoint is None else [*service.entrypoint],
        "environment": {**service.environment, **dict.fromkeys(service.unset)},
        "user": service.user,
        "working_dir": service.working_dir,
        "hostname": service.hostname,
        "labels": dict(service.labels),
        "mounts": {mount.target: of_mount(mount) for mount in service.mounts},
        "depends_on": {
            one.service: (str(one.condition), one.required) for one in dependencies.of(service, stack.services)
        },
        "healthcheck": None
        if check is None
        else {
            "test": None if check.test is None else [*check.test],
            "interval": check.interval or None,
            "timeout": check.timeout or None,
            "retries": check.retries or None,
            "start_period": check.start_period or None,
            "start_interval": check.start_interval or None,
        },
        "networks": {name: sorted(one.aliases) for name, one in service.networks.items()},
        "network_mode": service.network_mode,
        "ports": sorted((port.container, port.protocol) for port in service.ports),
        "expose": sorted((port.container, port.protocol) for port in service.expose),
        "extra_hosts": sorted((host.name, host.address) for host in service.extra_hosts),
        "profiles": sorted(service.profiles),
        "flags": (service.init, service.read_only, service.privileged),
        "caps": (
            sorted(capability.name for capability in service.cap_add),
            sorted(capability.name for capability in service.cap_drop),
        ),
        "ulimits": {name: (one.soft, one.hard) for name, one in service.ulimits.items()},
        "memory": limits.memory,
        "cpus": limits.cpus,
        "pids": limits.pids,
        "shm_size": limits.shm_size,
        "stop": (service.stop_signal, service.stop_grace_period),
        "pull_policy": service.pull_policy,
        "platform": service.platform,
    }


def of_mount(mount: Mount) -> tuple[object, ...]:
    match mount:
        case Bind():
            return "bind", mount.source, mount.read_only
        case Named():
            return "volume", mount.volume, mount.read_only
        case Anonymous():
            return "volume", None, mount.read_only
        case Tmpfs():
            return "tmpfs", mount.size, False
        case ImageMount():
            return "image", mount.image, True


def of_theirs(found: Plain) -> Plain:
    limits = ((found.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    return {
        "image": found.get("image"),
        "command": found.get("command"),
        "entrypoint": found.get("entrypoint"),
        "environment": found.get("environment") or {},
        "user": found.get("user"),
        "working_dir": found.get("working_dir"),
        "hostname": found.get("hostname"),
        "labels": found.get("labels") or {},
        "mounts": dict(map(their_mount, found.get("volumes") or [])) | dict(map(their_tmpfs, found.get("tmpfs") or [])),
        "depends_on": {
            name: (one["condition"], one["required"]) for name, one in (found.get("depends_on") or {}).items()
        },
        "healthcheck": their_check(found.get("healthcheck")),
        "networks": {
            name: sorted((one or {}).get("aliases", [])) for name, one in (found.get("networks") or {}).items()
        },
        "network_mode": found.get("network_mode"),
        "ports": sorted((port["target"], port.get("protocol", "tcp")) for port in found.get("ports") or []),
        "expose": sorted(map(their_port, found.get("expose") or [])),
        "extra_hosts": sorted(tuple(host.split("=", 1)) for host in found.get("extra_hosts") or []),
        "profiles": sorted(found.get("profiles") or []),
        "flags": tuple(found.get(key) is True for key in ("init", "read_only", "privileged")),
        "caps": tuple(sorted(map(their_capability, found.get(key) or [])) for key in ("cap_add", "cap_drop")),
        "ulimits": {name: their_ulimit(one) for name, one in (found.get("ulimits") or {}).items()},
        "memory": number(found.get("mem_limit") or limits.get("memory")),
        "cpus": thousandths(found.get("cpus") or limits.get("cpus")),
        "pids": number(found.get("pids_limit") or limits.get("pids")),
        "shm_size": number(found.get("shm_size")),
        "stop": (found.get("stop_signal"), seconds(found.get("stop_grace_period"))),
        "pull_policy": found.get("pull_policy"),
        "platform": found.get("platform"),
    }


def their_mount(volume: Plain) -> tuple[str, tuple[object, ...]]:
    kind, target = volume["type"], volume["target"]
    if kind == "tmpfs":
        return target, (kind, number((volume.get("tmpfs") or {}).get("size")), False)
    return target, (kind, volume.get("source"), kind == "image" or volume.get("read_only") is True)


def their_tmpfs(text: str) -> tuple[str, tuple[object, ...]]:
    target, _, options = text.partition(":")
    size = re.search(r"\bsize=([0-9]+)([kmg]?)", options)
    unit = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
    return target, ("tmpfs", None if size is None else int(size[1]) * unit[size[2]], False)


def their_check(found: Plain | None) -> Plain | None:
    if not found:
        return None
    test = ["NONE"] if found.get("disable") else found.get("test")
    times = ("interval", "timeout", "start_period", "start_interval")
    return {
        "test": test,
        "retries": found.get("retries") or None,
        **{key: seconds(found.get(key)) or None for key in times},
    }


def their_port(text: str) -> tuple[int, str]:
    port, _, protocol = text.partition("/")
    return int(port), protocol or "tcp"


def their_capability(text: str) -> str:
    return text.upper().removeprefix("CAP_")


def their_ulimit(found: int | Mapping[str, int]) -> tuple[int, int]:
    return (found, found) if isinstance(found, int) else (found["soft"], found["hard"])


def number(found: Any) -> int | None:
    return None if found is None else int(found)


def thousandths(found: Any) -> int | None:
    return None if found is None else round(float(found) * 1000)


def seconds(text: str | None) -> float | None:
    return None if text is None else duration.parse(text)

"""The corpora of compose files, read by docker-compose itself: what it refuses is refused, the rest is the same.

docker-compose prints a file as it understands it (`config`). Compared is what it prints of each service, with what is
typed of it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stromboli.compose import dotenv
from stromboli.compose.document.load import Source, load
from stromboli.compose.forms import duration
from stromboli.compose.forms.path import clean
from stromboli.compose.selection import needs
from stromboli.compose.stack import Anonymous, Bind, HealthCheck, ImageMount, Mount, Named, Service, Stack, Tmpfs
from stromboli.compose.typed.read import typed
from stromboli.errors import ComposeProblem
from stromboli.grammar import capability
from stromboli.observe.stackfiles import NodeFiles
from stromboli.plan.policy import VolumeList
from tests.support import corpus, docker_compose
from tests.support.corpus import Case

PATIENCE = 60.0
NOTHING: Mapping[str, Any] = {}


@pytest.fixture(scope="session")
def program() -> Path:
    return docker_compose.program()


@pytest.mark.parametrize("case", corpus.cases("ordinary"), ids=lambda case: case.name)
def test_an_ordinary_file_is_what_docker_compose_makes_of_it(case: Case, program: Path, tmp_path: Path) -> None:
    files = case.laid_out(tmp_path)
    theirs = config(program, case, files)
    assert theirs is not None
    if case.optional:
        return
    stack = ours(case, files, tmp_path)
    found = {name: of_ours(service) for name, service in stack.services.items()}
    assert found == {name: of_theirs(service) for name, service in theirs["services"].items()}
    assert set(stack.networks) == set(theirs.get("networks", ()))
    assert set(stack.volumes) >= set(theirs.get("volumes", ())), "it prints those that are mounted"


@pytest.mark.parametrize("case", corpus.cases("hostile"), ids=lambda case: case.name)
def test_what_docker_compose_refuses_is_refused(case: Case, program: Path, tmp_path: Path) -> None:
    if config(program, case, case.laid_out(tmp_path)) is None:
        assert case.refused is not None


def config(program: Path, case: Case, files: list[Path]) -> Mapping[str, Any] | None:
    """The file as docker-compose prints it; None if it refuses it."""
    command = [str(program), *(part for file in files for part in ("--file", str(file))), "--profile", "*"]
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PWD": str(files[0].parent), **case.environment}
    try:
        done = subprocess.run(
            [*command, "config", "--format", "json"],
            cwd=files[0].parent,
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return None
    printed: Mapping[str, Any] = json.loads(done.stdout.replace("$$", "$"))  # it is meant to be read again
    return printed


def ours(case: Case, files: list[Path], root: Path) -> Stack:
    folder = files[0].parent
    reader = NodeFiles((VolumeList("AgentPolicy test", ((str(root / "allowed"), False),)),))
    variables = {"PWD": str(folder), "HOME": "/nonexistent", **case.environment}
    if (folder / ".env").exists():
        variables = dotenv.parse((folder / ".env").read_bytes(), ".env", variables) | variables
    sources = [Source(file.name, str(file.parent), file.read_bytes()) for file in files]
    try:
        return typed(load(sources, variables, reader), reader)
    except ComposeProblem as e:
        raise AssertionError(f"docker-compose accepts it: {e}") from e


def of_ours(service: Service) -> dict[str, object]:
    limits = service.limits
    return {
        "image": service.image,
        "command": service.command,
        "entrypoint": service.entrypoint,
        "environment": dict(service.environment),
        "unset": sorted(service.unset),
        "user": service.user,
        "working_dir": service.working_dir,
        "hostname": service.hostname,
        "container_name": service.container_name,
        "labels": dict(service.labels),
        "profiles": list(service.profiles),
        "init": service.init,
        "read_only": service.read_only,
        "privileged": service.privileged,
        "network_mode": service.network_mode,
        "networks": {name: sorted(one.aliases) for name, one in service.networks.items()},
        "depends_on": {need.service: (need.condition.value, need.required) for need in needs(service)},
        "healthcheck": of_check(service.healthcheck),
        "mounts": sorted(of_mount(mount) for mount in service.mounts),
        "secrets": {one.target: one.mode for one in service.secrets},
        "ports": [
            (port.container, port.protocol, of_range(port.host, port.host_last), port.address) for port in service.ports
        ],
        "cap_add": [one.name for one in service.cap_add],
        "cap_drop": [one.name for one in service.cap_drop],
        "extra_hosts": sorted((one.name, one.address) for one in service.extra_hosts),
        "ulimits": {name: (one.soft, one.hard) for name, one in service.ulimits.items()},
        "memory": limits.memory,
        "cpus": limits.cpus,
        "pids": limits.pids,
        "shm_size": limits.shm_size,
        "stop_signal": service.stop_signal,
        "stop_grace_period": service.stop_grace_period,
        "restart": service.restart,
        "platform": service.platform,
    }


def of_theirs(service: Mapping[str, Any]) -> dict[str, object]:
    environment = service.get("environment") or {}
    bounds = service.get("deploy", NOTHING).get("resources", NOTHING).get("limits", NOTHING)
    networks = service.get("networks") or {}
    return {
        "image": service.get("image"),
        "command": of_words(service.get("command")),
        "entrypoint": of_words(service.get("entrypoint")),
        "environment": {name: value for name, value in environment.items() if value is not None},
        "unset": sorted(name for name, value in environment.items() if value is None),
        "user": service.get("user"),
        "working_dir": (folder := service.get("working_dir")) and clean(folder),
        "hostname": service.get("hostname"),
        "container_name": service.get("container_name"),
        "labels": service.get("labels", {}),
        "profiles": service.get("profiles", []),
        "init": service.get("init", False),
        "read_only": service.get("read_only", False),
        "privileged": service.get("privileged", False),
        "network_mode": service.get("network_mode"),
        "networks": {name: sorted((one or {}).get("aliases", [])) for name, one in networks.items()},
        "depends_on": {
            name: (one["condition"], one["required"]) for name, one in service.get("depends_on", {}).items()
        },
        "healthcheck": of_their_check(service.get("healthcheck")),
        "mounts": sorted(
            [*map(of_their_mount, service.get("volumes", [])), *map(of_their_tmpfs, service.get("tmpfs", []))]
        ),
        "secrets": {
            of_secret(one): int(one["mode"], 8) if isinstance(one.get("mode"), str) else one.get("mode", 0o444)
            for one in service.get("secrets", [])
        },
        "ports": [
            (one["target"], one["protocol"], one.get("published"), one.get("host_ip"))
            for one in service.get("ports", [])
        ],
        "cap_add": list(map(capability.parse, service.get("cap_add", []))),
        "cap_drop": list(map(capability.parse, service.get("cap_drop", []))),
        "extra_hosts": sorted(map(of_their_host, service.get("extra_hosts", []))),
        "ulimits": {name: of_their_ulimit(one) for name, one in service.get("ulimits", {}).items()},
        "memory": number(service.get("mem_limit", bounds.get("memory"))),
        "cpus": None if (cpus := service.get("cpus", bounds.get("cpus"))) is None else round(float(cpus) * 1000),
        "pids": number(service.get("pids_limit", bounds.get("pids"))),
        "shm_size": number(service.get("shm_size")),
        "stop_signal": of_signal(service.get("stop_signal")),
        "stop_grace_period": seconds(service.get("stop_grace_period")),
        "restart": service.get("restart"),
        "platform": service.get("platform"),
    }


def of_words(words: list[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(words)


def of_range(first: int | None, last: int | None) -> str | None:
    return None if first is None else str(first) if last is None else f"{first}-{last}"


def of_check(check: HealthCheck | None) -> dict[str, object]:
    if check is None or check.test == ("NONE",):
        return {"test": check and check.test}
    return {
        "test": check.test,
        "times": (check.interval, check.timeout, check.start_period, check.start_interval),
        "retries": check.retries,
    }


def of_their_check(check: Mapping[str, Any] | None) -> dict[str, object]:
    if check is None:
        return {"test": None}
    if check.get("disable") or check.get("test", [])[:1] == ["NONE"]:
        return {"test": ("NONE",)}
    times = ("interval", "timeout", "start_period", "start_interval")
    return {
        "test": of_words(check.get("test")),
        "times": tuple(seconds(check.get(time)) or None for time in times),
        "retries": check.get("retries") or None,
    }


def of_mount(mount: Mount) -> tuple[str, str, str, bool]:
    match mount:
        case Bind():
            return ("bind", mount.source, mount.target, mount.read_only)
        case Named():
            return ("volume", mount.volume, mount.target, mount.read_only)
        case Anonymous():
            return ("volume", "", mount.target, mount.read_only)
        case Tmpfs():
            return ("tmpfs", "", mount.target, mount.read_only)
        case ImageMount():
            return ("image", mount.image, mount.target, False)


def of_their_mount(mount: Mapping[str, Any]) -> tuple[str, str, str, bool]:
    return (mount["type"], mount.get("source", ""), mount["target"], mount.get("read_only", False))


def of_their_tmpfs(text: str) -> tuple[str, str, str, bool]:
    target, _, options = text.partition(":")
    return ("tmpfs", "", target, "ro" in options.split(","))


def of_secret(secret: Mapping[str, Any]) -> str:
    target: str = secret.get("target") or secret["source"]
    return target if target.startswith("/") else f"/run/secrets/{target}"


def of_signal(name: str | None) -> str | None:
    return name if name is None or name.isdigit() else f"SIG{name.upper().removeprefix('SIG')}"


def of_their_host(line: str) -> tuple[str, str]:
    name, _, address = line.partition("=")
    return name, address


def of_their_ulimit(limit: int | Mapping[str, int]) -> tuple[int, int]:
    return (limit, limit) if isinstance(limit, int) else (limit["soft"], limit["hard"])


def number(text: str | int | None) -> int | None:
    return None if text is None else int(text)


def seconds(text: str | None) -> float | None:
    return None if text is None else duration.parse(text)

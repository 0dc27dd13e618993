"""The body of a service's container: all of it is stated, and nothing of the run is in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stromboli import naming
from stromboli.compose import stack
from stromboli.compose.stack import (
    Anonymous,
    Bind,
    Capability,
    HealthCheck,
    ImageMount,
    Named,
    SecretMount,
    Service,
    Tmpfs,
    Ulimit,
)
from stromboli.plan.stack import names
from stromboli.plan.stack.body import LOG_SIZE, Body, holder, ulimits
from stromboli.plan.stack.image import Image
from stromboli.plan.stack.supervision import Supervision
from tests.unit.plan.stack.bodies import LABELS, NODE, UID, body_of
from tests.unit.plan.stack.stacks import service


def db(**fields: Any) -> Service:
    return service("db", **fields)


def test_the_whole_body_of_a_plain_service() -> None:
    body = body_of(db(environment={"POSTGRES_PASSWORD": "pw"}))
    assert body.pop("labels") == LABELS | {
        naming.SERVICE: "db",
        naming.SUPERVISION: Supervision(None, (), None, one_shot=False, grace=10.0).to_label(),
    }
    assert body == {
        "name": f"stromboli-{UID}-svc-db",
        "image": "f00d",
        "entrypoint": ["/entry"],
        "command": ["postgres"],
        "env": {"PATH": "/bin", "PGDATA": "/data", "LANG": "C", "POSTGRES_PASSWORD": "pw"},
        "unsetenv": [],
        "user": "postgres",
        "work_dir": "/work",
        "init": False,
        "stop_signal": 2,
        "stop_timeout": 10,
        "mounts": [],
        "volumes": [{"Name": names.volume(UID, "db:/data"), "Dest": "/data", "Options": ["rw"]}],
        "image_volumes": [],
        "image_volume_mode": "ignore",
        "netns": {"nsmode": "bridge"},
        "Networks": {names.network(UID, "default"): {"aliases": ["db"]}},
        "read_only_filesystem": False,
        "resource_limits": {"pids": {"limit": 2048}},
        "r_limits": [],
        "no_new_privileges": True,
        "healthconfig": {"Test": ["NONE"]},
        "log_configuration": {"driver": "k8s-file", "size": LOG_SIZE},
        "httpproxy": False,
        "systemd": "false",
        "restart_policy": "no",
    }


def test_what_the_file_says_goes_before_the_image() -> None:
    body = body_of(
        db(
            environment={"LANG": "de", "EMPTY": ""},
            unset=frozenset({"PGDATA"}),
            user="1000:1000",
            working_dir="/srv",
            command=("-c", "x"),
            stop_signal="SIGRTMIN+3",
            stop_grace_period=90.0,
            hostname="pg",
            init=True,
            read_only=True,
        )
    )
    assert body["env"] == {"PATH": "/bin", "LANG": "de", "EMPTY": ""}
    assert body["unsetenv"] == ["PGDATA"]
    assert (body["entrypoint"], body["command"]) == (["/entry"], ["-c", "x"])
    assert (body["user"], body["work_dir"], body["hostname"]) == ("1000:1000", "/srv", "pg")
    assert (body["stop_signal"], body["stop_timeout"]) == (37, 90)
    assert body["init"] is body["read_only_filesystem"] is True


def test_an_image_that_says_nothing_or_nonsense() -> None:
    body = body_of(db(command=("sh",)), Image("i"))
    assert (body["entrypoint"], body["command"]) == ([], ["sh"])
    assert (body["user"], body["work_dir"], body["stop_signal"]) == ("", "/", 15)
    assert body_of(db(), Image("i", stop_signal="SIGNONSENSE"))["stop_signal"] == 15


@pytest.mark.parametrize(("grace", "timeout"), [(None, 10), (0.5, 1), (0.0, 1), (1.5, 2), (90.0, 90)])
def test_a_grace_is_never_nothing(grace: float | None, timeout: int) -> None:
    """With 0 Podman sends no signal but KILL."""
    assert body_of(db(stop_grace_period=grace))["stop_timeout"] == timeout


def test_labels_of_the_file_cannot_be_ours() -> None:
    mine = {"team": "a", naming.OWNER: "other", naming.SERVICE: "x", naming.SUPERVISION: "{}"}
    labels = body_of(db(labels=mine, healthcheck=HealthCheck(("CMD", "up"))))["labels"]
    assert (labels["team"], labels[naming.OWNER], labels[naming.SERVICE]) == ("a", UID, "db")
    check = Supervision.from_label(labels[naming.SUPERVISION]).check
    assert check is not None
    assert check.argv == ("up",)


def test_mounts() -> None:
    body = body_of(
        db(
            mounts=(
                Bind("m", "/srv/app", "/app", read_only=True),
                Named("m", "pg", "/data", no_copy=True),
                Anonymous("m", "/cache", read_only=True),
                Tmpfs("m", "/tmp", size=1024, mode=0o1777),
                Tmpfs("m", "/var/tmp", read_only=True),
                ImageMount("m", "tools:1", "/tools"),
            ),
            secrets=(SecretMount("s", "m", "/srv/pw.txt", "/run/secrets/pw"),),
        )
    )
    bind = ["rbind", "rprivate", "nosuid", "nodev"]
    assert body["mounts"] == [
        {"type": "bind", "source": "/data/app", "destination": "/app", "options": ["ro", *bind]},
        {
            "type": "tmpfs",
            "source": "tmpfs",
            "destination": "/tmp",
            "options": ["rw", "nosuid", "nodev", "size=1024", "mode=1777"],
        },
        {"type": "tmpfs", "source": "tmpfs", "destination": "/var/tmp", "options": ["ro", "nosuid", "nodev"]},
        {"type": "bind", "source": "/home/op/pw", "destination": "/run/secrets/pw", "options": ["ro", *bind]},
    ]
    assert body["volumes"] == [
        {"Name": names.volume(UID, "db:/cache"), "Dest": "/cache", "Options": ["ro"]},
        {"Name": names.volume(UID, "pg"), "Dest": "/data", "Options": ["rw", "nocopy"]},
    ]
    assert body["image_volumes"] == [{"Source": "beef", "Destination": "/tools", "ReadWrite": False}]


def test_limits() -> None:
    asked = stack.Limits(memory=512, memory_reservation=256, memory_swap=1024, cpus=500, pids=7, shm_size=64)
    body = body_of(db(limits=asked))
    assert body["resource_limits"] == {
        "pids": {"limit": 7},
        "memory": {"limit": 512, "swap": 1024, "reservation": 256},
        "cpu": {"quota": 50_000, "period": 100_000},
    }
    assert body["shm_size"] == 64
    assert body_of(db(limits=stack.Limits(cpus=1)))["resource_limits"]["cpu"]["quota"] == 1000, "the kernel's least"
    assert "shm_size" not in body_of(db())


@pytest.mark.parametrize(
    ("limit", "most", "soft", "hard"),
    [
        (Ulimit(1, 2), 4096, 1, 2),
        (Ulimit(65536, 65536), 4096, 4096, 4096),
        (Ulimit(1024, -1), 4096, 1024, 4096),
        (Ulimit(-1, -1), 4096, 4096, 4096),
        (Ulimit(-1, -1), -1, 2**64 - 1, 2**64 - 1),
        (Ulimit(5, 6), -1, 5, 6),
    ],
)
def test_ulimits_are_clamped_to_the_node_s(limit: Ulimit, most: int, soft: int, hard: int) -> None:
    assert ulimits({"nofile": limit}, {"nofile": most, "nproc": 9})[0] == {"type": "nofile", "soft": soft, "hard": hard}


def test_with_one_ulimit_the_two_that_podman_would_set_are_stated_too() -> None:
    assert [(one["type"], one["hard"]) for one in ulimits({"memlock": Ulimit(-1, -1)}, NODE)] == [
        ("memlock", 65536),
        ("nofile", 4096),
        ("nproc", 2**64 - 1),
    ]
    assert ulimits({}, NODE) == []


def test_rights() -> None:
    body = body_of(
        db(
            cap_add=(Capability("c", "CHOWN"), Capability("c", "ALL")),
            cap_drop=(Capability("c", "ALL"), Capability("c", "KILL")),
        )
    )
    assert (body["cap_add"], body["cap_drop"]) == (["CAP_CHOWN", "ALL"], ["ALL", "CAP_KILL"])
    assert "privileged" not in body
    plain = body_of(db())
    assert not {"cap_add", "cap_drop", "privileged"} & set(plain)
    assert body_of(db(privileged=True))["privileged"] is True


def test_nothing_of_the_run_or_the_operator_is_in_it() -> None:
    text = json.dumps(body_of(db(environment={"A": "b"}, mounts=(Bind("m", "/srv/app", "/app"),))))
    for place in (naming.RUNTIME, naming.CLI_MOUNT, naming.MANAGED, "ANTHROPIC", "CLAUDE"):
        assert place not in text


def test_a_holder_only_sleeps() -> None:
    network: Body = {"netns": {"nsmode": "bridge"}, "Networks": {"n": {"aliases": ["db"]}}}
    body = holder(network, name="h", labels=LABELS, root="/home/op/janitor", program="busybox")
    assert (body["rootfs"], body["entrypoint"][:2], body["Networks"]) == (
        "/home/op/janitor",
        ["/busybox", "sleep"],
        network["Networks"],
    )
    assert body["cap_drop"] == ["ALL"]
    assert body["no_new_privileges"] is True
    assert body["read_only_filesystem"] is True
    assert "mounts" not in body
    assert "image" not in body

"""For any user of an image: a writable home, files owned by that user, and permission checks skipped if requested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.images import NONROOT_UID, NUMERIC_UID, build
from tests.support.podman import IsolatedPodman
from tests.support.runs import Object, Runs, condition

LOOK = (
    'BASH{id -u; id -g; echo "$HOME"; touch "$HOME/made" && echo home is writable; '
    'touch "$CLAUDE_CONFIG_DIR/made" && echo configuration is writable; echo "sandbox=$IS_SANDBOX"; '
    "echo written > /shared/answer; mkdir /shared/folder; "
    "touch /run/stromboli/handed 2>/dev/null || echo secrets are sealed; "
    "touch /run/stromboli/plan/x 2>/dev/null || echo plan is sealed; "
    "touch /opt/claude/x 2>/dev/null || echo the CLI is sealed}"
)


@dataclass(frozen=True)
class User:
    """An image and the identity of its processes."""

    image: str
    uid: int
    gid: int
    home: str
    sandbox: str = ""


USERS = {
    "nobody-said": User("glibc", 0, 0, "/root", "1"),
    "root": User("as-root", 0, 0, "/root", "1"),
    "named": User("nonroot", NONROOT_UID, 1000, "/home/agent"),
    "numeric": User("numeric-user", NUMERIC_UID, 0, "/run/stromboli/session/home"),
    "user-and-group": User("as-both", 7, 1000, "/run/stromboli/session/home"),
}


@pytest.fixture(scope="module")
def shared(folder: Path, policy: dict[str, Any]) -> Path:
    """A world-writable folder for each case."""
    base = folder / "work"
    base.mkdir(exist_ok=True)
    for name in USERS:
        (base / name).mkdir()
        (base / name).chmod(0o777)
    return base


@pytest.fixture(scope="module")
def ended(
    spaces: Callable[..., Runs], shared: Path, isolated_podman: IsolatedPodman, podman_env: dict[str, str]
) -> dict[str, Object]:
    """A finished run as each of the users."""
    small = build("nonroot", podman_env)
    made = {"as-root": "USER root", "as-both": "USER 7:agent", "stranger": "USER stranger"}
    for name, change in made.items():
        container = isolated_podman.run("create", small, "true")
        isolated_podman.run("commit", "--quiet", "--change", change, container, f"docker.io/library/{name}:1")
        isolated_podman.run("rm", container)
    images = {n: f"{u.image}:1" if u.image in made else build(u.image, podman_env) for n, u in USERS.items()}
    specs = {
        name: {
            "prompt": LOOK,
            "image": images[name],
            "workdir": "/shared",
            "volumes": [f"{shared}/{name}:/shared"],
            "claude": {"dangerouslySkipPermissions": True},
        }
        for name in USERS
    }
    return spaces("users").run_all({**specs, "stranger": {"prompt": "hello", "image": "stranger:1"}})


@pytest.mark.parametrize("name", USERS)
def test_the_images_user_can_work(ended: dict[str, Object], shared: Path, name: str) -> None:
    run, user = ended[name], USERS[name]
    assert condition(run)["reason"] == "Completed", condition(run)["message"]
    said = str(run["status"]["result"]["text"]).removeprefix("The offline stand-in passes on what the tool said: ")
    assert said.splitlines() == [
        str(user.uid),
        str(user.gid),
        user.home,
        "home is writable",
        "configuration is writable",
        f"sandbox={user.sandbox}",
        "secrets are sealed",
        "plan is sealed",
        "the CLI is sealed",
    ]
    for path in (shared / name / "answer", shared / name / "folder"):
        assert (path.stat().st_uid, path.stat().st_gid) == (user.uid, user.gid)


def test_a_user_whom_the_image_does_not_know_is_refused(ended: dict[str, Object]) -> None:
    run = ended["stranger"]
    assert condition(run)["reason"] == "ImageIncompatible"
    assert "user 'stranger' is not in its /etc/passwd" in condition(run)["message"]
    assert "attempts" not in run["status"]

"""Which images run: judged by their contents, pulled if they are missing, started by their ID."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_registry import FakeRegistry
from tests.support.images import build
from tests.support.podman import IsolatedPodman
from tests.support.runs import Object, Runs, completed, condition, finished, reason_is

LATER_CLI = "localhost/stromboli/agent:later"
# A fake CLI in the image itself; it prints what it finds.
OWN_CLI = """\
#!/usr/bin/python3
import json, os, sys
said = f"own CLI, asked {sys.stdin.read()}, mount {os.path.exists('/opt/claude')}, {os.environ['CLAUDE_CONFIG_DIR']}"
print(json.dumps({"type": "result", "subtype": "success", "is_error": False, "result": said, "num_turns": 1}))
"""


class Registry:
    """A registry that serves in a thread."""

    def __init__(self, address: str) -> None:
        self.served = FakeRegistry(address)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> FakeRegistry:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.served.__aenter__(), self._loop).result(10)
        return self.served

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.served.__aexit__(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="module")
def registry(registry_address: str) -> Iterator[FakeRegistry]:
    with Registry(registry_address) as served:
        yield served


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port that is reserved, and on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def changed(podman: IsolatedPodman, image: str, name: str, file: str, content: bytes, tmp: Path, mode: int) -> str:
    """Build an image from another one plus a file."""
    source = tmp / "file"
    source.write_bytes(content)
    source.chmod(mode)
    container = podman.run("create", image)
    podman.run("cp", str(source), f"{container}:{file}")
    podman.run("commit", "--quiet", container, name)
    podman.run("rm", container)
    return name


@pytest.fixture(scope="module")
def judged(spaces: Callable[..., Runs], podman_env: dict[str, str]) -> dict[str, Object]:
    """A finished run in each of the images."""
    images = ("musl", "sneaky", "static", "scratchpad", "no-shell", "no-coreutils", "glibc")
    space = spaces("judged")
    return space.run_all({n: {"prompt": "ECHO{ran}", "image": build(n, podman_env)} for n in images})


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("musl", ("musl 1.2", "/lib/ld-musl-x86_64.so.1", "the Claude CLI needs glibc 2.17 or newer", "Debian")),
        ("sneaky", ("musl 1.2", "/lib/ld-musl-x86_64.so.1", "the Claude CLI needs glibc 2.17 or newer", "Debian")),
        ("static", ("no C library", "/usr/bin/busybox is statically linked", "Debian")),
    ],
)
def test_an_image_without_glibc_is_refused_with_what_was_found(
    judged: dict[str, Object], image: str, found: tuple[str, ...]
) -> None:
    run = judged[image]
    assert condition(run)["reason"] == "ImageIncompatible"
    for words in found:
        assert words in condition(run)["message"]
    assert "attempts" not in run["status"]


@pytest.mark.parametrize("image", ["scratchpad", "no-shell", "no-coreutils", "glibc"])
def test_an_image_with_glibc_runs_whatever_its_name_and_whatever_it_lacks(
    judged: dict[str, Object], image: str
) -> None:
    run = judged[image]
    assert condition(run)["reason"] == "Completed", condition(run)["message"]
    assert run["status"]["result"]["text"] == "ran"


@pytest.fixture(scope="module")
def own_cli(
    spaces: Callable[..., Runs],
    isolated_podman: IsolatedPodman,
    python_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Object]:
    """Without a mounted CLI: finished runs in an image that has one, and in one that does not."""
    space = spaces("own-cli")
    space.policy("unmounted", cli={"mount": False})
    tmp = tmp_path_factory.mktemp("own")
    name = "docker.io/library/brings-its-own:1"
    changed(isolated_podman, python_image, name, "/usr/bin/claude", OWN_CLI.encode(), tmp, 0o755)
    return space.run_all(
        {"brings": {"prompt": "hello", "image": name}, "lacks": {"prompt": "hello", "image": python_image}}
    )


def test_without_a_mount_the_images_own_cli_is_used(own_cli: dict[str, Object]) -> None:
    run = own_cli["brings"]
    assert condition(run)["reason"] == "Completed", condition(run)["message"]
    assert run["status"]["result"]["text"] == "own CLI, asked hello, mount False, /run/stromboli/session/claude"
    assert "cliImage" not in run["status"]


def test_without_a_mount_an_image_with_no_cli_is_refused(own_cli: dict[str, Object]) -> None:
    run = own_cli["lacks"]
    assert condition(run)["reason"] == "ImageIncompatible"
    assert "has no `claude` on its PATH" in condition(run)["message"]
    assert "attempts" not in run["status"]


def test_what_may_not_be_pulled_and_is_missing(spaces: Callable[..., Runs]) -> None:
    space = spaces("never-pulled")
    space.policy("never", images={"pullPolicy": "Never"})
    run = space.run("missing", prompt="hello", image="ghcr.io/nobody/nothing:1")
    assert condition(run)["reason"] == "ImagePullFailed"
    assert "ghcr.io/nobody/nothing:1 is not on the node" in condition(run)["message"]
    assert "pull policy is Never" in condition(run)["message"]


def test_a_registry_that_cannot_be_reached_is_waited_for_no_longer_than_the_timeout(
    spaces: Callable[..., Runs], isolated_podman: IsolatedPodman, python_image: str, closed_port: int
) -> None:
    space, always = spaces("unreachable"), spaces("always-pulled")
    missing, there = (f"127.0.0.1:{closed_port}/team/{name}:1" for name in ("missing", "there"))
    isolated_podman.run("tag", python_image, there)
    always.policy("always", images={"pullPolicy": "Always"})
    space.apply("missing", prompt="hello", image=missing, timeout="6s")
    always.apply("there", prompt="hello", image=there, timeout="6s")
    waiting = space.until("missing", reason_is("RegistryUnavailable"))
    assert condition(waiting)["status"] == "Unknown"
    assert condition(waiting, "Reconciling")["status"] == "True"
    assert missing in condition(waiting)["message"]
    for ended in (space.until("missing", finished), always.until("there", finished)):
        assert condition(ended)["reason"] == "TimedOut"
        assert condition(ended)["message"].startswith("gave up after 6s (RegistryUnavailable)")
        assert "connection refused" in condition(ended)["message"]


def test_a_missing_image_is_pulled_with_progress_and_runs(
    spaces: Callable[..., Runs],
    registry: FakeRegistry,
    isolated_podman: IsolatedPodman,
    podman_env: dict[str, str],
    tmp_path: Path,
) -> None:
    podman, local = isolated_podman, "localhost/to-be-published:1"
    changed(podman, build("scratchpad", podman_env), local, "/published", bytes(range(256)) * 4096 * 3, tmp_path, 0o644)
    podman.run("save", "--quiet", "--format", "oci-dir", "--output", str(tmp_path / "image"), local)
    podman.run("rmi", local)
    digest = registry.publish_saved("team/app", "v1", tmp_path / "image")
    registry.drip(5.0)
    space = spaces("pulled")
    image = f"{registry.address}/team/app:v1"
    space.apply("pull", prompt="BASH{test -f /published && echo yes}", image=image)
    pulling = space.until("pull", lambda run: " MiB" in condition(run).get("message", ""))
    assert condition(pulling)["reason"] == "Pulling"
    assert condition(pulling)["message"].startswith(f"pulling {image}: ")
    assert pulling["status"]["phase"] == "Pending"
    done = space.until("pull", finished)
    assert condition(done)["reason"] == "Completed", condition(done)["message"]
    assert done["status"]["image"]["reference"] == image
    assert done["status"]["image"]["digest"] == digest
    assert done["status"]["image"]["id"] == _inspect(podman, image)["Id"]
    assert [e["message"] for e in space.events("pull") if e["reason"] == "Pulling"]
    registry.drip(0.0)
    missing = space.run("no-such-tag", prompt="hello", image=f"{registry.address}/team/app:v2")
    assert condition(missing)["reason"] == "ImagePullFailed"
    assert "team/app:v2" in condition(missing)["message"]
    assert "manifest unknown" in condition(missing)["message"]
    pinned = space.run("pinned", prompt="hello", image=f"{registry.address}/team/app:gone@{digest}")
    assert condition(pinned)["reason"] == "Completed", condition(pinned)["message"]
    assert pinned["status"]["image"]["digest"] == digest


def test_what_starts_is_the_id_that_was_judged(
    spaces: Callable[..., Runs], isolated_podman: IsolatedPodman, podman_env: dict[str, str]
) -> None:
    podman, name = isolated_podman, "docker.io/library/moving:1"
    glibc, musl = build("scratchpad", podman_env), build("musl", podman_env)
    podman.run("tag", glibc, name)
    space = spaces("moving")
    space.apply("before", prompt="SLEEP{2}ECHO{ran}", image="moving:1")
    running = space.until("before", reason_is("Running"))
    image = _inspect(podman, glibc)["Id"]
    assert running["status"]["image"]["id"] == image
    assert running["status"]["image"]["reference"] == name
    container = json.loads(podman.run("inspect", running["status"]["attempts"][-1]["container"]))[0]
    assert container["Image"] == image
    podman.run("tag", musl, name)
    after = space.run("after", prompt="hello", image="moving:1")
    assert condition(after)["reason"] == "ImageIncompatible"
    completed(space.until("before", finished))


def test_a_cli_that_is_missing_is_waited_for(
    spaces: Callable[..., Runs],
    policy: dict[str, Any],
    isolated_podman: IsolatedPodman,
    cli_image: str,
    python_image: str,
) -> None:
    space = spaces("late-cli", own=True)
    image, tag = LATER_CLI.rsplit(":", 1)
    cli = {"image": image, "tag": tag, "pull": "Never"}
    space.policy("late", **{k: v for k, v in policy["spec"].items() if k != "namespaceSelector"} | {"cli": cli})
    space.apply("late", prompt="ECHO{at last}", image=python_image)
    waiting = space.until("late", reason_is("CLIImageUnavailable"))
    assert f"the Claude CLI's image {LATER_CLI} is not on the node" in condition(waiting)["message"]
    assert "pulling is off" in condition(waiting)["message"]
    isolated_podman.run("tag", cli_image, LATER_CLI)
    done = space.until("late", finished)
    assert condition(done)["reason"] == "Completed", condition(done)["message"]
    assert done["status"]["cliImage"]["reference"] == LATER_CLI
    assert done["status"]["cliImage"]["id"] == _inspect(isolated_podman, cli_image)["Id"]


def _inspect(podman: IsolatedPodman, image: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(podman.run("image", "inspect", image))[0]
    return found

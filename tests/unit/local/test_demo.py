"""The demo's order and its words, with everything below it pretended."""

from __future__ import annotations

import io
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from stromboli.errors import LocalFailure
from stromboli.local import images
from stromboli.local.demo import Demo
from stromboli.local.home import Home
from stromboli.local.images import Image
from stromboli.local.kubectl import Kubectl
from stromboli.local.progress import Progress
from stromboli.local.stack import Stack
from stromboli.local.standin_process import StandinProcess


def state(status: str, reason: str, text: str = "") -> dict[str, Any]:
    condition = {"type": "Succeeded", "status": status, "reason": reason, "message": f"it is {reason}"}
    return {"status": {"conditions": [condition], **({"result": {"text": text}} if text else {})}}


STARTING, DONE = state("Unknown", "Starting"), state("True", "Completed", "Hello.\nAgain.")


class World:
    """What the demo found and did. `states` is what the watch of the run gives."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.applied: list[dict[str, Any]] = []
        self.states: list[dict[str, Any] | None] = [{}, None, STARTING, DONE]
        self.out = io.StringIO()

    def note(self, what: str) -> Any:
        return lambda *args, **kwargs: self.done.append(what)

    def kubectl(self, command: str, *args: str) -> str:
        self.done.append(f"kubectl {command}")
        return ""

    def follow(self, *args: Any) -> Generator[Any, None, None]:
        yield from self.states

    def demo(self, tmp_path: Path, **environ: str) -> Demo:
        progress = Progress(self.out, terminal=False)
        home = Home(tmp_path / "home")
        return Demo(Stack(home, {"HOME": str(tmp_path), "PATH": "/bin", **environ}, progress.line), progress)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    for name in ("podman_up", "control_plane_up", "standin_up", "operator_up"):
        monkeypatch.setattr(Stack, name, world.note(name))
    monkeypatch.setattr(StandinProcess, "retire", world.note("standin retired"))
    monkeypatch.setattr(Stack, "kubectl", lambda self: Kubectl(Path("/k"), Path("/c"), Path("/x")))
    monkeypatch.setattr(Kubectl, "__call__", world.kubectl)
    monkeypatch.setattr(Kubectl, "apply", lambda self, *objects: world.applied.extend(objects))
    monkeypatch.setattr(Kubectl, "follow", world.follow)
    monkeypatch.setattr(images, "ensure_cli_image", lambda *args: Image("localhost/stromboli/agent:2.1", "built"))
    monkeypatch.setattr(images, "ensure_base_image", lambda *args: Image("localhost/stromboli/python:3.11", "present"))
    return world


def test_offline_it_says_so_plainly(world: World, tmp_path: Path) -> None:
    assert world.demo(tmp_path).run()
    text = world.out.getvalue()
    assert "  Hello.\n  Again.\n" in text
    assert "this answer is not Claude's" in text
    assert "standin_up" in world.done


def test_with_a_key_the_real_api_answers_and_no_note_is_shown(world: World, tmp_path: Path) -> None:
    assert world.demo(tmp_path, ANTHROPIC_API_KEY="sk-secret").run()
    text = world.out.getvalue()
    assert "not Claude's" not in text
    assert "sk-secret" not in text
    assert "standin retired" in world.done
    assert "standin_up" not in world.done


def test_the_order(world: World, tmp_path: Path) -> None:
    world.demo(tmp_path).run()
    assert world.done == [
        "podman_up",
        "control_plane_up",
        "standin_up",
        "operator_up",
        "kubectl delete",
        "kubectl apply",
    ]
    policy = world.applied[-1]["spec"]
    assert policy["defaults"]["image"] == "localhost/stromboli/python:3.11"
    assert (policy["cli"]["image"], policy["cli"]["tag"]) == ("localhost/stromboli/agent", "2.1")


def test_it_shows_conditions_times_and_the_way_on(world: World, tmp_path: Path) -> None:
    world.demo(tmp_path).run()
    text = world.out.getvalue()
    assert "Succeeded  True    Completed  it is Completed" in text
    for stage in ("Podman", "control plane", "images", "operator", "the run"):
        assert f"  {stage} " in text
    assert "down --purge" in text
    assert 'eval "$(' in text


def test_each_state_is_told_once(world: World, tmp_path: Path) -> None:
    world.states = [STARTING, STARTING, None, STARTING, DONE]
    world.demo(tmp_path).run()
    assert world.out.getvalue().count("Starting: it is Starting") == 1


def test_a_run_that_failed(world: World, tmp_path: Path) -> None:
    world.states = [state("False", "CredentialsMissing")]
    assert not world.demo(tmp_path).run()
    text = world.out.getvalue()
    assert "There is no answer" in text
    assert "it is CredentialsMissing" in text
    assert "not Claude's" not in text


def test_a_watch_that_ends_too_soon(world: World, tmp_path: Path) -> None:
    world.states = [STARTING]
    with pytest.raises(LocalFailure, match=r"(?s)ended before the run did.*operator\.log"):
        world.demo(tmp_path).run()


def test_images_named_in_the_settings_are_the_ones_wanted(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[str] = []

    def ensure(environ: object, *args: Any) -> Image:
        wanted.extend(a for a in args if isinstance(a, str))
        return Image("localhost/stromboli/x:1", "present")

    monkeypatch.setattr(images, "ensure_cli_image", ensure)
    monkeypatch.setattr(images, "ensure_base_image", ensure)
    environ = {"STROMBOLI_AGENT_CLI_IMAGE": "ghcr.io/o/cli", "STROMBOLI_AGENT_CLI_IMAGE_TAG": "7"}
    world.demo(tmp_path, STROMBOLI_AGENT_IMAGE="node:22", **environ).run()
    assert wanted == ["ghcr.io/o/cli:7", "node:22"]

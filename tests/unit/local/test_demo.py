"""The demo's order and its words, with everything below it pretended."""

from __future__ import annotations

import io
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from stromboli.errors import LocalFailure
from stromboli.local.answers import Answers, Claude, Offline
from stromboli.local.demo import Demo
from stromboli.local.home import Home
from stromboli.local.kubectl import Kubectl
from stromboli.local.stack import Stack
from stromboli.progress import Progress


def state(status: str, reason: str, text: str = "") -> dict[str, Any]:
    condition = {"type": "Succeeded", "status": status, "reason": reason, "message": f"it is {reason}"}
    return {"status": {"conditions": [condition], **({"result": {"text": text}} if text else {})}}


STARTING, DONE = state("Unknown", "Starting"), state("True", "Completed", "Hello.\nAgain.")


class World:
    """What the demo found and did. `states` is what the watch of the run gives, `chosen` who answers."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.states: list[dict[str, Any] | None] = [{}, None, STARTING, DONE]
        self.chosen: Answers = Offline()
        self.out = io.StringIO()

    def note(self, what: str) -> Any:
        return lambda *args, **kwargs: self.done.append(what)

    def answers_up(self, *args: Any) -> Answers:
        self.done.append("answers_up")
        return self.chosen

    def kubectl(self, command: str, *args: str) -> str:
        self.done.append(f"kubectl {command}")
        return ""

    def follow(self, *args: Any) -> Generator[Any, None, None]:
        yield from self.states

    def demo(self, tmp_path: Path, **environ: str) -> Demo:
        progress = Progress(self.out, terminal=False)
        home = Home(tmp_path / "home")
        return Demo(Stack(home, {"HOME": str(tmp_path), "PATH": "/bin", **environ}, progress))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    for name in ("podman_up", "control_plane_up", "gateway_up", "images_up", "operator_up", "gateway_reached"):
        monkeypatch.setattr(Stack, name, world.note(name))
    monkeypatch.setattr(Stack, "answers_up", world.answers_up)
    monkeypatch.setattr(Stack, "kubectl", lambda self: Kubectl(Path("/k"), Path("/c"), Path("/x")))
    monkeypatch.setattr(Kubectl, "__call__", world.kubectl)
    monkeypatch.setattr(Kubectl, "follow", world.follow)
    return world


def test_offline_it_says_so_plainly_and_how_to_change_it(world: World, tmp_path: Path) -> None:
    assert world.demo(tmp_path).run()
    text = world.out.getvalue()
    assert "  Hello.\n  Again.\n" in text
    assert "this answer is not Claude's" in text
    assert "stromboli login" in text


def test_with_credentials_it_says_which_and_how_to_change_them(world: World, tmp_path: Path) -> None:
    world.chosen = Claude("CLAUDE_CODE_OAUTH_TOKEN", "sk-secret")
    assert world.demo(tmp_path).run()
    text = world.out.getvalue()
    assert "Claude answers, with an OAuth token." in text
    assert "stromboli logout" in text
    for not_said in ("not Claude's", "is not used", "sk-secret"):
        assert not_said not in text


@pytest.mark.parametrize("chosen", [Claude("ANTHROPIC_API_KEY", "sk-stored"), Offline(chosen=True)], ids=str)
def test_credentials_of_the_shell_that_are_not_used_are_named(chosen: Answers, world: World, tmp_path: Path) -> None:
    world.chosen = chosen
    world.demo(tmp_path, CLAUDE_CODE_OAUTH_TOKEN="sk-other").run()
    text = world.out.getvalue()
    assert "CLAUDE_CODE_OAUTH_TOKEN in this shell is not used" in text
    assert "login --from-env" in text
    assert "sk-" not in text


def test_the_order(world: World, tmp_path: Path) -> None:
    world.demo(tmp_path).run()
    assert world.done == [
        "podman_up",
        "control_plane_up",
        "gateway_up",
        "images_up",
        "answers_up",
        "operator_up",
        "gateway_reached",
        "kubectl delete",
        "kubectl apply",
    ]


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


def test_a_watch_that_ends_too_soon(world: World, tmp_path: Path) -> None:
    world.states = [STARTING]
    with pytest.raises(LocalFailure, match=r"(?s)ended before the run did.*operator\.log"):
        world.demo(tmp_path).run()

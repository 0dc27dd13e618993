"""Runs that are canceled, held back, tried again and deleted, while the operator is killed at random moments.

No prompt is sent twice in an attempt, none after a cancel that came before the start, and nothing is left on the node.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightkube.types import PatchType

from stromboli import naming
from stromboli.grammar import times
from stromboli.kube.kinds import AgentRun
from stromboli.plan.attempt import CONTINUE
from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import ENDLESS, Object, Runs, condition, finished, reason_is

SEED = 14
KILLS = 30
PATIENCE = 90.0
FREE = {"dangerouslySkipPermissions": True}
# An agent that hangs the first time in its container, and answers the second time.
ONCE = "[ -e /second ] || sleep 300"
COUNTED = {"postStart": ["[ ! -e /first ] || touch /second; touch /first"]}


@dataclass
class Played:
    """A run of a story: its last known version, the steps that are left, and what is known of it for the end."""

    name: str
    story: Story
    obj: Object
    left: list[Step]
    attempts_at_cancel: int | None = None
    deleted: bool = False

    @property
    def uid(self) -> str:
        return str(self.obj["metadata"]["uid"])

    @property
    def is_over(self) -> bool:
        return not self.left and (self.deleted or finished(self.obj))

    @property
    def attempts(self) -> list[Object]:
        found: list[Object] = self.obj.get("status", {}).get("attempts", [])
        return found


class Stage:
    """What the tests do to runs, and what they know of the prompts."""

    def __init__(self, runs: Mapping[bool, Runs], standin: Standin, host: Host) -> None:
        self.chance = random.Random(SEED)
        self.spaces = runs
        self.standin = standin
        self.host = host
        self.played: dict[str, Played] = {}

    def begin(self, name: str, story: Story, image: str) -> None:
        space = self.spaces[story.light]
        prompt = story.prompt.replace("NAME", name)
        space.apply(name, prompt=prompt, image=image, **({} if story.light else {"claude": FREE}), **story.spec)
        self.played[name] = Played(name, story, space.get(name), list(story.steps))

    def go_on(self) -> None:
        """Take the next step with each run that is ready for it."""
        for light, space in self.spaces.items():
            for obj in space.client.list(AgentRun, namespace=space.namespace):
                name = str(obj.metadata.name) if obj.metadata else ""
                if name in self.played and self.played[name].story.light is light:
                    self.played[name].obj = dict(obj)
        for one in self.played.values():
            if one.left and one.left[0].when(self, one):
                one.left.pop(0).do(self, one)

    def change(self, one: Played, **spec: Any) -> None:
        space = self.spaces[one.story.light]
        patch = {"spec": spec}
        one.obj = dict(
            space.client.patch(AgentRun, one.name, patch, namespace=space.namespace, patch_type=PatchType.MERGE)
        )

    def asked(self, one: Played) -> list[dict[str, Any]]:
        """The requests whose last words are its prompt."""
        return [found for found in self.standin.requests() if f"({one.name})" in str(found["last_user_text"])]

    def container(self, one: Played) -> list[str]:
        """The ID of its container, if that runs."""
        session = one.obj.get("status", {}).get("session", {}).get("uid") or one.uid
        found = self.host.containers(f"{naming.OWNER}={session}", f"{naming.ROLE}={naming.AGENT}")
        return [container["Id"] for container in found if container["State"] == "running"]


@dataclass(frozen=True)
class Step:
    """What is done to a run once something is true of it."""

    when: Callable[[Stage, Played], bool]
    do: Callable[[Stage, Played], None]


def at_any_moment(stage: Stage, one: Played) -> bool:
    return stage.chance.random() < 0.5


def asked(stage: Stage, one: Played) -> bool:
    return bool(stage.asked(one)) and bool(stage.container(one))


def is_at(reason: str) -> Callable[[Stage, Played], bool]:
    return lambda stage, one: reason_is(reason)(one.obj)


def change(**spec: Any) -> Callable[[Stage, Played], None]:
    return lambda stage, one: stage.change(one, **spec)


def cancel(stage: Stage, one: Played) -> None:
    stage.change(one, cancel=True)
    one.attempts_at_cancel = len(one.attempts)


def kill_container(stage: Stage, one: Played) -> None:
    for container in stage.container(one):
        stage.host.kill(container)


def delete(stage: Stage, one: Played) -> None:
    stage.spaces[one.story.light].delete(one.name)
    one.deleted = True


@dataclass(frozen=True)
class Story:
    """A run, what is done to it, and how it ends: with this reason, and with attempts that ended so."""

    steps: tuple[Step, ...]
    ends: str
    attempts: tuple[str, ...]
    prompt: str = "SLEEP{300} (NAME)"
    spec: Mapping[str, Any] = field(default_factory=dict)
    light: bool = True


LOST = Step(asked, kill_container)
AGAIN: dict[str, Any] = {
    "prompt": f"BASH{{{ONCE}}} (NAME)",
    "spec": {"retryOn": ["ContainerLost"], "lifecycle": COUNTED},
}
STORIES = {
    "at-work": Story((Step(asked, cancel),), "Canceled", ("Canceled",)),
    "again": Story((LOST,), "Completed", ("ContainerLost", "Completed"), **AGAIN),
    "early": Story((Step(at_any_moment, cancel),), "Canceled", ("Canceled",)),
    "between": Story((LOST, Step(is_at("Retrying"), cancel)), "Canceled", ("ContainerLost",), **AGAIN),
    "held": Story(
        (Step(is_at("Suspended"), change(suspend=False)),),
        "Completed",
        ("Completed",),
        prompt="ECHO{a} (NAME)",
        spec={"suspend": True},
    ),
    "rests": Story(
        (LOST, Step(is_at("Retrying"), change(suspend=True)), Step(is_at("Suspended"), change(suspend=False))),
        "Completed",
        ("ContainerLost", "Completed"),
        **AGAIN,
    ),
    "never": Story((Step(at_any_moment, cancel),), "Canceled", (), spec={"suspend": True}),
    "deleted": Story((LOST, Step(is_at("Retrying"), delete)), "", ("ContainerLost",), **AGAIN),
}
REAL: dict[str, Any] = {
    "ends": "Completed",
    "attempts": ("ContainerLost", "Completed"),
    "prompt": f"BASH{{{ENDLESS}}} (NAME)",
    "light": False,
}
CONTINUED = {
    "alone": Story((LOST,), **REAL, spec={"retryOn": ["ContainerLost"]}),
    "in-session": Story((LOST,), **REAL, spec={"retryOn": ["ContainerLost"], "session": {"name": "story"}}),
}


def test_killed_at_random_moments_no_prompt_is_sent_twice_nor_after_a_cancel_and_nothing_is_left(
    steady_operator: OperatorProcess,
    spaces: Callable[..., Runs],
    standin: Standin,
    python_image: str,
    host: Host,
) -> None:
    print(f"seed {SEED}")
    stage = Stage({True: spaces("killed-light", light=True), False: spaces("killed")}, standin, host)
    chance = stage.chance
    for name, story in CONTINUED.items():
        stage.begin(name, story, python_image)
    waiting = [(f"{name}-{number}", story) for number in range(3) for name, story in STORIES.items()]
    for kill in range(KILLS):
        if waiting and kill % 2 == 0:  # as many while there is an operator as while there is none
            stage.begin(*waiting.pop(0), python_image)
        stage.go_on()
        time.sleep(chance.uniform(0.05, 0.8))  # the random delay is the test
        steady_operator.kill()
        if waiting:
            stage.begin(*waiting.pop(0), python_image)
        stage.go_on()
        steady_operator.start(wait=chance.random() < 0.6)
    limit = time.monotonic() + PATIENCE
    while left := {one.name: one.obj.get("status") for one in stage.played.values() if not one.is_over}:
        assert time.monotonic() < limit, f"after {PATIENCE:.0f} s: {json.dumps(left)[:4000]}"
        stage.go_on()
        time.sleep(0.1)
    for one in stage.played.values():
        check(stage, one)
    for name, story in CONTINUED.items():
        check_continued(stage, stage.played[name])
        assert story.light is False
    for space in stage.spaces.values():
        space.clear()
    for one in stage.played.values():
        host.await_gone(one.uid)
        session = one.obj["status"].get("session", {}).get("uid")
        if session:
            host.await_gone(session)
    print(f"{KILLS} kills, {len(stage.played)} runs")


def check(stage: Stage, one: Played) -> None:
    """It ended as expected, and sent no prompt too many."""
    status, prompts = one.obj["status"], stage.asked(one)
    told = f"{one.name}: {len(prompts)} prompts, {json.dumps(status)}"
    reasons = [attempt.get("reason") for attempt in one.attempts]
    sent = [attempt for attempt in one.attempts if attempt.get("promptSent") != "No"]
    assert len(prompts) <= len(sent), told
    if not one.deleted:
        assert condition(one.obj)["reason"] == one.story.ends, told
        assert "nextAttemptTime" not in status, told
        assert all(found["time"] <= times.from_text(status["completionTime"]).timestamp() for found in prompts), told
    if one.attempts_at_cancel == 0:
        assert (len(prompts), reasons) == (0, []), told
    else:
        assert reasons == list(one.story.attempts), told
    if one.story.light and one.story.steps[0].when is not at_any_moment:
        assert len(prompts) == len(reasons), told


def check_continued(stage: Stage, one: Played) -> None:
    """The prompt was sent once, and the conversation that has it went on with the sentence."""
    found = [found for found in stage.standin.requests() if f"({one.name})" in json.dumps(found["user_texts"])]
    for request in found:
        assert json.dumps(request["user_texts"]).count(f"({one.name})") == 1, request
    assert any(CONTINUE in request["user_texts"][-1] for request in found), f"{one.name}: {found}"

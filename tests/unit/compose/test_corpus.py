"""Whole compose files: hostile ones are refused by the key that is wrong, ordinary ones are typed as they are meant.

Each goes all the way that it goes before anything of it starts, except for what needs images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from stromboli.compose.stack import Stack
from stromboli.errors import ComposeProblem, NotPermitted, Refused
from stromboli.models.environment import Environment
from stromboli.observe import buildcontext, hostfiles, stackfiles, stacks
from stromboli.observe.reads import ClusterReads
from stromboli.perform.stacks import reading
from stromboli.perform.stacks.prepared import Prepared
from stromboli.plan.policy import Rules
from stromboli.plan.stack.builds import planned
from tests.support import built, corpus
from tests.support.builders import effective, policy
from tests.support.corpus import Case

# What is wrong with these shows only in an image, or in a race: other tests have that.
ELSEWHERE = {
    "hostile/124-bind-symlink-race.yaml",
    "hostile/265-image-musl-agent.yaml",
    "hostile/295-depends-no-check.yaml",
}
# `include` is refused as such.
INSTEAD = {"hostile/235-include-hidden-privileged.yaml": "include[0]"}
HOSTILE = [case for case in corpus.cases("hostile") if case.name not in ELSEWHERE]
ORDINARY = corpus.cases("ordinary")
SECRET = "no message may repeat it"


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is writing the files that were copied a moment ago."""
    monkeypatch.setattr(stackfiles, "SETTLED", 0.0)


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
async def test_a_hostile_file_is_refused_by_its_key(case: Case, tmp_path: Path) -> None:
    if case.refused is None:
        notices = (await judged(case, tmp_path)).notices
        assert all(len(notice) < 2_000 for notice in notices)
        return
    with pytest.raises(ComposeProblem) as caught:
        await judged(case, tmp_path)
    said = str(caught.value)
    assert names(caught.value, INSTEAD.get(case.name, case.refused)), said
    assert len(said) < 2_000, "messages have a piece of the file at most"
    assert SECRET not in said


@pytest.mark.parametrize("case", ORDINARY, ids=lambda case: case.name)
async def test_an_ordinary_file_is_typed_as_it_is_meant(case: Case, tmp_path: Path) -> None:
    if case.optional:
        with pytest.raises(ComposeProblem) as caught:
            await judged(case, tmp_path)
        assert names(caught.value, case.refused or ""), str(caught.value)
        return
    stack = (await judged(case, tmp_path)).stack
    found = {each.path: corpus.value(stack, each.path) for each in case.typed}
    assert found == {each.path: each.value for each in case.typed}


async def judged(case: Case, root: Path) -> Prepared:
    """What the operator makes of the run's environment, if nothing is wrong with it."""
    paths = case.laid_out(root)
    environment = Environment.model_validate(
        {
            "type": "compose",
            "paths": [str(path) for path in paths],
            "service": case.service,
            "profiles": [*case.profiles],
            "env": [{"name": name, "value": value} for name, value in case.environment.items()],
        }
    )
    given = effective(of_case(case, root / "allowed"))
    try:
        found = await stacks.project(cast(ClusterReads, None), "team", environment, given, "test")
        prepared = await hostfiles.in_time(reading.prepared, found, environment, given)
        await builds_are_allowed(prepared.stack, case, root)
    except Refused as refusal:
        _, at, what = refusal.message.split(": ", 2)
        raise NotPermitted(at, what) from refusal
    return prepared


def of_case(case: Case, folder: Path) -> Rules:
    """The policy of a case: its folder, and what it says itself."""
    stated = case.policy
    allowed = re.findall(r"[^\[\], ]+", stated.get("images.allowed", ""))
    named = re.findall(r"[A-Z_]+", stated.get("capabilities", ""))
    compose = {name: value == "true" for name, value in stated.items() if name.startswith("allow")}
    return policy(
        volumes={"allowed": [{"path": str(folder)}]},
        images={"allowed": allowed or None},
        compose={**compose, "capabilities": named or None, "maxServices": int(stated.get("maxServices", 64))},
        limits={"memory": stated.get("memory")},
    )


async def builds_are_allowed(stack: Stack, case: Case, root: Path) -> None:
    """What is built; of a folder that the corpus has left out, only whether it is allowed."""
    allowed = root / "allowed"
    given = built.policy(allowed, allowed=["docker.io/**"])
    for service in stack.services.values():
        if (build := service.build) is None:
            continue
        if build.context is not None and not Path(build.context).is_relative_to(allowed):
            raise NotPermitted(f"{build.at}.context", "is outside of the allowed folder")
        inside = build.dockerfile is not None and Path(build.dockerfile).is_relative_to(str(build.context))
        if case.policy.get("allowBuild") != "true" or (inside and not Path(str(build.dockerfile)).exists()):
            continue
        context = await buildcontext.read(build, given.volumes, root / "context.tar")
        (root / "context.tar").unlink(missing_ok=True)
        planned(build, context.dockerfile, given)


def names(problem: ComposeProblem, expected: str) -> bool:
    """Whether the problem's key equals the expected one or goes on from it, or its line is that or one beside it."""
    if expected.startswith("line "):
        line = int(expected.removeprefix("line ").split()[0])
        return any(abs(int(found) - line) <= 1 for found in lines(problem))
    key = problem.key.removeprefix(f"{stacks.FIELD}.")  # of a field of the run
    return re.match(re.escape(expected) + r"(?:$|[ .\[])", key) is not None


def lines(problem: ComposeProblem) -> Iterator[str]:
    yield from re.findall(r":([0-9]+)\b", problem.where)
    yield from re.findall(r"\bline ([0-9]+)", problem.what)

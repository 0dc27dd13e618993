"""Whole compose files: hostile ones are refused by the key that is wrong, ordinary ones are typed as they are meant.

Each goes all the way that it goes before anything of it starts, except for what needs images.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stromboli.compose import dotenv
from stromboli.compose.document.load import Source, load
from stromboli.compose.selection import Selected, select
from stromboli.compose.stack import Stack
from stromboli.compose.typed.read import typed
from stromboli.errors import ComposeProblem, NotPermitted, Refused
from stromboli.grammar import pattern, reference
from stromboli.observe import buildcontext, stackpaths
from stromboli.observe.stackfiles import NodeFiles
from stromboli.plan.compose_rules import Bound, CapabilityList, ComposeRules, Switch
from stromboli.plan.limits import Ceiling, Limits
from stromboli.plan.policy import VolumeList
from stromboli.plan.stack import rules
from stromboli.plan.stack.builds import planned
from tests.support import built, corpus
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


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_a_hostile_file_is_refused_by_its_key(case: Case, tmp_path: Path) -> None:
    if case.refused is None:
        _, _, notices = judged(case, tmp_path)
        assert all(len(notice) < 2_000 for notice in notices)
        return
    with pytest.raises(ComposeProblem) as caught:
        judged(case, tmp_path)
    said = str(caught.value)
    assert names(caught.value, INSTEAD.get(case.name, case.refused)), said
    assert len(said) < 2_000, "messages have a piece of the file at most"
    assert SECRET not in said


@pytest.mark.parametrize("case", ORDINARY, ids=lambda case: case.name)
def test_an_ordinary_file_is_typed_as_it_is_meant(case: Case, tmp_path: Path) -> None:
    if case.optional:
        with pytest.raises(ComposeProblem) as caught:
            judged(case, tmp_path)
        assert names(caught.value, case.refused or ""), str(caught.value)
        return
    stack, _, _ = judged(case, tmp_path)
    found = {each.path: corpus.value(stack, each.path) for each in case.typed}
    assert found == {each.path: each.value for each in case.typed}


def judged(case: Case, root: Path) -> tuple[Stack, Selected, tuple[str, ...]]:
    """The stack, if nothing is wrong with it."""
    lists = (VolumeList("AgentPolicy test", ((str(root / "allowed"), False),)),)
    files = NodeFiles(lists)
    paths = case.laid_out(root)
    directory = str(paths[0].parent)
    beside = paths[0].parent / ".env"
    variables = {"PWD": directory, "COMPOSE_PROJECT_NAME": "test"}
    if beside.exists():
        variables |= dotenv.parse(beside.read_bytes(), ".env", case.environment)
    sources = [Source(path.name, str(path.parent), path.read_bytes()) for path in paths]
    document = load(sources, variables | dict(case.environment), files)
    stack = typed(document, files)
    selected = select(stack, case.profiles, case.service)
    notices = rules.judge(stack, selected, compose_rules(case), limits(case))
    stackpaths.resolved(stack.services.values(), lists)
    builds_are_allowed(stack, case, root)
    images_are_allowed(stack, case)
    return stack, selected, (*stack.notices, *notices)


def compose_rules(case: Case) -> ComposeRules:
    def switch(name: str) -> Switch:
        return Switch(f"compose.{name}", on=case.policy.get(name) == "true")

    named = frozenset(re.findall(r"[A-Z_]+", case.policy.get("capabilities", "")))
    most = int(case.policy.get("maxServices", 64))
    return ComposeRules(
        privileged=switch("allowPrivileged"),
        host_network=switch("allowHostNetwork"),
        ports=switch("allowPorts"),
        build=switch("allowBuild"),
        capabilities=(CapabilityList("AgentPolicy test", named),) if named else (),
        max_services=Bound("compose.maxServices", most, str(most), "AgentPolicy test"),
    )


def limits(case: Case) -> Limits:
    memory = case.policy.get("memory")
    return Limits(memory=None if memory is None else Ceiling(int(memory), memory, "AgentPolicy test"))


def builds_are_allowed(stack: Stack, case: Case, root: Path) -> None:
    """What is built; of a folder that the corpus has left out, only whether it is allowed."""
    allowed = root / "allowed"
    policy = built.policy(allowed, allowed=["docker.io/**"])
    for service in stack.services.values():
        if (build := service.build) is None:
            continue
        if build.context is not None and not Path(build.context).is_relative_to(allowed):
            raise NotPermitted(f"{build.at}.context", "is outside of the allowed folder")
        inside = build.dockerfile is not None and Path(build.dockerfile).is_relative_to(str(build.context))
        if case.policy.get("allowBuild") != "true" or (inside and not Path(str(build.dockerfile)).exists()):
            continue
        context = asyncio.run(buildcontext.read(build, policy.volumes, root / "context.tar"))
        (root / "context.tar").unlink(missing_ok=True)
        try:
            planned(build, context.dockerfile, policy)
        except Refused as refusal:
            _, at, what = refusal.message.split(": ", 2)
            raise NotPermitted(at, what) from refusal


def images_are_allowed(stack: Stack, case: Case) -> None:
    patterns = [pattern.parse(each) for each in re.findall(r"[^\[\], ]+", case.policy.get("images.allowed", ""))]
    for service in stack.services.values() if patterns else ():
        if service.image is not None and not any(one.matches(reference.parse(service.image)) for one in patterns):
            raise NotPermitted(f"services.{service.name}.image", "is not allowed")


def names(problem: ComposeProblem, expected: str) -> bool:
    """Whether the problem's key equals the expected one or goes on from it, or its line is that or one beside it."""
    if expected.startswith("line "):
        line = int(expected.removeprefix("line ").split()[0])
        return any(abs(int(found) - line) <= 1 for found in lines(problem))
    return re.match(re.escape(expected) + r"(?:$|[ .\[])", problem.key) is not None


def lines(problem: ComposeProblem) -> Iterator[str]:
    yield from re.findall(r":([0-9]+)\b", problem.where)
    yield from re.findall(r"\bline ([0-9]+)", problem.what)

"""What a session's next run is started in: the whole truth table, and the sentences that are said."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import assert_never

import pytest

from stromboli import naming
from stromboli.plan import resume
from stromboli.plan.container import Shape
from stromboli.plan.limits import Limits
from stromboli.plan.resume import (
    Action,
    CheckContainer,
    CheckCopy,
    CheckVolume,
    Container,
    Copy,
    End,
    Found,
    FromCopy,
    FromImage,
    Reuse,
    Settled,
    VolumeLost,
    Wanted,
)
from stromboli.plan.verdict import Refuse, Wait
from stromboli.reasons import Reason

UID, NAME = "6f7e0b2c-0000-4000-8000-000000000001", "session story"
SHAPE = Shape("bridge", True, (), layout=1)
WANTED = Wanted(SHAPE, Limits(), "hash")
BAD = "its /etc/passwd is not a regular file"
BOOL = (False, True)
SEEN = (None, False, True)
CONTAINERS = [
    None,
    *(
        Container(id_, "agent", shape, alive, own)
        for id_, shape, alive, own in product(("c", "other"), (None, SHAPE, replace(SHAPE, layout=0)), BOOL, BOOL)
    ),
]
COPIES = (None, Copy("image", None), Copy("image", "hash"), Copy("image", "another"))
ALL = [Found(UID, NAME, *row) for row in product(CONTAINERS, (None, "c"), BOOL, COPIES, SEEN, (None, "", BAD), SEEN)]
KEPT = Found(UID, NAME, Container("c", "agent", SHAPE), initialized="c", begun=True, volume=True, problem="")
FORK = replace(KEPT, container=None, copy=Copy("image", "hash"), copy_exists=True)


def decide(found: Found) -> Action:
    return resume.decide(found, WANTED)


def known(found: Found) -> bool:
    return None not in (found.volume, found.problem, found.copy_exists)


def told(action: Action) -> dict[str, str]:
    """What is said in events on the run."""
    assert isinstance(action, FromImage | FromCopy)
    return {warned.reason: warned.message for warned in action.warnings}


def test_the_table_is_whole() -> None:
    assert len(ALL) == len(CONTAINERS) * 2 * 2 * len(COPIES) * 27
    kinds = {type(decide(found)) for found in ALL}
    assert kinds == {
        Wait, Refuse, End, CheckVolume, CheckContainer, CheckCopy, VolumeLost, Reuse, FromImage, FromCopy
    }  # fmt: skip


def test_once_everything_is_known_nothing_is_looked_at() -> None:
    assert [f for f in ALL if known(f) and not isinstance(decide(f), Settled | End)] == []


def test_looking_only_at_what_the_decision_depends_on_leads_to_the_same_as_looking_at_everything() -> None:
    """And a look is asked for once at most, so that it comes to an end."""
    for whole in filter(known, ALL):
        found, looks = replace(whole, volume=None, problem=None, copy_exists=None), []
        while not isinstance(action := decide(found), Settled | End):
            looks.append(type(action))
            match action:
                case CheckVolume():
                    found = replace(found, volume=whole.volume)
                case CheckContainer():
                    found = replace(found, problem=whole.problem)
                case CheckCopy():
                    found = replace(found, copy_exists=whole.copy_exists)
                case _:
                    assert_never(action)
        assert action == decide(whole)
        assert len(looks) == len(set(looks))


# --- what must never happen ---


def test_what_runs_is_never_started_removed_or_looked_into() -> None:
    for found in ALL:
        if found.container is not None and found.container.alive:
            assert type(decide(found)) is (Wait if found.container.own else End)
    assert decide(replace(KEPT, container=Container("c", "agent", None, alive=True, own=True))) == Wait(
        Reason.Starting, "its container is already running", 0.5
    )


def test_a_conversation_that_is_lost_is_never_gone_on_with_nor_begun_anew() -> None:
    still = [f for f in ALL if f.begun and f.volume is False and not (f.container and f.container.alive)]
    assert still
    assert {type(decide(found)) for found in still} == {VolumeLost}


def test_what_never_began_has_lost_no_volume() -> None:
    assert [f for f in ALL if not f.begun and isinstance(decide(f), CheckVolume | VolumeLost)] == []


def test_only_a_container_in_which_the_initial_hooks_succeeded_is_started_again() -> None:
    """And only if today's policies allow it, and nothing in it blocks Podman."""
    reused = [found for found in ALL if isinstance(decide(found), Reuse)]
    assert reused
    for found in reused:
        assert found.container is not None
        assert found.container.id == found.initialized
        assert found.container.shape == WANTED.shape
        assert found.problem == ""


def test_nothing_is_removed_of_what_a_policy_refuses() -> None:
    for found in ALL:
        container = found.container
        if container is not None and container.id == found.initialized and container.shape != SHAPE:
            assert not isinstance(decide(found), FromImage | FromCopy | Reuse | CheckContainer)


def test_whatever_is_rebuilt_takes_the_place_of_what_is_there() -> None:
    for found in ALL:
        if isinstance(action := decide(found), FromImage | FromCopy):
            assert action.old == (found.container.id if found.container is not None else None)


def test_hooks_are_left_out_only_where_these_have_succeeded_in_the_copy() -> None:
    for found in ALL:
        if isinstance(action := decide(found), FromCopy):
            assert found.copy is not None
            assert found.copy_exists
            assert action.copy == found.copy.image
            assert action.initialized is (found.copy.hooks == WANTED.hooks)


def test_a_rebuilt_container_is_told_and_a_first_one_is_not() -> None:
    for found in ALL:
        if isinstance(action := decide(found), FromImage | FromCopy):
            assert ("ContainerRebuilt" in told(action)) is (found.initialized is not None)
            lost = found.copy is not None and not found.copy_exists
            assert ("FilesNotCopied" in told(action)) is lost


# --- what is said ---


def test_a_lost_volume_is_said_to_the_session_and_to_the_run() -> None:
    message = f"Podman no longer has the volume {naming.volume(UID)}, so the conversation is lost"
    assert decide(replace(KEPT, volume=False)) == VolumeLost(
        message,
        f"the session story cannot continue: {message}; delete it (kubectl delete agentsession story), or name another",
    )


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (None, "the container agent has lost its labels; remove it"),
        (
            replace(SHAPE, network="host", layout=0),
            "the container of session story was created by another version of the operator, which mounted other files "
            "into it; begin a new session, or fork this one",
        ),
    ],
)
def test_a_container_that_policies_no_longer_allow_ends_the_run(shape: Shape | None, said: str) -> None:
    assert decide(replace(KEPT, container=Container("c", "agent", shape))) == Refuse(Reason.PolicyViolation, said)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            replace(KEPT, container=None),
            {
                "ContainerRebuilt": "somebody removed the container of session story: it is created again, and its "
                "hooks run again"
            },
        ),
        (
            replace(KEPT, problem=BAD),
            {
                "ContainerRebuilt": "the container of session story can never be started again after what a run did in "
                f"it: {BAD}, which Podman reads before a start: it is created again, and its hooks run again"
            },
        ),
        (
            FORK,
            {
                "ContainerRebuilt": "somebody removed the container of session story: it is created again, from the "
                "copy that it began with"
            },
        ),
        (
            replace(FORK, copy_exists=False, initialized=None),
            {
                "FilesNotCopied": f"somebody removed the image {naming.copy(UID)}, which has the files that session "
                "story was forked with: it begins with the image's files, and its hooks run again"
            },
        ),
    ],
)
def test_why_a_container_is_made_again_is_said(found: Found, said: dict[str, str]) -> None:
    assert told(decide(found)) == said

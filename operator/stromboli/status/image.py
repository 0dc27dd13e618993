"""Transitions of an AgentImage's status. Pure: the old status and what happened go in, the new status comes out.

Only this module and models/image.py know the status's format in the API.

Several nodes may have the image. Each writes its own entry of `nodes`; `Ready` becomes True only once no node lacks the
image. What there is one of is written by a node when it gets or loses the image, and at other times by one node alone,
which follows from the entries: otherwise two nodes that see different things would write over each other forever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stromboli.models.image import ImageStatus
from stromboli.models.objects import entries, text
from stromboli.reasons import (
    ConditionReason,
    ConditionType,
    ImageCondition,
    PresentReason,
)
from stromboli.registry_problem import RegistryProblem
from stromboli.status import conditions
from stromboli.status.run import Moment

Wire = dict[str, Any]
# With these, nothing is known about whether the node still has the image.
_NOT_CHECKED = frozenset({PresentReason.PodmanUnavailable, PresentReason.PoliciesUnavailable})


@dataclass(frozen=True, slots=True)
class Said:
    """A condition's reason and message."""

    reason: ConditionReason
    message: str


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a node has: its entry in API form without name and time, the rank, and the summary for `kubectl get`."""

    entry: Mapping[str, Any]
    rank: int | None
    summary: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one pass over an AgentImage on this node. What is None was not determined this time, and stays.

    `still_here` is whether the node still has what its entry says, although `ready` is not Present; `waits`, whether a
    pull is under way, or something is tried again soon.
    `problem` is what is wrong between the node and the registry, if that is why there is no image.

    The last two are for events: `moved` is the digest that the tag has in its registry, if the node has another image,
    and `untrue` has a sentence for each label of the image that claims what is not so.
    """

    ready: PresentReason
    message: str
    reference: str = ""
    allowed: Said | None = None
    compatible: Said | None = None
    inspected: Inspected | None = None
    still_here: bool = False
    waits: bool = False
    problem: RegistryProblem | None = None
    moved: str = ""
    untrue: tuple[str, ...] = ()


def after(status: ImageStatus, outcome: Outcome, moment: Moment) -> ImageStatus:
    """The status after a pass with that outcome."""
    own, old = _entry(status, outcome, moment), _old_entry(status, moment.node)
    others = [dict(n) for n in entries(status.wire.get("nodes")) if n.get("name") != moment.node]
    nodes = sorted([*others, own], key=lambda node: str(node.get("name")))
    lacking, having = ([node for node in nodes if bool(text(node.get("id"))) is has] for has in (False, True))
    is_new = text(own.get("id")) != text(old.get("id"))
    describes = is_new or own is (having or nodes)[0]
    wanted: dict[ConditionType, Said] = {}
    if (is_new or own is (lacking or nodes)[0]) and (outcome.ready is not PresentReason.Present or not lacking):
        wanted[ImageCondition.Ready] = Said(outcome.ready, outcome.message)
    if outcome.allowed is not None and describes:
        wanted[ImageCondition.Allowed] = outcome.allowed
    if outcome.compatible is not None and describes:
        wanted[ImageCondition.Compatible] = outcome.compatible
    wire: Wire = {
        **status.wire,
        "observedGeneration": moment.generation,
        "conditions": _conditions(status, wanted, moment),
        "nodes": nodes,
    }
    if outcome.reference:
        wire["reference"] = outcome.reference
    if (outcome.inspected is not None and describes) or not having:
        wire.pop("rank", None)
        wire.pop("summary", None)
    if outcome.inspected is not None and describes:
        wire["summary"] = dict(outcome.inspected.summary)
        if outcome.inspected.rank is not None:
            wire["rank"] = outcome.inspected.rank
    return ImageStatus.of(wire)


def _old_entry(status: ImageStatus, node: str) -> Mapping[str, Any]:
    return next((entry for entry in entries(status.wire.get("nodes")) if entry.get("name") == node), {})


def _entry(status: ImageStatus, outcome: Outcome, moment: Moment) -> Wire:
    """This node's entry. An unchanged one keeps its time, and one that could not be checked stays as it is."""
    old = _old_entry(status, moment.node)
    if outcome.inspected is None:
        stays = outcome.still_here or outcome.ready in _NOT_CHECKED
        if old and stays:
            return dict(old)
        return {"name": moment.node} | ({"problem": str(outcome.problem)} if outcome.problem else {})
    new = {"name": moment.node, **outcome.inspected.entry}
    same = new == {key: value for key, value in old.items() if key != "lookedAt"}
    return {**new, "lookedAt": text(old.get("lookedAt")) if same and old.get("lookedAt") else moment.text}


def _conditions(
    status: ImageStatus, wanted: Mapping[ConditionType, Said], moment: Moment
) -> list[conditions.Condition]:
    old = tuple(entries(status.wire.get("conditions")))
    found: dict[ConditionType, conditions.Condition] = {
        type_: conditions.made(
            old, type_, said.reason.status, said.reason, said.message, generation=moment.generation, now=moment.text
        )
        for type_, said in wanted.items()
    }
    kept: dict[ConditionType, conditions.Condition] = {
        type_: dict(before)
        for type_ in (ImageCondition.Ready, ImageCondition.Allowed, ImageCondition.Compatible)
        if type_ not in found and (before := conditions.find(old, type_)) is not None
    }
    found |= kept
    said = found.get(ImageCondition.Ready)
    if said is not None and said["status"] != "True":
        stalled = any(reason.is_final for reason in PresentReason if reason == said["reason"])
        type_ = ImageCondition.Stalled if stalled else ImageCondition.Reconciling
        before = conditions.find(old, type_)
        since = before["lastTransitionTime"] if before is not None else moment.text
        found[type_] = {**said, "type": str(type_), "status": "True", "lastTransitionTime": since}
    return [found[type_] for type_ in ImageCondition if type_ in found]

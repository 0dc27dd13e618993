"""Transitions of an AgentImage's status. Pure: the old status and what happened go in, the new status comes out.

Only this module and models/image.py know the status's format in the API.

Several nodes may have the image. Each writes its own entry of `nodes`, and the conditions when something about its own
image has changed; `Ready` becomes True only once no node lacks the image.
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

    `still_here` is whether the node still has what its entry says, although `ready` is not Present.

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
    moved: str = ""
    untrue: tuple[str, ...] = ()


def after(status: ImageStatus, outcome: Outcome, moment: Moment) -> ImageStatus:
    """The status after a pass with that outcome."""
    others = [dict(n) for n in entries(status.wire.get("nodes")) if n.get("name") != moment.node]
    wanted: dict[ConditionType, Said] = {}
    if outcome.ready is not PresentReason.Present or all(text(node.get("id")) for node in others):
        wanted[ImageCondition.Ready] = Said(outcome.ready, outcome.message)
    if outcome.allowed is not None:
        wanted[ImageCondition.Allowed] = outcome.allowed
    if outcome.compatible is not None:
        wanted[ImageCondition.Compatible] = outcome.compatible
    nodes = sorted([*others, _entry(status, outcome, moment)], key=lambda node: str(node.get("name")))
    wire: Wire = {
        **status.wire,
        "observedGeneration": moment.generation,
        "conditions": _conditions(status, wanted, outcome.ready, moment),
        "nodes": nodes,
    }
    if outcome.reference:
        wire["reference"] = outcome.reference
    if outcome.inspected is not None or not any(text(node.get("id")) for node in nodes):
        wire.pop("rank", None)
        wire.pop("summary", None)
    if outcome.inspected is not None:
        wire["summary"] = dict(outcome.inspected.summary)
        if outcome.inspected.rank is not None:
            wire["rank"] = outcome.inspected.rank
    return ImageStatus.of(wire)


def _entry(status: ImageStatus, outcome: Outcome, moment: Moment) -> Wire:
    """This node's entry. An unchanged one keeps its time, and one that could not be checked stays as it is."""
    old = next((n for n in entries(status.wire.get("nodes")) if n.get("name") == moment.node), {})
    if outcome.inspected is None:
        stays = outcome.still_here or outcome.ready in _NOT_CHECKED
        return dict(old) if old and stays else {"name": moment.node}
    new = {"name": moment.node, **outcome.inspected.entry}
    same = new == {key: value for key, value in old.items() if key != "lookedAt"}
    return {**new, "lookedAt": text(old.get("lookedAt")) if same and old.get("lookedAt") else moment.text}


def _conditions(
    status: ImageStatus, wanted: Mapping[ConditionType, Said], ready: PresentReason, moment: Moment
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
        type_ = ImageCondition.Stalled if ready.is_final else ImageCondition.Reconciling
        found[type_] = conditions.made(
            old, type_, "True", ready, said["message"], generation=moment.generation, now=moment.text
        )
    return [found[type_] for type_ in ImageCondition if type_ in found]

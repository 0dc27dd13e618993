"""A pull: the AgentImage behind it, which is found or created, and followed to its end.

What a call has created is deleted if the image cannot be had, so that the next call tries again; what a call has left
behind because its client had hung up, the next one does. A pull that is only delayed, or that nobody waits for any
more, goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.grammar.reference import Reference
from stromboli.httpapi.caller import Caller
from stromboli.httpapi.errors import Refusal
from stromboli.kube import objects
from stromboli.kube.caller import FIRST
from stromboli.kube.user import IMAGES
from stromboli.models.image import AgentImage
from stromboli.models.objects import entries, text
from stromboli.naming import API_VERSION
from stromboli.plan import awaited_image
from stromboli.plan.awaited_image import Ended, Failed, Fetching
from stromboli.reasons import PresentReason

PATIENCE = 30.0  # seconds for which a call waits for what has nothing to do with the image: an operator, Podman, a disk
LEAVING = 10.0  # seconds for a deleted AgentImage to be gone
_FIELD = "spec.image"  # of an AgentImage, which the caller has never seen
_CONFLICT = 409
_REFUSED = (PresentReason.InvalidSpec, PresentReason.ImageNotAllowed, PresentReason.PolicyViolation)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The AgentImage, and whether this call has created it."""

    image: AgentImage
    is_new: bool


@dataclass(frozen=True, slots=True)
class Arrived:
    """The image is on a node, or on several. `platforms` are what it is built for there."""

    image_id: str
    platforms: frozenset[str]


async def wanted(caller: Caller, image: Reference) -> Wanted:
    """The AgentImage of that image, created unless there is one. Raises Refusal (409), ApiRefused, ApiUnreachable."""
    name = awaited_image.name_for(image)
    found = await _best(caller, image)
    if found is not None and not (found.name == name and isinstance(awaited_image.of(found), Failed)):
        return Wanted(found, False)
    if found is not None:
        await _delete(caller, found)
    return await _created(caller, image, name)


async def followed(caller: Caller, wanted: Wanted) -> AsyncGenerator[Fetching | Arrived, None]:
    """How far it is, and in the end that it is there.

    Raises Refusal: 400 if it is refused, 502 if no registry has it, 503 if something else is in the way.
    """
    try:
        async with aclosing(_states(caller, wanted.image)) as states:
            async for image in states:
                match awaited_image.of(image):
                    case Fetching() as fetching:
                        yield fetching
                    case Ended():
                        yield _arrived(image)
                        return
                    case Failed() as failed:
                        raise _refusal(failed)
    except Refusal as refusal:
        if wanted.is_new and refusal.status != 503:
            await discard(caller, wanted)
        raise


async def discard(caller: Caller, wanted: Wanted) -> None:
    """Delete what this call has created, if it has."""
    if wanted.is_new:
        await _delete(caller, wanted.image)


async def _best(caller: Caller, image: Reference) -> AgentImage | None:
    """Of the AgentImages of that image the one that is the furthest."""
    listed = await caller.cluster.list(IMAGES, caller.namespace)
    found = [each for each in map(objects.image, listed.items) if awaited_image.is_of(each, image)]
    order = (Ended, Fetching, Failed)
    return min(found, key=lambda each: order.index(type(awaited_image.of(each))), default=None)


async def _created(caller: Caller, image: Reference, name: str) -> Wanted:
    body = {
        "apiVersion": API_VERSION,
        "kind": AgentImage.KIND,
        "metadata": {"name": name, "namespace": caller.namespace},
        "spec": {"image": str(image)},
    }
    clock = asyncio.get_running_loop().time
    ends = clock() + LEAVING
    while True:
        try:
            return Wanted(objects.image(await caller.cluster.create(IMAGES, caller.namespace, body)), True)
        except ApiRefused as e:
            if e.status != _CONFLICT:
                raise
        there = await _named(caller, name)
        if there is not None and awaited_image.is_of(there, image):
            return Wanted(there, False)
        if there is not None and not there.is_being_deleted:
            raise Refusal(409, f"there is an AgentImage {name} of another image; delete it, and try again")
        if clock() > ends:
            raise Refusal(503, f"the AgentImage {name} is being deleted, which takes long; try again")
        await asyncio.sleep(FIRST)


async def _named(caller: Caller, name: str) -> AgentImage | None:
    found = await caller.cluster.find(IMAGES, caller.namespace, name)
    return None if found is None else objects.image(found)


async def _states(caller: Caller, image: AgentImage) -> AsyncGenerator[AgentImage, None]:
    """Each state. Raises Refusal (503) if it is deleted, or waits for too long for what is none of its business."""
    clock = asyncio.get_running_loop().time
    since: float | None = None
    now = image
    async with aclosing(caller.cluster.states(IMAGES, caller.namespace, image.name, known=True)) as states:
        seen = ""
        while True:
            if now.version != seen:
                seen = now.version
                yield now
            since = (clock() if since is None else since) if _is_held_up(now) else None
            try:
                async with asyncio.timeout(None if since is None else max(0.0, since + PATIENCE - clock())):
                    state = await anext(states)
            except TimeoutError as late:
                raise _held_up(now) from late
            if state is None or (now := objects.image(state)).uid != image.uid or now.is_being_deleted:
                raise Refusal(503, f"the AgentImage {image.name} was deleted meanwhile; try again")


def _is_held_up(image: AgentImage) -> bool:
    return isinstance(awaited_image.of(image), Fetching) and image.status.reason != PresentReason.Pulling


def _held_up(image: AgentImage) -> Refusal:
    said = image.status.message or "no operator has seen the AgentImage; is one running?"
    return Refusal(503, f"{said} (for {PATIENCE:.0f} s; the AgentImage {image.name} waits on)", image.status.reason)


def _arrived(image: AgentImage) -> Arrived:
    nodes = [node for node in entries(image.status.wire.get("nodes")) if text(node.get("id"))]
    ids = sorted(text(node.get("id")) for node in nodes)
    return Arrived(ids[0] if ids else "", frozenset(text(node.get("platform")) for node in nodes))


def _refusal(failed: Failed) -> Refusal:
    if failed.reason in _REFUSED:
        said = failed.message
        named = f"image{said.removeprefix(_FIELD)}" if said.startswith(_FIELD) else said
        return Refusal(400, named, failed.reason, {"field": "image"})
    details = {"problem": failed.problems[0]} if failed.problems else {}
    return Refusal(502, failed.message, failed.reason, details)


async def _delete(caller: Caller, image: AgentImage) -> None:
    """Delete it, if the caller may, and it is there."""
    with contextlib.suppress(ApiRefused, ApiUnreachable):
        await caller.cluster.delete(IMAGES, caller.namespace, image.name, uid=image.uid)

"""Finding images for people: what is on this node, what is in it, and what the registries have. Changes nothing.

What a namespace sees is what its policies admit, and of that only what it could get by itself (node/access.py). Images
are inspected here as for an AgentImage; whoever only looks never starts a pull of what is looked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from stromboli.errors import CLIUnavailable, ImageMissing, InvalidInput, PodmanError, Refused
from stromboli.grammar import reference, times
from stromboli.grammar.reference import HUB, Reference
from stromboli.models.agentpolicy import PullPolicy
from stromboli.node.cli import CLIMounts
from stromboli.node.images import Images
from stromboli.node.pulls import digest_of
from stromboli.observe import policy as policies
from stromboli.observe.pullsecrets import PullSecrets
from stromboli.observe.reads import ClusterReads
from stromboli.perform.images import describe
from stromboli.plan import admission, discovery, holding
from stromboli.plan import images as rules
from stromboli.plan.compatibility import CLINeeds, ImageFacts
from stromboli.plan.contents import Contents
from stromboli.plan.policy import Effective
from stromboli.plan.refusal import invalid
from stromboli.podman.images import ImageInfo, ImageSummary
from stromboli.podman.search import Found, Results
from stromboli.podman.transport import Podman
from stromboli.settings import Settings

AT_ONCE = 4  # images that are inspected at a time, for all who list
BEAT = 1.0  # seconds between two reports of progress
PATIENCE = 40.0  # seconds for inspections in one list; whoever lists again goes on with the others
MOST_REGISTRIES = 32  # that are searched

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """How many images of those that nobody has inspected before are inspected by now."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class _CLI:
    """What the CLI needs; `needs` is None if images bring their own. `missing` says why it is not known."""

    needs: CLINeeds | None
    missing: str = ""


@dataclass(frozen=True, slots=True)
class _Named:
    """An image under one of its references, and whether the namespace may use it."""

    reference: Reference
    image: ImageSummary
    allowed: bool


class Discovery:
    """Answers for this node. All methods raise Refused (there is no such namespace, or a policy cannot be read),
    ClusterUnavailable, PodmanError, PodmanUnavailable.
    """

    def __init__(
        self,
        cluster: ClusterReads,
        settings: Settings,
        podman: Podman,
        images: Images,
        mounts: CLIMounts,
        secrets: PullSecrets,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._podman = podman
        self._images = images
        self._mounts = mounts
        self._secrets = secrets
        self._room = asyncio.Semaphore(AT_ONCE)

    async def list(self, namespace: str, *, everything: bool = False) -> AsyncIterator[Progress | Document]:
        """The node's images: progress while those are inspected that were not before, then the list.

        `everything` includes those that the namespace may not use. `incomplete` in the list says for how many images
        there was no time.
        """
        effective = await self._effective(namespace)
        cli = await self._cli(namespace, effective)
        named = await self._named(namespace, effective, everything)
        problems: dict[str, str] = {}
        if new := self._new({one.image.id for one in named}, cli):
            async for progress in self._inspected(new, cli, problems):
                yield progress
        found = [(one.reference, self._row(one, cli, problems)) for one in named]
        found.sort(key=lambda each: discovery.order(each[0], each[1]["rank"]))
        unseen = {one.image.id for one in named if self._known(one.image.id, cli) is None}
        yield {
            "node": self._settings.node,
            "incomplete": len(unseen - problems.keys()),
            "images": [row for _, row in found],
        }

    async def inspect(self, namespace: str, text: str) -> Document:
        """What is in an image of the node, and whether a run may start in it.

        Raises Refused also for an image that no policy admits, and ImageMissing.
        """
        effective = await self._effective(namespace)
        image = _admitted(text, effective)
        found = await self._images.on_node(image)
        if found is None or not rules.is_meant(image, *_split(self._images.access.names_visible_to(namespace, found))):
            raise ImageMissing(f"the image {image} is not on the node; `stromboli images pull {image}` pulls it")
        cli = await self._cli(namespace, effective)
        async with self._room:
            facts = await self._images.facts(found, cli.needs or CLINeeds())
            contents = await self._images.contents(found)
        return self._document(image, found, (facts, contents), cli, _refusal(image, effective))

    async def search(self, namespace: str, query: str, limit: int) -> Document:
        """What the registries have that the node's registries.conf has names searched in (or Docker Hub)."""
        effective = await self._effective(namespace)
        registries = (await self._podman.registries()).search or (HUB,)
        registries = tuple(dict.fromkeys(registries))[:MOST_REGISTRIES]
        results = await self._podman.search.everywhere(registries, query, limit)
        return {"answered": len(registries) - len(results.unanswered), **_results(results, effective)}

    async def _effective(self, namespace: str) -> Effective:
        if not await self._cluster.has_namespace(namespace):
            raise invalid("the namespace", f"{namespace} does not exist")
        return await policies.effective(self._cluster, self._settings, namespace)

    async def _cli(self, namespace: str, effective: Effective) -> _CLI:
        pull = PullPolicy.IfNotPresent if effective.cli.pull is PullPolicy.Always else effective.cli.pull
        tenant = self._secrets.tenant(namespace, None, effective.pull_secrets)
        try:
            mounted = await self._mounts.ready(replace(effective.cli, pull=pull), "", tenant)
        except CLIUnavailable as missing:
            return _CLI(CLINeeds(), str(missing))
        return _CLI(None if mounted is None else mounted.needs)

    async def _named(self, namespace: str, effective: Effective, everything: bool) -> Sequence[_Named]:
        found = []
        for image in await self._images.all():
            visible = _references(image, self._images.access.names_visible_to(namespace, image), effective)
            usable = {name for name in visible if admission.is_admitted(name, effective)}
            shown = _references(image, (*image.repo_tags, *image.repo_digests), effective) if everything else usable
            found += [_Named(name, image, name in usable) for name in shown]
        return found

    def _new(self, ids: set[str], cli: _CLI) -> Sequence[str]:
        """Those that nobody has inspected before."""
        return sorted(image for image in ids if self._known(image, cli) is None)

    def _known(self, image_id: str, cli: _CLI) -> tuple[ImageFacts, Contents] | None:
        facts = self._images.known_facts(image_id, cli.needs or CLINeeds())
        contents = self._images.known_contents(image_id)
        return None if facts is None or contents is None else (facts, contents)

    async def _inspected(self, ids: Sequence[str], cli: _CLI, problems: dict[str, str]) -> AsyncIterator[Progress]:
        """Inspect these images, a few at a time, for PATIENCE seconds; `problems` gets what goes wrong.

        Raises PodmanUnavailable.
        """
        pending = {asyncio.create_task(self._inspect(image, cli, problems)) for image in ids}
        until = time.monotonic() + PATIENCE
        try:
            while pending and time.monotonic() < until:
                yield Progress(len(ids) - len(pending), len(ids))
                done, pending = await asyncio.wait(pending, timeout=BEAT)
                for task in done:
                    task.result()
            yield Progress(len(ids) - len(pending), len(ids))
        finally:
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending)

    async def _inspect(self, image_id: str, cli: _CLI, problems: dict[str, str]) -> None:
        async with self._room:
            try:
                image = await self._images.by_id(image_id)
                if image is None:
                    problems[image_id] = "it was removed meanwhile"
                    return
                await self._images.facts(image, cli.needs or CLINeeds())
                await self._images.contents(image)
            except PodmanError as error:
                problems[image_id] = str(error)

    def _row(self, one: _Named, cli: _CLI, problems: Mapping[str, str]) -> dict[str, Any]:
        image = one.image
        row: dict[str, Any] = {
            "image": str(one.reference),
            "id": image.id,
            "digest": _digest(image, one.reference),
            "size": image.size,
            "created": None if image.created is None else times.to_text(image.created),
            "allowed": one.allowed,
        }
        known = self._known(image.id, cli)
        if known is None:
            why = problems.get(image.id, "there was no time for it; list again")
            message = f"not inspected: {why}"
            return row | {
                "rank": None,
                "compatible": None,
                "message": message,
                "summary": describe.summary(image.size, None),
                "claudeCLI": "",
                "description": holding.description(image.labels),
            }
        says = {"claudeCLI": describe.cli(known[0]), "description": holding.description(image.labels)}
        return row | says | _judged(known, cli, image)

    def _document(
        self, image: Reference, found: ImageInfo, known: tuple[ImageFacts, Contents], cli: _CLI, refusal: str
    ) -> dict[str, Any]:
        judged = _judged(known, cli, found)
        return {
            "image": str(image),
            "node": self._settings.node,
            "digest": digest_of(found, image) or "",
            **describe.details(found, *known),
            "labels": holding.labels(found.labels),
            "allowed": not refusal,
            **judged,
            "refusal": refusal or ("" if judged["compatible"] is not False else judged["message"]),
            "untrueLabels": [] if cli.missing else _untrue(known, cli, found),
        }


def _references(image: ImageSummary, names: Iterable[str], effective: Effective) -> tuple[Reference, ...]:
    return discovery.references(*_split(names), image.digest, effective.cli)


def _split(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those with tags, and those with digests."""
    names = tuple(names)
    return [name for name in names if "@" not in name], [name for name in names if "@" in name]


def _admitted(text: str, effective: Effective) -> Reference:
    """The reference, if images of that name may be used. Raises Refused."""
    try:
        image = reference.parse(text)
    except InvalidInput as error:
        raise invalid("the image", error.message) from error
    for check in (admission.is_nobodys_copy, admission.is_nobodys_build, admission.every_allowlist_has_a_pattern):
        check(image, effective, "the image")
    return image


def _refusal(image: Reference, effective: Effective) -> str:
    """What a run with this image would be refused with before anything is inspected; empty if it would not be."""
    try:
        admission.admit(str(image), effective, "spec.image")
    except Refused as refused:
        return refused.message
    return ""


def _judged(known: tuple[ImageFacts, Contents], cli: _CLI, image: ImageSummary | ImageInfo) -> dict[str, Any]:
    facts, contents = known
    judged: dict[str, Any] = {
        "tools": [asdict(tool) for tool in contents.tools],
        "summary": describe.summary(image.size, known),
    }
    if cli.missing:
        return {"rank": None, "compatible": None, "message": cli.missing, **judged}
    suited = holding.suitability(facts, cli.needs, image.labels)
    return {"rank": suited.rank, "compatible": suited.verdict.ok, "message": suited.verdict.message, **judged}


def _untrue(known: tuple[ImageFacts, Contents], cli: _CLI, image: ImageInfo) -> list[str]:
    facts, contents = known
    return list(
        holding.untrue_labels(facts, contents, holding.suitability(facts, cli.needs, image.labels), image.labels)
    )


def _digest(image: ImageSummary, name: Reference) -> str:
    return name.digest or (image.digest if f"{name.name}@{image.digest}" in image.repo_digests else "")


def _results(results: Results, effective: Effective) -> Document:
    return {
        "images": [{**asdict(found), "allowed": _is_allowed(found, effective)} for found in results.found],
        "unanswered": [
            {"registry": each.registry, "problem": str(each.problem), "message": each.message}
            for each in results.unanswered
        ],
    }


def _is_allowed(found: Found, effective: Effective) -> bool:
    with suppress(InvalidInput):
        return admission.is_repository_admitted(reference.parse(found.name), effective)
    return False

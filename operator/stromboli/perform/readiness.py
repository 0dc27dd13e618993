"""A run that has not begun → everything that its attempt needs, looked up and judged in the order that matters.

The order is the specification: what the spec and the policies say comes first, then what the cluster has, then the
node. The first that is wrong refuses the run, the first that is missing makes it wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from stromboli.errors import ImageMissing, PullFailed, Refused
from stromboli.inspection import configuration
from stromboli.kube.client import Cluster
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.run import Run
from stromboli.models.sentences import sentence
from stromboli.node.cli import CLIMounts, MountedCLI
from stromboli.node.images import Images
from stromboli.observe import gateway, hostpaths, policy, references
from stromboli.observe.references import Credentials
from stromboli.observe.schemas import Schemas
from stromboli.plan import compatibility, container, request
from stromboli.plan import images as rules
from stromboli.plan.compatibility import CLINeeds, ImageFacts, ImageUser
from stromboli.plan.container import Shape
from stromboli.plan.policy import Effective
from stromboli.plan.request import Request
from stromboli.plan.volumes import Volume
from stromboli.podman.images import ImageInfo
from stromboli.reasons import Reason
from stromboli.settings import Settings


@dataclass(frozen=True, slots=True)
class Judged:
    """What the spec and today's policies come to."""

    spec: AgentRunSpec
    policy: Effective
    request: Request


@dataclass(frozen=True, slots=True)
class Ready:
    """All that an attempt needs. `gateway` is the folder of a gateway's socket, `configuration` a tar of what the image
    has for the CLI, None where that is nothing, `managed` its files in /etc/claude-code.
    """

    judged: Judged
    volumes: tuple[Volume, ...]
    gateway: Path | None
    image: ImageInfo
    user: ImageUser
    cli: MountedCLI | None
    prompt: str
    credentials: Credentials
    configuration: bytes | None
    managed: Mapping[str, bytes]

    @property
    def shape(self) -> Shape:
        """What a container that is made of this has."""
        return container.shape(self.judged.request, self.judged.policy.network, self.cli is not None, self.volumes)


async def judge(cluster: Cluster, settings: Settings, namespace: str, spec: AgentRunSpec) -> Judged:
    """A run's spec (with what its session has) under today's policies. Raises Refused, ClusterUnavailable."""
    effective = await policy.effective(cluster, settings, namespace)
    return Judged(spec, effective, request.build(spec, effective))


def parse(run: Run) -> AgentRunSpec:
    """The typed spec. Raises Refused(InvalidSpec)."""
    try:
        return AgentRunSpec.model_validate(run.spec)
    except ValidationError as e:
        raise Refused(Reason.InvalidSpec, sentence(e)) from e


class Readiness:
    """Looks up what a judged run needs on this node and in the cluster."""

    def __init__(
        self, cluster: Cluster, settings: Settings, images: Images, mounts: CLIMounts, schemas: Schemas
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._images = images
        self._mounts = mounts
        self._schemas = schemas

    async def of(self, run: Run, judged: Judged, pinned: str | None = None) -> Ready:
        """Everything, or the first thing that is wrong (Refused) or missing (Waiting, or any of plan.waiting.NODE).

        `pinned` is the id of the image that a session began with, whatever its tag means today.
        """
        judged = await self._with_schema(judged, run.namespace)
        volumes = await hostpaths.resolve(judged.request, judged.policy)
        gateway_folder = await gateway.folder(judged.request.gateway_socket, self._settings.podman_socket)
        prompt = asyncio.ensure_future(references.prompt(self._cluster, run.namespace, judged.spec))
        credentials = asyncio.ensure_future(references.credentials(self._cluster, self._settings, judged.policy))
        cli = asyncio.ensure_future(self._mounts.ready(judged.policy.cli, run.uid))
        image = asyncio.ensure_future(self._image(judged, pinned, run.uid))
        # All are asked at once; of what is wrong or missing, the first in this order is told.
        await asyncio.gather(prompt, credentials, cli, image, return_exceptions=True)
        for found in (prompt, credentials, cli, image):
            found.result()
        facts, user = await self._fit(image.result(), cli.result(), judged.request)
        return Ready(
            judged=judged,
            volumes=volumes,
            gateway=gateway_folder,
            image=image.result(),
            user=user,
            cli=cli.result(),
            prompt=prompt.result(),
            credentials=credentials.result(),
            configuration=configuration.archive_of(facts.configuration) if facts.configuration else None,
            managed=configuration.files_of(facts.managed),
        )

    async def _with_schema(self, judged: Judged, namespace: str) -> Judged:
        """The run's JSON Schema as the CLI is given it."""
        claude = judged.request.claude
        if claude.json_schema is None:
            return judged
        text = await self._schemas.prepared(claude.json_schema, namespace)
        return replace(judged, request=replace(judged.request, claude=claude.model_copy(update={"json_schema": text})))

    async def _image(self, judged: Judged, pinned: str | None, uid: str) -> ImageInfo:
        """The image by its id, as long as the node has it; else what its reference means now."""
        if pinned and (found := await self._images.by_id(pinned)) is not None:
            return found
        reference = judged.request.image
        try:
            return await self._images.resolve(reference, judged.policy.pull_policy, uid)
        except PullFailed as problem:
            if hint := await self._local_twin(judged):
                raise PullFailed(f"{problem}; {hint}", permanent=problem.permanent) from problem
            raise
        except ImageMissing as problem:
            if hint := await self._local_twin(judged):
                raise ImageMissing(f"{problem}; {hint}") from problem
            raise

    async def _local_twin(self, judged: Judged) -> str:
        """What to write instead, where the node has the image under the name that Podman gives to local builds.

        Nothing is said of one that the policies do not admit.
        """
        twin = rules.local_twin(judged.request.image)
        if twin is None or not all(allowlist.admits(twin) for allowlist in judged.policy.allowlists):
            return ""
        if await self._images.on_node(twin) is None:
            return ""
        return f"{twin} is on the node: write that if it is meant"

    async def _fit(self, image: ImageInfo, cli: MountedCLI | None, wanted: Request) -> tuple[ImageFacts, ImageUser]:
        """What is in the image, and its user, if it is fit for CLI and hooks. Raises Refused(ImageIncompatible)."""
        needs = cli.needs if cli is not None else CLINeeds()
        facts = await self._images.facts(image, needs)
        verdict = compatibility.judge(facts, needs) if cli is not None else compatibility.judge_own_cli(facts)
        if not verdict.ok or facts.user is None:
            raise Refused(Reason.ImageIncompatible, verdict.message)
        if wanted.hooks and not facts.has_shell:
            raise Refused(
                Reason.ImageIncompatible,
                "the image has no /bin/sh, which the commands of spec.lifecycle need; use an image that has one, or "
                "leave the hooks out",
            )
        return facts, facts.user

"""What the gates find out about a run, and everything that an attempt needs once all are passed. No decisions here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stromboli.inspection import configuration
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.run import Run
from stromboli.node.cli import MountedCLI
from stromboli.observe.references import Credentials
from stromboli.observe.sessions import Named
from stromboli.perform.stacks.prepared import Prepared, StackImages
from stromboli.plan import container
from stromboli.plan.compatibility import ImageFacts, ImageUser
from stromboli.plan.container import Shape
from stromboli.plan.policy import Effective
from stromboli.plan.references import Taken
from stromboli.plan.request import Request
from stromboli.plan.stack.blueprint import Blueprint
from stromboli.plan.volumes import Volume
from stromboli.podman.images import ImageInfo


@dataclass(frozen=True, slots=True)
class Judged:
    """The result of checking the spec against today's policies."""

    spec: AgentRunSpec
    policy: Effective
    request: Request


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything that an attempt needs. `taken` is what its variables and files have from elsewhere. `gateway` is the
    folder of a gateway's socket; `configuration` is a tar of the image's configuration of the CLI, None if it has none;
    `managed` are its files in /etc/claude-code. With an environment, `stack` and `stack_images` are what was found of
    it, and `blueprint` the stack that is up.
    """

    judged: Judged
    volumes: tuple[Volume, ...]
    gateway: Path | None
    image: ImageInfo
    user: ImageUser
    cli: MountedCLI | None
    prompt: str
    credentials: Credentials
    taken: Taken
    configuration: bytes | None
    managed: Mapping[str, bytes]
    stack: Prepared | None = None
    stack_images: StackImages | None = None
    blueprint: Blueprint | None = None

    @property
    def image_env(self) -> tuple[str, ...]:
        """The variables with which the container is created (`NAME=value` each): the image's, and those of the service
        in which the agent runs.
        """
        if self.stack is None:
            return self.image.env
        return (*self.image.env, *(f"{name}={value}" for name, value in self.stack.agent.environment.items()))

    @property
    def shape(self) -> Shape:
        """The shape of a container that is created from this."""
        return container.shape(self.judged.request, self.judged.policy.network, self.cli is not None, self.volumes)


class Candidate:
    """What the gates have found so far. Each attribute is set by the gate of its name, and read only by later ones."""

    spec: AgentRunSpec  # completed from the run's session
    named: Named | None  # the session that the run names
    policy: Effective
    request: Request
    volumes: tuple[Volume, ...]
    gateway: Path | None
    prompt: str
    credentials: Credentials
    taken: Taken
    cli: MountedCLI | None
    image: ImageInfo
    facts: ImageFacts
    user: ImageUser
    stack: Prepared | None
    stack_images: StackImages | None

    def __init__(self, run: Run) -> None:
        self.run = run
        self.timeout: float | None = None  # seconds, once the spec was judged

    def ready(self) -> Ready:
        """The result, once all gates are passed."""
        return Ready(
            judged=Judged(self.spec, self.policy, self.request),
            volumes=self.volumes,
            gateway=self.gateway,
            image=self.image,
            user=self.user,
            cli=self.cli,
            prompt=self.prompt,
            credentials=self.credentials,
            taken=self.taken,
            configuration=configuration.archive_of(self.facts.configuration) if self.facts.configuration else None,
            managed=configuration.files_of(self.facts.managed),
            stack=self.stack,
            stack_images=self.stack_images,
        )

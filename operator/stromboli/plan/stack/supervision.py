"""How a service's container is looked after, as a label of it, by which a restarted operator goes on. Pure.

Files, policies and images are not read again for that. What depends on other services (whether somebody waits for its
end) is as it was when the container was created; a start of the stack knows better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from stromboli import bounds
from stromboli.compose.stack import Service
from stromboli.plan.stack import health, ports
from stromboli.plan.stack.health import Check
from stromboli.plan.stack.image import Image

GRACE = 10.0  # seconds, Docker's default


@dataclass(frozen=True, slots=True)
class Supervision:
    """What one service's container needs. It is ready when its `check` says so; without one, when it listens on one
    of the TCP `ports`, with `local` also on loopback, since the agent is in the same network namespace; without either,
    when it runs. `grace` is the time that it has to stop, in seconds.
    """

    check: Check | None
    ports: tuple[int, ...]
    restart: str | None
    one_shot: bool
    grace: float
    local: bool = False

    @property
    def serves(self) -> bool:
        """Whether others use it while it runs, as far as anybody can tell."""
        return self.check is not None or bool(self.ports)

    def to_label(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_label(text: str) -> Supervision:
        """What is in a label. Raises ValueError if it is not there."""
        return _LABEL.validate_python(bounds.json_document(text, bounds.DOCUMENT))


_LABEL = TypeAdapter(Supervision)


def of(service: Service, image: Image, *, one_shot: bool) -> Supervision:
    """The supervision of a service."""
    check = health.effective(service.healthcheck, image.check, image.shell)
    return Supervision(
        check=check,
        ports=tuple(sorted(ports.of(service, image))) if check is None else (),
        restart=service.restart,
        one_shot=one_shot,
        grace=GRACE if service.stop_grace_period is None else service.stop_grace_period,
    )


def checked(services: Mapping[str, Service], images: Mapping[str, Image]) -> frozenset[str]:
    """The services that have a health check, in the file or in their image."""
    return frozenset(
        name
        for name, service in services.items()
        if health.effective(service.healthcheck, images[name].check, images[name].shell) is not None
    )

"""Which images are built for a stack, and of what: decisions, once a build's context has been read. Pure.

Every image that a build can reach is admitted like any other, and is an id in what is built. The image is known by its
key: the same files, Dockerfile, images, arguments and target are not built again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from stromboli.compose.dockerfile.lines import parse
from stromboli.compose.dockerfile.reach import Reach, reach
from stromboli.compose.problem import Mark
from stromboli.compose.stack import Build, Service
from stromboli.errors import ComposeProblem, InvalidInput, Refused
from stromboli.grammar.reference import Reference
from stromboli.plan import admission
from stromboli.plan.compose_rules import ComposeRules
from stromboli.plan.policy import Effective
from stromboli.plan.stack.image import ImageCheck

_FIELD = "spec.environment"  # of the run, before the keys of its file in a refusal
_KEY = 1  # to be raised when the same key would no longer mean the same image


@dataclass(frozen=True, slots=True)
class Base:
    """An image that a build begins with, or copies from. `check` is its HEALTHCHECK, `on_build` its ONBUILDs.

    `id` is what is built from, which may be that of a copy: see node/stacks/builds.py.
    """

    id: str
    check: ImageCheck | None = None
    on_build: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedBuild:
    """A build whose images are admitted: `images` has each by its reference as it is in the Dockerfile, `slots` the key
    that names it, for messages.
    """

    build: Build
    images: Mapping[str, Reference]
    slots: Mapping[str, str]
    target: str | None
    mark: Mark | None
    _reach: Reach

    def check(self, bases: Mapping[str, Base]) -> None:
        """Raises ComposeProblem for an image with instructions for whoever builds from it."""
        for reference, base in bases.items():
            if base.on_build:
                raise ComposeProblem(
                    self.slots[reference],
                    f"the image {reference} has ONBUILD instructions, which nobody has checked; write the file without "
                    "that image",
                    str(self.mark or ""),
                )

    def dockerfile(self, bases: Mapping[str, Base]) -> str:
        """What is built: only ids of images are in it."""
        inherited = {name: _healthcheck(base.check) for name, base in bases.items() if base.check is not None}
        return self._reach.pinned({name: base.id for name, base in bases.items()}, inherited)

    def key(self, context: str, ids: Mapping[str, str]) -> str:
        """What identifies the image: `context` is the digest of its files, `ids` are those of the admitted images."""
        said = [_KEY, context, self._reach.pinned(ids), sorted(self.build.args.items()), self.target]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def is_built(service: Service, rules: ComposeRules, *, overridden: bool = False) -> bool:
    """Whether the image of a service is built; `overridden`: the run names another image for it."""
    return service.build is not None and rules.build.on and not overridden


def planned(build: Build, dockerfile: bytes, policy: Effective, mark: Mark | None = None) -> PlannedBuild:
    """The build of these bytes. Raises ComposeProblem, and Refused for an image that is not admitted.

    The image of the `syntax` directive is admitted as well, though nothing of it is ever run.
    """
    field = "dockerfile" if build.dockerfile_inline is None else "dockerfile_inline"
    try:
        found = reach(parse(dockerfile), build.args)
    except InvalidInput as e:
        raise ComposeProblem(f"{build.at}.{field}", e.message, str(mark or "")) from e
    try:
        target = found.target(build.target)
    except InvalidInput as e:
        raise ComposeProblem(f"{build.at}.target", e.message, str(mark or "")) from e
    if found.syntax is not None:
        try:
            admission.admit(found.syntax, policy, f"{_FIELD}: {build.at}.{field} (# syntax)")
        except Refused as refused:
            raise Refused(
                refused.reason, f"{refused.message}; builds go without it, so the line may be left out"
            ) from None
    slots = {
        base.reference: f"{build.at}.args.{base.argument}"
        if base.argument
        else f"{build.at}.{field} (line {base.line})"
        for base in found.bases
    }
    images = {reference: admission.admit(reference, policy, f"{_FIELD}: {slot}") for reference, slot in slots.items()}
    return PlannedBuild(build, images, slots, target, mark, found)


def _healthcheck(check: ImageCheck) -> tuple[str, ...]:
    """The instruction for an image's HEALTHCHECK, which its copy lacks."""
    if not check.test or check.test[0] == "NONE":
        return ("HEALTHCHECK NONE",) if check.test else ()
    command = ["/bin/sh", "-c", *check.test[1:]] if check.test[0] == "CMD-SHELL" else list(check.test[1:])
    times = {"interval": check.interval, "timeout": check.timeout, "start-period": check.start_period}
    options = [f"--{name}={seconds:.9g}s" for name, seconds in times.items() if seconds]
    options += [f"--retries={check.retries}"] if check.retries else []
    return (" ".join(("HEALTHCHECK", *options, "CMD", json.dumps(command))),)

"""The builds of the fake Podman: nothing of a Dockerfile is run, so a test says what comes of it."""

from __future__ import annotations

import asyncio
import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.fake_podman_images import BUILDER, FakeImages, labels_of
from tests.support.fake_podman_wire import Answer, Body, Call, in_json

_FROM = re.compile(r"^FROM\s+(\S+)(?:\s+AS\s+(\S+))?\s*$", re.MULTILINE | re.IGNORECASE)


@dataclass(slots=True)
class Build:
    """One build that was asked for: its parameters, and the files of its context."""

    query: Mapping[str, str]
    files: Mapping[str, bytes]
    killed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def dockerfile(self) -> str:
        return self.files[self.query["dockerfile"]].decode()


@dataclass(slots=True)
class Built:
    """What comes of a build: it writes, and ends after `seconds` (None: only when killed), with an error or not."""

    lines: tuple[str, ...] = ()
    error: str = ""
    seconds: float | None = 0.0


class FakeBuilds(FakeImages):
    """The handler of a build."""

    def __init__(self) -> None:
        super().__init__()
        self.built: Callable[[Build], Built] = lambda _: Built()
        self.builds: list[Build] = []

    async def _build(self, request: Call) -> Answer:
        with tarfile.open(fileobj=io.BytesIO(request.body)) as context:
            members = [member for member in context.getmembers() if member.isfile()]
            files = {m.name.removeprefix("./"): _content(context, m) for m in members}
        query = {"dockerfile": "Dockerfile"} | dict(request.query.items())
        build = Build(query, files)
        if query.get("squash") == "true":
            return self._flattened(build)
        self.builds.append(build)
        return self._building(build)

    def _flattened(self, build: Build) -> web.Response:
        """What `copies.flatten` builds: `FROM id`, squashed into one layer. A failure is reported in the body."""
        _, _, source = build.dockerfile.strip().partition(" ")
        if (base := self.find_image(source)) is None:
            return in_json({"error": f"{source}: image not known"})
        config = {**base.config, "Labels": labels_of(base) | {BUILDER: "1.28.0"}}
        return self.made(build.query["t"], base, config, 1)

    async def _building(self, build: Build) -> Body:
        if build.query["dockerfile"] not in build.files:
            yield _line(error=f"stat {build.query['dockerfile']}: no such file or directory")
            return
        stages = _stages(build)
        base = None
        for source, name in stages:
            yield _line(stream=f"STEP 1/1: FROM {source}\n")
            if (base := self.find_image(source.removeprefix("sha256:"))) is None:
                yield _line(error=f"creating build container: {source}: image not known\n")
                return
            if name and name == build.query.get("target"):
                break
        if base is None:
            yield _line(error="no FROM statement found\n")
            return
        does = self.built(build)
        for line in does.lines:
            yield _line(stream=f"{line}\n")
        try:
            await asyncio.wait_for(build.killed.wait(), does.seconds)
            yield _line(error='building at STEP "RUN": while running runtime: exit status 137\n')
            return
        except TimeoutError:
            pass
        if does.error:
            yield _line(error=f"{does.error}\n")
            return
        labels = labels_of(base) | json.loads(build.query.get("labels", "{}")) | {BUILDER: "1.28.0"}
        names = [build.query["t"]] if "t" in build.query else []
        for name in names:
            self.take_name(name)
        made = self.add_image(*names, root=base.root, **{**base.config, "Labels": labels})
        yield _line(stream="COMMIT\n")
        yield _line(stream=f"{made.id}\n")


def _stages(build: Build) -> list[tuple[str, str]]:
    """(image, name) of each stage that begins from an image, with ARGs of the request put in."""
    args = json.loads(build.query.get("buildargs", "{}"))
    found = [(source, name or "") for source, name in _FROM.findall(build.dockerfile)]
    names = {name for _, name in found}
    filled = [(re.sub(r"\$\{?(\w+)\}?", lambda m: args.get(m[1], ""), source), name) for source, name in found]
    return [(source, name) for source, name in filled if source not in names]


def _content(context: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = context.extractfile(member)
    assert file is not None
    return file.read()


def _line(**entry: Any) -> bytes:
    return json.dumps(entry).encode() + b"\n"

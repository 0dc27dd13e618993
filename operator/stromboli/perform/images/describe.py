"""What is said of an image that was inspected, in the status of an AgentImage and by the read API alike. In API form.

Not here: whether it suits agents (plan/holding.py), and what a namespace may know of it (discovery.py).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from stromboli.grammar import times
from stromboli.plan import holding
from stromboli.plan.compatibility import ImageFacts
from stromboli.plan.contents import Contents
from stromboli.podman.images import ImageInfo


def details(image: ImageInfo, facts: ImageFacts, contents: Contents) -> dict[str, Any]:
    """The fields of `status.nodes[]` that follow from the image alone. What it does not have is empty or None."""
    return {
        "id": image.id,
        "size": image.size,
        "created": None if image.created is None else times.to_text(image.created),
        "platform": holding.shown(f"{image.os}/{image.architecture}", holding.PLATFORM),
        "libc": {"family": str(facts.libc), "version": facts.libc_version},
        "shell": holding.shown(facts.shell or "", holding.PATH),
        "claudeCLI": cli(facts),
        "user": "" if facts.user is None else f"{facts.user.uid}:{facts.user.gid}",
        "os": None if contents.os is None else asdict(contents.os),
        "tools": [asdict(tool) for tool in contents.tools],
        "description": holding.description(image.labels),
    }


def cli(facts: ImageFacts) -> str:
    """The path of the Claude CLI that an image brings, if it brings one."""
    return holding.shown(facts.claude or "", holding.PATH)


def summary(size: int, known: tuple[ImageFacts, Contents] | None) -> dict[str, str]:
    """The columns of a table; without C library and tools if the image was not inspected."""
    libc, tools = ("", "") if known is None else (holding.libc_text(known[0]), holding.tools_text(known[1]))
    return {"libc": libc, "tools": tools, "size": holding.size_text(size)}

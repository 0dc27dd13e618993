"""Inspects one image once: libc, architecture, shell, its own CLI and its user, as one `ImageFacts`.

Here: what is looked for, and in which order. Not here: the verdict (`plan/compatibility.py`), caching (`cache.py`), and
the container through which the image's files are reached (`container.py`).
"""

from __future__ import annotations

from dataclasses import replace

from stromboli.errors import InvalidInput
from stromboli.inspection import libc, passwd
from stromboli.inspection.opener import ImageConfig, Opener, executable, program
from stromboli.plan.compatibility import CLINeeds, ImageFacts, ImageUser


async def image_facts(opener: Opener, needs: CLINeeds, config: ImageConfig | None = None) -> ImageFacts:
    """Everything that decides whether the CLI can run in an image, and as which user. Call `startfiles` first, to check
    the files that Podman itself reads.

    Errors of the opener (PodmanUnavailable, PodmanError) propagate: then nothing is known about the image.
    """
    config = config or ImageConfig()
    facts = await libc.find(opener, needs, config)
    user, problem = await _user(opener, config.user)
    shell = await executable(opener, "/bin/sh")
    claude = await program(opener, "claude", config.path)
    return replace(
        facts,
        shell=shell.path if shell else None,
        claude=claude.path if claude else None,
        user=user,
        user_problem=problem,
    )


async def _user(opener: Opener, spec: str) -> tuple[ImageUser | None, str]:
    users = await _file(opener, "/etc/passwd")
    groups = await _file(opener, "/etc/group")
    try:
        return passwd.resolve_user(spec, users, groups), ""
    except InvalidInput as e:
        return None, e.message


async def _file(opener: Opener, path: str) -> bytes | None:
    found = await opener.stat(path)
    return await opener.read(found.path, passwd.LIMIT) if found and found.regular else None

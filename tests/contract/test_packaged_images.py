"""Images of real packages on the real Podman whose users, labels, variables and system say more than is there.

Which tools packages bring is in test_contents_of_packages.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stromboli.inspection.container import MountedOpener
from stromboli.inspection.contents import image_contents
from stromboli.inspection.facts import image_facts
from stromboli.inspection.opener import ImageConfig
from stromboli.inspection.root import MountedRoot
from stromboli.plan import holding
from stromboli.plan.compatibility import CLINeeds, Libc
from stromboli.podman import Podman
from tests.support import packaged
from tests.support.packaged import Packaged

LIMIT = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Expected:
    """What has to be found. `tools` are by the package whose version has the tool's in it; Bash is in all of them."""

    os: tuple[str, str] = ("debian", "12")
    user: tuple[int, int] = (0, 0)
    rank: int = 3
    tools: Mapping[str, str] = field(default_factory=dict)
    untrue: tuple[str, ...] = ()


PACKAGED: dict[str, tuple[Packaged, Expected]] = {
    "rust": (Packaged(("rustc",), changes=("USER node:0",)), Expected(user=(1000, 0), tools={"rust": "rustc"})),
    "labels that are true": (
        Packaged(
            ("golang-go",),
            changes=("USER node", 'LABEL ai.stromboli.compatible="true"', 'LABEL ai.stromboli.tools="golang:1.19"'),
        ),
        Expected(user=(1000, 1000), rank=1, tools={"go": "golang-go"}),
    ),
    "labels, variables and a system that are not": (
        Packaged(
            files={"etc/os-release": b'ID=alpine\nVERSION_ID=3.19.0\nPRETTY_NAME="Alpine Linux"\n'},
            changes=(
                "ENV GOLANG_VERSION=1.22.3 NODE_VERSION=20.1.0",
                'LABEL ai.stromboli.compatible="true"',
                'LABEL ai.stromboli.claude-cli="true"',
                'LABEL ai.stromboli.tools="golang,node:20"',
            ),
        ),
        Expected(
            os=("alpine", "3.19.0"),  # it is what its os-release says; the C library is what is there
            rank=1,
            untrue=(
                "the label ai.stromboli.claude-cli=true is not so: the image has no `claude` on its PATH",
                "the label ai.stromboli.tools claims go, node, which was not found in the image",
            ),
        ),
    ),
    "a package that was removed": (Packaged(removed=("php8.2-cli",)), Expected()),
}


@pytest.fixture(scope="module")
def archives(podman_env: dict[str, str]) -> Mapping[str, Path]:
    """The packages of all these images."""
    return packaged.fetched((image for image, _ in PACKAGED.values()), podman_env)


@pytest.mark.parametrize("name", PACKAGED)
async def test_what_is_found(
    name: str, podman: Podman, podman_env: dict[str, str], archives: Mapping[str, Path]
) -> None:
    image, expected = PACKAGED[name]
    reference = image.build(name.replace(" ", "-").replace(",", ""), podman_env, archives)
    info = await podman.images.inspect(reference)
    assert info is not None
    body = {"image": reference, "entrypoint": ["/never"], "netns": {"nsmode": "none"}, "user": "0:0"}
    container = await podman.containers.create(body)
    try:
        root = MountedRoot(Path(await podman.containers.mount(container)))
        opener = MountedOpener(podman, container, root)
        async with asyncio.timeout(LIMIT):
            facts = await image_facts(opener, CLINeeds(), ImageConfig(info.user, info.entrypoint, info.cmd))
            contents = await image_contents(opener, info.env)
    finally:
        await podman.containers.remove(container)
    assert (facts.libc, facts.shell) == (Libc.GLIBC, "/usr/bin/dash")
    assert facts.user is not None
    assert (facts.user.uid, facts.user.gid) == expected.user
    assert contents.os is not None
    assert (contents.os.id, contents.os.version) == expected.os
    found = {tool.name: tool.version for tool in contents.tools}
    wanted = {"bash": "bash", **expected.tools}
    assert set(found) == set(wanted)
    for tool, package in wanted.items():
        assert len(found[tool]) >= len("1.2"), found
        assert found[tool] in packaged.version(archives[package]), found
    suited = holding.suitability(facts, CLINeeds(), info.labels)
    assert suited.rank == expected.rank
    assert holding.untrue_labels(facts, contents, suited, info.labels) == expected.untrue

"""Inspection of images through Podman: the facts, and that the verdict matches what happens when the real CLI is run.

Links and loops in hostile images are tested on the fake and the real Podman; tests that need an image with an operating
system, or the CLI, use the real one only.
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stromboli.inspection.container import ContainerOpener, MountedOpener
from stromboli.inspection.facts import image_facts
from stromboli.inspection.needs import needs_of
from stromboli.inspection.opener import ImageConfig
from stromboli.inspection.root import MountedRoot
from stromboli.plan.compatibility import CLINeeds, ImageFacts, ImageUser, Libc, judge
from stromboli.podman import Podman
from tests.contract.conftest import LINKS, Bed
from tests.support.images import NUMERIC_UID, build

_LIMIT = 60.0  # seconds for one run of the CLI
_CLI = "/opt/claude/bin/claude"


@asynccontextmanager
async def unstarted(podman: Podman, image: str) -> AsyncIterator[str]:
    """A container of the image. At the end it is checked that it was never started, and it is removed."""
    body = {"image": image, "entrypoint": ["/never"], "netns": {"nsmode": "none"}, "image_volume_mode": "ignore"}
    container = await podman.containers.create(body)
    try:
        yield container
        state = await podman.containers.inspect(container)
        assert state is not None
        assert (state.started_at, state.pid) == (None, 0)
    finally:
        await podman.containers.remove(container)


@asynccontextmanager
async def never_started(podman: Podman, image: str) -> AsyncIterator[ContainerOpener]:
    """An opener on such a container."""
    async with unstarted(podman, image) as container:
        yield ContainerOpener(podman, container)


@pytest.fixture(scope="module")
def cli(podman_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, CLINeeds]:
    """The real CLI's image, and its binary's requirements."""
    image = build("cli", podman_env)
    folder = tmp_path_factory.mktemp("cli")
    made = _podman(podman_env, "create", image, "/never").stdout.strip()
    try:
        _podman(podman_env, "cp", f"{made}:/bin/claude", str(folder / "claude"))
    finally:
        _podman(podman_env, "rm", made)
    with (folder / "claude").open("rb") as file:
        needs = needs_of(file)
    (folder / "claude").unlink()
    return image, needs


def _podman(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["podman", *arguments], env=environ, capture_output=True, text=True, timeout=_LIMIT)


async def facts_of(podman: Podman, image: str, needs: CLINeeds, *, mounted: bool = True) -> ImageFacts:
    """The facts by the root as mounted on the node, or by the archive API alone."""
    info = await podman.images.inspect(image)
    assert info is not None
    config = ImageConfig(user=info.user, entrypoint=info.entrypoint, command=info.cmd)
    async with unstarted(podman, image) as container:
        root = MountedRoot(Path(await podman.containers.mount(container)))
        opener = MountedOpener(podman, container, root) if mounted else ContainerOpener(podman, container)
        return await image_facts(opener, needs, config)


def test_the_real_cli_needs_glibc_2_17(cli: tuple[str, CLINeeds]) -> None:
    """It also defines GLIBC_2.26 itself, which is no requirement of the image."""
    needs = cli[1]
    assert needs.glibc == (2, 17)
    assert needs.architecture in ("amd64", "arm64")
    assert needs.interpreter in ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
    assert {"libc.so.6", "libm.so.6"} <= {library for library, _ in needs.libraries}


@pytest.mark.parametrize("name", ["glibc", "scratchpad", "no-shell", "no-coreutils", "musl", "sneaky", "static"])
async def test_the_verdict_is_what_happens(
    name: str, podman: Podman, podman_env: dict[str, str], cli: tuple[str, CLINeeds]
) -> None:
    cli_image, needs = cli
    image = build(name, podman_env)
    verdict = judge(await facts_of(podman, image, needs), needs)
    mount = f"type=image,source={cli_image},destination=/opt/claude"
    ran = _podman(
        podman_env, "run", "--rm", "--network", "none", "--mount", mount, "--entrypoint", _CLI, image, "--version"
    )
    assert verdict.ok == (ran.returncode == 0), (verdict.message, ran.stderr)
    assert verdict.ok == ("Claude Code" in ran.stdout)


@pytest.mark.parametrize("name", ["musl", "sneaky"])
async def test_musl_is_named_with_or_without_a_trace_of_alpine(
    name: str, podman: Podman, podman_env: dict[str, str]
) -> None:
    facts = await facts_of(podman, build(name, podman_env), CLINeeds(), mounted=False)
    message = judge(facts, CLINeeds()).message
    assert message.startswith("musl 1.")
    assert message.endswith("; the Claude CLI needs glibc 2.17 or newer; use the Debian-based tag")
    assert facts.has_shell


async def test_a_static_image_is_named_by_its_program(podman: Podman, podman_env: dict[str, str]) -> None:
    facts = await facts_of(podman, build("static", podman_env), CLINeeds())
    assert (facts.libc, facts.libc_path, facts.shell) == (Libc.STATIC, "/usr/bin/busybox", None)


async def test_a_shell_is_told_or_its_absence(podman: Podman, podman_env: dict[str, str]) -> None:
    with_one = await facts_of(podman, build("no-coreutils", podman_env), CLINeeds(), mounted=False)
    without = await facts_of(podman, build("no-shell", podman_env), CLINeeds())
    assert (with_one.shell, without.shell) == ("/usr/bin/dash", None)


@pytest.mark.parametrize(
    ("name", "user"),
    [
        ("scratchpad", ImageUser(0, 0, "/root")),
        ("nonroot", ImageUser(1000, 1000, "/home/agent")),
        ("numeric-user", ImageUser(NUMERIC_UID, 0, None)),
    ],
)
async def test_the_user_is_the_one_that_podman_runs_as(
    name: str, user: ImageUser, podman: Podman, podman_env: dict[str, str]
) -> None:
    image = build(name, podman_env)
    assert (await facts_of(podman, image, CLINeeds())).user == user
    ran = _podman(podman_env, "run", "--rm", "--network", "none", image, "sh", "-c", "echo $(id -u) $(id -g)")
    assert ran.stdout.split() == [str(user.uid), str(user.gid)]


@pytest.mark.parametrize("path", ["/lib/real", "/relative", "/absolute", "/chained", "/folder/real"])
async def test_links_are_followed_inside_the_image(bed: Bed, path: str) -> None:
    async with never_started(bed.podman, bed.files) as opener:
        found = await opener.stat(path)
        assert found is not None
        assert (found.size, found.regular, found.executable) == (5, True, False)
        assert await opener.read(found.path, 100) == b"hello"
        assert await opener.read(found.path, 2) == b"he"


@pytest.mark.parametrize("path", ["/relative", "/absolute", "/chained"])
async def test_the_path_that_is_found_is_where_the_links_end(real: Bed, path: str) -> None:
    """Libraries are searched first in the loader's own folder: that of the file, not of the link."""
    async with never_started(real.podman, real.files) as opener:
        found = await opener.stat(path)
        assert found is not None
        assert found.path == "/lib/real"


@pytest.mark.parametrize("path", ["/nowhere", "/dangling", "/circle", "/outside", "/lib/real/below"])
async def test_what_leads_nowhere_is_absent(bed: Bed, path: str) -> None:
    async with never_started(bed.podman, bed.files) as opener:
        assert await opener.stat(path) is None


async def test_a_circle_is_told_from_what_is_not_there(bed: Bed) -> None:
    async with never_started(bed.podman, bed.files) as opener:
        for path in ("/circle", "/nowhere", "/dangling", "/lib/real"):
            assert await opener.is_circle(path) is (path == "/circle"), path


async def test_the_images_own_files_answer_for_links_out_of_it(bed: Bed) -> None:
    async with never_started(bed.podman, bed.files) as opener:
        found = await opener.stat("/escaping")
        assert found is not None
        assert await opener.read(found.path, 100) == b"inside"


@pytest.mark.parametrize(("path", "regular"), [("/fifo", False), ("/lib", False), ("/bin/tool", True)])
async def test_only_regular_files_count(bed: Bed, path: str, regular: bool) -> None:
    async with never_started(bed.podman, bed.files) as opener:
        found = await opener.stat(path)
        assert found is not None
        assert found.regular is regular


async def test_the_mounted_root_is_seen_as_podman_sees_it(real: Bed) -> None:
    others = ("/fifo", "/lib", "/bin/tool", "/lib/real", "/lib/real/below")
    async with unstarted(real.podman, real.files) as container:
        opener = ContainerOpener(real.podman, container)
        root = MountedRoot(Path(await real.podman.containers.mount(container)))
        assert root.visible
        mounted = MountedOpener(real.podman, container, root)
        for path in [*(f"/{link}" for link in LINKS), *others]:
            found, same = await opener.stat(path), await mounted.stat(path)
            assert same == found, path
            if found is None:
                assert await mounted.is_circle(path) is await opener.is_circle(path), path
        through = await mounted.stat("/folder/real")  # of which Podman resolves the last part only
        assert through is not None
        assert through.path == "/lib/real"
        assert await mounted.read(through.path, 100) == b"hello"


async def test_a_hostile_image_is_looked_at_to_the_end(bed: Bed) -> None:
    """None of its files is a program, its passwd is invalid, and half of its links are dangling."""
    async with never_started(bed.podman, bed.files) as opener:
        facts = await image_facts(
            opener, CLINeeds(interpreter="/circle"), ImageConfig("agent", ("/outside",), ("/fifo",))
        )
    assert facts.libc is not Libc.GLIBC
    assert facts.user is None
    assert not judge(facts, CLINeeds()).ok

"""The CLI configuration in an image's home folder, as found through the fake and the real Podman."""

from __future__ import annotations

import io
import json
import os
import tarfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stromboli.inspection import configuration
from stromboli.inspection.configuration import LARGEST, MOST, Configuration
from stromboli.inspection.container import ContainerOpener
from stromboli.podman import Podman
from tests.support.fake_podman import FakePodman
from tests.support.podman import IsolatedPodman

MCP = {"bell": {"command": "bell"}}
HOME = {
    ".claude.json": json.dumps({"mcpServers": MCP, "projects": {"/work": {}}, "oauthAccount": {"a": 1}}),
    ".claude/settings.json": '{"model": "opus"}',
    ".claude/CLAUDE.md": "Be brief.",
    ".claude/commands/ship/it.md": "Ship it.",
    ".claude/agents/critic.md": "You are the critic.",
    ".claude/skills/sing/SKILL.md": "Sing.",
    ".claude/skills/sing/run.sh": "#!/bin/sh",
    ".claude/.credentials.json": "{}",
    ".claude/history.jsonl": "{}",
    ".claude/projects/-work/1.jsonl": "{}",
    ".claude/settings.local.json": "{}",
    ".claude/plugins/store/p.json": "{}",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for home in ("root", "home/agent"):
        for name, content in HOME.items():
            (folder / home / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / home / name).write_text(content)
        (folder / home / ".claude/skills/sing/run.sh").chmod(0o755)
    (folder / "etc").mkdir()
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    return folder


@pytest.fixture(params=["fake", "real"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def _served(kind: str, root: Path, isolated_podman: IsolatedPodman) -> AsyncIterator[tuple[Podman, str]]:
    """A Podman, and in it a container of an image with this root."""
    name = f"localhost/stromboli-test/configuration:{uuid.uuid4().hex[:12]}"
    if kind == "fake":
        async with FakePodman(root.parent / "fake.sock") as fake:
            fake.add_image(name, root=root)
            async with Podman(fake.socket) as client:
                yield client, await client.containers.create({"name": "look", "image": name, "entrypoint": ["/never"]})
        return
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(root, ".")
    isolated_podman.run("import", "--quiet", "-", name, stdin=packed.getvalue())
    async with Podman(isolated_podman.socket) as client:
        container = await client.containers.create(
            {"image": name, "entrypoint": ["/never"], "netns": {"nsmode": "none"}}
        )
        yield client, container
        await client.containers.remove(container)
    isolated_podman.run("rmi", name)


async def _collected(
    kind: str, root: Path, isolated_podman: IsolatedPodman, *environ: str, home: str | None = "/root"
) -> Configuration:
    async with _served(kind, root, isolated_podman) as (podman, container):
        return await configuration.collect(podman, container, ContainerOpener(podman, container), environ, home)


def _files(found: Configuration) -> dict[str, str]:
    if not found.archive:
        return {}
    files = {}
    with tarfile.open(fileobj=io.BytesIO(configuration.archive_of(found.archive))) as tar:
        for entry in tar:
            content = tar.extractfile(entry)
            assert content is not None, f"{entry.name} is not a regular file"
            files[entry.name] = content.read().decode()
            assert entry.mode == (0o755 if entry.name.endswith(".sh") else 0o644)
    return files


EXPECTED = {
    ".claude.json": json.dumps({"mcpServers": MCP}),
    **{name.removeprefix(".claude/"): HOME[name] for name in HOME if name.endswith((".md", ".sh", "/settings.json"))},
}


async def test_configuration_is_taken_and_credentials_and_histories_are_not(
    kind: str, root: Path, isolated_podman: IsolatedPodman
) -> None:
    assert _files(await _collected(kind, root, isolated_podman)) == EXPECTED
    assert len(EXPECTED) == 7


async def test_the_images_managed_settings_are_taken_too(
    kind: str, root: Path, isolated_podman: IsolatedPodman
) -> None:
    files = {"managed-settings.json": "{}", "managed-settings.d/a.json": '{"env": {}}', "CLAUDE.md": "Be brief."}
    for name, content in files.items():
        (root / "opt/managed" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "opt/managed" / name).write_text(content)
    (root / "etc/claude-code").symlink_to("../opt/managed")
    found = await _collected(kind, root, isolated_podman, home="/nowhere")
    assert found.archive == ""
    assert configuration.files_of(found.managed) == {name: content.encode() for name, content in files.items()}


async def test_where_managed_settings_are_mounted_has_to_be_a_folder(
    root: Path, isolated_podman: IsolatedPodman
) -> None:
    (root / "etc/claude-code").touch()
    found = await _collected("fake", root, isolated_podman)
    assert found.problem == "its /etc/claude-code is not a folder, but managed settings are mounted there; remove it"


async def test_where_it_is_looked_for(root: Path, isolated_podman: IsolatedPodman) -> None:
    (root / "srv").mkdir()
    (root / "home/agent/.claude").rename(root / "srv/claude")
    (root / "home/agent/.claude.json").rename(root / "srv/claude/.claude.json")
    environ = ("HOME=/root", "CLAUDE_CONFIG_DIR=/srv/claude")
    assert _files(await _collected("fake", root, isolated_podman, *environ, home=None)) == EXPECTED
    assert _files(await _collected("fake", root, isolated_podman, "HOME=/root", home="/nowhere")) == EXPECTED
    assert _files(await _collected("fake", root, isolated_podman, home="/nowhere")) == {}
    assert _files(await _collected("fake", root, isolated_podman, home=None)) == {}


async def test_links_are_followed_where_they_stand_for_a_name(
    kind: str, root: Path, isolated_podman: IsolatedPodman
) -> None:
    claude = root / "root/.claude"
    (root / "opt").mkdir()
    for name in ("skills", "settings.json"):
        (claude / name).rename(root / "opt" / f"company-{name}")
        (claude / name).symlink_to(f"/opt/company-{name}")
    (root / "opt/company-skills/outside").symlink_to("/etc/passwd")
    os.mkfifo(root / "opt/company-skills/pipe")
    assert _files(await _collected(kind, root, isolated_podman)) == EXPECTED


async def test_what_is_of_another_kind_is_left_out(kind: str, root: Path, isolated_podman: IsolatedPodman) -> None:
    claude = root / "root/.claude"
    for name in ("settings.json", "CLAUDE.md"):
        (claude / name).unlink()
    os.mkfifo(claude / "settings.json")
    (claude / "CLAUDE.md").symlink_to("CLAUDE.md")
    (root / "root/.claude.json").write_text("[" * 100_000)
    rest = {k: v for k, v in EXPECTED.items() if k not in ("settings.json", "CLAUDE.md", ".claude.json")}
    assert _files(await _collected(kind, root, isolated_podman)) == rest


@pytest.mark.parametrize("where", ["CLAUDE.md", "skills/sing/large.bin"])
async def test_what_is_too_large_is_said(root: Path, isolated_podman: IsolatedPodman, where: str) -> None:
    os.truncate(_made(root / "root/.claude" / where), LARGEST + 1)
    found = await _collected("fake", root, isolated_podman)
    assert found.problem.startswith(f"its /root/.claude has more than 2 MiB or {MOST} files of configuration")
    assert found.archive == ""


async def test_too_many_files_are_said(root: Path, isolated_podman: IsolatedPodman) -> None:
    for n in range(MOST + 1):
        _made(root / f"root/.claude/skills/sing/{n}")
    assert (await _collected("fake", root, isolated_podman)).problem


def _made(path: Path) -> Path:
    path.touch()
    return path

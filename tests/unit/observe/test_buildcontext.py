"""The folder that an image is built from: read once, whole, within its bounds, and nothing that is not in it."""

from __future__ import annotations

import asyncio
import os
import socket
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stromboli import pathwalk
from stromboli.errors import ComposeProblem, NotPermitted, Waiting
from stromboli.observe import buildcontext
from stromboli.observe.buildcontext import Context
from stromboli.plan.policy import VolumeList
from tests.support.built import build
from tests.support.swapping import exchange


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A context; srv is allowed, and beside it is a secret."""
    root = tmp_path.resolve()
    made = root / "srv/app"
    (made / "src").mkdir(parents=True)
    (made / "Dockerfile").write_text("FROM a\n")
    (made / "src/main.py").write_text("print()\n")
    (root / "secret").write_text("secret")
    return made


async def read(folder: Path, **fields: object) -> Context:
    lists = [VolumeList("AgentPolicy node", ((str(folder.parents[0]), True),))]
    archive = folder.parents[1] / "context.tar"
    archive.unlink(missing_ok=True)
    return await buildcontext.read(build(folder, **fields), lists, archive)


async def problem(folder: Path, **fields: object) -> ComposeProblem:
    with pytest.raises(ComposeProblem) as caught:
        await read(folder, **fields)
    assert not (folder.parents[1] / "context.tar").exists()
    return caught.value


def members(context: Context) -> dict[str, tarfile.TarInfo]:
    assert context.archive is not None
    with tarfile.open(context.archive) as tar:
        return {entry.name: entry for entry in tar.getmembers()}


def content(context: Context, name: str) -> bytes:
    assert context.archive is not None
    with tarfile.open(context.archive) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


async def test_what_is_read(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("src/main.py")
    (folder / "absolute").symlink_to("/etc/shadow")
    name = "src/" + "n" * 200 + "/" + "m" * 200
    (folder / name).parent.mkdir()
    (folder / name).write_text("deep")
    (folder / os.fsdecode(b"\xff")).write_text("no character")
    os.utime(folder / "run.sh", (1, 1234567890))
    found = await read(folder)
    assert found.dockerfile == b"FROM a\n"
    entries = members(found)
    assert [*entries] == sorted(entries), "in an order of its own"
    assert {*entries} >= {"Dockerfile", "absolute", "empty", "link", "run.sh", "src", "src/main.py", name}
    assert content(found, name) == b"deep"
    assert content(found, "\udcff") == b"no character"
    assert (entries["link"].linkname, entries["absolute"].linkname) == ("src/main.py", "/etc/shadow")
    script = entries["run.sh"]
    assert (script.mode, script.mtime, script.uid, script.gid, script.uname) == (0o755, 1234567890, 0, 0, "")


async def test_the_digest_is_that_of_what_is_built(folder: Path) -> None:
    first = (await read(folder)).digest
    os.utime(folder / "src/main.py", (1, 1))
    assert (await read(folder)).digest == first, "when it was written makes no difference"

    async def changed(change: Callable[[], object]) -> bool:
        before = (await read(folder)).digest
        change()
        return (await read(folder)).digest != before

    assert await changed(lambda: (folder / "src/main.py").write_text("print( )"))
    assert await changed(lambda: (folder / "src/main.py").chmod(0o700))
    assert await changed(lambda: (folder / "src/main.py").rename(folder / "src/other.py"))
    assert await changed(lambda: (folder / "link").symlink_to("a"))
    assert await changed(lambda: (folder / "empty").mkdir())


async def test_what_is_left_out(folder: Path) -> None:
    (folder / ".dockerignore").write_text("Dockerfile\nsrc\n!src/main.py\n*.log\n")
    (folder / "src/other.py").touch()
    (folder / "x.log").touch()
    found = await read(folder)
    assert found.dockerfile == b"FROM a\n", "it is needed all the same"
    assert [*members(found)] == [".dockerignore", "src/main.py"]


async def test_a_dockerfile_may_have_a_dockerignore_of_its_own(folder: Path) -> None:
    (folder / "src/db.Dockerfile").write_text("FROM b\n")
    (folder / "src/db.Dockerfile.dockerignore").write_text("**/*.py\n**/*ockerfile*")
    (folder / ".dockerignore").write_text("*")
    found = await read(folder, dockerfile=f"{folder}/src/db.Dockerfile")
    assert found.dockerfile == b"FROM b\n"
    assert [*members(found)] == [".dockerignore", "src"]


async def test_an_inline_dockerfile(folder: Path) -> None:
    found = await read(folder, dockerfile_inline="FROM c", dockerfile=None)
    assert found.dockerfile == b"FROM c"
    assert "src/main.py" in members(found)
    nothing = await buildcontext.read(build(None, dockerfile_inline="FROM d"), (), folder / "unused")
    assert (nothing.archive, nothing.dockerfile) == (None, b"FROM d")


async def test_names_of_the_operator_s_own(folder: Path) -> None:
    for name in buildcontext.OWN:
        (folder / name).symlink_to("/etc/shadow")
    assert not {*buildcontext.OWN} & {*members(await read(folder))}


async def test_sockets_are_left_out_and_pipes_refused(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "socket"))
    assert "socket" not in members(await read(folder))
    os.mkfifo(folder / "src/pipe")
    found = await problem(folder)
    assert found.key == "services.db.build.context"
    assert "src/pipe, a named pipe or a device" in found.what
    (folder / ".dockerignore").write_text("src/pipe")
    await read(folder)


@pytest.mark.parametrize("target", ["../../secret", "/../../secret", "src/../../x"])
async def test_a_link_out_of_the_folder(folder: Path, target: str) -> None:
    (folder / "link").symlink_to(target)
    found = await problem(folder)
    assert "has the link link, which leads out of it" in found.what


@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [
        ("../../secret", "leads out of the context"),
        ("../app-evil/Dockerfile", "leads out of the context"),
        ("missing", "the context has no missing"),
        ("src/main.py/x", "the context has no src/main.py/x"),
        ("src", "src is not a regular file"),
        ("link", "link is not a regular file; a link is not followed"),
        ("linked/secret", "the context has no linked/secret"),
        ("pipe", "pipe is not a regular file"),
        ("large", "large is too large: at most 256 KiB"),
    ],
)
async def test_a_dockerfile_that_is_not_in_the_context(folder: Path, dockerfile: str, said: str) -> None:
    (folder / "link").symlink_to(folder.parents[1] / "secret")
    (folder / "linked").symlink_to(folder.parents[1])
    os.mkfifo(folder / "pipe")
    (folder / "large").write_bytes(b"#" * 300_000)
    found = await problem(folder, dockerfile=os.path.normpath(f"{folder}/{dockerfile}"))
    assert found.key == "services.db.build.dockerfile"
    assert said in found.what
    assert "secret" not in str(found).replace("linked/secret", "")


async def test_a_dockerignore_that_is_a_link_or_no_pattern(folder: Path) -> None:
    (folder / ".dockerignore").symlink_to(folder.parents[1] / "secret")
    assert ".dockerignore is not a regular file" in (await problem(folder)).what
    (folder / ".dockerignore").unlink()
    (folder / ".dockerignore").write_text("a\n[b")
    assert ".dockerignore line 2: [b is not a pattern" in (await problem(folder)).what


async def test_a_folder_that_no_policy_allows(folder: Path) -> None:
    other = folder.parents[1] / "other"
    (other / "app").mkdir(parents=True)
    (folder / "into").symlink_to(other)
    (folder.parent / "way").symlink_to(other / "app")
    lists = [VolumeList("AgentPolicy node", ((str(folder.parent), True),))]
    for path in (other / "app", folder.parent / "way", folder.parent / "missing-no" / ".." / ".." / "other"):
        with pytest.raises(NotPermitted) as caught:
            await buildcontext.read(build(path, dockerfile=f"{path}/Dockerfile"), lists, folder.parents[1] / "x.tar")
        assert caught.value.key == "services.db.build.context"
    with pytest.raises(NotPermitted):
        await buildcontext.read(build(folder), [VolumeList("AgentPolicy none", ())], folder.parents[1] / "x.tar")


@pytest.mark.parametrize(("path", "said"), [("missing", "No such file"), ("Dockerfile", "is not a folder")])
async def test_a_context_that_is_no_folder(folder: Path, path: str, said: str) -> None:
    lists = [VolumeList("AgentPolicy node", ((str(folder.parent), True),))]
    with pytest.raises(ComposeProblem, match=said) as caught:
        await buildcontext.read(build(folder / path), lists, folder.parents[1] / "x.tar")
    assert caught.value.key == "services.db.build.context"


async def test_a_large_context_is_not_read_to_its_end(folder: Path) -> None:
    (folder / "large").touch()
    os.truncate(folder / "large", 5 << 30)
    begun = time.monotonic()
    found = await problem(folder)
    assert "has more than 1024 MiB; leave out by .dockerignore" in found.what
    assert time.monotonic() - begun < 2
    (folder / ".dockerignore").write_text("large")
    await read(folder)


async def test_many_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buildcontext, "MOST_ENTRIES", 20)
    for number in range(15):
        (folder / f"src/{number}").touch()
    await read(folder)
    for number in range(15):
        (folder / f"{number}").touch()
    assert "has more than 20 files" in (await problem(folder)).what


async def test_folders_in_folders(folder: Path) -> None:
    deep = folder / "/".join("d" * 201)
    deep.mkdir(parents=True)
    assert "more than 200 folders in each other" in (await problem(folder)).what


async def test_a_file_that_changes_all_the_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at it has somebody write to it right afterwards."""
    log = folder / "log"
    log.write_bytes(bytes(1 << 20))
    inode, looked = log.stat().st_ino, os.fstat

    def look(descriptor: int) -> os.stat_result:
        found = looked(descriptor)
        if found.st_ino == inode:
            with log.open("ab") as file:
                file.write(b"x")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", look)
        found = await problem(folder)
    assert "was changed while it was read" in found.what
    assert "log" in members(await read(folder))


async def test_a_folder_that_is_swapped_for_a_link(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at a name and the opening of what it names."""
    evil = folder.parents[1] / "evil"
    evil.symlink_to(folder.parents[1])
    opened = os.open

    def swapping(path: object, *args: object, **kwargs: object) -> int:
        if path == "src" and evil.is_symlink():
            exchange(folder / "src", evil)
        return opened(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", swapping)
    found = await read(folder)
    assert members(found)["src"].issym()
    assert not any("secret" in name for name in members(found))


async def test_it_ends_when_nobody_waits_for_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buildcontext, "LIMIT", 0.05)
    real = pathwalk.reopened

    def slow(descriptor: int, flags: int) -> int:
        time.sleep(0.1)
        return real(descriptor, flags)

    monkeypatch.setattr(pathwalk, "reopened", slow)
    with pytest.raises(ComposeProblem, match=r"services\.db\.build\.context: could not be read within 0 s"):
        await read(folder)

    def left() -> bool:
        ends = time.monotonic() + 10
        while (there := (folder.parents[1] / "context.tar").exists()) and time.monotonic() < ends:
            time.sleep(0.01)
        return there

    assert not await asyncio.to_thread(left)


async def test_a_full_disk_is_not_the_user_s_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(Waiting, match="the operator's home has no room"):
        await read(folder)

"""What goes on of the CLI's folder that a run has left, and what does not."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.supervised import Supervised, sh

# Configuration that an agent can leave in the CLI's folder, by name.
LEFT = {
    "settings.json": '{"hooks": {}}',
    "settings.local.json": "{}",
    ".claude.json": '{"mcpServers": {}}',
    ".credentials.json": "{}",
    "agents/a.md": "a",
    "commands/c.md": "c",
    "skills/s/SKILL.md": "s",
    "plugins/store/p.json": "{}",
    "hooks/h.sh": "h",
    "rules/r.md": "r",
    "session-env/x/hook.sh": "x",
    "shell-snapshots/s.sh": "s",
    "-rf": "f",
    "..two/x": "x",
}
KEPT = {
    "projects/-work/1.jsonl": "{}",
    "projects/-work/memory/MEMORY.md": "m",
    "todos/t.json": "[]",
    "CLAUDE.md": "mine",
}


def _files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def _tar(files: dict[str, str]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content.encode()))
    return archive.getvalue()


def test_of_what_a_run_has_left_only_conversations_and_memory_go_on(box: Supervised) -> None:
    claude = box.root / "session/claude"
    _write(claude, LEFT | KEPT)
    assert box.run(sh("find . -type f", workdir=str(claude))) == 0
    assert _files(claude) == KEPT


def test_the_images_configuration_is_laid_down_again_and_memory_stays(box: Supervised) -> None:
    claude = box.root / "session/claude"
    image = {"settings.json": '{"model": "opus"}', "skills/s/SKILL.md": "image", "CLAUDE.md": "image"}
    _write(claude, LEFT | KEPT)
    assert box.run(sh("exit 0", files={"prompt": b"", "claude.tar": _tar(image)})) == 0
    assert _files(claude) == {**image, **KEPT}


@pytest.mark.parametrize(
    "make",
    [
        lambda p: p.symlink_to("/etc"),
        lambda p: p.symlink_to(p.name),
        Path.touch,
        os.mkfifo,
        lambda p: p.mkdir(mode=0),
    ],
)
def test_whatever_is_in_the_folders_place_is_replaced(box: Supervised, make: Callable[[Path], object]) -> None:
    make(box.root / "session/claude")
    assert box.run(sh("exit 0", files={"prompt": b"", "claude.tar": _tar({"settings.json": "{}"})})) == 0
    assert not (box.root / "session/claude").is_symlink()
    assert _files(box.root / "session/claude") == {"settings.json": "{}"}


@pytest.mark.parametrize("name", ["projects", "CLAUDE.md", "todos"])
@pytest.mark.parametrize("make", [lambda p: p.symlink_to("/etc"), os.mkfifo, lambda p: p.symlink_to("/etc/passwd")])
def test_what_is_no_folder_or_file_of_its_own_does_not_go_on(
    box: Supervised, name: str, make: Callable[[Path], object]
) -> None:
    (box.root / "session/claude").mkdir()
    make(box.root / "session/claude" / name)
    assert box.run(sh("exit 0")) == 0
    assert list((box.root / "session/claude").iterdir()) == []


def test_a_folder_too_deep_to_be_removed_holds_nothing_up(box: Supervised) -> None:
    claude = box.root / "session/claude"
    claude.mkdir()
    dig = "mkdir -p plugins; cd plugins; n=0; while [ $n -lt 60 ]; do mkdir -p $0; cd $0; n=$((n+1)); done"
    subprocess.run(["/bin/bash", "-c", dig, "/".join(["d" * 40] * 3)], cwd=claude, check=True)
    _write(claude, {"settings.json": "{}"})
    assert box.run(sh("exit 0")) == 0
    assert list(claude.iterdir()) == []
    subprocess.run(["rm", "-rf", box.root / "session"], check=True)

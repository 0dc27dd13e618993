"""What an image's user has in `~/.claude`: settings, commands, agents, skills, CLAUDE.md and MCP servers, as a tar.

Taken from the image itself, before anything of it runs: what an agent writes there later counts for nothing. Left out
are credentials, histories and caches, and plugins, which name their own place. Regular files only; a link counts where
it stands for one of the names below, and is followed inside the image.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from posixpath import basename

from stromboli import bounds, naming
from stromboli.errors import NotFound
from stromboli.inspection.opener import Found, Opener
from stromboli.podman.transport import Podman

FILES = ("settings.json", "CLAUDE.md")
FOLDERS = ("commands", "agents", "skills", "output-styles", "rules")
STATE = ".claude.json"  # of which the MCP servers are configuration, and the rest is history
LARGEST = 2 * 1024 * 1024  # bytes of all files together
MOST = 1000  # files
_GONE_THROUGH = 64 * 1024 * 1024  # bytes of a folder's tar, what is not taken included


@dataclass(frozen=True, slots=True)
class Configuration:
    """`archive` is as `packed` makes it, empty where there is nothing, and so is `managed`, of what the image has in
    /etc/claude-code; `problem` is a refusal's sentence.
    """

    archive: str = ""
    managed: str = ""
    problem: str = ""


class _TooMuch(Exception):
    """More than is taken."""


async def collect(
    podman: Podman, container: str, opener: Opener, environ: Iterable[str], home: str | None
) -> Configuration:
    """What a never started container of an image has, whose variables are `environ` and whose passwd says `home`.

    Raises PodmanError, PodmanUnavailable.
    """
    given = dict(entry.partition("=")[::2] for entry in environ)
    home = given.get("HOME") or home or "/"
    own = given.get("CLAUDE_CONFIG_DIR")
    folder = own or f"{home.rstrip('/')}/.claude"
    taking, managed = _Taking(), _Taking()
    where = folder
    try:
        if (found := await opener.stat(folder)) is not None and found.directory:
            for name in FILES:
                await taking.file(opener, f"{folder}/{name}", name)
            for name in FOLDERS:
                await taking.folder(podman, container, await opener.stat(f"{folder}/{name}"), name)
        await taking.servers(opener, f"{own or home.rstrip('/')}/{STATE}")
        where = naming.MANAGED
        if (found := await opener.stat(where)) is not None and not found.directory:
            return Configuration(
                problem=f"its {where} is not a folder, and managed settings are mounted there; remove it"
            )
        await managed.folder(podman, container, found, "")
    except _TooMuch:
        return Configuration(
            problem=f"its {where} has more than {LARGEST >> 20} MiB or {MOST} files of configuration in it, and all "
            "of it is handed to each run; make it smaller"
        )
    return Configuration(packed(taking.files), packed(managed.files))


def packed(files: dict[str, tuple[bytes, bool]]) -> str:
    """Files (content, and whether it is executable) by name, as text that `archive_of` understands; none is none."""
    if not files:
        return ""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, (content, executable) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if executable else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return base64.b64encode(zlib.compress(archive.getvalue())).decode("ascii")


def archive_of(text: str) -> bytes:
    """The tar that `packed` made."""
    return zlib.decompress(base64.b64decode(text))


def files_of(text: str) -> dict[str, bytes]:
    """The files that `packed` was given."""
    if not text:
        return {}
    with tarfile.open(fileobj=io.BytesIO(archive_of(text))) as tar:
        return {entry.name: file.read() for entry in tar if (file := tar.extractfile(entry)) is not None}


class _Taking:
    """Files by name, as many as may be."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, bool]] = {}
        self._left = LARGEST

    async def file(self, opener: Opener, path: str, name: str) -> None:
        found = await opener.stat(path)
        if found is None or not found.regular:
            return
        self._may_take(found.size)
        if (content := await opener.read(found.path, found.size)) is not None:
            self.files[name] = (content, False)

    async def folder(self, podman: Podman, container: str, found: Found | None, name: str) -> None:
        if found is None or not found.directory:
            return
        prefix = f"{basename(found.path)}/"
        try:
            async with podman.folders.files(container, found.path, _GONE_THROUGH) as files:
                async for file in files:
                    below = file.name.removeprefix(prefix)
                    if below == file.name or not _is_plain(below):
                        continue
                    self._may_take(file.size)
                    content = b"".join([piece async for piece in file.content])
                    self.files[f"{name}/{below}".lstrip("/")] = (content, file.executable)
        except NotFound:
            return

    async def servers(self, opener: Opener, path: str) -> None:
        """The MCP servers of the user, who adds them by `claude mcp add --scope user`."""
        found = await opener.stat(path)
        if found is None or not found.regular:
            return
        self._may_take(found.size)
        content = await opener.read(found.path, found.size) or b""
        try:
            state = bounds.json_document(content.decode("utf-8"), bounds.DOCUMENT)
        except ValueError:  # the CLI would not read it either
            return
        if isinstance(state, dict) and state.get("mcpServers"):
            self.files[STATE] = (json.dumps({"mcpServers": state["mcpServers"]}).encode(), False)

    def _may_take(self, size: int) -> None:
        self._left -= size
        if self._left < 0 or len(self.files) >= MOST:
            raise _TooMuch


def _is_plain(name: str) -> bool:
    """Whether a name can only mean a file below its folder."""
    return len(name) <= 512 and name.isprintable() and not {"", ".", ".."} & set(name.split("/"))

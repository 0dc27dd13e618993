"""Collects the CLI's configuration from an image as a tar: the `~/.claude` of its user, and managed settings.

That is settings, commands, agents, skills, CLAUDE.md and MCP servers; not credentials, history, caches, or plugins,
which contain their own path. It is read from the image before anything of it runs, so later changes by an agent have
no effect. Only regular files are taken; a symlink is followed, inside the image, only at one of the names below.
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
STATE = ".claude.json"  # only its MCP servers are configuration; the rest is history
LARGEST = 2 * 1024 * 1024  # bytes, all files together
MOST = 1000  # files
_MOST_READ = 64 * 1024 * 1024  # bytes of a folder's tar, including what is not taken


@dataclass(frozen=True, slots=True)
class Configuration:
    """`archive` is the user's configuration and `managed` the content of /etc/claude-code, both encoded by `packed` and
    empty if there is nothing; `problem` is why the image must be refused, as a sentence, or empty.
    """

    archive: str = ""
    managed: str = ""
    problem: str = ""


class _TooMuch(Exception):
    """The configuration exceeds LARGEST or MOST."""


async def collect(
    podman: Podman, container: str, opener: Opener, environ: Iterable[str], home: str | None
) -> Configuration:
    """Collect the configuration from a never-started container of an image.

    `environ` is the image's environment (`NAME=value`), `home` the home directory of its user by passwd. Raises
    PodmanError, PodmanUnavailable.
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
                problem=f"its {where} is not a folder, but managed settings are mounted there; remove it"
            )
        await managed.folder(podman, container, found, "")
    except _TooMuch:
        return Configuration(
            problem=f"its {where} has more than {LARGEST >> 20} MiB or {MOST} files of configuration, all of which is "
            "copied into each run; make it smaller"
        )
    return Configuration(packed(taking.files), packed(managed.files))


def packed(files: dict[str, tuple[bytes, bool]]) -> str:
    """Encode files (name → content, and whether it is executable) as text for `archive_of`; "" if there are none."""
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
    """The tar archive inside the text that `packed` returned."""
    return zlib.decompress(base64.b64decode(text))


def files_of(text: str) -> dict[str, bytes]:
    """The files inside the text that `packed` returned: name → content."""
    if not text:
        return {}
    with tarfile.open(fileobj=io.BytesIO(archive_of(text))) as tar:
        return {entry.name: file.read() for entry in tar if (file := tar.extractfile(entry)) is not None}


class _Taking:
    """The files collected so far, within the limits."""

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
            async with podman.folders.files(container, found.path, _MOST_READ) as files:
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
        """The user's MCP servers, as added by `claude mcp add --scope user`."""
        found = await opener.stat(path)
        if found is None or not found.regular:
            return
        self._may_take(found.size)
        content = await opener.read(found.path, found.size) or b""
        try:
            state = bounds.json_document(content.decode("utf-8"), bounds.DOCUMENT)
        except ValueError:  # the CLI could not parse it either
            return
        if isinstance(state, dict) and state.get("mcpServers"):
            self.files[STATE] = (json.dumps({"mcpServers": state["mcpServers"]}).encode(), False)

    def _may_take(self, size: int) -> None:
        self._left -= size
        if self._left < 0 or len(self.files) >= MOST:
            raise _TooMuch


def _is_plain(name: str) -> bool:
    """Whether a relative path is safe: it cannot lead out of its folder."""
    return len(name) <= 512 and name.isprintable() and not {"", ".", ".."} & set(name.split("/"))

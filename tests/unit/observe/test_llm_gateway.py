"""A gateway's socket on a node: its folder is mounted into agents, so nothing else may be in reach there."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stromboli.errors import Refused, Waiting
from stromboli.observe import llm_gateway
from stromboli.reasons import Reason

PODMAN = Path("/run/podman/podman.sock")


def listen(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
    return path


@pytest.fixture
def node() -> Iterator[Path]:
    """A folder with a short path, as sockets need it; it holds the folder `gw` of a gateway."""
    root = Path(tempfile.mkdtemp(prefix="gw-")).resolve()
    (root / "gw").mkdir(mode=0o755)
    yield root
    shutil.rmtree(root)


async def test_a_folder_of_the_sockets_own_is_mounted(node: Path) -> None:
    api = listen(node / "gw/api.sock")
    assert await llm_gateway.folder(str(api), PODMAN) == node / "gw"
    (node / "link").symlink_to(node / "gw")
    assert await llm_gateway.folder(str(node / "link/api.sock"), PODMAN) == node / "gw"
    (node / "gw/api.sock.lock").touch()
    assert await llm_gateway.folder(str(api), PODMAN) == node / "gw"
    assert await llm_gateway.folder(None, PODMAN) is None


async def _refusal(path: Path, podman: Path = PODMAN) -> str:
    with pytest.raises(Refused) as refused:
        await llm_gateway.folder(str(path), podman)
    assert refused.value.reason is Reason.PolicyViolation
    assert refused.value.message.startswith(f"the policy's env ANTHROPIC_UNIX_SOCKET: {path}: ")
    assert "such as /srv/gateway/api.sock" in refused.value.message
    return refused.value.message


@pytest.mark.parametrize("beside", ["podman.sock", "api.sock.key", "api", ".hidden", "folder/"])
async def test_what_else_lies_there_is_not_mounted_with_it(node: Path, beside: str) -> None:
    api = listen(node / "gw/api.sock")
    if beside.endswith("/"):
        (node / "gw" / beside).mkdir()
    else:
        (node / "gw" / beside).touch()
    said = f"its folder {node}/gw holds other things as well ({beside.rstrip('/')})"
    assert said in await _refusal(api)


async def test_a_refusal_names_few_of_many(node: Path) -> None:
    for n in range(50):
        (node / f"gw/other-{n}").touch()
    assert (await _refusal(listen(node / "gw/api.sock"))).count("other-") == llm_gateway.NAMED


async def test_the_shared_folders_of_every_machine(node: Path) -> None:
    with tempfile.NamedTemporaryFile(dir="/tmp"):
        assert "holds other things as well" in await _refusal(Path("/tmp/gw.sock"))
    (node / "link").symlink_to("/tmp")
    assert "its folder /tmp holds" in await _refusal(node / "link/gw.sock")


async def test_a_folder_in_which_everybody_may_write_is_nobodys_own(node: Path) -> None:
    api = listen(node / "gw/api.sock")
    for mode in (0o1777, 0o777, 0o757):
        (node / "gw").chmod(mode)
        assert f"everybody may write in its folder {node}/gw" in await _refusal(api)
    (node / "gw").chmod(0o2770)
    assert await llm_gateway.folder(str(api), PODMAN) == node / "gw"


async def test_what_is_no_gateway(node: Path) -> None:
    podman = listen(node / "podman.sock")
    os.link(podman, node / "gw/api.sock")
    assert "Podman itself answers there" in await _refusal(node / "gw/api.sock", podman)
    (node / "gw/api.sock").unlink()
    (node / "gw/api.sock").symlink_to(listen(node / "elsewhere.sock"))
    assert "is a link" in await _refusal(node / "gw/api.sock")
    (node / "gw/api.sock").unlink()
    (node / "gw/api.sock").mkdir()
    assert "is no socket" in await _refusal(node / "gw/api.sock")


async def test_a_gateway_that_has_not_started_yet_is_waited_for(node: Path) -> None:
    for missing, said in (("gw/api.sock", "there is no socket at"), ("gone/api.sock", "the folder of")):
        with pytest.raises(Waiting, match=said) as waiting:
            await llm_gateway.folder(str(node / missing), PODMAN)
        assert waiting.value.reason is Reason.WaitingForReference


async def test_a_folder_that_cannot_be_looked_at_is_waited_for(node: Path) -> None:
    (node / "circle").symlink_to("circle")
    with pytest.raises(Waiting, match="cannot be accessed: Too many levels of symbolic links"):
        await llm_gateway.folder(str(node / "circle/api.sock"), PODMAN)

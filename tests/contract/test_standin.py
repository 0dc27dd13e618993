"""The stand-in as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import httpx2 as httpx
import pytest

_LIMIT = 20.0  # seconds for a Python process to start or exit
_BODY = {"model": "claude-x", "messages": [{"role": "user", "content": "ECHO{hi}"}]}


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stromboli.standin",
        *arguments,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), _LIMIT)).decode()
    assert line.startswith("offline stand-in for the Messages API on "), line
    return line.split()[-1]


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    _, said = await asyncio.wait_for(process.communicate(), _LIMIT)
    return process.returncode, said.decode()


async def test_a_port_on_loopback_until_term(tmp_path: Path) -> None:
    process = await start("--port", "0", "--log", str(tmp_path / "log"))
    url = await address(process)
    assert url.startswith("http://127.0.0.1:")
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{url}/v1/messages", json=_BODY)
    assert answer.json()["content"][0]["text"] == "hi"
    process.send_signal(signal.SIGTERM)
    assert await ended(process) == (0, "")


async def test_a_socket_that_any_user_reaches_in_place_of_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("left behind")
    process = await start("--socket", str(path), "--log", str(tmp_path / "log"))
    assert await address(process) == f"unix://{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    transport = httpx.AsyncHTTPTransport(uds=str(path), verify=False)
    async with httpx.AsyncClient(transport=transport) as client:
        assert (await client.post("http://x/v1/messages", json=_BODY)).status_code == 200
    process.send_signal(signal.SIGINT)
    assert await ended(process) == (0, "")


async def test_one_started_again_gives_no_id_a_second_time(tmp_path: Path) -> None:
    """It would be twice in a conversation that goes on: the CLI then takes the later tool call for interrupted."""
    ids = set()
    for _ in range(2):
        process = await start("--port", "0", "--log", str(tmp_path / "log"))
        url = await address(process)
        async with httpx.AsyncClient() as client:
            ids.add((await client.post(f"{url}/v1/messages", json=_BODY)).json()["id"])
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == (0, "")
    assert len(ids) == 2


async def test_an_answer_under_way_does_not_hold_up_the_end(tmp_path: Path) -> None:
    process = await start("--socket", str(tmp_path / "s"), "--log", str(tmp_path / "log"))
    await address(process)
    async with httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(tmp_path / "s"), verify=False), timeout=_LIMIT
    ) as client:
        body = {**_BODY, "messages": [{"role": "user", "content": "SLOWSTREAM{500}"}], "stream": True}
        async with client.stream("POST", "http://x/v1/messages", json=body) as answer:
            await anext(answer.aiter_bytes())
            process.send_signal(signal.SIGTERM)
            assert (await ended(process))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ((), 2, "required"),
        (("--port", "0"), 2, "--log"),
        (("--port", "0", "--socket", "s", "--log", "l"), 2, "not allowed with"),
        (("--port", "0", "--log", "/nowhere/at/all"), 1, "No such file"),
        (("--socket", "/nowhere/at/all", "--log", "/dev/null"), 1, "No such file"),
    ],
)
async def test_a_wrong_start_says_why(arguments: tuple[str, ...], code: int, word: str) -> None:
    returncode, said = await ended(await start(*arguments))
    assert (returncode, word in said, "Traceback" in said) == (code, True, False), said

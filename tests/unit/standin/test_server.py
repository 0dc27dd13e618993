"""The stand-in over HTTP, on a real socket, and its log."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from aiohttp import web

from stromboli.standin.server import Log, Standin


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


@pytest.fixture
async def client(tmp_path: Path, log_file: Path) -> AsyncIterator[httpx.AsyncClient]:
    log = Log(log_file)
    runner = web.AppRunner(Standin(log).application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "s"), verify=False)  # it loads no certificates
    async with httpx.AsyncClient(transport=transport, base_url="http://standin", timeout=10) as client:
        yield client
    await runner.cleanup()
    log.close()


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "claude-x", "messages": [{"role": "user", "content": text}], **more}


def lines(log_file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log_file.read_text().splitlines()]


async def test_a_plain_answer(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/messages?beta=true", json=body("ECHO{hello}"))
    assert answer.status_code == 200
    assert answer.json()["content"] == [{"type": "text", "text": "hello"}]


async def test_a_streamed_answer(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/messages", json=body("ECHO{hello}", stream=True))
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.text.startswith("event: message_start\n")
    assert answer.text.endswith('event: message_stop\ndata: {"type": "message_stop"}\n\n')


async def test_an_error_has_its_status_and_a_request_id(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/messages", json=body("STATUS{529}"))
    assert answer.status_code == 529
    assert answer.json()["error"]["type"] == "overloaded_error"
    assert answer.headers["request-id"] == answer.json()["request_id"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/v1/models"), ("POST", "/v1/complete")])
async def test_everything_else_is_not_found_and_logged(
    client: httpx.AsyncClient, log_file: Path, method: str, path: str
) -> None:
    assert (await client.request(method, path)).status_code == 404
    assert [(line["method"], line["path"]) for line in lines(log_file)] == [(method, path)]


async def test_a_body_that_is_none_is_400(client: httpx.AsyncClient, log_file: Path) -> None:
    answer = await client.post("/v1/messages", content=b"{")
    assert answer.status_code == 400
    assert "not JSON" in answer.json()["error"]["message"]
    assert len(lines(log_file)) == 1


async def test_tokens_are_counted_roughly(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/messages/count_tokens", json=body("x" * 400))
    assert answer.json()["input_tokens"] > 100


async def test_the_log_has_the_prompt_whole_and_no_credential(client: httpx.AsyncClient, log_file: Path) -> None:
    prompt = "ECHO{x} " + "a prompt of two MiB é " * 100_000
    headers = {"x-api-key": "sk-very-secret", "authorization": "Bearer very-secret", "anthropic-beta": "b-1,b-2"}
    answer = await client.post("/v1/messages?beta=true", json=body(prompt, system="sys"), headers=headers)
    assert answer.status_code == 200
    (line,) = lines(log_file)
    assert line["last_user_text"] == prompt
    assert line["user_texts"] == [prompt]
    assert line["credentials"] == ["x-api-key", "authorization"]
    assert (line["path"], line["model"], line["system"]) == ("/v1/messages?beta=true", "claude-x", "sys")
    assert line["betas"] == ["b-1", "b-2"]
    assert "very-secret" not in log_file.read_text()
    assert stat.S_IMODE(log_file.stat().st_mode) == 0o600


async def test_many_at_once_are_logged_once_each(client: httpx.AsyncClient, log_file: Path) -> None:
    await asyncio.gather(*(client.post("/v1/messages", json=body(f"ECHO{{{n}}}")) for n in range(50)))
    assert sorted(line["last_user_text"] for line in lines(log_file)) == sorted(f"ECHO{{{n}}}" for n in range(50))


async def test_slow_pieces_arrive_one_by_one(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stromboli.standin.server._PIECE_SECONDS", 0.05)
    loop = asyncio.get_running_loop()
    arrived = []
    async with client.stream("POST", "/v1/messages", json=body("SLOWSTREAM{2} ECHO{x}", stream=True)) as answer:
        async for line in answer.aiter_lines():
            if "text_delta" in line:
                arrived.append(loop.time())
    assert len(arrived) == 3
    assert arrived[-1] - arrived[0] > 0.09


async def test_a_client_that_goes_away_does_no_harm(client: httpx.AsyncClient) -> None:
    async with client.stream("POST", "/v1/messages", json=body("SLOWSTREAM{9}", stream=True)) as answer:
        await anext(answer.aiter_bytes())
    assert (await client.post("/v1/messages", json=body("ECHO{still here}"))).status_code == 200


async def test_a_limit_comes_with_its_headers(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/messages", json=body("LIMIT{60}"))
    assert answer.status_code == 429
    assert answer.headers["anthropic-ratelimit-unified-status"] == "rejected"
    assert (await client.post("/v1/messages", json=body("STATUS{429} RETRYAFTER{9}"))).headers["retry-after"] == "9"


async def test_a_stream_is_cut_after_so_many_events(client: httpx.AsyncClient) -> None:
    got = b""
    with pytest.raises(httpx.HTTPError):  # noqa: PT012 - the answer begins before it breaks off
        async with client.stream("POST", "/v1/messages", json=body("CUTSTREAM{2}", stream=True)) as answer:
            async for piece in answer.aiter_bytes():
                got += piece
    assert got.count(b"event: ") == 2
    with pytest.raises(httpx.HTTPError):
        await client.post("/v1/messages", json=body("CUTSTREAM{2}"))

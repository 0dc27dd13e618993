"""Responses that no Podman at hand gives: newer shapes, failures reported inside HTTP 200, nonsense."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from stromboli.errors import NotFound, PodmanError, PodmanUnavailable, PullFailed
from stromboli.podman import Podman
from stromboli.registry_credentials import IdentityToken, Login, basic
from stromboli.registry_problem import RegistryProblem

Answering = Callable[..., Awaitable[Podman]]


@pytest.fixture
async def answering(tmp_path: Path) -> AsyncIterator[Answering]:
    """`await answering(text, status)`: a Podman that gives every call the same response, with this `path_stat`."""
    started: list[tuple[web.AppRunner, Podman]] = []

    async def serve(
        text: str = "", status: int = 200, gone_after: int | None = None, path_stat: str | None = None
    ) -> Podman:
        left = [gone_after]

        async def handle(_: web.Request) -> web.Response:
            if left[0] == 0:
                return web.json_response({"cause": "no such container"}, status=404)
            left[0] = None if left[0] is None else left[0] - 1
            headers = {} if path_stat is None else {"X-Docker-Container-Path-Stat": path_stat}
            return web.Response(text=text, status=status, headers=headers)

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "podman.sock")).start()
        started.append((runner, Podman(tmp_path / "podman.sock")))
        return started[-1][1]

    yield serve
    for runner, podman in started:
        await podman.close()
        await runner.cleanup()


@pytest.mark.parametrize("text", ['"/merged/x"\n', "/merged/x\n"])
async def test_a_mount_s_path_is_text_or_json(answering: Answering, text: str) -> None:
    podman = await answering(text)
    assert await podman.containers.mount("x") == "/merged/x"


@pytest.mark.parametrize(
    "store", ["{}", '{"graphRootAllocated":0,"graphRootUsed":0}', '{"graphRootAllocated":9}', '{"graphRootUsed":9}']
)
async def test_what_is_free_may_not_be_said(answering: Answering, store: str) -> None:
    podman = await answering(f'{{"store":{store}}}')
    assert await podman.free() is None


async def test_a_removal_s_report_may_hold_the_error(answering: Answering) -> None:
    podman = await answering('[{"Id":"x","Err":"unmounting failed"}]')
    with pytest.raises(PodmanError):
        await podman.containers.remove("x")
    with pytest.raises(PodmanError, match="unmounting failed"):
        await podman.networks.remove("x")


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "nonsense", '{"State":{}}', '{"State":"on"}'])
async def test_nonsense_is_an_error_and_never_absent(answering: Answering, text: str) -> None:
    podman = await answering(text)
    calls = [
        podman.containers.inspect("x"),
        podman.containers.create({}),
        podman.images.inspect("x"),
        podman.volumes.inspect("x"),
        podman.networks.inspect("x"),
        podman.info(),
        podman.free(),
        podman.archive.stat("x", "/y"),
    ]
    for call in calls:
        with pytest.raises(PodmanError):
            await call


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        "1",
        "null",
        '"mode"',
        "{}",
        '{"mode":{},"size":1,"linkTarget":""}',
        '{"mode":0,"size":[],"linkTarget":""}',
        '{"mode":Infinity,"size":1,"linkTarget":""}',
        '{"mode":0,"size":1}',
        "no JSON",
    ],
)
async def test_a_path_s_header_of_another_shape_is_an_error(answering: Answering, header: str) -> None:
    podman = await answering(path_stat=base64.b64encode(header.encode()).decode())
    with pytest.raises(PodmanError, match="about a path has an unexpected shape"):
        await podman.archive.stat("x", "/y")


async def test_a_path_s_header_that_is_no_base64_is_an_error(answering: Answering) -> None:
    podman = await answering(path_stat="x")
    with pytest.raises(PodmanError, match="about a path has an unexpected shape"):
        await podman.archive.stat("x", "/y")


@pytest.mark.parametrize("time", ["1e300", "Infinity", "NaN", "null", '"now"'])
async def test_an_event_at_no_time_is_an_error(answering: Answering, time: str) -> None:
    podman = await answering(f'{{"Type":"image","Action":"pull","Actor":{{"ID":"x"}},"timeNano":{time}}}')
    with pytest.raises(PodmanError, match="about an event has an unexpected shape"):
        await anext(podman.events.stream())


async def test_a_removal_that_fails_since_it_was_done_meanwhile_is_none(answering: Answering) -> None:
    podman = await answering('{"cause":"internal","message":"busy"}', 500, gone_after=1)
    assert not await podman.containers.remove("x")


async def test_a_failed_pull_is_http_200(answering: Answering) -> None:
    podman = await answering('{"status":"Pulling fs layer","id":"a"}\n\n{"error":"manifest unknown"}\n')
    with pytest.raises(PullFailed) as caught:
        await podman.images.pull("registry.test/x:1")
    assert caught.value.permanent


@pytest.mark.parametrize(
    ("text", "status"),
    [('{{"error":"denied: {}"}}\n', 200), ('{{"cause":"…","message":"denied: {}"}}', 500)],
)
async def test_no_secret_that_a_registry_repeats_is_shown(answering: Answering, text: str, status: int) -> None:
    login = Login("reader", "open sesame")
    for credentials, said in ((login, login.password), (login, basic(login)), (IdentityToken("refresh-me"),) * 2):
        secret = said.token if isinstance(said, IdentityToken) else said.removeprefix("Basic ")
        podman = await answering(text.format(secret), status)
        with pytest.raises(PullFailed, match="denied") as caught:
            await podman.images.pull("registry.test/x:1", credentials=credentials)
        assert caught.value.problem is RegistryProblem.DENIED
        assert secret not in str(caught.value)


async def test_a_pull_that_fails_by_its_status(answering: Answering) -> None:
    podman = await answering('{"cause":"…","message":"reading manifest 1 in registry.test/x: manifest unknown"}', 404)
    with pytest.raises(PullFailed) as caught:
        await podman.images.pull("registry.test/x:1")
    assert caught.value.problem is RegistryProblem.NOT_FOUND
    podman = await answering('{"cause":"…","message":"a lock of its own"}', 500)
    with pytest.raises(PodmanError) as other:
        await podman.images.pull("registry.test/x:1")
    assert not isinstance(other.value, PullFailed), "this is Podman's own affair"


async def test_a_pull_that_leaves_no_image_is_a_failure(answering: Answering) -> None:
    podman = await answering('{"status":"Download complete","id":"a"}\n', gone_after=1)
    with pytest.raises(PullFailed, match="is not there") as caught:
        await podman.images.pull("registry.test/x:1")
    assert not caught.value.permanent


async def test_a_call_whose_path_was_taken_apart_would_not_find_its_object(answering: Answering) -> None:
    podman = await answering(status=404)
    assert await podman.containers.inspect("../images/x") is None
    with pytest.raises(NotFound, match=r"\.\.%2Fimages%2Fx"):
        await podman.containers.start("../images/x")


async def test_an_answer_that_breaks_off_is_unavailable(tmp_path: Path) -> None:
    async def torn(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"Id":')
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(torn, tmp_path / "podman.sock")
    async with server, Podman(tmp_path / "podman.sock") as podman:
        with pytest.raises(PodmanUnavailable, match="did not answer"):
            await podman.containers.inspect("x")


async def test_somebody_who_speaks_no_http_is_unavailable(tmp_path: Path) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(babble, tmp_path / "podman.sock")
    async with server, Podman(tmp_path / "podman.sock") as podman:
        with pytest.raises(PodmanUnavailable):
            await podman.info()


async def test_an_image_from_the_end_of_time_is_listed_with_the_others(answering: Answering) -> None:
    late = {"Id": "a", "RepoTags": ["late.test/x:1"], "Size": 1, "Created": 253402300800}
    podman = await answering(json.dumps([late, {**late, "Id": "b", "Created": 1}]))
    assert [(image.id, image.created is None) for image in await podman.images.list()] == [("a", True), ("b", False)]

"""The gateway's HTTP API as a process: it serves, is killed, and serves again."""

from __future__ import annotations

from tests.support.http_api import NO_TOKEN, HttpApi


def test_a_gateway_that_is_killed_serves_again_on_its_port(http_api: HttpApi) -> None:
    before = http_api.call("GET", "/health", token=NO_TOKEN)
    assert (before.status, before.body["version"]) == (200, "0.4.0")
    http_api.kill()
    http_api.start()
    assert http_api.call("GET", "/health", token=NO_TOKEN).body == before.body

"""What the fake Podman says of a container's network, mounts and log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web

from tests.support.fake_podman_images import error
from tests.support.fake_podman_state import ALIVE, FakeContainer, FakeState
from tests.support.fake_podman_wire import Call


class FakeDetail(FakeState):
    """The handler of the call about logs, and parts of answers of others."""

    async def _logs(self, request: Call) -> web.Response | AsyncIterator[bytes]:
        if (c := self.find(request.match_info["name"])) is None:
            return error(404, "no such container")
        if (c.body.get("log_configuration") or {}).get("driver") not in ("k8s-file", "json-file"):
            return error(500, "this container is not logging output")
        if request.query.get("follow") == "true":
            return self._followed(c)
        lines = c.log.splitlines(keepends=True)[-int(request.query.get("tail", "0")) :]
        if float(request.query.get("since", "0")) > time.time():
            lines = []
        return web.Response(body=b"".join(map(_framed, lines)))

    async def _followed(self, c: FakeContainer) -> AsyncIterator[bytes]:
        """What it has written and writes, until it ends; the real one does not answer before there is something."""
        sent = 0
        while True:
            running = c.status in ALIVE
            part = c.log[sent:]
            sent += len(part)
            for line in part.splitlines(keepends=True):
                yield _framed(line)
            if not running:
                return
            await asyncio.sleep(0.01)

    def mounts_of(self, c: FakeContainer) -> list[dict[str, Any]]:
        volumes = [
            {
                "Type": "volume",
                "Name": v["Name"],
                "Source": f"/nowhere/{v['Name']}/_data",
                "Destination": v["Dest"],
                "RW": "ro" not in v.get("Options", ()),
            }
            for v in c.body.get("volumes") or ()
        ]
        binds = [
            {"Type": "bind", "Source": m["source"], "Destination": m["destination"], "RW": "ro" not in m["options"]}
            for m in c.body.get("mounts") or ()
            if m["type"] == "bind"
        ]
        return volumes + binds

    def addresses_of(self, c: FakeContainer) -> dict[str, Any]:
        address = f"10.89.0.{list(self.containers).index(c.id) % 250 + 2}" if c.status in ALIVE else ""
        return {name: {"IPAddress": address} for name in c.body.get("Networks") or {}}

    def network_problem(self, body: Mapping[str, Any]) -> web.Response | None:
        netns = body.get("netns") or {}
        if netns.get("nsmode") != "container":
            missing = [name for name in body.get("Networks") or () if name not in self.networks]
            return error(500, "network not found") if missing else None
        if self.find(netns["value"]) is None:
            return error(404, "no such container")
        if body.get("Networks"):
            return error(500, "networks and static ip/mac address can only be used with Bridge mode networking")
        return error(500, "invalid configuration") if body.get("hostadd") else None


def _framed(line: bytes) -> bytes:
    return b"\1\0\0\0" + len(line).to_bytes(4, "big") + line

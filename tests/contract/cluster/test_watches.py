"""kopf and a real API server, with a proxy in between that stops passing bytes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import yaml

from stromboli.controlplane.cluster import Cluster as ControlPlane
from stromboli.handlers import run as process
from stromboli.handlers import watches
from stromboli.handlers.watches import Wakers, register
from stromboli.health import watched as conclusions
from stromboli.health.watched import Watched
from stromboli.kube.client import WATCHED
from stromboli.perform.history import History
from stromboli.store import Store
from tests.contract.cluster.conftest import Real
from tests.support.stalling import Proxy

LIMIT = 30.0


async def until(what: str, is_so: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    limit = loop.time() + LIMIT
    while not is_so():
        assert loop.time() < limit, f"waited {LIMIT:.0f} s for {what}"
        await asyncio.sleep(0.02)


async def _nothing() -> None:
    return


async def test_a_stalled_watch_is_begun_anew_and_misses_nothing(
    real: Real, own: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "INACTIVE", 1.0)
    monkeypatch.setattr(conclusions, "SILENT", 2.5)
    monkeypatch.setattr(conclusions, "PATIENCE", 1.0)
    config = yaml.safe_load(own.kubeconfig.read_text())
    server = urlsplit(config["clusters"][0]["cluster"]["server"])
    assert server.port is not None
    async with Proxy("127.0.0.1", server.port).serving() as proxy:
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        woken: list[str] = []
        watched, stop = Watched(WATCHED), asyncio.Event()
        none = cast(Any, lambda *_: None)
        wakers = Wakers(woken.append, none, none, none, none, _nothing)
        registry = register(Store(woken.append, History("node")), wakers, asyncio.Event(), watched)
        task = asyncio.create_task(process._watches(registry, stop))
        try:
            first = real.run("first")
            await until("the first run", lambda: first.uid in woken)
            assert (watched.refused(), watched.silent()) == (None, None)

            proxy.flowing.clear()
            while_stalled = real.run("second")
            await until("health to say so", lambda: watched.silent() or watched.refused())
            assert while_stalled.uid not in woken
            assert watched.stuck() is None

            proxy.flowing.set()
            await until("the run that was created meanwhile", lambda: while_stalled.uid in woken)
            await until("health", lambda: not watched.silent() and not watched.refused())
        finally:
            proxy.flowing.set()
            stop.set()
            await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), LIMIT)
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().remove_signal_handler(number)

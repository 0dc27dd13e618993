"""A cluster in memory that the commands find by KUBECONFIG, and an operator in a few lines, for the tests here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stromboli.controlplane import kubeconfig
from tests.support.fake_api_server import FakeApiServer, Object


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApiServer]:
    """The server; the context's namespace is `ns`, the user's token `alice`."""
    monkeypatch.setenv("STROMBOLI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with FakeApiServer().serving() as served:
        login(tmp_path / "config", served, monkeypatch)
        yield served


def login(path: Path, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch, token: str = "alice") -> None:
    kubeconfig.write(path, api.url, b"x", token, "ns")
    monkeypatch.setenv("KUBECONFIG", str(path))


def run(name: str, namespace: str = "ns", **more: Any) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"prompt": "x", "image": "i"}, **more}


def ended(reason: str, message: str = "", status: str = "False", **more: Any) -> Object:
    """A status of a run that has ended; `Unknown` for one that has not."""
    return {"conditions": [{"type": "Succeeded", "status": status, "reason": reason, "message": message}], **more}


def once_watched(api: FakeApiServer, then: Callable[[], object]) -> None:
    """Do something as soon as somebody watches."""

    def wait() -> None:
        api.until(lambda: api.watches, "somebody watches")
        then()

    threading.Thread(target=wait, daemon=True).start()


def later(api: FakeApiServer, *steps: Object, name: str = "") -> None:
    """Whenever a run is created, its status becomes each of these, once somebody watches it."""

    def changed(event: str, obj: Object) -> None:
        if event == "ADDED":
            threading.Thread(target=move, args=(obj["metadata"]["name"],), daemon=True).start()

    def move(name: str) -> None:
        for step in steps:
            api.until(lambda: api.watches, "the run is watched")
            api.status(name, step)

    api.changed = changed

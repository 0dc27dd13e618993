"""Watches one namespace's runs, from before they are created, and records when each change was seen."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import Any, Self

import httpx2 as httpx

from tests.benchmarks.api import Api, Object
from tests.support.wire import is_finished

PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Seen:
    """When the watch saw a run added and finished (`time.monotonic`), and the finished object."""

    added: float
    finished: float
    obj: Object


class Watch:
    """Watches a namespace in a thread of its own, started by `__enter__`. For use by one benchmark."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self.namespace = namespace
        self._added: dict[str, float] = {}
        self._seen: dict[str, Seen] = {}
        self._news = threading.Condition()
        self._open = threading.Event()
        self._broken = ""
        self._thread = threading.Thread(target=self._follow, daemon=True, name=f"watch of {namespace}")

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._open.wait(PATIENCE):
            raise TimeoutError(f"the watch of {self.namespace} was not open after {PATIENCE:.0f} s")
        return self

    def __exit__(self, *_: object) -> None:
        """The daemon thread keeps reading until the API server stops; it is not joined."""

    def finished(self, name: str, patience: float = PATIENCE) -> Seen:
        """Block until a run has succeeded. Raises RuntimeError if it failed, and TimeoutError after `patience` s."""
        with self._news:
            if not self._news.wait_for(lambda: name in self._seen or self._broken, patience):
                raise TimeoutError(f"{name} was not finished after {patience:.0f} s")
        if name not in self._seen:
            raise RuntimeError(f"the watch of {self.namespace} broke: {self._broken}")
        seen = self._seen[name]
        if seen.obj["status"]["phase"] != "Succeeded":
            raise RuntimeError(f"{name} failed: {seen.obj['status']['conditions'][0]}")
        return seen

    def _follow(self) -> None:
        try:
            self._read()
        except httpx.HTTPError as error:
            with self._news:
                self._broken = str(error) or type(error).__name__
                self._news.notify_all()

    def _read(self) -> None:
        since = self._api.runs(self.namespace)["metadata"]["resourceVersion"]
        with self._api.watch_runs(self.namespace, since) as lines:
            self._open.set()
            for line in lines:
                self._note(time.monotonic(), json.loads(line))

    def _note(self, now: float, event: dict[str, Any]) -> None:
        obj = event["object"]
        name = obj["metadata"].get("name", "")
        self._added.setdefault(name, now)
        if name not in self._seen and is_finished(obj.get("status") or {}):
            with self._news:
                self._seen[name] = Seen(self._added[name], now, obj)
                self._news.notify_all()

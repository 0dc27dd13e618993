"""The read API's route `log` in memory, for one run of a FakeApiServer: outputs that grow, end, lose their beginning,
and connections that break.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stromboli.naming import AGENTS_GROUP, VERSION
from tests.support.fake_api_server import LIMIT, FakeApiServer, Refusal, Reply, Request


@dataclass
class Output:
    """`kept` is the offset of the first byte that is kept, `recent` of the first that `sinceSeconds` selects."""

    data: bytes = b""
    ended: bool = False
    kept: int = 0
    recent: int = 0


class FakeLogs:
    """`outputs` by attempt and step, or by the name of a service with attempt 0. Before there is an attempt, answers
    are empty, and say so. Steps that are `to_come` have not begun. `refused` is answered first, once each.
    """

    def __init__(self, server: FakeApiServer, name: str = "a", namespace: str = "ns", uid: str = "") -> None:
        self.uid = uid
        self.outputs: dict[tuple[int, str], Output] = {}
        self.to_come: set[str] = set()
        self.refused: list[Refusal] = []
        self.asked: list[Mapping[str, str]] = []
        self.open = 0  # answers that are being sent
        self._broken = 0
        self._ended_early = 0
        self._news = threading.Condition()
        path = f"/apis/{AGENTS_GROUP}/{VERSION}/namespaces/{namespace}/agentruns/{name}/log"
        server.routes[path] = self._answer

    def write(self, data: bytes, attempt: int = 1, step: str = "agent", *, end: bool = False) -> None:
        """More of an output, which begins with it if it is new."""
        with self._news:
            found = self.outputs.setdefault((attempt, step), Output())
            found.data += data
            found.ended = end
            self._news.notify_all()

    def end(self, attempt: int = 1, step: str = "agent") -> None:
        self.write(b"", attempt, step, end=True)

    def drop(self) -> None:
        """Break off all answers, in the middle."""
        with self._news:
            self._broken += 1
            self._news.notify_all()

    def cut(self) -> None:
        """End all answers properly, though the outputs go on."""
        with self._news:
            self._ended_early += 1
            self._news.notify_all()

    def until_open(self, number: int = 1, asked: int = 1) -> None:
        """Wait until so many answers are being sent, after so many questions."""
        ends = time.monotonic() + LIMIT
        with self._news:
            while self.open < number or len(self.asked) < asked:
                assert time.monotonic() < ends, f"{self.open} answers are being sent"
                self._news.wait(0.02)

    def _answer(self, request: Request) -> Reply:
        query = request.query
        with self._news:
            self.asked.append(query)
            self._news.notify_all()
        if self.refused:
            raise self.refused.pop(0)
        if self.uid and query.get("uid") not in (None, self.uid):
            raise Refusal(409, "Conflict", "there is another run of that name")
        numbers = [attempt for attempt, _ in self.outputs if attempt]
        if not numbers and "service" not in query:
            return Reply(pieces=iter(()), headers={"Stromboli-State": "waiting"})
        attempt = int(query.get("attempt") or max(numbers, default=0))
        key = (0, query["service"]) if "service" in query else (attempt, query.get("step", "agent"))
        if key not in self.outputs:
            if attempt in numbers and key[1] in self.to_come:
                return self._waiting(key, query.get("follow") == "true")
            raise Refusal(400, "BadRequest", f"attempt {attempt} has no step {key[1]}")
        output = self.outputs[key]
        offset = int(query["offset"]) if "offset" in query else output.recent if "sinceSeconds" in query else 0
        offset = max(offset, output.kept)
        state = "ended" if output.ended else "running"
        headers = {"Stromboli-Attempt": str(attempt), "Stromboli-Offset": str(offset), "Stromboli-State": state}
        return Reply(pieces=self._pieces(output, offset, query.get("follow") == "true"), headers=headers)

    def _waiting(self, key: tuple[int, str], follow: bool) -> Reply:
        headers = {"Stromboli-Attempt": str(key[0]), "Stromboli-Offset": "0", "Stromboli-State": "waiting"}

        def pieces() -> Iterator[bytes]:
            with self._news:
                self._news.wait_for(lambda: key in self.outputs or key[1] not in self.to_come, LIMIT)
            if key in self.outputs:
                yield from self._pieces(self.outputs[key], 0, True)

        return Reply(pieces=pieces() if follow else iter(()), headers=headers)

    def _pieces(self, output: Output, offset: int, follow: bool) -> Iterator[bytes]:
        with self._news:
            broken, cut = self._broken, self._ended_early
            self.open += 1
        try:
            while True:
                with self._news:
                    data, ended = output.data[offset:], output.ended
                    if self._broken != broken:
                        raise ConnectionAbortedError
                    if not data and (ended or not follow or self._ended_early != cut):
                        return
                    if not data:
                        self._news.wait(LIMIT)
                if data:
                    offset += len(data)
                    yield data
        finally:
            with self._news:
                self.open -= 1

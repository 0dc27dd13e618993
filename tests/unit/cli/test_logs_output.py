"""One output, whatever happens to the connection."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator

import pytest

from stromboli.cli.logs import output
from stromboli.cli.logs.output import Log, Piece, Wanted, pieces
from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.kube.kubeconfig import Place
from stromboli.kube.user import User
from tests.support.fake_api_server import LIMIT, FakeApiServer, Refusal
from tests.support.fake_logs import FakeLogs, Output

AGENT = Wanted(1, "agent", follow=True)
AWAY = Refusal(503, "ServiceUnavailable", "the operator of node a does not respond")


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer().serving() as served:
        yield served


@pytest.fixture
def logs(server: FakeApiServer) -> FakeLogs:
    return FakeLogs(server, uid="u1")


@pytest.fixture
def log(server: FakeApiServer) -> Iterator[Log]:
    with User(Place("a test", server.url, "ns", token="t")) as user:
        yield Log(user, "ns", "a", "u1")


class Reader:
    """Reads an output in a thread."""

    def __init__(self, log: Log, wanted: Wanted = AGENT, **options: object) -> None:
        self.data = b""
        self.missing: list[int] = []
        self.error: Exception | None = None
        self._log, self._wanted, self._options = log, wanted, options
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for piece in pieces(self._log, self._wanted, **self._options):  # type: ignore[arg-type]
                self.data += piece.data
                self.missing.append(piece.missing)
        except Exception as e:  # noqa: BLE001 - it is raised again in the test's thread
            self.error = e

    def done(self) -> bytes:
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), f"it does not end: {self.data!r}"
        if self.error:
            raise self.error
        return self.data


def once(log: Log, wanted: Wanted, **options: object) -> list[Piece]:
    return list(pieces(log, wanted, **options))  # type: ignore[arg-type]


def test_what_is_there_and_no_more(log: Log, logs: FakeLogs) -> None:
    logs.write(b"abc")
    assert once(log, Wanted(1, "agent")) == [Piece(b"abc")]
    assert logs.asked == [{"uid": "u1", "attempt": "1", "step": "agent"}]


def test_it_is_followed_to_its_end(log: Log, logs: FakeLogs) -> None:
    logs.write(b"abc")
    reader = Reader(log)
    logs.until_open()
    logs.write(b"def")
    logs.write(b"ghi", end=True)
    assert reader.done() == b"abcdefghi"


def test_it_goes_on_where_the_connection_broke(log: Log, logs: FakeLogs) -> None:
    logs.write(b"abc")
    said: list[str] = []
    reader = Reader(log, say=said.append)
    for number, more in enumerate((b"def", b"ghi"), 1):
        logs.until_open(asked=number)
        logs.drop()
        logs.write(more)
    logs.until_open(asked=3)
    logs.end()
    assert reader.done() == b"abcdefghi"
    assert said == [], "it did not last"
    assert [query.get("offset") for query in logs.asked[:2]] == [None, "3"]


@pytest.mark.parametrize("seed", range(4))
def test_every_byte_comes_once_whatever_happens_to_the_connection(log: Log, logs: FakeLogs, seed: int) -> None:
    source = random.Random(seed)
    data = source.randbytes(4000)
    logs.write(b"")
    reader = Reader(log, sleep=lambda seconds: None)
    at = 0
    while at < len(data):
        size = source.randrange(400)
        logs.write(data[at : at + size])
        at += size
        if (happens := source.choice([logs.drop, logs.cut, logs.until_open, None])) is not None:
            happens()
    logs.end()
    assert reader.done() == data


def test_an_answer_that_ends_is_not_the_end_of_the_output(log: Log, logs: FakeLogs) -> None:
    logs.write(b"abc")
    reader = Reader(log)
    logs.until_open()
    logs.cut()
    logs.until_open(asked=2)
    logs.write(b"def", end=True)
    assert reader.done() == b"abcdef"


def test_what_ended_while_its_last_answer_was_cut_is_read_to_its_end(log: Log, logs: FakeLogs) -> None:
    logs.write(b"abcdef", end=True)
    found: list[bytes] = []
    for piece in pieces(log, AGENT):
        if not found:
            logs.write(b"ghi", end=True)  # as if the answer had ended before them
        found.append(piece.data)
    assert b"".join(found) == b"abcdefghi"


def test_what_is_not_kept_any_more_is_counted(log: Log, logs: FakeLogs) -> None:
    logs.outputs[1, "agent"] = Output(b"0123456789", ended=True, kept=4)
    assert once(log, AGENT) == [Piece(b"456789", 4)]
    logs.outputs[1, "agent"] = Output(b"abc")
    reader = Reader(log)
    logs.until_open(asked=2)
    logs.outputs[1, "agent"].kept = 5
    logs.drop()
    logs.write(b"defgh", end=True)
    assert (reader.done(), reader.missing) in ((b"abcfgh", [0, 2]), (b"abcdefgh", [0, 0]))


def test_since_is_asked_once_and_then_the_offset(log: Log, logs: FakeLogs) -> None:
    logs.outputs[1, "agent"] = Output(b"0123456789", recent=6)
    reader = Reader(log, Wanted(1, "agent", since=300, follow=True))
    logs.until_open()
    logs.drop()
    logs.until_open(asked=2)
    logs.end()
    assert (reader.done(), reader.missing[0]) == (b"6789", 6)
    assert [(query.get("sinceSeconds"), query.get("offset")) for query in logs.asked[:2]] == [
        ("300", None),
        (None, "10"),
    ]


def test_a_service(log: Log, logs: FakeLogs) -> None:
    logs.write(b"ready\n", 0, "db", end=True)
    assert once(log, Wanted(2, service="db", follow=True)) == [Piece(b"ready\n")]
    assert "step" not in logs.asked[0]


def test_a_service_that_writes_on_is_not_followed_beyond_the_end(log: Log, logs: FakeLogs) -> None:
    logs.write(b"tick\n", 0, "db", end=True)
    written = 0
    for _ in pieces(log, Wanted(2, service="db", follow=True)):
        if len(logs.asked) > written:  # with each answer once more
            written = len(logs.asked)
            logs.write(b"tick\n", 0, "db", end=True)
        assert written < 5, "it does not end"


def test_an_operator_that_is_away_is_asked_again_and_it_is_said_if_it_lasts(log: Log, logs: FakeLogs) -> None:
    logs.write(b"abc", end=True)
    logs.refused = [AWAY] * 4
    now, said, slept = [0.0], list[str](), list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += 3

    assert once(log, AGENT, say=said.append, sleep=sleep, clock=lambda: now[0]) == [Piece(b"abc")]
    assert said == [
        "the log cannot be read: the operator of node a does not respond; trying again",
        "the log can be read again",
    ]
    assert slept == [0.1, 0.2, 0.4, 0.8]


def test_the_pause_has_a_limit(log: Log, logs: FakeLogs) -> None:
    logs.write(b"abc", end=True)
    logs.refused = [AWAY] * 10
    slept: list[float] = []
    once(log, AGENT, sleep=slept.append)
    assert slept[-1] == output.LAST


def test_the_rest_of_what_is_over_is_read_once_the_operator_is_back(log: Log, logs: FakeLogs) -> None:
    logs.write(b"abc", end=True)
    logs.refused = [AWAY] * 4
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += 5

    assert once(log, AGENT, over=lambda: True, sleep=sleep, clock=lambda: now[0]) == [Piece(b"abc")]
    logs.refused = [AWAY] * 10
    with pytest.raises(ApiRefused, match="the operator of node a"):
        once(log, AGENT, over=lambda: True, sleep=sleep, clock=lambda: now[0])
    assert len(logs.refused) == 2, "it was tried for half a minute"


def test_what_was_written_while_an_answer_was_cut_is_read_though_it_is_over(log: Log, logs: FakeLogs) -> None:
    """As by an operator that stops in the moment in which the run ends."""
    logs.write(b"abc")
    over = threading.Event()
    reader = Reader(log, over=over.is_set, sleep=lambda seconds: None)
    logs.until_open(asked=1)
    logs.cut()
    logs.until_open(asked=2)
    over.set()
    with logs._news:  # all of it before the next answer
        logs.outputs[1, "agent"] = Output(b"abcdef", ended=True)
        logs._ended_early += 1
        logs._news.notify_all()
    assert reader.done() == b"abcdef"


def test_without_following_the_first_failure_counts(log: Log, logs: FakeLogs) -> None:
    logs.refused = [AWAY]
    with pytest.raises(ApiRefused, match="the operator of node a"):
        once(log, Wanted(1, "agent"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_what_the_server_refuses_is_not_asked_again(log: Log, logs: FakeLogs, status: int) -> None:
    logs.refused = [Refusal(status, "No", "no, because")]
    with pytest.raises(ApiRefused, match="no, because"):
        once(log, AGENT)
    assert len(logs.asked) == 1


def test_a_refusal_because_the_run_is_gone_is_said_so(log: Log, logs: FakeLogs) -> None:
    logs.uid = "another"
    logs.write(b"x")

    def over() -> bool:
        raise LookupError("gone")

    with pytest.raises(LookupError):
        once(log, AGENT, over=over)


def test_before_there_is_an_attempt_it_is_asked_again_until_nothing_is_to_come(log: Log, logs: FakeLogs) -> None:
    asked = iter([False, False, True])
    assert once(log, AGENT, over=lambda: next(asked), sleep=lambda seconds: None) == []
    assert len(logs.asked) == 4, "once more after that was known"
    assert once(log, Wanted(1, "agent")) == []


def test_silence_is_no_loss(log: Log, logs: FakeLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that says nothing for long is made again, since a dead one says nothing either."""
    monkeypatch.setattr(output, "SILENCE", 0.1)
    monkeypatch.setattr(output, "TOLD", 0.0)
    said: list[str] = []
    logs.write(b"abc")
    reader = Reader(log, say=said.append, sleep=said.append)
    logs.until_open(asked=4)
    logs.write(b"def", end=True)
    assert reader.done() == b"abcdef"
    assert said == []


def test_without_a_server(log: Log, server: FakeApiServer) -> None:
    with User(Place("a test", "http://127.0.0.1:1", "ns")) as user:
        dead = Log(user, "ns", "a", "u1")
        with pytest.raises(ApiUnreachable):
            once(dead, Wanted(1, "agent"))
        ticks = itertools.count(step=2.0)
        with pytest.raises(ApiUnreachable):
            once(dead, AGENT, over=lambda: True, sleep=lambda seconds: None, clock=lambda: next(ticks))
